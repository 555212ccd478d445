//! What somebody submits, checked against what the organization has configured.
//!
//! A body is read in two steps that share one list of broken rules, so that its sender learns all of them at once:
//! [`super::wire`] turns JSON into a [`Draft`], whatever could be read of it, and [`Draft::check`] turns that into a
//! [`Submission`].

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    drop_runs::DropLink,
    model::{ImportedEnd, Region, SiloChoice},
    occasion::{Occasion, OccasionPartition},
    refusal::{Checks, InputCode},
    regions,
    restart::{Restart, Standing},
};
use crate::organization::{
    Action, ActionSettings, AttributeKey, AttributeKind, Days, IdentifierKind, KnownIdentifier, Organization,
    PostCompileStatus, RegionDetection, Settings,
};

/// Bytes of a core identifier, or of any other identifier's value.
pub(crate) const IDENTIFIER_BYTES_MAX: usize = 1_024;
/// Identifiers of one request.
pub(crate) const IDENTIFIERS_MAX: usize = 500;
/// Bytes of the free text.
pub(crate) const DETAILS_BYTES_MAX: usize = 256 * 1024;
/// Attribute keys of one request, and values of one key.
pub(crate) const ATTRIBUTES_MAX: usize = 200;
/// Bytes of one value of an attribute.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 4 * 1024;
/// Silos or enrichers that one request names.
pub(crate) const IDS_MAX: usize = 5_000;
/// Addresses that get copies.
pub(crate) const REPLY_TO_MAX: usize = 50;
/// Bytes of any other short text.
pub(crate) const WORD_BYTES_MAX: usize = 256;
/// Clocks differ: a request may be this much younger than now.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// As much of a submitted body as could be read.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) action: Option<Action>,
    pub(crate) subject_type: Option<String>,
    pub(crate) core_identifier: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) email_claim: EmailClaim,
    pub(crate) extras: Vec<Extra>,
    pub(crate) is_silent: Option<bool>,
    pub(crate) is_test: Option<bool>,
    pub(crate) skips_receipt: Option<bool>,
    pub(crate) receipt_template: Option<Uuid>,
    pub(crate) skips_waiting: bool,
    pub(crate) skipped_enrichers: Option<Vec<Uuid>>,
    pub(crate) locale: Option<&'static str>,
    pub(crate) details: Option<String>,
    pub(crate) attributes: Option<Vec<Labels>>,
    pub(crate) region: Option<Region>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) imported_end: Option<ImportedEnd>,
    /// What the data subject has chosen to see at the end.
    pub(crate) post_compile: Option<PostCompileStatus>,
    pub(crate) silos: Option<SiloChoice>,
    pub(crate) reply_to: Option<Vec<String>>,
    /// The request that shall begin again, if one shall.
    pub(crate) restart: Option<Restart>,
    /// The key of the partition that it is about.
    pub(crate) partition: Option<String>,
    /// What its sender calls this submission, so that it is taken once.
    pub(crate) idempotency_key: Option<String>,
    /// All that is submitted, in one form, so that a repeat is known again.
    pub(crate) words: Vec<u8>,
}

/// What a submitter says about an e-mail address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EmailClaim {
    /// They vouch for it.
    Verified,
    /// They say that they do not.
    Unverified,
    /// They say nothing.
    #[default]
    Unsaid,
    /// They do not name it: it is the one that the request had, and stays as it was.
    Kept,
}

/// An identifier that the submitter adds.
pub(crate) struct Extra {
    /// Where it stands in the body.
    pub(crate) path: String,
    /// Its name: that of its kind, or the organization's own.
    pub(crate) name: String,
    /// Its value as sent.
    pub(crate) value: String,
}

/// Values of one attribute.
pub(crate) struct Labels {
    /// Where they stand in the body.
    pub(crate) path: String,
    /// The name of the attribute key.
    pub(crate) key: String,
    /// The values.
    pub(crate) values: Vec<String>,
}

