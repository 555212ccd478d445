//! What can be asked for and said about purposes, topics, options and partitions.

use super::*;

/// Which purposes to list.
#[derive(Default, InputObject)]
pub(super) struct TrackingPurposeFiltersInput {
    /// Those of these ids.
    pub(super) ids: Option<Vec<ID>>,
    /// Those whose name holds this.
    pub(super) text: Option<String>,
    /// Those of these names.
    pub(super) names: Option<Vec<String>>,
    /// Those of these names on the wire.
    pub(super) tracking_types: Option<Vec<String>>,
    /// Those that can't be refused, or the others.
    pub(super) essential: Option<bool>,
    /// Those that one of these signals refuses.
    pub(super) opt_out_signals: Option<Vec<PrivacySignal>>,
    /// Deleted ones, or the others.
    pub(super) is_deleted: Option<bool>,
    /// Active ones, or the others.
    pub(super) is_active: Option<bool>,
    /// Those of these levels.
    pub(super) auth_levels: Option<Vec<AuthLevel>>,
}

impl TrackingPurposeFiltersInput {
    pub(super) fn lets_through(&self, purpose: &Purpose, deleted_too: bool) -> bool {
        let is_deleted = purpose.deleted_at.is_some();
        self.is_deleted
            .map_or(deleted_too || !is_deleted, |wanted| wanted == is_deleted)
            && by_text(&purpose.name, self.text.as_deref())
            && self
                .ids
                .as_ref()
                .is_none_or(|ids| ids.contains(&ID::from(purpose.id.0)))
            && self.names.as_ref().is_none_or(|names| names.contains(&purpose.name))
            && self
                .tracking_types
                .as_ref()
                .is_none_or(|types| types.contains(&purpose.tracking_type))
            && self.essential.is_none_or(|wanted| wanted == purpose.essential)
            && self.is_active.is_none_or(|wanted| wanted == purpose.is_active)
            && self
                .auth_levels
                .as_ref()
                .is_none_or(|levels| levels.contains(&purpose.auth_level))
            && self
                .opt_out_signals
                .as_ref()
                .is_none_or(|signals| signals.iter().any(|signal| purpose.opt_out_signals.contains(signal)))
    }
}

/// Whether deleted purposes are listed too.
#[derive(InputObject)]
pub(super) struct TrackingPurposeInput {
    /// Whether they are.
    pub(super) include_deleted: Option<bool>,
}

/// Which preference topics to list.
#[derive(Default, InputObject)]
pub(super) struct PreferenceTopicFilterInput {
    /// Those whose title holds this.
    pub(super) text: Option<String>,
    /// Those under these purposes.
    pub(super) purpose_ids: Option<Vec<ID>>,
    /// Those that the privacy centre lists, or the others.
    pub(super) show_in_privacy_center: Option<bool>,
    /// Those under the purposes of these names on the wire.
    pub(super) tracking_types: Option<Vec<String>>,
    /// Accepted and of no effect: pages are of topics.
    pub(super) paginate_by_purpose: Option<bool>,
}

impl PreferenceTopicFilterInput {
    pub(super) fn lets_through(&self, node: &TopicNode) -> bool {
        by_text(&node.title.default_message, self.text.as_deref())
            && self
                .purpose_ids
                .as_ref()
                .is_none_or(|ids| ids.contains(&node.purpose.id))
            && self
                .show_in_privacy_center
                .is_none_or(|wanted| wanted == node.show_in_privacy_center)
            && self
                .tracking_types
                .as_ref()
                .is_none_or(|types| types.contains(&node.purpose.tracking_type))
    }
}

/// Which options to list.
#[derive(Default, InputObject)]
pub(super) struct PreferenceOptionValueFilterInput {
    /// Those whose title holds this.
    pub(super) text: Option<String>,
    /// Those that these topics offer.
    pub(super) preference_topic_ids: Option<Vec<ID>>,
}

/// Which partitions to list.
#[derive(Default, InputObject)]
pub(super) struct ConsentPartitionFiltersInput {
    /// Those of these ids.
    pub(super) ids: Option<Vec<ID>>,
    /// The one of this name.
    pub(super) name: Option<String>,
    /// The one of this key.
    pub(super) partition: Option<String>,
}

