//! What can go wrong, as far as a caller decides differently: the daemon goes into degraded mode on `Full` and `Io`.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the store could not do it. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space left.
    #[error("the disk is full: free some space in the data directory")]
    Full,
    /// The disk or the file system failed.
    #[error("the data directory cannot be read or written: {0}")]
    Io(String),
    /// Another process has it.
    #[error("{} is in use by process {pid}: stop it, or choose another data directory", dir.display())]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// Process id of the holder, as far as it is known.
        pid: String,
    },
    /// Written by a later version.
    #[error("the database is of version {found}, and this program knows versions up to {known}: use the newer program")]
    Newer {
        /// Version of the file.
        found: i64,
        /// Latest version known.
        known: i64,
    },
    /// The file system does not lock reliably.
    #[error("{} is on a network file system, where SQLite's locks do not hold: use a local directory", .0.display())]
    Network(PathBuf),
    /// The file is not, or no longer, a database.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// A row breaks a rule of the schema.
    #[error("a row was refused: {0}")]
    Refused(String),
    /// Anything else that SQLite says.
    #[error("the database failed: {0}")]
    Other(String),
    /// The store was closed, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// True if the disk is at fault: what could not be written may be writable later.
    pub fn is_disk(&self) -> bool {
        matches!(self, Self::Full | Self::Io(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied,
            ) => Self::Io(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => Self::Refused(text),
            _ => Self::Other(text),
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull { Self::Full } else { Self::Io(error.to_string()) }
    }
}
