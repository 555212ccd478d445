//! The part of the management API that is about API keys.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    ApiKeyChange, ApiKeyId, ApiKeyInput, ApiKeyRecord, Listed, ScopeName, change_in, create_in, list_in, revoke_in,
    store,
};
use crate::{
    graphql::{Date, KnownSilo, OrderBy, OrderField, Page, Refusal, Session, by_text, parse_id},
    silos::DataSiloId,
};

/// Queries about API keys.
#[derive(Default)]
pub(crate) struct ApiKeyQueries;

#[Object]
impl ApiKeyQueries {
    /// The API keys, without their secrets.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn api_keys(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<ApiKeyFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<ApiKeysPayload, Refusal> {
        let session = Session::of(context);
        let mut reader = session.read().await;
        let mut listed = list_in(&mut reader, &session.app, session.organization()).await?;
        let silos = session.known_silos(&mut reader).await?;
        let filter = filter_by.unwrap_or_default();
        listed.retain(|key| filter.lets_through(key));
        let nodes = listed
            .iter()
            .map(|key| ApiKeyNode::new(key.id, &key.record, key.last_used_at, &silos))
            .collect();
        let order = |node: &ApiKeyNode, field| match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => node.created_at.text(),
            OrderField::Id => node.id.to_string(),
            _ => node.title.clone(),
        };
        let page = Page::cut(nodes, order_by, order, first, offset)?;
        Ok(ApiKeysPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }
}

/// Changes of API keys.
#[derive(Default)]
pub(crate) struct ApiKeyMutations;

#[Object]
impl ApiKeyMutations {
    /// Makes an API key. Its secret is in the answer and never shown again.
    async fn create_api_key(
        &self,
        context: &Context<'_>,
        input: CreateApiKeyInput,
    ) -> Result<CreateApiKeyPayload, Refusal> {
        let session = Session::of(context);
        let scopes = grantable(session, input.scopes.unwrap_or_default())?;
        let silos = find_silos(session, input.data_silos.as_deref(), input.data_silo_titles.as_deref()).await?;
        attachable(session, silos.as_deref().unwrap_or_default())?;
        let input = ApiKeyInput {
            title: input.title,
            scopes,
            silos: silos.unwrap_or_default(),
            expires_at: None,
            is_mcp: input.is_mcp.unwrap_or(false),
            foreign: None,
        };
        let mut tx = session.write().await;
        let created = create_in(&mut tx, &session.app, session.organization(), session.actor(), input).await?;
        let silos = session.known_silos(&mut tx).await?;
        let node = ApiKeyNode::new(created.id, &created.record, None, &silos);
        Ok(CreateApiKeyPayload {
            api_key: CreatedApiKey {
                key: node,
                api_key: created.secret.expose().to_owned(),
            },
            client_mutation_id: None,
        })
    }

    /// Changes an API key; what is not given stays, its secret always.
    async fn update_api_key(
        &self,
        context: &Context<'_>,
        input: UpdateApiKeyInput,
    ) -> Result<UpdateApiKeyPayload, Refusal> {
        let session = Session::of(context);
        let id = ApiKeyId(parse_id(&input.id, "API key")?);
        let silos = find_silos(session, input.data_silos.as_deref(), input.data_silo_titles.as_deref()).await?;
        let mut tx = session.write().await;
        if let Some(silos) = &silos {
            let known = store::get(&mut tx, session.organization(), id).await?;
            let attached = known.map_or_else(Vec::new, |record| record.silos);
            let added: Vec<DataSiloId> = silos.iter().copied().filter(|silo| !attached.contains(silo)).collect();
            attachable(session, &added)?;
        }
        let change = ApiKeyChange {
            title: input.title,
            scopes: input.scopes.map(|scopes| grantable(session, scopes)).transpose()?,
            silos,
        };
        let record = change_in(
            &mut tx,
            &session.app,
            session.organization(),
            session.actor(),
            id,
            change,
        )
        .await?;
        let silos = session.known_silos(&mut tx).await?;
        session.forget_key_after_commit(id);
        Ok(UpdateApiKeyPayload {
            api_key: ApiKeyNode::new(id, &record, None, &silos),
            client_mutation_id: None,
        })
    }

    /// Revokes an API key, for good.
    async fn delete_api_key(&self, context: &Context<'_>, id: ID) -> Result<DeleteApiKeyPayload, Refusal> {
        let session = Session::of(context);
        let id = ApiKeyId(parse_id(&id, "API key")?);
        let mut tx = session.write().await;
        revoke_in(&mut tx, &session.app, session.organization(), session.actor(), id).await?;
        session.forget_key_after_commit(id);
        Ok(DeleteApiKeyPayload {
            client_mutation_id: None,
        })
    }
}

