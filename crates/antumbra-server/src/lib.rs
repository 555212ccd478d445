//! Antumbra's server: the HTTP shell, the job runner, and one folder per domain slice. Start here.
//!
//! * [`routes`] is the table of contents of the API: every handler, one line each.
//! * [`http`] is the shell around the handlers: callers, problems, bodies, limits, the connection.
//! * [`world`] holds time and randomness, [`config`] what the operator may set.
//! * Each slice is everything about one domain word, from the wire to the disk: [`organization`], [`purposes`], [`silos`],
//!   [`dsr`], [`messages`], [`preflights`], [`runs`], [`files`], `reports`, [`retention`], [`preferences`], [`api_keys`], [`keyring`], [`audit`],
//!   [`jobs`]; [`graphql`] merges the slices' parts of the management API.

pub mod api_keys;
pub mod audit;
pub mod config;
mod copies;
pub mod dsr;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod graphql;
pub mod http;
pub mod jobs;
pub mod keyring;
pub mod messages;
pub mod organization;
pub mod preferences;
pub mod preflights;
pub mod purposes;
mod reports;
pub mod retention;
pub mod routes;
pub mod runs;
mod server;
pub mod silos;
#[cfg(any(test, fuzzing))]
mod testing;
pub mod world;

use std::{ops::Deref, sync::Arc};

use antumbra_store::{Blobs, Store, StoreError, Tx};

pub use config::ServerConfig;
pub use server::{Server, StartError};
pub use world::{Clock, Ids};

/// Every table of every slice: what the store is opened with.
pub fn tables() -> Vec<&'static str> {
    let slices = [
        api_keys::TABLES,
        audit::TABLES,
        dsr::TABLES,
        files::TABLES,
        jobs::TABLES,
        keyring::TABLES,
        messages::TABLES,
        organization::TABLES,
        preferences::TABLES,
        preferences::sync::TABLES,
        preflights::TABLES,
        purposes::TABLES,
        retention::TABLES,
        runs::TABLES,
        silos::TABLES,
    ];
    slices.concat()
}

/// Every kind of job, and what does it.
fn job_kinds(app: &AppState) -> Vec<(&'static jobs::JobKind, jobs::Handler)> {
    vec![
        handles(app, &dsr::SETTLE_IDENTITIES, preflights::settle_identities),
        handles(app, &preflights::ASK, preflights::ask),
        handles(app, &preflights::WAKE, preflights::wake),
        handles(app, &dsr::ELAPSED, dsr::elapsed),
        handles(app, &dsr::COMPOSE_MESSAGE, dsr::compose_message),
        handles(app, &dsr::NOTE_DEADLINE, dsr::note_deadline),
        handles(app, &messages::SEND, messages::send),
        handles(app, &dsr::DROP_FILES, dsr::drop_files),
        handles(app, &dsr::FORGET_DROP_RECORDS, dsr::forget_drop_records),
        handles(app, &dsr::OPEN_RUNS, runs::open_runs),
        handles(app, &runs::SEND_NOTICE, runs::send_notice),
        handles(app, &silos::RESUMED, runs::go_on_at_silo),
        handles(app, &silos::ENRICHER_CHANGED, preflights::enricher_changed),
        handles(app, &preferences::TELL_OF_CHANGES, preferences::tell_of_changes),
        handles(app, &dsr::RETAIN, retention::retain),
        handles(app, &retention::CLEAR, retention::clear),
        handles(app, &retention::DELETE, retention::delete),
        handles(app, &keyring::REWRAP, keyring::rewrap),
        handles(app, &preferences::FOLD_HISTORY, preferences::fold_history),
        handles(app, &preferences::FIRE_AGAIN, preferences::fire_again),
    ]
}

