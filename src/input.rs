//! Files that a configuration names, read within a bound. A path may lead anywhere: a FIFO would block its reader for
//! ever and a device such as `/dev/zero` fill the memory, so only a regular file is read, and only so much of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

/// Most bytes of a PEM file with certificate authorities; the bundles of systems have about 250 kB.
pub const MAX_CERTIFICATES: u64 = 4 * 1024 * 1024;

/// Opens a regular file to be read; never blocks on one that is none.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        Ok(file)
    } else if kind.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device or a pipe, not a file"))
    }
}

/// The whole of a regular file of at most `max` bytes; `FileTooLarge` if it holds more.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let message = format!("it holds more than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// [`read_bounded`], as text.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read_bounded(path, max)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn reads_regular_files_within_the_bound_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, pipe) = (dir.path().join("file"), dir.path().join("pipe"));
        std::fs::write(&file, "12345").expect("written");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        let check = |path: &Path, max, expected: Result<&str, io::ErrorKind>| {
            let read = read_text(path, max).map_err(|error| error.kind());
            assert_eq!(read.as_deref(), expected.as_ref().map(|text| *text), "{}", path.display());
        };
        check(&file, 5, Ok("12345"));
        check(&file, 4, Err(io::ErrorKind::FileTooLarge));
        check(&pipe, 5, Err(io::ErrorKind::InvalidInput));
        check(Path::new("/dev/zero"), 5, Err(io::ErrorKind::InvalidInput));
        check(dir.path(), 5, Err(io::ErrorKind::IsADirectory));
        check(&dir.path().join("none"), 5, Err(io::ErrorKind::NotFound));
    }
}
