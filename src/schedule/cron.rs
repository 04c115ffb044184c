//! Cron expressions in a time zone.
//!
//! `croner` parses and searches. Times that do not exist or exist twice follow Vixie's rule: a fixed time in a gap runs
//! once right after it, in an overlap once; everything else follows the wall clock. Fixed times are searched on the
//! civil calendar here, because `croner` gives up on a gap of more than two hours (Samoa's missing day) and loses a run
//! that a gap pushes over midnight.

use croner::{
    Cron, JobType,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};

const HELP: &str = "write 5 fields (minute hour day-of-month month day-of-week), such as \"*/5 * * * *\", \
                    6 with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly";

const NICKNAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * SUN"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Fields with what may stand there, seconds first.
const FIELDS: [(&str, &str); 6] = [
    ("a second", "0-59"),
    ("a minute", "0-59"),
    ("an hour", "0-23"),
    ("a day of month", "1-31, L or 15W"),
    ("a month", "1-12 or JAN-DEC"),
    ("a day of week", "0-7 (0 and 7 are Sunday), MON-SUN, MON#2 or FRI#L"),
];

/// From here on daylight saving is looked at; zone rules repeat each year, so any recent year will do.
const RULES_FROM: civil::Date = civil::date(2026, 1, 1);
/// Until here.
const RULES_UNTIL: civil::Date = civil::date(2032, 1, 1);

/// A checked cron expression in its zone.
#[derive(Debug, Clone)]
pub(super) struct CronPlan {
    cron: Cron,
    zone: TimeZone,
    fixed: bool,
}

impl CronPlan {
    /// Parses; the error says what is wrong and what to write.
    pub(super) fn parse(expr: &str, zone: &str) -> Result<Self, String> {
        let zone = time_zone(zone)?;
        let cron = parse_expr(expr)?;
        let fixed = cron.determine_job_type() == JobType::FixedTime;
        // Gregorian dates repeat after 400 years: what does not come within them never comes.
        if cron.find_next_occurrence(&RULES_FROM.at(0, 0, 0, 0), false).is_err() {
            return Err("it never comes due, because no month has such a day: \
                        write a day that exists, or L for the last day of the month"
                .to_owned());
        }
        Ok(Self { cron, zone, fixed })
    }