/// What else the organization has configured.
#[derive(Default)]
pub(crate) struct Configured {
    /// Its data silos.
    pub(crate) silos: BTreeSet<Uuid>,
    /// Its enrichers.
    pub(crate) enrichers: BTreeSet<Uuid>,
    /// Its partitions.
    pub(crate) partitions: Vec<OccasionPartition>,
}

/// A submission that keeps every rule.
pub(crate) struct Submission {
    pub(crate) settings: ActionSettings,
    pub(crate) subject_type: String,
    /// What is set for the data subject type.
    pub(crate) time_to_answer: Option<Days>,
    /// The organization that it is for, as it stands.
    pub(crate) organization: Organization,
    pub(crate) core_identifier: String,
    pub(crate) email: Option<String>,
    pub(crate) email_claim: EmailClaim,
    pub(crate) identifiers: Vec<(String, IdentifierKind, String)>,
    pub(crate) is_silent: bool,
    pub(crate) is_test: bool,
    pub(crate) skips_receipt: bool,
    pub(crate) receipt_template: Option<Uuid>,
    pub(crate) skips_waiting: bool,
    pub(crate) skipped_enrichers: Vec<Uuid>,
    pub(crate) locale: &'static str,
    pub(crate) details: String,
    /// None, if nothing is said of them.
    pub(crate) attributes: Option<Vec<(AttributeKey, Vec<String>)>>,
    pub(crate) region: Region,
    pub(crate) created_at: Timestamp,
    pub(crate) imported_end: Option<ImportedEnd>,
    pub(crate) silos: SiloChoice,
    pub(crate) reply_to: Vec<String>,
    /// The choice that prompts it, if nobody submits it.
    pub(crate) occasion: Option<Occasion>,
    /// The partition that it is about, where that is said.
    pub(crate) partition: Option<OccasionPartition>,
    /// The records of a deletion platform that it answers.
    pub(crate) drop: Option<DropLink>,
    /// All that was submitted, in one form, so that a repeat is known again.
    pub(crate) words: Vec<u8>,
}

impl Draft {
    /// The silos it names, with the field that names them.
    pub(crate) fn named_silos(&self) -> (&'static str, &[Uuid]) {
        match &self.silos {
            None | Some(SiloChoice::All) => ("dataSiloIds", &[]),
            Some(SiloChoice::Only(ids)) => ("dataSiloIds", ids),
            Some(SiloChoice::Except(ids)) => ("ignoreDataSiloIds", ids),
        }
    }

