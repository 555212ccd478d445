//! JSON in and JSON out of the fulfilment routes.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::Verdict;
use crate::{
    dsr::{PartitionOut, PurposeOut},
    http::{Known, Slips, careful},
};

/// What every write of these routes answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always true: a failure has another status.
    success: bool,
}

impl Success {
    pub(super) const YES: Success = Success { success: true };
}

/// The bytes of one file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct FileBytes(#[expect(dead_code, reason = "only its schema is used: bodies are streamed")] Vec<u8>);

/// Entries of `profiles` at most.
pub(super) const PROFILES_MAX: usize = 1_000;
/// Data points that one call may name, and values with data in it that it may hold.
pub(super) const NAMES_MAX: usize = 2_000;

/// Body of `POST /v1/data-silo`.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct HandOver {
    /// What was found. Several entries add up, also where they hold data for the same data point.
    #[serde(default, deserialize_with = "few_profiles")]
    pub(super) profiles: Vec<FoundProfile>,
    /// The silo's verdict on its work as a whole.
    #[serde(default)]
    pub(super) status: Option<HandOverStatus>,
    /// The verdict on the data points of this call.
    #[serde(default)]
    pub(super) profile_status: Option<HandOverProfileStatus>,
}

/// What was found about one account.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct FoundProfile {
    /// Tells entries apart, so that a later call replaces what it brings again. Whom the data is about, the nonce says.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) profile_id: Option<Box<RawValue>>,
    /// Data by name of data point: any JSON. `null`, `[]` and `{}` say that there is none.
    #[serde(default, deserialize_with = "few_names")]
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    pub(super) profile_data: BTreeMap<String, Box<RawValue>>,
}

careful! {
    FoundProfile: [];
}

impl<'de> Deserialize<'de> for HandOver {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<HandOver, D::Error> {
        let telling = &["profiles", "status", "profileStatus"];
        HandOver::deserialize(Known {
            from,
            telling,
            slips: Slips::Refused,
        })
    }
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Report, D::Error> {
        // Some clients name the profile here too, as they do when they bring data.
        let telling = &[
            "profiles",
            "status",
            "profileStatus",
            "pollId",
            "message",
            "retryAfterDate",
        ];
        Report::deserialize(Known {
            from,
            telling,
            slips: Slips::Refused,
        })
    }
}

impl std::fmt::Debug for HandOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HandOver({} profiles)", self.profiles.len())
    }
}

/// Body of `PUT /v1/data-silo`. An empty object says that the work is done.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Report {
    /// The silo's verdict on its work as a whole.
    #[serde(default)]
    pub(super) status: Option<HandOverStatus>,
    /// Its verdict on the account that the nonce names.
    #[serde(default)]
    pub(super) profile_status: Option<ReportProfileStatus>,
    /// Comes back with the next notice.
    #[serde(default)]
    pub(super) poll_id: Option<String>,
    /// For the people who look at the run.
    #[serde(default)]
    pub(super) message: Option<String>,
    /// With `WAITING`: no notice before this time.
    #[serde(default, deserialize_with = "time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) retry_after_date: Option<Timestamp>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Report({:?}, {:?})", self.status, self.profile_status)
    }
}

/// What a silo can say of its work as a whole.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum HandOverStatus {
    /// The older word for `RESOLVED`.
    Ready,
    /// Done.
    Resolved,
    /// Nothing to do.
    Skipped,
    /// Not to be done, for a reason in law.
    SkippedDueToException,
    /// A person has to look.
    ActionRequired,
    /// Not done yet.
    Waiting,
}

/// What a silo can say of the data points it hands over.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum HandOverProfileStatus {
    /// Done.
    Resolved,
    /// Nothing to do.
    Skipped,
    /// Not to be done, for a reason in law.
    SkippedDueToException,
    /// Not done yet.
    Waiting,
}

/// What a silo can say of one account.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ReportProfileStatus {
    /// Done.
    Resolved,
    /// Nothing to do.
    Skipped,
    /// Not to be done, for a reason in law.
    SkippedDueToException,
    /// Not done yet.
    Waiting,
    /// Failed.
    Error,
}

