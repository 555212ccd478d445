//! What is kept of an organization's settings, and every change to them as a function over a transaction.

use std::{collections::HashMap, sync::Arc};

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    OrganizationId,
    model::{
        Action, ActionId, ActionSettings, AttributeKey, AttributeKeyId, AttributeKind, BUILT_IN_TEMPLATES, EACH_MAX,
        Identifier, IdentifierId, IdentifierKind, Organization, Retention, SettingError, SubjectClass, SubjectType,
        SubjectTypeId, TAGS, Template, TemplateId,
    },
    rehearsal::CLOCKS,
    settings::Settings,
};
use crate::{
    audit::{self, Actor, AuditEntry},
    copies::Copies,
    world::Ids,
};

/// Answers: which organizations there are, and what each is called.
const ORGANIZATIONS: Table<Uuid, Organization> = Table::new("organizations");
/// Answers: whether the settings of an organization are still those that were read earlier.
const VERSIONS: Table<Uuid, Version> = Table::new("organization_versions");
/// Answers: which data subject types an organization has, oldest first.
const SUBJECT_TYPES: Table<(Uuid, Uuid), SubjectType> = Table::new("subject_types");
/// Answers: how an organization handles each action.
const ACTIONS: Table<(Uuid, Uuid), ActionSettings> = Table::new("actions");
/// Answers: which identifiers an organization knows people by, oldest first.
const IDENTIFIERS: Table<(Uuid, Uuid), Identifier> = Table::new("identifiers");
/// Answers: which attribute keys an organization has, with their values, oldest first.
const ATTRIBUTE_KEYS: Table<(Uuid, Uuid), AttributeKey> = Table::new("attribute_keys");
/// Answers: which templates an organization has, oldest first.
const TEMPLATES: Table<(Uuid, Uuid), Template> = Table::new("templates");

/// The tables of this slice.
pub const TABLES: &[&str] = &[
    ORGANIZATIONS.name(),
    VERSIONS.name(),
    SUBJECT_TYPES.name(),
    ACTIONS.name(),
    IDENTIFIERS.name(),
    ATTRIBUTE_KEYS.name(),
    TEMPLATES.name(),
    CLOCKS.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<Version>,
    crate::fuzz::same_when_written_again::<Organization>,
    crate::fuzz::same_when_written_again::<SubjectType>,
    crate::fuzz::same_when_written_again::<ActionSettings>,
    crate::fuzz::same_when_written_again::<Identifier>,
    crate::fuzz::same_when_written_again::<AttributeKey>,
    crate::fuzz::same_when_written_again::<Template>,
    crate::fuzz::same_when_written_again::<super::rehearsal::Ahead>,
];

/// A different one after every change of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Version(Uuid);

impl Record for Version {
    const VERSION: u8 = 1;
}
impl Record for Organization {
    const VERSION: u8 = 1;
}
impl Record for SubjectType {
    const VERSION: u8 = 1;
}
impl Record for ActionSettings {
    const VERSION: u8 = 1;
}
impl Record for Identifier {
    const VERSION: u8 = 1;
}
impl Record for AttributeKey {
    const VERSION: u8 = 1;
}
impl Record for Template {
    const VERSION: u8 = 1;
}

/// The settings of every organization that this process has looked at.
#[derive(Default)]
pub struct SettingsCache(Copies<Version, Settings>);

impl SettingsCache {
    /// The settings of `organization` as `reader` sees them; none if there is no such organization.
    pub async fn find(
        &self,
        reader: &mut Reader,
        organization: OrganizationId,
    ) -> Result<Option<Arc<Settings>>, StoreError> {
        if let Some(settings) = self.0.seen_by(reader, organization) {
            return Ok(Some(settings));
        }
        let Some(version) = reader.get(&VERSIONS, &organization.0).await? else {
            return Ok(None);
        };
        if let Some(settings) = self.0.of_version(reader, organization, &version) {
            return Ok(Some(settings));
        }
        let Some(settings) = load(reader, organization).await? else {
            return Ok(None);
        };
        Ok(Some(self.0.keep(reader, organization, version, settings)))
    }

    /// The settings of an organization that is known to exist, because a live key or a stored row names it.
    pub async fn get(&self, reader: &mut Reader, organization: OrganizationId) -> Result<Arc<Settings>, StoreError> {
        let missing = antumbra_store::Corrupt("an organization that is referred to has no settings");
        let found = self.find(reader, organization).await?;
        found.ok_or(StoreError::Corrupt {
            table: VERSIONS.name(),
            source: missing,
        })
    }
}

