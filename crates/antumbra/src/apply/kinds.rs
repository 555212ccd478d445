//! How each kind of thing stands in a file, in the answers of the management API, and in what is sent to it: tables.

use serde_json::{Map, Value};

/// A kind of thing that a file can describe.
pub(super) struct Kind {
    /// What people call it.
    pub(super) word: &'static str,
    /// Its section of the file.
    pub(super) section: &'static str,
    /// The field of `Query` that lists it, with its own arguments.
    pub(super) list: &'static str,
    /// Whether that field takes pages.
    pub(super) pages: Pages,
    /// What is selected of each.
    pub(super) selection: &'static str,
    /// The key of the file by which one is found.
    pub(super) name: &'static str,
    /// Where the same stands in an answer.
    pub(super) name_at: &'static str,
    /// Everything that the file can say about one and that is plainly kept.
    pub(super) fields: &'static [Field],
    /// The document that makes one from `$input`; empty where only the server makes them.
    pub(super) create: &'static str,
    /// The document that changes one by `$input`; empty where nothing about one changes.
    pub(super) update: &'static str,
}

/// Whether a list comes in pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// With `first` and `offset`, under `nodes`.
    Yes,
    /// Whole.
    No,
}

/// One thing that a file can say.
pub(super) struct Field {
    /// Its key in the file.
    pub(super) key: &'static str,
    /// Where it stands in an answer: names joined by `.`, with `[]` after a list.
    pub(super) at: &'static str,
    /// What it is called in an input.
    pub(super) input: &'static str,
    /// How it is compared.
    pub(super) compared: Compared,
}

/// How a field is compared and may change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// As it stands.
    Exactly,
    /// As a set: the order of a list means nothing.
    AsSet,
    /// As it stands, and it never changes.
    Fixed,
}

const fn field(key: &'static str, at: &'static str, input: &'static str) -> Field {
    Field {
        key,
        at,
        input,
        compared: Compared::Exactly,
    }
}

const fn set(key: &'static str, at: &'static str, input: &'static str) -> Field {
    Field {
        key,
        at,
        input,
        compared: Compared::AsSet,
    }
}

const fn fixed(key: &'static str, at: &'static str, input: &'static str) -> Field {
    Field {
        key,
        at,
        input,
        compared: Compared::Fixed,
    }
}

pub(super) const ORGANIZATION: Kind = Kind {
    word: "organization",
    section: "organization",
    list: "organization",
    pages: Pages::No,
    selection: "name timeZone holidays restartTimeLimitDays retention { kind afterDays }",
    name: "name",
    name_at: "name",
    fields: &[
        field("name", "name", "name"),
        field("timeZone", "timeZone", "timeZone"),
        set("holidays", "holidays", "holidays"),
        field("restartTimeLimitDays", "restartTimeLimitDays", "restartTimeLimitDays"),
        field("retention", "retention", "retention"),
    ],
    create: "",
    update: "mutation($input: UpdateOrganizationInput!) { updateOrganization(input: $input) { clientMutationId } }",
};

pub(super) const DATA_SUBJECT: Kind = Kind {
    word: "data subject type",
    section: "data-subjects",
    list: "internalSubjects",
    pages: Pages::No,
    selection: "id type title { defaultMessage } subjectClass active adminDashboardDefaultSilentMode actions { type } \
        timesToAnswer { action days }",
    name: "type",
    name_at: "type",
    fields: &[
        field("title", "title.defaultMessage", "title"),
        field("subjectClass", "subjectClass", "subjectClass"),
        field(
            "adminDashboardDefaultSilentMode",
            "adminDashboardDefaultSilentMode",
            "adminDashboardDefaultSilentMode",
        ),
        set("actions", "actions[].type", "actions"),
        set("timesToAnswer", "timesToAnswer", "timesToAnswer"),
    ],
    create: "mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }",
    update: "mutation($input: UpdateSubjectInput!) { updateSubject(input: $input) { clientMutationId } }",
};

