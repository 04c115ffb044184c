//! One span per run, sent by the OpenTelemetry SDK where OTLP is configured: runs then stand beside what they caused.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider},
};

use super::{metrics::Build, otlp::signal_url};
use crate::model::{
    run::{RunSummary, Verdict},
    settings::OtlpSettings,
};

/// For one export.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For what is still queued at shutdown.
const LAST: Duration = Duration::from_secs(2);

/// Sends spans from a thread of the SDK's own; at most 2,048 wait, then the newest are lost.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Blocks for a moment, and must not be called on a runtime's worker (use `spawn_blocking`). Needs the process-wide
    /// rustls provider. The error completes "failed to set up OTLP: ".
    pub fn new(settings: &OtlpSettings, instance: &str) -> Result<Self, String> {
        let client = reqwest::blocking::Client::builder()
            .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(signal_url(settings, "traces")?)
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| format!("{error}"))?;
        let resource = Resource::builder_empty()
            .with_service_name("plimsoll")
            .with_attributes([
                KeyValue::new("service.version", Build::THIS.version),
                KeyValue::new("service.instance.id", instance.to_owned()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("plimsoll");
        Ok(Self { provider, tracer })
    }

    /// Queues the span of a finished run; does not block.
    pub fn run(&self, run: &RunSummary) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let attributes = [
            KeyValue::new("scenario", run.scenario.clone()),
            KeyValue::new("target", run.target.clone()),
            KeyValue::new("verdict", run.verdict.as_str()),
            KeyValue::new("run_id", run.run_id.clone()),
            KeyValue::new("planned", count(run.planned)),
            KeyValue::new("sent", count(run.sent)),
            KeyValue::new("ok", count(run.outcomes.ok)),
            KeyValue::new("rejected", count(run.outcomes.rejected)),
            KeyValue::new("failed", count(run.outcomes.failed)),
        ];
        let mut span = self
            .tracer
            .span_builder("plimsoll.run")
            .with_kind(SpanKind::Internal)
            .with_start_time(SystemTime::from(run.started_at))
            .with_attributes(attributes)
            .start(&self.tracer);
        if run.verdict == Verdict::Fail {
            span.set_status(Status::error(run.reasons.join("; ")));
        }
        span.end_with_timestamp(SystemTime::from(run.ended_at));
    }

    /// Sends what is queued, for at most 2 s. Blocks: use `spawn_blocking`.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "failed to send the last spans");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::Bytes;
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::status::StatusCode,
    };
    use prost::Message as _;

    use super::*;
    use crate::telemetry::metrics::testing;

    #[tokio::test]
    async fn a_run_is_a_span() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, mut bodies) = tokio::sync::mpsc::channel(4);
        let handler = async move |body: Bytes| sender.send(body).await.expect("the test reads");
        let app = axum::Router::new().route("/v1/traces", axum::routing::post(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let settings = OtlpSettings { endpoint, interval: Duration::from_secs(15) };
        tokio::task::spawn_blocking(move || {
            let traces = Traces::new(&settings, "host:9590").expect("is set up");
            traces.run(&testing::summary(Verdict::Fail));
            traces.shutdown();
        })
        .await
        .expect("ends");
        let request = ExportTraceServiceRequest::decode(bodies.recv().await.expect("a request")).expect("is protobuf");
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        let attributes: BTreeMap<_, _> = span
            .attributes
            .iter()
            .map(|attribute| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
                Some(Value::StringValue(text)) => (attribute.key.as_str(), text),
                Some(Value::IntValue(count)) => (attribute.key.as_str(), count.to_string()),
                other => panic!("{}: {other:?}", attribute.key),
            })
            .collect();
        assert_eq!(span.name, "plimsoll.run");
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 300_306_000_000);
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(StatusCode::Error.into()));
        let expected =
            [("scenario", "sustained"), ("target", "ollama"), ("verdict", "fail"), ("planned", "12"), ("sent", "11")];
        for (key, value) in expected {
            assert_eq!(attributes[key], value, "{key}");
        }
        assert_eq!(attributes["run_id"], testing::summary(Verdict::Fail).run_id);
    }
}
