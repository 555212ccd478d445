//! PEM blocks: the few labels that keys come in.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// The block called `label` in `text`, decoded; `None` if there is no such block or it is not base64.
pub(crate) fn find(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let compact: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(compact.as_bytes()).ok().map(Zeroizing::new)
}

/// `der` as a block called `label`, 64 columns, with a final newline.
pub(crate) fn write(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
