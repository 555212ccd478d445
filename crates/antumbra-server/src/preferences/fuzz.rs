//! Rows of preferences and consent strings, for any bytes. See [`crate::fuzz`].

use super::{
    encoding::{Event, Happening, decode_event, decode_record, encode_amendment, encode_event, encode_record},
    iab,
    model::ConsentString,
};

/// Any text is read as each kind of string, or refused in words that are ours. A section says the same by itself.
pub(crate) fn consent_strings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for string in ConsentString::ALL {
        if let Err(fault) = iab::read(string, &text) {
            let told = fault.to_string();
            assert!(told.is_ascii() && told.len() < 150, "{told}");
        }
    }
    let as_section = iab::read(ConsentString::Gpp, &format!("DBABMA~{text}"));
    if !text.contains('~') && text.len() < iab::BYTES_MAX - 100 {
        assert_eq!(as_section.is_ok(), iab::read(ConsentString::Tcf, &text).is_ok());
    }
}

/// Whatever can be read as a record or as history is written in one way, and read again as the same.
pub(crate) fn rows(bytes: &[u8]) {
    if let Ok(record) = decode_record(bytes) {
        let written = encode_record(&record);
        let again = decode_record(&written).expect("what was written can be read");
        assert_eq!(written, encode_record(&again));
    }
    if let Ok(event) = decode_event(bytes) {
        let written = encode(&event);
        let again = decode_event(&written).expect("what was written can be read");
        assert_eq!(written, encode(&again));
    }
}

fn encode(event: &Event) -> Vec<u8> {
    match &event.what {
        Happening::Write(write) => encode_event(write, &event.absorbed, &event.changes),
        Happening::Amendment(amendment) => encode_amendment(amendment, &event.absorbed, &event.changes),
    }
}
