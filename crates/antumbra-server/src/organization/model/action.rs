//! What a data subject can demand, and how an organization handles each demand.

use std::collections::BTreeSet;

use async_graphql::Enum;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SettingError;

/// What a data subject request demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RequestAction")]
pub enum Action {
    /// A copy of the data.
    Access,
    /// Deletion of the data.
    Erasure,
    /// Correction of what is wrong.
    Rectification,
    /// A limit on what the data is used for.
    Restriction,
    /// A report on the purposes the data serves.
    BusinessPurpose,
    /// Internal: keep the data for a legal case.
    PlaceOnLegalHold,
    /// Internal: the legal case is over.
    RemoveFromLegalHold,
    /// No more decisions by machine alone.
    AutomatedDecisionMakingOptOut,
    /// No more use of sensitive information.
    UseOfSensitiveInformationOptOut,
    /// No more messages.
    ContactOptOut,
    /// No more sale of the data.
    SaleOptOut,
    /// No more tracking.
    TrackingOptOut,
    /// The organization's own opt-out.
    CustomOptOut,
    /// Decisions by machine are allowed again.
    AutomatedDecisionMakingOptIn,
    /// Use of sensitive information is allowed again.
    UseOfSensitiveInformationOptIn,
    /// Sale is allowed again.
    SaleOptIn,
    /// Tracking is allowed again.
    TrackingOptIn,
    /// Messages are allowed again.
    ContactOptIn,
    /// The organization's own opt-in.
    CustomOptIn,
}

impl Action {
    /// Every action, in the order in which lists show them.
    pub const ALL: [Action; 19] = [
        Action::Access,
        Action::Erasure,
        Action::Rectification,
        Action::Restriction,
        Action::BusinessPurpose,
        Action::PlaceOnLegalHold,
        Action::RemoveFromLegalHold,
        Action::AutomatedDecisionMakingOptOut,
        Action::UseOfSensitiveInformationOptOut,
        Action::ContactOptOut,
        Action::SaleOptOut,
        Action::TrackingOptOut,
        Action::CustomOptOut,
        Action::AutomatedDecisionMakingOptIn,
        Action::UseOfSensitiveInformationOptIn,
        Action::SaleOptIn,
        Action::TrackingOptIn,
        Action::ContactOptIn,
        Action::CustomOptIn,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Access => "ACCESS",
            Action::Erasure => "ERASURE",
            Action::Rectification => "RECTIFICATION",
            Action::Restriction => "RESTRICTION",
            Action::BusinessPurpose => "BUSINESS_PURPOSE",
            Action::PlaceOnLegalHold => "PLACE_ON_LEGAL_HOLD",
            Action::RemoveFromLegalHold => "REMOVE_FROM_LEGAL_HOLD",
            Action::AutomatedDecisionMakingOptOut => "AUTOMATED_DECISION_MAKING_OPT_OUT",
            Action::UseOfSensitiveInformationOptOut => "USE_OF_SENSITIVE_INFORMATION_OPT_OUT",
            Action::ContactOptOut => "CONTACT_OPT_OUT",
            Action::SaleOptOut => "SALE_OPT_OUT",
            Action::TrackingOptOut => "TRACKING_OPT_OUT",
            Action::CustomOptOut => "CUSTOM_OPT_OUT",
            Action::AutomatedDecisionMakingOptIn => "AUTOMATED_DECISION_MAKING_OPT_IN",
            Action::UseOfSensitiveInformationOptIn => "USE_OF_SENSITIVE_INFORMATION_OPT_IN",
            Action::SaleOptIn => "SALE_OPT_IN",
            Action::TrackingOptIn => "TRACKING_OPT_IN",
            Action::ContactOptIn => "CONTACT_OPT_IN",
            Action::CustomOptIn => "CUSTOM_OPT_IN",
        }
    }

    /// Whether it is between the organization and its data: the data subject did not ask for it and is told nothing.
    pub const fn is_internal(self) -> bool {
        matches!(self, Action::PlaceOnLegalHold | Action::RemoveFromLegalHold)
    }

    /// The action with this name on the wire.
    pub fn parse(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// The id of an action's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub Uuid);

/// Whole days of 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub u16);

impl Days {
    /// The most days any setting may have: ten years.
    pub const MAX: Days = Days(3_660);

    /// The same span, to add to an instant.
    pub fn span(self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.0))
    }

    /// Whether the span is empty.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// How requests with one action are handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSettings {
    /// The id under which clients change these settings.
    pub id: ActionId,
    /// The action they are about.
    pub action: Action,
    /// How long a request waits before silos are asked. None skips the wait.
    pub waiting_period: Days,
    /// Makes the action two-phase: a preview first, the action itself after a delay.
    pub delay: Option<Delay>,
    /// A person approves what was compiled before it leaves.
    pub requires_review: bool,
    /// A person approves the end of the second phase.
    pub requires_secondary_review: bool,
    /// Nothing is erased before somebody has approved the plan of it.
    #[serde(default)]
    pub requires_approved_plan: bool,
    /// The second phase is left out when the preview found nothing.
    pub skip_secondary_if_no_files: bool,
    /// The request ends without a time in which its report can be downloaded.
    pub skip_downloadable_step: bool,
    /// How long a report can be downloaded.
    pub download_availability: Days,
    /// What the data subject gets to see.
    pub post_compile_status: PostCompileStatus,
    /// The data subject may choose what they get to see.
    pub allow_post_compile_choice: bool,
    /// A receipt is sent when the request arrives.
    pub send_receipt_email: bool,
    /// The time to answer, by region. The first entry is the default, and has no region.
    pub expiry: Vec<RegionExpiry>,
    /// Somebody has set `expiry`, if only to what it was.
    #[serde(default)]
    pub expiry_was_set: bool,
    /// How the data subject's region is found.
    pub region_detection: RegionDetection,
    /// Where the action is offered; empty means everywhere.
    pub regions: Vec<String>,
}