    /// The draft as a submission, if nothing about it is wrong. What was wrong with its text stands in `checks` already.
    ///
    /// `standing` is the request that it wants restarted.
    pub(crate) fn check(
        mut self,
        settings: &Settings,
        configured: &Configured,
        standing: Option<&Standing>,
        now: Timestamp,
        mut checks: Checks,
    ) -> Result<Submission, Checks> {
        self.check_subject_type(settings, &mut checks);
        self.check_ids(settings, configured, &mut checks);
        self.take_up(standing, settings, now, &mut checks);
        let is_silent = self.is_silent.unwrap_or(false);
        if self.email.is_none() && !is_silent {
            let rule = "is required unless isSilent is true";
            checks.refused(InputCode::MissingRequiredEmail, "subject.email", rule);
        }
        if self.created_at.is_some_and(|at| at > now + CLOCK_SKEW) {
            checks.broken("createdAt", "must not be in the future");
        }
        let partition = self.find_partition(configured, &mut checks);
        self.check_built_in(settings, &mut checks);
        let identifiers = self.resolve_extras(settings, &mut checks);
        let attributes = self.resolve_attributes(settings, &mut checks);
        let action = self.action.and_then(|action| settings.find_action(action));
        if self.action.is_some() && action.is_none() {
            checks.broken("type", "is not an action of this organization");
        }
        if let Some(action) = action {
            self.check_region(action, &mut checks);
        }
        let is_offered =
            |action: &ActionSettings, chosen| action.allow_post_compile_choice || action.post_compile_status == chosen;
        if let (Some(action), Some(chosen)) = (action, self.post_compile)
            && !is_offered(action, chosen)
        {
            let rule = "is not what this action offers, and it leaves no choice to the data subject";
            checks.broken("postCompileStatus", rule);
        }
        if !checks.is_empty() {
            return Err(checks);
        }
        let (Some(action), Some(subject_type), Some(core_identifier)) =
            (action, self.subject_type, self.core_identifier)
        else {
            checks.broken("", "lacks a required field");
            return Err(checks);
        };
        let chosen = ActionSettings {
            post_compile_status: self.post_compile.unwrap_or(action.post_compile_status),
            ..action.clone()
        };
        Ok(Submission {
            settings: chosen,
            time_to_answer: settings
                .find_subject_type(&subject_type)
                .and_then(|known| known.time_to_answer(action.action)),
            organization: settings.organization.clone(),
            subject_type,
            core_identifier,
            email: self.email,
            email_claim: self.email_claim,
            identifiers,
            is_silent,
            is_test: self.is_test.unwrap_or(false) || settings.organization.rehearses,
            skips_receipt: self.skips_receipt.unwrap_or(false),
            receipt_template: self.receipt_template,
            skips_waiting: self.skips_waiting,
            skipped_enrichers: self.skipped_enrichers.unwrap_or_default(),
            locale: self.locale.unwrap_or(super::locales::DEFAULT_LOCALE),
            details: self.details.unwrap_or_default(),
            attributes,
            region: self.region.unwrap_or_default(),
            created_at: self.created_at.map_or(now, |at| at.min(now)),
            imported_end: self.imported_end,
            silos: self.silos.unwrap_or_default(),
            reply_to: self.reply_to.unwrap_or_default(),
            occasion: None,
            partition,
            drop: None,
            words: self.words,
        })
    }

    fn check_subject_type(&self, settings: &Settings, checks: &mut Checks) {
        let Some(slug) = &self.subject_type else { return };
        let mut refused = |path, rule| checks.refused(InputCode::SubjectTypeNotMatchingWorkflow, path, rule);
        match (settings.find_subject_type(slug), self.action) {
            (None, _) => refused("subjectType", "is not a data subject type of this organization"),
            (Some(subject_type), _) if !subject_type.active => {
                refused("subjectType", "is a data subject type that takes no new requests");
            }
            (Some(subject_type), Some(action)) if !subject_type.actions.contains(&action) => {
                refused("type", "is not an action that this data subject type may demand");
            }
            (Some(_), _) => {}
        }
    }

    fn check_ids(&self, settings: &Settings, configured: &Configured, checks: &mut Checks) {
        let (field, silos) = self.named_silos();
        for (at, silo) in silos.iter().enumerate() {
            if !configured.silos.contains(silo) {
                let rule = "is not a data silo of this organization";
                checks.refused(InputCode::DataSiloNotInWorkflow, format!("{field}[{at}]"), rule);
            }
        }
        for (at, enricher) in self.skipped_enrichers.iter().flatten().enumerate() {
            if !configured.enrichers.contains(enricher) {
                checks.broken(
                    format!("skipEnrichmentChecks[{at}]"),
                    "is not an enricher of this organization",
                );
            }
        }
        let known = |id: Uuid| settings.templates.iter().any(|template| template.id.0 == id);
        if self.receipt_template.is_some_and(|id| !known(id)) {
            let rule = "is not a template of this organization";
            checks.refused(InputCode::ReceiptTemplateNotFound, "emailReceiptTemplateId", rule);
        }
    }

