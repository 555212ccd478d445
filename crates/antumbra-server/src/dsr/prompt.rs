//! Requests that a choice prompts: opened like submitted ones, with the person as the preference record knows them.
//!
//! Nobody is there to be told that something does not fit. So whatever the request can do without is left out if it is
//! unknown here (an attribute, a language, a region, an identifier in a form that requests do not take), and a person
//! without an address gets no messages; only without an action, a data subject type or any identifier is there no request.
//!
//! A submission that repeats an open request is refused; a prompt is not, because each change is news to the silos: who
//! refuses, allows and refuses again has to be told of three times.

use antumbra_store::Tx;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Deed, DsrError, DsrId, locales,
    model::{Region, SiloChoice},
    occasion::Occasion,
    regions, store,
    submission::{EmailClaim, Submission, normalize},
    submit::{blinds, keep},
};
use crate::{
    config::DsrConfig,
    keyring::OrganizationKeys,
    organization::{Action, AttributeKey, AttributeKind, IdentifierKind, Settings},
};

/// What shall be opened.
pub struct Prompt {
    /// What is demanded.
    pub action: Action,
    /// The slug of the data subject type.
    pub subject_type: String,
    /// Names and values of what points at the person.
    pub identifiers: Vec<(String, String)>,
    /// No message is sent to the data subject.
    pub is_silent: bool,
    /// It is made to try something out.
    pub is_test: bool,
    /// The data subject gets no receipt.
    pub skips_receipt: bool,
    /// The template of the receipt.
    pub receipt_template: Option<Uuid>,
    /// No waiting period.
    pub skips_waiting: bool,
    /// The language of messages and report.
    pub locale: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// ISO 3166-2.
    pub subdivision: Option<String>,
    /// Names of attribute keys, each with values.
    pub attributes: Vec<(String, Vec<String>)>,
    /// Which silos are asked.
    pub silos: SiloChoice,
    /// The choice.
    pub occasion: Occasion,
    /// Why now.
    pub cause: Cause,
}

/// Why a choice prompts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Somebody asked for it, and nothing changed.
    Insistence,
    /// It is another than before.
    Change,
}

/// Why a choice can't prompt a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The data subject type is unknown, or takes no new requests.
    SubjectType,
    /// The data subject type may not demand that.
    Action,
    /// Nothing that points at the person is in a form that requests take.
    Identifier,
    /// What was chosen about is gone.
    Purpose,
}

impl Unfit {
    /// One word for it, for the audit log.
    pub const fn word(self) -> &'static str {
        match self {
            Unfit::SubjectType => "no-such-subject-type",
            Unfit::Action => "action-not-offered",
            Unfit::Identifier => "no-identifier",
            Unfit::Purpose => "no-such-purpose",
        }
    }
}

