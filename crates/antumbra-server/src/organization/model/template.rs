//! The text of a message, and the little language its words are written in.
//!
//! `{{name}}` stands for a value, and there is nothing else: no conditions, no loops. Each kind of message has a closed list
//! of names, and a text that names another is refused when it is saved, with its place. A line that names a value which a
//! message does not have is left out of that message.

use async_graphql::Enum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Action, BODY_MAX, SettingError, TITLE_MAX, check_name, check_text};

/// What a message tells a data subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageKind {
    /// The request has arrived.
    Receipt,
    /// An address has to be confirmed.
    Verification,
    /// An address still has to be confirmed.
    VerificationReminder,
    /// The answer takes longer.
    AdditionalTime,
    /// The report can be seen.
    ReportReady,
    /// What will be erased can be seen, and the erasure still be stopped.
    PreviewReady,
    /// The request was stopped.
    Canceled,
    /// The request is done, with nothing to look at.
    Completed,
    /// Nobody could confirm who made the request.
    Denied,
    /// The data subject withdrew the request.
    Revoked,
}

/// What every message can name.
const ALWAYS: [&str; 4] = ["organizationName", "requestId", "requestType", "requestDate"];

impl MessageKind {
    /// Every kind.
    pub const ALL: [MessageKind; 10] = [
        MessageKind::Receipt,
        MessageKind::Verification,
        MessageKind::VerificationReminder,
        MessageKind::AdditionalTime,
        MessageKind::ReportReady,
        MessageKind::PreviewReady,
        MessageKind::Canceled,
        MessageKind::Completed,
        MessageKind::Denied,
        MessageKind::Revoked,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageKind::Receipt => "RECEIPT",
            MessageKind::Verification => "VERIFICATION",
            MessageKind::VerificationReminder => "VERIFICATION_REMINDER",
            MessageKind::AdditionalTime => "ADDITIONAL_TIME",
            MessageKind::ReportReady => "REPORT_READY",
            MessageKind::PreviewReady => "PREVIEW_READY",
            MessageKind::Canceled => "CANCELED",
            MessageKind::Completed => "COMPLETED",
            MessageKind::Denied => "DENIED",
            MessageKind::Revoked => "REVOKED",
        }
    }

    /// The kind with this name on the wire.
    pub fn parse(name: &str) -> Option<MessageKind> {
        MessageKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The number that stands for it in stored keys. Never change one.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub fn of_code(code: u8) -> Option<MessageKind> {
        MessageKind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// What clients of the published API call it once it is sent.
    pub const fn communication(self) -> &'static str {
        match self {
            MessageKind::Receipt => "RECEIPT_SENT",
            MessageKind::Verification => "IDENTIFIER_VERIFICATION_SENT",
            MessageKind::VerificationReminder => "REMINDER_SENT",
            MessageKind::AdditionalTime => "ADDITIONAL_TIME_SENT",
            MessageKind::ReportReady | MessageKind::PreviewReady => "REPORT_SENT",
            MessageKind::Canceled => "CANCELATION_SENT",
            MessageKind::Completed => "SECONDARY_REPORT_SENT",
            MessageKind::Denied => "FAILED_VERIFICATION_SENT",
            MessageKind::Revoked => "REVOKED_SENT",
        }
    }

    /// Whether it carries a link or a code that opens something. Nobody but the data subject may get it.
    pub const fn opens_something(self) -> bool {
        match self {
            MessageKind::Verification
            | MessageKind::VerificationReminder
            | MessageKind::ReportReady
            | MessageKind::PreviewReady => true,
            MessageKind::Receipt
            | MessageKind::AdditionalTime
            | MessageKind::Canceled
            | MessageKind::Completed
            | MessageKind::Denied
            | MessageKind::Revoked => false,
        }
    }

    /// The values without one of which its reader could do nothing with it.
    pub(super) const fn openers(self) -> &'static [&'static str] {
        match self {
            MessageKind::Verification | MessageKind::VerificationReminder => &["verificationLink", "verificationCode"],
            MessageKind::ReportReady | MessageKind::PreviewReady => &["reportLink"],
            MessageKind::Receipt
            | MessageKind::AdditionalTime
            | MessageKind::Canceled
            | MessageKind::Completed
            | MessageKind::Denied
            | MessageKind::Revoked => &[],
        }
    }

    /// The names that a text of this kind may use beside those that every text may.
    const fn own_names(self) -> &'static [&'static str] {
        match self {
            MessageKind::Receipt | MessageKind::AdditionalTime => &["dueDate"],
            MessageKind::Verification | MessageKind::VerificationReminder => {
                &["verificationLink", "verificationCode", "expiryDate"]
            }
            MessageKind::ReportReady | MessageKind::PreviewReady => &["reportLink", "availableUntil"],
            MessageKind::Canceled | MessageKind::Completed | MessageKind::Denied | MessageKind::Revoked => &[],
        }
    }
}

