//! Every field of `Query` and `Mutation` with the scopes it needs: one table, checked before anything is done.

use std::collections::BTreeSet;

use async_graphql::{
    ServerError,
    parser::types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};

use super::Refusal;
use crate::{
    api_keys::ScopeName::{self, *},
    http::Caller,
};

/// A root field and who may have it.
#[derive(Clone, Copy, Debug)]
pub struct FieldAccess {
    /// Its name.
    pub field: &'static str,
    /// Any one of these scopes will do; none means that any live key will.
    pub scopes: &'static [ScopeName],
    /// Whether having it is written down.
    pub recorded: Recorded,
}

/// Whether that somebody had a field is written down by the field itself. Every change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It changes nothing, and anybody with the scope may look as often as they like.
    No,
    /// It shows a secret.
    Yes,
}

const fn needs(field: &'static str, scopes: &'static [ScopeName]) -> FieldAccess {
    let recorded = Recorded::No;
    FieldAccess {
        field,
        scopes,
        recorded,
    }
}

const fn recorded(field: &'static str, scopes: &'static [ScopeName]) -> FieldAccess {
    let recorded = Recorded::Yes;
    FieldAccess {
        field,
        scopes,
        recorded,
    }
}

/// The queries.
#[rustfmt::skip]
const QUERIES: &[FieldAccess] = &[
    needs("__schema", &[FullAdmin]),
    needs("__type", &[FullAdmin]),
    needs("actions", &[ViewDataSubjectRequestSettings]),
    needs("apiKeys", &[ViewApiKeys]),
    needs("attributeKeys", &[ViewGlobalAttributes]),
    needs("attributeValues", &[ViewGlobalAttributes]),
    needs("auditEvents", &[FullAdmin]),
    needs("consentManager", &[ViewConsentManager, ViewPreferenceStoreSettings]),
    needs("consentPartitions", &[ViewConsentManager, ViewPreferenceStoreSettings]),
    needs("consentWorkflowTriggers", &[ViewConsentManager, ViewPreferenceStoreSettings]),
    needs("dataPoints", &[ViewDataMap]),
    needs("dataSilo", &[ViewDataMap]),
    needs("dataSilos", &[ViewDataMap]),
    needs("dropRunLinks", &[ViewRequestCompilation]),
    needs("dropRuns", &[ViewRequests]),
    needs("enrichers", &[ViewRequestIdentitySettings]),
    needs("failingJobs", &[FullAdmin]),
    recorded("getTokenSecrets", &[ManageConsentManagerDeveloperSettings]),
    needs("identifiers", &[ViewRequestIdentitySettings, ViewPreferenceStoreSettings]),
    needs("initializer", &[ViewRequestIdentitySettings]),
    needs("internalSubjects", &[ViewDataSubjectRequestSettings]),
    needs("listReducedRequestsForDataSilo", &[]),
    needs("messages", &[ViewRequests]),
    needs("newIdentifierTypes", &[ViewRequestIdentitySettings]),
    needs("organization", &[]),
    needs("parkedJobs", &[FullAdmin]),
    needs("preferenceChangeWebhooks", &[ViewPreferenceStoreSettings]),
    needs("preferenceOptionValues", &[ViewPreferenceStoreSettings]),
    needs("preferenceTopics", &[ViewPreferenceStoreSettings]),
    needs("purposes", &[ViewConsentManager, ViewPreferenceStoreSettings]),
    needs("request", &[ViewRequests]),
    needs("requestDataSilos", &[ViewRequests, ViewRequestCompilation]),
    needs("requestDownloadLinks", &[ViewRequests]),
    needs("requestEnrichers", &[ViewRequests, ViewRequestCompilation]),
    needs("requestIdentifiers", &[ViewRequestCompilation]),
    needs("requests", &[ViewRequests]),
    needs("subDataPoints", &[ViewDataMap]),
    needs("templates", &[ViewEmailTemplates]),
];

