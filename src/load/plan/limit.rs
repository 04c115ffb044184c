//! A limit on what may be held at once, tried from all sides: fill it, exceed it, free a place, take it again; and before all
//! that, everybody at once.

use crate::model::scenario::LimitSpec;

/// Releases under way at once.
pub const RELEASES_AT_ONCE: u32 = 32;

/// What is to be tried, for each user alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Acquired and held.
    pub hold: u32,
    /// Tried beyond.
    pub over: u32,
    /// Released, and tried again.
    pub free: u32,
    /// Tried at once before anything is held; 0 = not at all.
    pub race: u32,
    /// Other users that acquire one each while the others are at their limit.
    pub bystanders: u32,
    /// Users with a limit of their own each; 1 = one limit for all.
    pub users: u32,
    /// How often all of it.
    pub cycles: u32,
}

/// Where an acquisition belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All at once.
    Race,
    /// Up to the limit.
    Hold,
    /// Beyond it.
    Over,
    /// By others.
    Bystander,
    /// Of what was freed.
    Retry,
}

impl Part {
    /// All parts, in the order in which they happen.
    pub const ALL: [Self; 5] = [Self::Race, Self::Hold, Self::Over, Self::Bystander, Self::Retry];

    /// The word used in selectors and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Over => "over",
            Self::Bystander => "bystander",
            Self::Retry => "retry",
            Self::Race => "race",
        }
    }
}

/// One act; the next begins when all requests of this one are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Each of `users` acquires `each`.
    Acquire {
        /// Where it belongs.
        part: Part,
        /// First user, from 1.
        first_user: u32,
        /// How many users.
        users: u32,
        /// Acquisitions of each.
        each: u32,
        /// All leave at the same instant; otherwise one after the other for each user.
        together: bool,
    },
    /// Each user releases `each` of what it holds, the oldest first.
    Release {
        /// Releases of each user; what it does not hold is not released.
        each: u32,
    },
    /// All that is held is released.
    ReleaseAll,
}

impl From<&LimitSpec> for Limit {
    fn from(spec: &LimitSpec) -> Self {
        Self {
            hold: spec.hold,
            over: spec.over,
            free: spec.free,
            race: spec.race,
            bystanders: spec.bystanders,
            users: spec.per_user.unwrap_or(1),
            cycles: spec.cycles,
        }
    }
}

impl Limit {
    /// One cycle.
    pub fn acts(&self) -> Vec<Act> {
        let users = self.users.max(1);
        let acquire = |part, each, together| Act::Acquire { part, first_user: 1, users, each, together };
        let mut acts = Vec::new();
        if self.race > 0 {
            acts.extend([acquire(Part::Race, self.race, true), Act::ReleaseAll]);
        }
        acts.extend([acquire(Part::Hold, self.hold, false), acquire(Part::Over, self.over, false)]);
        acts.push(Act::Acquire {
            part: Part::Bystander,
            first_user: users + 1,
            users: self.bystanders,
            each: 1,
            together: false,
        });
        acts.push(Act::Release { each: self.free });
        acts.push(acquire(Part::Retry, self.free, false));
        acts.push(Act::ReleaseAll);
        acts.retain(|act| {
            !matches!(act, Act::Acquire { users: 0, .. } | Act::Acquire { each: 0, .. } | Act::Release { each: 0 })
        });
        acts
    }

    /// Acquisitions in all; releases are in no count.
    pub fn total(&self) -> u64 {
        let each = |act: Act| match act {
            Act::Acquire { users, each, .. } => u64::from(users) * u64::from(each),
            Act::Release { .. } | Act::ReleaseAll => 0,
        };
        self.acts().into_iter().map(each).sum::<u64>() * u64::from(self.cycles)
    }

    /// Most requests unanswered at once, releases included.
    pub fn concurrency(&self) -> u32 {
        let at_once = |act: Act| match act {
            Act::Acquire { users, each, together: true, .. } => users.saturating_mul(each),
            Act::Acquire { users, .. } => users,
            Act::Release { each } => each.min(RELEASES_AT_ONCE),
            Act::ReleaseAll => self.held().min(RELEASES_AT_ONCE),
        };
        self.acts().into_iter().map(at_once).max().unwrap_or(0)
    }

    /// Most places held at once, where the target gives out as many as it is asked for. Each keeps its connection.
    pub fn held(&self) -> u32 {
        let (users, mut held, mut most) = (self.users.max(1), 0u32, 0);
        for act in self.acts() {
            held = match act {
                Act::Acquire { users, each, .. } => held.saturating_add(users.saturating_mul(each)),
                Act::Release { each } => held.saturating_sub(users.saturating_mul(each)),
                Act::ReleaseAll => 0,
            };
            most = held.max(most);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(limit: Limit) -> String {
        let tell = |act: Act| match act {
            Act::Acquire { part, first_user, users, each, together } => {
                format!("{} {users}@{first_user}x{each}{}", part.as_str(), if together { " at once" } else { "" })
            }
            Act::Release { each } => format!("free {each}"),
            Act::ReleaseAll => "free all".to_owned(),
        };
        format!("{}; {}", limit.acts().into_iter().map(tell).collect::<Vec<_>>().join(", "), limit.total())
    }

    #[test]
    fn acts() {
        let plain = Limit { hold: 10, over: 1, free: 1, race: 0, bystanders: 0, users: 1, cycles: 1 };
        let check = |limit, expected: &str| assert_eq!(told(limit), expected);
        check(plain, "hold 1@1x10, over 1@1x1, free 1, retry 1@1x1, free all; 12");
        check(Limit { over: 0, free: 0, cycles: 3, ..plain }, "hold 1@1x10, free all; 30");
        check(
            Limit { hold: 3, race: 6, bystanders: 1, users: 4, ..plain },
            "race 4@1x6 at once, free all, hold 4@1x3, over 4@1x1, bystander 1@5x1, free 1, retry 4@1x1, free all; 45",
        );
        assert_eq!(Limit { race: 40, users: 4, ..plain }.concurrency(), 160);
        assert_eq!((plain.concurrency(), plain.held()), (11, 11));
        assert_eq!(Limit { hold: 5000, ..plain }.concurrency(), 32);
        assert_eq!(Limit { hold: 3, race: 6, bystanders: 1, users: 4, ..plain }.held(), 24);
    }
}
