//! JSON in and JSON out: the only types of this slice that outsiders see.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    model::{Dsr, DsrIdentifier},
    state::DsrStatus,
};
use crate::{
    http::{Problem, parse_uuid},
    organization::{Action, IdentifierKind},
};

mod bulk;
mod files;
mod plan;
mod purpose;
mod submit;

pub(crate) use bulk::{Batch, BatchTaken, batch_refused};
pub(crate) use files::{DataPoint, DataSilo, DownloadKeys, File, Size, Window};
pub(crate) use plan::Plan;
pub(crate) use purpose::{PartitionOut, PreferenceOut, PurposeOut};
pub(crate) use submit::Submit;

/// The answer to a submission.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Submitted {
    request: Request,
    /// The same as `request.id`.
    id: Uuid,
    /// The same as `request.status`.
    #[schema(value_type = String, example = "ENRICHING")]
    status: DsrStatus,
}

/// A data subject request, as its submitter sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    id: Uuid,
    /// Where an administrator finds it.
    link: String,
    #[schema(value_type = String, example = "ENRICHING")]
    status: DsrStatus,
    #[schema(value_type = String, example = "ACCESS")]
    r#type: Action,
    subject_type: String,
    email: Option<String>,
    core_identifier: String,
    is_silent: bool,
    is_test: bool,
    reply_to_email_addresses: Vec<String>,
    country: Option<String>,
    country_sub_division: Option<String>,
    attribute_values: Vec<AttributeValue>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({})", self.id)
    }
}

/// One value of one attribute.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttributeValue {
    attribute_key: AttributeName,
    name: String,
}

/// The name of an attribute key.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttributeName {
    name: String,
}

impl Submitted {
    /// The answer about `dsr`, which an administrator finds under `link`.
    pub(crate) fn new(dsr: Dsr, link: String) -> Submitted {
        let (id, status) = (dsr.head.id.0, dsr.head.state.status());
        let request = Request::new(dsr, link);
        Submitted { request, id, status }
    }
}

impl Request {
    fn new(dsr: Dsr, link: String) -> Request {
        let values = |attribute: super::model::DsrAttribute| {
            let key = attribute.key;
            attribute.values.into_iter().map(move |(_, name)| AttributeValue {
                attribute_key: AttributeName { name: key.clone() },
                name,
            })
        };
        Request {
            id: dsr.head.id.0,
            link,
            status: dsr.head.state.status(),
            r#type: dsr.head.action(),
            subject_type: dsr.head.subject_type,
            email: dsr.subject.email,
            core_identifier: dsr.subject.core_identifier,
            is_silent: dsr.head.is_silent,
            is_test: dsr.head.is_test,
            reply_to_email_addresses: dsr.subject.reply_to,
            country: dsr.head.region.country,
            country_sub_division: dsr.head.region.subdivision,
            attribute_values: dsr.subject.attributes.into_iter().flat_map(values).collect(),
        }
    }
}

/// How a data subject request stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    id: Uuid,
    #[schema(value_type = String, example = "COMPILING")]
    status: DsrStatus,
    #[schema(value_type = String, example = "ACCESS")]
    r#type: Action,
    subject_type: String,
    email: Option<String>,
    core_identifier: String,
}

impl From<Dsr> for Status {
    fn from(dsr: Dsr) -> Status {
        Status {
            id: dsr.head.id.0,
            status: dsr.head.state.status(),
            r#type: dsr.head.action(),
            subject_type: dsr.head.subject_type,
            email: dsr.subject.email,
            core_identifier: dsr.subject.core_identifier,
        }
    }
}

/// The body of `POST /v1/request-identifiers`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IdentifiersQuery {
    /// The data subject request.
    #[schema(value_type = Uuid, required)]
    request_id: Value,
    /// How many to list: 10 unless said, 100 at most.
    #[schema(value_type = Option<u32>, default = 10, maximum = 100)]
    first: Value,
    /// How many to leave out at the beginning.
    #[schema(value_type = Option<u64>, default = 0)]
    offset: Value,
}

impl IdentifiersQuery {
    /// The request, how many identifiers to list, and after how many.
    pub(crate) fn read(self) -> Result<(Uuid, usize, usize), Problem> {
        let mut broken = Vec::new();
        let id = self.request_id.as_str().and_then(parse_uuid).unwrap_or_else(|| {
            broken.push((
                "requestId",
                if self.request_id.is_null() {
                    "is required"
                } else {
                    "must be a UUID"
                },
            ));
            Uuid::nil()
        });
        let mut number = |value: &Value, field, default: u64, max: u64, rule| match value {
            Value::Null => default,
            value => value.as_u64().filter(|number| *number <= max).unwrap_or_else(|| {
                broken.push((field, rule));
                default
            }),
        };
        let first = number(&self.first, "first", 10, 100, "must be a whole number from 0 to 100");
        let offset = number(&self.offset, "offset", 0, u64::MAX, "must be a whole number, 0 or more");
        if broken.is_empty() {
            let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            Ok((id, whole(first), whole(offset)))
        } else {
            Err(Problem::validation(broken))
        }
    }
}

/// A page of a request's identifiers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Identifiers {
    identifiers: Vec<Identifier>,
}

/// One identifier of a request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Identifier {
    id: Uuid,
    value: String,
    name: String,
    #[schema(value_type = String, example = "email")]
    r#type: IdentifierKind,
}

impl Identifiers {
    /// `first` of `all`, leaving out `offset`.
    pub(crate) fn page(all: Vec<DsrIdentifier>, first: usize, offset: usize) -> Identifiers {
        let wire = |of: DsrIdentifier| Identifier {
            id: of.id,
            value: of.value,
            name: of.name,
            r#type: of.kind,
        };
        Identifiers {
            identifiers: all.into_iter().skip(offset).take(first).map(wire).collect(),
        }
    }
}
