//! The way to the mail server: whom it lets in, and that nobody beside it hears or says anything.

use super::*;
use crate::support::postbox::{self, Secrecy};

#[tokio::test]
async fn a_password_is_given_and_a_wrong_one_fails_no_message() {
    let postbox = Postbox::start().await;
    postbox.asks_for(&base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "\0mailer\0s:cr+t",
    ));
    for (password, status) in [
        ("s%3Acr%2Bt", "RECEIPT SENT"),
        (
            "wrong",
            "RECEIPT QUEUED the mail server did not take user name and password (535 5.7.8)",
        ),
    ] {
        let url = postbox.url_with_password(password);
        let story = story(&postbox, |mail| {
            *mail = MailConfig::new(&url, "privacy@example.test").unwrap()
        })
        .await;
        let id = story.submit_told(Action::Access, json!({})).await;
        assert_eq!(story.messages_of(id).await, [status]);
    }
}

/// Sends a message to `postbox` by this URL, and says how it stands then, and the first words of what anybody on the way heard.
async fn sent_by(postbox: &Postbox, url: &str, is_trusted: bool) -> (String, String) {
    let story = story(postbox, |mail| {
        *mail = MailConfig::new(url, "privacy@example.test").unwrap();
        mail.ca_file = is_trusted.then(postbox::certificate_file);
    })
    .await;
    let id = story.submit_told(Action::Access, json!({})).await;
    let status = story.messages_of(id).await.remove(0);
    assert_eq!(postbox.take().len(), usize::from(status.ends_with("SENT")));
    let heard = postbox.overheard();
    let words: Vec<&str> = heard.iter().filter_map(|line| line.split(' ').next()).collect();
    (status, words.join(" "))
}

#[tokio::test]
async fn the_way_is_encrypted_as_configured_or_nothing_is_said_at_all() {
    let unreached = "RECEIPT QUEUED the mail server could not be reached";
    let in_the_clear = "RECEIPT QUEUED the connection to the mail server could not be encrypted";
    let base64 = &base64::engine::general_purpose::STANDARD;
    let login = ["mailer", "s:cr+t"].map(|word| base64::Engine::encode(base64, word));
    for (address, secrecy, scheme, is_trusted, status, overheard) in [
        ("127.0.0.1", Secrecy::Tls, "smtps", true, "RECEIPT SENT", ""),
        (
            "127.0.0.1",
            Secrecy::StartTls,
            "smtp",
            true,
            "RECEIPT SENT",
            "EHLO STARTTLS",
        ),
        // Nobody vouches for the certificate.
        ("127.0.0.1", Secrecy::Tls, "smtps", false, unreached, ""),
        (
            "127.0.0.1",
            Secrecy::StartTls,
            "smtp",
            false,
            in_the_clear,
            "EHLO STARTTLS",
        ),
        // It is for another address.
        ("127.0.0.2", Secrecy::Tls, "smtps", true, unreached, ""),
        (
            "127.0.0.2",
            Secrecy::StartTls,
            "smtp",
            true,
            in_the_clear,
            "EHLO STARTTLS",
        ),
        // Somebody on the way has taken STARTTLS out of what the server offers.
        ("127.0.0.1", Secrecy::None, "smtp", true, in_the_clear, "EHLO"),
    ] {
        let postbox = Postbox::at_address(&format!("{address}:0"), secrecy).await;
        if secrecy != Secrecy::None {
            postbox.asks_by("LOGIN", &login.join(" "));
        }
        let url = format!("{scheme}://mailer:s%3Acr%2Bt@{address}:{}", postbox.port());
        let told = sent_by(&postbox, &url, is_trusted).await;
        let expected = (status.to_owned(), overheard.to_owned());
        assert_eq!(told, expected, "{address} {secrecy:?} {scheme} {is_trusted}");
    }
}

#[tokio::test]
async fn what_is_slipped_in_before_the_way_is_encrypted_is_not_taken_for_the_servers_word() {
    let postbox = Postbox::at_address("127.0.0.1:0", Secrecy::StartTls).await;
    postbox.slip_in("250-postbox\r\n250 8BITMIME\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n");
    let url = format!("smtp://127.0.0.1:{}", postbox.port());
    let (status, _) = sent_by(&postbox, &url, true).await;
    assert_eq!(
        status,
        "RECEIPT QUEUED the connection to the mail server could not be encrypted"
    );
}
