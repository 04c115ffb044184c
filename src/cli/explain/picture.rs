//! The rate or the users over time, drawn with blocks (pure).

use std::{fmt::Write as _, time::Duration};

use crate::{
    load::forecast::{Part, Shape},
    model::units::{Unit, human, human_seconds},
};

const COLUMNS: usize = 64;
const ROWS: usize = 5;
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One picture of what comes by rate and one of what comes by users; empty where no length is known.
pub(super) fn of(parts: &[Part]) -> String {
    let end = parts.iter().filter_map(|part| Some(part.at + part.length?)).max().unwrap_or_default();
    if end.is_zero() {
        return String::new();
    }
    let rate = |part: &Part| if let Shape::Rate(from, to) = part.shape { Some((from, to)) } else { None };
    let users = |part: &Part| if let Shape::Users(from, to) = part.shape { Some((from, to)) } else { None };
    let mut out = String::new();
    draw(&mut out, &columns(parts, end, rate), end, |top| human(top, Unit::PerSecond));
    draw(&mut out, &columns(parts, end, users), end, |top| format!("{} users", human(top, Unit::Count)));
    draw(&mut out, &bursts(parts, end), end, |top| format!("{} at once", human(top, Unit::Count)));
    out
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
        let Shape::Bursts { size, repeat, every: Some(every) } = part.shape else { continue };
        for index in 0..repeat.min(10_000) {
            let at = part.at.as_secs_f64() + every.as_secs_f64() * index as f64;
            let column = (at / end.as_secs_f64() * COLUMNS as f64) as usize;
            if let Some(column) = columns.get_mut(column) {
                *column = column.max(f64::from(size));
            }
        }
    }
    columns
}

fn draw(out: &mut String, columns: &[f64], end: Duration, name: impl Fn(f64) -> String) {
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
    let length = human_seconds(end.as_secs_f64());
    let _ = writeln!(out, "  {:>margin$} └{}", "", "─".repeat(columns.len()));
    let gap = columns.len().saturating_sub(1 + length.chars().count());
    let _ = writeln!(out, "  {:>margin$}  0{}{length}\n", "", " ".repeat(gap));
}
