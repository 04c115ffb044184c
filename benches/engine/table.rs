//! Tables of medians, with the least and the greatest of the rounds, and ratios taken within a round.

use std::fmt::Write as _;

use crate::{
    measure::{Column, Usage},
    peers::Tool,
};

/// What was asked, of whom, and what it came to, in the order of the rounds; `None` where a tool failed.
pub(crate) struct Rows(Vec<(String, Tool, Option<Usage>)>);

impl Rows {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, question: &str, tool: Tool, usage: Option<Usage>) {
        self.0.push((question.to_owned(), tool, usage));
    }

    fn of(&self, question: &str, tool: Tool) -> Vec<Option<Usage>> {
        self.0.iter().filter(|(asked, of, _)| asked == question && *of == tool).map(|(_, _, usage)| *usage).collect()
    }

    /// Questions and tools, each pair once.
    fn keys(&self) -> Vec<(&str, Tool)> {
        let mut keys = Vec::new();
        for (question, tool, _) in &self.0 {
            if !keys.contains(&(question.as_str(), *tool)) {
                keys.push((question.as_str(), *tool));
            }
        }
        keys
    }
}

/// `median (least–greatest)`; a dash where there is no number.
pub(crate) fn cell(values: impl IntoIterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(greatest)) => {
            format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
        }
        _ => "–".to_owned(),
    }
}

pub(crate) fn print(title: &str, rows: &Rows, columns: &[Column]) {
    println!("\n{title}; median (least–greatest)\n");
    let mut head = "| asked | tool |".to_owned();
    for (name, _, _, ratio) in columns {
        let _ = write!(head, " {name} |");
        if *ratio {
            head.push_str(" Plimsoll's to it |");
        }
    }
    println!("{head}\n|{}", "---|".repeat(head.matches('|').count() - 1));
    for (question, tool) in rows.keys() {
        let (theirs, ours) = (rows.of(question, tool), rows.of(question, Tool::Plimsoll));
        let mut line = format!("| {question} | {tool:?} |");
        for (_, value, digits, ratio) in columns {
            let _ = write!(line, " {} |", cell(theirs.iter().flatten().map(value), *digits));
            if *ratio {
                let pairs = ours.iter().zip(&theirs).filter_map(|(ours, theirs)| ours.as_ref().zip(theirs.as_ref()));
                let own = tool == Tool::Plimsoll;
                let ratios = pairs.filter(|_| !own).map(|(ours, theirs)| value(ours) / value(theirs));
                let _ = write!(line, " {} |", cell(ratios, 2));
            }
        }
        println!("{line}");
    }
}
