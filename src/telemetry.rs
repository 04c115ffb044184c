//! One catalogue of metrics, shown as Prometheus text and as OTLP.
//!
//! `catalogue.tsv` is the single source of names, help, types, units and labels. [`metrics::Metrics`] is an owned value
//! that the daemon's one owner updates; once a second it publishes a [`series::Snapshot`], and everything that leaves the
//! process (`/metrics`, OTLP) is rendered from that, so that both say the same and neither touches what is being measured.

pub mod catalogue;
pub mod exposition;
pub mod log;
pub mod metrics;
pub mod otlp;
pub mod own;
pub mod process;
pub mod series;
pub mod traces;
