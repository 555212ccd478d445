//! What can be asked for and said about the organization's settings.

use super::*;

/// Which identifiers to list.
#[derive(Default, InputObject)]
pub(super) struct IdentifierFiltersInput {
    /// Those whose name holds this.
    pub(super) text: Option<String>,
}

/// Which attribute keys to list.
#[derive(Default, InputObject)]
pub(super) struct AttributeKeyFiltersInput {
    /// Those whose name holds this.
    pub(super) text: Option<String>,
    /// Those that one of these can carry.
    pub(super) enabled_on: Option<Vec<ResourceKind>>,
}

/// Which attribute values to list.
#[derive(Default, InputObject)]
pub(super) struct AttributeValueFiltersInput {
    /// Those that hold this.
    pub(super) text: Option<String>,
    /// Those of these keys.
    pub(super) attribute_keys: Option<Vec<ID>>,
}

/// Which templates to list.
#[derive(Default, InputObject)]
pub(super) struct TemplateFiltersInput {
    /// Those whose title holds this.
    pub(super) text: Option<String>,
}

/// An identifier to be made.
#[derive(InputObject)]
pub(super) struct IdentifierInput {
    /// Its name.
    pub(super) name: String,
    /// Its kind.
    pub(super) r#type: IdentifierKind,
    #[graphql(flatten)]
    pub(super) settings: IdentifierSettings,
}

/// A change of an identifier.
#[derive(InputObject)]
pub(super) struct UpdateIdentifierInput {
    /// Which one.
    pub(super) id: ID,
    #[graphql(flatten)]
    pub(super) settings: IdentifierSettings,
}

/// What can be set about an identifier. What is not given stays; an empty text removes.
#[derive(InputObject)]
pub(super) struct IdentifierSettings {
    /// What a value must look like.
    pub(super) regex: Option<String>,
    /// The values it may have.
    pub(super) select_options: Option<Vec<String>>,
    /// The actions whose form asks for it.
    pub(super) privacy_center_visibility: Option<Vec<Action>>,
    /// The data subject types it is for, by id.
    pub(super) data_subject_ids: Option<Vec<ID>>,
    /// The data subject types it is for, by what `subjectType` says.
    pub(super) data_subjects: Option<Vec<String>>,
    /// The form does not go through without it.
    pub(super) is_required_in_form: Option<bool>,
    /// What an empty field of the form shows.
    pub(super) placeholder: Option<String>,
    /// Its name on the form.
    pub(super) display_title: Option<String>,
    /// Its explanation on the form.
    pub(super) display_description: Option<String>,
    /// What the form says to a value that does not fit.
    pub(super) validation_error_message: Option<String>,
    /// Its place on the form.
    pub(super) display_order: Option<i32>,
    /// Which identifier databases are asked by first.
    pub(super) sql_priority: Option<i32>,
    /// The variable for its value in database queries.
    pub(super) sql_variable: Option<String>,
    /// The variable for its looked-up value in database queries.
    pub(super) sql_lookup_variable: Option<String>,
    /// One preference record at most has a given value.
    pub(super) is_unique_on_preference_store: Option<bool>,
    /// The form takes several values.
    pub(super) is_multi_input: Option<bool>,
    /// Accepted and of no effect: a change is in force at once.
    pub(super) skip_publish: Option<bool>,
}

impl IdentifierSettings {
    pub(super) fn apply(self, identifier: &mut Identifier, settings: &Settings) -> Result<(), Refusal> {
        let text = |given: Option<String>| given.map(|text| Some(text).filter(|text| !text.is_empty()));
        if let Some(ids) = &self.data_subject_ids {
            let found = ids.iter().map(|id| subject_of(settings, id).map(|subject| subject.id));
            identifier.subject_types = found.collect::<Result<_, _>>()?;
        }
        if let Some(slugs) = &self.data_subjects {
            let find = |slug: &String| settings.find_subject_type(slug).map(|subject| subject.id);
            let found = slugs
                .iter()
                .map(|slug| find(slug).ok_or_else(|| Refusal::not_found("data subject type")));
            identifier.subject_types = found.collect::<Result<_, _>>()?;
        }
        put(&mut identifier.regex, self.regex);
        put(&mut identifier.select_options, self.select_options);
        put(
            &mut identifier.privacy_center_visibility,
            self.privacy_center_visibility,
        );
        put(&mut identifier.is_required_in_form, self.is_required_in_form);
        put(&mut identifier.placeholder, self.placeholder);
        put(&mut identifier.display_title, text(self.display_title));
        put(&mut identifier.display_description, text(self.display_description));
        put(
            &mut identifier.validation_error_message,
            text(self.validation_error_message),
        );
        put(&mut identifier.display_order, self.display_order.map(Some));
        put(&mut identifier.sql_priority, self.sql_priority.map(Some));
        put(&mut identifier.sql_variable, text(self.sql_variable));
        put(&mut identifier.sql_lookup_variable, text(self.sql_lookup_variable));
        put(
            &mut identifier.is_unique_on_preference_store,
            self.is_unique_on_preference_store,
        );
        put(&mut identifier.is_multi_input, self.is_multi_input);
        Ok(())
    }
}

