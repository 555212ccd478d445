//! What a write wants of the requests that it may open.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{organization::ActionId, preferences::wire};

/// What a write says about workflow triggers.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(in crate::preferences) struct Workflow {
    /// For every purpose.
    pub(in crate::preferences) urge: Urge,
    /// The language of the person.
    pub(in crate::preferences) locale: Option<String>,
    /// For single purposes, in the order of the write.
    pub(in crate::preferences) purposes: Vec<(u32, RequestSettings)>,
}

/// Whether triggers fire as a matter of course.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(in crate::preferences) enum Urge {
    /// They fire where something changed.
    #[default]
    None,
    /// They fire even where nothing changed.
    Force,
    /// They do not fire, whatever else is said.
    Skip,
}

/// How a request is made. What is not given is as the trigger has it, or as it is by default.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(PartialEq, Eq, Debug))]
pub(in crate::preferences) struct RequestSettings {
    /// It has done its part once a trigger fires.
    #[serde(skip)]
    pub(super) urge: Urge,
    /// Attribute keys with values.
    pub(super) attributes: Vec<(String, Vec<String>)>,
    /// Only these silos.
    pub(super) only: Option<Vec<Uuid>>,
    /// All but these silos.
    pub(super) except: Option<Vec<Uuid>>,
    pub(super) receipt_template: Option<Uuid>,
    pub(super) is_silent: Option<bool>,
    pub(super) is_test: Option<bool>,
    pub(super) skips_receipt: Option<bool>,
    pub(super) skips_waiting: Option<bool>,
    pub(super) region: Option<Region>,
    pub(super) locale: Option<String>,
    pub(super) subject_type: Option<String>,
    /// The workflow configuration: the settings of the action that is demanded instead.
    pub(super) workflow: Option<ActionId>,
}

/// Where a person is, as a caller wrote it.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(PartialEq, Eq, Debug))]
pub(super) struct Region {
    pub(super) country: Option<String>,
    pub(super) subdivision: Option<String>,
}

impl Urge {
    /// What two flags say. To skip beats to force.
    pub(in crate::preferences) fn of(skip: Option<bool>, force: Option<bool>) -> Urge {
        match (skip, force) {
            (Some(true), _) => Urge::Skip,
            (_, Some(true)) => Urge::Force,
            _ => Urge::None,
        }
    }
}

impl Workflow {
    /// What is said about one purpose, by what is said about it and by what is said about all.
    pub(super) fn urge_of(&self, purpose: u32) -> Urge {
        let own = self.purposes.iter().find(|(other, _)| *other == purpose);
        match (self.urge, own.map_or(Urge::None, |(_, settings)| settings.urge)) {
            (Urge::Skip, _) | (_, Urge::Skip) => Urge::Skip,
            (Urge::Force, _) | (_, Urge::Force) => Urge::Force,
            (Urge::None, Urge::None) => Urge::None,
        }
    }

    /// The settings of several purposes as one: of single values the last one given, of attributes all.
    pub(super) fn merged(&self, is_wanted: impl Fn(u32) -> bool) -> RequestSettings {
        let wanted = self.purposes.iter().filter(|(purpose, _)| is_wanted(*purpose));
        let mut merged = RequestSettings {
            locale: self.locale.clone(),
            ..RequestSettings::default()
        };
        for (_, settings) in wanted {
            merged.take_in(settings.clone());
        }
        merged
    }
}

impl RequestSettings {
    /// What is said about one purpose. Ids have been checked; a template that can't be one is as good as none.
    pub(in crate::preferences) fn read(
        attributes: Option<Vec<wire::UpsertAttribute>>,
        locale: Option<String>,
        given: Option<wire::WorkflowSettings>,
    ) -> Option<RequestSettings> {
        if attributes.is_none() && locale.is_none() && given.is_none() {
            return None;
        }
        let given = given.unwrap_or_default();
        let ids = |ids: Option<Vec<String>>| {
            let ids = ids.filter(|ids| !ids.is_empty())?;
            Some(ids.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect())
        };
        let attributes = attributes.into_iter().chain(given.attributes).flatten();
        Some(RequestSettings {
            urge: Urge::of(given.skip_workflow_trigger, given.force_trigger_workflow),
            attributes: attributes.map(|attribute| (attribute.key, attribute.values)).collect(),
            only: ids(given.data_silo_ids),
            except: ids(given.ignore_data_silo_ids),
            receipt_template: given.email_receipt_template_id.and_then(|id| Uuid::try_parse(&id).ok()),
            is_silent: given.is_silent,
            is_test: given.is_test,
            skips_receipt: given.skip_sending_receipt,
            skips_waiting: given.skip_waiting_period,
            region: given.region.map(|region| Region {
                country: region.country,
                subdivision: region.country_sub_division,
            }),
            locale: given.locale.or(locale),
            subject_type: given.subject_type,
            workflow: given.workflow_config_id.as_deref().and_then(workflow_of),
        })
    }

    fn take_in(&mut self, later: RequestSettings) {
        let RequestSettings {
            urge: _,
            attributes,
            only,
            except,
            receipt_template,
            is_silent,
            is_test,
            skips_receipt,
            skips_waiting,
            region,
            locale,
            subject_type,
            workflow,
        } = later;
        self.attributes.extend(attributes);
        take_given(&mut self.only, only);
        take_given(&mut self.except, except);
        take_given(&mut self.receipt_template, receipt_template);
        take_given(&mut self.is_silent, is_silent);
        take_given(&mut self.is_test, is_test);
        take_given(&mut self.skips_receipt, skips_receipt);
        take_given(&mut self.skips_waiting, skips_waiting);
        take_given(&mut self.region, region);
        take_given(&mut self.locale, locale);
        take_given(&mut self.subject_type, subject_type);
        take_given(&mut self.workflow, workflow);
    }
}

/// The workflow configuration of an id as a caller wrote it. This server keeps none apart: the settings of an action are
/// what a request of that action is worked by, so their id is that of its workflow.
pub(in crate::preferences) fn workflow_of(id: &str) -> Option<ActionId> {
    Uuid::try_parse(id).ok().map(ActionId)
}

fn take_given<T>(held: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *held = given;
    }
}
