//! An OTLP receiver (http/protobuf, metrics) that keeps what it decodes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    common::v1::{KeyValue, any_value},
    metrics::v1::{Metric, metric, number_data_point},
};
use prost::Message as _;
use tokio::sync::watch;

use super::Labels;

/// Exports kept; further ones push out the oldest.
const MAX_EXPORTS: usize = 10_000;

type Exports = Vec<ExportMetricsServiceRequest>;

#[derive(Debug)]
pub(crate) struct OtlpReceiver {
    pub(crate) addr: SocketAddr,
    exports: watch::Receiver<Exports>,
    task: tokio::task::JoinHandle<()>,
}

/// One data point of the last export that had it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) attributes: Labels,
    /// The value of a gauge or sum, the count of a histogram.
    pub(crate) value: f64,
    /// The sum of a histogram.
    pub(crate) sum: Option<f64>,
    pub(crate) monotonic: bool,
    /// When it was taken, in nanoseconds since 1970.
    pub(crate) at: u64,
}

impl OtlpReceiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (publish, exports) = watch::channel(Exports::new());
        let app = Router::new().route("/v1/metrics", post(receive)).with_state(Arc::new(publish));
        let task =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves until it is dropped") });
        Self { addr, exports, task }
    }

    /// The endpoint to configure; exporters add `/v1/metrics`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Everything received, decoded, oldest first.
    pub(crate) fn exports(&self) -> Exports {
        self.exports.borrow().clone()
    }

    /// The latest point of each series of `name` whose attributes contain all of `attributes`.
    pub(crate) fn last(&self, name: &str, attributes: &[(&str, &str)]) -> Vec<Point> {
        let mut latest = std::collections::BTreeMap::new();
        for export in self.exports.borrow().iter() {
            let scopes = export.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
            let metrics = scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == name);
            for point in metrics.flat_map(points) {
                let has = |(key, value): &(&str, &str)| point.attributes.get(*key).is_some_and(|held| held == value);
                if attributes.iter().all(has) {
                    latest.insert(point.attributes.clone(), point);
                }
            }
        }
        latest.into_values().collect()
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(publish): State<Arc<watch::Sender<Exports>>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let export = ExportMetricsServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    publish.send_modify(|exports| {
        if exports.len() == MAX_EXPORTS {
            exports.remove(0);
        }
        exports.push(export);
    });
    Ok(ExportMetricsServiceResponse::default().encode_to_vec())
}

fn points(metric: &Metric) -> Vec<Point> {
    let point = |attributes: &[KeyValue], value: f64, sum: Option<f64>, monotonic: bool, at: u64| Point {
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        attributes: attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect(),
        value,
        sum,
        monotonic,
        at,
    };
    let number = |value: Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    };
    match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge
            .data_points
            .iter()
            .map(|one| point(&one.attributes, number(one.value), None, false, one.time_unix_nano))
            .collect(),
        Some(metric::Data::Sum(sum)) => sum
            .data_points
            .iter()
            .map(|one| point(&one.attributes, number(one.value), None, sum.is_monotonic, one.time_unix_nano))
            .collect(),
        Some(metric::Data::Histogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|one| point(&one.attributes, one.count as f64, one.sum, true, one.time_unix_nano))
            .collect(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|one| point(&one.attributes, one.count as f64, one.sum, true, one.time_unix_nano))
            .collect(),
        Some(metric::Data::Summary(_)) | None => Vec::new(),
    }
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
