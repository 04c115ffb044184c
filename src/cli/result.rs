//! `--json`: the file is opened before anything is sent, so that no load goes on whose result could not be kept; and what
//! the exit code is where it could not be kept after all.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{
    exit, out,
    out::say,
    samples::{self, Teller},
};
use crate::{load::samples::Samples, model::run::RunSummary};

/// Where the result goes.
pub(super) enum Json {
    /// Standard output.
    Stdout,
    /// A file; what it held stays in it until there is something to write.
    File(PathBuf, File),
}

/// What `open` gives: where the result goes, and the requests.
pub(super) type Opened = (Option<Json>, (Option<Samples>, Teller));

/// Opens what `--json` and `--samples` name, or says why it cannot and gives the exit code.
pub(super) fn open(json: Option<&Path>, samples: Option<&Path>, verbose: bool) -> Result<Opened, u8> {
    let opened = json.map(Json::open).transpose();
    opened.and_then(|json| Ok((json, samples::begin(samples, verbose)?))).map_err(|error| {
        say!("error: {error:#}");
        say!("help: nothing was sent; name a file in a folder that is there and may be written to");
        exit::CONFIG
    })
}

/// Two documents on one standard output could not be told apart: says so and gives the exit code.
pub(super) fn both_to_stdout(json: Option<&Path>, samples: Option<&Path>) -> Option<u8> {
    let stdout = Some(Path::new("-"));
    (json == stdout && samples == stdout).then(|| {
        say!("error: `--json -` and `--samples -` both write to standard output");
        say!("help: give one of them a file");
        exit::USAGE
    })
}

/// The exit code of a run that came to `code` where some of what was asked for could not be written: a run that did not
/// pass keeps its code. Who closed standard output does not want it any more.
pub(super) fn code(code: u8, written: [anyhow::Result<()>; 2]) -> u8 {
    let mut lost = false;
    for error in written.into_iter().filter_map(Result::err).filter(|error| !out::is_closed_pipe(error)) {
        say!("error: {error:#}");
        lost = true;
    }
    if code == 0 && lost { exit::INTERNAL } else { code }
}

impl Json {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = File::options().write(true).create(true).truncate(false).open(path);
        Ok(Self::File(path.to_path_buf(), file.with_context(|| format!("failed to create {}", path.display()))?))
    }

    /// Writes the runs: `single` one as an object, else an array.
    pub(super) fn write(self, runs: &[RunSummary], single: bool) -> anyhow::Result<()> {
        let text = match runs {
            [run] if single => serde_json::to_string_pretty(run)?,
            runs => serde_json::to_string_pretty(runs)?,
        };
        match self {
            Self::Stdout => Ok(out::print(&format!("{text}\n"))?),
            Self::File(path, file) => {
                write_anew(&file, &text).with_context(|| format!("failed to write the result to {}", path.display()))
            }
        }
    }
}

fn write_anew(mut file: &File, text: &str) -> std::io::Result<()> {
    // A pipe or a device holds nothing.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    writeln!(file, "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_did_not_pass_keeps_its_code_whatever_could_be_written() {
        let lost = || Err(anyhow::anyhow!("the disk is full"));
        let closed = || Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        assert_eq!(code(0, [Ok(()), Ok(())]), 0);
        assert_eq!(code(0, [lost(), Ok(())]), exit::INTERNAL);
        assert_eq!(code(99, [lost(), lost()]), 99);
        assert_eq!(code(0, [closed(), Ok(())]), 0);
    }

    #[test]
    fn what_a_file_held_stays_until_there_is_a_result() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run.json");
        std::fs::write(&path, "x".repeat(1000)).expect("it is ours");
        let json = Json::open(&path).expect("it is there");
        assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 1000);
        json.write(&[], false).expect("it is ours");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "[]\n");
        assert!(open(Some(&folder.path().join("none/run.json")), None, false).is_err_and(|code| code == exit::CONFIG));
    }
}