pub(super) const TOGGLE_SUBJECT: &str =
    "mutation($input: ToggleSubjectInput!) { toggleSubject(input: $input) { clientMutationId } }";

pub(super) const ATTRIBUTE: Kind = Kind {
    word: "attribute",
    section: "attributes",
    list: "attributeKeys",
    pages: Pages::Yes,
    selection: "id name type description enabledOn",
    name: "name",
    name_at: "name",
    fields: &[
        fixed("type", "type", "type"),
        field("description", "description", "description"),
        set("resources", "enabledOn", "enabledOn"),
    ],
    create: "mutation($input: CreateAttributeKeyInput!) { createAttributeKey(input: $input) { attributeKey { id } } }",
    update: "mutation($input: UpdateAttributeKeyInput!) { updateAttributeKey(input: $input) { clientMutationId } }",
};

pub(super) const ATTRIBUTE_VALUE: Kind = Kind {
    word: "attribute value",
    section: "attributes",
    list: "attributeValues",
    pages: Pages::Yes,
    selection: "id name description color attributeKey { name }",
    name: "name",
    name_at: "name",
    fields: &[
        field("description", "description", "description"),
        field("color", "color", "color"),
    ],
    create: "mutation($input: [CreateAttributeValuesInput!]!) { createAttributeValues(input: $input) { clientMutationId } }",
    update: "mutation($input: [UpdateAttributeValueInput!]!) { updateAttributeValues(input: $input) { clientMutationId } }",
};

pub(super) const ACTION: Kind = Kind {
    word: "action",
    section: "actions",
    list: "actions",
    pages: Pages::Yes,
    selection: "id type waitingPeriod delay { time previewAction } requiresReview requiresSecondaryReview \
        requiresApprovedPlan skipSecondaryIfNoFiles skipDownloadableStep downloadAvailabilityDuration postCompileStatus \
        allowPostCompileChoice sendReceiptEmail expiryTimeRegions { region value } regionDetectionMethod regionList",
    name: "type",
    name_at: "type",
    fields: &[
        field("waitingPeriod", "waitingPeriod", "waitingPeriod"),
        field("delay", "delay", "delay"),
        field("requiresReview", "requiresReview", "requiresReview"),
        field(
            "requiresSecondaryReview",
            "requiresSecondaryReview",
            "requiresSecondaryReview",
        ),
        field("requiresApprovedPlan", "requiresApprovedPlan", "requiresApprovedPlan"),
        field(
            "skipSecondaryIfNoFiles",
            "skipSecondaryIfNoFiles",
            "skipSecondaryIfNoFiles",
        ),
        field("skipDownloadableStep", "skipDownloadableStep", "skipDownloadableStep"),
        field(
            "downloadAvailabilityDuration",
            "downloadAvailabilityDuration",
            "downloadAvailabilityDuration",
        ),
        field("postCompileStatus", "postCompileStatus", "postCompileStatus"),
        field(
            "allowPostCompileChoice",
            "allowPostCompileChoice",
            "allowPostCompileChoice",
        ),
        field("sendReceiptEmail", "sendReceiptEmail", "sendReceiptEmail"),
        set("expiryTimeRegions", "expiryTimeRegions", "expiryTimeRegions"),
        field(
            "regionDetectionMethod",
            "regionDetectionMethod",
            "regionDetectionMethod",
        ),
        set("regionList", "regionList", "regionList"),
    ],
    create: "",
    update: "mutation($input: UpdateActionInput!) { updateAction(input: $input) { clientMutationId } }",
};

