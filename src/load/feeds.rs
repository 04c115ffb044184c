//! Rows of data: which row an iteration takes. All users of a run take from the same feeds, one row of each feed that
//! their task uses per iteration (pure).

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use rand::{SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};

use crate::{
    http::scope::Row,
    model::{
        Name,
        scenario::{Feed, FeedEnd, FeedOrder, Group},
        template::draw,
    },
};

/// The feeds of a run.
#[derive(Debug, Default)]
pub struct Feeds {
    all: Vec<(Name, Arc<Feed>)>,
    cursors: RefCell<Vec<Cursor>>,
    seed: u64,
}

/// How far a feed was read.
#[derive(Debug, Clone, Default)]
struct Cursor {
    taken: u64,
    /// The rows of this round, shuffled.
    order: Vec<u32>,
}

impl Feeds {
    /// None was read yet.
    pub fn new(data: &BTreeMap<Name, Arc<Feed>>, seed: u64) -> Rc<Self> {
        let all: Vec<_> = data.iter().map(|(name, feed)| (name.clone(), feed.clone())).collect();
        let cursors = RefCell::new(vec![Cursor::default(); all.len()]);
        Rc::new(Self { all, cursors, seed })
    }

    /// Whether a feed that ends the load has no rows left.
    fn is_over(&self, index: usize) -> bool {
        let feed = &self.all[index].1;
        let ends = feed.on_end == FeedEnd::Stop && feed.order != FeedOrder::Random;
        ends && self.cursors.borrow()[index].taken >= feed.rows.len() as u64
    }

    /// The next row. One that is drawn at random never runs out.
    fn take(&self, index: usize) -> Row {
        let (name, feed) = &self.all[index];
        let cursor = &mut self.cursors.borrow_mut()[index];
        let (turn, rows) = (cursor.taken, feed.rows.len() as u64);
        cursor.taken += 1;
        let (round, place) = (turn / rows, turn % rows);
        let over = round > 0 && feed.on_end != FeedEnd::Cycle;
        let salt = 1 << 32 | index as u64;
        let found = match feed.order {
            FeedOrder::Random => Some(draw(self.seed, turn, salt) % rows),
            _ if over => None,
            FeedOrder::Sequence => Some(place),
            FeedOrder::Shuffle => {
                if place == 0 {
                    cursor.order = (0..rows as u32).collect();
                    cursor.order.shuffle(&mut SmallRng::seed_from_u64(draw(self.seed, round, salt)));
                }
                Some(u64::from(cursor.order[place as usize]))
            }
        };
        Row { feed: name.clone(), of: feed.clone(), index: found.map(|index| index as usize) }
    }
}

/// Which feeds the tasks of a group take from.
#[derive(Debug, Clone, Default)]
pub struct Takes {
    /// Of the whole run.
    pub feeds: Rc<Feeds>,
    /// By task.
    used: Rc<[Vec<usize>]>,
}

impl Takes {
    /// What the tasks of `group` take.
    pub fn of(feeds: &Rc<Feeds>, group: &Group) -> Self {
        let used = |names: &[String]| {
            let places = feeds.all.iter().enumerate();
            let uses = |feed: &str| names.iter().any(|name| name == "data" || name.split('.').nth(1) == Some(feed));
            places.filter(|(_, (name, _))| uses(name)).map(|(index, _)| index).collect()
        };
        let of_task = |steps: &[crate::model::scenario::Step]| {
            let names: Vec<String> = steps.iter().flat_map(|step| step.reads("data")).collect();
            used(&names)
        };
        let used = if feeds.all.is_empty() {
            Rc::default()
        } else {
            group.tasks.iter().map(|task| of_task(&task.steps)).collect()
        };
        Self { feeds: feeds.clone(), used }
    }

    fn used(&self, task: usize) -> &[usize] {
        self.used.get(task).map_or(&[], Vec::as_slice)
    }

    /// Whether a feed of the task has no rows left and ends the load.
    pub fn is_over(&self, task: usize) -> bool {
        self.used(task).iter().any(|index| self.feeds.is_over(*index))
    }

    /// A row of each feed that the task uses.
    pub fn take(&self, task: usize) -> Vec<Row> {
        self.used(task).iter().map(|index| self.feeds.take(*index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(order: FeedOrder, on_end: FeedEnd, count: usize) -> Vec<Option<usize>> {
        let rows = (0..4).map(|n| json!({"n": n})).collect();
        let data = BTreeMap::from([("q".into(), Arc::new(Feed { rows, order, on_end }))]);
        let feeds = Feeds::new(&data, 7);
        (0..count).map(|_| feeds.take(0).index).collect()
    }

    #[test]
    fn rows_are_taken_in_their_order_until_they_end() {
        let check = |order, on_end, expected: &[Option<usize>]| {
            assert_eq!(taken(order, on_end, expected.len()), expected, "{order:?} {on_end:?}");
        };
        let all = [Some(0), Some(1), Some(2), Some(3)];
        check(FeedOrder::Sequence, FeedEnd::Cycle, &[&all[..], &all[..]].concat());
        check(FeedOrder::Sequence, FeedEnd::Fail, &[&all[..], &[None, None]].concat());
        check(FeedOrder::Sequence, FeedEnd::Stop, &[&all[..], &[None]].concat());
    }

    #[test]
    fn shuffled_rows_come_once_in_each_round_and_every_round_is_another() {
        let rows: Vec<usize> = taken(FeedOrder::Shuffle, FeedEnd::Cycle, 40).into_iter().flatten().collect();
        let rounds: Vec<Vec<usize>> = rows.chunks(4).map(<[usize]>::to_vec).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert!(rounds.iter().any(|round| *round != rounds[0]), "{rounds:?}");
        assert_eq!(taken(FeedOrder::Shuffle, FeedEnd::Cycle, 40), taken(FeedOrder::Shuffle, FeedEnd::Cycle, 40));
    }

    #[test]
    fn random_rows_never_run_out() {
        let rows: Vec<usize> = taken(FeedOrder::Random, FeedEnd::Stop, 400).into_iter().flatten().collect();
        assert_eq!(rows.len(), 400);
        for row in 0..4 {
            assert!(rows.iter().filter(|taken| **taken == row).count() > 60, "{row}");
        }
    }
}