fn handles<F>(
    app: &AppState,
    kind: &'static jobs::JobKind,
    handler: fn(AppState, jobs::Claimed) -> F,
) -> (&'static jobs::JobKind, jobs::Handler)
where
    F: Future<Output = Result<(), jobs::JobError>> + Send + 'static,
{
    let app = app.clone();
    (kind, Arc::new(move |claimed| Box::pin(handler(app.clone(), claimed))))
}

/// What a server stands on. The executable opens it; tests replace its clock.
#[derive(Clone)]
pub struct World {
    /// Tables and transactions, opened with [`tables`].
    pub store: Store,
    /// Sealed bodies.
    pub blobs: Blobs,
    /// Keys, unwrapped.
    pub keys: keyring::Keyring,
    /// Time.
    pub clock: Clock,
    /// Fresh ids.
    pub ids: Ids,
}

impl World {
    /// The organization that every server has, made at the very first start with all that clients expect to find.
    pub async fn first_organization(&self) -> Result<organization::Organization, StoreError> {
        loop {
            let mut tx = self.store.begin_write().await?;
            if let Some(first) = organization::list(&mut tx).await?.into_iter().next() {
                return Ok(first);
            }
            let made = self
                .put_organization(&mut tx, "Organization".into(), "organization".into())
                .await?;
            match tx.commit().await {
                Ok(()) => return Ok(made),
                // Another process on the same store was quicker.
                Err(StoreError::Conflict) => continue,
                Err(error) => return Err(error),
            }
        }
    }

    /// Now, for everything that happens to what belongs to `organization`: see [`Clock`].
    pub fn now(&self, organization: organization::OrganizationId) -> jiff::Timestamp {
        self.clock.now_for(organization)
    }

    /// Makes one more organization, with its keys and its built-in purposes.
    pub async fn create_organization(
        &self,
        name: String,
        uri: String,
    ) -> Result<organization::Organization, StoreError> {
        let mut tx = self.store.begin_write().await?;
        let made = self.put_organization(&mut tx, name, uri).await?;
        tx.commit().await?;
        Ok(made)
    }

    async fn put_organization(
        &self,
        tx: &mut Tx,
        name: String,
        uri: String,
    ) -> Result<organization::Organization, StoreError> {
        let made = organization::create(tx, &self.ids, self.clock.now(), name, uri);
        self.keys.create_organization(tx, made.id).await?;
        purposes::create_built_ins(tx, &self.ids, made.id, made.default_partition(), made.created_at);
        Ok(made)
    }
}

/// What every handler and job may reach.
#[derive(Clone)]
pub struct AppState(Arc<App>);

/// The fields of [`AppState`].
pub struct App {
    /// What the server stands on; its fields read as if they were the state's own.
    pub world: World,
    /// What the operator set.
    pub config: ServerConfig,
    /// Tells the job runner of this process that something is due.
    pub jobs: jobs::Wake,
    /// What HTTP requests share: places, memory, budgets.
    pub gates: http::Gates,
    /// Who may come in.
    pub callers: api_keys::Directory,
    /// What addresses have said about people without showing who they are.
    pub strangers: api_keys::Attempts,
    /// What addresses have tried as people's links that open nothing.
    pub seekers: api_keys::Attempts,
    /// What organizations have configured about themselves.
    pub settings: organization::SettingsCache,
    /// What organizations ask people about.
    pub catalogs: purposes::Catalogs,
    /// Which choices open data subject requests.
    pub triggers: preferences::ArmedTriggers,
    /// Who waits for changes of preferences.
    pub feed: preferences::Feed,
    /// Whose preferences are being written at the moment.
    pub turns: preferences::Turns,
    /// Which addresses may be called on somebody's behalf.
    pub addresses: silos::address::AddressRules,
    /// Sends notices to data silos.
    pub webhooks: runs::Webhooks,
    /// Sends mail to data subjects.
    pub mailer: messages::Mailer,
}

impl AppState {
    /// The state over `world`.
    pub fn new(config: ServerConfig, world: World) -> AppState {
        let gates = http::Gates::new(&config.limits);
        let callers = api_keys::Directory::default();
        let addresses = silos::address::AddressRules::allowing(config.webhooks.allowed_networks.clone());
        let feed = preferences::Feed::new(config.limits.feed_readers_max);
        let webhooks = runs::Webhooks::new(addresses.clone());
        let mailer = messages::Mailer::new(config.mail.as_ref());
        let is_exclusive = world.store.is_exclusive();
        AppState(Arc::new(App {
            world,
            config,
            jobs: jobs::Wake::default(),
            gates,
            callers,
            strangers: api_keys::Attempts::default(),
            seekers: api_keys::Attempts::default(),
            settings: organization::SettingsCache::default(),
            catalogs: purposes::Catalogs::default(),
            triggers: preferences::ArmedTriggers::default(),
            feed,
            turns: preferences::Turns::new(is_exclusive),
            addresses,
            webhooks,
            mailer,
        }))
    }

    /// The address that people and webhooks reach this server under, without a slash at its end.
    pub fn public_url(&self) -> &str {
        self.config.public_url.as_deref().unwrap_or("http://localhost:8080")
    }

    /// A runner that knows every kind of job.
    pub fn job_runner(&self) -> jobs::Runner {
        jobs::Runner::new(
            self.store.clone(),
            self.clock.clone(),
            self.jobs.clone(),
            job_kinds(self),
        )
        .bounded(&runs::SEND_NOTICE, self.config.webhooks.bounds)
    }
}

impl Deref for AppState {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

impl Deref for App {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
