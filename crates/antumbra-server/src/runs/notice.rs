//! The notice of a new run: what a silo reads in it, field for field.
//!
//! Receivers check these objects against closed schemas, so nothing of our own goes in; what is not known is left out and
//! not null, save for `pollId`.

use serde::Serialize;
use uuid::Uuid;

use super::model::{Profile, RunId, SiloRun};
use crate::{
    dsr::{Dsr, DsrIdentifier, PartitionOut, PurposeOut},
    organization::{Action, Organization},
    silos::DataSilo,
};

/// What a notice is about.
pub(super) struct Notice<'a> {
    /// Address of this server, without a slash at its end.
    pub(super) public_url: &'a str,
    pub(super) organization: &'a Organization,
    pub(super) dsr: &'a Dsr,
    pub(super) silo: &'a DataSilo,
    pub(super) run: &'a SiloRun,
    pub(super) profile: &'a Profile,
    pub(super) identifier: &'a DsrIdentifier,
    pub(super) poll_id: Option<&'a str>,
}

impl Notice<'_> {
    /// The body of the webhook. It holds personal data and goes to the silo only.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let (head, subject) = (&self.dsr.head, &self.dsr.subject);
        let body = Body {
            r#type: self.run.action,
            core_identifier: Valued {
                value: &subject.core_identifier,
            },
            request_identifier: Valued {
                value: &self.identifier.value,
            },
            data_subject: Typed {
                r#type: &head.subject_type,
            },
            is_test: head.is_test,
            extras: Extras {
                profile: ProfileOut {
                    id: self.profile.id.0,
                    run: self.run.id,
                    identifier: &self.identifier.value,
                    r#type: &self.profile.name,
                },
                data_silo: SiloOut {
                    id: self.silo.id.0,
                    title: &self.silo.title,
                    description: &self.silo.description,
                    link: format!("{}/data-map/integrations/{}", self.public_url, self.silo.id.0),
                },
                poll_id: self.poll_id,
                request: RequestOut {
                    id: head.id.0,
                    link: format!("{}/privacy-requests/incoming-requests/{}", self.public_url, head.id.0),
                    details: &subject.details,
                    created_at: format!("{:.3}", head.created_at),
                    locale: &head.locale,
                    origin: head.origin.as_str(),
                    attributes: self.attributes(),
                    country: head.region.country.as_deref(),
                    country_sub_division: head.region.subdivision.as_deref(),
                    partition: subject.partition().map(PartitionOut::new),
                },
                organization: OrganizationOut {
                    id: self.organization.id.0,
                    uri: &self.organization.uri,
                    name: &self.organization.name,
                },
                purpose: subject.occasion.as_ref().map(PurposeOut::new),
            },
        };
        serde_json::to_vec(&body).expect("a struct of strings has no way to fail")
    }

    fn attributes(&self) -> Vec<AttributeOut<'_>> {
        let with_values = self
            .dsr
            .subject
            .attributes
            .iter()
            .filter(|attribute| !attribute.values.is_empty());
        with_values
            .map(|attribute| AttributeOut {
                key: &attribute.key,
                values: attribute.values.iter().map(|(_, value)| value.as_str()).collect(),
            })
            .collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    r#type: Action,
    core_identifier: Valued<'a>,
    request_identifier: Valued<'a>,
    data_subject: Typed<'a>,
    is_test: bool,
    extras: Extras<'a>,
}

#[derive(Serialize)]
struct Valued<'a> {
    value: &'a str,
}

#[derive(Serialize)]
struct Typed<'a> {
    r#type: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extras<'a> {
    profile: ProfileOut<'a>,
    data_silo: SiloOut<'a>,
    poll_id: Option<&'a str>,
    request: RequestOut<'a>,
    organization: OrganizationOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<PurposeOut>,
}

#[derive(Serialize)]
struct ProfileOut<'a> {
    id: Uuid,
    #[serde(rename = "RequestDataSiloId")]
    run: RunId,
    identifier: &'a str,
    r#type: &'a str,
}

#[derive(Serialize)]
struct SiloOut<'a> {
    id: Uuid,
    title: &'a str,
    description: &'a str,
    link: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestOut<'a> {
    id: Uuid,
    link: String,
    details: &'a str,
    created_at: String,
    locale: &'a str,
    origin: &'static str,
    attributes: Vec<AttributeOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_sub_division: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<PartitionOut>,
}

/// A label with its values, here and in work lists.
#[derive(Serialize)]
struct AttributeOut<'a> {
    key: &'a str,
    values: Vec<&'a str>,
}

#[derive(Serialize)]
struct OrganizationOut<'a> {
    id: Uuid,
    uri: &'a str,
    name: &'a str,
}
