use std::collections::BTreeMap;

use super::*;
use crate::{model::Name, telemetry::metrics::testing};

/// The series of a decoded request: name, attributes and value, as the snapshot holds them.
fn decoded(request: &ExportMetricsServiceRequest) -> BTreeMap<(String, Vec<(String, String)>), Value> {
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let mut series = BTreeMap::new();
    for metric in metrics {
        let name = |attributes: &[KeyValue]| (metric.name.clone(), attributes.iter().map(pair).collect::<Vec<_>>());
        let mut numbers = |points: &[NumberDataPoint]| {
            for point in points {
                let value = match point.value.expect("has a value") {
                    number_data_point::Value::AsInt(count) => {
                        Value::Count(u64::try_from(count).expect("is not negative"))
                    }
                    number_data_point::Value::AsDouble(value) => Value::Number(value),
                };
                assert!(series.insert(name(&point.attributes), value).is_none(), "{} is there twice", metric.name);
            }
        };
        match metric.data.as_ref().expect("has data") {
            Data::Gauge(gauge) => numbers(&gauge.data_points),
            Data::Sum(sum) => numbers(&sum.data_points),
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    let mut seen = 0;
                    let cumulative = point.bucket_counts.iter().map(|count| {
                        seen += count;
                        seen
                    });
                    let cumulative: Vec<u64> = cumulative.collect();
                    assert_eq!(cumulative.last(), Some(&point.count));
                    let value = Distribution {
                        cumulative: cumulative[..cumulative.len() - 1].into(),
                        sum: point.sum.expect("has a sum"),
                        count: point.count,
                    };
                    series.insert(name(&point.attributes), Value::Histogram(value));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    series
}

fn pair(attribute: &KeyValue) -> (String, String) {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => (attribute.key.clone(), value.clone()),
        other => panic!("{}: {other:?}", attribute.key),
    }
}

#[test]
fn what_is_pushed_is_what_is_scraped() {
    let snapshot = testing::after_one_run();
    let bytes = encode(&snapshot, Build { version: "0.1.0", revision: "abc" }, "host:9590").encode_to_vec();
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("is protobuf");
    let wanted: BTreeMap<_, _> = snapshot
        .families()
        .flat_map(|(family, table)| table.iter().map(move |(labels, value)| (family.spec(), labels, value)))
        .map(|(spec, labels, value): (&Spec, &Labels, &Value)| {
            let names = spec.labels.iter().map(|name| (*name).to_owned());
            ((spec.otlp.to_owned(), names.zip(labels.iter().map(Name::to_string)).collect()), value.clone())
        })
        .collect();
    assert_eq!(decoded(&request), wanted);
    let resource = request.resource_metrics[0].resource.as_ref().expect("has a resource");
    let attributes: Vec<_> = resource.attributes.iter().map(pair).collect();
    let wanted = [("service.name", "plimsoll"), ("service.version", "0.1.0"), ("service.instance.id", "host:9590")];
    assert_eq!(attributes, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn sums_are_cumulative_and_say_since_when() {
    let snapshot = testing::after_one_run();
    let request = encode(&snapshot, Build::THIS, "host:9590");
    for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
        let family = Family::ALL.iter().find(|family| family.spec().otlp == metric.name).expect("is in the catalogue");
        let (kind, start) = (family.spec().kind, nanos(snapshot.since));
        match metric.data.as_ref().expect("has data") {
            Data::Sum(sum) => {
                assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
                assert_eq!(sum.is_monotonic, kind == Kind::Counter, "{}", metric.name);
                assert!(sum.data_points.iter().all(|point| point.start_time_unix_nano == start));
            }
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
                assert!(histogram.data_points.iter().all(|point| point.start_time_unix_nano == start));
            }
            Data::Gauge(gauge) => assert!(gauge.data_points.iter().all(|point| point.start_time_unix_nano == 0)),
            other => panic!("{other:?}"),
        }
    }
}

/// A collector that gives each request the next of these statuses, and hands over the bodies.
async fn collector(statuses: Vec<u16>) -> (String, tokio::sync::mpsc::Receiver<axum::body::Bytes>) {
    use axum::{extract::State, http::StatusCode, routing::post};
    let (sender, bodies) = tokio::sync::mpsc::channel(16);
    let statuses = Arc::new(std::sync::Mutex::new(statuses.into_iter()));
    let handler = async |State((sender, statuses)): State<(
        tokio::sync::mpsc::Sender<_>,
        Arc<std::sync::Mutex<std::vec::IntoIter<u16>>>,
    )>,
                         body: axum::body::Bytes| {
        sender.send(body).await.expect("the test reads");
        let status = statuses.lock().expect("no holder panics").next().expect("no more requests than planned");
        (StatusCode::from_u16(status).expect("a status"), [("location", "/elsewhere")])
    };
    let app = axum::Router::new().route("/v1/metrics", post(handler)).with_state((sender, statuses));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}/", listener.local_addr().expect("is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (endpoint, bodies)
}