/// Nobody gives away what they do not have.
fn grantable(session: &Session, scopes: Vec<Scope>) -> Result<Vec<ScopeName>, Refusal> {
    let scopes: Vec<ScopeName> = scopes.into_iter().map(|scope| scope.0).collect();
    match scopes.iter().find(|scope| session.caller.require(**scope).is_err()) {
        None => Ok(scopes),
        Some(scope) => Err(Refusal::client(format!(
            "a key can give only the scopes that it has, and this one lacks {}",
            scope.title()
        ))),
    }
}

/// Who answers for a silo is given what it is asked about people. So whoever may not connect silos passes on only those
/// that their own key is attached to.
fn attachable(session: &Session, silos: &[DataSiloId]) -> Result<(), Refusal> {
    let foreign = |silo: &&DataSiloId| session.caller.attached_to(**silo).is_err();
    match silos.iter().find(foreign) {
        None => Ok(()),
        Some(_) => session.require_connecting(),
    }
}

async fn find_silos(
    session: &Session,
    ids: Option<&[ID]>,
    titles: Option<&[String]>,
) -> Result<Option<Vec<DataSiloId>>, Refusal> {
    if ids.is_none() && titles.is_none() {
        return Ok(None);
    }
    let known = session.known_silos(&mut *session.read().await).await?;
    let mut found = Vec::new();
    for id in ids.unwrap_or_default() {
        let id = DataSiloId(parse_id(id, "data silo")?);
        let silo = known
            .iter()
            .find(|silo| silo.id == id)
            .ok_or_else(|| Refusal::not_found("data silo"))?;
        found.push(silo.id);
    }
    for title in titles.unwrap_or_default() {
        let silo = known
            .iter()
            .find(|silo| silo.title == *title)
            .ok_or_else(|| Refusal::not_found("data silo"))?;
        found.push(silo.id);
    }
    Ok(Some(found))
}

/// Which API keys to list.
#[derive(Default, InputObject)]
struct ApiKeyFiltersInput {
    /// Those whose title holds this.
    text: Option<String>,
    /// Those of these ids.
    ids: Option<Vec<ID>>,
    /// Those of these titles.
    titles: Option<Vec<String>>,
    /// How fresh they are.
    status: Option<Vec<String>>,
    /// Those that these people made. Keys here are nobody's in particular.
    user_ids: Option<Vec<ID>>,
    /// Those attached to one of these data silos.
    data_silo_ids: Option<Vec<ID>>,
    /// Those with one of these scopes.
    scope_names: Option<Vec<Scope>>,
}

impl ApiKeyFiltersInput {
    fn lets_through(&self, key: &Listed) -> bool {
        let record = &key.record;
        let silo = |id: &ID| record.silos.iter().any(|silo| ID::from(silo.0) == *id);
        by_text(&record.title, self.text.as_deref())
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&ID::from(key.id.0)))
            && self.titles.as_ref().is_none_or(|titles| titles.contains(&record.title))
            && self.data_silo_ids.as_ref().is_none_or(|ids| ids.iter().any(silo))
            && self
                .scope_names
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| record.scopes.contains(&name.0)))
    }
}

/// A page of API keys.
#[derive(SimpleObject)]
struct ApiKeysPayload {
    /// The page.
    nodes: Vec<ApiKeyNode>,
    /// How many there are in all.
    total_count: i32,
}

/// An API key, without its secret.
#[derive(SimpleObject)]
#[graphql(name = "ApiKey")]
pub(crate) struct ApiKeyNode {
    /// Its id.
    id: ID,
    /// The name that people know it by.
    title: String,
    /// Its first and last characters.
    preview: String,
    /// The scopes granted.
    scopes: Vec<ScopeNode>,
    /// The data silos it is attached to.
    data_silos: Vec<AttachedSilo>,
    /// Made for a program that speaks for a language model.
    is_mcp: bool,
    /// When it was last used.
    last_used_at: Option<Date>,
    /// When it was made.
    created_at: Date,
}

