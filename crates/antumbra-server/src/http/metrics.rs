//! Counters and histograms for the operator, in Prometheus' text form. Nothing here leaves the machine by itself, and no
//! label holds anything of a caller's: routes are named by their template.

use std::{
    sync::{LazyLock, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing};
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::Problem;
use crate::{AppState, config::MetricsPlace};

/// One recorder for the process: counters are global by nature.
static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let seconds = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    ];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)
        .expect("the list of buckets is not empty");
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another recorder of metrics is in place, /metrics stays empty");
    }
    handle
});

/// How often [`tidy`] is to be called; samples wait in memory until then.
pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Begins to record.
pub(crate) fn begin() {
    LazyLock::force(&RECORDER);
}

/// Shows how many requests are open past their deadline.
pub(crate) fn show_overdue(count: usize) {
    metrics::gauge!("antumbra_requests_overdue").set(u32::try_from(count).unwrap_or(u32::MAX));
}

/// Folds the samples that have come in.
pub(crate) fn tidy() {
    RECORDER.run_upkeep();
}

/// The answers of one route. Looking up a counter by its labels costs more than counting, so what was found is kept.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_status: RwLock<Vec<(StatusCode, Counter)>>,
    seconds: OnceLock<Histogram>,
}

impl Answers {
    /// Counts one answered HTTP request.
    pub(crate) fn count(&self, method: &str, route: &str, status: StatusCode, took: Duration) {
        let seconds = || metrics::histogram!("antumbra_http_request_seconds", "route" => route.to_owned());
        self.seconds.get_or_init(seconds).record(took);
        let known = self.by_status.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(of, _)| *of == status) {
            return counter.increment(1);
        }
        drop(known);
        let counter = metrics::counter!(
            "antumbra_http_requests_total",
            "method" => method.to_owned(), "route" => route.to_owned(), "status" => status.as_str().to_owned()
        );
        counter.increment(1);
        let mut known = self.by_status.write().unwrap_or_else(PoisonError::into_inner);
        known.push((status, counter));
    }
}

/// `GET /metrics`: what this process has counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, description = "Counters", body = String)))]
pub(crate) async fn show(State(app): State<AppState>) -> Result<String, Problem> {
    match app.config.metrics {
        MetricsPlace::WithTheApi => Ok(RECORDER.render()),
        MetricsPlace::Apart => Err(Problem::not_found()),
    }
}

/// A router that answers `/metrics` and nothing else, for a listener of its own.
pub(crate) fn apart() -> Router {
    Router::new().route("/metrics", routing::get(async || RECORDER.render()))
}
