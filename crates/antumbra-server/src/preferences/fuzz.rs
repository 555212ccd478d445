//! Rows of preferences, for any bytes. See [`crate::fuzz`].

use super::encoding::{Event, Happening, decode_event, decode_record, encode_amendment, encode_event, encode_record};

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
        Happening::Write(write) => encode_event(write, &event.absorbed),
        Happening::Amendment(amendment) => encode_amendment(amendment, &event.absorbed),
    }
}
