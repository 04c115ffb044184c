//! The metric families, read from `catalogue.tsv`: whoever adds a family writes one line there and one variant here.

use std::{fmt::Write as _, sync::LazyLock};

/// The table itself; documentation and dashboards are checked against it too.
pub const TABLE: &str = include_str!("catalogue.tsv");

/// What kind of figure a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; exact.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in cumulative buckets.
    Histogram,
    /// One series per state: 1 for the state that holds.
    StateSet,
    /// Always 1; the labels are the message.
    Info,
}

/// Upper bounds of L: latencies, 1 ms to 2 min.
const L: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 7.5,
    10.0, 15.0, 20.0, 30.0, 60.0, 120.0,
];
/// Upper bounds of P: parts of a request, 0.5 ms to 30 s.
const P: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of F: our own lateness, 0.1 ms to 1 s.
const F: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// One line of the catalogue.
#[derive(Debug)]
pub struct Spec {
    /// Name in Prometheus.
    pub name: &'static str,
    /// What kind of figure it is.
    pub kind: Kind,
    /// Name in OTLP; the Prometheus name follows from it, its unit and its kind.
    pub otlp: &'static str,
    /// UCUM unit; empty for none.
    pub unit: &'static str,
    /// Label names, in the order in which values are given.
    pub labels: Vec<&'static str>,
    /// Upper bounds of a histogram's buckets, ascending, without infinity.
    pub bounds: &'static [f64],
    /// What it means, one sentence or two.
    pub help: &'static str,
}

impl Spec {
    fn parse(line: &'static str) -> Option<Self> {
        let [name, kind, otlp, unit, labels, buckets, help] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
        let kind = match kind {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "stateset" => Kind::StateSet,
            "info" => Kind::Info,
            _ => return None,
        };
        let bounds = match buckets {
            "L" => L,
            "P" => P,
            "F" => F,
            "" => &[],
            _ => return None,
        };
        let labels = labels.split(',').filter(|label| !label.is_empty()).collect();
        Some(Self { name, kind, otlp, unit, labels, bounds, help })
    }

    /// Lines of `/metrics` that one label set takes.
    pub fn lines(&self) -> usize {
        if self.kind == Kind::Histogram { self.bounds.len() + 3 } else { 1 }
    }
}

/// The lines of a catalogue, comments left out.
fn parse(table: &'static str) -> Vec<Spec> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| Spec::parse(line).unwrap_or_else(|| panic!("the catalogue has a bad line: {line}"))).collect()
}

