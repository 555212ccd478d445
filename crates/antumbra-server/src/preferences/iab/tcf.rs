//! The TC string of the Transparency and Consent Framework, version 2 (2.0 to 2.3): a core, and up to three segments.
//!
//! Lists of vendors are walked through for their form and not laid out: a few bytes can stand for 65,535 vendors.

use super::{Fault, Reason, bits::Bits, with_offsets};

/// The fields of the core up to the purposes, with their lengths in bits. The version stands before them.
const HEAD: [(&str, usize); 11] = [
    ("Created", 36),
    ("LastUpdated", 36),
    ("CmpId", 12),
    ("CmpVersion", 12),
    ("ConsentScreen", 6),
    ("ConsentLanguage", 12),
    ("VendorListVersion", 12),
    ("TcfPolicyVersion", 6),
    ("IsServiceSpecific", 1),
    ("UseNonStandardStacks", 1),
    ("SpecialFeatureOptIns", 12),
];

/// The same of the Canadian framework, version 1, up to its lists of vendors. These are let be: the specification and
/// the encoders that are in use write them in two ways that can't be told apart.
const CANADA: [(&str, usize); 12] = [
    ("Created", 36),
    ("LastUpdated", 36),
    ("CmpId", 12),
    ("CmpVersion", 12),
    ("ConsentScreen", 6),
    ("ConsentLanguage", 12),
    ("VendorListVersion", 12),
    ("TcfPolicyVersion", 6),
    ("UseNonStandardStacks", 1),
    ("SpecialFeatureExpressConsent", 12),
    ("PurposesExpressConsent", 24),
    ("PurposesImpliedConsent", 24),
];

const DISCLOSED_VENDORS: u64 = 1;
const ALLOWED_VENDORS: u64 = 2;
const PUBLISHER_TC: u64 = 3;

/// The purposes that a TC string allows, each as a set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Tcf {
    /// Those with consent, for vendors.
    pub(super) consents: Purposes,
    /// Those with a legitimate interest that was shown and not objected to, for vendors.
    pub(super) interests: Purposes,
    /// Those that are allowed for the publisher's own ends, on either ground.
    pub(super) publisher: Purposes,
}

/// A set of the purposes 1 to 24.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Purposes(u64);

impl Purposes {
    pub(super) fn any_of(self, purposes: &[u32]) -> bool {
        purposes.iter().any(|purpose| self.0 >> (24 - purpose) & 1 == 1)
    }
}

pub(super) fn read(text: &str, offset: usize) -> Result<Tcf, Fault> {
    let mut tcf = Tcf::default();
    let mut seen = [false; 8];
    for (place, (segment, offset)) in with_offsets(text, '.', offset).enumerate() {
        let mut bits = Bits::new(segment, offset)?;
        if place == 0 {
            core(&mut bits, &mut tcf)?;
            continue;
        }
        let kind = bits.number(3, "SegmentType")?;
        if std::mem::replace(&mut seen[kind as usize], true) {
            return Err(bits.fault_before(3, Reason::Twice));
        }
        match kind {
            0 => return Err(bits.fault_before(3, Reason::Undefined("SegmentType"))),
            DISCLOSED_VENDORS | ALLOWED_VENDORS => vendors(&mut bits)?,
            PUBLISHER_TC => tcf.publisher = publisher(&mut bits)?,
            // Segments that do not exist yet are let be.
            _ => continue,
        }
        bits.end()?;
    }
    Ok(tcf)
}

/// Looks at the part of a Canadian string that is written in one way only. Of other versions, nothing is known.
pub(super) fn check_canadian(text: &str, offset: usize) -> Result<(), Fault> {
    let Some((core, offset)) = with_offsets(text, '.', offset).next() else {
        return Ok(());
    };
    let mut bits = Bits::new(core, offset)?;
    if bits.number(6, "Version")? != 1 {
        return Ok(());
    }
    CANADA.iter().try_for_each(|(field, length)| bits.skip(*length, field))
}

fn core(bits: &mut Bits<'_>, tcf: &mut Tcf) -> Result<(), Fault> {
    if bits.number(6, "Version")? != 2 {
        return Err(bits.fault_before(6, Reason::Version));
    }
    for (field, length) in HEAD {
        bits.skip(length, field)?;
    }
    tcf.consents = Purposes(bits.number(24, "PurposesConsent")?);
    tcf.interests = Purposes(bits.number(24, "PurposesLITransparency")?);
    bits.skip(1, "PurposeOneTreatment")?;
    bits.skip(12, "PublisherCC")?;
    vendors(bits)?;
    vendors(bits)?;
    for _ in 0..bits.number(12, "NumPubRestrictions")? {
        bits.skip(6, "PurposeId")?;
        bits.skip(2, "RestrictionType")?;
        ranges(bits)?;
    }
    bits.end()
}

fn publisher(bits: &mut Bits<'_>) -> Result<Purposes, Fault> {
    let consents = bits.number(24, "PubPurposesConsent")?;
    let interests = bits.number(24, "PubPurposesLITransparency")?;
    let own = bits.number(6, "NumCustomPurposes")? as usize;
    bits.skip(own, "CustomPurposesConsent")?;
    bits.skip(own, "CustomPurposesLITransparency")?;
    Ok(Purposes(consents | interests))
}

/// A list of vendors: a bit for each, or ranges.
fn vendors(bits: &mut Bits<'_>) -> Result<(), Fault> {
    let last = bits.number(16, "MaxVendorId")? as usize;
    if bits.flag("IsRangeEncoding")? {
        ranges(bits)
    } else {
        bits.skip(last, "BitField")
    }
}

/// As many turns as the text has bits for: each entry is at least 17 of them.
fn ranges(bits: &mut Bits<'_>) -> Result<(), Fault> {
    for _ in 0..bits.number(12, "NumEntries")? {
        let is_range = bits.flag("IsARange")?;
        let first = bits.number(16, "StartOrOnlyVendorId")?;
        if is_range && bits.number(16, "EndVendorId")? < first {
            return Err(bits.fault_before(16, Reason::Backwards));
        }
    }
    Ok(())
}
