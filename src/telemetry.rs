//! One catalogue of metrics, shown as Prometheus text and as OTLP.
