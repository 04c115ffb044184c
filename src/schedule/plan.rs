//! From what was written to the next due instant.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::cron::CronPlan;
use crate::model::{
    Name,
    schedule::{Due, ScheduleSpec},
};

/// More often than this is a load, not a schedule.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// A checked schedule. Due instants are whole milliseconds, as the ledger keeps them.
#[derive(Debug, Clone)]
pub struct Plan {
    scenario: Name,
    when: When,
    jitter: Duration,
}

#[derive(Debug, Clone)]
enum When {
    Never,
    /// Multiples of the period since the epoch, plus the splay; both in milliseconds.
    Every {
        period: i64,
        splay: i64,
    },
    Cron(Box<CronPlan>),
}

/// Checks a schedule. The error completes "… is not a schedule: " and says what to write instead.
pub fn compile(spec: &ScheduleSpec, scenario: &str) -> Result<Plan, String> {
    let when = match &spec.due {
        Due::Manual => When::Never,
        Due::Every(period) => {
            if *period < SHORTEST_PERIOD || period.subsec_nanos() % 1_000_000 != 0 {
                return Err(
                    "a period is at least 100ms and in whole milliseconds: write `every: 30s`, or a load with \
                            a rate for more"
                        .to_owned(),
                );
            }
            if spec.jitter >= *period {
                return Err(
                    "jitter is shorter than the period, so that runs keep their order: write a smaller `jitter:`"
                        .to_owned(),
                );
            }
            let period =
                i64::try_from(period.as_millis()).map_err(|_| "the period is too long: write at most 100 years")?;
            When::Every { period, splay: hash(scenario, &[]).rem_euclid(period) }
        }
        Due::Cron { expr, zone } => When::Cron(Box::new(CronPlan::parse(expr, zone)?)),
    };
    Ok(Plan { scenario: scenario.into(), when, jitter: spec.jitter })
}

/// What is allowed but probably not meant, in whole sentences.
pub fn warnings(spec: &ScheduleSpec) -> Vec<String> {
    let Due::Cron { expr, zone } = &spec.due else { return Vec::new() };
    CronPlan::parse(expr, zone).map_or_else(|_| Vec::new(), |plan| plan.warnings(expr))
}

impl Plan {
    /// The first due instant strictly after `after`; `None` if there is none (a manual schedule).
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Never => None,
            When::Every { period, splay } => {
                // Floor division: `after` may lie between two milliseconds or before 1970.
                let millis = i64::try_from(after.as_nanosecond().div_euclid(1_000_000)).ok()?;
                let turn = (millis - splay).div_euclid(*period) + 1;
                Timestamp::from_millisecond(turn * period + splay).ok()
            }
            When::Cron(cron) => cron.next(after),
        }
    }

    /// How many due instants lie in `(after, until)`, where that takes no enumeration.
    pub(super) fn count_between(&self, after: Timestamp, until: Timestamp) -> Option<u64> {
        let When::Every { period, .. } = &self.when else { return None };
        let (first, last) = (self.next(after)?, until.as_millisecond());
        let span = last - first.as_millisecond();
        Some(if span <= 0 { 0 } else { u64::try_from((span - 1) / period + 1).unwrap_or(0) })
    }

    /// The shortest time from one due instant to the next, of the first hundred after `from`; `None` if there are none.
    pub fn shortest_gap(&self, from: Timestamp) -> Option<Duration> {
        let dues: Vec<_> = std::iter::successors(self.next(from), |last| self.next(*last)).take(100).collect();
        dues.windows(2).filter_map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).ok()).min()
    }

    /// For people: "every 30 s", "at 02:00 every day, Europe/Berlin".
    pub fn describe(&self) -> String {
        match &self.when {
            When::Never => "only by hand".to_owned(),
            When::Every { period, .. } => format!("every {}", period_text(*period)),
            When::Cron(cron) => cron.describe(),
        }
    }

    /// The delay of the run that is due at `due`: 0 to the jitter of the schedule, in whole milliseconds, always the
    /// same for the same scenario and instant.
    pub fn jitter_for(&self, due: Timestamp) -> Duration {
        let bound = i64::try_from(self.jitter.as_millis()).unwrap_or(i64::MAX - 1);
        let delay = hash(&self.scenario, &due.as_millisecond().to_be_bytes()).rem_euclid(bound + 1);
        Duration::from_millis(delay.unsigned_abs())
    }
}