/// Opens what is prompted and starts it, as the route for submissions does. The inner error has written nothing.
///
/// Fails with [`DsrError::PastStopping`], having written nothing, if somebody insists while an equivalent request is open
/// and can no longer be stopped.
pub async fn open_prompted(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    settings: &Settings,
    deed: &Deed<'_>,
    config: &DsrConfig,
    prompt: Prompt,
) -> Result<Result<DsrId, Unfit>, DsrError> {
    let cause = prompt.cause;
    let submission = match prompt.submission(settings, deed.now) {
        Ok(submission) => submission,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let blinds = blinds(keys, &submission);
    if cause == Cause::Insistence {
        let open = store::list_equivalent(tx, deed.organization, &blinds).await?;
        let heads = store::find_heads(tx, deed.organization, &open).await?;
        if let Some(head) = heads.iter().find(|head| head.state.is_past_stopping()) {
            return Err(DsrError::PastStopping(head.state.status()));
        }
    }
    let dsr = keep(tx, keys, deed, submission, &blinds, config).await?;
    Ok(Ok(dsr.head.id))
}

impl Prompt {
    fn submission(self, settings: &Settings, now: Timestamp) -> Result<Submission, Unfit> {
        let subject_type = settings.find_subject_type(&self.subject_type);
        let subject_type = subject_type.filter(|known| known.active).ok_or(Unfit::SubjectType)?;
        let action = settings.find_action(self.action).ok_or(Unfit::Action)?;
        if !subject_type.actions.contains(&self.action) {
            return Err(Unfit::Action);
        }
        let identifiers = self.identifiers(settings);
        let first = |kind: IdentifierKind| identifiers.iter().find(|(_, other, _)| *other == kind);
        let email = first(IdentifierKind::Email);
        let core = first(IdentifierKind::CoreIdentifier)
            .or(email)
            .or(identifiers.first())
            .ok_or(Unfit::Identifier)?;
        let (core_identifier, email) = (core.2.clone(), email.map(|(.., value)| value.clone()));
        let template = |id: &Uuid| settings.templates.iter().any(|template| template.id.0 == *id);
        Ok(Submission {
            settings: action.clone(),
            subject_type: subject_type.slug.clone(),
            time_to_answer: subject_type.time_to_answer(self.action),
            organization: settings.organization.clone(),
            core_identifier,
            is_silent: self.is_silent || email.is_none(),
            email,
            email_claim: EmailClaim::Unsaid,
            identifiers,
            is_test: self.is_test || settings.organization.rehearses,
            skips_receipt: self.skips_receipt,
            receipt_template: self.receipt_template.filter(template),
            skips_waiting: self.skips_waiting,
            skipped_enrichers: Vec::new(),
            locale: self
                .locale
                .as_deref()
                .and_then(locales::find_locale)
                .unwrap_or(locales::DEFAULT_LOCALE),
            details: String::new(),
            attributes: Some(resolve(settings, self.attributes)),
            region: region(self.country.as_deref(), self.subdivision.as_deref()),
            created_at: now,
            imported_end: None,
            silos: self.silos,
            reply_to: Vec::new(),
            occasion: Some(self.occasion),
            partition: None,
            drop: None,
            words: Vec::new(),
        })
    }

    /// Name, kind and value of each identifier that requests take.
    fn identifiers(&self, settings: &Settings) -> Vec<(String, IdentifierKind, String)> {
        let fit = |(name, value): &(String, String)| {
            let kind = settings.find_identifier(name)?.identifier.kind;
            Some((name.clone(), kind, normalize(kind, value).ok()?))
        };
        self.identifiers.iter().filter_map(fit).collect()
    }
}

/// The attributes that requests can carry, each key once; of a single choice the first value.
fn resolve(settings: &Settings, given: Vec<(String, Vec<String>)>) -> Vec<(AttributeKey, Vec<String>)> {
    let mut resolved: Vec<(AttributeKey, Vec<String>)> = Vec::new();
    for (name, values) in given {
        let known = settings.find_attribute_key(&name).filter(|key| key.is_for_requests());
        let Some(key) = known.filter(|_| !values.is_empty()) else {
            continue;
        };
        let at = resolved.iter().position(|(other, _)| other.id == key.id);
        let at = at.unwrap_or_else(|| {
            resolved.push((key.clone(), Vec::new()));
            resolved.len() - 1
        });
        let into = &mut resolved[at].1;
        for value in values.into_iter().filter(|value| !value.trim().is_empty()) {
            let is_full = key.kind == AttributeKind::SingleSelect && !into.is_empty();
            if !is_full && !into.contains(&value) {
                into.push(value);
            }
        }
    }
    resolved
}

/// A subdivision brings its country along; one of another country is left out.
fn region(country: Option<&str>, subdivision: Option<&str>) -> Region {
    let country = country.and_then(regions::find_country);
    let subdivision = subdivision
        .and_then(regions::find_subdivision)
        .filter(|(of, _)| country.is_none_or(|country| country == *of));
    Region {
        country: country.or(subdivision.as_ref().map(|(of, _)| *of)).map(str::to_owned),
        subdivision: subdivision.map(|(_, code)| code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_of_a_region_is_left_out() {
        for (country, subdivision, expected) in [
            (None, None, (None, None)),
            (Some("FR"), None, (Some("FR"), None)),
            (None, Some("US-CA"), (Some("US"), Some("US-CA"))),
            (Some("US"), Some("US-CA"), (Some("US"), Some("US-CA"))),
            (Some("FR"), Some("US-CA"), (Some("FR"), None)),
            (Some("ZZ"), Some("ZZ-1"), (None, None)),
        ] {
            let found = region(country, subdivision);
            assert_eq!((found.country.as_deref(), found.subdivision.as_deref()), expected);
        }
    }
}
