//! A message in its last form, and how that is written for mail servers.

use std::{fmt, time::SystemTime};

use jiff::Timestamp;
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use serde::{Deserialize, Serialize};

use super::model::MessageId;
use crate::config::MailConfig;

/// What is said, and to whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mail {
    /// Whom it is for.
    pub(super) to: String,
    /// Who is copied.
    pub(super) copies: Vec<String>,
    /// Who gets what the data subject answers, beside those the operator set.
    pub(super) reply_to: Vec<String>,
    /// The subject line: no line break, no control character.
    pub(super) subject: String,
    /// The body as plain text.
    pub(super) text: String,
    /// The body as HTML.
    pub(super) html: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail(…)")
    }
}

/// A mail as mail servers take it.
pub(super) struct Written {
    /// Whom it is for.
    pub(super) to: Address,
    /// Who is copied.
    pub(super) copies: Vec<Address>,
    /// Header and body, in ASCII.
    pub(super) bytes: Vec<u8>,
}

/// The address of the data subject is none that mail can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAddress;

impl Mail {
    /// Writes it. Whatever is said about one message, the bytes are the same each time, its id among them: whoever gets it
    /// twice can tell. Copies that are no addresses are left out.
    pub(super) fn write(&self, config: &MailConfig, id: MessageId, at: Timestamp) -> Result<Written, NoAddress> {
        let to: Address = self.to.parse().map_err(|_| NoAddress)?;
        let addresses = |texts: &[String]| -> Vec<Address> {
            let parsed = texts.iter().filter_map(|text| text.parse::<Address>().ok());
            parsed.filter(|address| *address != to).collect()
        };
        let copies = addresses(&self.copies);
        let mut message = Message::builder()
            .from(config.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(self.subject.clone())
            .message_id(Some(format!("<{}@{}>", id.0, config.from.email.domain())))
            .date(SystemTime::from(at))
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            // Programs that answer while people are away leave such messages alone.
            .raw_header(raw("X-Auto-Response-Suppress", "All"));
        for copy in &copies {
            message = message.cc(Mailbox::new(None, copy.clone()));
        }
        let own = config.reply_to.clone();
        let others = addresses(&self.reply_to)
            .into_iter()
            .map(|address| Mailbox::new(None, address));
        for mailbox in own.into_iter().chain(others) {
            message = message.reply_to(mailbox);
        }
        let parts = MultiPart::alternative()
            .boundary(format!("=_{}", id.0.simple()))
            .singlepart(SinglePart::plain(self.text.clone()))
            .singlepart(SinglePart::html(self.html.clone()));
        let message = message.multipart(parts).map_err(|_| NoAddress)?;
        Ok(Written {
            to,
            copies,
            bytes: message.formatted(),
        })
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str(name);
    HeaderValue::new(name, value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MailConfig {
        MailConfig::new("smtp://127.0.0.1?tls=none", "Fish & Chips <privacy@example.test>").unwrap()
    }

    fn mail(to: &str, subject: &str) -> Mail {
        Mail {
            to: to.to_owned(),
            copies: vec![
                "copy@example.test".into(),
                "b@example.test>\r\nBcc: <c@example.test".into(),
            ],
            reply_to: vec!["desk@example.test\r\nBcc: c@example.test".into()],
            subject: subject.to_owned(),
            text: "Hello,\n.\nBcc: in the body\n".to_owned() + &"long ".repeat(1_000),
            html: "<p>".to_owned() + &"ä".repeat(5_000),
        }
    }

    #[test]
    fn nothing_in_a_mail_makes_a_header_of_its_own_and_no_line_is_too_long() {
        let headers = [
            "From",
            "To",
            "Subject",
            "Message-ID",
            "Date",
            "Auto-Submitted",
            "X-Auto-Response-Suppress",
            "Cc",
            "MIME-Version",
            "Content-Type",
        ];
        let long = "a".repeat(200);
        for subject in [
            "Hello",
            "a\r\nBcc: c@example.test",
            "a\nBcc: x\r\n\r\nbody",
            &long,
            &"ß".repeat(200),
        ] {
            let written = mail("robin.hale@example.test", subject)
                .write(&config(), MessageId(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH)
                .unwrap();
            assert_eq!(written.copies.len(), 1, "what is no address gets no copy");
            let text = String::from_utf8(written.bytes).unwrap();
            assert!(text.is_ascii());
            let (head, _) = text.split_once("\r\n\r\n").unwrap();
            let names = head.split("\r\n").filter(|line| !line.starts_with(' '));
            let names: Vec<&str> = names.map(|line| line.split(':').next().unwrap()).collect();
            assert_eq!(names, headers, "{subject:?}");
            for line in text.split("\r\n") {
                assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{line:?}");
            }
        }
    }

    #[test]
    fn what_is_no_address_gets_no_mail() {
        for to in [
            "",
            "robin",
            "robin@example.test\r\nRCPT TO:<c@example.test>",
            "a b@example.test",
            "<a@example.test>",
        ] {
            let written = mail(to, "Hello").write(&config(), MessageId(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH);
            assert_eq!(written.err(), Some(NoAddress), "{to:?}");
        }
    }
}
