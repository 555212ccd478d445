//! What is inside a silo, as far as it is known.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attribute, DESCRIPTION_MAX, LIST_MAX, SiloError, bounded, named};
use crate::{
    organization::Action,
    silos::{DataPointId, DataSiloId},
};

/// One collection inside a silo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataPoint {
    /// Its id.
    pub id: DataPointId,
    /// The silo it is in.
    pub silo: DataSiloId,
    /// What uploads call it. Unique in its silo.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// What people read.
    pub title: Option<Localized>,
    /// What it holds.
    pub description: Option<Localized>,
    /// Where it lies inside the silo, outermost first; for databases.
    pub path: Vec<String>,
    /// Whether what it holds is encrypted there.
    pub encryption: Option<Encryption>,
    /// Addresses of documentation about it.
    pub references: Vec<String>,
    /// The category of the report that its files are put under.
    pub data_collection_tag: Option<String>,
    /// What it takes part in.
    pub enabled_actions: BTreeSet<Action>,
    /// Mail addresses of the people answerable for it.
    pub owners: Vec<String>,
    /// The teams answerable for it.
    pub teams: Vec<String>,
    /// For databases: queries that answer an action.
    pub queries: Vec<Query>,
    /// The fields inside it.
    pub fields: Vec<Field>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A text that can be translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Localized {
    /// The text's id among translations.
    pub id: Uuid,
    /// The text in the language it was written in.
    pub default_message: String,
}

/// Whether and how a collection is encrypted where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "TableEncryptionType")]
pub enum Encryption {
    /// In clear.
    Unencrypted,
    /// By the program that writes it.
    EncryptedApplicationSide,
    /// By the system that stores it.
    EncryptedDataAtRest,
}

/// A query that answers an action in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The action it answers.
    pub action: Action,
    /// What someone proposed.
    pub suggested: Option<String>,
    /// What is in use.
    pub query: Option<String>,
}

/// A field inside a data point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub description: Option<String>,
    /// The categories of data it belongs to.
    pub categories: Vec<Named>,
    /// The purposes it serves.
    pub purposes: Vec<Named>,
    /// Whether an access report shows it.
    pub shown_in_access: bool,
    /// Whether an erasure redacts it.
    pub redacted_in_erasure: bool,
    /// The organization's own attributes.
    pub attributes: Vec<Attribute>,
}

/// A class and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The class.
    pub class: String,
    /// The name.
    pub name: String,
}
impl DataPoint {
    /// A data point with nothing but a name. It takes part in `ACCESS`.
    pub fn new(id: DataPointId, silo: DataSiloId, name: String, created_at: Timestamp) -> DataPoint {
        DataPoint {
            id,
            silo,
            slug: slug(&name),
            name,
            title: None,
            description: None,
            path: Vec::new(),
            encryption: None,
            references: Vec::new(),
            data_collection_tag: None,
            enabled_actions: BTreeSet::from([Action::Access]),
            owners: Vec::new(),
            teams: Vec::new(),
            queries: Vec::new(),
            fields: Vec::new(),
            created_at,
        }
    }

    pub(in crate::silos) fn check(&self) -> Result<(), SiloError> {
        named("data point", &self.name)?;
        named("slug", &self.slug)?;
        if let Some(tag) = &self.data_collection_tag {
            named("data collection", tag)?;
        }
        let texts = [&self.title, &self.description]
            .into_iter()
            .flatten()
            .map(|text| text.default_message.len());
        bounded("characters of title and description", texts.sum(), DESCRIPTION_MAX)?;
        bounded("parts of the path", self.path.len() + self.references.len(), LIST_MAX)?;
        bounded("fields", self.fields.len() + self.queries.len(), 10 * LIST_MAX)
    }
}

/// `Action Item_users` becomes `actionItemUsers`.
fn slug(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let camel: String = words
        .enumerate()
        .flat_map(|(place, word)| {
            let mut chars = word.chars();
            let first = chars.next().into_iter().flat_map(move |first| -> Vec<char> {
                if place == 0 {
                    first.to_lowercase().collect()
                } else {
                    first.to_uppercase().collect()
                }
            });
            first.chain(chars).collect::<Vec<char>>()
        })
        .collect();
    if camel.is_empty() { name.to_owned() } else { camel }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_in_camel_case() {
        for (name, slugged) in [
            ("ActionItemUsers", "actionItemUsers"),
            ("email", "email"),
            ("profile_picture", "profilePicture"),
            ("§", "§"),
        ] {
            assert_eq!(slug(name), slugged);
        }
    }
}
