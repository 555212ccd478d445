//! The scopes: names and titles as every client of this API spells them, and which implies which.

use serde::{Deserialize, Serialize};

/// One thing a key may do. The wire spelling is [`ScopeName::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ScopeName {
    /// Full Admin.
    #[serde(rename = "fullAdmin")]
    FullAdmin,
    /// View Only.
    #[serde(rename = "readOnly")]
    ReadOnly,
    /// Submit New Data Subject Request.
    #[serde(rename = "makeDataSubjectRequest")]
    MakeDataSubjectRequest,
    /// View Incoming Requests.
    #[serde(rename = "viewRequests")]
    ViewRequests,
    /// View Assigned Privacy Requests.
    #[serde(rename = "viewAssignedRequests")]
    ViewAssignedRequests,
    /// Manage Assigned Privacy Requests.
    #[serde(rename = "managedAssignedRequests")]
    ManageAssignedRequests,
    /// Manage Assigned Bulk Respond.
    #[serde(rename = "manageAssignedBulkRespond")]
    ManageAssignedBulkRespond,
    /// View the Request Compilation.
    #[serde(rename = "viewRequestCompilation")]
    ViewRequestCompilation,
    /// Manage Request Compilation.
    #[serde(rename = "manageRequestCompilation")]
    ManageRequestCompilation,
    /// Request Approval and Communication.
    #[serde(rename = "requestApproval")]
    RequestApproval,
    /// View Identity Verification Settings.
    #[serde(rename = "viewRequestIdentitySettings")]
    ViewRequestIdentitySettings,
    /// Manage Request Identity Verification.
    #[serde(rename = "manageRequestIdentities")]
    ManageRequestIdentities,
    /// Manage Request Security.
    #[serde(rename = "manageRequestSecurity")]
    ManageRequestSecurity,
    /// View Data Subject Request Settings.
    #[serde(rename = "viewDataSubjectRequestSettings")]
    ViewDataSubjectRequestSettings,
    /// Manage Data Subject Request Settings.
    #[serde(rename = "manageDataSubjectRequestSettings")]
    ManageDataSubjectRequestSettings,
    /// View Customer Data in Privacy Requests.
    #[serde(rename = "viewCustomerDataPrivacyRequests")]
    ViewCustomerDataPrivacyRequests,
    /// View Legal Hold.
    #[serde(rename = "viewLegalHold")]
    ViewLegalHold,
    /// Manage Legal Holds.
    #[serde(rename = "manageLegalHold")]
    ManageLegalHold,
    /// View Workflows.
    #[serde(rename = "viewWorkflows")]
    ViewWorkflows,
    /// Manage Workflows.
    #[serde(rename = "manageWorkflows")]
    ManageWorkflows,
    /// View Global Attributes.
    #[serde(rename = "viewGlobalAttributes")]
    ViewGlobalAttributes,
    /// Manage Global Attributes.
    #[serde(rename = "manageGlobalAttributes")]
    ManageGlobalAttributes,
    /// View Email Templates.
    #[serde(rename = "viewEmailTemplates")]
    ViewEmailTemplates,
    /// Manage Email Templates.
    #[serde(rename = "manageEmailTemplates")]
    ManageEmailTemplates,
    /// View Data Map.
    #[serde(rename = "viewDataMap")]
    ViewDataMap,
    /// Manage Data Map.
    #[serde(rename = "manageDataMap")]
    ManageDataMap,
    /// Connect Data Silos.
    #[serde(rename = "connectDataSilos")]
    ConnectDataSilos,
    /// View Managed Consent Database Admin API.
    #[serde(rename = "viewManagedConsentDatabaseAdminApi")]
    ViewManagedConsentDatabaseAdminApi,
    /// Modify User Stored Preferences.
    #[serde(rename = "manageStoredPreferences")]
    ManageStoredPreferences,
    /// View Preference Store Settings.
    #[serde(rename = "viewPreferenceStoreSettings")]
    ViewPreferenceStoreSettings,
    /// Manage Preference Store Settings.
    #[serde(rename = "managePreferenceStoreSettings")]
    ManagePreferenceStoreSettings,
    /// Generate Preference Access Tokens.
    #[serde(rename = "generatePreferenceAccessTokens")]
    GeneratePreferenceAccessTokens,
    /// View Consent Manager.
    #[serde(rename = "viewConsentManager")]
    ViewConsentManager,
    /// Manage Consent Manager.
    #[serde(rename = "manageConsentManager")]
    ManageConsentManager,
    /// Manage Consent Manager Display Settings.
    #[serde(rename = "manageConsentManagerDisplaySettings")]
    ManageConsentManagerDisplaySettings,
    /// Manage Consent Manager Developer Settings.
    #[serde(rename = "manageConsentManagerDeveloperSettings")]
    ManageConsentManagerDeveloperSettings,
    /// Deploy Test Consent Manager.
    #[serde(rename = "deployTestConsentManager")]
    DeployTestConsentManager,
    /// Deploy Consent Manager.
    #[serde(rename = "deployConsentManager")]
    DeployConsentManager,
    /// View Privacy Center Layout.
    #[serde(rename = "viewPrivacyCenter")]
    ViewPrivacyCenter,
    /// Manage Privacy Center Layout.
    #[serde(rename = "managePrivacyCenter")]
    ManagePrivacyCenter,
    /// View API Keys.
    #[serde(rename = "viewApiKeys")]
    ViewApiKeys,
    /// Manage API Keys.
    #[serde(rename = "manageApiKeys")]
    ManageApiKeys,
    /// View Audit Events.
    #[serde(rename = "viewAuditEvents")]
    ViewAuditEvents,
    /// Manage Organization Information.
    #[serde(rename = "manageOrganizationInfo")]
    ManageOrganizationInfo,
}