pub(super) const IDENTIFIER: Kind = Kind {
    word: "identifier",
    section: "identifiers",
    list: "identifiers",
    pages: Pages::Yes,
    selection: "id name type regex selectOptions privacyCenterVisibility dataSubjects { type } isRequiredInForm \
        placeholder displayTitle { defaultMessage } displayDescription { defaultMessage } \
        validationErrorMessage { defaultMessage } displayOrder sqlPriority sqlVariable sqlLookupVariable \
        isUniqueOnPreferenceStore isMultiInput",
    name: "name",
    name_at: "name",
    fields: &[
        fixed("type", "type", "type"),
        field("regex", "regex", "regex"),
        field("selectOptions", "selectOptions", "selectOptions"),
        set(
            "privacyCenterVisibility",
            "privacyCenterVisibility",
            "privacyCenterVisibility",
        ),
        set("dataSubjects", "dataSubjects[].type", "dataSubjects"),
        field("isRequiredInForm", "isRequiredInForm", "isRequiredInForm"),
        field("placeholder", "placeholder", "placeholder"),
        field("displayTitle", "displayTitle.defaultMessage", "displayTitle"),
        field(
            "displayDescription",
            "displayDescription.defaultMessage",
            "displayDescription",
        ),
        field(
            "validationErrorMessage",
            "validationErrorMessage.defaultMessage",
            "validationErrorMessage",
        ),
        field("displayOrder", "displayOrder", "displayOrder"),
        field("sqlPriority", "sqlPriority", "sqlPriority"),
        field("sqlVariable", "sqlVariable", "sqlVariable"),
        field("sqlLookupVariable", "sqlLookupVariable", "sqlLookupVariable"),
        field(
            "isUniqueOnPreferenceStore",
            "isUniqueOnPreferenceStore",
            "isUniqueOnPreferenceStore",
        ),
        field("isMultiInput", "isMultiInput", "isMultiInput"),
    ],
    create: "mutation($input: IdentifierInput!) { createIdentifier(input: $input) { identifier { id } } }",
    update: "mutation($input: UpdateIdentifierInput!) { updateIdentifier(input: $input) { clientMutationId } }",
};

pub(super) const ENRICHER: Kind = Kind {
    word: "enricher",
    section: "enrichers",
    list: "enrichers",
    pages: Pages::Yes,
    selection: "id title description type url inputIdentifier { name } identifiers { name } testRegex lookerQueryTitle \
        expirationDuration transitionRequestStatus phoneNumbers regionList dataSubjects { type } actions reminderDurations \
        dependsOn isPaused dailyWindow { from until } verificationTemplateId endTemplateId",
    name: "title",
    name_at: "title",
    fields: &[
        fixed("type", "type", "type"),
        field("description", "description", "description"),
        field("url", "url", "url"),
        field("input-identifier", "inputIdentifier.name", "inputIdentifier"),
        set("output-identifiers", "identifiers[].name", "identifiers"),
        field("testRegex", "testRegex", "testRegex"),
        field("lookerQueryTitle", "lookerQueryTitle", "lookerQueryTitle"),
        field("expirationDuration", "expirationDuration", "expirationDuration"),
        field(
            "transitionRequestStatus",
            "transitionRequestStatus",
            "transitionRequestStatus",
        ),
        field("phoneNumbers", "phoneNumbers", "phoneNumbers"),
        set("regionList", "regionList", "regionList"),
        set("data-subjects", "dataSubjects[].type", "dataSubjects"),
        set("privacy-actions", "actions", "actions"),
        field("reminderDurations", "reminderDurations", "reminderDurations"),
        set("depends-on", "dependsOnTitles", "dependsOn"),
        field("paused", "isPaused", "isPaused"),
        field("daily-window", "dailyWindow", "dailyWindow"),
        field(
            "verification-template",
            "verificationTemplateTitle",
            "verificationTemplate",
        ),
        field("end-template", "endTemplateTitle", "endTemplate"),
    ],
    create: "mutation($input: EnricherInput!) { createEnricher(input: $input) { clientMutationId } }",
    update: "mutation($input: UpdateEnricherInput!) { updateEnricher(input: $input) { clientMutationId } }",
};

