//! The rate or the users over time, drawn with blocks (pure).

use std::{fmt::Write as _, time::Duration};

use crate::{
    load::{
        forecast::{Part, Shape},
        plan::search::{Move, Search},
    },
    model::{
        scenario::BurstGap,
        units::{Unit, human, human_seconds},
    },
};

const COLUMNS: usize = 64;
const ROWS: usize = 5;
/// Of a search, drawn at most.
const MOST_STAGES: usize = 1000;
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One picture of what comes by rate, one of what comes by users and one of what comes in bursts; empty where no length is
/// known. Bursts that wait for the one before are drawn as if each were answered at once.
pub(super) fn of(parts: &[Part]) -> String {
    let drawn: Vec<_> = parts.iter().flat_map(stages).collect();
    let parts = &drawn[..];
    let searches = parts.iter().any(|part| matches!(part.shape, Shape::Search(_)));
    let end = parts.iter().filter_map(|part| Some(part.at + extent(part)?)).max().unwrap_or_default();
    // One level of users that ends with its iterations, whenever that is, is no picture.
    let plain = |part: &Part| matches!(part.shape, Shape::Users(..)) && part.iterations.is_exact();
    if end.is_zero() || matches!(parts, [only] if plain(only)) {
        return String::new();
    }
    let rate = |part: &Part| if let Shape::Rate(from, to) = part.shape { Some((from, to)) } else { None };
    let users = |part: &Part| if let Shape::Users(from, to) = part.shape { Some((from, to)) } else { None };
    let waits = |part: &Part| matches!(part.shape, Shape::Bursts { gap: BurstGap::Pause(_), .. });
    let bound = if parts.iter().any(waits) {
        "≥ "
    } else if parts.iter().any(|part| part.earliest < part.at || plain(part)) {
        "≤ "
    } else {
        ""
    };
    let axis =
        format!("{bound}{}{}", human_seconds(end.as_secs_f64()), if searches { ", then it bisects" } else { "" });
    let mut out = String::new();
    draw(&mut out, &columns(parts, end, rate), &axis, |top| human(top, Unit::PerSecond));
    draw(&mut out, &columns(parts, end, users), &axis, |top| {
        format!("{} user{}", human(top, Unit::Count), if top > 1.0 { "s" } else { "" })
    });
    draw(&mut out, &bursts(parts, end), &axis, |top| format!("{} at once", human(top, Unit::Count)));
    out
}

/// A search as the stages that it goes through where the target sustains all of them; any other part as it is.
fn stages(part: &Part) -> Vec<Part> {
    let Shape::Search(plan) = part.shape else { return vec![part.clone()] };
    let (mut search, mut elapsed, mut stages) = (Search::new(plan), Duration::ZERO, vec![part.clone()]);
    while let Move::Try { pause, value, length, confirms: false } = search.next(elapsed) {
        let at = part.at + elapsed + pause;
        let shape = if plan.whole { Shape::Users(value, value) } else { Shape::Rate(value, value) };
        stages.push(Part { at, earliest: at, length: Some(length), shape, ..part.clone() });
        elapsed += pause + length;
        search.report(Ok(()));
        // Users that grow by one have many stages; what the picture cannot show is not drawn.
        if stages.len() > MOST_STAGES || value >= plan.max {
            break;
        }
    }
    stages
}

/// How much of the picture a part takes.
fn extent(part: &Part) -> Option<Duration> {
    match part.shape {
        Shape::Bursts { repeat, gap, .. } => {
            Some(distance(gap).saturating_mul(u32::try_from(repeat).unwrap_or(u32::MAX)))
        }
        Shape::Rate(..) | Shape::Users(..) | Shape::Turns(_) | Shape::AtOnce(_) => part.length,
        // Its stages stand for it.
        Shape::Search(_) => None,
    }
}

/// From burst to burst, as drawn.
fn distance(gap: BurstGap) -> Duration {
    let (BurstGap::Every(gap) | BurstGap::Pause(gap)) = gap;
    gap.max(Duration::from_millis(1))
}

