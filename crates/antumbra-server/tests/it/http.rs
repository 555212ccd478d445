//! The shell, seen from outside.

use crate::support::TestServer;

#[tokio::test]
async fn health_answers_without_a_key() {
    let server = TestServer::start().await;
    let answer = server.client().get(server.url("/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}
