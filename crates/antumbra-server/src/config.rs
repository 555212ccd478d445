//! What the operator may set about the server, already checked; reading it from a file is the executable's work.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use async_graphql::Enum;
use lettre::{message::Mailbox, transport::smtp::authentication::Credentials};
use serde::{Deserialize, Serialize};

use crate::{
    http::{TlsError, tls_acceptor},
    jobs::Bounds,
    runs::{SEND_NOTICE, Windows},
    silos::address::Network,
};

/// Every setting of the server. `Default` is what a server with no configuration at all runs with.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Address that people and webhooks reach this server under, without a slash at its end. `None` means the address
    /// it listens on.
    pub public_url: Option<String>,
    /// What `api_keys::internal_key_hash` gives of the internal key that `x-sombra-authorization` must carry. `None` asks
    /// for none.
    pub internal_key_hash: Option<[u8; 32]>,
    /// Certificate and key of the listener. `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Where `/metrics` is answered.
    pub metrics: MetricsPlace,
    /// Bounds on what clients may ask of one process.
    pub limits: Limits,
    /// Where wire-compatible clients disagree with each other.
    pub compat: Compat,
    /// How data subject requests are handled.
    pub dsr: DsrConfig,
    /// Where webhooks may go, and when they are sent again.
    pub webhooks: WebhookConfig,
    /// Which server takes mail to data subjects. `None`: none is sent, and every message is shown as not sent.
    pub mail: Option<MailConfig>,
    /// How keys are renewed.
    pub keys: KeysConfig,
    /// How preferences are kept.
    pub preferences: PreferencesConfig,
    /// Who runs the background jobs.
    pub run_jobs: RunJobs,
}

/// How keys are renewed.
#[derive(Clone, Debug, Default)]
pub struct KeysConfig {
    /// How long an epoch lasts. `None` begins no new one.
    pub epoch: Option<Duration>,
}

/// Where `/metrics` is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsPlace {
    /// Beside the API.
    #[default]
    WithTheApi,
    /// Only on a listener of its own; see `Server::show_metrics`.
    Apart,
}

/// PEM files of the listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads them as the listener will. For whoever checks a configuration before it is put to use.
    pub fn check(&self) -> Result<(), TlsError> {
        tls_acceptor(self).map(drop)
    }
}

/// Bounds on connections, bodies and rates.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, all together.
    pub connections_max: usize,
    /// Open connections of one address that is no trusted proxy's.
    pub connections_per_address_max: usize,
    /// Proxies whose `X-Forwarded-For` is believed: bounds for one address hold for whom they speak of, not for them.
    pub trusted_proxies: Vec<Network>,
    /// Readers of changes at once, waiting or on a stream; one more is refused with 429.
    pub feed_readers_max: usize,
    /// HTTP requests being worked on at once; one more is refused with 429.
    pub in_flight_max: usize,
    /// From connecting to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a head to its last.
    pub header: Duration,
    /// Silence allowed between two HTTP requests of one connection.
    pub idle: Duration,
    /// A body must bring at least 1 KiB a second, measured over this span.
    pub body_progress: Duration,
    /// A response nobody reads is given up after this span.
    pub unread_response: Duration,
    /// Shutting down waits this long for HTTP requests under way.
    pub shutdown: Duration,
    /// Bytes of a JSON body.
    pub json_bytes: u64,
    /// Bytes of a URL-encoded body.
    pub form_bytes: u64,
    /// Bytes of a file sent to `POST /v1/datapoint`; 0 for no bound.
    pub datapoint_bytes: u64,
    /// Bytes of all bodies that are held in memory at once; one more is refused with 429.
    pub kept_bodies_bytes: u64,
    /// Which request budgets apply.
    pub profile: RateProfile,
    /// Budgets that differ from the profile, for a minute: by the budget's name, or `name@id` with the id of an
    /// organization or of an API key.
    pub budgets: BTreeMap<String, u32>,
    /// Failed keys that one address may try in a minute before it is slowed down.
    pub failed_keys_per_minute: NonZeroU32,
}

/// Named sets of request budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateProfile {
    /// No budget. Overload is refused all the same.
    #[default]
    None,
    /// The figures that clients of the vendor's service are used to.
    Vendor,
}

impl Limits {
    /// Whether an address is that of a proxy that the operator trusts.
    pub(crate) fn trusts_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(address.to_canonical()))
    }
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: u64 = 1024 * 1024;
        Limits {
            connections_max: 10_000,
            connections_per_address_max: 1_000,
            trusted_proxies: Vec::new(),
            feed_readers_max: 256,
            in_flight_max: 1_024,
            first_byte: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_progress: Duration::from_secs(15),
            unread_response: Duration::from_secs(30),
            shutdown: Duration::from_secs(20),
            json_bytes: 50 * MIB,
            form_bytes: 30 * MIB,
            datapoint_bytes: 5 * 1024 * MIB,
            kept_bodies_bytes: 256 * MIB,
            profile: RateProfile::None,
            budgets: BTreeMap::new(),
            failed_keys_per_minute: const { NonZeroU32::new(60).expect("sixty is not zero") },
        }
    }
}

