//! What a run comes to: its document, judged.

use super::Run;
use crate::{
    judge::Abort,
    load::{
        judging::{self, Conclusion},
        report::{self, Facts},
        stop::Cause,
    },
    model::{
        clock::Now,
        run::{Aborted, GeneratorReport, RunSummary},
        scenario::Intent,
        units,
    },
};

impl Run {
    /// A fault of our own that cost measurements.
    fn crashed(&self) -> Option<String> {
        let count = self.recorder.crash_count();
        (count > 0).then(|| {
            let times = if count == 1 { "once" } else { "repeatedly" };
            format!(
                "a fault in Plimsoll itself ended an iteration {times} ({count}); the log says where: please report it"
            )
        })
    }

    /// Users that did not come past their `on_start` are the target's failure, whatever the others measured: no rate holds
    /// them. Where rejections are wanted they may be meant, and only the loss of all of them counts.
    fn not_begun(&self, sent: u64) -> Option<String> {
        let (count, why) = self.recorder.lost_users()?;
        if sent == 0 {
            return Some(format!("no user came past `on_start`: {why}"));
        }
        let users = if count == 1 { "user" } else { "users" };
        (self.request.scenario.intent != Intent::Overload)
            .then(|| format!("{count} {users} did not come past `on_start`: {why}"))
    }

    /// Ends the run; what ends it first is what is told. Once its plan is over there is nothing left to be ended: what is
    /// unanswered has the grace as always, and the threshold is judged at the end.
    pub(super) fn abort(&self, abort: &Abort) {
        if self.stop.is_over() {
            return;
        }
        let thresholds = &self.request.scenario.thresholds;
        let found = thresholds.iter().find(|threshold| threshold.name == abort.threshold);
        self.aborted.replace(Some(Aborted {
            threshold: abort.threshold.to_string(),
            expr: found.map(|threshold| threshold.source.to_string()).unwrap_or_default(),
            at_s: self.since_load(),
        }));
        self.stop.drain(Cause::Abort);
    }

    pub(super) fn summary(&self, started: Now, ended: Now, cpu_before: f64, trouble: Option<String>) -> RunSummary {
        if let Some(recovery) = &*self.recovery.borrow() {
            self.current.borrow_mut().findings.recovery_s = recovery.finding();
        }
        let judged = self.current.borrow();
        let mut ledger = self.earlier.borrow().clone();
        ledger.merge(&judged);
        let seconds = ended.mono.saturating_duration_since(started.mono).as_secs_f64();
        let (rss_bytes, open_fds) = judging::process_figures();
        let facts = Facts {
            run_id: self.request.run_id.clone(),
            trigger: self.request.trigger,
            due: self.request.due,
            started: started.wall,
            ended: ended.wall,
            generator: GeneratorReport {
                valid: true,
                cpu_ratio: if seconds > 0.0 { (judging::cpu_seconds() - cpu_before) / seconds } else { 0.0 },
                rss_bytes,
                open_fds,
                samples_lost: judged.samples_lost,
                clock_steps: self.clock_steps.get(),
                reasons: Vec::new(),
            },
            first_failure: self.recorder.first_failure(),
        };
        let mut summary = report::summarise(&self.request.scenario, &ledger, facts);
        // A rate is of the window in which it was measured.
        summary.throughput_per_s = report::throughput(&judged);
        summary.measured = report::measured(&ledger, &judged);
        summary.environment = Some(judging::environment());
        let findings = self.findings.borrow().clone();
        (summary.limit, summary.search) = (findings.limit, findings.search);
        summary.events = self.event_reports();
        // By a clock that nobody sets.
        summary.duration_s = seconds;
        let conclusion = Conclusion {
            scenario: &self.request.scenario,
            data: &judged,
            history: &self.request.history,
            windows: &self.windows.borrow(),
            interrupted: self.stop.cause() == Some(Cause::Person),
            left_changed: self.left_changed.borrow().clone(),
            trouble: trouble
                .or_else(|| self.crashed())
                .or_else(|| self.not_begun(summary.sent))
                .or_else(|| self.event_trouble()),
        };
        judging::conclude(&mut summary, &conclusion);
        summary.aborted.clone_from(&self.aborted.borrow());
        if let Some(aborted) = &summary.aborted {
            let at = units::human_seconds(aborted.at_s);
            summary.reasons.push(format!("ended early, {at} into its load: {} has `abort_on_fail`", aborted.expr));
        }
        if let Some((count, why)) = self.recorder.lost_users() {
            let users = if count == 1 { "user" } else { "users" };
            summary.hints.push(format!("{count} {users} ended before the first iteration: `on_start`: {why}"));
        }
        if self.recorder.trim_count() > 0 {
            let times = self.recorder.trim_count();
            summary
                .hints
                .push(format!("lists of `state` were too long {times} times: they keep 256 values of 256 KiB"));
        }
        summary.hints.extend(self.events_not_reached());
        summary.hints.extend(self.recorder.held_back_by());
        summary
    }
}