/// The highest value within each column; what goes on at the same instant adds up.
fn columns(parts: &[Part], end: Duration, line: impl Fn(&Part) -> Option<(f64, f64)>) -> Vec<f64> {
    let width = end.as_secs_f64() / COLUMNS as f64;
    let value = |part: &Part, time: f64| {
        let (Some((from, to)), Some(length)) = (line(part), part.length) else { return 0.0 };
        let share = (time - part.at.as_secs_f64()) / length.as_secs_f64().max(f64::MIN_POSITIVE);
        if (0.0..1.0).contains(&share) { from + (to - from) * share } else { 0.0 }
    };
    let at = |time: f64| parts.iter().map(|part| value(part, time)).sum::<f64>();
    let samples = |index: usize| (0..8u8).map(move |eighth| (index as f64 + (f64::from(eighth) + 0.5) / 8.0) * width);
    (0..COLUMNS).map(|index| samples(index).map(at).fold(0.0, f64::max)).collect()
}

fn bursts(parts: &[Part], end: Duration) -> Vec<f64> {
    let mut columns = vec![0.0f64; COLUMNS];
    for part in parts {
        let Shape::Bursts { size, repeat, gap } = part.shape else { continue };
        // What falls into the same column looks the same.
        let (distance, length) = (distance(gap).as_secs_f64(), end.as_secs_f64() / COLUMNS as f64);
        let step = (length / distance / 2.0).floor().max(1.0) as u64;
        let mut index = 0;
        while index < repeat {
            let at = part.at.as_secs_f64() + distance * index as f64;
            if let Some(column) = columns.get_mut((at / length) as usize) {
                *column = column.max(f64::from(size));
            }
            index = index.saturating_add(step);
        }
    }
    columns
}

fn draw(out: &mut String, columns: &[f64], length: &str, name: impl Fn(f64) -> String) {
    let top = columns.iter().copied().fold(0.0, f64::max);
    if top <= 0.0 {
        return;
    }
    let label = name(top);
    let margin = label.chars().count();
    for row in (0..ROWS).rev() {
        let shown = if row + 1 == ROWS { label.as_str() } else { "" };
        let cells: String = columns
            .iter()
            .map(|value| {
                let eighths = (value / top * (ROWS * 8) as f64).ceil() as usize;
                EIGHTHS[eighths.saturating_sub(row * 8).min(8)]
            })
            .collect();
        let _ = writeln!(out, "  {shown:>margin$} │{}", cells.trim_end());
    }
    let _ = writeln!(out, "  {:>margin$} └{}", "", "─".repeat(columns.len()));
    let gap = columns.len().saturating_sub(1 + length.chars().count());
    let _ = writeln!(out, "  {:>margin$}  0{}{length}\n", "", " ".repeat(gap));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{forecast::Count, plan::search::SearchPlan};

    #[test]
    fn a_search_climbs_in_steps() {
        let plan = SearchPlan {
            start: 10.0,
            factor: 2.0,
            max: 100.0,
            precision: 0.1,
            whole: false,
            measure: Duration::from_secs(30),
            cooldown: Duration::from_secs(5),
            confirm: Duration::from_mins(1),
            deadline: Duration::from_mins(20),
        };
        let part = Part {
            name: String::new(),
            at: Duration::ZERO,
            earliest: Duration::ZERO,
            latest: Some(Duration::ZERO),
            length: Some(plan.deadline),
            shape: Shape::Search(plan),
            iterations: Count::at_most(1000),
        };
        let tried: Vec<_> = stages(&part)[1..].iter().map(|stage| (stage.shape, stage.at.as_secs())).collect();
        let rate = |rate| Shape::Rate(rate, rate);
        assert_eq!(tried, [(rate(10.0), 0), (rate(20.0), 35), (rate(40.0), 70), (rate(80.0), 105), (rate(100.0), 140)]);
        let drawn = of(&[part]);
        assert!(drawn.contains("100 /s") || drawn.contains("100/s"), "{drawn}");
        assert!(drawn.contains("2m50s, then it bisects"), "{drawn}");
    }
}