/// The same on every machine and in every version, which std's hasher does not promise.
fn hash(scenario: &str, more: &[u8]) -> i64 {
    let digest = Sha256::new().chain_update(scenario).chain_update([0]).chain_update(more).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

fn period_text(millis: i64) -> String {
    let units = [(86_400_000, "day", "d"), (3_600_000, "hour", "h"), (60_000, "minute", "min"), (1000, "second", "s")];
    for (size, one, many) in units {
        if millis == size {
            return one.to_owned();
        }
        if millis % size == 0 {
            return format!("{} {many}", millis / size);
        }
    }
    format!("{millis} ms")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(expr: &str, zone: &str) -> ScheduleSpec {
        ScheduleSpec { due: Due::Cron { expr: expr.into(), zone: zone.into() }, ..ScheduleSpec::manual() }
    }

    fn every(period: Duration) -> ScheduleSpec {
        ScheduleSpec { due: Due::Every(period), ..ScheduleSpec::manual() }
    }

    fn plan(expr: &str, zone: &str) -> Plan {
        compile(&cron(expr, zone), "test").unwrap_or_else(|error| panic!("{expr} in {zone}: {error}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    /// The instants in `[from, until)`.
    fn instants(plan: &Plan, from: &str, until: &str) -> Vec<String> {
        let until = at(until);
        std::iter::successors(plan.next(at(from) - Duration::from_nanos(1)), |last| plan.next(*last))
            .take_while(|due| *due < until)
            .map(|due| due.to_string())
            .collect()
    }

    #[test]
    fn over_changes_of_the_clock() {
        let check = |expr, zone, from, until, expected: &[&str]| {
            assert_eq!(instants(&plan(expr, zone), from, until), expected, "{expr} in {zone}");
        };
        let (berlin, york, howe, apia) = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia");
        // A fixed time in the gap: once, right after it.
        check(
            "30 2 * * *",
            berlin,
            "2026-03-28T00:00:00Z",
            "2026-03-31T00:00:00Z",
            &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        );
        check(
            "30 2 * * *",
            york,
            "2026-03-08T00:00:00Z",
            "2026-03-10T00:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        );
        check(
            "15 2 * * *",
            howe,
            "2026-10-03T12:00:00Z",
            "2026-10-05T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        );
        // Saturday 23:30 does not exist in Greenland that day; right after the gap it is Sunday.
        check("30 23 * * 6", "America/Nuuk", "2026-03-28T12:00:00Z", "2026-04-05T00:00:00Z", &["2026-03-29T01:00:00Z"]);
        // In the overlap: once, the first time.
        check(
            "30 2 * * *",
            berlin,
            "2026-10-24T12:00:00Z",
            "2026-10-27T00:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
        check(
            "30 1 * * *",
            york,
            "2026-11-01T00:00:00Z",
            "2026-11-02T12:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        );
        check(
            "45 1 * * *",
            howe,
            "2026-04-04T12:00:00Z",
            "2026-04-06T00:00:00Z",
            &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        );
        // Wildcards follow the wall clock: none in the gap, both in the overlap.
        check(
            "*/30 * * * *",
            berlin,
            "2026-03-29T00:30:00Z",
            "2026-03-29T02:00:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
        );
        check(
            "*/30 * * * *",
            berlin,
            "2026-10-25T00:00:00Z",
            "2026-10-25T02:00:00Z",
            &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"],
        );
        // Samoa had no 30 December 2011.
        check(
            "0 9 * * *",
            apia,
            "2011-12-29T00:00:00Z",
            "2012-01-01T00:00:00Z",
            &["2011-12-29T19:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z", "2011-12-31T19:00:00Z"],
        );
        check(
            "0 */12 * * *",
            apia,
            "2011-12-29T12:00:00Z",
            "2011-12-31T00:00:00Z",
            &["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"],
        );
        // A listed hour in the gap is skipped, which is warned of below.
        check(
            "30 1,2 * * *",
            berlin,
            "2026-03-29T00:00:00Z",
            "2026-03-30T00:00:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T23:30:00Z"],
        );
        check("30 0 2 * * *", "UTC", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", &["2026-03-29T02:00:30Z"]);
        check("@hourly", "UTC", "2026-03-29T00:00:00.5Z", "2026-03-29T02:00:00Z", &["2026-03-29T01:00:00Z"]);
        check(
            "0 0 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            "2033-01-01T00:00:00Z",
            &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        );
    }

    #[test]
    fn what_is_not_a_schedule() {
        let check = |expr, zone, expected: &str| {
            let error = compile(&cron(expr, zone), "test").expect_err(expr);
            assert!(error.contains(expected), "{expr} in {zone}: {error}");
        };
        check("0 0 31 2 *", "UTC", "it never comes due");
        check("0 0 1 1 * * 2027", "UTC", "7 fields");
        check("* * * *", "UTC", "it has 4 fields: write 5 fields");
        check("", "UTC", "it has 0 fields");
        check("@reboot", "UTC", "write `every: 30s`");
        check("@every 5m", "UTC", "@every is not cron: write `every: 30s`");
        check("@fortnightly", "UTC", "not a nickname: write 5 fields");
        check("61 * * * *", "UTC", "`61` is not a minute: write 0-59");
        check("0 24 * * *", "UTC", "`24` is not an hour");
        check("0 0 * * * MOO", "UTC", "`MOO` is not a day of week");
        check("5/5 * * * *", "UTC", "`5/5` is not a minute");
        check("0 H * * *", "UTC", "`H` is not an hour");
        check("0 0 * * *", "Europe/Berln", "did you mean Europe/Berlin?");
        check("0 0 * * *", "home", "write an IANA name");
        for bad in [Duration::ZERO, Duration::from_millis(99), Duration::from_micros(100_500)] {
            assert!(compile(&every(bad), "test").expect_err("bad").contains("write `every: 30s`"), "{bad:?}");
        }
        let jitter = ScheduleSpec { jitter: Duration::from_secs(5), ..every(Duration::from_secs(5)) };
        assert!(compile(&jitter, "test").expect_err("jitter").contains("smaller `jitter:`"));
    }

    #[test]
    fn warned_of() {
        let check = |expr, zone, expected: &[&str]| {
            let found = warnings(&cron(expr, zone));
            assert_eq!(found.len(), expected.len(), "{expr} in {zone}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{found}");
            }
        };
        check("30 1,2 * * *", "Europe/Berlin", &["names 02:30 on 2026-03-29, which does not exist", "twice"]);
        check("30 1,2 * * *", "UTC", &[]);
        check("30 1,2 * * 1-5", "Europe/Berlin", &[]);
        check("30 4,5 * * *", "Europe/Berlin", &[]);
        check("30 2 * * *", "Europe/Berlin", &[]);
        check("*/10 * * * *", "Europe/Berlin", &[]);
        check("*/10 2 * * *", "America/New_York", &["names 02:00 on 2026-03-08"]);
        check("not cron", "UTC", &[]);
    }

    #[test]
    fn for_people() {
        let check = |spec: &ScheduleSpec, expected| {
            assert_eq!(compile(spec, "test").expect("a plan").describe(), expected);
        };
        check(&ScheduleSpec::manual(), "only by hand");
        check(&every(Duration::from_secs(30)), "every 30 s");
        check(&every(Duration::from_secs(90)), "every 90 s");
        check(&every(Duration::from_mins(5)), "every 5 min");
        check(&every(Duration::from_hours(24)), "every day");
        check(&every(Duration::from_millis(1500)), "every 1500 ms");
        check(&cron("0 2 * * *", "Europe/Berlin"), "at 02:00 every day, Europe/Berlin");
        check(&cron("*/5 * * * *", "UTC"), "every 5 minutes, UTC");
        check(&cron("* * * * *", "UTC"), "every minute, UTC");
        check(&cron("@hourly", "UTC"), "at minute 0 past every hour, UTC");
        check(&cron("0 9 * * MON", "UTC"), "at 09:00, on Monday, UTC");
        check(&cron("0 9 1 * *", "UTC"), "at 09:00, on day 1, UTC");
    }

    #[test]
    fn the_splay_is_part_of_the_interface() {
        // A change of these numbers would move every schedule at an update.
        let plan = compile(&every(Duration::from_mins(1)), "health").expect("a plan");
        insta::assert_snapshot!(plan.next(Timestamp::UNIX_EPOCH).expect("due"), @"1970-01-01T00:00:38.063Z");
        let spec = ScheduleSpec { jitter: Duration::from_secs(10), ..cron("0 * * * *", "UTC") };
        let plan = compile(&spec, "health").expect("a plan");
        let delays = [0, 3600, 7200].map(|secs| plan.jitter_for(Timestamp::from_second(secs).expect("in range")));
        insta::assert_snapshot!(format!("{delays:?}"), @"[909ms, 2.003s, 1.894s]");
    }

    /// An hour or minute field and what it means.
    fn field(max: i8) -> impl Strategy<Value = (String, Vec<i8>, bool)> {
        prop_oneof![
            (0..=max).prop_map(|value| (value.to_string(), vec![value], false)),
            (2..=max / 2).prop_map(move |step| {
                (format!("*/{step}"), (0..=max).step_by(step.unsigned_abs().into()).collect(), true)
            }),
            (0..=max, 0..=max).prop_map(|(a, b)| (format!("{a},{b}"), vec![a, b], true)),
            Just(("*".to_owned(), (0..=max).collect(), true)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Walks each minute of the three days around a change of the clock and applies Vixie's rule by hand.
        #[test]
        fn agrees_with_a_minute_by_minute_oracle(
            minute in field(59),
            hour in field(23),
            (zone, change) in prop::sample::select(vec![
                ("Europe/Berlin", "2026-03-29T01:00:00Z"),
                ("Europe/Berlin", "2026-10-25T01:00:00Z"),
                ("America/New_York", "2026-03-08T07:00:00Z"),
                ("America/New_York", "2026-11-01T06:00:00Z"),
                ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
                ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
                ("UTC", "2026-06-01T00:00:00Z"),
            ]),
        ) {
            let expr = format!("{} {} * * *", minute.0, hour.0);
            let plan = plan(&expr, zone);
            // A list of twice the same number is a single value, and so fixed.
            let single = |field: &(String, Vec<i8>, bool)| !field.2 || (field.1.len() == 2 && field.1[0] == field.1[1] && !field.0.contains('*'));
            let fixed = single(&minute) && single(&hour);
            let names = |hours: i8, minutes: i8| hour.1.contains(&hours) && minute.1.contains(&minutes);
            let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
            let (from, until) = (at(change) - Duration::from_hours(24), at(change) + Duration::from_hours(24));
            let mut expected = Vec::new();
            let mut seen = std::collections::BTreeSet::new();
            let mut last = zone.to_datetime(from - Duration::from_mins(1));
            let mut now = from;
            while now < until {
                let civil = zone.to_datetime(now);
                // Civil minutes that this minute stands for: itself, and those a gap before it has swallowed.
                let mut due = names(civil.hour(), civil.minute()) && (!fixed || !seen.contains(&civil));
                let mut swallowed = last + Duration::from_mins(1);
                while fixed && swallowed < civil {
                    due |= names(swallowed.hour(), swallowed.minute());
                    swallowed += Duration::from_mins(1);
                }
                seen.insert(civil);
                if due {
                    expected.push(now.to_string());
                }
                last = civil;
                now += Duration::from_mins(1);
            }
            prop_assert_eq!(instants(&plan, &from.to_string(), &until.to_string()), expected, "{}", expr);
        }

        #[test]
        fn every_keeps_its_phase(period in 100_i64..10_000_000, after in -10_000_000_000_000_i64..10_000_000_000_000, name in "[a-z]{1,8}") {
            let spec = every(Duration::from_millis(period.unsigned_abs()));
            let plan = compile(&spec, &name).expect("a plan");
            let after = Timestamp::from_millisecond(after).expect("in range");
            let next = plan.next(after).expect("due");
            prop_assert!(next > after && (next - after).total(jiff::Unit::Millisecond).expect("time") <= period as f64);
            let then = plan.next(next).expect("due");
            prop_assert_eq!(then.as_millisecond() - next.as_millisecond(), period);
            // Asked from anywhere in between, the answer is the same.
            prop_assert_eq!(plan.next(then - Duration::from_nanos(1)), Some(then));
            prop_assert_eq!(plan.next(next + Duration::from_nanos(1)), Some(then));
        }

        #[test]
        fn jitter_is_within_its_bound(bound in 0_u64..100_000, due in 0_i64..4_000_000_000_000) {
            let spec = ScheduleSpec { jitter: Duration::from_millis(bound), ..cron("* * * * *", "UTC") };
            let plan = compile(&spec, "test").expect("a plan");
            let due = Timestamp::from_millisecond(due).expect("in range");
            prop_assert!(plan.jitter_for(due) <= Duration::from_millis(bound));
            prop_assert_eq!(plan.jitter_for(due), plan.jitter_for(due));
        }
    }
}