pub(super) const OPTION: Kind = Kind {
    word: "preference option",
    section: "preference-options",
    list: "preferenceOptionValues",
    pages: Pages::Yes,
    selection: "id slug title { defaultMessage }",
    name: "slug",
    name_at: "slug",
    fields: &[field("title", "title.defaultMessage", "title")],
    create: SAVE_OPTIONS,
    update: SAVE_OPTIONS,
};

const SAVE_OPTIONS: &str = "mutation($input: CreateOrUpdatePreferenceOptionValuesInput!) { \
    createOrUpdatePreferenceOptionValues(input: $input) { clientMutationId } }";

pub(super) const PURPOSE: Kind = Kind {
    word: "purpose",
    section: "purposes",
    list: "purposes",
    pages: Pages::Yes,
    selection: "id name title trackingType description defaultConsent configurable showInConsentManager \
        showInPrivacyCenter isActive displayOrder optOutSignals authLevel consentExpiryDays onConsentExpiry",
    name: "trackingType",
    name_at: "trackingType",
    fields: &[
        field("name", "name", "name"),
        field("title", "title", "title"),
        field("description", "description", "description"),
        field("default-consent", "defaultConsent", "defaultConsent"),
        field("configurable", "configurable", "configurable"),
        field(
            "show-in-consent-manager",
            "showInConsentManager",
            "showInConsentManager",
        ),
        field("show-in-privacy-center", "showInPrivacyCenter", "showInPrivacyCenter"),
        field("is-active", "isActive", "isActive"),
        field("display-order", "displayOrder", "displayOrder"),
        set("opt-out-signals", "optOutSignals", "optOutSignals"),
        field("auth-level", "authLevel", "authLevel"),
        field("consent-expiry-days", "consentExpiryDays", "consentExpiryDays"),
        field("on-consent-expiry", "onConsentExpiry", "onConsentExpiry"),
    ],
    create: "mutation($input: CreatePurposeInput!) { createPurpose(input: $input) { purpose { id } } }",
    update: "mutation($input: UpdatePurposeInput!) { updatePurpose(input: $input) { clientMutationId } }",
};

pub(super) const TOPIC: Kind = Kind {
    word: "preference topic",
    section: "purposes",
    list: "preferenceTopics",
    pages: Pages::Yes,
    selection: "id slug type title { defaultMessage } displayDescription { defaultMessage } showInPrivacyCenter \
        defaultConfiguration preferenceOptionValues { slug } purpose { trackingType }",
    name: "slug",
    name_at: "slug",
    fields: &[
        fixed("type", "type", "type"),
        field("title", "title.defaultMessage", "title"),
        field("description", "displayDescription.defaultMessage", "displayDescription"),
        field("default-configuration", "defaultConfiguration", "defaultConfiguration"),
        field("show-in-privacy-center", "showInPrivacyCenter", "showInPrivacyCenter"),
        field("options", "preferenceOptionValues[].slug", "preferenceOptionSlugs"),
    ],
    create: SAVE_TOPIC,
    update: SAVE_TOPIC,
};

const SAVE_TOPIC: &str = "mutation($input: CreateOrUpdatePreferenceTopicInput!) { \
    createOrUpdatePreferenceTopic(input: $input) { clientMutationId } }";

pub(super) const PARTITION: Kind = Kind {
    word: "partition",
    section: "partitions",
    list: "consentPartitions",
    pages: Pages::Yes,
    selection: "id name partition",
    name: "name",
    name_at: "name",
    fields: &[fixed("partition", "partition", "partition")],
    create: "mutation($input: CreateConsentPartitionInput!) { createConsentPartition(input: $input) { clientMutationId } }",
    update: "",
};

pub(super) const TOKEN_SECRETS: &str = "query($id: ID!) { getTokenSecrets(id: $id) { tokenSecrets { secrets } } }";