/// Choices between clients that disagree.
#[derive(Clone, Copy, Debug)]
pub struct Compat {
    /// How `download-keys` writes the size of a file.
    pub download_key_size: DownloadKeySize,
    /// Whether the preference routes also understand what an older generation of clients sends.
    pub old_dialect: bool,
}

impl Default for Compat {
    fn default() -> Compat {
        Compat {
            download_key_size: DownloadKeySize::default(),
            old_dialect: true,
        }
    }
}

/// How `download-keys` writes the size of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DownloadKeySize {
    /// A number, but a string for the client that decodes only strings.
    #[default]
    Auto,
    /// Always a number.
    Number,
    /// Always a string.
    String,
}

/// How preferences are kept.
#[derive(Clone, Debug)]
pub struct PreferencesConfig {
    /// What becomes of a consent string that says the opposite of the purposes beside it, where the organization says
    /// nothing of its own.
    pub iab_contradiction: IabContradiction,
    /// How long it can be told what people had chosen before. `None` keeps all history.
    pub history: Option<Duration>,
    /// How long the change feed reaches back. `None` keeps it for good.
    pub changes_kept: Option<Duration>,
    /// Changes that one address may make in a minute without showing who it is. With 0 nobody may.
    pub unauthenticated_per_minute: u32,
    /// Where people see and change their own preferences, with `{token}` for the token of the preference centre.
    pub access_link: Option<String>,
}

impl Default for PreferencesConfig {
    fn default() -> PreferencesConfig {
        PreferencesConfig {
            iab_contradiction: IabContradiction::default(),
            history: None,
            changes_kept: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            unauthenticated_per_minute: 0,
            access_link: None,
        }
    }
}

/// What becomes of a consent string that says the opposite of the purposes beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Enum)]
pub enum IabContradiction {
    /// The call is refused.
    Refuse,
    /// Both are kept, and answers say that they disagree.
    #[default]
    Record,
    /// Both are kept, and nothing is said.
    Ignore,
}

/// How data subject requests are handled.
#[derive(Clone, Debug)]
pub struct DsrConfig {
    /// Whether a person approves what was compiled before it is sent.
    pub review: Review,
    /// The time zone whose days laws are counted in.
    pub time_zone: String,
    /// How long before a deadline it is noted as near.
    pub deadline_near: Duration,
}

impl Default for DsrConfig {
    fn default() -> DsrConfig {
        DsrConfig {
            review: Review::default(),
            time_zone: "UTC".to_owned(),
            deadline_near: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// Whether a person looks at a report before it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Review {
    /// Wait for an approval.
    #[default]
    Required,
    /// Approve as soon as everything has been compiled.
    Skipped,
}

/// Where webhooks may go, when they are sent again, and how many at once.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Addresses that are allowed although they are not public, such as `127.0.0.0/8`.
    pub allowed_networks: Vec<Network>,
    /// When a silo that has not answered is told again.
    pub windows: Windows,
    /// How many notices are under way at once, and how many to one data silo.
    pub bounds: Bounds,
}

impl Default for WebhookConfig {
    fn default() -> WebhookConfig {
        WebhookConfig {
            allowed_networks: Vec::new(),
            windows: Windows::default(),
            bounds: Bounds::of(&SEND_NOTICE),
        }
    }
}

/// Which server takes mail to data subjects, and at which pace.
#[derive(Clone)]
pub struct MailConfig {
    /// The name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the way there is kept from others' eyes.
    pub encryption: MailEncryption,
    /// User name and password, where the server asks for them.
    pub login: Option<Credentials>,
    /// Authorities that vouch for the server, in place of those of this machine.
    pub ca_file: Option<PathBuf>,
    /// Whom messages come from.
    pub from: Mailbox,
    /// Who gets what data subjects answer, if not [`from`](Self::from).
    pub reply_to: Option<Mailbox>,
    /// To open a connection.
    pub connect_timeout: Duration,
    /// From connecting until the server has taken the message, at most [`TIMEOUT_MAX`](Self::TIMEOUT_MAX).
    pub timeout: Duration,
    /// Conversations with the server at once.
    pub connections: NonZeroUsize,
    /// Messages a minute. `None`: as many as there are.
    pub per_minute: Option<NonZeroU32>,
}

/// How the way to the mail server is kept from others' eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailEncryption {
    /// Not at all.
    None,
    /// The conversation begins in the clear and must be encrypted before anything is said.
    StartTls,
    /// From the first byte.
    Tls,
}