impl ActionSettings {
    /// The settings an action starts with: review by a person, two weeks of download, a month to answer.
    pub fn initial(id: ActionId, action: Action) -> ActionSettings {
        ActionSettings {
            id,
            action,
            waiting_period: Days(0),
            delay: None,
            requires_review: true,
            requires_secondary_review: false,
            requires_approved_plan: false,
            skip_secondary_if_no_files: false,
            skip_downloadable_step: false,
            download_availability: Days(14),
            post_compile_status: PostCompileStatus::Downloadable,
            allow_post_compile_choice: false,
            send_receipt_email: true,
            expiry: vec![RegionExpiry::INITIAL],
            expiry_was_set: false,
            region_detection: RegionDetection::Disabled,
            regions: Vec::new(),
        }
    }

    /// Whether the organization has said how long it takes to answer. What it says comes before the law.
    pub fn is_expiry_set(&self) -> bool {
        self.expiry_was_set || self.expiry != [RegionExpiry::INITIAL]
    }

    /// The time to answer someone in this country and subdivision: the narrowest entry counts.
    pub fn expiry_in(&self, country: Option<&str>, subdivision: Option<&str>) -> Days {
        let of = |region: Option<&str>| self.expiry.iter().find(|entry| entry.region.as_deref() == region);
        [subdivision, country]
            .into_iter()
            .flatten()
            .find_map(|region| of(Some(region)))
            .or(of(None))
            .map_or(RegionExpiry::INITIAL.days, |entry| entry.days)
    }

    /// Checks everything that can be told without looking at others.
    pub(in crate::organization) fn check(&self) -> Result<(), SettingError> {
        for days in [self.waiting_period, self.download_availability]
            .into_iter()
            .chain(self.delay.as_ref().map(|delay| delay.time))
            .chain(self.expiry.iter().map(|entry| entry.days))
        {
            if days > Days::MAX {
                return Err(SettingError::TooManyDays);
            }
        }
        if !self.skip_downloadable_step && self.download_availability.is_none() {
            return Err(SettingError::NoTimeToDownload);
        }
        let mut regions = BTreeSet::new();
        for entry in &self.expiry {
            if entry.days.is_none() {
                return Err(SettingError::NoTimeToAnswer);
            }
            if !regions.insert(entry.region.as_deref()) {
                return Err(SettingError::RegionTwice);
            }
        }
        if !regions.contains(&None) {
            return Err(SettingError::NoDefaultExpiry);
        }
        for region in regions
            .into_iter()
            .flatten()
            .chain(self.regions.iter().map(String::as_str))
        {
            check_region(region)?;
        }
        if self
            .delay
            .as_ref()
            .is_some_and(|delay| delay.preview_action == self.action)
        {
            return Err(SettingError::PreviewsItself);
        }
        Ok(())
    }
}

