//! The journal's files: a segment for each process, of JSON lines, locked for as long as the process lives. The lock goes with
//! the process, however that ends. Who makes a segment or takes one over holds the folder's lock meanwhile, so that nobody
//! finds a segment that is not locked yet.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Intent;

const EXTENSION: &str = "intents";
/// The folder's lock.
const LOCK: &str = "lock";

/// One line of a segment; the last one about an attempt counts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Settled { settled: Uuid },
    Intent(Intent),
}

/// This process's own.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Segment {
    /// Makes a locked segment. Needs the folder's [`turn`].
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{}.{EXTENSION}", Uuid::new_v4()));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)?;
        file.lock()?;
        let bytes = 0;
        Ok(Self { path, file, bytes })
    }

    /// In one call of the system. It begins with a line break, too: the line before may have been cut off by a full disk.
    pub(super) fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = vec![b'\n'];
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        self.bytes += text.len() as u64;
        self.file.write_all(&text)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Waits for the folder's lock, which is held until the file is dropped.
pub(super) fn turn(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK))?;
    lock.lock()?;
    Ok(lock)
}

/// All segments but this process's own.
pub(super) fn others(folder: &Path, own: &Segment) -> io::Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == EXTENSION) && path != own.path {
            others.push(path);
        }
    }
    Ok(others)
}

/// What a process has left; `None` if it lives, or if it cannot be told. Needs the folder's [`turn`].
pub(super) fn take(path: &Path) -> io::Result<Option<BTreeMap<Uuid, Intent>>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => read(path).map(Some),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            let path = path.display();
            tracing::warn!(%path, %error, "cannot tell whether the process of a segment lives");
            Ok(None)
        }
    }
}

/// What is not settled by a segment; none if it is gone. Lines that cannot be read are passed over: the last one may be cut
/// off, by the end of its process or because it is being written.
pub(super) fn read(path: &Path) -> io::Result<BTreeMap<Uuid, Intent>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let mut intents = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Intent(intent)) => drop(intents.insert(intent.id, intent)),
            Ok(Line::Settled { settled }) => drop(intents.remove(&settled)),
            Err(_) => {}
        }
    }
    Ok(intents)
}