fn exporter(endpoint: String, own: &Arc<OwnStats>) -> Exporter {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = OtlpSettings { endpoint, interval: Duration::from_hours(1) };
    Exporter::new(&settings, "host:9590", Arc::clone(own)).expect("a client")
}

#[tokio::test]
async fn exports_are_counted_by_how_they_end() {
    let (endpoint, _bodies) = collector(vec![200, 503, 307]).await;
    let own = Arc::new(OwnStats::default());
    let exporter = exporter(endpoint, &own);
    let snapshot = testing::after_one_run();
    assert_eq!(exporter.export(&snapshot).await, Ok(()));
    assert_eq!(exporter.export(&snapshot).await, Err("the collector answered 503 Service Unavailable".to_owned()));
    assert!(exporter.export(&snapshot).await.expect_err("no redirect is followed").contains("307"));
    assert_eq!((own.exports(), own.failures(ExportFailure::Status)), (1, 2));
}

#[tokio::test]
async fn a_dead_collector_is_counted_and_its_address_not_shown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("is bound");
    drop(listener);
    let own = Arc::new(OwnStats::default());
    let exporter = exporter(format!("http://user:secret@{address}"), &own);
    let why = exporter.export(&testing::after_one_run()).await.expect_err("nobody listens");
    assert!(!why.contains("secret"), "{why}");
    assert_eq!(own.failures(ExportFailure::Connect), 1);
}

#[tokio::test]
async fn the_last_export_is_sent_at_shutdown() {
    let (endpoint, mut bodies) = collector(vec![200, 200]).await;
    let own = Arc::new(OwnStats::default());
    let (publish, source) = watch::channel(testing::metrics().snapshot(testing::NOW));
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(exporter(endpoint, &own).run(source, stopped));
    bodies.recv().await.expect("the first export");
    publish.send(testing::after_one_run()).expect("it listens");
    stop.send(true).expect("it listens");
    let last = bodies.recv().await.expect("the last export");
    running.await.expect("ends");
    let request = ExportMetricsServiceRequest::decode(last).expect("is protobuf");
    assert_eq!(
        decoded(&request)[&("plimsoll.arrivals".to_owned(), vec![("scenario".to_owned(), "sustained".to_owned())])],
        Value::Count(12)
    );
    assert!(own.exports() >= 1);
}

#[test]
fn an_endpoint_is_a_url() {
    let url = |endpoint: &str| {
        let settings = OtlpSettings { endpoint: endpoint.to_owned(), interval: Duration::from_secs(15) };
        signal_url(&settings, "metrics").map(|url| url.to_string())
    };
    assert_eq!(url("http://collector:4318").as_deref(), Ok("http://collector:4318/v1/metrics"));
    assert_eq!(url("https://collector/otlp/").as_deref(), Ok("https://collector/otlp/v1/metrics"));
    assert!(url("collector").expect_err("no scheme").contains("write http://collector:4318"));
}