impl From<HandOverStatus> for Verdict {
    fn from(status: HandOverStatus) -> Verdict {
        match status {
            HandOverStatus::Ready | HandOverStatus::Resolved => Verdict::Resolved,
            HandOverStatus::Skipped => Verdict::Skipped,
            HandOverStatus::SkippedDueToException => Verdict::SkippedDueToException,
            HandOverStatus::ActionRequired => Verdict::ActionRequired,
            HandOverStatus::Waiting => Verdict::Waiting,
        }
    }
}

impl From<HandOverProfileStatus> for Verdict {
    fn from(status: HandOverProfileStatus) -> Verdict {
        match status {
            HandOverProfileStatus::Resolved => Verdict::Resolved,
            HandOverProfileStatus::Skipped => Verdict::Skipped,
            HandOverProfileStatus::SkippedDueToException => Verdict::SkippedDueToException,
            HandOverProfileStatus::Waiting => Verdict::Waiting,
        }
    }
}

impl From<ReportProfileStatus> for Verdict {
    fn from(status: ReportProfileStatus) -> Verdict {
        match status {
            ReportProfileStatus::Resolved => Verdict::Resolved,
            ReportProfileStatus::Skipped => Verdict::Skipped,
            ReportProfileStatus::SkippedDueToException => Verdict::SkippedDueToException,
            ReportProfileStatus::Waiting => Verdict::Waiting,
            ReportProfileStatus::Error => Verdict::Error,
        }
    }
}

/// Body of `POST /v1/datapoint-chunked`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DataPage {
    /// The data point, by name.
    pub(super) data_point_name: String,
    /// The rows of this page; none, where the last full page was the last.
    #[serde(deserialize_with = "array")]
    #[schema(value_type = Vec<serde_json::Value>)]
    pub(super) data: Box<RawValue>,
    /// Whether this page is the last.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) is_last_page: bool,
    /// Title of this page. A page of the same title takes the place of the earlier one.
    #[serde(default)]
    pub(super) file_id: Option<String>,
}

impl std::fmt::Debug for DataPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataPage({} bytes)", self.data.get().len())
    }
}

/// Answer of `GET /v1/data-silo/{id}/pending-requests/{type}`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pending {
    /// One for each account of each request, oldest request first.
    pub(super) items: Vec<PendingItem>,
}

/// One account to be worked on.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingItem {
    /// The value to look up.
    pub(super) identifier: String,
    /// The name of that identifier, such as `email`.
    pub(super) r#type: String,
    pub(super) core_identifier: String,
    pub(super) data_silo_id: Uuid,
    pub(super) request_id: Uuid,
    /// Presented with the result.
    pub(super) nonce: String,
    pub(super) request_created_at: String,
    /// Negative when late.
    pub(super) days_until_overdue: i64,
    pub(super) attributes: Vec<PendingAttribute>,
    pub(super) data_subject_type: String,
    pub(super) locale: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) country_sub_division: Option<String>,
    /// The choice that brought the request about; absent if somebody submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purpose: Option<PurposeOut>,
    /// The partition of that choice.
    pub(super) partition: Option<PartitionOut>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({} items)", self.items.len())
    }
}

/// A label of the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct PendingAttribute {
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// An array as it was sent. It is kept in one piece: however many rows there are, they cost what their text does.
fn array<'de, D: Deserializer<'de>>(from: D) -> Result<Box<RawValue>, D::Error> {
    let raw = Box::<RawValue>::deserialize(from)?;
    if raw.get().starts_with('[') {
        Ok(raw)
    } else {
        Err(D::Error::custom("must be an array"))
    }
}

fn few_profiles<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FoundProfile>, D::Error> {
    from.deserialize_option(Few::<Vec<FoundProfile>>(PhantomData))
}

fn few_names<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Box<RawValue>>, D::Error> {
    from.deserialize_option(Few::<BTreeMap<String, Box<RawValue>>>(PhantomData))
}

