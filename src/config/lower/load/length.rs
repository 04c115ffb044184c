//! How long loads are planned to take.

use std::{sync::Arc, time::Duration};

use crate::model::scenario::{Arrangement, BurstGap, Executor, Group, LevelEnd, Repeat};

/// The planned length of all groups, repeats included; what the plan does not bound counts nothing.
pub(in crate::config::lower) fn length(groups: &[Duration], arrangement: Arrangement, repeat: Repeat) -> Duration {
    let once = match arrangement {
        Arrangement::Sequence => groups.iter().fold(Duration::ZERO, |sum, next| sum.saturating_add(*next)),
        Arrangement::SideBySide => groups.iter().copied().max().unwrap_or_default(),
    };
    let pauses = repeat.pause.saturating_mul(repeat.times.saturating_sub(1));
    once.saturating_mul(repeat.times).saturating_add(pauses)
}

/// How long groups take that are answered at once: those that may then end sooner than planned count for nothing.
pub(in crate::config::lower) fn surely(groups: &[Arc<Group>], arrangement: Arrangement, repeat: Repeat) -> Duration {
    let lasts = |group: &Group| match &group.load.executor {
        Executor::PerVuIterations { .. }
        | Executor::SharedIterations { .. }
        | Executor::Search(_)
        | Executor::SteppedVus { each: LevelEnd::Iterations { .. }, .. } => Duration::ZERO,
        _ => of(group),
    };
    let lengths: Vec<_> = groups.iter().map(|group| lasts(group)).collect();
    length(&lengths, arrangement, repeat)
}

/// The planned length of a group's load.
pub(in crate::config::lower) fn of(group: &Group) -> Duration {
    match &group.load.executor {
        Executor::Probe { .. } | Executor::Limit(_) => Duration::ZERO,
        Executor::PerVuIterations { max_duration, .. } | Executor::SharedIterations { max_duration, .. } => {
            *max_duration
        }
        Executor::ConstantVus { duration, .. } | Executor::ConstantArrivalRate { duration, .. } => *duration,
        Executor::RampingVus { stages, .. } => sum(stages.iter().map(|stage| stage.duration)),
        Executor::RampingArrivalRate { stages, .. } => sum(stages.iter().map(|stage| stage.duration)),
        Executor::SteppedVus { levels, each, pause, .. } => {
            let (LevelEnd::Duration(one) | LevelEnd::Iterations { max_duration: one, .. }) = each;
            let levels = levels.len() as u32;
            one.saturating_mul(levels).saturating_add(pause.saturating_mul(levels.saturating_sub(1)))
        }
        Executor::Burst { repeat, gap, .. } => {
            let (BurstGap::Every(gap) | BurstGap::Pause(gap)) = gap;
            gap.saturating_mul(u32::try_from(repeat.saturating_sub(1)).unwrap_or(u32::MAX))
        }
        Executor::Users { users, spawn_rate, hold_for, ramp_down } => {
            let spawning = Duration::try_from_secs_f64(f64::from(*users) / spawn_rate.per_second());
            spawning.unwrap_or(Duration::MAX).saturating_add(*hold_for).saturating_add(*ramp_down)
        }
        Executor::Search(spec) => spec.deadline,
    }
}

fn sum(parts: impl Iterator<Item = Duration>) -> Duration {
    parts.fold(Duration::ZERO, Duration::saturating_add)
}
