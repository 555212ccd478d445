//! Legal holds: silos are told like of any other demand, and nothing of a held person is erased.

use antumbra_server::{
    audit,
    dsr::{self, DsrId},
    organization::Action,
};

use super::*;
use crate::support::story::{EMAIL, Story};

impl Story {
    async fn approve(&self, request: DsrId) {
        self.administrate(async |tx, by| dsr::approve(tx, by, request).await)
            .await;
        self.server.run_jobs_until_idle().await;
    }

    /// What the audit log says was done to a request.
    async fn audit_of(&self, request: DsrId) -> Vec<String> {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let entries = audit::list(&mut reader, self.organization(), None, 1_000)
            .await
            .unwrap();
        let about = entries.into_iter().filter(|(_, entry)| entry.object_id == request.0);
        about.map(|(_, entry)| entry.action.to_string()).collect()
    }

    /// Who tries to resume what a hold has parked is told of the hold.
    async fn cannot_resume(&self, request: DsrId) {
        let mut tx = self.server.app().store.begin_write().await.unwrap();
        let by = dsr::Deed {
            organization: self.organization(),
            by: antumbra_server::audit::Actor::Operator,
            now: self.server.clock.now(),
            ids: &self.server.app().ids,
        };
        let refused = dsr::resume(&mut tx, &by, request).await.unwrap_err();
        assert!(matches!(refused, dsr::DsrError::LegallyHeld));
        assert_eq!(self.status_of(request).await, "ON_HOLD");
    }

    /// The silo does what the one notice since the last look asks for, which is this.
    async fn does(&self, action: Action) {
        let notice = self.receiver.take_one();
        assert_eq!(notice.json()["type"], action.as_str());
        assert_eq!(self.put_report(&notice.nonce(), json!({})).await.status(), 200);
        self.server.run_jobs_until_idle().await;
    }
}

#[tokio::test]
async fn a_held_persons_erasure_is_stopped_until_the_hold_is_over() {
    let story = Story::with_data_points(&[]).await;
    // The hold is there as soon as it is asked for, and the silos are told of it as of anything else.
    let place = story.submit(Action::PlaceOnLegalHold).await;
    let erasure = story.submit(Action::Erasure).await;
    assert_eq!(story.status_of(erasure).await, "ON_HOLD");
    story.does(Action::PlaceOnLegalHold).await;
    story.approve(place).await;
    assert_eq!(story.status_of(place).await, "COMPLETED");
    story.cannot_resume(erasure).await;
    assert!(story.receiver.take().is_empty());
    // Somebody else's goes on, and so does what erases nothing.
    let other = story
        .submit_about(Action::Erasure, "acct_2", "second@example.test")
        .await;
    story.server.run_jobs_until_idle().await;
    story.does(Action::Erasure).await;
    assert_eq!(story.status_of(other).await, "APPROVING");
    let access = story.submit(Action::Access).await;
    assert_eq!(story.status_of(access).await, "COMPILING");
    story.receiver.take();

    // The hold ends when its removal has been completed, not before.
    let remove = story.submit(Action::RemoveFromLegalHold).await;
    story.does(Action::RemoveFromLegalHold).await;
    story.cannot_resume(erasure).await;
    // It ends the wait of what it has parked, without anybody's doing.
    story.approve(remove).await;
    story.does(Action::Erasure).await;
    assert_eq!(story.status_of(erasure).await, "APPROVING");
}

#[tokio::test]
async fn an_erasure_under_way_is_parked_by_a_hold_and_a_hold_that_is_canceled_holds_nobody() {
    let story = Story::with_data_points(&[]).await;
    let erasure = story.submit(Action::Erasure).await;
    story.receiver.take();
    assert_eq!(story.status_of(erasure).await, "COMPILING");
    let place = story.submit(Action::PlaceOnLegalHold).await;
    assert_eq!(story.status_of(erasure).await, "ON_HOLD");
    story.cannot_resume(erasure).await;
    // What somebody has parked themselves is theirs to resume.
    let by_hand = story.submit_about(Action::Erasure, "acct_9", EMAIL).await;
    story.server.run_jobs_until_idle().await;
    story
        .administrate(async |tx, by| dsr::hold(tx, by, by_hand).await)
        .await;
    let second = story.submit_about(Action::PlaceOnLegalHold, "acct_9", EMAIL).await;
    for hold in [place, second] {
        story.administrate(async |tx, by| dsr::cancel(tx, by, hold).await).await;
    }
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(erasure).await, "COMPILING");
    assert_eq!(story.status_of(by_hand).await, "ON_HOLD");
    let log = story.audit_of(erasure).await;
    assert!(log.contains(&"dsr.resumed_after_legal_hold".to_owned()), "{log:?}");

    // Holds of the time before come in as imports.
    let imported = json!({ "completedRequestStatus": "COMPLETED", "createdAt": "2025-05-02" });
    story
        .submit_with(Action::PlaceOnLegalHold, "acct_2", EMAIL, imported.clone())
        .await;
    let held = story.submit_about(Action::Erasure, "acct_2", EMAIL).await;
    story
        .submit_with(Action::PlaceOnLegalHold, "acct_3", EMAIL, imported.clone())
        .await;
    story
        .submit_with(Action::RemoveFromLegalHold, "acct_3", EMAIL, imported)
        .await;
    let free = story.submit_about(Action::Erasure, "acct_3", EMAIL).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(held).await, "ON_HOLD");
    assert_eq!(story.status_of(free).await, "COMPILING");
}

#[tokio::test]
async fn a_test_holds_the_person_from_tests_only_and_lifts_no_hold_that_is_none() {
    let story = Story::with_data_points(&[]).await;
    let imported = json!({ "completedRequestStatus": "COMPLETED", "createdAt": "2025-05-02" });
    let test_of = |fields: &Value| {
        let mut fields = fields.clone();
        fields["isTest"] = json!(true);
        fields
    };
    let (plain, test) = (json!({}), test_of(&json!({})));
    let place = Action::PlaceOnLegalHold;
    story.submit_with(place, "acct_1", EMAIL, test_of(&imported)).await;
    story.submit_with(place, "acct_2", EMAIL, imported.clone()).await;
    let lift = Action::RemoveFromLegalHold;
    story.submit_with(lift, "acct_2", EMAIL, test_of(&imported)).await;
    for (core, fields, status) in [
        ("acct_1", &plain, "COMPILING"),
        ("acct_1", &test, "ON_HOLD"),
        ("acct_2", &plain, "ON_HOLD"),
        ("acct_2", &test, "ON_HOLD"),
    ] {
        let erasure = story.submit_with(Action::Erasure, core, EMAIL, fields.clone()).await;
        story.server.run_jobs_until_idle().await;
        assert_eq!(story.status_of(erasure).await, status, "{core} {fields}");
    }
}