/// The names that a text may use: those of its kind, or for a text of no kind those that every message has.
pub fn names_for(kind: Option<MessageKind>) -> Vec<&'static str> {
    let own = kind.map_or(&[][..], MessageKind::own_names);
    ALWAYS.iter().chain(own).copied().collect()
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// As it stands.
    Text(&'t str),
    /// The value with this name.
    Value(&'static str),
}

/// A place in a text, counted from 1; columns are letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// The line.
    pub line: usize,
    /// The letter in it.
    pub column: usize,
}

impl TextPlace {
    fn of(text: &str, at: usize) -> TextPlace {
        let before = &text[..at];
        let last = before.rsplit('\n').next().unwrap_or_default();
        TextPlace {
            line: before.matches('\n').count() + 1,
            column: last.chars().count() + 1,
        }
    }
}

/// The pieces of a text that may use the names of `kind`, or the place of the first `{{` that begins none of them.
pub fn pieces_of(text: &str, kind: Option<MessageKind>) -> Result<Vec<Piece<'_>>, TextPlace> {
    let names = names_for(kind);
    let (mut pieces, mut at) = (Vec::new(), 0);
    while let Some(open) = text[at..].find("{{").map(|found| at + found) {
        let inside = &text[open + 2..];
        let name = inside.split_once("}}").map(|(name, _)| name);
        let known = name.and_then(|name| names.iter().find(|known| **known == name.trim_matches(' ')));
        let (Some(name), Some(known)) = (name, known) else {
            return Err(TextPlace::of(text, open));
        };
        if open > at {
            pieces.push(Piece::Text(&text[at..open]));
        }
        pieces.push(Piece::Value(known));
        at = open + 2 + name.len() + 2;
    }
    if at < text.len() {
        pieces.push(Piece::Text(&text[at..]));
    }
    Ok(pieces)
}

/// The id of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateId(pub Uuid);

/// The words of a message, in place of those that are built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// What it is called; clients look for exact titles.
    pub title: String,
    /// The subject line. Empty: the built-in one.
    pub subject: String,
    /// The body: HTML if it has any tag, else plain text. Empty: the built-in one.
    pub body: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which messages it is for. `None`: only those for which somebody names it.
    #[serde(default)]
    pub kind: Option<MessageKind>,
    /// About which demands. `None`: about all of them.
    #[serde(default)]
    pub action: Option<Action>,
    /// In which language it is, as `de` or `pt-BR`. `None`: it is for everybody.
    #[serde(default)]
    pub locale: Option<String>,
    /// The body as plain text, where that is not to be made of the HTML.
    #[serde(default)]
    pub text: Option<String>,
}

impl Template {
    /// One that says nothing of its own yet.
    pub fn new(id: TemplateId, title: String, created_at: Timestamp) -> Template {
        Template {
            id,
            title,
            subject: String::new(),
            body: String::new(),
            created_at,
            kind: None,
            action: None,
            locale: None,
            text: None,
        }
    }

    /// Checks everything that can be told without looking at others.
    pub(in crate::organization) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.title)?;
        check_words(
            self.kind,
            &self.subject,
            &[&self.body, self.text.as_deref().unwrap_or_default()],
        )?;
        if self.locale.as_deref().is_some_and(|locale| !is_language(locale)) {
            return Err(SettingError::BadLocale);
        }
        match self.kind {
            Some(kind) => self.check_opens(kind),
            None => Ok(()),
        }
    }

    /// Who gets a message that is to open something finds in each form of it what opens it.
    fn check_opens(&self, kind: MessageKind) -> Result<(), SettingError> {
        let openers = kind.openers();
        let opens = |text: &str| {
            let pieces = pieces_of(text, Some(kind)).unwrap_or_default();
            let is_opener = |piece: &Piece<'_>| matches!(piece, Piece::Value(name) if openers.contains(name));
            pieces.iter().any(is_opener)
        };
        let bodies = [Some(self.body.as_str()), self.text.as_deref()];
        let mut bodies = bodies.into_iter().flatten().filter(|body| !body.is_empty());
        if openers.is_empty() || bodies.all(opens) {
            return Ok(());
        }
        Err(SettingError::OpensNothing { names: kind.as_str() })
    }
}