async fn load(reader: &mut Reader, organization: OrganizationId) -> Result<Option<Settings>, StoreError> {
    let Some(named) = reader.get(&ORGANIZATIONS, &organization.0).await? else {
        return Ok(None);
    };
    Ok(Some(Settings::new(
        named,
        rows(reader, &SUBJECT_TYPES, organization).await?,
        rows(reader, &ACTIONS, organization).await?,
        rows(reader, &IDENTIFIERS, organization).await?,
        rows(reader, &ATTRIBUTE_KEYS, organization).await?,
        rows(reader, &TEMPLATES, organization).await?,
    )))
}

async fn rows<T: Record>(
    reader: &mut Reader,
    table: &Table<(Uuid, Uuid), T>,
    organization: OrganizationId,
) -> Result<Vec<T>, StoreError> {
    let rows = reader.scan(table, Scan::prefix(&organization.0)).await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The ids of the settings of each action, by which clients name workflows.
pub async fn workflows(reader: &mut Reader, organization: OrganizationId) -> Result<HashMap<Action, Uuid>, StoreError> {
    let settings = rows(reader, &ACTIONS, organization).await?;
    Ok(settings
        .into_iter()
        .map(|settings| (settings.action, settings.id.0))
        .collect())
}

/// Every organization, oldest first.
pub async fn list(reader: &mut Reader) -> Result<Vec<Organization>, StoreError> {
    let rows = reader.scan(&ORGANIZATIONS, Scan::prefix(&())).await?;
    Ok(rows.into_iter().map(|(_, organization)| organization).collect())
}

/// Makes an organization with everything that clients expect to find: the built-in identifiers, the data subject type
/// `customer` with every action, settings for each action, the attribute key `Tags`, and two templates.
pub fn create(tx: &mut Tx, ids: &Ids, now: Timestamp, name: String, uri: String) -> Organization {
    let id = OrganizationId(ids.uuid());
    let organization = Organization {
        id,
        name,
        uri,
        consent_manager: ids.hidden_uuid(),
        created_at: now,
        iab_contradiction: None,
        restart_time_limit_days: None,
        retention: Retention::default(),
        time_zone: None,
        holidays: Vec::new(),
        rehearses: false,
    };
    tx.put(&ORGANIZATIONS, &id.0, &organization);
    for kind in IdentifierKind::BUILT_IN {
        let mut identifier = Identifier::new(IdentifierId(ids.uuid()), kind.as_str().to_owned(), kind, now);
        identifier.is_unique_on_preference_store = true;
        tx.put(&IDENTIFIERS, &(id.0, identifier.id.0), &identifier);
    }
    let customer = SubjectType {
        id: SubjectTypeId(ids.uuid()),
        slug: "customer".to_owned(),
        title: "Customer".to_owned(),
        class: SubjectClass::EndUser,
        active: true,
        silent_by_default: false,
        supports_authorized_agent: false,
        actions: Action::ALL.into(),
        times_to_answer: Vec::new(),
        created_at: now,
    };
    tx.put(&SUBJECT_TYPES, &(id.0, customer.id.0), &customer);
    for action in Action::ALL {
        let settings = ActionSettings::initial(ActionId(ids.uuid()), action);
        tx.put(&ACTIONS, &(id.0, settings.id.0), &settings);
    }
    let tags = AttributeKey {
        id: AttributeKeyId(ids.uuid()),
        name: TAGS.to_owned(),
        kind: AttributeKind::MultiSelect,
        description: None,
        enabled_on: [AttributeKey::ON_REQUESTS.to_owned()].into(),
        is_custom: false,
        values: Vec::new(),
        created_at: now,
    };
    tx.put(&ATTRIBUTE_KEYS, &(id.0, tags.id.0), &tags);
    for title in BUILT_IN_TEMPLATES {
        let template = Template {
            subject: title.to_owned(),
            ..Template::new(TemplateId(ids.uuid()), title.to_owned(), now)
        };
        tx.put(&TEMPLATES, &(id.0, template.id.0), &template);
    }
    tx.put(&VERSIONS, &id.0, &Version(ids.uuid()));
    organization
}

/// Why a change of settings was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The setting cannot be.
    #[error(transparent)]
    Refused(#[from] SettingError),
    /// The store failed.
    #[error("the settings could not be read")]
    Store(#[from] StoreError),
}

/// Changes of one organization's settings, by one person, in one transaction.
///
/// Each of them is checked against what is there, recorded in the audit log, and makes every copy of the settings stale.
pub struct Changes<'a> {
    /// The transaction they are part of.
    pub tx: &'a mut Tx,
    /// Fresh ids.
    pub ids: &'a Ids,
    /// The organization they are about.
    pub organization: OrganizationId,
    /// Who makes them.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

impl Changes<'_> {
    /// Keeps what the organization says of itself.
    pub fn save_organization(&mut self, changed: &Organization) {
        self.tx.put(&ORGANIZATIONS, &self.organization.0, changed);
        self.note(self.organization.0, ("organization", "organization.changed"));
    }

    /// Keeps a new identifier, or a changed one under its id.
    pub async fn save_identifier(&mut self, identifier: &Identifier) -> Result<(), ChangeError> {
        identifier.check()?;
        let others = self.others(&IDENTIFIERS, |other| other.id != identifier.id).await?;
        let clash = |other: &Identifier| {
            other.name == identifier.name || (other.kind == identifier.kind && !identifier.kind.may_repeat())
        };
        if others.iter().any(clash) {
            return Err(SettingError::NameTaken.into());
        }
        self.keep(
            &IDENTIFIERS,
            identifier.id.0,
            identifier,
            ("identifier", "organization.identifier_saved"),
        );
        Ok(())
    }

    /// Keeps a new data subject type, or a changed one under its id.
    pub async fn save_subject_type(&mut self, subject: &SubjectType) -> Result<(), ChangeError> {
        subject.check()?;
        let others = self.others(&SUBJECT_TYPES, |other| other.id != subject.id).await?;
        if others.iter().any(|other| other.slug == subject.slug) {
            return Err(SettingError::NameTaken.into());
        }
        self.keep(
            &SUBJECT_TYPES,
            subject.id.0,
            subject,
            ("subject_type", "organization.subject_type_saved"),
        );
        Ok(())
    }

    /// Keeps the changed settings of an action.
    pub fn save_action(&mut self, settings: &ActionSettings) -> Result<(), ChangeError> {
        settings.check()?;
        self.keep(
            &ACTIONS,
            settings.id.0,
            settings,
            ("action", "organization.action_saved"),
        );
        Ok(())
    }

    /// Keeps a new attribute key, or a changed one under its id, with its values.
    pub async fn save_attribute_key(&mut self, key: &AttributeKey) -> Result<(), ChangeError> {
        key.check()?;
        let others = self.others(&ATTRIBUTE_KEYS, |other| other.id != key.id).await?;
        if others.iter().any(|other| other.name == key.name) {
            return Err(SettingError::NameTaken.into());
        }
        self.keep(
            &ATTRIBUTE_KEYS,
            key.id.0,
            key,
            ("attribute_key", "organization.attribute_key_saved"),
        );
        Ok(())
    }

    /// Keeps a new template, or a changed one under its id.
    pub async fn save_template(&mut self, template: &Template) -> Result<(), ChangeError> {
        template.check()?;
        let others = self.others(&TEMPLATES, |other| other.id != template.id).await?;
        if others.iter().any(|other| other.title == template.title) {
            return Err(SettingError::NameTaken.into());
        }
        self.keep(
            &TEMPLATES,
            template.id.0,
            template,
            ("template", "organization.template_saved"),
        );
        Ok(())
    }

    /// Removes a template. Messages that named it are said in the words for their kind.
    pub fn remove_template(&mut self, id: TemplateId) {
        self.tx.delete(&TEMPLATES, &(self.organization.0, id.0));
        self.note(id.0, ("template", "organization.template_removed"));
    }

    async fn others<T: Record>(
        &mut self,
        table: &Table<(Uuid, Uuid), T>,
        is_other: impl Fn(&T) -> bool,
    ) -> Result<Vec<T>, ChangeError> {
        let mut others = rows(self.tx, table, self.organization).await?;
        others.retain(is_other);
        if others.len() >= EACH_MAX {
            Err(SettingError::TooMany.into())
        } else {
            Ok(others)
        }
    }

    fn keep<T: Record>(
        &mut self,
        table: &Table<(Uuid, Uuid), T>,
        id: Uuid,
        row: &T,
        deed: (&'static str, &'static str),
    ) {
        self.tx.put(table, &(self.organization.0, id), row);
        self.note(id, deed);
    }

    fn note(&mut self, id: Uuid, (object, action): (&'static str, &'static str)) {
        self.tx.put(&VERSIONS, &self.organization.0, &Version(self.ids.uuid()));
        let entry = AuditEntry {
            actor: self.actor,
            action,
            object: (object, id),
            at: self.at,
            details: Vec::new(),
        };
        audit::record(self.tx, self.ids, self.organization, entry);
    }
}