/// A purpose to be made.
#[derive(InputObject)]
pub(super) struct CreatePurposeInput {
    /// What people read.
    pub(super) name: String,
    /// What it is for.
    pub(super) description: String,
    /// Its name on the wire.
    pub(super) tracking_type: String,
    #[graphql(flatten)]
    pub(super) settings: PurposeSettingsInput,
}

/// A change of a purpose.
#[derive(InputObject)]
pub(super) struct UpdatePurposeInput {
    /// Which one.
    pub(super) id: ID,
    /// What people read.
    pub(super) name: Option<String>,
    /// What it is for.
    pub(super) description: Option<String>,
    /// The data subject types it is for.
    pub(super) data_subject_ids: Option<Vec<ID>>,
    #[graphql(flatten)]
    pub(super) settings: PurposeSettingsInput,
}

/// What can be set about a purpose.
#[derive(InputObject)]
pub(super) struct PurposeSettingsInput {
    /// Its heading.
    pub(super) title: Option<String>,
    /// What it means before anyone has answered.
    pub(super) default_consent: Option<DefaultConsent>,
    /// Signals that count as refusing it.
    pub(super) opt_out_signals: Option<Vec<PrivacySignal>>,
    /// The consent manager lists it.
    pub(super) show_in_consent_manager: Option<bool>,
    /// Its place in lists.
    pub(super) display_order: Option<i32>,
    /// Whether people can change it.
    pub(super) configurable: Option<bool>,
    /// Answers to it can be written.
    pub(super) is_active: Option<bool>,
    /// Who may change an answer.
    pub(super) auth_level: Option<AuthLevel>,
    /// The privacy centre lists it.
    pub(super) show_in_privacy_center: Option<bool>,
    /// The identifier that messages under this purpose go to.
    pub(super) communication_preferences_identifier_id: Option<ID>,
    /// Preferences about messages show a disclosure.
    pub(super) show_disclosure_in_comm_preferences: Option<bool>,
    /// How many days an answer counts from when it was given; 0 for ever. Of this server.
    pub(super) consent_expiry_days: Option<u32>,
    /// What becomes of an answer then. Of this server.
    pub(super) on_consent_expiry: Option<OnConsentExpiry>,
}

impl PurposeSettingsInput {
    fn read(self) -> Result<PurposeSettings, Refusal> {
        let identifier = self.communication_preferences_identifier_id;
        Ok(PurposeSettings {
            title: self.title,
            default_consent: self.default_consent,
            opt_out_signals: self.opt_out_signals.map(|signals| signals.into_iter().collect()),
            show_in_consent_manager: self.show_in_consent_manager,
            show_in_privacy_center: self.show_in_privacy_center,
            display_order: self.display_order,
            configurable: self.configurable,
            is_active: self.is_active,
            auth_level: self.auth_level,
            communication_preferences_identifier_id: identifier.map(|id| parse_id(&id, "identifier")).transpose()?,
            show_disclosure_in_comm_preferences: self.show_disclosure_in_comm_preferences,
            consent_expiry_days: self.consent_expiry_days,
            on_consent_expiry: self.on_consent_expiry,
        })
    }
}

impl CreatePurposeInput {
    pub(super) fn read(self) -> Result<NewPurpose, Refusal> {
        Ok(NewPurpose {
            name: self.name,
            description: self.description,
            tracking_type: self.tracking_type,
            settings: self.settings.read()?,
        })
    }
}

impl UpdatePurposeInput {
    pub(super) fn read(self) -> Result<PurposeChange, Refusal> {
        Ok(PurposeChange {
            name: self.name,
            description: self.description,
            settings: self.settings.read()?,
            data_subject_ids: self
                .data_subject_ids
                .map(|ids| parse_ids(&ids, "data subject type"))
                .transpose()?,
        })
    }
}

