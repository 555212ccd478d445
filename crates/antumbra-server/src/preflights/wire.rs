//! JSON in and JSON out: what an enricher found, posted to us or said in its answer to a webhook.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    dsr::{FoundIdentifier, IDENTIFIERS_MAX, PreflightEnd, fit},
    http::{Known, Slips},
    organization::{Settings, TemplateId},
};

/// The members that carry what such an object says.
const TELLING: &[&str] = &["enrichedIdentifiers", "status", "templateId", "templateTitle"];

/// Body of `POST /v1/enrich-identifiers`. An empty object says that nothing was found and nothing stands in the way.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Enrichment {
    /// What was found, by the name of the identifier.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Vec<FoundValue>>)]
    enriched_identifiers: Option<BTreeMap<String, Vec<FoundValue>>>,
    /// Stops the request.
    #[serde(default)]
    status: Option<EnrichmentStatus>,
    /// The template of the message about the cancellation.
    #[serde(default)]
    template_id: Option<Uuid>,
    /// The same by its title. The id wins.
    #[serde(default)]
    template_title: Option<String>,
}

/// One value that was found.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FoundValue {
    /// The value.
    value: String,
}

/// How an enricher can stop a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum EnrichmentStatus {
    /// It is canceled, and the data subject told so.
    Canceled,
    /// It waits for an administrator, and nobody outside is told.
    OnHold,
}

impl<'de> Deserialize<'de> for Enrichment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Enrichment, D::Error> {
        let slips = Slips::Ignored;
        Enrichment::deserialize(Known {
            from,
            telling: TELLING,
            slips,
        })
    }
}

impl fmt::Debug for Enrichment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrichment({:?})", self.status)
    }
}

/// What every write of this route answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enriched {
    /// Always true: a failure has another status.
    success: bool,
}

impl Enriched {
    pub(super) const YES: Enriched = Enriched { success: true };
}

/// An enricher's answer, compared with what the organization has configured.
pub(super) struct Answer {
    /// What it found.
    pub(super) found: Vec<FoundIdentifier>,
    /// Whether it ends the request's way to the silos.
    pub(super) end: Option<PreflightEnd>,
    /// The template of the message about that.
    pub(super) template: Option<TemplateId>,
}

impl Enrichment {
    /// What somebody said in the body of an answer to a webhook: nothing unless it is JSON with a member that we know, which
    /// is as good as an empty answer. Fails where such a member cannot be read.
    pub(super) fn said_in(body: &[u8]) -> Result<Option<Enrichment>, serde_json::Error> {
        let Ok(Value::Object(mut said)) = serde_json::from_slice::<Value>(body) else {
            return Ok(None);
        };
        // Receivers like to answer `{"status":"ok"}`.
        if said
            .get("status")
            .is_some_and(|status| status != "CANCELED" && status != "ON_HOLD")
        {
            said.remove("status");
        }
        if !["enrichedIdentifiers", "status"]
            .iter()
            .any(|name| said.get(*name).is_some_and(|value| !value.is_null()))
        {
            return Ok(None);
        }
        serde_json::from_value(Value::Object(said)).map(Some)
    }

    /// As [`Enrichment::read`], for what was said in an answer to a webhook: nobody would hear that there is no such template.
    pub(super) fn read_leniently(mut self, settings: &Settings) -> Result<Answer, Vec<(String, String)>> {
        let is_known = |id: &Uuid| settings.templates.iter().any(|known| known.id.0 == *id);
        let is_title = |title: &String| settings.templates.iter().any(|known| known.title == *title);
        self.template_id = self.template_id.filter(is_known);
        self.template_title = self.template_title.filter(is_title);
        self.read(settings)
    }

    /// The answer, with every rule that it breaks where it breaks any. No rule repeats a value.
    pub(super) fn read(self, settings: &Settings) -> Result<Answer, Vec<(String, String)>> {
        let mut broken = Vec::new();
        let mut found = Vec::new();
        let mut count = 0;
        for (name, values) in self.enriched_identifiers.unwrap_or_default() {
            let Some(known) = settings.find_identifier(&name) else {
                broken.push((
                    "enrichedIdentifiers".to_owned(),
                    "names an identifier that this organization does not have".to_owned(),
                ));
                continue;
            };
            count += values.len();
            for (at, FoundValue { value }) in values.into_iter().enumerate().take(IDENTIFIERS_MAX) {
                match fit(known, &value) {
                    Ok(value) => found.push(FoundIdentifier {
                        name: name.clone(),
                        kind: known.identifier.kind,
                        value,
                    }),
                    Err(rule) => broken.push((format!("enrichedIdentifiers.{name}[{at}].value"), rule)),
                }
            }
        }
        if count > IDENTIFIERS_MAX {
            broken.push((
                "enrichedIdentifiers".to_owned(),
                format!("must hold at most {IDENTIFIERS_MAX} values"),
            ));
        }
        let template = match (self.template_id, self.template_title) {
            (Some(id), _) => settings
                .templates
                .iter()
                .find(|known| known.id.0 == id)
                .map(Some)
                .ok_or("templateId"),
            (None, Some(title)) => settings
                .templates
                .iter()
                .find(|known| known.title == title)
                .map(Some)
                .ok_or("templateTitle"),
            (None, None) => Ok(None),
        };
        let template = template.unwrap_or_else(|field| {
            broken.push((field.to_owned(), "is not a template of this organization".to_owned()));
            None
        });
        if !broken.is_empty() {
            return Err(broken);
        }
        Ok(Answer {
            found,
            end: self.status.map(|status| match status {
                EnrichmentStatus::Canceled => PreflightEnd::Canceled,
                EnrichmentStatus::OnHold => PreflightEnd::OnHold,
            }),
            template: template.map(|template| template.id),
        })
    }
}