/// Reads a list or an object of which too many entries are refused while they are read, and `null` as none.
struct Few<T>(PhantomData<T>);

impl<'de> Visitor<'de> for Few<Vec<FoundProfile>> {
    type Value = Vec<FoundProfile>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_element()? {
            if entries.len() == PROFILES_MAX {
                return Err(A::Error::custom(format!("must have at most {PROFILES_MAX} entries")));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl<'de> Visitor<'de> for Few<BTreeMap<String, Box<RawValue>>> {
    type Value = BTreeMap<String, Box<RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, data)) = from.next_entry()? {
            entries.insert(name, data);
            if entries.len() > NAMES_MAX {
                return Err(A::Error::custom(format!("must name at most {NAMES_MAX} data points")));
            }
        }
        Ok(entries)
    }
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    let expected = || D::Error::custom("must be a date or a time in ISO 8601");
    text.map(|text| parse_time(&text).ok_or_else(expected)).transpose()
}

/// An instant, a local time taken as UTC, or a date taken as its first instant.
fn parse_time(text: &str) -> Option<Timestamp> {
    let in_utc = |at: civil::DateTime| at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<civil::DateTime>().ok().and_then(in_utc))
        .or_else(|| {
            text.parse::<civil::Date>()
                .ok()
                .and_then(|date| in_utc(date.at(0, 0, 0, 0)))
        })
}

/// Whether a data point's JSON says that there is no data: `null`, `[]` or `{}`.
pub(super) fn is_nothing(data: &RawValue) -> bool {
    let mut solid = data.get().chars().filter(|c| !c.is_ascii_whitespace());
    let start: String = solid.by_ref().take(4).collect();
    matches!(start.as_str(), "null" | "[]" | "{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_written_in_every_iso_way() {
        for (text, millis) in [
            ("2026-05-06T00:00:00.000Z", Some(1_778_025_600_000)),
            ("2026-05-06T02:00:00+02:00", Some(1_778_025_600_000)),
            ("2026-05-06T00:00:00", Some(1_778_025_600_000)),
            ("2026-05-06", Some(1_778_025_600_000)),
            ("tomorrow", None),
            ("2026-13-01", None),
        ] {
            assert_eq!(parse_time(text).map(Timestamp::as_millisecond), millis, "{text}");
        }
    }

    #[test]
    fn null_and_what_is_empty_say_that_there_is_no_data() {
        for (json, nothing) in [
            ("null", true),
            ("[]", true),
            ("[ \n ]", true),
            ("{ }", true),
            ("[0]", false),
            ("{\"a\":1}", false),
            ("\"\"", false),
            ("0", false),
            ("false", false),
            ("\"null\"", false),
            ("[[]]", false),
            ("[{}]", false),
        ] {
            let data: Box<RawValue> = serde_json::from_str(json).unwrap();
            assert_eq!(is_nothing(&data), nothing, "{json}");
        }
    }

    #[test]
    fn bodies_are_read_as_clients_send_them() {
        for body in [
            "{}",
            r#"{"profiles": null}"#,
            r#"{"profiles": [], "status": "READY"}"#,
            r#"{"profiles": [{"profileId": "r@example.test", "profileData": {"a": null}}], "profileStatus": "WAITING"}"#,
            r#"{"profiles": [{"profileId": 5, "profileData": null}], "unknown": 1}"#,
        ] {
            assert!(serde_json::from_str::<HandOver>(body).is_ok(), "{body}");
        }
        for body in [
            r#"{"status": "COMPLETED"}"#,
            r#"{"profileStatus": "ERROR"}"#,
            r#"{"profiles": [1]}"#,
        ] {
            assert!(serde_json::from_str::<HandOver>(body).is_err(), "{body}");
        }
        for body in [
            "{}",
            r#"{"profiles": [{"profileId": "r"}]}"#,
            r#"{"profileStatus": "ERROR", "retryAfterDate": null}"#,
        ] {
            assert!(serde_json::from_str::<Report>(body).is_ok(), "{body}");
        }
    }
}
