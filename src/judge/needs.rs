//! What is kept of each second for thresholds that are judged during the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    measure::{
        custom::Custom,
        data::{Iterations, RunData, Series},
    },
    model::{
        Name,
        expr::{Metric, Threshold},
    },
};

/// What thresholds ask for; the rest of a second is not kept.
#[derive(Debug, Default)]
pub(super) struct Needs {
    latency: bool,
    service_time: bool,
    timing: bool,
    send_lag: bool,
    iteration: bool,
    streams: bool,
    /// Stats and custom metrics.
    named: BTreeSet<Name>,
}

impl Needs {
    pub(super) fn of(thresholds: &[&Threshold]) -> Self {
        let mut needs = Self::default();
        for aggregate in thresholds.iter().flat_map(|threshold| threshold.aggregates()) {
            match &aggregate.metric {
                Metric::Latency => needs.latency = true,
                Metric::ServiceTime => needs.service_time = true,
                Metric::Timing => needs.timing = true,
                Metric::SendLag => needs.send_lag = true,
                Metric::Iteration => needs.iteration = true,
                Metric::Ttft | Metric::Itl | Metric::Tpot | Metric::Tokens | Metric::TokensPerS | Metric::Stalls => {
                    needs.streams = true;
                    // A custom metric may stand for it.
                    needs.named.insert(aggregate.metric.as_str().into());
                }
                Metric::Stat(name) => drop(needs.named.insert(name.clone())),
                _ => {}
            }
        }
        needs
    }

    /// What is needed of a second that lasted `window`.
    pub(super) fn strip(&self, second: &RunData, window: Duration) -> RunData {
        let keep = |series: &Series| Series {
            outcomes: series.outcomes,
            reasons: series.reasons.clone(),
            status: series.status.clone(),
            failed_status: series.failed_status.clone(),
            stream: series.stream.clone().filter(|_| self.streams),
            latency: if self.latency { series.latency.clone() } else { <_>::default() },
            service_time: if self.service_time { series.service_time.clone() } else { <_>::default() },
            timing: if self.timing { series.timing.clone() } else { <_>::default() },
            ..Series::default()
        };
        let iterations = |all: &Iterations| Iterations {
            counts: all.counts,
            time: if self.iteration { all.time.clone() } else { <_>::default() },
            span: all.span,
            plan: all.plan,
        };
        RunData {
            series: second.series.iter().map(|(key, series)| (key.clone(), keep(series))).collect(),
            dropped: second.dropped,
            iterations: second.iterations.iter().map(|(labels, all)| (labels.clone(), iterations(all))).collect(),
            send_lag: if self.send_lag { second.send_lag.clone() } else { <_>::default() },
            stats: self.only(&second.stats),
            custom: Custom {
                rates: self.only(&second.custom.rates),
                trends: self.only(&second.custom.trends),
                lost: second.custom.lost,
            },
            window,
            samples_lost: second.samples_lost,
            ..RunData::default()
        }
    }

    /// Those that are asked for by name.
    fn only<T: Clone>(&self, all: &BTreeMap<Name, T>) -> BTreeMap<Name, T> {
        let named = self.named.iter().filter_map(|name| Some((name.clone(), all.get(name)?.clone())));
        named.collect()
    }
}
