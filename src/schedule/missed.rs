//! All due instants up to now, in bounded form: after a year of downtime a plan of one second has thirty million.

use jiff::{SignedDuration, Timestamp};

use super::Plan;

/// Rows per scenario; the last of them counts the rest.
pub(super) const MAX_ROWS: usize = 1000;

/// Instants that are looked at one by one in one call, over all scenarios; beyond it counts are lower bounds.
pub(super) const BUDGET: u32 = 200_000;

/// The due instants of one scenario from a first one up to now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// All before the newest, oldest first; each with the number of instants between it and the row before, which it
    /// stands for too (0 but for the last row).
    pub(super) older: Vec<(Timestamp, u64)>,
    /// The newest.
    pub(super) newest: Timestamp,
}

/// What came due from `first` (itself due, at or before `now`) up to `now`.
pub(super) fn passed(plan: &Plan, first: Timestamp, now: Timestamp, budget: &mut u32) -> Passed {
    let mut older = Vec::new();
    let mut newest = first;
    while let Some(next) = plan.next(newest).filter(|next| *next <= now) {
        if older.len() + 2 >= MAX_ROWS || *budget == 0 {
            let last = latest(plan, newest, now);
            let tail = latest(plan, newest, last - SignedDuration::from_nanos(1));
            older.push((newest, 0));
            if tail > newest {
                older.push((tail, count_between(plan, newest, tail, budget)));
            }
            return Passed { older, newest: last };
        }
        *budget -= 1;
        older.push((newest, 0));
        newest = next;
    }
    Passed { older, newest }
}

/// The latest due instant at or before `until`, given one that is; by bisection, so that sparse and dense plans cost
/// the same.
fn latest(plan: &Plan, known: Timestamp, until: Timestamp) -> Timestamp {
    let mut newest = known;
    // Nothing is due in (beyond, until].
    let mut beyond = until.max(known);
    loop {
        let middle = newest + beyond.duration_since(newest) / 2;
        match plan.next(middle).filter(|next| *next <= until) {
            Some(next) => newest = next,
            None if middle == newest => return newest,
            None => beyond = middle,
        }
    }
}

/// Due instants strictly between two; a lower bound once the budget is used up.
fn count_between(plan: &Plan, after: Timestamp, until: Timestamp, budget: &mut u32) -> u64 {
    if let Some(count) = plan.count_between(after, until) {
        return count;
    }
    let (mut at, mut count) = (after, 0);
    while *budget > 0 {
        match plan.next(at).filter(|next| *next < until) {
            Some(next) => (at, count) = (next, count + 1),
            None => break,
        }
        *budget -= 1;
    }
    count
}
