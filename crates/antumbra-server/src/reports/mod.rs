//! Reports: what the silos handed over about a person, as one archive, and the pages on which the person gets it.
//!
//! The archive is made while it is sent ([`send`]): each file is checked group by group before its bytes go out, and one
//! that cannot be read to its end breaks the archive off, where everybody sees it. Who asks with an API key gets it from
//! `GET /v1/data-subject-request/{id}/report`; the person has a link of their own (`dsr/links.rs`), whose pages are in
//! [`pages`]. `docs/reports.md` tells it to the person who runs the server.

mod contents;
pub(crate) mod graphql;
mod http;
mod names;
mod pages;
mod send;
mod words;
mod zip;

pub(crate) use http::*;
pub(crate) use pages::*;
