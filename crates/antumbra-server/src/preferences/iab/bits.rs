//! Segments of base64url as bits, and where something is wrong in them.

use super::{Fault, Reason};

/// One segment: six bits a character, the first bit first.
pub(super) struct Bits<'a> {
    text: &'a [u8],
    /// Where the segment begins in the whole string.
    offset: usize,
    at: usize,
}

const NOT_OF_THE_ALPHABET: u8 = 0xFF;

/// What each byte stands for.
const SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut sextets = [NOT_OF_THE_ALPHABET; 256];
    let mut value = 0;
    while value < alphabet.len() {
        sextets[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    sextets
};

impl<'a> Bits<'a> {
    /// Fails if the segment is empty, and at its first character that is not of the alphabet.
    pub(super) fn new(segment: &'a str, offset: usize) -> Result<Bits<'a>, Fault> {
        let text = segment.as_bytes();
        if text.is_empty() {
            return Err(Fault::at(offset, Reason::Empty));
        }
        match text
            .iter()
            .position(|byte| SEXTETS[usize::from(*byte)] == NOT_OF_THE_ALPHABET)
        {
            Some(place) => Err(Fault::at(offset + place, Reason::Alphabet)),
            None => Ok(Bits { text, offset, at: 0 }),
        }
    }

    pub(super) fn left(&self) -> usize {
        self.text.len() * 6 - self.at
    }

    /// An unsigned number of at most 36 bits.
    pub(super) fn number(&mut self, bits: usize, field: &'static str) -> Result<u64, Fault> {
        self.has(bits, field)?;
        let (mut number, mut wanted) = (0, bits);
        while wanted > 0 {
            let sextet = SEXTETS[usize::from(self.text[self.at / 6])];
            let unread = 6 - self.at % 6;
            let taken = wanted.min(unread);
            let part = sextet >> (unread - taken) & ((1 << taken) - 1);
            number = number << taken | u64::from(part);
            self.at += taken;
            wanted -= taken;
        }
        Ok(number)
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, Fault> {
        self.number(1, field).map(|bit| bit == 1)
    }

    pub(super) fn skip(&mut self, bits: usize, field: &'static str) -> Result<(), Fault> {
        self.has(bits, field)?;
        self.at += bits;
        Ok(())
    }

    /// What follows the last field is padding, which is zero whatever its length: encoders differ in that.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        while self.left() > 0 {
            let bits = self.left().min(36);
            let padding = self.number(bits, "its padding")?;
            if padding != 0 {
                let from_the_first_one = (u64::BITS - padding.leading_zeros()) as usize;
                return Err(self.fault_before(from_the_first_one, Reason::GoesOn));
            }
        }
        Ok(())
    }

    /// A fault in what is to be read next.
    pub(super) fn fault_here(&self, reason: Reason) -> Fault {
        self.fault_before(0, reason)
    }

    /// A fault in the last so many bits that were read.
    pub(super) fn fault_before(&self, bits: usize, reason: Reason) -> Fault {
        let bit = self.at - bits;
        Fault {
            bit: Some(bit),
            ..Fault::at(self.offset + bit / 6, reason)
        }
    }

    fn has(&self, bits: usize, field: &'static str) -> Result<(), Fault> {
        if self.left() >= bits {
            return Ok(());
        }
        Err(Fault {
            bit: Some(self.text.len() * 6),
            ..Fault::at(self.offset + self.text.len(), Reason::Ends(field))
        })
    }
}
