//! The clients of a run: how much later each sends, and which of them are gone before they are answered. Drawn by the
//! scenario's seed, so that a run that is repeated does the same.

use std::{cell::RefCell, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::model::scenario::{AbortSpec, NetworkSpec};

/// Draws of its own beside those of the scenario.
const SALT: u64 = 0x6e65_7477_6f72_6b00;

/// What is drawn for the requests of a run, all groups together.
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
    draws: RefCell<Draws>,
}

#[derive(Debug)]
struct Draws {
    rng: SmallRng,
    /// Requests so far of the urn that is being emptied, and how many of them were marked.
    drawn: u32,
    marked: u32,
}

impl Network {
    /// For one run of a scenario with this seed.
    pub fn new(spec: NetworkSpec, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed ^ SALT);
        Self { spec, draws: RefCell::new(Draws { rng, drawn: 0, marked: 0 }) }
    }

    /// How much later the next request leaves.
    pub fn delay(&self) -> Duration {
        let NetworkSpec { delay, jitter, .. } = self.spec;
        if jitter.is_zero() {
            return delay;
        }
        delay.saturating_sub(jitter) + (2 * jitter).mul_f64(self.draws.borrow_mut().rng.random())
    }

    /// How long the client of the next request waits for its answer; `None` = as long as it takes.
    pub fn patience(&self) -> Option<Duration> {
        let AbortSpec { marked, of, after } = self.spec.abort?;
        self.draws.borrow_mut().draw(marked, of).then_some(after)
    }
}

impl Draws {
    /// Draws from an urn that holds `marked` of `of` lots and is filled again when it is empty: the share is exact
    /// after each filling, and nobody can tell which is next.
    fn draw(&mut self, marked: u32, of: u32) -> bool {
        if self.drawn == of {
            (self.drawn, self.marked) = (0, 0);
        }
        let hit = self.rng.random_range(0..of - self.drawn) < marked - self.marked;
        self.drawn += 1;
        self.marked += u32::from(hit);
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(spec: NetworkSpec) -> Network {
        Network::new(spec, 7)
    }

    #[test]
    fn shares_are_exact_after_each_filling() {
        let check = |marked, of| {
            let abort = Some(AbortSpec { marked, of, after: Duration::ZERO });
            let network = network(NetworkSpec { abort, ..NetworkSpec::default() });
            let mut orders = Vec::new();
            for _ in 0..20 {
                let order: Vec<bool> = (0..of).map(|_| network.patience().is_some()).collect();
                assert_eq!(order.iter().filter(|hit| **hit).count(), marked as usize, "{marked} of {of}");
                orders.push(order);
            }
            orders.dedup();
            orders.len()
        };
        assert!(check(1, 50) > 10, "each filling has an order of its own");
        assert!(check(3, 8) > 10);
        assert_eq!(check(1, 1), 1);
        check(9999, 10_000);
    }

    #[test]
    fn delays_lie_around_what_is_asked_for() {
        let ms = Duration::from_millis;
        let network = network(NetworkSpec { delay: ms(80), jitter: ms(20), ..NetworkSpec::default() });
        let delays: Vec<Duration> = (0..10_000).map(|_| network.delay()).collect();
        assert!(delays.iter().all(|delay| (ms(60)..=ms(100)).contains(delay)));
        let mean = delays.iter().sum::<Duration>() / 10_000;
        assert!((ms(79)..ms(81)).contains(&mean), "{mean:?}");
        assert_eq!(super::Network::new(NetworkSpec { delay: ms(5), ..NetworkSpec::default() }, 1).delay(), ms(5));
    }
}
