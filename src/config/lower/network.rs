//! `network`: clients that are far, slow or gone; and `events`: what is done beside the load.

use std::{sync::Arc, time::Duration};

use super::{At, Lower, Scope, group::lengths, load::length};
use crate::{
    config::raw,
    model::{
        scenario::{AbortSpec, Arrangement, Executor, Group, NetworkSpec, Repeat, Step, Target, TimedEvent},
        units,
    },
};

/// Shares of clients are exact in steps of 0.01%.
const STEPS: u32 = 10_000;

/// The loads of a scenario, and how they follow each other.
type Course<'a> = (&'a [Arc<Group>], Arrangement, Repeat);

impl Lower<'_> {
    /// `network` and `events`. `known` is what `before` keeps.
    pub(super) fn around(
        &mut self,
        at: &At,
        raw: &raw::Scenario,
        target: Option<&Target>,
        known: &[String],
        course: Course<'_>,
    ) -> (Option<NetworkSpec>, Vec<TimedEvent>) {
        let network = self.network(&at.key("network"), raw.network.as_ref(), target, course.0);
        (network, self.events(&at.key("events"), raw.events.as_deref(), known, course))
    }

    fn network(
        &mut self,
        at: &At,
        raw: Option<&raw::Network>,
        target: Option<&Target>,
        groups: &[Arc<Group>],
    ) -> Option<NetworkSpec> {
        let raw = raw?;
        let delay = self.duration(&at.key("delay"), raw.delay.as_ref(), Duration::ZERO, Duration::ZERO);
        let jitter = self.duration(&at.key("jitter"), raw.jitter.as_ref(), Duration::ZERO, Duration::ZERO);
        let rate =
            |text: &Option<raw::BandwidthText>| text.as_ref().and_then(|text| units::parse_bandwidth(&text.0).ok());
        let (down, up) = (rate(&raw.down), rate(&raw.up));
        let abort = raw.abort.as_ref().map(|abort| self.abort(&at.key("abort"), abort, groups));
        let spec = NetworkSpec { delay, jitter, down, up, abort };
        if jitter > delay {
            let help =
                format!("write `jitter: {}` or less, or a longer `delay`", raw.delay.as_ref().map_or("0s", |d| &d.0));
            self.error(&at.key("jitter"), "`jitter` is longer than `delay`: nothing leaves before it is due", help);
        }
        if spec == NetworkSpec::default() && !self.troubled(at) {
            let help =
                "write `network: {delay: 80ms, jitter: 20ms}`, `down: 2Mbit/s` or `abort: {share: 2%, after: 500ms}`";
            self.key_error(at, "`network` says nothing", help);
        }
        let timeout = target.map_or(Duration::MAX, |target| target.http.timeout);
        if delay.saturating_add(jitter) >= timeout {
            self.error(
                &at.key("delay"),
                format!("no request is answered in time: its timeout is {}", human(timeout)),
                "write a shorter `delay`, or a longer `http: {timeout: …}` for the target",
            );
        } else if abort.is_some_and(|abort| abort.after >= timeout) {
            self.error(
                &at.key("abort").key("after"),
                format!("nobody is gone that late: a request is given up after {}", human(timeout)),
                "write a shorter `after`",
            );
        }
        let http = groups.iter().flat_map(|group| group.steps()).any(|step| step.http().is_some());
        let acquires = groups.iter().any(|group| matches!(group.load.executor, Executor::Limit(_)));
        if !groups.is_empty() && !http && !acquires {
            let help = "write a step with `get:` or `post:`, or leave `network` out";
            self.key_error(at, "`network` is about HTTP requests, and none is sent here", help);
        }
        Some(spec)
    }

    fn abort(&mut self, at: &At, raw: &raw::Abort, groups: &[Arc<Group>]) -> AbortSpec {
        for group in groups {
            let (what, why) = match group.load.executor {
                Executor::Probe { .. } => ("probe", "tells whether the target is well: it waits for its answer"),
                Executor::Limit(_) => ("limit", "gives back what it was given: it waits for every answer"),
                _ => continue,
            };
            let help = "leave `abort` out, or choose another executor";
            self.key_error(at, format!("the executor {what} {why}"), help);
        }
        let share = units::parse_quantity(&raw.share.0).map_or(0.0, |share| share.value);
        let marked = (share * f64::from(STEPS)).round();
        if (marked - share * f64::from(STEPS)).abs() > 1e-6 || marked < 1.0 || marked >= f64::from(STEPS) {
            let help = "write 0.01%, 2% or 12.5%";
            self.error(&at.key("share"), format!("`{}` is no whole number of 0.01%", raw.share.0), help);
        }
        let marked = (marked as u32).clamp(1, STEPS - 1);
        let common = gcd(marked, STEPS);
        let after = self.duration(&at.key("after"), Some(&raw.after), Duration::ZERO, Duration::ZERO);
        AbortSpec { marked: marked / common, of: STEPS / common, after }
    }

    /// In order of time. `known` is what `before` keeps.
    fn events(
        &mut self,
        at: &At,
        raw: Option<&[raw::Event]>,
        known: &[String],
        (groups, arrangement, repeat): Course<'_>,
    ) -> Vec<TimedEvent> {
        let planned = length(&lengths(groups), arrangement, repeat);
        let mut events = Vec::new();
        for (index, raw) in raw.into_iter().flatten().enumerate() {
            let at = at.index(index);
            let when = self.duration(&at.key("at"), Some(&raw.at), Duration::ZERO, Duration::ZERO);
            if !groups.is_empty() && when >= planned {
                let message = if planned.is_zero() {
                    "how long this load takes is not known: nothing can be done in the midst of it".to_owned()
                } else {
                    format!("by then the load is over: it takes {}", human(planned))
                };
                let help = "write an earlier `at`, or `before:` and `after:` for what is done around the load";
                self.error(&at.key("at"), message, help);
            }
            let mut names = known.to_vec();
            let act = self.event_step(&at.key("do"), &raw.act, &mut names);
            let undo = raw.undo.as_ref().map(|undo| self.event_step(&at.key("undo"), undo, &mut names));
            if let Some(act) = act {
                events.push(TimedEvent { at: when, act, undo: undo.flatten() });
            }
        }
        events.sort_by_key(|event| event.at);
        events
    }

    fn event_step(&mut self, at: &At, raw: &raw::Step, names: &mut Vec<String>) -> Option<Step> {
        let step = self.step(at, raw, Scope::Run(&names.clone()))?;
        names.extend(step.capture.iter().map(|capture| capture.name.to_string()));
        Some(step)
    }
}

fn human(time: Duration) -> String {
    units::human_seconds(time.as_secs_f64())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
