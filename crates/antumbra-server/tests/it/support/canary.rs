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
    ONCE.call_once(|| tracing_subscriber::registry().with(Reader).init());
}

/// Fails if anything was caught so far, in this test or in another of the suite.
pub(super) fn check() {
    let caught = CAUGHT.lock().unwrap();
    assert!(
        caught.is_empty(),
        "these log lines hold what no log may hold: {caught:#?}"
    );
}

struct Reader;

impl Reader {
    fn read(metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        record(&mut line);
        if FORBIDDEN.is_match(&line.0) {
            CAUGHT.lock().unwrap().push(line.0);
        }
    }
}

impl<S: Subscriber> Layer<S> for Reader {
    /// What other crates say below `info` is off unless somebody asks for it, and beyond our power.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("antumbra") || *metadata.level() <= Level::INFO
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        Reader::read(event.metadata(), |line| event.record(line));
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        Reader::read(attributes.metadata(), |line| attributes.record(line));
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}