    /// Where an action is offered in some regions only, and regions are asked for, the region must be one of them. What was
    /// taken in stays taken in.
    fn check_region(&self, action: &ActionSettings, checks: &mut Checks) {
        let is_asked_for = action.region_detection != RegionDetection::Disabled && !action.regions.is_empty();
        if !is_asked_for || self.restart.is_some() {
            return;
        }
        let nowhere = Region::default();
        let region = self.region.as_ref().unwrap_or(&nowhere);
        if !action.regions.iter().any(|offered| regions::covers(offered, region)) {
            let rule = "is not one that the workflow is offered in";
            checks.refused(InputCode::RegionNotInWorkflow, "region", rule);
        }
    }

    /// The core identifier and the address have the form that the organization asks for, as every other identifier has. What
    /// was taken in before, here or elsewhere, keeps the form it has.
    fn check_built_in(&self, settings: &Settings, checks: &mut Checks) {
        if self.restart.is_some() || self.imported_end.is_some() {
            return;
        }
        for (kind, value, path) in [
            (
                IdentifierKind::CoreIdentifier,
                &self.core_identifier,
                "subject.coreIdentifier",
            ),
            (IdentifierKind::Email, &self.email, "subject.email"),
        ] {
            let known = settings.find_identifier(kind.as_str());
            // What could not be read is told already.
            let value = value.as_deref().filter(|value| !value.is_empty());
            if let (Some(known), Some(value)) = (known, value)
                && let Err(rule) = has_form(known, value)
            {
                checks.refused(InputCode::IdentifierValidationFailed, path, rule);
            }
        }
    }

    fn find_partition(&self, configured: &Configured, checks: &mut Checks) -> Option<OccasionPartition> {
        let key = self.partition.as_ref()?;
        let found = configured.partitions.iter().find(|known| known.key == *key).cloned();
        if found.is_none() {
            checks.broken("partitionKey", "is not a partition of this organization");
        }
        found
    }

    /// Name, kind and normalised value of each identifier beyond the core identifier and the address, each once.
    fn resolve_extras(&self, settings: &Settings, checks: &mut Checks) -> Vec<(String, IdentifierKind, String)> {
        let mut seen = BTreeSet::new();
        let mut identifiers = Vec::new();
        for extra in &self.extras {
            let Some(known) = settings.find_identifier(&extra.name) else {
                let rule = "The organization does not support identifiers with this name at submission time";
                checks.refused(InputCode::UnsupportedIdentifierName, &extra.path, rule);
                continue;
            };
            match fit(known, &extra.value) {
                Ok(value) => {
                    if seen.insert((extra.name.clone(), value.clone())) {
                        identifiers.push((extra.name.clone(), known.identifier.kind, value));
                    }
                }
                Err(rule) => {
                    let path = format!("{}.value", extra.path);
                    checks.refused(InputCode::IdentifierValidationFailed, path, rule);
                }
            }
        }
        identifiers
    }

    fn resolve_attributes(&self, settings: &Settings, checks: &mut Checks) -> Option<Vec<(AttributeKey, Vec<String>)>> {
        let mut resolved: Vec<(AttributeKey, Vec<String>)> = Vec::new();
        for Labels { path, key, values } in self.attributes.as_ref()? {
            let Some(found) = settings.find_attribute_key(key).filter(|key| key.is_for_requests()) else {
                checks.broken(format!("{path}.key"), "is not an attribute that requests can carry");
                continue;
            };
            let at = resolved
                .iter()
                .position(|(known, _)| known.id == found.id)
                .unwrap_or_else(|| {
                    resolved.push((found.clone(), Vec::new()));
                    resolved.len() - 1
                });
            let into = &mut resolved[at].1;
            for value in values {
                if !into.contains(value) {
                    into.push(value.clone());
                }
            }
            if found.kind == AttributeKind::SingleSelect && into.len() > 1 {
                checks.broken(
                    format!("{path}.values"),
                    "must be one value only, as this attribute is a single choice",
                );
            }
        }
        Some(resolved)
    }
}

/// The normalised value, if the organization would take it for that identifier.
pub(crate) fn fit(known: &KnownIdentifier, value: &str) -> Result<String, String> {
    let value = normalize(known.identifier.kind, value)?;
    has_form(known, &value)?;
    Ok(value)
}

