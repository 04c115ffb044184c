//! The course of a run as a whole: repeats, warm-up, and whether all of it together is within the policy.

use std::{sync::Arc, time::Duration};

use super::{
    At, Lower,
    group::lengths,
    load::{length, length_of},
};
use crate::{
    config::{expr, raw},
    model::{
        scenario::{Arrangement, Executor, Group, Repeat},
        schedule::{Overlap, ScheduleSpec},
        settings::Policy,
        units,
    },
};

impl Lower<'_> {
    pub(super) fn repeat(&mut self, at: &At, raw: Option<&raw::Repeat>) -> Repeat {
        let Some(raw) = raw else { return Repeat::default() };
        let pause = self.duration(&at.key("pause"), raw.pause.as_ref(), Duration::ZERO, Duration::ZERO);
        Repeat { times: raw.times, pause }
    }

    /// Whether all of it together is longer than the policy allows; a single load that is has been noted.
    pub(super) fn length_within(
        &mut self,
        at: &At,
        raw: &raw::Scenario,
        groups: &[Arc<Group>],
        arrangement: Arrangement,
        repeat: Repeat,
        policy: &Policy,
    ) {
        let lengths = lengths(groups);
        let total = length(&lengths, arrangement, repeat);
        let alone = groups.len() == 1 && repeat.times == 1;
        let counted = groups.iter().all(|group| {
            matches!(
                group.load.executor,
                Executor::RampingVus { .. }
                    | Executor::RampingArrivalRate { .. }
                    | Executor::SteppedVus { .. }
                    | Executor::Users { .. }
                    | Executor::Burst { .. }
            )
        });
        if total <= policy.max_duration || lengths.iter().any(|one| *one > policy.max_duration && !counted) {
            return;
        }
        let key = if raw.repeat.is_some() {
            "repeat"
        } else if raw.phases.is_some() {
            "phases"
        } else if raw.users.is_some() {
            "users"
        } else {
            "load"
        };
        let (total, most) = (total.as_secs_f64(), policy.max_duration.as_secs_f64());
        let (total, most) = (units::human_seconds(total), units::human_seconds(most));
        let whole = if alone { "it" } else { "all of it together" };
        self.key_error(
            &at.key(key),
            format!("{whole} takes {total}, which is above the policy's {most}"),
            "write a shorter run, or a longer `policy: {max_duration: …}` if you may",
        );
    }

    /// Says so where a run takes longer than it is to the next: every start in between is skipped, on each day.
    pub(super) fn outlasts(&mut self, at: &At, schedule: &ScheduleSpec, total: Duration, scenario: &str) {
        let total = schedule.timeout.map_or(total, |most| most.min(total));
        let gap = expr::shortest_gap(schedule, scenario).filter(|_| schedule.overlap == Overlap::Skip);
        let Some(gap) = gap.filter(|gap| total >= *gap) else { return };
        let said = |time: Duration| units::human_seconds(time.as_secs_f64());
        let message = format!(
            "a run takes {}, and the next is due after {}: what is due while it goes on is skipped",
            said(total),
            said(gap)
        );
        self.warning(&at.key("schedule"), message, "write a shorter load or a longer interval, or `overlap: queue`");
    }

    pub(super) fn warmup(&mut self, at: &At, raw: Option<&raw::DurationText>, groups: &[Arc<Group>]) -> Duration {
        let warmup = self.duration(at, raw, Duration::ZERO, Duration::ZERO);
        let shortest = groups.iter().map(|group| length_of(group)).filter(|length| !length.is_zero()).max();
        if raw.is_some() && shortest.is_some_and(|length| warmup >= length) {
            let help = "write a shorter `warmup`, or a longer load";
            self.error(at, "nothing is judged: the warm-up is as long as the load", help);
        }
        warmup
    }
}
