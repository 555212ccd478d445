//! The files of the story: a photo that any viewer opens, a document that any reader opens, and a film of any length that
//! is made as it is sent. Each carries [`CANARY`], so that a readable copy on disk cannot hide.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

/// A word that stands in every file and every identifier of the story, and nowhere else.
pub(super) const CANARY: &str = "canary-7f3a91";

/// How a file is recognised again.
pub(super) type Sha256 = [u8; 32];

/// The SHA-256 of bytes that come piece by piece.
pub(super) struct Hasher(Context);

impl Hasher {
    pub(super) fn new() -> Hasher {
        Hasher(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Sha256 {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

/// The SHA-256 of bytes at hand.
pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// A photo of a ring of light around a dark disc, as PNG.
pub(super) fn photo() -> Vec<u8> {
    const SIDE: u32 = 480;
    let mut rows = Vec::new();
    for y in 0..SIDE {
        rows.push(0); // This row is not filtered.
        for x in 0..SIDE {
            let from_middle = f64::hypot(f64::from(x) - 240.0, f64::from(y) - 240.0);
            let light = (255.0 * (-((from_middle - 150.0) / 18.0).powi(2)).exp()) as u8;
            rows.extend([light, (f64::from(light) * 0.75) as u8, (f64::from(light) * 0.4) as u8]);
        }
    }
    let mut header = Vec::new();
    header.extend(SIDE.to_be_bytes());
    header.extend(SIDE.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]); // 8 bits of each of three colours.
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, b"IHDR", &header);
    chunk(&mut png, b"tEXt", format!("Comment\0{CANARY}").as_bytes());
    chunk(&mut png, b"IDAT", &zlib_stored(&rows));
    chunk(&mut png, b"IEND", b"");
    png
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    png.extend((content.len() as u32).to_be_bytes());
    let checked_from = png.len();
    png.extend(kind);
    png.extend(content);
    let sum = crc32fast::hash(&png[checked_from..]);
    png.extend(sum.to_be_bytes());
}

/// A zlib stream that compresses nothing.
fn zlib_stored(content: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = content.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in content {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    stream.extend(((b << 16) | a).to_be_bytes());
    stream
}

/// A page with one line of text, as PDF.
pub(super) fn document() -> Vec<u8> {
    let text = format!("BT /F1 18 Tf 72 760 Td (Contract of {CANARY}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(pdf.len());
        pdf.extend(format!("{} 0 obj\n{object}\nendobj\n", number + 1).bytes());
    }
    let table = pdf.len();
    pdf.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for place in places {
        pdf.extend(format!("{place:010} 00000 n \n").bytes());
    }
    pdf.extend(
        format!(
            "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
            objects.len() + 1
        )
        .bytes(),
    );
    pdf
}

/// A film: the opening box of an MP4, then bytes that no compression makes smaller, the canary in each piece.
pub(super) struct Film {
    bytes: u64,
}

impl Film {
    const PIECE: usize = 256 * 1024;

    pub(super) fn of(bytes: u64) -> Film {
        Film { bytes }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The whole film in pieces, the same each time.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let bytes = self.bytes;
        let count = bytes.div_ceil(Film::PIECE as u64);
        (0..count).map(move |number| {
            let mut piece = noise(number);
            piece[16..16 + CANARY.len()].copy_from_slice(CANARY.as_bytes());
            if number == 0 {
                piece[..16].copy_from_slice(b"\0\0\0\x10ftypisom\0\0\0\0");
            }
            let left = bytes - number * Film::PIECE as u64;
            piece.truncate(left.min(Film::PIECE as u64) as usize);
            Bytes::from(piece)
        })
    }

    pub(super) fn sha256(&self) -> Sha256 {
        let mut hasher = Hasher::new();
        for piece in self.pieces() {
            hasher.update(&piece);
        }
        hasher.finish()
    }
}

/// SplitMix64, from a seed of its own for each piece.
fn noise(seed: u64) -> Vec<u8> {
    let mut piece = Vec::with_capacity(Film::PIECE);
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5851_f42d_4c95_7f2d;
    while piece.len() < Film::PIECE {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        piece.extend_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes());
    }
    piece
}
