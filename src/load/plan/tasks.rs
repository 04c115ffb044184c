//! Which task a user does next: at random, but in the exact shares of the weights over all users, as Locust's dispatcher
//! keeps them. An urn holds each task as often as its weight says and is drawn from until it is empty.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Turns a task that nobody may do yet keeps waiting, in fillings of the urn; more are forgone.
const PATIENCE: u64 = 8;

/// The urn of one group of users.
#[derive(Debug, Clone)]
pub struct Urn {
    weights: Vec<u64>,
    left: Vec<u64>,
    rng: SmallRng,
}

impl Urn {
    /// An urn for tasks of these weights; a task of weight 0 is never drawn.
    pub fn new(weights: &[u32], seed: u64) -> Self {
        let common = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / common)).collect();
        Self { left: weights.clone(), weights, rng: SmallRng::seed_from_u64(seed) }
    }

    /// Draws a task among those that are `open` to the user; `None` if none is.
    pub fn draw(&mut self, open: impl Fn(usize) -> bool) -> Option<usize> {
        if !(0..self.weights.len()).any(|task| self.weights[task] > 0 && open(task)) {
            return None;
        }
        if self.held(&open) == 0 {
            for (left, weight) in self.left.iter_mut().zip(&self.weights) {
                *left = (*left + weight).min(weight * PATIENCE);
            }
        }
        let mut pick = self.rng.random_range(0..self.held(&open));
        for task in 0..self.left.len() {
            if !open(task) {
                continue;
            }
            if pick < self.left[task] {
                self.left[task] -= 1;
                return Some(task);
            }
            pick -= self.left[task];
        }
        None
    }

    fn held(&self, open: &impl Fn(usize) -> bool) -> u64 {
        self.left.iter().enumerate().filter(|(task, _)| open(*task)).map(|(_, left)| left).sum()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(urn: &mut Urn, draws: usize, tasks: usize) -> Vec<u32> {
        let mut counts = vec![0; tasks];
        for _ in 0..draws {
            counts[urn.draw(|_| true).expect("all are open")] += 1;
        }
        counts
    }

    #[test]
    fn shares_are_exact_after_each_filling() {
        let mut urn = Urn::new(&[40, 25, 15, 10, 5, 5], 1);
        assert_eq!(counts(&mut urn, 20, 6), [8, 5, 3, 2, 1, 1]);
        assert_eq!(counts(&mut urn, 1000, 6), [400, 250, 150, 100, 50, 50]);
    }

    #[test]
    fn a_task_that_had_to_wait_is_made_up_for() {
        let mut urn = Urn::new(&[1, 1], 5);
        assert_eq!((0..4).map(|_| urn.draw(|task| task == 0)).collect::<Vec<_>>(), [Some(0); 4]);
        // Three more of the second were put in than drawn: they come before the shares are even again.
        assert_eq!(counts(&mut urn, 4, 2), [0, 4]);
        assert_eq!(urn.draw(|_| false), None);
        assert_eq!(Urn::new(&[0, 3], 1).draw(|task| task == 0), None);
        assert_eq!(Urn::new(&[0, 3], 1).draw(|_| true), Some(1));
        assert_eq!(Urn::new(&[], 1).draw(|_| true), None);
    }

    proptest! {
        #[test]
        fn no_share_is_ever_off_by_more_than_one_filling(weights in proptest::collection::vec(1u32..60, 1..8), draws in 0usize..3000, seed: u64) {
            let mut urn = Urn::new(&weights, seed);
            let seen = counts(&mut urn, draws, weights.len());
            let sum: u32 = weights.iter().sum();
            for (seen, weight) in seen.iter().zip(&weights) {
                let ideal = draws as f64 * f64::from(*weight) / f64::from(sum);
                prop_assert!((f64::from(*seen) - ideal).abs() <= f64::from(*weight), "{seen} {ideal}");
            }
        }
    }
}