/// The wait between the two phases of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// How long after the first phase the second begins.
    pub time: Days,
    /// What the first phase does.
    pub preview_action: Action,
}

/// The time to answer in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionExpiry {
    /// A country (`FR`) or subdivision (`US-CA`); none for the default.
    pub region: Option<String>,
    /// The days allowed.
    pub days: Days,
}

impl RegionExpiry {
    /// What an action starts with, for every region that nothing else is known of.
    pub const INITIAL: RegionExpiry = RegionExpiry {
        region: None,
        days: Days(30),
    };
}

/// The time to answer people of one data subject type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeToAnswer {
    /// What they demand; none for every action that has no entry.
    pub action: Option<Action>,
    /// The days allowed.
    pub days: Days,
}

/// What a data subject gets to see at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PostCompileStatus {
    /// The categories of data, without the data.
    ViewCategories,
    /// The data.
    Downloadable,
}

impl PostCompileStatus {
    /// The one of this name on the wire.
    pub fn parse(name: &str) -> Option<PostCompileStatus> {
        match name {
            "VIEW_CATEGORIES" => Some(PostCompileStatus::ViewCategories),
            "DOWNLOADABLE" => Some(PostCompileStatus::Downloadable),
            _ => None,
        }
    }
}

/// How the data subject's region is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RegionDetectionMethod")]
pub enum RegionDetection {
    /// It is not.
    Disabled,
    /// From the address they come from.
    Auto,
    /// They are asked.
    Form,
}

fn check_region(region: &str) -> Result<(), SettingError> {
    let (country, rest) = region.split_once('-').unwrap_or((region, "0"));
    let country_fits = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    let rest_fits = (1..=3).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if country_fits && rest_fits {
        Ok(())
    } else {
        Err(SettingError::BadRegion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!(Action::parse("ACCOUNT_DELETION"), None);
    }

    #[test]
    fn the_narrowest_region_sets_the_time_to_answer() {
        let mut settings = ActionSettings::initial(ActionId(Uuid::nil()), Action::Access);
        settings.expiry.push(RegionExpiry {
            region: Some("US".into()),
            days: Days(45),
        });
        settings.expiry.push(RegionExpiry {
            region: Some("US-VT".into()),
            days: Days(60),
        });
        assert_eq!(settings.expiry_in(None, None), Days(30));
        assert_eq!(settings.expiry_in(Some("FR"), None), Days(30));
        assert_eq!(settings.expiry_in(Some("US"), Some("US-CA")), Days(45));
        assert_eq!(settings.expiry_in(Some("US"), Some("US-VT")), Days(60));
        assert_eq!(settings.check(), Ok(()));
    }

    #[test]
    fn action_settings_that_could_not_work_are_refused() {
        let good = ActionSettings::initial(ActionId(Uuid::nil()), Action::Erasure);
        type Spoil = fn(&mut ActionSettings);
        let cases: [(Spoil, SettingError); 7] = [
            (|s| s.waiting_period = Days(4_000), SettingError::TooManyDays),
            (|s| s.download_availability = Days(0), SettingError::NoTimeToDownload),
            (|s| s.expiry.clear(), SettingError::NoDefaultExpiry),
            (|s| s.expiry[0].days = Days(0), SettingError::NoTimeToAnswer),
            (
                |s| {
                    s.expiry.push(RegionExpiry {
                        region: None,
                        days: Days(9),
                    })
                },
                SettingError::RegionTwice,
            ),
            (|s| s.regions.push("Paris".into()), SettingError::BadRegion),
            (
                |s| {
                    s.delay = Some(Delay {
                        time: Days(3),
                        preview_action: Action::Erasure,
                    })
                },
                SettingError::PreviewsItself,
            ),
        ];
        for (spoil, why) in cases {
            let mut settings = good.clone();
            spoil(&mut settings);
            assert_eq!(settings.check(), Err(why));
        }
    }
}
