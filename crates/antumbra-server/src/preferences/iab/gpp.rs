//! The string of the Global Privacy Platform: a header that names sections, and the sections.
//!
//! What a later day may add is let be, as the platform asks of its readers: sections that are not known, and versions of
//! sections that are not.

use super::{
    Fault, Reading, Reason,
    bits::Bits,
    tcf,
    us::{self, SECTIONS},
    with_offsets,
};

const TCF_EU: u16 = 2;
const TCF_CANADA: u16 = 5;
const US_PRIVACY: u16 = 6;

pub(super) fn read(text: &str, reading: &mut Reading) -> Result<(), Fault> {
    let mut parts = with_offsets(text, '~', 0);
    let header = parts.next().map_or("", |(header, _)| header);
    let sections: Vec<(&str, usize)> = parts.collect();
    let ids = header_of(header, sections.len())?;
    if let Some((_, offset)) = sections.get(ids.len()) {
        return Err(Fault::at(*offset, Reason::SectionsNotNamed));
    }
    for (id, (section, offset)) in ids.into_iter().zip(sections) {
        is_web_safe(section, offset)?;
        match id {
            TCF_EU => reading.permit("gpp.tcfeuv2", tcf::read(section, offset)?),
            TCF_CANADA => tcf::check_canadian(section, offset)?,
            US_PRIVACY => us::read_privacy_string(section, offset, "gpp.uspv1", reading)?,
            _ => {
                if let Some(known) = SECTIONS.iter().find(|known| known.id == id) {
                    known.read(section, offset, reading)?;
                }
            }
        }
    }
    Ok(())
}

/// The sections that a header names, in their order: at most as many as there are.
fn header_of(text: &str, sections: usize) -> Result<Vec<u16>, Fault> {
    let mut bits = Bits::new(text, 0)?;
    if bits.number(6, "Type")? != 3 {
        return Err(bits.fault_before(6, Reason::NoHeader));
    }
    if bits.number(6, "Version")? != 1 {
        return Err(bits.fault_before(6, Reason::Version));
    }
    let mut ids = Vec::with_capacity(sections.min(32));
    let mut last = 0;
    for _ in 0..bits.number(12, "the number of sections")? {
        let is_range = bits.flag("a section id")?;
        let first = fibonacci(&mut bits, last)?;
        last = if is_range { fibonacci(&mut bits, first)? } else { first };
        if ids.len() + usize::from(last - first) >= sections {
            return Err(bits.fault_here(Reason::SectionsMissing));
        }
        ids.extend(first..=last);
    }
    bits.end()?;
    Ok(ids)
}

/// A number that is told by how much it is above `base`: sums of Fibonacci numbers, ended by two ones.
fn fibonacci(bits: &mut Bits<'_>, base: u16) -> Result<u16, Fault> {
    let (mut sum, mut one, mut next) = (u32::from(base), 1u32, 2u32);
    let mut before = false;
    loop {
        let bit = bits.flag("a section id")?;
        if bit && before {
            return u16::try_from(sum).map_err(|_| bits.fault_here(Reason::SectionId));
        }
        sum += if bit { one } else { 0 };
        (one, next) = (next, one + next);
        before = bit;
        if one > 2 * u32::from(u16::MAX) {
            return Err(bits.fault_here(Reason::SectionId));
        }
    }
}

fn is_web_safe(section: &str, offset: usize) -> Result<(), Fault> {
    if section.is_empty() {
        return Err(Fault::at(offset, Reason::Empty));
    }
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match section.bytes().position(|byte| !is_safe(byte)) {
        Some(place) => Err(Fault::at(offset + place, Reason::Alphabet)),
        None => Ok(()),
    }
}
