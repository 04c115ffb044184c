//! When a mail is tried again: soon at first, then every quarter of an hour, for three days.

use std::time::Duration;

/// Wait after the first failed attempt.
const FIRST: Duration = Duration::from_secs(5);
/// Longest wait, before jitter.
const LONGEST: Duration = Duration::from_mins(15);
/// Shortest wait after a refusal that a person has to lift (a bad password, a wrong configuration).
const SLOW: Duration = Duration::from_mins(5);
/// A mail older than this is given up.
pub const MAX_AGE: Duration = Duration::from_hours(72);

/// Wait after `attempts` failed attempts (1 = the first): 5 s doubled up to 15 min, ±20 %. The jitter is a hash of mail
/// and attempt, so that mails that failed together do not come back together, and a test knows the answer.
pub fn delay(id: i64, attempts: u32, slow: bool) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let wait = if slow { wait.max(SLOW) } else { wait };
    let unit = (mix(id.cast_unsigned() ^ (u64::from(attempts) << 48)) >> 11) as f64 / (1_u64 << 53) as f64;
    wait.mul_f64(0.8 + 0.4 * unit)
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_a_quarter_of_an_hour() {
        let check = |attempts, slow, seconds: f64| {
            let delays: Vec<f64> = (0..1000).map(|id| delay(id, attempts, slow).as_secs_f64()).collect();
            let mean = delays.iter().sum::<f64>() / 1000.0;
            assert!((mean / seconds - 1.0).abs() < 0.02, "{attempts}: {mean} instead of {seconds}");
            assert!(delays.iter().all(|delay| (0.8..=1.2).contains(&(delay / seconds))), "{attempts}");
        };
        check(1, false, 5.0);
        check(2, false, 10.0);
        check(5, false, 80.0);
        check(9, false, 900.0);
        check(u32::MAX, false, 900.0);
        check(1, true, 300.0);
        check(9, true, 900.0);
    }

    proptest! {
        #[test]
        fn is_always_bounded_and_repeatable(id: i64, attempts: u32, slow: bool) {
            let wait = delay(id, attempts, slow);
            prop_assert!(wait >= FIRST.mul_f64(0.8) && wait <= LONGEST.mul_f64(1.2));
            prop_assert_eq!(wait, delay(id, attempts, slow));
        }
    }
}
