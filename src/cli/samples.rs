//! `--samples` and `--verbose`: each request into a file, and what did not go well onto the terminal; on a thread of its
//! own, so that neither waits for the load nor the load for them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use anyhow::Context as _;

use super::out::say;
use crate::{
    load::samples::{self, Row, Rows, Samples, Wanted},
    model::{outcome::Outcome, units::human_seconds},
};

/// Shown of each kind; the rest is counted.
const SHOWN: u64 = 5;

/// Kinds that are told apart.
const KINDS: usize = 100;

/// Who writes them down.
pub(super) struct Teller(Option<JoinHandle<anyhow::Result<()>>>);

/// Where the requests go: into `file`, and onto the terminal where `verbose` says so. Fails where the file cannot be made.
pub(super) fn begin(file: Option<&Path>, verbose: bool) -> anyhow::Result<(Option<Samples>, Teller)> {
    if file.is_none() && !verbose {
        return Ok((None, Teller(None)));
    }
    let (samples, rows) = samples::queue(if file.is_some() { Wanted::All } else { Wanted::NotOk });
    let writer = file.map(open).transpose()?;
    let path = file.map(Path::to_path_buf);
    let tell = move || tell(rows, writer, path, verbose.then(Shown::default));
    let thread = std::thread::Builder::new().name("samples".to_owned()).spawn(tell);
    let thread = thread.context("failed to start a thread for the samples")?;
    Ok((Some(samples), Teller(Some(thread))))
}

impl Teller {
    /// Waits until all is written. Fails where it could not be.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Some(thread) = self.0 else { return Ok(()) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn tell(
    mut rows: Rows,
    mut writer: Option<Box<dyn Write + Send>>,
    path: Option<PathBuf>,
    mut shown: Option<Shown>,
) -> anyhow::Result<()> {
    let path = path.unwrap_or_default();
    let failed = || format!("failed to write the samples to {}", path.display());
    while let Some(row) = rows.recv() {
        if let Some(writer) = &mut writer {
            writeln!(writer, "{}", row.line()).with_context(failed)?;
        }
        if let Some(line) = shown.as_mut().and_then(|shown| shown.show(&row)) {
            say!("{line}");
        }
    }
    if let Some(writer) = &mut writer {
        writer.flush().with_context(failed)?;
    }
    shown.iter().flat_map(Shown::rest).for_each(|line| say!("{line}"));
    if rows.lost() > 0 {
        say!("note: {} requests are not told of: they came faster than they could be written", rows.lost());
    }
    Ok(())
}

/// What was shown of each kind: step, outcome and reason.
#[derive(Default)]
struct Shown(BTreeMap<(String, &'static str, String), u64>);

impl Shown {
    /// The line for a request that did not go well, if it is one of the first of its kind.
    fn show(&mut self, row: &Row) -> Option<String> {
        let class = &row.sample.class;
        if !matches!(class.outcome, Outcome::Rejected | Outcome::Failed) {
            return None;
        }
        let mut kind = (row.step.to_string(), class.outcome.as_str(), class.reason.to_string());
        if !self.0.contains_key(&kind) && self.0.len() >= KINDS {
            kind = ("other".to_owned(), class.outcome.as_str(), "other".to_owned());
        }
        let count = self.0.entry(kind).or_default();
        *count += 1;
        let (request, detail) = row.detail.as_ref()?;
        (*count <= SHOWN).then(|| {
            format!(
                "{:>8}  {} {} ({}) vu {} iteration {}, after {}: {request}\n          {detail}",
                human_seconds(row.since.as_secs_f64()),
                row.step,
                class.outcome,
                class.reason,
                row.vu,
                row.iteration,
                human_seconds(row.sample.latency.unwrap_or_default().as_secs_f64()),
            )
        })
    }

    /// What was counted only.
    fn rest(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter(|(_, count)| **count > SHOWN).map(|((step, outcome, reason), count)| {
            format!("note: {} more like {step} {outcome} ({reason})", count - SHOWN)
        })
    }
}
