//! `antumbra key`: API keys, on a running server through its management API, or in the data folder of a stopped one, which is the way
//! back in when every key is lost; the key of a first start; and the root key, in the data folder of a stopped server.

use std::path::PathBuf;
use std::process::ExitCode;

use antumbra_crypto::api_key::ApiKey;
use antumbra_server::api_keys::{self, ApiKeyId, ApiKeyInput, ScopeName};
use antumbra_server::audit::Actor;
use antumbra_server::http::Code;
use antumbra_server::keyring::Keyring;
use antumbra_server::organization::OrganizationId;
use antumbra_server::silos::DataSiloId;
use antumbra_server::{AppState, ServerConfig};
use anyhow::{Context, Result};
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::{KeyCommand, KeyPlace};
use crate::client::Client;
use crate::config::{self, Flags};
use crate::outcome::{Ended, Outcome};

/// Keys of one call when they are listed.
const PAGE: usize = 100;

/// A key as a list shows it.
struct Row {
    id: String,
    title: String,
    scopes: String,
    last_used: String,
}

/// Runs one of the key commands.
pub(crate) async fn run(command: KeyCommand) -> Result<ExitCode> {
    match command {
        KeyCommand::Create {
            title,
            scopes,
            silos,
            place,
        } => {
            let scopes = scopes.iter().map(|name| scope(name)).collect::<Result<Vec<_>>>()?;
            if scopes.is_empty() && silos.is_empty() {
                let message = "a key without a --scope and without a --silo may do nothing";
                return Err(Ended::new(Outcome::Usage, message).into());
            }
            println!("{}", place.open().await?.create(title, scopes, silos).await?);
        }
        KeyCommand::List { place } => print(&place.open().await?.list().await?),
        KeyCommand::Revoke { id, place } => {
            place.open().await?.revoke(id).await?;
            println!("{id} is revoked.");
        }
        KeyCommand::RotateRoot { data, config } => rotate_root(data, config).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate_root(data: Option<PathBuf>, config: Option<PathBuf>) -> Result<()> {
    let config = config::load(&Flags {
        file: config,
        data,
        listen: None,
    })?;
    crate::serve::expect_server(&config)?;
    let store = crate::serve::open_store(&config).await?;
    Keyring::rotate_root(&store, &config.key_files()).await?;
    store.close().await;
    println!(
        "{} holds a new root key.\nReplace the copy you keep: the one from before opens nothing any more.",
        config.root_file().display()
    );
    Ok(())
}

/// How long the key of a first start is good: long enough to make others with it.
pub(crate) const FIRST_KEY_DAYS: i64 = 7;

/// The key of a server that has none yet: every scope, for a week, shown once by whoever calls this.
pub(crate) async fn first(app: &AppState, organization: OrganizationId) -> Result<Option<ApiKey>> {
    if !api_keys::list(app, organization).await?.is_empty() {
        return Ok(None);
    }
    let input = ApiKeyInput {
        title: "First start".to_owned(),
        scopes: vec![ScopeName::FullAdmin],
        expires_at: Some(app.clock.now() + SignedDuration::from_hours(24 * FIRST_KEY_DAYS)),
        ..ApiKeyInput::default()
    };
    let created = api_keys::create(app, organization, Actor::Operator, input).await?;
    Ok(Some(created.secret))
}

fn scope(name: &str) -> Result<ScopeName> {
    ScopeName::find(name).ok_or_else(|| {
        let known: Vec<&str> = ScopeName::ALL.iter().map(|scope| scope.as_str()).collect();
        let hint = match config::nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        Ended::new(Outcome::Usage, format!("`{name}` is not a scope\n  {hint}")).into()
    })
}

fn print(rows: &[Row]) {
    let width =
        |of: fn(&Row) -> &str, least: usize| rows.iter().map(|row| of(row).chars().count()).fold(least, usize::max);
    let (titles, scopes) = (width(|row| &row.title, 5), width(|row| &row.scopes, 6));
    println!("{:36}  {:titles$}  {:scopes$}  LAST USED", "ID", "TITLE", "SCOPES");
    for row in rows {
        println!(
            "{:36}  {:titles$}  {:scopes$}  {}",
            row.id, row.title, row.scopes, row.last_used
        );
    }
}

impl KeyPlace {
    async fn open(self) -> Result<Place> {
        if let Some(data) = self.data {
            let config = config::load(&Flags {
                file: self.config,
                data: Some(data),
                listen: None,
            })?;
            crate::serve::expect_server(&config)?;
            let world = crate::serve::open(&config).await?;
            let organization = world.first_organization().await?.id;
            return Ok(Place::Folder {
                app: AppState::new(ServerConfig::default(), world),
                organization,
            });
        }
        Ok(Place::Server(self.remote.client()?))
    }
}

/// Where the keys are.
enum Place {
    Server(Client),
    Folder {
        app: AppState,
        organization: OrganizationId,
    },
}

impl Place {
    /// Makes a key and gives its secret.
    async fn create(self, title: String, scopes: Vec<ScopeName>, silos: Vec<Uuid>) -> Result<String> {
        match self {
            Place::Folder { app, organization } => {
                let silos = silos.into_iter().map(DataSiloId).collect();
                let input = ApiKeyInput {
                    title,
                    scopes,
                    silos,
                    ..ApiKeyInput::default()
                };
                let created = api_keys::create(&app, organization, Actor::Operator, input).await?;
                app.store.clone().close().await;
                Ok(created.secret.expose().to_owned())
            }
            Place::Server(client) => {
                let document = "mutation CreateApiKey($input: ApiKeyInput!) {
                    createApiKey(input: $input) { apiKey { id apiKey title } }
                }";
                let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
                let input = json!({ "title": title, "scopes": scopes, "dataSilos": silos });
                let answer = client.graphql(document, json!({ "input": input })).await?;
                let secret = answer["createApiKey"]["apiKey"]["apiKey"].as_str();
                Ok(secret.context("the server made a key and did not show it")?.to_owned())
            }
        }
    }

    async fn list(self) -> Result<Vec<Row>> {
        match self {
            Place::Folder { app, organization } => {
                let listed = api_keys::list(&app, organization).await?;
                Ok(listed.into_iter().map(Row::from).collect())
            }
            Place::Server(client) => {
                let document = "query ApiKeys($first: Int!, $offset: Int!) {
                    apiKeys(first: $first, offset: $offset) { nodes { id title scopes { name } lastUsedAt } }
                }";
                let mut rows = Vec::new();
                loop {
                    let page = json!({ "first": PAGE, "offset": rows.len() });
                    let answer = client.graphql(document, page).await?;
                    let nodes = answer["apiKeys"]["nodes"]
                        .as_array()
                        .context("the server listed no keys")?;
                    rows.extend(nodes.iter().map(Row::from));
                    if nodes.len() < PAGE {
                        return Ok(rows);
                    }
                }
            }
        }
    }

    async fn revoke(self, id: Uuid) -> Result<()> {
        match self {
            Place::Folder { app, organization } => {
                let revoked = api_keys::revoke(&app, organization, Actor::Operator, ApiKeyId(id)).await;
                revoked.map_err(|problem| match problem.code() {
                    Code::NotFound => Ended::new(Outcome::NotFound, format!("there is no key {id}")).into(),
                    _ => anyhow::Error::new(problem),
                })?;
                app.store.clone().close().await;
            }
            Place::Server(client) => {
                let document = "mutation DeleteApiKey($id: ID!) { deleteApiKey(id: $id) { clientMutationId } }";
                client.graphql(document, json!({ "id": id })).await?;
            }
        }
        Ok(())
    }
}

impl From<api_keys::Listed> for Row {
    fn from(listed: api_keys::Listed) -> Row {
        let scopes: Vec<&str> = listed.record.scopes.iter().map(|scope| scope.as_str()).collect();
        Row {
            id: listed.id.0.to_string(),
            title: listed.record.title,
            scopes: scopes.join(","),
            last_used: listed.last_used_at.map_or("never".to_owned(), |at| at.to_string()),
        }
    }
}

impl From<&Value> for Row {
    fn from(node: &Value) -> Row {
        let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
        let scopes = node["scopes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|scope| scope["name"].as_str());
        Row {
            id: text("id"),
            title: text("title"),
            scopes: scopes.collect::<Vec<_>>().join(","),
            last_used: node["lastUsedAt"].as_str().unwrap_or("never").to_owned(),
        }
    }
}