/// A data subject type to be made.
#[derive(InputObject)]
pub(super) struct CreateSubjectInput {
    /// What `subjectType` says on the wire.
    pub(super) r#type: String,
    /// What people read.
    pub(super) title: String,
    /// The broad class it belongs to.
    pub(super) subject_class: Option<SubjectClass>,
    /// Whether new requests may name it.
    pub(super) active: Option<bool>,
    /// Requests made by an administrator send no mail unless told otherwise.
    pub(super) admin_dashboard_default_silent_mode: Option<bool>,
    /// What these people may demand.
    pub(super) actions: Option<Vec<Action>>,
    /// Days in which these people are answered, before what is set for the action and before the law.
    pub(super) times_to_answer: Option<Vec<TimeToAnswerInput>>,
    /// Accepted and of no effect: a change is in force at once.
    pub(super) skip_publish: Option<bool>,
}

/// A change of a data subject type.
#[derive(InputObject)]
pub(super) struct UpdateSubjectInput {
    /// Which one.
    pub(super) id: ID,
    /// What people read.
    pub(super) title: Option<String>,
    /// The broad class it belongs to.
    pub(super) subject_class: Option<SubjectClass>,
    /// Requests made by an administrator send no mail unless told otherwise.
    pub(super) admin_dashboard_default_silent_mode: Option<bool>,
    /// An agent may act for the person.
    pub(super) supports_authorized_agent: Option<bool>,
    /// What these people may demand.
    pub(super) actions: Option<Vec<Action>>,
    /// Days in which these people are answered, before what is set for the action and before the law.
    pub(super) times_to_answer: Option<Vec<TimeToAnswerInput>>,
    /// Accepted and of no effect: a change is in force at once.
    pub(super) skip_publish: Option<bool>,
}

/// Days in which people are answered.
#[derive(InputObject)]
pub(super) struct TimeToAnswerInput {
    /// What they demand; none for every action that has no entry.
    pub(super) action: Option<Action>,
    /// Days.
    pub(super) days: i32,
}

impl TimeToAnswerInput {
    pub(super) fn read(self) -> Result<TimeToAnswer, Refusal> {
        let Self { action, days: given } = self;
        Ok(TimeToAnswer {
            action,
            days: days(given)?,
        })
    }
}

/// Whether new requests may name a data subject type.
#[derive(InputObject)]
pub(super) struct ToggleSubjectInput {
    /// Which one.
    pub(super) id: ID,
    /// Whether they may.
    pub(super) active: bool,
    /// Accepted and of no effect: a change is in force at once.
    pub(super) skip_publish: Option<bool>,
}

/// A change of how an action is handled.
#[derive(InputObject)]
pub(super) struct UpdateActionInput {
    /// Which settings.
    pub(super) id: ID,
    /// Days that a request waits before silos are asked.
    pub(super) waiting_period: Option<i32>,
    /// The wait between two phases. Without members it makes the action one-phase.
    pub(super) delay: Option<DelayInput>,
    /// A person approves what was compiled.
    pub(super) requires_review: Option<bool>,
    /// A person approves the end of the second phase.
    pub(super) requires_secondary_review: Option<bool>,
    /// Nothing is erased before somebody has approved the plan of it. Ours.
    pub(super) requires_approved_plan: Option<bool>,
    /// The second phase is left out when the first found nothing.
    pub(super) skip_secondary_if_no_files: Option<bool>,
    /// There is no time in which the report can be downloaded.
    pub(super) skip_downloadable_step: Option<bool>,
    /// Days in which the report can be downloaded.
    pub(super) download_availability_duration: Option<i32>,
    /// What the data subject gets to see.
    pub(super) post_compile_status: Option<PostCompileStatus>,
    /// The data subject may choose what they get to see.
    pub(super) allow_post_compile_choice: Option<bool>,
    /// A receipt is sent.
    pub(super) send_receipt_email: Option<bool>,
    /// Days that the law allows, by region; one entry must be the default.
    pub(super) expiry_time_regions: Option<Vec<ExpiryTimeRegionInput>>,
    /// How the region is found.
    pub(super) region_detection_method: Option<RegionDetection>,
    /// Where it is offered; empty means everywhere.
    pub(super) region_list: Option<Vec<String>>,
    /// Accepted and of no effect: a change is in force at once.
    pub(super) skip_publish: Option<bool>,
}

