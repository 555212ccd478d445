//! The list of a request's files.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    dsr::model::DsrId,
    http::{Problem, Query},
    silos::{DataPoint as ConfiguredPoint, DataSilo as ConfiguredSilo, Encryption, Localized},
};

/// Files on a page, unless the caller says otherwise.
const LIMIT_DEFAULT: u64 = 25;
/// Files on a page at most; who asks for more gets as many.
const LIMIT_MAX: u64 = 1_000;

/// Which part of the list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Files on the page.
    pub(crate) limit: u64,
    /// Files before it.
    pub(crate) offset: u64,
}

impl Window {
    /// Reads `limit` and `offset`.
    pub(crate) fn read(query: &Query) -> Result<Window, Problem> {
        match (query.number("limit", LIMIT_DEFAULT, 0), query.number("offset", 0, 0)) {
            (Ok(limit), Ok(offset)) => Ok(Window {
                limit: limit.min(LIMIT_MAX),
                offset,
            }),
            (limit, offset) => Err(Problem::validation([limit.err(), offset.err()].into_iter().flatten())),
        }
    }

    fn prev(self, total: u64) -> Option<Window> {
        if self.limit == 0 || self.offset == 0 || total == 0 {
            return None;
        }
        // From beyond the end, the way back leads to the last page.
        Some(Window {
            offset: self.offset.min(total).saturating_sub(self.limit),
            ..self
        })
    }

    fn next(self, total: u64) -> Option<Window> {
        let offset = self.offset.saturating_add(self.limit);
        (self.limit > 0 && offset < total).then_some(Window { offset, ..self })
    }

    fn link(self, id: DsrId) -> String {
        let Window { limit, offset } = self;
        format!("/v1/data-subject-request/{id}/download-keys?limit={limit}&offset={offset}")
    }
}

/// A page of a request's files.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DownloadKeys {
    /// All files of the request.
    total_count: u64,
    nodes: Vec<File>,
    #[serde(rename = "_links")]
    links: Links,
}

impl DownloadKeys {
    /// The files in `window` of `total`.
    pub(crate) fn new(id: DsrId, window: Window, total: u64, nodes: Vec<File>) -> DownloadKeys {
        let link = |window: Option<Window>| window.map(|window| window.link(id));
        let prev = link(window.prev(total));
        let links = Links {
            this: window.link(id),
            prev: prev.clone(),
            next: link(window.next(total)),
            previous: prev,
        };
        DownloadKeys {
            total_count: total,
            nodes,
            links,
        }
    }
}

/// Where the list goes on, relative to the server.
#[derive(Serialize, ToSchema)]
pub(crate) struct Links {
    #[serde(rename = "self")]
    this: String,
    prev: Option<String>,
    next: Option<String>,
    /// The same as `prev`.
    previous: Option<String>,
}

/// One file of a request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct File {
    /// What `GET /v1/files` asks for.
    pub(crate) download_key: String,
    /// What went wrong while the file was made.
    pub(crate) error: Option<String>,
    pub(crate) mimetype: String,
    pub(crate) size: Size,
    /// Where it stands in the report.
    pub(crate) file_name: String,
    pub(crate) data_point: DataPoint,
}

/// Bytes of a file. Clients disagree on how to write a number that may pass 2^53.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Size {
    /// As a number.
    Number(u64),
    /// As a string of decimal digits.
    Digits(String),
}

/// The data point a file was uploaded for.
#[derive(Serialize, ToSchema)]
pub(crate) struct DataPoint {
    id: Uuid,
    title: Option<Text>,
    description: Option<Text>,
    name: String,
    metadata: Metadata,
    slug: String,
    #[schema(value_type = Option<String>)]
    encryption: Option<Encryption>,
    path: Vec<String>,
    #[serde(rename = "dataSilo")]
    data_silo: DataSilo,
}

impl DataPoint {
    /// The data point of a silo as it is configured now.
    pub(crate) fn new(point: ConfiguredPoint, data_silo: DataSilo) -> DataPoint {
        DataPoint {
            id: point.id.0,
            title: point.title.map(Text::from),
            description: point.description.map(Text::from),
            name: point.name,
            metadata: Metadata {
                references: point.references,
            },
            slug: point.slug,
            encryption: point.encryption,
            path: point.path,
            data_silo,
        }
    }

    /// What is left to say of a data point that is no longer configured.
    pub(crate) fn gone(id: Uuid, data_silo: DataSilo) -> DataPoint {
        DataPoint {
            id,
            title: None,
            description: None,
            name: String::new(),
            slug: String::new(),
            metadata: Metadata { references: Vec::new() },
            encryption: None,
            path: Vec::new(),
            data_silo,
        }
    }
}

/// What documents a data point.
#[derive(Serialize, ToSchema)]
pub(crate) struct Metadata {
    references: Vec<String>,
}

/// A text that can be translated.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Text {
    id: Uuid,
    default_message: String,
}

impl From<Localized> for Text {
    fn from(text: Localized) -> Text {
        Text {
            id: text.id,
            default_message: text.default_message,
        }
    }
}

/// The data silo a file came from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DataSilo {
    id: Uuid,
    title: String,
    description: String,
    r#type: String,
    outer_type: Option<String>,
}

impl From<&ConfiguredSilo> for DataSilo {
    fn from(silo: &ConfiguredSilo) -> DataSilo {
        DataSilo {
            id: silo.id.0,
            title: silo.title.clone(),
            description: silo.description.clone(),
            r#type: silo.kind.clone(),
            outer_type: silo.outer_type.clone(),
        }
    }
}

impl DataSilo {
    /// What is left to say of a silo that is no longer configured.
    pub(crate) fn gone(id: Uuid) -> DataSilo {
        DataSilo {
            id,
            title: String::new(),
            description: String::new(),
            r#type: String::new(),
            outer_type: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: u64, offset: u64) -> Window {
        Window { limit, offset }
    }

    #[test]
    fn a_window_is_read_from_the_query() {
        let read = |query| Window::read(&Query::parse(query)).ok();
        assert_eq!(read(""), Some(window(25, 0)));
        assert_eq!(read("limit=100&offset=200"), Some(window(100, 200)));
        assert_eq!(read("limit=0"), Some(window(0, 0)));
        assert_eq!(read("limit=5000"), Some(window(1_000, 0)));
        assert_eq!(read("limit=1&limit=2&other=x"), Some(window(2, 0)));
        assert_eq!(read("offset=99999999999999999999999"), Some(window(25, u64::MAX)));
        for wrong in ["limit=-1", "limit=abc", "offset=-1", "offset=%20"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn links_lead_to_the_neighbours_and_nowhere_else() {
        let links = |limit, offset, total| {
            let window = window(limit, offset);
            let offset = |window: Option<Window>| window.map(|window| window.offset);
            (offset(window.prev(total)), offset(window.next(total)))
        };
        assert_eq!(links(3, 3, 25), (Some(0), Some(6)));
        assert_eq!(links(3, 0, 3), (None, None));
        assert_eq!(links(3, 0, 4), (None, Some(3)));
        assert_eq!(links(3, 2, 4), (Some(0), None));
        assert_eq!(links(0, 0, 4), (None, None));
        assert_eq!(links(3, u64::MAX, 4), (Some(1), None));
        assert_eq!(links(3, 7, 0), (None, None));
    }
}
