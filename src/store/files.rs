//! The data directory: who may read it, who holds it, and what happens to a damaged database.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::{Result, StoreError, schema};

/// File name of the database.
pub(super) const DATABASE: &str = "plimsoll.db";
const LOCK: &str = "lock";

/// NFS, SMB 1 to 3 and 9p, as `statfs` names them.
const NETWORK: [i64; 4] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];

/// Opens the directory; the returned file is the lock.
pub(super) fn open(dir: &Path, now: Timestamp) -> Result<(Connection, File, Vec<String>)> {
    let mut notes = make_private(dir)?;
    refuse_network(dir)?;
    let lock = lock(dir)?;
    let file = dir.join(DATABASE);
    let connection = match open_checked(&file) {
        Err(StoreError::Corrupt(what)) => {
            let aside = move_aside(&file, now)?;
            notes.push(format!(
                "The database was damaged ({what}) and was moved to {}; an empty one was started. Runs, alert state and \
                 unsent mails up to now are in the old file only.",
                aside.display()
            ));
            open_checked(&file)?
        }
        other => other?,
    };
    Ok((connection, lock, notes))
}

/// A second connection that only reads, while the first goes on writing.
pub(super) fn open_read_only(file: &Path) -> Result<Connection> {
    Ok(Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?)
}

fn open_checked(file: &Path) -> Result<Connection> {
    // SQLite gives its side files the mode of this one.
    drop(private().open(file)?);
    fs::set_permissions(file, Permissions::from_mode(0o600))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(file.canonicalize()?, flags)?;
    schema::check(&connection)?;
    schema::prepare(&mut connection)?;
    Ok(connection)
}

/// Options for a file that nobody else may read, and that is no link to someone else's.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow);
    options
}

/// Makes the directory with mode 0700. One that was there is tightened only if it is ours alone: a data directory of
/// `/tmp` must not lock everyone else out.
fn make_private(dir: &Path) -> Result<Vec<String>> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        return Ok(Vec::new());
    }
    let mode = fs::metadata(dir)?.permissions().mode();
    let others = mode & 0o077;
    if others == 0 {
        return Ok(Vec::new());
    }
    let ours = dir.join(DATABASE).exists() || fs::read_dir(dir)?.next().is_none();
    if ours && fs::set_permissions(dir, Permissions::from_mode(0o700)).is_ok() {
        return Ok(Vec::new());
    }
    let dir = dir.display();
    Ok(vec![format!("{dir} can be read by others: use a directory of its own, or `chmod 700 {dir}`.")])
}

fn refuse_network(dir: &Path) -> Result<()> {
    let kind = rustix::fs::statfs(dir).map_err(std::io::Error::from)?.f_type;
    // The type's width differs between machines; the magic numbers have 32 bits.
    if NETWORK.contains(&(kind as i64 & 0xffff_ffff)) { Err(StoreError::Network(dir.to_owned())) } else { Ok(()) }
}

/// Held until the file is closed, which the kernel does when the process dies.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let mut file = private().open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The holder may not have written it yet.
            file.take(20).read_to_string(&mut pid).ok();
            let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(StoreError::Held { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Renames the database and its side files. The log goes first: a new database must never meet an old log.
fn move_aside(file: &Path, now: Timestamp) -> Result<PathBuf> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let mut aside = PathBuf::new();
    for side in ["-wal", "-shm", ""] {
        let from = PathBuf::from(format!("{}{side}", file.display()));
        aside = PathBuf::from(format!("{}.corrupt-{stamp}{side}", file.display()));
        match fs::rename(&from, &aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !side.is_empty() => {}
            renamed => renamed?,
        }
    }
    sync_parent(file)?;
    Ok(aside)
}

/// A complete copy, under its name only when it is on the disk.
pub(super) fn backup(from: &Connection, to: &Path) -> Result<()> {
    let part = PathBuf::from(format!("{}.part", to.display()));
    match fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    drop(private().open(&part)?);
    let mut copy = Connection::open(&part)?;
    // All pages in one step, under one snapshot.
    let step = Backup::new(from, &mut copy)?.step(-1)?;
    if step != StepResult::Done {
        return Err(StoreError::Other("the backup did not come to its end: try again".to_owned()));
    }
    copy.close().map_err(|(_, error)| error)?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, to)?;
    sync_parent(to)
}

fn sync_parent(file: &Path) -> Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(parent)?.sync_all()?)
}
