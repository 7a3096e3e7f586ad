//! Files that are whole or not there, and folders with one writer.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::IoContext;
use crate::error::{Error, Result};

/// A file that is written under a name of its own and then takes the place of another. Dropped
/// unfinished, it is deleted.
///
/// The name is new (`O_EXCL`) and has the process's number, so that of two programs that write one
/// file each leaves it whole.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    target: PathBuf,
    /// What is no file (a pipe, `/dev/stdout`) cannot be replaced: it gets the bytes at the end.
    copied: bool,
    finished: bool,
}

/// End of the names of drafts, which begin with a dot.
pub const DRAFT_ENDING: &str = ".part";

/// Drafts that are being written.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn open_drafts() -> MutexGuard<'static, Vec<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delete what is half written: for a program that is about to end in the middle of it.
pub fn remove_drafts() {
    for path in open_drafts().drain(..) {
        let _ = std::fs::remove_file(path);
    }
}

/// A draft that nobody has written to for so long.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Delete drafts beside `target` of programs that were killed. Where the system does not tell which
/// programs there are, they stay.
fn remove_orphans(target: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Once: a command may write thousands of files into a folder.
    static LOOKED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut looked = LOOKED.lock().unwrap_or_else(PoisonError::into_inner);
    if looked.iter().any(|path| path == folder) {
        return;
    }
    looked.push(folder.to_owned());
    drop(looked);
    let entries = std::fs::read_dir(folder);
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .as_encoded_bytes()
            .strip_prefix(b".")
            .and_then(|rest| rest.strip_suffix(DRAFT_ENDING.as_bytes()))
            .and_then(|rest| rest.rsplit(|b| *b == b'.').next())
            .and_then(|last| str::from_utf8(last).ok()?.split_once('-'))
            .and_then(|(owner, number)| number.parse::<u32>().and(owner.parse::<u32>()).ok());
        let gone = owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists());
        // A program of another machine or container may share the folder.
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if gone && age().is_some_and(|age| age > ABANDONED) {
            // Another program may have done so.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Draft {
    /// A new, empty file beside `target`.
    pub fn beside(target: &Path) -> Result<(Draft, File)> {
        let copied = std::fs::metadata(target).is_ok_and(|m| !m.is_file() && !m.is_dir());
        // What a link leads to is written, and the link stays.
        let linked = std::fs::symlink_metadata(target).is_ok_and(|m| m.is_symlink());
        let followed = match linked && !copied {
            true => std::fs::canonicalize(target).ok(),
            false => None,
        };
        let target = followed.as_deref().unwrap_or(target);
        let temporary = std::env::temp_dir().join(target.file_name().unwrap_or_default());
        let beside = if copied { &temporary } else { target };
        let mut stem = std::ffi::OsString::from(".");
        // File systems have names of 255 bytes.
        stem.push(
            target
                .file_name()
                .filter(|n| n.len() < 200)
                .unwrap_or_default(),
        );
        remove_orphans(beside);
        let mut number = 0;
        loop {
            let mut name = stem.clone();
            name.push(format!(".{}-{number}{DRAFT_ENDING}", std::process::id()));
            let path = beside.with_file_name(name);
            match File::create_new(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && number < 1000 => number += 1,
                created => {
                    let file = created.at("write", target)?;
                    open_drafts().push(path.clone());
                    let draft = Draft {
                        path,
                        target: target.to_owned(),
                        copied,
                        finished: false,
                    };
                    return Ok((draft, file));
                }
            }
        }
    }

    /// Where it is until it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Give it its name.
    pub fn finish(mut self) -> Result<()> {
        if self.copied {
            let mut from = File::open(&self.path).at("read", &self.path)?;
            let to = File::options().write(true).open(&self.target);
            std::io::copy(&mut from, &mut to.at("write", &self.target)?)
                .at("write", &self.target)?;
            return Ok(());
        }
        std::fs::rename(&self.path, &self.target).at("write", &self.target)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        open_drafts().retain(|path| *path != self.path);
        if !self.finished {
            // The error that stopped the writing is the one to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The right to write; given back when it is dropped or the program ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    /// None where the file system knows no locks.
    file: Option<File>,
    path: PathBuf,
}

impl Lock {
    /// Take the lock that the file at `path` stands for; it is made if it is not there. `whose` is
    /// what the other one must be.
    ///
    /// # Errors
    /// Another program that has it.
    pub fn take(path: &Path, whose: &str) -> Result<Lock> {
        loop {
            let file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .at("write", path)?;
            let file = match file.try_lock() {
                // Its owner before may have deleted it between the two calls.
                Ok(()) if !path.exists() => continue,
                Ok(()) => Some(file),
                Err(std::fs::TryLockError::WouldBlock) => {
                    return Err(Error::Locked(whose.to_owned()));
                }
                Err(std::fs::TryLockError::Error(_)) => None,
            };
            return Ok(Lock {
                file,
                path: path.to_owned(),
            });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays behind locks nothing.
        let _ = std::fs::remove_file(&self.path);
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_of_one_file_leave_one_of_both_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model.1bit");
        // What a killed program left is cleared away.
        let orphan = dir.path().join(".model.1bit.4294967290-0.part");
        let yesterday = std::time::SystemTime::now() - 24 * ABANDONED;
        File::create(&orphan)
            .unwrap()
            .set_modified(yesterday)
            .unwrap();
        let (first, _) = Draft::beside(&target).unwrap();
        assert!(!orphan.exists());
        let (second, _) = Draft::beside(&target).unwrap();
        assert_ne!(first.path(), second.path());
        std::fs::write(first.path(), "first").unwrap();
        std::fs::write(second.path(), "second").unwrap();
        first.finish().unwrap();
        drop(second);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "first");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path, "").unwrap();
        let e = Lock::take(&path, "another training is at it").unwrap_err();
        assert_eq!(e.to_string(), "another training is at it");
        drop(held);
        Lock::take(&path, "").unwrap();
    }
}