/// The wait between two phases.
#[derive(InputObject)]
pub(super) struct DelayInput {
    /// Days.
    pub(super) time: Option<i32>,
    /// What the first phase does.
    pub(super) preview_action: Option<Action>,
}

/// Days that the law of a region allows.
#[derive(InputObject)]
pub(super) struct ExpiryTimeRegionInput {
    /// The region; none or `default` for the default.
    pub(super) region: Option<String>,
    /// Days.
    pub(super) value: i32,
}

impl UpdateActionInput {
    pub(super) fn apply(self, action: &mut ActionSettings) -> Result<(), Refusal> {
        put(&mut action.waiting_period, self.waiting_period.map(days).transpose()?);
        if let Some(delay) = self.delay {
            action.delay = match (delay.time, delay.preview_action) {
                (Some(time), Some(preview_action)) => Some(Delay {
                    time: days(time)?,
                    preview_action,
                }),
                (None, None) => None,
                _ => {
                    return Err(Refusal::client(
                        "delay needs time and previewAction, or neither to remove it",
                    ));
                }
            };
        }
        put(&mut action.requires_review, self.requires_review);
        put(&mut action.requires_secondary_review, self.requires_secondary_review);
        put(&mut action.requires_approved_plan, self.requires_approved_plan);
        put(&mut action.skip_secondary_if_no_files, self.skip_secondary_if_no_files);
        put(&mut action.skip_downloadable_step, self.skip_downloadable_step);
        put(
            &mut action.download_availability,
            self.download_availability_duration.map(days).transpose()?,
        );
        put(&mut action.post_compile_status, self.post_compile_status);
        put(&mut action.allow_post_compile_choice, self.allow_post_compile_choice);
        put(&mut action.send_receipt_email, self.send_receipt_email);
        if let Some(regions) = self.expiry_time_regions {
            let entry = |entry: ExpiryTimeRegionInput| -> Result<RegionExpiry, Refusal> {
                let region = entry.region.filter(|region| region != DEFAULT_REGION);
                Ok(RegionExpiry {
                    region,
                    days: days(entry.value)?,
                })
            };
            action.expiry = regions.into_iter().map(entry).collect::<Result<_, _>>()?;
            action.expiry_was_set = true;
            action.expiry.sort_by(|a, b| a.region.cmp(&b.region));
        }
        put(&mut action.region_detection, self.region_detection_method);
        put(&mut action.regions, self.region_list);
        Ok(())
    }
}

/// An attribute key to be made.
#[derive(InputObject)]
pub(super) struct CreateAttributeKeyInput {
    /// Its name.
    pub(super) name: String,
    /// How its values are given.
    pub(super) r#type: AttributeKind,
    /// What it is for.
    pub(super) description: Option<String>,
    /// What may carry it.
    pub(super) enabled_on: Option<Vec<ResourceKind>>,
}

/// A change of an attribute key.
#[derive(InputObject)]
pub(super) struct UpdateAttributeKeyInput {
    /// Which one.
    pub(super) id: ID,
    /// What it is for.
    pub(super) description: Option<String>,
    /// What may carry it.
    pub(super) enabled_on: Option<Vec<ResourceKind>>,
}

/// A value to be added to an attribute key.
#[derive(InputObject)]
pub(super) struct CreateAttributeValuesInput {
    /// The key, by id.
    pub(super) attribute_key_id: Option<ID>,
    /// The key, by name.
    pub(super) attribute_key_name: Option<String>,
    /// What it says.
    pub(super) name: String,
    /// What it means.
    pub(super) description: Option<String>,
    /// The colour it is shown in.
    pub(super) color: Option<String>,
}

/// A change of an attribute value.
#[derive(InputObject)]
pub(super) struct UpdateAttributeValueInput {
    /// Which one.
    pub(super) id: ID,
    /// What it says.
    pub(super) name: Option<String>,
    /// What it means.
    pub(super) description: Option<String>,
    /// The colour it is shown in.
    pub(super) color: Option<String>,
}