pub(super) const SET_TOKEN_SECRET: &str =
    "mutation($input: SetTokenSecretInput!) { setTokenSecret(input: $input) { clientMutationId } }";

pub(super) const TEMPLATE: Kind = Kind {
    word: "template",
    section: "templates",
    list: "templates",
    pages: Pages::Yes,
    selection: "id title subject { defaultMessage } template { defaultMessage } kind action locale text",
    name: "title",
    name_at: "title",
    fields: &[
        field("kind", "kind", "kind"),
        field("action", "action", "action"),
        field("locale", "locale", "locale"),
        field("subject", "subject.defaultMessage", "subject"),
        field("template", "template.defaultMessage", "template"),
        field("text", "text", "text"),
    ],
    create: "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) { clientMutationId } }",
    update: "mutation($input: UpdateTemplateInput!) { updateTemplate(input: $input) { clientMutationId } }",
};

pub(super) const TRIGGER: Kind = Kind {
    word: "workflow trigger",
    section: "consent-workflow-triggers",
    list: "consentWorkflowTriggers",
    pages: Pages::Yes,
    selection: "id name triggerCondition isSilent allowUnauthenticated isActive action { type } subject { type } \
        dataSilos { title } workflowConfig { internalName }",
    name: "name",
    name_at: "name",
    fields: &[
        field("condition", "triggerCondition", "triggerCondition"),
        field("workflow-title", "workflowConfig.internalName", "workflowConfigId"),
        field("action-type", "action.type", "actionType"),
        field("data-subject-type", "subject.type", "dataSubjectType"),
        field("is-silent", "isSilent", "isSilent"),
        field("allow-unauthenticated", "allowUnauthenticated", "allowUnauthenticated"),
        field("is-active", "isActive", "isActive"),
        set("data-silo-titles", "dataSilos[].title", "dataSiloTitles"),
    ],
    create: "mutation($input: CreateOrUpdateConsentWorkflowTriggerInput!) \
        { createOrUpdateConsentWorkflowTrigger(input: $input) { clientMutationId } }",
    update: "mutation($input: CreateOrUpdateConsentWorkflowTriggerInput!) \
        { createOrUpdateConsentWorkflowTrigger(input: $input) { clientMutationId } }",
};

pub(super) const DATA_SILO: Kind = Kind {
    word: "data silo",
    section: "data-silos",
    list: "dataSilos(filterBy: {})",
    pages: Pages::Yes,
    selection: "id title type outerType description url country countrySubDivision isLive isPaused confirmsAbsence \
        identifiers { name } \
        subjectBlocklist { type } dependentDataSilos { title } headers { name isSecret value }",
    name: "title",
    name_at: "title",
    fields: &[
        fixed("integrationName", "type", "name"),
        field("outer-type", "outerType", "outerType"),
        field("description", "description", "description"),
        field("url", "url", "url"),
        field("country", "country", "country"),
        field("countrySubDivision", "countrySubDivision", "countrySubDivision"),
        field("isLive", "isLive", "isLive"),
        field("paused", "isPaused", "isPaused"),
        field("confirm-absence", "confirmsAbsence", "confirmsAbsence"),
        set("identity-keys", "identifiers[].name", "identifiers"),
        set("data-subjects", "data-subjects", "dataSubjects"),
        set(
            "deletion-dependencies",
            "dependentDataSilos[].title",
            "dependedOnDataSiloTitles",
        ),
    ],
    create: "mutation($input: [CreateDataSilosInput!]!) { createDataSilos(input: $input) { dataSilos { id } } }",
    update: "mutation($input: UpdateDataSilosInput!) { updateDataSilos(input: $input) { clientMutationId } }",
};

pub(super) const HEADERS_MATCH: &str = "query($id: String!, $headers: [CustomHeaderInput!]!) { \
    dataSilo(id: $id) { headersMatch(headers: $headers) } }";

