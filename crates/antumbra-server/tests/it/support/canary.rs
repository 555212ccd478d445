//! Reads every log line of the whole suite, at every level, and remembers those that hold what no log may hold: a key, a
//! token, or an identifier of a data subject. Tests use identifiers that can be told: they end in `.test`, in
//! `@example.com` and its like, or hold [`CANARY`].

use std::{
    fmt::Write,
    sync::{LazyLock, Mutex, Once},
};

use regex::Regex;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// A word that stands in personal data of tests and nowhere else.
pub const CANARY: &str = "canary-9e1f";

static FORBIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    let key = "ant_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}";
    let token = r"eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.";
    let person = r"@example\.|@[a-z.-]+\.(test|invalid)|@example";
    Regex::new(&format!("{CANARY}|{key}|{token}|{person}")).unwrap()
});
static CAUGHT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to read.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::registry().with(Reader(&CAUGHT)).init());
}

/// Fails if anything was caught so far, in this test or in another of the suite.
pub(super) fn check() {
    let caught = CAUGHT.lock().unwrap();
    assert!(
        caught.is_empty(),
        "these log lines hold what no log may hold: {caught:#?}"
    );
}

/// Reads, and puts what it catches there.
struct Reader(&'static Mutex<Vec<String>>);

impl Reader {
    fn read(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        record(&mut line);
        if FORBIDDEN.is_match(&line.0) {
            self.0.lock().unwrap().push(line.0);
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reader {
    /// What other crates say below `info` is off unless somebody asks for it, and beyond our power.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("antumbra") || *metadata.level() <= Level::INFO
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.read(event.metadata(), |line| event.record(line));
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.read(attributes.metadata(), |line| attributes.record(line));
    }

    fn on_record(&self, span: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(span) {
            self.read(metadata, |line| values.record(line));
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

#[test]
fn what_no_log_may_hold_is_caught_at_every_level_and_in_every_place() {
    static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let secrets = [
        CANARY.to_owned(),
        "Robin.Hale@example.test".to_owned(),
        format!("ant_abcd1234_{}_abcdef", "k".repeat(43)),
        "eyJhbGciOiJIUzM4NCJ9.eyJraW5kIjoic2lsbyJ9.c2lnbmF0dXJl".to_owned(),
    ];
    let reading = tracing_subscriber::registry().with(Reader(&PLANTED));
    tracing::subscriber::with_default(reading, || {
        for secret in &secrets {
            tracing::error!(target: "antumbra::planted", "said {secret} loudly");
            tracing::warn!(target: "antumbra::planted", field = secret.as_str(), "warned");
            tracing::info!(target: "another_crate", field = ?secret, "told");
            tracing::debug!(target: "antumbra::planted", field = %secret, "mentioned");
            tracing::trace!(target: "antumbra::planted", field = secret.as_str(), "whispered");
            let span = tracing::trace_span!(target: "antumbra::planted", "span", at_once = secret.as_str(), later = tracing::field::Empty);
            span.record("later", secret.as_str());
        }
        tracing::error!(target: "antumbra::planted", id = "0190f3a2-0000-7000-8000-000000000000", "names nobody");
    });
    let caught = PLANTED.lock().unwrap();
    assert_eq!(caught.len(), 7 * secrets.len(), "{caught:#?}");
}
