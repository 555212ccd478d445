//! The webhook of a preflight: what the other end reads in it, field for field.
//!
//! Receivers check these objects against closed schemas, so nothing of our own goes in; what is not known is left out and
//! not null.

use serde_json::{Map, Value, json};

use super::model::Preflight;
use crate::{
    dsr::{Dsr, DsrIdentifier, PartitionOut, PurposeOut},
    organization::{Identifier, Organization},
    silos::Enricher,
};

/// What a webhook is about.
pub(super) struct Notice<'a> {
    /// Where an administrator finds the request.
    pub(super) link: String,
    pub(super) organization: &'a Organization,
    pub(super) dsr: &'a Dsr,
    pub(super) enricher: &'a Enricher,
    pub(super) run: &'a Preflight,
    /// The identifier it starts from, and how the organization has configured such.
    pub(super) input: &'a DsrIdentifier,
    pub(super) configured: &'a Identifier,
}

impl Notice<'_> {
    /// The body of the webhook. It holds personal data and goes to the enricher's address only.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let (head, subject) = (&self.dsr.head, &self.dsr.subject);
        let mut extras = json!({
            "enricher": { "id": self.enricher.id, "title": self.enricher.title },
            "identifier": {
                "id": self.configured.id,
                "name": self.configured.name,
                "type": self.configured.kind,
            },
            "requestEnricherId": self.run.id,
            "request": self.request(),
            "organization": {
                "id": self.organization.id,
                "uri": self.organization.uri,
                "name": self.organization.name,
            },
        });
        if let Some(occasion) = &subject.occasion {
            extras["purpose"] = json!(PurposeOut::new(occasion));
        }
        let body = json!({
            "type": head.action(),
            "coreIdentifier": { "value": subject.core_identifier },
            "requestIdentifier": { "name": self.input.name, "value": self.input.value },
            "dataSubject": { "type": head.subject_type },
            "isTest": head.is_test,
            "extras": extras,
        });
        serde_json::to_vec(&body).expect("JSON in memory has no way to fail")
    }

    fn request(&self) -> Map<String, Value> {
        let (head, subject) = (&self.dsr.head, &self.dsr.subject);
        let with_values = subject
            .attributes
            .iter()
            .filter(|attribute| !attribute.values.is_empty());
        let attributes: Vec<Value> = with_values
            .map(|attribute| {
                let values: Vec<&str> = attribute.values.iter().map(|(_, value)| value.as_str()).collect();
                json!({ "key": attribute.key, "values": values })
            })
            .collect();
        let always = [
            ("id", json!(head.id)),
            ("link", json!(self.link)),
            ("details", json!(subject.details)),
            ("createdAt", json!(format!("{:.3}", head.created_at))),
            ("locale", json!(head.locale)),
            ("origin", json!(head.origin.as_str())),
            ("attributes", json!(attributes)),
        ];
        let partition = subject.partition().map(|partition| json!(PartitionOut::new(partition)));
        let if_known = [
            ("country", head.region.country.as_ref().map(|code| json!(code))),
            (
                "countrySubDivision",
                head.region.subdivision.as_ref().map(|code| json!(code)),
            ),
            ("partition", partition),
        ];
        let known = if_known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        always
            .into_iter()
            .chain(known)
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
