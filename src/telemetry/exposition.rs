//! `/metrics`: the last snapshot as Prometheus text 0.0.4, through one custom collector of the `prometheus` crate.

use std::sync::Arc;

use prometheus::{
    Registry, TextEncoder,
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use tokio::sync::watch;

use super::{
    catalogue::{Family, Kind, Spec},
    series::{Labels, Snapshot, Table, Value},
};

/// What `/metrics` calls its content.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the last published snapshot.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// Renders what `source` holds at the time of each scrape.
    pub fn new(source: watch::Receiver<Arc<Snapshot>>) -> Self {
        let registry = Registry::new();
        let descs = Family::ALL.iter().map(|family| describe(family.spec())).collect();
        registry
            .register(Box::new(Source { descs, source }))
            .expect("it is the only collector, and a test checks the catalogue's names");
        Self { registry }
    }

    /// The text.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        TextEncoder::new()
            .encode_utf8(&self.registry.gather(), &mut text)
            .expect("families without series are left out, and nothing else can fail");
        text
    }
}

struct Source {
    descs: Vec<Desc>,
    source: watch::Receiver<Arc<Snapshot>>,
}

impl Collector for Source {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = Arc::clone(&self.source.borrow());
        snapshot
            .families()
            .filter(|(_, table)| !table.is_empty())
            .map(|(family, table)| encode(family, table))
            .collect()
    }
}

fn describe(spec: &Spec) -> Desc {
    let labels = spec.labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(spec.name.to_owned(), spec.help.to_owned(), labels, std::collections::HashMap::new())
        .expect("a test checks the catalogue's names")
}

fn encode(family: Family, table: &Table) -> MetricFamily {
    let spec = family.spec();
    let mut encoded = MetricFamily::default();
    encoded.set_name(spec.name.to_owned());
    encoded.set_help(spec.help.to_owned());
    encoded.set_field_type(match spec.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Histogram => MetricType::HISTOGRAM,
        Kind::Gauge | Kind::StateSet | Kind::Info => MetricType::GAUGE,
    });
    encoded.set_metric(table.iter().map(|(labels, value)| metric(spec, labels, value)).collect());
    encoded
}

fn metric(spec: &Spec, labels: &Labels, value: &Value) -> Metric {
    let mut pairs: Vec<LabelPair> =
        spec.labels.iter().zip(labels.iter()).map(|(name, value)| pair(name, value)).collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    let mut metric = Metric::from_label(pairs);
    match value {
        Value::Histogram(distribution) => {
            let mut histogram = Histogram::default();
            histogram.set_sample_count(distribution.count);
            histogram.set_sample_sum(distribution.sum);
            let buckets = spec.bounds.iter().zip(&distribution.cumulative);
            histogram.set_bucket(buckets.map(|(bound, count)| bucket(*bound, *count)).collect());
            metric.set_histogram(histogram);
        }
        Value::Count(count) => number(&mut metric, spec.kind, *count as f64),
        Value::Number(value) => number(&mut metric, spec.kind, *value),
    }
    metric
}

fn number(metric: &mut Metric, kind: Kind, value: f64) {
    if kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn bucket(bound: f64, count: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(bound);
    bucket.set_cumulative_count(count);
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::testing;

    fn rendered(snapshot: Arc<Snapshot>) -> String {
        let (_sender, source) = watch::channel(snapshot);
        Exposition::new(source).render()
    }

    #[test]
    fn nothing_is_rendered_as_nothing() {
        assert_eq!(rendered(Arc::new(Snapshot::empty(testing::NOW))), "");
    }

    #[test]
    fn a_run_as_prometheus_reads_it() {
        let text = rendered(testing::after_one_run());
        let wanted = [
            "plimsoll_requests_total",
            "plimsoll_rejections_total",
            "plimsoll_schedule_lag",
            "plimsoll_last_run_status",
            "plimsoll_build_info",
        ];
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| wanted.iter().any(|name| line.split(' ').any(|word| word.starts_with(name))))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        # HELP plimsoll_build_info Always 1; what was built.
        # TYPE plimsoll_build_info gauge
        plimsoll_build_info{revision="abc",version="0.1.0"} 1
        # HELP plimsoll_last_run_status 1 for the verdict of the last run, 0 for the others; all 0 before the first.
        # TYPE plimsoll_last_run_status gauge
        plimsoll_last_run_status{scenario="sustained",verdict="fail"} 1
        plimsoll_last_run_status{scenario="sustained",verdict="interrupted"} 0
        plimsoll_last_run_status{scenario="sustained",verdict="invalid"} 0
        plimsoll_last_run_status{scenario="sustained",verdict="no_data"} 0
        plimsoll_last_run_status{scenario="sustained",verdict="pass"} 0
        # HELP plimsoll_rejections_total Rejected requests by the rule that matched, such as status_429; at most 32 reasons, then other.
        # TYPE plimsoll_rejections_total counter
        plimsoll_rejections_total{reason="queue_full",scenario="sustained",step="generate"} 1
        plimsoll_rejections_total{reason="status_429",scenario="sustained",step="generate"} 1
        plimsoll_rejections_total{reason="status_503",scenario="sustained",step="generate"} 0
        # HELP plimsoll_requests_total Requests sent, by how they ended: ok, rejected, failed, interrupted.
        # TYPE plimsoll_requests_total counter
        plimsoll_requests_total{outcome="failed",scenario="sustained",step="generate"} 1
        plimsoll_requests_total{outcome="interrupted",scenario="sustained",step="generate"} 1
        plimsoll_requests_total{outcome="ok",scenario="sustained",step="generate"} 7
        plimsoll_requests_total{outcome="rejected",scenario="sustained",step="generate"} 2
        # HELP plimsoll_schedule_lag_seconds Our own lateness (send_lag): intended start to the hand-over to the connection queue.
        # TYPE plimsoll_schedule_lag_seconds histogram
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.0001"} 4
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.00025"} 9
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.0005"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.001"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.0025"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.005"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.01"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.025"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.05"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.1"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="0.5"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="1"} 11
        plimsoll_schedule_lag_seconds_bucket{scenario="sustained",le="+Inf"} 11
        plimsoll_schedule_lag_seconds_sum{scenario="sustained"} 0.00165
        plimsoll_schedule_lag_seconds_count{scenario="sustained"} 11
        "#);
    }

    #[test]
    fn promtool_finds_nothing() {
        let mut child = match std::process::Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
        {
            Ok(child) => child,
            Err(error) => {
                let required = ["PLIMSOLL_REQUIRE_COMPONENTS", "CI"]
                    .iter()
                    .any(|name| std::env::var(name).is_ok_and(|value| value == "1" || value == "true"));
                assert!(!required, "promtool is required here: {error}");
                eprintln!("skipped: promtool cannot be run ({error})");
                return;
            }
        };
        let text = rendered(testing::after_one_run());
        std::io::Write::write_all(&mut child.stdin.take().expect("is piped"), text.as_bytes()).expect("promtool reads");
        let output = child.wait_with_output().expect("promtool ends");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
    }
}