pub(super) const DATA_POINT: Kind = Kind {
    word: "data point",
    section: "data-silos",
    list: "dataPoints",
    pages: Pages::Yes,
    selection: "id name title { defaultMessage } description { defaultMessage } path references encryption \
        dataCollection { title { defaultMessage } } actionSettings { type active } dataSilo { title }",
    name: "key",
    name_at: "name",
    fields: &[
        field("title", "title.defaultMessage", "title"),
        field("description", "description.defaultMessage", "description"),
        field("path", "path", "path"),
        field(
            "data-collection-tag",
            "dataCollection.title.defaultMessage",
            "dataCollectionTag",
        ),
        set("privacy-actions", "actionSettings[].type", "enabledActions"),
        field("references", "references", "references"),
        field("encryption", "encryption", "encryption"),
    ],
    create: SAVE_DATA_POINT,
    update: SAVE_DATA_POINT,
};

const SAVE_DATA_POINT: &str = "mutation($input: UpdateOrCreateDataPointInput!) { \
    updateOrCreateDataPoint(input: $input) { dataPoint { id } } }";

pub(super) const API_KEY: Kind = Kind {
    word: "API key",
    section: "api-keys",
    list: "apiKeys",
    pages: Pages::Yes,
    selection: "id title scopes { name } dataSilos { title }",
    name: "title",
    name_at: "title",
    fields: &[
        set("scopes", "scopes[].name", "scopes"),
        set("data-silos", "dataSilos[].title", "dataSiloTitles"),
    ],
    create: "mutation($input: ApiKeyInput!) { createApiKey(input: $input) { apiKey { title apiKey } } }",
    update: "mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { clientMutationId } }",
};

/// What stands at a place of an answer.
pub(super) fn value_at(node: &Value, place: &str) -> Value {
    let Some((step, rest)) = place
        .split_once('.')
        .map(|(step, rest)| (step, Some(rest)))
        .or(Some((place, None)))
    else {
        return Value::Null;
    };
    let on = |value: &Value| rest.map_or_else(|| value.clone(), |rest| value_at(value, rest));
    match step.strip_suffix("[]") {
        Some(step) => node[step].as_array().into_iter().flatten().map(on).collect(),
        None => on(&node[step]),
    }
}

/// The form in which two values of a field are compared: a set is sorted, and nothing is an empty text or list.
pub(super) fn comparable(value: &Value, compared: Compared) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) if compared == Compared::AsSet => {
            let mut items: Vec<Value> = items.iter().map(|item| comparable(item, compared)).collect();
            items.sort_by_key(Value::to_string);
            items.dedup();
            Value::Array(items)
        }
        Value::Object(members) => {
            let members: Map<String, Value> = members
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            if members.is_empty() {
                Value::Null
            } else {
                Value::Object(members)
            }
        }
        Value::String(text) if text.is_empty() => Value::Null,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_leads_through_objects_and_lists() {
        let node = json!({ "a": { "b": "x" }, "l": [{ "t": 1 }, { "t": 2 }], "n": null });
        assert_eq!(value_at(&node, "a.b"), json!("x"));
        assert_eq!(value_at(&node, "l[].t"), json!([1, 2]));
        assert_eq!(value_at(&node, "n.b"), json!(null));
    }

    #[test]
    fn order_means_nothing_in_a_set_and_empty_is_nothing() {
        let same = |a: Value, b: Value, how| comparable(&a, how) == comparable(&b, how);
        assert!(same(json!(["b", "a"]), json!(["a", "b", "a"]), Compared::AsSet));
        assert!(!same(json!(["b", "a"]), json!(["a", "b"]), Compared::Exactly));
        assert!(same(json!([]), json!(null), Compared::AsSet));
        assert!(same(json!(""), json!(null), Compared::Exactly));
        assert!(same(json!({ "time": null }), json!(null), Compared::Exactly));
    }
}