/// A preference topic to be made, or changed.
#[derive(InputObject)]
pub(super) struct CreateOrUpdatePreferenceTopicInput {
    /// The topic to change; none to make one.
    pub(super) id: Option<ID>,
    /// What people read.
    pub(super) title: Option<String>,
    /// Its name on the wire, for a new one.
    pub(super) slug: Option<String>,
    /// What an answer looks like, for a new one.
    pub(super) r#type: Option<TopicKind>,
    /// Its explanation.
    pub(super) display_description: Option<String>,
    /// The privacy centre lists it.
    pub(super) show_in_privacy_center: Option<bool>,
    /// The answer that a form starts with.
    pub(super) default_configuration: Option<String>,
    /// The purpose of a new one, by id.
    pub(super) purpose_id: Option<ID>,
    /// The purpose of a new one, by its name on the wire.
    pub(super) tracking_type: Option<String>,
    /// The options that an answer can have, by id.
    pub(super) preference_option_value_ids: Option<Vec<ID>>,
    /// The options that an answer can have, by their names on the wire.
    pub(super) preference_option_slugs: Option<Vec<String>>,
}

impl CreateOrUpdatePreferenceTopicInput {
    pub(super) fn find_options(&self, catalog: &Catalog) -> Result<Option<Vec<OptionId>>, Refusal> {
        if let Some(slugs) = &self.preference_option_slugs {
            let find = |slug: &String| catalog.options.iter().find(|option| option.slug == *slug);
            let found = slugs.iter().map(|slug| match find(slug) {
                Some(option) => Ok(option.id),
                None => Err(Refusal::client(format!("There is no such preference option: {slug}"))),
            });
            return found.collect::<Result<_, _>>().map(Some);
        }
        let ids = self.preference_option_value_ids.as_ref();
        let parse = |ids: &Vec<ID>| {
            ids.iter()
                .map(|id| parse_id(id, "preference option").map(OptionId))
                .collect()
        };
        ids.map(parse).transpose()
    }

    pub(super) fn read_new(&self, catalog: &Catalog, options: Option<Vec<OptionId>>) -> Result<NewTopic, Refusal> {
        let is_it = |purpose: &&Purpose| match (&self.purpose_id, &self.tracking_type) {
            (Some(id), _) => ID::from(purpose.id.0) == *id,
            (None, Some(name)) => purpose.tracking_type == *name && purpose.deleted_at.is_none(),
            (None, None) => false,
        };
        let purpose = catalog
            .purposes
            .iter()
            .find(is_it)
            .ok_or_else(|| Refusal::not_found("purpose"))?;
        let title = self
            .title
            .clone()
            .ok_or_else(|| Refusal::client("a new preference topic needs a title"))?;
        Ok(NewTopic {
            purpose: purpose.id,
            slug: self.slug.clone().unwrap_or_else(|| title.clone()),
            kind: self
                .r#type
                .ok_or_else(|| Refusal::client("a new preference topic needs a type"))?,
            title,
            display_description: self.display_description.clone().unwrap_or_default(),
            show_in_privacy_center: self.show_in_privacy_center.unwrap_or(true),
            default_configuration: self.default_configuration.clone().unwrap_or_else(|| "{}".to_owned()),
            options: options.unwrap_or_default(),
        })
    }
}

/// Options to be made, or changed.
#[derive(InputObject)]
pub(super) struct CreateOrUpdatePreferenceOptionValuesInput {
    /// They.
    pub(super) preference_option_values: Vec<PreferenceOptionValueInput>,
}

/// An option to be made, or changed.
#[derive(InputObject)]
pub(super) struct PreferenceOptionValueInput {
    /// The option whose title changes; none to make one.
    pub(super) id: Option<ID>,
    /// What people read.
    pub(super) title: String,
    /// The name on the wire of a new one.
    pub(super) slug: Option<String>,
}

/// A partition to be deleted.
#[derive(InputObject)]
pub(super) struct DeleteConsentPartitionInput {
    /// The partition.
    pub(super) id: ID,
}

/// A partition to be made.
#[derive(InputObject)]
pub(super) struct CreateConsentPartitionInput {
    /// The consent manager it belongs to.
    pub(super) id: ID,
    /// Its name.
    pub(super) name: String,
    /// Its key on the wire; none has the server make one.
    pub(super) partition: Option<String>,
}
