//! The kill switch's memory: a file. It outlives a restart, works when the API does not, and `touch` can throw it.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::event::Event;
use crate::{input, load::gate::Gate};

/// How often the file is looked for; a person who touches it has load stopped within 250 ms.
const LOOK: Duration = Duration::from_millis(100);

/// So much of the file is read for the reason, bytes.
const MAX_REASON: u64 = 4096;

/// The switch of one data directory.
#[derive(Debug, Clone)]
pub struct Switch {
    path: PathBuf,
    gate: Arc<Gate>,
}

impl Switch {
    /// The switch at `path` for the runs behind `gate`; on if the file is there.
    pub fn new(path: PathBuf, gate: Arc<Gate>) -> Self {
        let switch = Self { path, gate };
        switch.gate.set_paused(switch.reason().is_some());
        switch
    }

    /// Why load is stopped: the file's first line; `None` if there is no file.
    pub fn reason(&self) -> Option<String> {
        reason(&self.path)
    }

    /// Stops all load, then makes the file. Load is stopped even if the file cannot be made.
    pub fn throw(&self, reason: &str) -> io::Result<()> {
        self.gate.set_paused(true);
        write(&self.path, reason)
    }

    /// Removes the file and releases the load.
    pub fn release(&self) -> io::Result<()> {
        remove(&self.path)?;
        self.gate.set_paused(false);
        Ok(())
    }

    /// Follows the file for as long as the process lives.
    pub async fn watch(self, events: mpsc::Sender<Event>) {
        let mut was = self.reason().is_some();
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            // What cannot be read counts as thrown: the switch must not open by accident.
            let is = self.path.try_exists().unwrap_or(true);
            if is == was {
                continue;
            }
            was = is;
            self.gate.set_paused(is);
            let event = if is {
                let reason = self.reason().unwrap_or_default();
                Event::Pause { reason }
            } else {
                Event::Resume
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Why load is stopped by the file at `path`; `None` if there is none.
pub fn reason(path: &Path) -> Option<String> {
    let read = input::open_regular(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_REASON).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    match read {
        Ok(text) => {
            let line: String =
                text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
            let why = if line.is_empty() { "no reason was given" } else { &line };
            Some(format!("{why} (file {})", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("the file {} is there but cannot be read: {error}", path.display())),
    }
}

/// Makes the file at `path`, with the reason in it.
pub fn write(path: &Path, reason: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, format!("{reason}\n"))
}

/// Removes the file at `path`, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_read_within_bounds() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("PAUSED");
        assert_eq!(reason(&file), None);
        write(&file, &"maintenance ".repeat(1000)).expect("written");
        assert!(reason(&file).expect("thrown").starts_with("maintenance maintenance"));
        let device = reason(Path::new("/dev/zero")).expect("what cannot be read counts as thrown");
        assert!(device.contains("/dev/zero is there but cannot be read: it is a device"), "{device}");
    }
}