macro_rules! families {
    ($($variant:ident = $name:literal,)*) => {
        /// A metric family.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Family {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Family {
            /// All families, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Name in Prometheus.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

families! {
    RequestLatency = "plimsoll_request_latency_seconds",
    RequestServiceTime = "plimsoll_request_service_time_seconds",
    RequestTiming = "plimsoll_request_timing_seconds",
    Requests = "plimsoll_requests_total",
    Rejections = "plimsoll_rejections_total",
    Failures = "plimsoll_failures_total",
    HttpResponses = "plimsoll_http_responses_total",
    Sent = "plimsoll_sent_bytes_total",
    Received = "plimsoll_received_bytes_total",
    ConnectionsOpened = "plimsoll_connections_opened_total",
    ConnectionsReused = "plimsoll_connections_reused_total",
    Reconnects = "plimsoll_reconnects_total",
    StepPolls = "plimsoll_step_polls_total",
    ActiveRequests = "plimsoll_active_requests",
    Arrivals = "plimsoll_arrivals_total",
    DroppedRequests = "plimsoll_dropped_requests_total",
    Iterations = "plimsoll_iterations_total",
    IterationDuration = "plimsoll_iteration_duration_seconds",
    ScheduleLag = "plimsoll_schedule_lag_seconds",
    HookRequests = "plimsoll_hook_requests_total",
    SamplesLost = "plimsoll_samples_lost_total",
    Runs = "plimsoll_runs_total",
    RunActive = "plimsoll_run_active",
    LastRunStatus = "plimsoll_last_run_status",
    LastRunTimestamp = "plimsoll_last_run_timestamp_seconds",
    LastSuccessTimestamp = "plimsoll_last_success_timestamp_seconds",
    LastRunDuration = "plimsoll_last_run_duration_seconds",
    LastRunLatency = "plimsoll_last_run_latency_seconds",
    LastRunRequests = "plimsoll_last_run_requests",
    LastRunThroughput = "plimsoll_last_run_throughput_per_second",
    ThresholdDurationValue = "plimsoll_threshold_duration_value_seconds",
    ThresholdDurationLimit = "plimsoll_threshold_duration_limit_seconds",
    ThresholdShareValue = "plimsoll_threshold_share_value_ratio",
    ThresholdShareLimit = "plimsoll_threshold_share_limit_ratio",
    ThresholdMemoryValue = "plimsoll_threshold_memory_value_bytes",
    ThresholdMemoryLimit = "plimsoll_threshold_memory_limit_bytes",
    ThresholdThroughputValue = "plimsoll_threshold_throughput_value_per_second",
    ThresholdThroughputLimit = "plimsoll_threshold_throughput_limit_per_second",
    ThresholdCountValue = "plimsoll_threshold_count_value",
    ThresholdCountLimit = "plimsoll_threshold_count_limit",
    ThresholdMargin = "plimsoll_threshold_margin_ratio",
    ThresholdBreached = "plimsoll_threshold_breached",
    TargetUp = "plimsoll_target_up",
    TargetPolls = "plimsoll_target_polls_total",
    TargetPollFailures = "plimsoll_target_poll_failures_total",
    TargetStat = "plimsoll_target_stat",
    CertificateExpiry = "plimsoll_tls_certificate_expiry_timestamp_seconds",
    AlertStatus = "plimsoll_alert_status",
    AlertTransitions = "plimsoll_alert_transitions_total",
    Notifications = "plimsoll_notifications_total",
    NotificationsFailed = "plimsoll_notifications_failed_total",
    NotificationQueueLength = "plimsoll_notification_queue_length",
    NotificationLatency = "plimsoll_notification_latency_seconds",
    NotificationLastSuccessTimestamp = "plimsoll_notification_last_success_timestamp_seconds",
    ScheduleNextRunTimestamp = "plimsoll_schedule_next_run_timestamp_seconds",
    ScheduleMissed = "plimsoll_schedule_missed_total",
    ScheduleStartDelay = "plimsoll_schedule_start_delay_seconds",
    ScenarioInfo = "plimsoll_scenario_info",
    Paused = "plimsoll_paused",
    StoreDegraded = "plimsoll_store_degraded",
    ConfigLastReloadSuccessful = "plimsoll_config_last_reload_successful",
    ConfigLastReloadSuccessTimestamp = "plimsoll_config_last_reload_success_timestamp_seconds",
    BuildInfo = "plimsoll_build_info",
    Series = "plimsoll_series",
    SeriesLimit = "plimsoll_series_limit",
    SeriesDropped = "plimsoll_series_dropped_total",
    ExpositionDuration = "plimsoll_exposition_duration_seconds",
    OtlpExports = "plimsoll_otlp_exports_total",
    OtlpExportFailures = "plimsoll_otlp_export_failures_total",
    ProcessCpu = "process_cpu_seconds_total",
    ProcessResidentMemory = "process_resident_memory_bytes",
    ProcessVirtualMemory = "process_virtual_memory_bytes",
    ProcessOpenFds = "process_open_fds",
    ProcessMaxFds = "process_max_fds",
    ProcessStartTime = "process_start_time_seconds",
}

impl Family {
    /// Its line of the catalogue.
    pub fn spec(self) -> &'static Spec {
        static SPECS: LazyLock<Vec<Spec>> = LazyLock::new(|| parse(TABLE));
        &SPECS[self as usize]
    }
}

/// The catalogue as a Markdown table, for the documentation.
pub fn markdown() -> String {
    let mut text = "| Prometheus | kind | OTLP, unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for family in Family::ALL {
        let Spec { name, kind, otlp, unit, labels, bounds, help } = family.spec();
        let kind = format!("{kind:?}").to_lowercase();
        let unit = if unit.is_empty() { String::new() } else { format!(", `{unit}`") };
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        let ends = match (bounds.first(), bounds.last()) {
            (Some(first), Some(last)) => format!(" ({} buckets, {first} s to {last} s)", bounds.len()),
            _ => String::new(),
        };
        let _ = writeln!(text, "| `{name}` | {kind}{ends} | `{otlp}`{unit} | {labels} | {help} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn families_and_lines_are_the_same_in_the_same_order() {
        let lines: Vec<_> = parse(TABLE).iter().map(|spec| spec.name).collect();
        let families: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
        assert_eq!(families, lines);
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "a name is there twice");
    }

    /// OpenTelemetry's translation of names to Prometheus (UnderscoreEscapingWithSuffixes), so that one dashboard
    /// serves scraped and pushed metrics.
    fn translated(spec: &Spec) -> String {
        let mut name = spec.otlp.replace('.', "_");
        let mut suffix = |word: &str| {
            if !name.ends_with(word) {
                name += word;
            }
        };
        match spec.unit {
            "s" => suffix("_seconds"),
            "By" => suffix("_bytes"),
            "1" if spec.kind == Kind::Gauge => suffix("_ratio"),
            unit if unit.ends_with("/s") => suffix("_per_second"),
            _ => {}
        }
        if spec.kind == Kind::Counter {
            suffix("_total");
        }
        name
    }

    #[test]
    fn names_follow_from_otlp() {
        for spec in Family::ALL.iter().map(|family| family.spec()).filter(|spec| spec.name.starts_with("plimsoll_")) {
            assert_eq!(translated(spec), spec.name);
        }
    }

    #[test]
    fn every_line_is_well_formed() {
        for spec in Family::ALL.iter().map(|family| family.spec()) {
            assert_eq!(spec.kind == Kind::Histogram, !spec.bounds.is_empty(), "{}", spec.name);
            assert!(spec.bounds.windows(2).all(|pair| pair[0] < pair[1]), "{}", spec.name);
            assert!(spec.help.ends_with('.'), "{}: a help text is a sentence", spec.name);
            assert_eq!(spec.kind == Kind::Counter, spec.name.ends_with("_total"), "{}", spec.name);
        }
    }

    #[test]
    fn the_documentation_shows_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let (begin, end) = ("<!-- catalogue -->\n", "<!-- /catalogue -->\n");
        let page = std::fs::read_to_string(path).expect("docs/metrics.md is there");
        let (head, rest) = page.split_once(begin).expect("has a begin mark");
        let (table, tail) = rest.split_once(end).expect("has an end mark");
        let wanted = markdown();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, format!("{head}{begin}{wanted}{end}{tail}")).expect("can be written");
        } else {
            assert_eq!(table, wanted, "docs/metrics.md is out of date: run this test with UPDATE=1");
        }
    }
}