/// Whether a value has the form that the organization asks for; if not, what it says about that.
fn has_form(known: &KnownIdentifier, value: &str) -> Result<(), String> {
    if known.accepts(value) {
        return Ok(());
    }
    let said = known
        .identifier
        .validation_error_message
        .clone()
        .filter(|text| !text.trim().is_empty());
    Err(said.unwrap_or_else(|| "does not have the form that the organization asks for".to_owned()))
}

/// The one form of an identifier's value that is kept, compared and looked up.
pub(crate) fn normalize(kind: IdentifierKind, value: &str) -> Result<String, &'static str> {
    let value = value.trim();
    if value.is_empty() {
        return Err("must not be empty");
    }
    if value.len() > IDENTIFIER_BYTES_MAX {
        return Err("must have at most 1024 bytes");
    }
    if value.chars().any(char::is_control) {
        return Err("must not hold control characters");
    }
    match kind {
        IdentifierKind::Email => normalize_email(value).ok_or("must be an e-mail address"),
        IdentifierKind::Phone => normalize_phone(value).ok_or("must be a telephone number that begins with +"),
        _ => Ok(value.to_owned()),
    }
}

/// An e-mail address in lower case; nothing if it is none.
pub(crate) fn normalize_email(value: &str) -> Option<String> {
    let value = value.trim().to_lowercase();
    let (local, domain) = value.rsplit_once('@')?;
    let local_fits = (1..=64).contains(&local.len())
        && local
            .chars()
            .all(|c| c.is_alphanumeric() || !c.is_ascii() || ".!#$%&'*+/=?^_`{|}~-".contains(c))
        && !local.chars().any(|c| c.is_whitespace() || c.is_control());
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (value.len() <= 254 && local_fits && domain.split('.').all(label_fits)).then_some(value)
}

/// A telephone number as `+` and digits; nothing if it is none.
fn normalize_phone(value: &str) -> Option<String> {
    let digits = value.strip_prefix('+')?;
    let plain: String = digits
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '\u{a0}'))
        .collect();
    ((5..=15).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit())).then(|| format!("+{plain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_in_lower_case_and_anything_else_is_refused() {
        assert_eq!(
            normalize_email(" Ada.Lovelace+x@Example.TEST "),
            Some("ada.lovelace+x@example.test".into())
        );
        assert_eq!(normalize_email("ada@localhost"), Some("ada@localhost".into()));
        assert_eq!(
            normalize_email("jörg@bücher.example"),
            Some("jörg@bücher.example".into())
        );
        let long = format!("{}@example.test", "a".repeat(65));
        for wrong in [
            "",
            "ada",
            "@example.test",
            "ada@",
            "a b@example.test",
            "ada@exa mple.test",
            "ada@-x.test",
            &long,
        ] {
            assert_eq!(normalize_email(wrong), None, "{wrong}");
        }
        for wrong in [
            "ada@example..test",
            "ada@example.test\r\nBcc: eve@example.test",
            "a@b@c",
            "<ada@example.test>",
        ] {
            assert_eq!(normalize_email(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_telephone_number_is_kept_as_digits() {
        assert_eq!(
            normalize(IdentifierKind::Phone, "+1 (555) 555-0123"),
            Ok("+15555550123".into())
        );
        for wrong in ["5555550123", "+", "+1234", "+1234567890123456", "+1555abc0123"] {
            assert!(normalize(IdentifierKind::Phone, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_values_are_trimmed_and_bounded() {
        assert_eq!(normalize(IdentifierKind::Custom, " LC-1 "), Ok("LC-1".into()));
        let just_fits = "x".repeat(IDENTIFIER_BYTES_MAX);
        assert!(normalize(IdentifierKind::Custom, &just_fits).is_ok());
        for wrong in ["", "   ", "a\0b", "a\nb", &format!("{just_fits}x")] {
            assert!(normalize(IdentifierKind::Custom, wrong).is_err());
        }
    }
}
