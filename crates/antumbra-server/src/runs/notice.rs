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
    silos::{DataSilo, VendorMailCompletionLink},
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
    /// Where whoever has no technical connection says how their work ended.
    pub(super) completion_link: String,
}

impl Notice<'_> {
    /// The body of the webhook. It holds personal data and goes to the silo only.
    pub(super) fn to_json(&self) -> Vec<u8> {
        if self.silo.is_worked_by_hand() {
            return self.to_vendor();
        }
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
            extras: self.extras(),
        };
        serde_json::to_vec(&body).expect("a struct of strings has no way to fail")
    }

    /// The body for a vendor without a technical connection, who reads the message and follows the link in it.
    fn to_vendor(&self) -> Vec<u8> {
        let link = match self.silo.vendor_mail.completion_link {
            VendorMailCompletionLink::UnauthenticatedExternalUser => Some(self.completion_link.clone()),
            VendorMailCompletionLink::LoggedInUser => Some(self.request_link()),
            VendorMailCompletionLink::NoLinkMarkDatapointAsResolved => None,
        };
        let body = VendorBody {
            r#type: self.run.action,
            template: self.message(link.as_deref()),
            completion_link: link,
            extras: self.extras(),
        };
        serde_json::to_vec(&body).expect("a struct of strings has no way to fail")
    }

    /// What a vendor reads.
    fn message(&self, link: Option<&str>) -> String {
        let mut message = format!(
            "{} asks you to carry out a privacy request: {}.\n\nWhom it is about: {} {}\nAnswer by: {}\nReference: {}\n",
            self.organization.name,
            self.run.action.as_str(),
            self.profile.name,
            self.identifier.value,
            self.dsr.head.due_at.strftime("%Y-%m-%d"),
            self.dsr.head.id,
        );
        if let Some(link) = link {
            message.push_str("\nWhen it is done, say so here: ");
            message.push_str(link);
            message.push('\n');
        }
        message
    }

    fn request_link(&self) -> String {
        let id = self.dsr.head.id;
        format!("{}/privacy-requests/incoming-requests/{id}", self.public_url)
    }

    fn extras(&self) -> Extras<'_> {
        let (head, subject) = (&self.dsr.head, &self.dsr.subject);
        Extras {
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
                link: self.request_link(),
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
        }
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
#[serde(rename_all = "camelCase")]
struct VendorBody<'a> {
    r#type: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_link: Option<String>,
    template: String,
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