/// A template to be made.
#[derive(InputObject)]
pub(super) struct CreateTemplateInput {
    /// What it is called.
    pub(super) title: String,
    /// The body: HTML if it has any tag, else plain text. Empty for the built-in one.
    pub(super) template: String,
    /// The subject line. Empty for the built-in one.
    pub(super) subject: String,
    /// How it is sent. Only mail is.
    pub(super) r#type: Option<String>,
    /// What it belongs to. Only data subject requests have templates.
    pub(super) product: Option<String>,
    /// Which messages it is for; none: those for which somebody names it.
    pub(super) kind: Option<MessageKind>,
    /// About which demands; none: all of them.
    pub(super) action: Option<Action>,
    /// In which language it is, such as de or pt-BR; none: it is for everybody.
    pub(super) locale: Option<String>,
    /// The body as plain text, where that is not to be made of the HTML.
    pub(super) text: Option<String>,
}

/// A change of a template; what is not given stays, and null takes away.
#[derive(InputObject)]
pub(super) struct UpdateTemplateInput {
    /// Which template.
    pub(super) id: ID,
    /// What it is called.
    pub(super) title: Option<String>,
    /// The body: HTML if it has any tag, else plain text. Empty for the built-in one.
    pub(super) template: Option<String>,
    /// The subject line. Empty for the built-in one.
    pub(super) subject: Option<String>,
    /// Which messages it is for.
    pub(super) kind: MaybeUndefined<MessageKind>,
    /// About which demands.
    pub(super) action: MaybeUndefined<Action>,
    /// In which language it is.
    pub(super) locale: MaybeUndefined<String>,
    /// The body as plain text.
    pub(super) text: MaybeUndefined<String>,
}

impl UpdateTemplateInput {
    /// The template as it is after the change.
    pub(super) fn change(self, mut template: Template) -> Template {
        put(&mut template.title, self.title);
        put(&mut template.body, self.template);
        put(&mut template.subject, self.subject);
        put_or_take(&mut template.kind, self.kind);
        put_or_take(&mut template.action, self.action);
        put_or_take(&mut template.locale, self.locale);
        put_or_take(&mut template.text, self.text);
        template
    }
}

fn put_or_take<T>(place: &mut Option<T>, given: MaybeUndefined<T>) {
    match given {
        MaybeUndefined::Undefined => {}
        MaybeUndefined::Null => *place = None,
        MaybeUndefined::Value(value) => *place = Some(value),
    }
}

/// What the organization says of itself.
#[derive(InputObject)]
pub(super) struct UpdateOrganizationInput {
    /// What becomes of a consent string that says the opposite of the purposes beside it; null for what the server is set to.
    pub(super) iab_contradiction: MaybeUndefined<IabContradiction>,
    /// How many days after its status last changed a data subject request can be restarted; null for as many as one likes.
    pub(super) restart_time_limit_days: MaybeUndefined<i32>,
    /// Its name as people read it, in messages and on pages too.
    pub(super) name: Option<String>,
    /// The time zone whose days count for deadlines, such as Europe/Berlin; null for the one that the server is set to.
    pub(super) time_zone: MaybeUndefined<String>,
    /// All days on which nobody works, beside weekends: of every year, as 12-25, or of one, as 2027-03-26.
    pub(super) holidays: Option<Vec<String>>,
    /// What becomes of data subject requests that have been over for long.
    pub(super) retention: Option<RetentionInput>,
}

/// What becomes of data subject requests that have been over for long.
#[derive(InputObject)]
pub(super) struct RetentionInput {
    /// What is removed of them.
    pub(super) kind: RetentionKind,
    /// Days that they have been over by then.
    pub(super) after_days: i32,
}

impl UpdateOrganizationInput {
    /// Changes what is given.
    pub(super) fn apply(self, changed: &mut Organization) -> Result<(), Refusal> {
        self.iab_contradiction.update_to(&mut changed.iab_contradiction);
        self.time_zone.update_to(&mut changed.time_zone);
        put(&mut changed.name, self.name);
        match self.restart_time_limit_days {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => changed.restart_time_limit_days = None,
            MaybeUndefined::Value(given) => changed.restart_time_limit_days = Some(days(given)?),
        }
        if let Some(given) = self.holidays {
            let read = |day: String| {
                Holiday::try_from(day.clone()).map_err(|why| Refusal::client(format!("holidays: `{day}`: {why}")))
            };
            changed.holidays = given.into_iter().map(read).collect::<Result<_, Refusal>>()?;
        }
        if let Some(RetentionInput { kind, after_days }) = self.retention {
            changed.retention = Retention {
                kind,
                after: days(after_days)?,
            };
        }
        Ok(())
    }
}
