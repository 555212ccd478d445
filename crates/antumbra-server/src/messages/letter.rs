//! What somebody wants to tell a data subject, before it has words.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use crate::{
    dsr::DsrId,
    organization::{Action, MessageKind, TemplateId},
};

/// Something to tell a data subject. Its words are found when it is posted: its own, those of the template it names, those of
/// the organization for its kind, action and language, or those that are built in, in this order.
#[derive(Clone)]
pub struct Letter {
    /// The request it is about, under whose key it is sealed.
    pub request: DsrId,
    /// What it tells.
    pub kind: MessageKind,
    /// What the request demands.
    pub action: Action,
    /// When the request was made: the day, at noon by UTC.
    pub requested_at: Timestamp,
    /// The address of the data subject.
    pub to: String,
    /// The language they asked for.
    pub locale: String,
    /// Words chosen for this one message.
    pub words: OwnWords,
    /// Values beside those that every message has, by the names that its kind knows.
    pub fields: BTreeMap<&'static str, Field>,
    /// Who is copied, and gets what the data subject answers. Nobody is copied on a message that opens something.
    pub reply_to: Vec<String>,
}

/// Words chosen for one message. What is not chosen is found as for any other.
#[derive(Clone, Default)]
pub struct OwnWords {
    /// The template to use.
    pub template: Option<TemplateId>,
    /// The template to use, by its title, where none is named by its id.
    pub template_title: Option<String>,
    /// The subject line.
    pub subject: Option<String>,
    /// The body: HTML if it has any tag, else plain text.
    pub body: Option<String>,
}

/// A value that a message names.
#[derive(Clone, PartialEq, Eq)]
pub enum Field {
    /// As it is.
    Text(String),
    /// An address to follow.
    Link(String),
    /// A day, written as the language writes days.
    Day(Timestamp),
}

impl Letter {
    /// The same, with one more value.
    pub fn with(mut self, name: &'static str, field: Field) -> Letter {
        self.fields.insert(name, field);
        self
    }
}

macro_rules! says_nothing {
    ($($personal:ty),*) => {$(
        impl fmt::Debug for $personal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($personal), "(…)"))
            }
        }
    )*};
}

says_nothing!(Letter, OwnWords, Field);