impl std::fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailConfig")
            .field("encryption", &self.encryption)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl MailConfig {
    /// The longest that one message may take: less than the lease of the job that sends it.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(150);

    /// A server as its URL names it, and whom messages come from: `smtps://`, or `smtp://` for a connection that must be
    /// upgraded, with `?tls=none` for one that stays in the clear. Fails with what is wrong, without repeating any of it.
    pub fn new(url: &str, from: &str) -> Result<MailConfig, MailFault> {
        let url = url::Url::parse(url).map_err(|_| MailFault::Url("must be an smtp or smtps URL"))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or(MailFault::Url("must name a host"))?.trim_matches(['[', ']']);
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(MailFault::Url("must end after the host and its port"));
        }
        let (encryption, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (MailEncryption::Tls, 465),
            ("smtp", None | Some("tls=required")) => (MailEncryption::StartTls, 587),
            ("smtp", Some("tls=none")) => (MailEncryption::None, 25),
            ("smtp" | "smtps", Some(_)) => {
                return Err(MailFault::Url("can have ?tls=required or ?tls=none behind smtp://"));
            }
            _ => return Err(MailFault::Url("must begin with smtp:// or smtps://")),
        };
        let decoded = |text: &str| -> Result<String, MailFault> {
            let pair = format!("a={}", text.replace('+', "%2B"));
            let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
            let value = pairs.next().map(|(_, value)| value.into_owned());
            value.ok_or(MailFault::Url("has a user name or password that cannot be read"))
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(Credentials::new(decoded(user)?, decoded(password.unwrap_or_default())?)),
        };
        let is_here = ["localhost", "127.0.0.1", "::1"].contains(&host);
        if encryption == MailEncryption::None && login.is_some() && !is_here {
            return Err(MailFault::Url(
                "must not send a password in the clear: leave ?tls=none out",
            ));
        }
        Ok(MailConfig {
            host: host.to_owned(),
            port: url.port().unwrap_or(port),
            encryption,
            login,
            ca_file: None,
            from: mailbox(from).ok_or(MailFault::From)?,
            reply_to: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            connections: const { NonZeroUsize::new(4).expect("four is not zero") },
            per_minute: None,
        })
    }

    /// Looks at what can only be told by trying: the file of authorities.
    pub fn check(&self) -> Result<(), String> {
        crate::messages::check_tls(self)
    }
}

/// An address as mail programs write it: `privacy@example.test`, or with a name, `Privacy <privacy@example.test>`.
pub fn mailbox(text: &str) -> Option<Mailbox> {
    text.parse().ok().filter(|_| !text.chars().any(char::is_control))
}

/// What is wrong with the settings of the mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailFault {
    /// The URL cannot be used.
    #[error("the URL of the mail server {0}")]
    Url(&'static str),
    /// The sender is no address.
    #[error("the sender must be an address")]
    From,
}

/// Who runs the background jobs of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunJobs {
    /// The server itself, for as long as it runs.
    #[default]
    InBackground,
    /// Whoever holds the server: tests, which move the clock by hand.
    WhenAsked,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_named_by_its_url_and_is_not_spoken_to_in_the_clear_unless_that_is_said() {
        let read = |url: &str| MailConfig::new(url, "Privacy <privacy@example.test>");
        for (url, host, port, encryption, has_login) in [
            (
                "smtps://mail.example.test",
                "mail.example.test",
                465,
                MailEncryption::Tls,
                false,
            ),
            (
                "smtps://a%40b:c@mail.example.test:4650/",
                "mail.example.test",
                4650,
                MailEncryption::Tls,
                true,
            ),
            (
                "smtp://a:b@mail.example.test",
                "mail.example.test",
                587,
                MailEncryption::StartTls,
                true,
            ),
            (
                "smtp://mail.example.test:25?tls=required",
                "mail.example.test",
                25,
                MailEncryption::StartTls,
                false,
            ),
            (
                "smtp://mail.example.test?tls=none",
                "mail.example.test",
                25,
                MailEncryption::None,
                false,
            ),
            (
                "smtp://a:b@[::1]:2525?tls=none",
                "::1",
                2525,
                MailEncryption::None,
                true,
            ),
        ] {
            let config = read(url).unwrap();
            let login = config.login.is_some();
            let found = (config.host.as_str(), config.port, config.encryption, login);
            assert_eq!(found, (host, port, encryption, has_login), "{url}");
            assert!(!format!("{config:?}").contains("example"));
        }
        for url in [
            "",
            "mail.example.test",
            "https://mail.example.test",
            "smtp:///x",
            "smtp://mail.example.test/ehlo",
            "smtp://mail.example.test?tls=opportunistic",
            "smtps://mail.example.test?tls=none",
            "smtp://a:canary@mail.example.test?tls=none",
        ] {
            let fault = read(url).unwrap_err();
            assert!(!fault.to_string().contains("canary"), "{url}: {fault}");
        }
        for from in [
            "",
            "privacy",
            "a@example.test, b@example.test",
            "a@example.test\r\nBcc: b@example.test",
        ] {
            let fault = MailConfig::new("smtps://mail.example.test", from).unwrap_err();
            assert_eq!(fault, MailFault::From, "{from}");
        }
        assert_eq!(read("smtps://mail.example.test").unwrap().check(), Ok(()));
    }
}
