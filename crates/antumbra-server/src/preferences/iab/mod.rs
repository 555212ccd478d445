//! What the strings of the IAB's frameworks say: US Privacy, the TC string of TCF 2, the Global Privacy Platform. Pure.
//!
//! The strings are kept and returned as they came. They are read to refuse what is malformed with the place of the fault,
//! to hold what they say against the purposes beside them, and to show the Global Privacy Control where a string carries it.
//!
//! | File | Holds |
//! | --- | --- |
//! | `us.rs` | the US Privacy string, and the sections about the United States |
//! | `tcf.rs` | the TC string |
//! | `gpp.rs` | the header of a GPP string, and which section is read by whom |
//! | `bits.rs` | base64url as bits, with their places |
//! | `compare.rs` | statements of strings beside answers to purposes |
//!
//! Written by hand, since the crates that read these strings (`iab_gpp`, `lib_tcstring`) lay out each range of vendors one
//! by one, which makes hundreds of megabytes of a few kilobytes of text, and tell no places of faults.

mod bits;
mod compare;
mod gpp;
mod tcf;
mod us;

use std::fmt;

use super::model::ConsentString;
pub(super) use compare::{found_in, statements_against};

/// Longest consent string, in bytes.
pub(super) const BYTES_MAX: usize = 8 * 1024;

/// What a string says about purposes of ours.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    pub(super) statements: Vec<Statement>,
    /// Whether the person's browser sent the Global Privacy Control.
    pub(super) gpc: bool,
}

/// That a string allows a purpose, or that it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Statement {
    /// Which string says so, and which of its sections.
    pub(super) source: &'static str,
    pub(super) purpose: Purpose,
    pub(super) allows: bool,
}

/// The built-in purposes that strings speak of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    SaleOfInfo,
    Advertising,
}

impl Purpose {
    /// The tracking type.
    pub(super) fn slug(self) -> &'static str {
        match self {
            Purpose::SaleOfInfo => "SaleOfInfo",
            Purpose::Advertising => "Advertising",
        }
    }
}

/// Reads a string. The version of the browser library is any text.
///
/// # Errors
/// If the string is malformed: with the place and the reason, and never what stands there.
pub(super) fn read(string: ConsentString, text: &str) -> Result<Reading, Fault> {
    let mut reading = Reading::default();
    if text.len() > BYTES_MAX {
        return Err(Fault::at(BYTES_MAX, Reason::TooLong));
    }
    match string {
        ConsentString::Usp => us::read_privacy_string(text, 0, "usp", &mut reading)?,
        ConsentString::Gpp => gpp::read(text, &mut reading)?,
        ConsentString::Tcf => reading.permit("tcf", tcf::read(text, 0)?),
        ConsentString::AirgapVersion => {}
    }
    Ok(reading)
}

/// Where a string is malformed, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    character: usize,
    /// In the segment to which the character belongs.
    bit: Option<usize>,
    reason: Reason,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Reason {
    #[error("must be at most 8192 bytes long")]
    TooLong,
    #[error("has nothing where something must stand")]
    Empty,
    #[error("has a character that may not stand there")]
    Alphabet,
    #[error("must begin with a digit")]
    Digit,
    #[error("has a character that is not Y, N or -")]
    YesNo,
    #[error("must have four characters")]
    FourCharacters,
    #[error("ends before {0} does")]
    Ends(&'static str),
    #[error("goes on after its last field")]
    GoesOn,
    #[error("has a version that is not known")]
    Version,
    #[error("does not begin with the header of a GPP string")]
    NoHeader,
    #[error("has fewer sections than its header names")]
    SectionsMissing,
    #[error("has a section that its header does not name")]
    SectionsNotNamed,
    #[error("names a section by a number that is too large")]
    SectionId,
    #[error("has a value that is not defined in {0}")]
    Undefined(&'static str),
    #[error("has a range of vendors that ends before it begins")]
    Backwards,
    #[error("has the same kind of segment twice")]
    Twice,
}

impl Fault {
    fn at(character: usize, reason: Reason) -> Fault {
        Fault {
            character,
            bit: None,
            reason,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at character {}", self.reason, self.character)?;
        if let Some(bit) = self.bit {
            write!(f, ", bit {bit} of its segment")?;
        }
        f.write_str(" (counted from 0)")
    }
}

/// The parts of a text, each with where it begins if the text begins at `offset`.
fn with_offsets(text: &str, separator: char, offset: usize) -> impl Iterator<Item = (&str, usize)> {
    let mut next = offset;
    text.split(separator).map(move |part| {
        let begins = next;
        next += part.len() + 1;
        (part, begins)
    })
}

#[cfg(test)]
mod tests;
