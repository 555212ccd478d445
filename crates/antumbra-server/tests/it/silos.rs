//! Data silos as their administrator and their receivers see them.

use antumbra_server::{
    keyring::KeyKind,
    silos::{self, DataPoint, DataPointId, DataSilo, DataSiloId, Header, SaveError, SiloError, address::Refused},
};

use crate::support::{TestServer, story};

#[tokio::test]
async fn the_values_of_headers_are_kept_sealed_and_gone_with_their_silo() {
    let server = TestServer::with(story::config()).await;
    let silo = story::add_silo(&server, "Shop", Some("https://shop.example/hook".to_owned()), &[]).await;
    let app = server.app();
    let keys = app.keys.organization(server.organization).await.unwrap();

    let mut tx = app.store.begin_write().await.unwrap();
    let kept = silos::find_silo(&mut tx, server.organization, silo)
        .await
        .unwrap()
        .unwrap();
    assert!(!kept.headers[0].sealed_value.windows(6).any(|six| six == b"s3cret"));
    let opened = silos::open_headers(&mut tx, &keys, &kept).await.unwrap();
    assert_eq!(
        opened,
        [Header {
            name: "x-shop-key".into(),
            value: "s3cret".into(),
            is_secret: true
        }]
    );

    silos::delete_silo(&mut tx, server.organization, silo).await.unwrap();
    assert!(
        silos::find_silo(&mut tx, server.organization, silo)
            .await
            .unwrap()
            .is_none()
    );
    assert!(keys.find_key(&mut tx, KeyKind::Silo, silo.0).await.unwrap().is_none());
}

#[tokio::test]
async fn a_silo_at_an_address_that_may_not_be_called_is_not_saved() {
    let server = TestServer::start().await;
    let app = server.app();
    let keys = app.keys.organization(server.organization).await.unwrap();
    for url in [
        "http://127.0.0.1:8080/",
        "http://169.254.169.254/",
        "http://2130706433/",
        "https://user:pw@shop.example/",
    ] {
        let mut silo = DataSilo::new(
            DataSiloId(app.ids.uuid()),
            "server".into(),
            "Shop".into(),
            app.clock.now(),
        );
        silo.url = Some(url.to_owned());
        let mut tx = app.store.begin_write().await.unwrap();
        let saved = silos::save_silo(&mut tx, &keys, &app.addresses, silo, None).await;
        assert!(
            matches!(
                saved,
                Err(SaveError::Rule(SiloError::Url(
                    Refused::NotPublic | Refused::Credentials
                )))
            ),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_data_point_is_found_by_its_name_and_saving_the_name_again_keeps_its_id() {
    let server = TestServer::with(story::config()).await;
    let silo = story::add_silo(&server, "Shop", None, &["orders", "profile"]).await;
    let app = server.app();
    let organization = server.organization;
    let mut tx = app.store.begin_write().await.unwrap();
    let orders = silos::find_data_point_by_name(&mut tx, organization, silo, "orders")
        .await
        .unwrap()
        .unwrap();

    let again = DataPoint::new(DataPointId(app.ids.uuid()), silo, "orders".into(), app.clock.now());
    let again = silos::save_data_point(&mut tx, organization, again).await.unwrap();
    assert_eq!(again.id, orders.id);
    assert_eq!(
        silos::list_data_points(&mut tx, organization, silo)
            .await
            .unwrap()
            .len(),
        2
    );

    let renamed = DataPoint {
        name: "purchases".into(),
        ..again
    };
    silos::save_data_point(&mut tx, organization, renamed).await.unwrap();
    assert!(
        silos::find_data_point_by_name(&mut tx, organization, silo, "orders")
            .await
            .unwrap()
            .is_none()
    );
    silos::delete_data_point(&mut tx, organization, silo, orders.id)
        .await
        .unwrap();
    assert!(
        silos::find_data_point_by_name(&mut tx, organization, silo, "purchases")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        silos::list_data_points(&mut tx, organization, silo)
            .await
            .unwrap()
            .len(),
        1
    );
}