    /// The first due instant after `after`.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let start = after.to_zoned(self.zone.clone());
        if self.fixed {
            return self.next_fixed(after, start.datetime());
        }
        let found = self.cron.find_next_occurrence::<Zoned>(&start, false).ok()?.timestamp();
        (found > after).then_some(found)
    }

    fn next_fixed(&self, after: Timestamp, mut civil: civil::DateTime) -> Option<Timestamp> {
        // Second passes of an overlap are behind; a day of them is more than any zone has.
        for _ in 0..3 {
            civil = self.cron.find_next_occurrence(&civil, false).ok()?;
            let instant = self.resolve(civil)?;
            if instant > after {
                return Some(instant);
            }
        }
        None
    }

    /// The instant of a civil time: the first of two, or the end of the gap it lies in.
    fn resolve(&self, civil: civil::DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_zoned(civil);
        let in_gap = matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. });
        let earlier = ambiguous.earlier().ok()?.timestamp();
        if !in_gap {
            return Some(earlier);
        }
        self.zone.following(earlier).next().map(|transition| transition.timestamp())
    }

    /// What a person should know about this expression in this zone.
    pub(super) fn warnings(&self, expr: &str) -> Vec<String> {
        if self.fixed || self.cron.pattern.hours.from_wildcard {
            return Vec::new();
        }
        let zone = self.zone.iana_name().unwrap_or("the zone");
        let advice = "give the scenario one fixed time, or the time zone UTC";
        let mut warnings = Vec::new();
        if let Some(lost) = self.named_in_transition(true) {
            warnings.push(format!(
                "`{expr}` names {}, which does not exist in {zone} when the clock goes forward: that run is \
                 skipped; {advice}",
                lost.strftime("%H:%M on %Y-%m-%d")
            ));
        }
        if let Some(twice) = self.named_in_transition(false) {
            warnings.push(format!(
                "`{expr}` names {}, which happens twice in {zone} when the clock goes back: it runs both times; {advice}",
                twice.strftime("%H:%M on %Y-%m-%d")
            ));
        }
        warnings
    }

    /// The first civil time of the expression that lies in a gap (or an overlap) of the zone.
    fn named_in_transition(&self, gaps: bool) -> Option<civil::DateTime> {
        let from = RULES_FROM.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let until = RULES_UNTIL.to_zoned(TimeZone::UTC).ok()?.timestamp();
        self.zone.following(from).take_while(|transition| transition.timestamp() < until).find_map(|transition| {
            let at = transition.timestamp();
            let new = transition.offset();
            let old = self.zone.to_offset(at - jiff::SignedDuration::from_secs(1));
            let (start, end) = match (gaps, old.cmp(&new)) {
                (true, std::cmp::Ordering::Less) => (old.to_datetime(at), new.to_datetime(at)),
                (false, std::cmp::Ordering::Greater) => (new.to_datetime(at), old.to_datetime(at)),
                _ => return None,
            };
            let named = self.cron.find_next_occurrence(&start, true).ok()?;
            (named < end).then_some(named)
        })
    }

    /// In words, lower case: "at 02:00 every day, Europe/Berlin".
    pub(super) fn describe(&self) -> String {
        let text = self.cron.describe();
        let text = text.trim_end_matches('.');
        let text = text.strip_prefix("At every").map_or_else(
            || {
                let mut chars = text.chars();
                chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
            },
            |rest| format!("every{rest}"),
        );
        let pattern = &self.cron.pattern;
        let daily = pattern.is_dom_wildcard() && pattern.is_dow_wildcard() && pattern.months.values().len() == 12;
        let each_day = if self.fixed && daily { " every day" } else { "" };
        format!("{text}{each_day}, {}", self.zone.iana_name().unwrap_or("UTC"))
    }
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let near = jiff::tz::db()
            .available()
            .map(|known| (strsim::jaro_winkler(&known.as_str().to_lowercase(), &name.to_lowercase()), known))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.85);
        match near {
            Some((_, known)) => format!("`{name}` is not a time zone: did you mean {}?", known.as_str()),
            None => format!("`{name}` is not a time zone: write an IANA name such as Europe/Berlin, or UTC"),
        }
    })
}

fn parse_expr(expr: &str) -> Result<Cron, String> {
    let expr = expr.trim();
    let plain = if expr.contains('@') { nickname(expr)? } else { expr };
    let fields: Vec<&str> = plain.split_whitespace().collect();
    match fields.len() {
        5 | 6 => {}
        7 => {
            return Err(
                "it has 7 fields, and years are not supported: leave the year out (6 fields start with seconds)"
                    .to_owned(),
            );
        }
        count => return Err(format!("it has {count} fields: {HELP}")),
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(plain).map_err(|error| blame(parser, &fields).unwrap_or_else(|| format!("{error}: {HELP}")))
}

fn nickname(expr: &str) -> Result<&'static str, String> {
    let lower = expr.to_lowercase();
    if let Some((_, plain)) = NICKNAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(plain);
    }
    if lower.starts_with("@every") {
        return Err("@every is not cron: write `every: 30s` in place of `cron:`".to_owned());
    }
    if lower == "@reboot" {
        return Err(
            "@reboot has no instant: write `every: 30s` in place of `cron:`, which starts within one period".to_owned()
        );
    }
    Err(format!("{expr} is not a nickname: {HELP}"))
}

/// Which field is at fault: `croner` says what is wrong but not where.
fn blame(parser: CronParser, fields: &[&str]) -> Option<String> {
    let first = FIELDS.len() - fields.len();
    fields.iter().enumerate().find_map(|(index, field)| {
        let mut alone = ["*"; 6];
        alone[first + index] = field;
        parser.parse(&alone.join(" ")).err()?;
        let (name, range) = FIELDS[first + index];
        Some(format!(
            "`{field}` is not {name}: write {range}, a list (1,2), a range (1-5), a step (*/2), or * for each one"
        ))
    })
}
