//! The last snapshot as OTLP metrics, pushed over HTTP with protobuf bodies.
//!
//! The SDK cannot be fed aggregates, so the messages are made here from the same snapshot that `/metrics` shows; what is
//! pushed and what is scraped are therefore equal to the unit. Everything is cumulative: a lost export loses nothing.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    catalogue::{Family, Kind, Spec},
    metrics::Build,
    own::{ExportFailure, OwnStats},
    series::{Distribution, Labels, Snapshot, Table, Value},
};
use crate::model::settings::OtlpSettings;

/// For one export.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For the last export, at shutdown.
const LAST: Duration = Duration::from_secs(2);

/// Encodes a snapshot. `instance` tells daemons apart: `host:port`.
pub fn encode(snapshot: &Snapshot, build: Build, instance: &str) -> ExportMetricsServiceRequest {
    let families = snapshot.families().filter(|(_, table)| !table.is_empty());
    let metrics = families.map(|(family, table)| metric(family, table, snapshot)).collect();
    let scope = InstrumentationScope {
        name: "plimsoll".to_owned(),
        version: build.version.to_owned(),
        ..InstrumentationScope::default()
    };
    let attributes = vec![
        attribute("service.name", "plimsoll"),
        attribute("service.version", build.version),
        attribute("service.instance.id", instance),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(family: Family, table: &Table, snapshot: &Snapshot) -> Metric {
    let spec = family.spec();
    let (start, time) = (nanos(snapshot.since), nanos(snapshot.at));
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || table.iter().filter_map(|(labels, value)| number(spec, labels, value, start, time)).collect();
    let data = match spec.kind {
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Kind::StateSet => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: false })
        }
        Kind::Gauge | Kind::Info => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            let points = table.iter().filter_map(|(labels, value)| match value {
                Value::Histogram(distribution) => Some(histogram(spec, labels, distribution, start, time)),
                Value::Count(_) | Value::Number(_) => None,
            });
            Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality: cumulative })
        }
    };
    Metric {
        name: spec.otlp.to_owned(),
        description: spec.help.to_owned(),
        unit: spec.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(spec: &Spec, labels: &Labels, value: &Value, start: u64, time: u64) -> Option<NumberDataPoint> {
    let value = match value {
        Value::Count(count) => number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::Number(value) => number_data_point::Value::AsDouble(*value),
        Value::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(spec, labels),
        // A gauge has no start: it is the value of an instant.
        start_time_unix_nano: if matches!(spec.kind, Kind::Gauge | Kind::Info) { 0 } else { start },
        time_unix_nano: time,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(spec: &Spec, labels: &Labels, distribution: &Distribution, start: u64, time: u64) -> HistogramDataPoint {
    // OTLP counts per bucket, and has a last one beyond the last bound.
    let ends = distribution.cumulative.iter().copied().chain([distribution.count]);
    let starts = [0].into_iter().chain(distribution.cumulative.iter().copied());
    HistogramDataPoint {
        attributes: attributes(spec, labels),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: distribution.count,
        sum: Some(distribution.sum),
        bucket_counts: ends.zip(starts).map(|(end, start)| end - start).collect(),
        explicit_bounds: spec.bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(spec: &Spec, labels: &Labels) -> Vec<KeyValue> {
    spec.labels.iter().zip(labels.iter()).map(|(name, value)| attribute(name, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

/// `{endpoint}/v1/{signal}`.
pub(super) fn signal_url(settings: &OtlpSettings, signal: &str) -> Result<reqwest::Url, String> {
    let url = format!("{}/v1/{signal}", settings.endpoint.trim_end_matches('/'));
    reqwest::Url::parse(&url)
        .map_err(|error| format!("telemetry.otlp.endpoint is not a URL ({error}): write http://collector:4318"))
}

/// Where exports go, and who sends them.
#[derive(Debug, Clone)]
pub struct Exporter {
    client: reqwest::Client,
    url: reqwest::Url,
    interval: Duration,
    instance: String,
    own: Arc<OwnStats>,
}

impl Exporter {
    /// Needs the process-wide rustls provider, which `main` installs first. The error completes "failed to set up OTLP: ".
    pub fn new(settings: &OtlpSettings, instance: &str, own: Arc<OwnStats>) -> Result<Self, String> {
        let url = signal_url(settings, "metrics")?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        Ok(Self { client, url, interval: settings.interval, instance: instance.to_owned(), own })
    }

    /// Exports each interval until `shutdown` is `true` or its sender gone, and once more then, within 2 s.
    pub async fn run(self, source: watch::Receiver<Arc<Snapshot>>, mut shutdown: watch::Receiver<bool>) {
        let mut ticks = interval(self.interval.max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut outage = Outage::default();
        loop {
            let stopping = tokio::select! {
                _ = ticks.tick() => false,
                _ = shutdown.wait_for(|stop| *stop) => true,
            };
            let snapshot = Arc::clone(&source.borrow());
            if stopping {
                if timeout(LAST, self.export(&snapshot)).await.is_err() {
                    self.own.export_failed(ExportFailure::Timeout);
                }
                return;
            }
            let result = tokio::select! {
                result = self.export(&snapshot) => result,
                _ = shutdown.wait_for(|stop| *stop) => continue, // What is newer is exported instead.
            };
            outage.tell(self.url.host_str().unwrap_or_default(), &result);
        }
    }

    /// Exports once; the error says why in words.
    pub async fn export(&self, snapshot: &Snapshot) -> Result<(), String> {
        let body = encode(snapshot, Build::THIS, &self.instance).encode_to_vec();
        let request = self.client.post(self.url.clone()).header("content-type", "application/x-protobuf").body(body);
        let failure = match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                self.own.exported();
                return Ok(());
            }
            Ok(answer) => (ExportFailure::Status, format!("the collector answered {}", answer.status())),
            Err(error) if error.is_timeout() => (ExportFailure::Timeout, format!("no answer within {TIMEOUT:?}")),
            // The URL may hold a password.
            Err(error) => (ExportFailure::Connect, format!("{:#}", anyhow::Error::from(error.without_url()))),
        };
        self.own.export_failed(failure.0);
        Err(failure.1)
    }
}

/// One line when exports begin to fail, one when they work again; the rest is counted.
#[derive(Debug, Default)]
struct Outage {
    failed: u64,
}

impl Outage {
    fn tell(&mut self, host: &str, result: &Result<(), String>) {
        match result {
            Err(why) => {
                if self.failed == 0 {
                    tracing::warn!(%why, "failed to push metrics to {host}; it is tried again at each interval");
                }
                self.failed += 1;
            }
            Ok(()) if self.failed > 0 => {
                tracing::info!(failed = self.failed, "metrics are pushed to {host} again; nothing was lost");
                self.failed = 0;
            }
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests;
