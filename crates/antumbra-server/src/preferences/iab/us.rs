//! Strings about the United States: the US Privacy string of four characters, and the national and state sections of the
//! Global Privacy Platform.
//!
//! The core of every such section is a version and then fields of two bits, of whose four values 3 has no meaning. Which
//! of them say what is all that differs.

use super::{Fault, Purpose, Reading, Reason, Statement, bits::Bits, with_offsets};

const GPC: u64 = 1;

const OPTED_OUT: u64 = 1;
const DID_NOT_OPT_OUT: u64 = 2;

/// How one section is laid out.
pub(super) struct Section {
    pub(super) id: u16,
    /// How answers name it.
    pub(super) name: &'static str,
    /// The versions that are known, each with the fewest fields that a core of it has. Sections have grown at their end
    /// within one version, so more fields are let be.
    versions: &'static [(u64, usize)],
    /// Which field is `SaleOptOut`.
    sale: usize,
    /// Which field is `TargetedAdvertisingOptOut`.
    targeted_advertising: Option<usize>,
}

/// The sections whose layout is published. Those that are drafts, 24 and up, are let be.
pub(super) const SECTIONS: [Section; 17] = [
    section(7, "gpp.usnat", &[(1, 27), (2, 32)], 6, Some(8)),
    section(8, "gpp.usca", &[(1, 20)], 3, None),
    section(9, "gpp.usva", &[(1, 17)], 3, Some(4)),
    section(10, "gpp.usco", &[(1, 16)], 3, Some(4)),
    section(11, "gpp.usut", &[(1, 18)], 4, Some(5)),
    section(12, "gpp.usct", &[(1, 19)], 3, Some(4)),
    section(13, "gpp.usfl", &[(1, 20)], 3, Some(4)),
    section(14, "gpp.usmt", &[(1, 20)], 3, Some(4)),
    section(15, "gpp.usor", &[(1, 23)], 3, Some(4)),
    section(16, "gpp.ustx", &[(1, 18)], 3, Some(4)),
    section(17, "gpp.usde", &[(1, 23)], 3, Some(4)),
    section(18, "gpp.usia", &[(1, 18)], 4, Some(5)),
    section(19, "gpp.usne", &[(1, 18)], 3, Some(4)),
    section(20, "gpp.usnh", &[(1, 20)], 3, Some(4)),
    section(21, "gpp.usnj", &[(1, 24)], 3, Some(4)),
    section(22, "gpp.ustn", &[(1, 18)], 3, Some(4)),
    section(23, "gpp.usmn", &[(1, 18)], 3, Some(4)),
];

const fn section(
    id: u16,
    name: &'static str,
    versions: &'static [(u64, usize)],
    sale: usize,
    targeted_advertising: Option<usize>,
) -> Section {
    Section {
        id,
        name,
        versions,
        sale,
        targeted_advertising,
    }
}

impl Section {
    pub(super) fn read(&self, text: &str, offset: usize, reading: &mut Reading) -> Result<(), Fault> {
        let mut gpc_seen = false;
        for (place, (segment, offset)) in with_offsets(text, '.', offset).enumerate() {
            let mut bits = Bits::new(segment, offset)?;
            if place == 0 {
                let version = bits.number(6, "Version")?;
                let Some((_, fields_min)) = self.versions.iter().find(|(known, _)| *known == version) else {
                    // A version that is not known yet: what it holds is let be.
                    return Ok(());
                };
                self.core(&mut bits, *fields_min, reading)?;
                continue;
            }
            match bits.number(2, "SubsectionType")? {
                0 => return Err(bits.fault_before(2, Reason::Undefined("SubsectionType"))),
                GPC if gpc_seen => return Err(bits.fault_before(2, Reason::Twice)),
                GPC => {
                    gpc_seen = true;
                    reading.gpc |= bits.flag("Gpc")?;
                    bits.end()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn core(&self, bits: &mut Bits<'_>, fields_min: usize, reading: &mut Reading) -> Result<(), Fault> {
        let mut fields = 0;
        while fields < fields_min || bits.left() > 0 {
            let (name, purpose) = if fields == self.sale {
                ("SaleOptOut", Some(Purpose::SaleOfInfo))
            } else if Some(fields) == self.targeted_advertising {
                ("TargetedAdvertisingOptOut", Some(Purpose::Advertising))
            } else {
                ("a field of two bits", None)
            };
            let value = bits.number(2, name)?;
            let allows = match value {
                3 => return Err(bits.fault_before(2, Reason::Undefined(name))),
                OPTED_OUT => Some(false),
                DID_NOT_OPT_OUT => Some(true),
                _ => None,
            };
            reading.say(self.name, purpose, allows);
            fields += 1;
        }
        Ok(())
    }
}

impl Reading {
    fn say(&mut self, source: &'static str, purpose: Option<Purpose>, allows: Option<bool>) {
        let statement = purpose.zip(allows).map(|(purpose, allows)| Statement {
            source,
            purpose,
            allows,
        });
        self.statements.extend(statement);
    }
}

/// A digit, whether notice was given, whether the person opted out of sale, and whether an agreement covers it.
pub(super) fn read_privacy_string(
    text: &str,
    offset: usize,
    source: &'static str,
    reading: &mut Reading,
) -> Result<(), Fault> {
    let fault = |place: usize, reason| Err(Fault::at(offset + place, reason));
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return fault(0, Reason::Empty);
    }
    for (place, byte) in bytes.iter().take(4).enumerate() {
        match byte {
            b'0'..=b'9' if place == 0 => {}
            _ if place == 0 => return fault(place, Reason::Digit),
            b'Y' | b'y' | b'N' | b'n' | b'-' => {}
            _ => return fault(place, Reason::YesNo),
        }
    }
    if bytes.len() != 4 {
        return fault(bytes.len().min(4), Reason::FourCharacters);
    }
    let allows = match bytes[2] {
        b'Y' | b'y' => Some(false),
        b'N' | b'n' => Some(true),
        _ => None,
    };
    reading.say(source, Some(Purpose::SaleOfInfo), allows);
    Ok(())
}
