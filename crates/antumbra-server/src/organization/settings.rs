//! Everything an organization has configured about itself, made ready to be asked.

use regex::Regex;

use super::model::{
    Action, ActionSettings, AttributeKey, Identifier, IdentifierKind, Organization, SubjectType, Template, compile,
};

/// The settings of one organization, as one snapshot of the store has them. Lists are in the order of creation.
#[derive(Debug)]
pub struct Settings {
    /// The organization itself.
    pub organization: Organization,
    /// Its data subject types.
    pub subject_types: Vec<SubjectType>,
    /// How it handles each action, in the order of [`Action::ALL`].
    pub actions: Vec<ActionSettings>,
    /// The identifiers it knows people by.
    pub identifiers: Vec<KnownIdentifier>,
    /// Its attribute keys.
    pub attribute_keys: Vec<AttributeKey>,
    /// Its templates.
    pub templates: Vec<Template>,
}

/// An identifier, ready to look at values.
#[derive(Debug)]
pub struct KnownIdentifier {
    /// How it is configured.
    pub identifier: Identifier,
    /// Nothing where any value will do.
    pattern: Option<Regex>,
}

impl KnownIdentifier {
    /// Whether the configured pattern and options let this value through.
    pub fn accepts(&self, value: &str) -> bool {
        let options = &self.identifier.select_options;
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(value))
            && (options.is_empty() || options.iter().any(|option| option == value))
    }
}

impl Settings {
    pub(crate) fn new(
        organization: Organization,
        subject_types: Vec<SubjectType>,
        mut actions: Vec<ActionSettings>,
        identifiers: Vec<Identifier>,
        attribute_keys: Vec<AttributeKey>,
        templates: Vec<Template>,
    ) -> Settings {
        actions.sort_by_key(|settings| settings.action);
        let ready = |identifier: Identifier| KnownIdentifier {
            // Invariant: a pattern is compiled before it is stored. Should a later version of the library refuse one,
            // the pattern that nothing matches keeps values out rather than letting all of them in.
            pattern: compile(&identifier.regex).unwrap_or_else(|_| Regex::new("[^\\s\\S]").ok()),
            identifier,
        };
        let identifiers = identifiers.into_iter().map(ready).collect();
        Settings {
            organization,
            subject_types,
            actions,
            identifiers,
            attribute_keys,
            templates,
        }
    }

    /// The data subject type that `subjectType` names.
    pub fn find_subject_type(&self, slug: &str) -> Option<&SubjectType> {
        self.subject_types.iter().find(|subject| subject.slug == slug)
    }

    /// How requests with this action are handled.
    pub fn find_action(&self, action: Action) -> Option<&ActionSettings> {
        self.actions.iter().find(|settings| settings.action == action)
    }

    /// The identifier of this name.
    pub fn find_identifier(&self, name: &str) -> Option<&KnownIdentifier> {
        self.identifiers.iter().find(|known| known.identifier.name == name)
    }

    /// The one identifier of a kind that has only one.
    pub fn find_identifier_of_kind(&self, kind: IdentifierKind) -> Option<&KnownIdentifier> {
        self.identifiers
            .iter()
            .find(|known| known.identifier.kind == kind && !kind.may_repeat())
    }

    /// The attribute key of this name.
    pub fn find_attribute_key(&self, name: &str) -> Option<&AttributeKey> {
        self.attribute_keys.iter().find(|key| key.name == name)
    }
}