/// The mutations.
#[rustfmt::skip]
const MUTATIONS: &[FieldAccess] = &[
    needs("acceptRequestDataSiloContradiction", &[ManageRequestCompilation]),
    needs("addDropRecords", &[MakeDataSubjectRequest]),
    needs("advanceClock", &[FullAdmin]),
    needs("approveRequest", &[RequestApproval]),
    needs("approveRequestPlan", &[RequestApproval]),
    needs("beginRehearsal", &[FullAdmin]),
    needs("cancelRequest", &[RequestApproval]),
    needs("changeRequestDataSiloStatus", &[ManageRequestCompilation]),
    needs("closeDropRun", &[MakeDataSubjectRequest]),
    needs("compileRequest", &[RequestApproval]),
    needs("createApiKey", &[ManageApiKeys]),
    needs("createAttributeKey", &[ManageGlobalAttributes]),
    needs("createAttributeValues", &[ManageGlobalAttributes]),
    needs("createConsentPartition", &[ManageConsentManagerDeveloperSettings]),
    needs("createDataSilos", &[ConnectDataSilos]),
    needs("createDropRun", &[MakeDataSubjectRequest]),
    needs("createEnricher", &[ManageRequestIdentities]),
    needs("createIdentifier", &[ManageRequestIdentities]),
    needs("createOrUpdateConsentWorkflowTrigger", &[ManageConsentManager, ManagePreferenceStoreSettings]),
    needs("createOrUpdatePreferenceOptionValues", &[ManagePreferenceStoreSettings]),
    needs("createOrUpdatePreferenceTopic", &[ManagePreferenceStoreSettings]),
    needs("createPreferenceChangeWebhook", &[ManagePreferenceStoreSettings]),
    needs("createPrivacyCenterAccessTokens", &[GeneratePreferenceAccessTokens]),
    needs("createPurpose", &[ManageConsentManager, ManagePreferenceStoreSettings]),
    needs("createRequestDownloadLink", &[ManageRequestCompilation]),
    needs("createSubject", &[ManageDataSubjectRequestSettings]),
    needs("createTemplate", &[ManageEmailTemplates]),
    needs("deleteApiKey", &[ManageApiKeys]),
    needs("deleteAttributeValue", &[ManageGlobalAttributes]),
    needs("deleteConsentPartition", &[ManageConsentManagerDeveloperSettings]),
    needs("deleteConsentWorkflowTriggers", &[ManageConsentManager, ManagePreferenceStoreSettings]),
    needs("deleteEnricher", &[ManageRequestIdentities]),
    needs("deletePreferenceChangeWebhook", &[ManagePreferenceStoreSettings]),
    recorded("generateConsentIdentifierEncryptionKey", &[ManageConsentManagerDeveloperSettings]),
    needs("notifyAdditionalTime", &[RequestApproval]),
    needs("removeRequestIdentifiers", &[ManageRequestCompilation]),
    needs("retryJob", &[FullAdmin]),
    needs("retryMessages", &[RequestApproval]),
    needs("retryRequestDataSilo", &[ManageRequestCompilation]),
    needs("retryRequestEnricher", &[ManageRequestCompilation]),
    recorded("revealConsentIdentifierEncryptionKey", &[ManageConsentManagerDeveloperSettings]),
    needs("revokePrivacyCenterAccessTokens", &[GeneratePreferenceAccessTokens]),
    needs("revokeRequestDownloadLinks", &[ManageRequestCompilation, RequestApproval]),
    recorded("setTokenSecret", &[ManageConsentManagerDeveloperSettings]),
    needs("shredRequest", &[ManageDataSubjectRequestSettings]),
    needs("skipRequestEnricher", &[ManageRequestCompilation]),
    needs("toggleSubject", &[ManageDataSubjectRequestSettings]),
    needs("updateAction", &[ManageDataSubjectRequestSettings]),
    needs("updateApiKey", &[ManageApiKeys]),
    needs("updateAttributeKey", &[ManageGlobalAttributes]),
    needs("updateAttributeValues", &[ManageGlobalAttributes]),
    needs("updateDataSilos", &[ConnectDataSilos]),
    needs("updateEnricher", &[ManageRequestIdentities]),
    needs("updateIdentifier", &[ManageRequestIdentities]),
    needs("updateOrCreateDataPoint", &[ManageDataMap]),
    needs("updateOrganization", &[ManagePreferenceStoreSettings]),
    needs("updatePurpose", &[ManageConsentManager, ManagePreferenceStoreSettings]),
    needs("updateRequest", &[ManageRequestCompilation, RequestApproval]),
    needs("updateRetention", &[ManageDataSubjectRequestSettings]),
    needs("updateSubject", &[ManageDataSubjectRequestSettings]),
    needs("updateTemplate", &[ManageEmailTemplates]),
    needs("deleteTemplate", &[ManageEmailTemplates]),
];

/// A field that is in neither list is for nobody but those who may do everything.
const UNLISTED: &[ScopeName] = &[FullAdmin];

/// Every root field, queries first.
pub fn fields() -> impl Iterator<Item = FieldAccess> {
    QUERIES.iter().chain(MUTATIONS).copied()
}

/// What a document takes of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    /// It only looks.
    Look,
    /// It changes something.
    Change,
    /// It shows what nobody sees without its being written down.
    Record,
}

/// Refuses a document that asks for a root field its caller may not have. Gives what the document takes.
pub(super) fn admit(document: &ExecutableDocument, caller: &Caller) -> Result<Demand, ServerError> {
    let mut demand = Demand::Look;
    for (_, operation) in document.operations.iter() {
        let table = if operation.node.ty == OperationType::Mutation {
            demand = demand.max(Demand::Change);
            MUTATIONS
        } else {
            QUERIES
        };
        let mut roots = Vec::new();
        collect(
            document,
            &operation.node.selection_set.node,
            &mut BTreeSet::new(),
            &mut roots,
        );
        for field in roots {
            let name = field.name.node.as_str();
            if name == "__typename" {
                continue;
            }
            let known = table.iter().find(|known| known.field == name);
            if known.is_some_and(|known| known.recorded == Recorded::Yes) {
                demand = Demand::Record;
            }
            let scopes = known.map_or(UNLISTED, |known| known.scopes);
            if !scopes.is_empty() && !scopes.iter().any(|scope| caller.require(*scope).is_ok()) {
                let refusal = Refusal::Denied {
                    field: name.to_owned(),
                    scopes,
                };
                return Err(refusal.at(vec![field.name.pos]));
            }
        }
    }
    Ok(demand)
}

/// The root fields of a selection, those of its fragments included. Each fragment is walked once, so a cycle ends.
fn collect<'a>(
    document: &'a ExecutableDocument,
    selection: &'a SelectionSet,
    walked: &mut BTreeSet<&'a str>,
    roots: &mut Vec<&'a Field>,
) {
    for item in &selection.items {
        match &item.node {
            Selection::Field(field) => roots.push(&field.node),
            Selection::InlineFragment(inline) => collect(document, &inline.node.selection_set.node, walked, roots),
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                if let Some(fragment) = document.fragments.get(name)
                    && walked.insert(name.as_str())
                {
                    collect(document, &fragment.node.selection_set.node, walked, roots);
                }
            }
        }
    }
}
