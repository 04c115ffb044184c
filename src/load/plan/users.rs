//! Locust's users: they come one by one, stay together for the time that is measured, and leave one by one.

use std::time::Duration;

use super::uniform::Uniform;
use crate::model::units::Rate;

/// The coming and going of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    spawn: Uniform,
    count: u32,
    hold: Duration,
    ramp_down: Duration,
}

impl Users {
    /// `users` that come at `spawn_rate`, are all there for `hold`, and leave evenly within `ramp_down`.
    pub fn new(users: u32, spawn_rate: Rate, hold: Duration, ramp_down: Duration) -> Self {
        Self { spawn: Uniform::new(spawn_rate, Duration::ZERO), count: users, hold, ramp_down }
    }

    /// How many.
    pub fn users(&self) -> u32 {
        self.count
    }

    /// When the user (from 0) comes: `user / spawn_rate`.
    pub fn comes(&self, user: u32) -> Duration {
        self.spawn.offset(u64::from(user))
    }

    /// When the last has come: the measured window begins.
    pub fn all_there(&self) -> Duration {
        self.comes(self.count.saturating_sub(1))
    }

    /// When the measured window ends and the first leaves.
    pub fn hold_ends(&self) -> Duration {
        self.all_there() + self.hold
    }

    /// When the user (from 0) starts its last iteration at the latest; who came last leaves first.
    pub fn leaves(&self, user: u32) -> Duration {
        let gone = u128::from(self.count - user.min(self.count));
        let ns = self.ramp_down.as_nanos() * gone / u128::from(self.count.max(1));
        self.hold_ends() + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// The whole of it.
    pub fn length(&self) -> Duration {
        self.hold_ends() + self.ramp_down
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn users(users: u32, per_s: f64, hold: u64, down: u64) -> Users {
        let rate = Rate { count: per_s, per: Duration::from_secs(1) };
        Users::new(users, rate, Duration::from_secs(hold), Duration::from_secs(down))
    }

    #[test]
    fn a_thousand_at_ten_a_second() {
        let plan = users(1000, 10.0, 300, 30);
        assert_eq!(plan.comes(0), Duration::ZERO);
        assert_eq!(plan.comes(7), Duration::from_millis(700));
        assert_eq!(plan.all_there(), Duration::from_millis(99_900));
        assert_eq!(plan.hold_ends(), Duration::from_millis(399_900));
        assert_eq!(plan.leaves(999), Duration::from_millis(399_930));
        assert_eq!(plan.leaves(0), plan.length());
        assert_eq!(plan.length(), Duration::from_millis(429_900));
        assert_eq!(users(10, 10.0, 1, 0).leaves(3), users(10, 10.0, 1, 0).hold_ends());
    }

    proptest! {
        #[test]
        fn all_are_there_while_it_is_measured(count in 1u32..20_000, per_s in 0.1f64..2000.0, hold in 0u64..100, down in 0u64..100, user: u32) {
            let plan = users(count, per_s, hold, down);
            let user = user % count;
            prop_assert!(plan.comes(user) <= plan.all_there());
            prop_assert!(plan.leaves(user) >= plan.hold_ends());
            prop_assert!(plan.leaves(user) <= plan.length());
            if user > 0 {
                prop_assert!(plan.comes(user) >= plan.comes(user - 1));
                prop_assert!(plan.leaves(user) <= plan.leaves(user - 1));
            }
        }
    }
}