/// Whether a scope looks or touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// Looks.
    View,
    /// Touches.
    Modify,
}

type Row = (&'static str, &'static str, ScopeKind, &'static [ScopeName]);

impl ScopeName {
    /// Every scope, in the order of their numbers.
    pub const ALL: [ScopeName; 44] = [
        ScopeName::FullAdmin,
        ScopeName::ReadOnly,
        ScopeName::MakeDataSubjectRequest,
        ScopeName::ViewRequests,
        ScopeName::ViewAssignedRequests,
        ScopeName::ManageAssignedRequests,
        ScopeName::ManageAssignedBulkRespond,
        ScopeName::ViewRequestCompilation,
        ScopeName::ManageRequestCompilation,
        ScopeName::RequestApproval,
        ScopeName::ViewRequestIdentitySettings,
        ScopeName::ManageRequestIdentities,
        ScopeName::ManageRequestSecurity,
        ScopeName::ViewDataSubjectRequestSettings,
        ScopeName::ManageDataSubjectRequestSettings,
        ScopeName::ViewCustomerDataPrivacyRequests,
        ScopeName::ViewLegalHold,
        ScopeName::ManageLegalHold,
        ScopeName::ViewWorkflows,
        ScopeName::ManageWorkflows,
        ScopeName::ViewGlobalAttributes,
        ScopeName::ManageGlobalAttributes,
        ScopeName::ViewEmailTemplates,
        ScopeName::ManageEmailTemplates,
        ScopeName::ViewDataMap,
        ScopeName::ManageDataMap,
        ScopeName::ConnectDataSilos,
        ScopeName::ViewManagedConsentDatabaseAdminApi,
        ScopeName::ManageStoredPreferences,
        ScopeName::ViewPreferenceStoreSettings,
        ScopeName::ManagePreferenceStoreSettings,
        ScopeName::GeneratePreferenceAccessTokens,
        ScopeName::ViewConsentManager,
        ScopeName::ManageConsentManager,
        ScopeName::ManageConsentManagerDisplaySettings,
        ScopeName::ManageConsentManagerDeveloperSettings,
        ScopeName::DeployTestConsentManager,
        ScopeName::DeployConsentManager,
        ScopeName::ViewPrivacyCenter,
        ScopeName::ManagePrivacyCenter,
        ScopeName::ViewApiKeys,
        ScopeName::ManageApiKeys,
        ScopeName::ViewAuditEvents,
        ScopeName::ManageOrganizationInfo,
    ];

    /// Wire name, title, kind, and the scopes this one implies at once; what those imply follows.
    const fn row(self) -> Row {
        use ScopeKind::{Modify, View};
        use ScopeName::*;
        match self {
            FullAdmin => ("fullAdmin", "Full Admin", Modify, &ScopeName::ALL),
            ReadOnly => ("readOnly", "View Only", View, &[]),
            MakeDataSubjectRequest => (
                "makeDataSubjectRequest",
                "Submit New Data Subject Request",
                Modify,
                &[ViewDataSubjectRequestSettings, ViewRequestIdentitySettings],
            ),
            ViewRequests => (
                "viewRequests",
                "View Incoming Requests",
                View,
                &[ViewGlobalAttributes, ViewDataSubjectRequestSettings, ViewEmailTemplates],
            ),
            ViewAssignedRequests => (
                "viewAssignedRequests",
                "View Assigned Privacy Requests",
                View,
                &[ViewGlobalAttributes, ViewDataSubjectRequestSettings, ViewEmailTemplates],
            ),
            ManageAssignedRequests => (
                "managedAssignedRequests",
                "Manage Assigned Privacy Requests",
                Modify,
                &[ViewAssignedRequests],
            ),
            ManageAssignedBulkRespond => ("manageAssignedBulkRespond", "Manage Assigned Bulk Respond", Modify, &[]),
            ViewRequestCompilation => (
                "viewRequestCompilation",
                "View the Request Compilation",
                View,
                &[ViewRequests],
            ),
            ManageRequestCompilation => (
                "manageRequestCompilation",
                "Manage Request Compilation",
                Modify,
                &[ViewRequests, ViewRequestCompilation],
            ),
            RequestApproval => (
                "requestApproval",
                "Request Approval and Communication",
                Modify,
                &[ViewRequests, ViewRequestCompilation, ManageRequestCompilation],
            ),
            ViewRequestIdentitySettings => (
                "viewRequestIdentitySettings",
                "View Identity Verification Settings",
                View,
                &[],
            ),
            ManageRequestIdentities => (
                "manageRequestIdentities",
                "Manage Request Identity Verification",
                Modify,
                &[ViewRequestIdentitySettings],
            ),
            ManageRequestSecurity => ("manageRequestSecurity", "Manage Request Security", Modify, &[]),
            ViewDataSubjectRequestSettings => (
                "viewDataSubjectRequestSettings",
                "View Data Subject Request Settings",
                View,
                &[],
            ),
            ManageDataSubjectRequestSettings => (
                "manageDataSubjectRequestSettings",
                "Manage Data Subject Request Settings",
                Modify,
                &[ViewDataSubjectRequestSettings],
            ),
            ViewCustomerDataPrivacyRequests => (
                "viewCustomerDataPrivacyRequests",
                "View Customer Data in Privacy Requests",
                View,
                &[],
            ),
            ViewLegalHold => ("viewLegalHold", "View Legal Hold", View, &[]),
            ManageLegalHold => ("manageLegalHold", "Manage Legal Holds", Modify, &[ViewLegalHold]),
            ViewWorkflows => (
                "viewWorkflows",
                "View Workflows",
                View,
                &[ViewDataSubjectRequestSettings, ViewGlobalAttributes],
            ),
            ManageWorkflows => (
                "manageWorkflows",
                "Manage Workflows",
                Modify,
                &[ViewWorkflows, ViewDataSubjectRequestSettings, ViewGlobalAttributes],
            ),
            ViewGlobalAttributes => ("viewGlobalAttributes", "View Global Attributes", View, &[]),
            ManageGlobalAttributes => (
                "manageGlobalAttributes",
                "Manage Global Attributes",
                Modify,
                &[ViewGlobalAttributes],
            ),
            ViewEmailTemplates => ("viewEmailTemplates", "View Email Templates", View, &[]),
            ManageEmailTemplates => (
                "manageEmailTemplates",
                "Manage Email Templates",
                Modify,
                &[ViewEmailTemplates],
            ),
            ViewDataMap => ("viewDataMap", "View Data Map", View, &[ViewGlobalAttributes]),
            ManageDataMap => ("manageDataMap", "Manage Data Map", Modify, &[ViewDataMap]),
            ConnectDataSilos => (
                "connectDataSilos",
                "Connect Data Silos",
                Modify,
                &[ViewDataMap, ManageDataMap, ViewEmailTemplates],
            ),
            ViewManagedConsentDatabaseAdminApi => (
                "viewManagedConsentDatabaseAdminApi",
                "View Managed Consent Database Admin API",
                View,
                &[],
            ),
            ManageStoredPreferences => (
                "manageStoredPreferences",
                "Modify User Stored Preferences",
                Modify,
                &[ViewManagedConsentDatabaseAdminApi],
            ),
            ViewPreferenceStoreSettings => (
                "viewPreferenceStoreSettings",
                "View Preference Store Settings",
                Modify,
                &[],
            ),
            ManagePreferenceStoreSettings => (
                "managePreferenceStoreSettings",
                "Manage Preference Store Settings",
                Modify,
                &[ViewPreferenceStoreSettings],
            ),
            GeneratePreferenceAccessTokens => (
                "generatePreferenceAccessTokens",
                "Generate Preference Access Tokens",
                Modify,
                &[],
            ),
            ViewConsentManager => (
                "viewConsentManager",
                "View Consent Manager",
                View,
                &[ViewGlobalAttributes, ViewManagedConsentDatabaseAdminApi],
            ),
            ManageConsentManager => (
                "manageConsentManager",
                "Manage Consent Manager",
                Modify,
                &[
                    ViewConsentManager,
                    ManageConsentManagerDisplaySettings,
                    ManageConsentManagerDeveloperSettings,
                    DeployTestConsentManager,
                    DeployConsentManager,
                ],
            ),
            ManageConsentManagerDisplaySettings => (
                "manageConsentManagerDisplaySettings",
                "Manage Consent Manager Display Settings",
                Modify,
                &[ViewConsentManager],
            ),
            ManageConsentManagerDeveloperSettings => (
                "manageConsentManagerDeveloperSettings",
                "Manage Consent Manager Developer Settings",
                Modify,
                &[ViewConsentManager],
            ),
            DeployTestConsentManager => (
                "deployTestConsentManager",
                "Deploy Test Consent Manager",
                Modify,
                &[ViewConsentManager],
            ),
            DeployConsentManager => (
                "deployConsentManager",
                "Deploy Consent Manager",
                Modify,
                &[ViewConsentManager],
            ),
            ViewPrivacyCenter => ("viewPrivacyCenter", "View Privacy Center Layout", View, &[]),
            ManagePrivacyCenter => (
                "managePrivacyCenter",
                "Manage Privacy Center Layout",
                Modify,
                &[ViewPrivacyCenter],
            ),
            ViewApiKeys => ("viewApiKeys", "View API Keys", View, &[]),
            ManageApiKeys => ("manageApiKeys", "Manage API Keys", Modify, &[ViewApiKeys]),
            ViewAuditEvents => ("viewAuditEvents", "View Audit Events", View, &[]),
            ManageOrganizationInfo => ("manageOrganizationInfo", "Manage Organization Information", Modify, &[]),
        }
    }

    /// The spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The name people read.
    pub const fn title(self) -> &'static str {
        self.row().1
    }

    /// Looks or touches.
    pub const fn kind(self) -> ScopeKind {
        self.row().2
    }

    /// The scope with this wire spelling.
    pub fn find(name: &str) -> Option<ScopeName> {
        ScopeName::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Scopes a key has, those it was granted and those they imply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(u64);

impl ScopeSet {
    /// The granted scopes and all that follow from them.
    pub fn implied_by(granted: impl IntoIterator<Item = ScopeName>) -> ScopeSet {
        let mut set = ScopeSet::default();
        let mut open: Vec<ScopeName> = granted.into_iter().collect();
        while let Some(scope) = open.pop() {
            if set.holds(scope) {
                continue;
            }
            set.0 |= scope.bit();
            open.extend(scope.row().3);
            if scope == ScopeName::ReadOnly {
                // The catalogue calls this one MODIFY, though it only looks.
                open.push(ScopeName::ViewPreferenceStoreSettings);
                open.extend(
                    ScopeName::ALL
                        .into_iter()
                        .filter(|other| other.kind() == ScopeKind::View),
                );
            }
        }
        set
    }

    /// Whether `scope` is among them.
    pub const fn holds(self, scope: ScopeName) -> bool {
        self.0 & scope.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_stands_at_the_place_of_its_number() {
        for (place, scope) in ScopeName::ALL.into_iter().enumerate() {
            assert_eq!(scope as usize, place);
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
    }

    #[test]
    fn implication_is_transitive() {
        let set = ScopeSet::implied_by([ScopeName::RequestApproval]);
        assert!(
            set.holds(ScopeName::ViewEmailTemplates),
            "through the compilation and the requests"
        );
        assert!(!set.holds(ScopeName::MakeDataSubjectRequest));
    }

    #[test]
    fn full_admin_holds_everything_and_view_only_all_that_looks() {
        let admin = ScopeSet::implied_by([ScopeName::FullAdmin]);
        let viewer = ScopeSet::implied_by([ScopeName::ReadOnly]);
        for scope in ScopeName::ALL {
            assert!(admin.holds(scope));
            let looks = scope.kind() == ScopeKind::View || scope == ScopeName::ViewPreferenceStoreSettings;
            assert_eq!(viewer.holds(scope), looks, "{scope:?}");
        }
    }
}
