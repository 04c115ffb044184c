//! What a person sees while a run goes on: a bar on a terminal, a plain line now and then otherwise; on standard error,
//! so that the summary can be piped.

use super::{out::say, run::Watch};
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    load::plan::Outline,
    measure::data::RunData,
    model::{
        clock,
        units::{Unit, human, human_seconds},
    },
};

/// Between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of one run.
pub(super) struct Progress {
    name: String,
    total: RunData,
    planned: Option<u64>,
    /// Planned length: what the bar shows where the number of iterations is not known.
    seconds: u64,
    start: Instant,
    last_line: Instant,
    show: Show,
}

enum Show {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    pub(super) fn new(name: &str, plan: &Outline, watch: &Watch<'_>) -> Self {
        let start = clock::mono();
        let seconds = plan.duration.map_or(0, |length| length.as_secs());
        let show = if watch.quiet {
            Show::Nothing
        } else if std::io::stderr().is_terminal() && !watch.plain {
            let bar = ProgressBar::new(plan.iterations.unwrap_or(seconds));
            let style = ProgressStyle::with_template("{prefix}  {bar:30.cyan/blue} {percent:>3} %  {elapsed}  {msg}")
                .expect("the template is constant and valid");
            bar.set_style(style);
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            Show::Bar(bar)
        } else {
            Show::Lines
        };
        Self {
            name: name.to_owned(),
            total: RunData::default(),
            planned: plan.iterations,
            seconds,
            start,
            last_line: start,
            show,
        }
    }

    /// Takes in what was measured since the last call.
    pub(super) fn second(&mut self, data: &RunData, active: u64) {
        self.total.merge(data);
        let iterations = self.total.all_iterations().counts;
        let done = iterations.completed + iterations.failed + iterations.interrupted + self.total.dropped();
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                let elapsed = (clock::mono() - self.start).as_secs().min(self.seconds);
                bar.set_position(self.planned.map_or(elapsed, |planned| done.min(planned)));
                bar.set_message(self.figures(active));
            }
            Show::Lines => {
                let now = clock::mono();
                if now - self.last_line >= LINE_EVERY {
                    self.last_line = now;
                    let elapsed = human_seconds((now - self.start).as_secs_f64());
                    let of = self.planned.map_or(String::new(), |planned| format!(" of {planned}"));
                    say!("{}  {elapsed}  {done}{of} iterations  {}", self.name, self.figures(active));
                }
            }
        }
    }

    fn figures(&self, active: u64) -> String {
        let total = self.total.total();
        let counts = total.counts();
        let p95 = total.latency[0].quantile(0.95).map_or(String::new(), |p95| format!(", p95 {}", human_seconds(p95)));
        let rejected = if counts.answered() > 0 { counts.rejected as f64 / counts.answered() as f64 } else { 0.0 };
        format!(
            "ok {}, rejected {} ({}), failed {}, in flight {active}{p95}",
            counts.ok,
            counts.rejected,
            human(rejected, Unit::Ratio),
            counts.failed
        )
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }
}
