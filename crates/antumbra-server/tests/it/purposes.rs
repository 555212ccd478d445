//! Purposes, topics, options and partitions, through the functions that the management API is made of.

use antumbra_server::{
    AppState,
    organization::OrganizationId,
    purposes::{
        self, NewPurpose, NewTopic, OptionChange, OptionId, PurposeChange, PurposeError, PurposeId, PurposeSettings,
        TopicChange, TopicKind,
    },
};
use antumbra_store::Tx;

use crate::support::TestServer;

/// One transaction on an organization's configuration.
struct Changing<'a> {
    app: &'a AppState,
    organization: OrganizationId,
    tx: Tx,
}

impl<'a> Changing<'a> {
    async fn begin(server: &'a TestServer) -> Changing<'a> {
        let app = server.app();
        let tx = app.store.begin_write().await.unwrap();
        Changing {
            app,
            organization: server.organization,
            tx,
        }
    }

    async fn purpose(&mut self, tracking_type: &str) -> Result<PurposeId, PurposeError> {
        let new = NewPurpose {
            name: tracking_type.to_owned(),
            tracking_type: tracking_type.to_owned(),
            ..NewPurpose::default()
        };
        let now = self.app.clock.now();
        let made = purposes::create_purpose(&mut self.tx, &self.app.ids, self.organization, new, now).await;
        made.map(|purpose| purpose.id)
    }

    async fn topic(
        &mut self,
        purpose: PurposeId,
        slug: &str,
        kind: TopicKind,
        options: Vec<OptionId>,
    ) -> Result<purposes::Topic, PurposeError> {
        let new = NewTopic {
            purpose,
            slug: slug.to_owned(),
            kind,
            title: slug.to_owned(),
            display_description: String::new(),
            show_in_privacy_center: true,
            default_configuration: String::new(),
            options,
        };
        let now = self.app.clock.now();
        purposes::create_topic(&mut self.tx, &self.app.ids, self.organization, new, now).await
    }

    async fn options(&mut self, titles: &[&str]) -> Result<Vec<purposes::OptionValue>, PurposeError> {
        let changes = titles.iter().map(|title| OptionChange {
            id: None,
            title: title.to_string(),
            slug: None,
        });
        let (ids, now) = (&self.app.ids, self.app.clock.now());
        purposes::change_or_create_options(&mut self.tx, ids, self.organization, changes.collect(), now).await
    }

    async fn change(&mut self, id: PurposeId, change: PurposeChange) -> Result<purposes::Purpose, PurposeError> {
        let (ids, now) = (&self.app.ids, self.app.clock.now());
        purposes::change_purpose(&mut self.tx, ids, self.organization, id, change, now).await
    }

    async fn partition(&mut self, key: &str) -> Result<purposes::Partition, PurposeError> {
        let (name, key, now) = ("A partition".to_owned(), Some(key.to_owned()), self.app.clock.now());
        purposes::create_partition(&mut self.tx, &self.app.ids, self.organization, name, key, now).await
    }

    async fn commit(self) {
        self.tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_organization_starts_with_five_purposes_and_one_partition() {
    let server = TestServer::start().await;
    let mut reader = server.app().store.begin_read().await.unwrap();
    let all = purposes::list_purposes(&mut reader, server.organization).await.unwrap();
    let names: Vec<&str> = all.iter().map(|purpose| purpose.tracking_type.as_str()).collect();
    assert_eq!(
        names,
        ["Essential", "Functional", "Analytics", "Advertising", "SaleOfInfo"]
    );
    assert!(all.iter().all(|purpose| purpose.is_active && purpose.built_in));
    assert_eq!(all.iter().filter(|purpose| purpose.essential).count(), 1);
    let partitions = purposes::list_partitions(&mut reader, server.organization)
        .await
        .unwrap();
    assert_eq!(partitions.len(), 1);
    let settings = server
        .app()
        .settings
        .get(&mut reader, server.organization)
        .await
        .unwrap();
    assert_eq!(partitions[0].key, settings.organization.default_partition());
}

#[tokio::test]
async fn a_name_is_given_once_among_the_living() {
    let server = TestServer::start().await;
    let mut changing = Changing::begin(&server).await;
    let news = changing.purpose("Product Updates").await.unwrap();
    assert!(matches!(
        changing.purpose("Product Updates").await,
        Err(PurposeError::Taken)
    ));
    assert!(matches!(changing.purpose("Analytics").await, Err(PurposeError::Taken)));
    assert!(matches!(changing.purpose("Unknown").await, Err(PurposeError::Reserved)));
    assert!(matches!(changing.purpose("a/b").await, Err(PurposeError::BadSlug)));
    let now = server.clock.now();
    purposes::delete_purpose(&mut changing.tx, &changing.app.ids, changing.organization, news, now)
        .await
        .unwrap();
    let again = changing.purpose("Product Updates").await.unwrap();
    let all = purposes::list_purposes(&mut changing.tx, changing.organization)
        .await
        .unwrap();
    let number = |id: PurposeId| all.iter().find(|purpose| purpose.id == id).unwrap().number;
    assert_ne!(number(news), number(again), "a number is never given twice");
    changing.partition("ea3a0845-694e-4820-9d51-50c7d0a2346").await.unwrap();
    let taken = changing.partition("ea3a0845-694e-4820-9d51-50c7d0a2346").await;
    assert!(matches!(taken, Err(PurposeError::Taken)));
    assert!(matches!(
        changing.partition("").await,
        Err(PurposeError::BadPartitionKey)
    ));
}

#[tokio::test]
async fn a_topic_offers_options_that_exist_and_a_yes_or_no_topic_its_own_two() {
    let server = TestServer::start().await;
    let mut changing = Changing::begin(&server).await;
    let news = changing.purpose("News").await.unwrap();
    let options = changing.options(&["Weekly", "once a month"]).await.unwrap();
    assert_eq!(
        options.iter().map(|option| option.slug.as_str()).collect::<Vec<_>>(),
        ["Weekly", "OnceAMonth"]
    );
    let ids: Vec<OptionId> = options.iter().map(|option| option.id).collect();
    let cadence = changing
        .topic(news, "Cadence", TopicKind::Select, ids.clone())
        .await
        .unwrap();
    assert_eq!(cadence.options, ids);
    let twice = changing.topic(news, "Cadence", TopicKind::Select, ids.clone()).await;
    assert!(matches!(twice, Err(PurposeError::Taken)));
    let paused = changing
        .topic(news, "Paused", TopicKind::Boolean, vec![])
        .await
        .unwrap();
    let muted = changing.topic(news, "Muted", TopicKind::Boolean, vec![]).await.unwrap();
    assert_eq!((paused.options.len(), &paused.options), (2, &muted.options));
    let given = changing.topic(news, "Quiet", TopicKind::Boolean, ids.clone()).await;
    assert!(matches!(given, Err(PurposeError::BooleanOptions)));

    let (app, organization, now) = (changing.app, changing.organization, server.clock.now());
    let in_use = purposes::delete_options(&mut changing.tx, &app.ids, organization, &ids[..1], now).await;
    assert!(matches!(in_use, Err(PurposeError::OptionInUse)));
    let change = TopicChange {
        options: Some(vec![ids[1]]),
        ..TopicChange::default()
    };
    purposes::change_topic(&mut changing.tx, &app.ids, organization, cadence.id, change)
        .await
        .unwrap();
    let deleted = purposes::delete_options(&mut changing.tx, &app.ids, organization, &ids[..1], now)
        .await
        .unwrap();
    assert_eq!(deleted, 1);
    let change = TopicChange {
        options: Some(vec![ids[0]]),
        ..TopicChange::default()
    };
    let gone = purposes::change_topic(&mut changing.tx, &app.ids, organization, cadence.id, change).await;
    assert!(matches!(gone, Err(PurposeError::NotFound(_))));
}

#[tokio::test]
async fn what_is_built_in_changes_only_where_clients_may_change_it() {
    let server = TestServer::start().await;
    let mut changing = Changing::begin(&server).await;
    let all = purposes::list_purposes(&mut changing.tx, changing.organization)
        .await
        .unwrap();
    let analytics = all
        .iter()
        .find(|purpose| purpose.tracking_type == "Analytics")
        .unwrap()
        .id;
    let set = |settings: PurposeSettings| PurposeChange {
        settings,
        ..PurposeChange::default()
    };
    let title = PurposeSettings {
        title: Some("Statistics".into()),
        is_active: Some(false),
        ..PurposeSettings::default()
    };
    let changed = changing.change(analytics, set(title)).await.unwrap();
    assert_eq!(
        (changed.title.as_deref(), changed.is_active),
        (Some("Statistics"), false)
    );
    let fixed = PurposeSettings {
        configurable: Some(false),
        ..PurposeSettings::default()
    };
    assert!(matches!(
        changing.change(analytics, set(fixed)).await,
        Err(PurposeError::BuiltIn(_))
    ));
    let now = server.clock.now();
    let gone = purposes::delete_purpose(
        &mut changing.tx,
        &changing.app.ids,
        changing.organization,
        analytics,
        now,
    )
    .await;
    assert!(matches!(gone, Err(PurposeError::BuiltIn(_))));
}

#[tokio::test]
async fn a_catalog_is_read_again_once_something_was_changed_and_only_then() {
    let server = TestServer::start().await;
    let current = async || {
        let mut reader = server.app().store.begin_read().await.unwrap();
        server
            .app()
            .catalogs
            .current(&mut reader, server.organization)
            .await
            .unwrap()
    };
    let before = current().await;
    assert!(std::sync::Arc::ptr_eq(&before, &current().await));
    let mut dropped = Changing::begin(&server).await;
    dropped.purpose("Dropped").await.unwrap();
    // A transaction that looks at its own changes and never commits leaves nothing that others would see.
    let organization = dropped.organization;
    let own = dropped
        .app
        .catalogs
        .current(&mut dropped.tx, organization)
        .await
        .unwrap();
    assert!(own.purpose("Dropped").is_some());
    drop(dropped);
    assert!(current().await.purpose("Dropped").is_none());
    let mut changing = Changing::begin(&server).await;
    changing.purpose("News").await.unwrap();
    changing.commit().await;
    assert!(before.purpose("News").is_none() && current().await.purpose("News").is_some());
}