/// Checks the words of a message: a subject line and bodies that may use the names of `kind`.
pub fn check_words(kind: Option<MessageKind>, subject: &str, bodies: &[&str]) -> Result<(), SettingError> {
    check_text(subject, TITLE_MAX)?;
    if subject.chars().any(char::is_control) {
        return Err(SettingError::ControlCharacter);
    }
    for text in std::iter::once(&subject).chain(bodies) {
        if text.len() > BODY_MAX {
            return Err(SettingError::TooLong);
        }
        if let Err(TextPlace { line, column }) = pieces_of(text, kind) {
            let names = kind.map_or("", MessageKind::as_str);
            return Err(SettingError::UnknownPlaceholder { line, column, names });
        }
    }
    Ok(())
}

/// Looks like `de`, `pt-BR` or `zh-Hans`.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.bytes().all(|letter| letter.is_ascii_lowercase())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|letter| letter.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_it_names_values() {
        let cut = |text| pieces_of(text, Some(MessageKind::Receipt));
        assert_eq!(cut(""), Ok(vec![]));
        assert_eq!(cut("no } name { here }}"), Ok(vec![Piece::Text("no } name { here }}")]));
        let named = vec![
            Piece::Text("by "),
            Piece::Value("dueDate"),
            Piece::Value("requestId"),
            Piece::Text("."),
        ];
        assert_eq!(cut("by {{dueDate}}{{ requestId }}."), Ok(named));
    }

    #[test]
    fn what_names_no_value_of_its_kind_is_refused_with_its_place() {
        let at = |kind, text| pieces_of(text, kind).map_err(|TextPlace { line, column }| (line, column));
        let receipt = Some(MessageKind::Receipt);
        for (kind, text, place) in [
            (receipt, "{{", (1, 1)),
            (receipt, "Grüße {{firstName}}", (1, 7)),
            (receipt, "a\nb {{due date}}", (2, 3)),
            (receipt, "{{dueDate}} {{}}", (1, 13)),
            (receipt, "{{reportLink}}", (1, 1)),
            (None, "{{dueDate}}", (1, 1)),
            (Some(MessageKind::Canceled), "\n\n{{{requestId}}}", (3, 1)),
        ] {
            assert_eq!(at(kind, text), Err(place), "{text}");
        }
        assert!(at(None, "{{requestId}}").is_ok());
    }

    #[test]
    fn a_template_that_could_not_be_sent_is_refused() {
        let id = TemplateId(Uuid::nil());
        let good = Template {
            kind: Some(MessageKind::ReportReady),
            locale: Some("pt-BR".into()),
            body: "<a href=\"{{reportLink}}\">here</a>".into(),
            ..Template::new(id, "Ready".into(), Timestamp::UNIX_EPOCH)
        };
        assert_eq!(good.check(), Ok(()));
        type Spoil = fn(&mut Template);
        let unknown = |column| SettingError::UnknownPlaceholder {
            line: 1,
            column,
            names: "REPORT_READY",
        };
        let nothing = SettingError::OpensNothing { names: "REPORT_READY" };
        let cases: [(Spoil, SettingError); 9] = [
            (|t| t.title.clear(), SettingError::Empty),
            (|t| t.subject = "Ready\nBcc: all".into(), SettingError::ControlCharacter),
            (|t| t.subject = "for {{email}}".into(), unknown(5)),
            (|t| t.body = "{{code}}".into(), unknown(1)),
            (|t| t.body = "Your report is ready.".into(), nothing),
            (
                |t| t.text = Some("Your report, {{requestId}}, is ready.".into()),
                nothing,
            ),
            (|t| t.text = Some("x{{dueDate}}".into()), unknown(2)),
            (|t| t.body = "x".repeat(BODY_MAX + 1), SettingError::TooLong),
            (|t| t.locale = Some("de_DE".into()), SettingError::BadLocale),
        ];
        for (spoil, why) in cases {
            let mut template = good.clone();
            spoil(&mut template);
            assert_eq!(template.check(), Err(why));
        }
    }

    #[test]
    fn the_numbers_of_kinds_are_their_places() {
        for (place, kind) in MessageKind::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.code()), place);
            assert_eq!(MessageKind::of_code(kind.code()), Some(kind));
            assert_eq!(MessageKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
