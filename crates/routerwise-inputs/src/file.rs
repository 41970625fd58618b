//! Opening files, and writing them so that nobody ever sees half a file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::problem::Problem;

/// What is wrong with a file as a whole: the end of a sentence that starts with its name, and what to do.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) help: String,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
        }
    }

    /// As a problem of the file.
    pub(crate) fn at(self, path: &Path) -> Problem {
        Problem::new(path, self.what).help(self.help)
    }

    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new("does not exist", "check the path, or make the file"),
            io::ErrorKind::PermissionDenied => Self::new("may not be read", "change its permissions"),
            io::ErrorKind::IsADirectory => Self::directory(),
            _ => Self::new(format!("cannot be read: {error}"), "check the disk and the path"),
        }
    }

    fn directory() -> Self {
        Self::new("is a folder, not a file", "give the path of a file")
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<File, Wrong> {
    let file = File::open(path).map_err(|error| Wrong::from_io(&error))?;
    // Opening a folder works on Linux; only reading it fails.
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Wrong::directory());
    }
    Ok(file)
}

/// A file's bytes.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(|error| Wrong::from_io(&error))?;
    Ok(bytes)
}

/// A file's text.
pub(crate) fn text(path: &Path) -> Result<String, Wrong> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        Wrong::new(
            format!("is not UTF-8 text: line {line} has a byte that no character starts with"),
            "save it as UTF-8",
        )
    })
}

/// Writes a file beside its place and then moves it there: whoever reads the path sees the old content or the new, never half
/// of it, even when this process is killed. Missing folders are made.
///
/// # Errors
/// Whatever the disk says.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".routerwise-")
        .suffix(".part")
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    make_readable(file.as_file())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Temporary files are private; what replaces them is read by others too.
#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/plan.json");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