impl ApiKeyNode {
    fn new(
        id: ApiKeyId,
        record: &ApiKeyRecord,
        last_used_at: Option<jiff::Timestamp>,
        silos: &[KnownSilo],
    ) -> ApiKeyNode {
        let attached = silos.iter().filter(|silo| record.silos.contains(&silo.id));
        ApiKeyNode {
            id: id.0.into(),
            title: record.title.clone(),
            preview: record.preview.clone(),
            scopes: record.scopes.iter().copied().map(ScopeNode::new).collect(),
            data_silos: attached
                .map(|silo| AttachedSilo {
                    id: silo.id.0.into(),
                    title: silo.title.clone(),
                })
                .collect(),
            is_mcp: record.is_mcp,
            last_used_at: last_used_at.map(Date),
            created_at: Date(record.created_at),
        }
    }
}

/// An API key at the one moment at which its secret is known.
#[derive(SimpleObject)]
struct CreatedApiKey {
    #[graphql(flatten)]
    key: ApiKeyNode,
    /// The secret.
    api_key: String,
}

/// A data silo that a key is attached to.
#[derive(SimpleObject)]
#[graphql(name = "ApiKeyDataSilo")]
struct AttachedSilo {
    /// Its id.
    id: ID,
    /// Its title.
    title: String,
}

/// A scope.
#[derive(SimpleObject)]
#[graphql(name = "Scope")]
struct ScopeNode {
    /// Its id.
    id: ID,
    /// Its name on the wire.
    name: Scope,
    /// Its name as people read it.
    title: &'static str,
    /// Whether it looks or touches.
    r#type: ScopeType,
}

impl ScopeNode {
    fn new(scope: ScopeName) -> ScopeNode {
        // Scopes are the same everywhere and have no rows: their place in the list makes the id that clients expect.
        let id = uuid::Uuid::from_u128(0x5c09_e000_0000_4000_8000_0000_0000_0000 + u128::from(scope as u8));
        let kind = if scope.kind() == super::ScopeKind::View {
            ScopeType::View
        } else {
            ScopeType::Modify
        };
        ScopeNode {
            id: id.into(),
            name: Scope(scope),
            title: scope.title(),
            r#type: kind,
        }
    }
}

/// Whether a scope looks or touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum ScopeType {
    /// Looks.
    View,
    /// Touches.
    Modify,
}

/// A scope by its name on the wire.
#[derive(Clone, Copy, Debug)]
struct Scope(ScopeName);

/// A scope by its name on the wire, such as `viewRequests`.
#[async_graphql::Scalar(name = "ScopeName")]
impl async_graphql::ScalarType for Scope {
    fn parse(value: async_graphql::Value) -> async_graphql::InputValueResult<Self> {
        let name = match &value {
            async_graphql::Value::String(name) => name.as_str(),
            async_graphql::Value::Enum(name) => name.as_str(),
            _ => return Err(async_graphql::InputValueError::expected_type(value)),
        };
        let known = ScopeName::ALL
            .into_iter()
            .find(|scope| scope.as_str() == name)
            .map(Scope);
        known.ok_or_else(|| async_graphql::InputValueError::custom("is not the name of a scope"))
    }

    fn to_value(&self) -> async_graphql::Value {
        async_graphql::Value::String(self.0.as_str().to_owned())
    }
}

/// An API key to be made.
#[derive(InputObject)]
#[graphql(name = "ApiKeyInput")]
struct CreateApiKeyInput {
    /// The name that people know it by.
    title: String,
    /// Made for a program that speaks for a language model.
    is_mcp: Option<bool>,
    /// The scopes granted.
    scopes: Option<Vec<Scope>>,
    /// The data silos it is attached to, by id.
    data_silos: Option<Vec<ID>>,
    /// The data silos it is attached to, by title.
    data_silo_titles: Option<Vec<String>>,
}

/// A change of an API key.
#[derive(InputObject)]
struct UpdateApiKeyInput {
    /// Which one.
    id: ID,
    /// The name that people know it by.
    title: Option<String>,
    /// The scopes granted.
    scopes: Option<Vec<Scope>>,
    /// The data silos it is attached to, by id.
    data_silos: Option<Vec<ID>>,
    /// The data silos it is attached to, by title.
    data_silo_titles: Option<Vec<String>>,
}

/// An API key was made.
#[derive(SimpleObject)]
struct CreateApiKeyPayload {
    /// It, with its secret.
    api_key: CreatedApiKey,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An API key was changed.
#[derive(SimpleObject)]
struct UpdateApiKeyPayload {
    /// It.
    api_key: ApiKeyNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An API key was revoked.
#[derive(SimpleObject)]
struct DeleteApiKeyPayload {
    /// Always null.
    client_mutation_id: Option<String>,
}
