//! The intent journal: attempts at commits note that they begin before their first file, and that they ended once it is known
//! what became of their files. What is left of a process that died are the attempts that somebody has to clean up after.
//!
//! It is a folder on the local disk, with one file for each process. A line is written to its file at once,
//! and not synced: a killed process loses nothing that the system has taken. What is lost when the machine dies, and what a
//! machine that never comes back has left, is for the removal of orphans by their age.
//!
//! An attempt that ended without it being known how, or whose process died, is in doubt. Its commit may still be on its way to
//! the catalog, so that its files may be judged only some time later: [`Journal::doubted`].

mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::model::TableName;
use segment::{Line, Segment};

/// Bytes of a segment at which what is settled is left out of it.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// An attempt at a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Names of its data files begin with it.
    pub id: Uuid,
    /// The table's catalog.
    pub catalog: String,
    /// The table's namespace.
    pub namespace: Vec<String>,
    /// The table's own name.
    pub name: String,
    /// The table's uuid.
    pub table: Uuid,
    /// Location that its data files are below.
    pub folder: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Since when it is not known what becomes of it; absent while its process goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubted_ms: Option<u64>,
}

impl Intent {
    /// The table that it is for.
    pub fn table_name(&self) -> TableName {
        TableName {
            catalog: self.catalog.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    segment: Segment,
    /// What is not settled.
    intents: BTreeMap<Uuid, Intent>,
    /// Bytes at which the segment is begun anew.
    limit_bytes: u64,
}

impl Journal {
    /// Opens the journal in a folder of this machine, which is made if it is missing. Several processes may share it.
    ///
    /// # Errors
    /// [`Error::Io`], also if the file system knows no locks.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::with_clock(folder, Arc::new(SystemClock))
    }

    /// The same by another clock.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn with_clock(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let create = || {
            std::fs::create_dir_all(folder)?;
            let _turn = segment::turn(folder)?;
            Segment::create(folder)
        };
        let state = State {
            segment: create().map_err(failed("open", folder))?,
            intents: BTreeMap::new(),
            limit_bytes: SEGMENT_BYTES,
        };
        Ok(Self {
            folder: folder.to_owned(),
            clock,
            state: Mutex::new(state),
        })
    }

    /// Takes over what processes that died have left; from now on it is in doubt. Answers how many attempts that were.
    ///
    /// # Errors
    /// [`Error::Io`]; what was not taken over is there for the next call.
    pub fn adopt(&self) -> Result<usize> {
        let mut state = self.state();
        let found = self.adopt_into(&mut state);
        let found = found.map_err(failed("read", &self.folder))?;
        if found > 0 {
            tracing::warn!(
                attempts = found,
                "found attempts at commits of processes that died"
            );
        }
        Ok(found)
    }

    fn adopt_into(&self, state: &mut State) -> io::Result<usize> {
        let _turn = segment::turn(&self.folder)?;
        let mut found = 0;
        for path in segment::others(&self.folder, &state.segment)? {
            let Some(dead) = segment::take(&path)? else {
                continue;
            };
            for mut intent in dead.into_values() {
                intent.doubted_ms.get_or_insert(self.now_ms());
                state.note(intent)?;
                found += 1;
            }
            std::fs::remove_file(path)?;
        }
        Ok(found)
    }

    /// The attempts that have been in doubt for `age`.
    pub fn doubted(&self, age: Duration) -> Vec<Intent> {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let until = self.now_ms().saturating_sub(age_ms);
        let is_due = |it: &&Intent| it.doubted_ms.is_some_and(|since| since <= until);
        self.state()
            .intents
            .values()
            .filter(is_due)
            .cloned()
            .collect()
    }

    /// The attempts of all processes of this machine that are not settled.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unsettled(&self) -> Result<BTreeSet<Uuid>> {
        let state = self.state();
        let mut ids: BTreeSet<Uuid> = state.intents.keys().copied().collect();
        let others = segment::others(&self.folder, &state.segment).and_then(|paths| {
            let ids = paths.iter().map(|path| segment::read(path));
            ids.collect::<io::Result<Vec<_>>>()
        });
        for intents in others.map_err(failed("read", &self.folder))? {
            ids.extend(intents.into_keys());
        }
        Ok(ids)
    }

    /// Ends an attempt: there are no files of it but those that a snapshot has.
    pub fn settled(&self, id: Uuid) {
        let mut state = self.state();
        if state.intents.remove(&id).is_some() {
            self.told(state.append(&Line::Settled { settled: id }));
            self.shorten(&mut state);
        }
    }

    /// Begins an attempt. Where it cannot be noted it goes on without: its files are orphans then, if it dies.
    pub(super) fn begin(&self, intent: Intent) {
        let mut state = self.state();
        self.told(state.note(intent));
        self.shorten(&mut state);
    }

    /// Puts an attempt in doubt.
    pub(super) fn doubt(&self, id: Uuid) {
        let now = self.now_ms();
        let mut state = self.state();
        if let Some(intent) = state.intents.get(&id).cloned() {
            let doubted_ms = Some(now);
            self.told(state.note(Intent {
                doubted_ms,
                ..intent
            }));
        }
    }

    /// Begins the segment anew where most of it is of settled attempts.
    fn shorten(&self, state: &mut State) {
        if state.segment.bytes() >= state.limit_bytes {
            self.told(state.shorten(&self.folder));
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        millis(self.clock.now())
    }

    fn told(&self, noted: io::Result<()>) {
        if let Err(error) = noted {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the intent journal cannot be written");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, intent: Intent) -> io::Result<()> {
        self.intents.insert(intent.id, intent.clone());
        self.append(&Line::Intent(intent))
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        self.segment.append(line)
    }

    fn shorten(&mut self, folder: &Path) -> io::Result<()> {
        let _turn = segment::turn(folder)?;
        let mut next = Segment::create(folder)?;
        for intent in self.intents.values() {
            next.append(&Line::Intent(intent.clone()))?;
        }
        self.limit_bytes = SEGMENT_BYTES.max(2 * next.bytes());
        std::mem::replace(&mut self.segment, next).remove()
    }
}

/// A process that ends in order leaves nothing where nothing is left to do.
impl Drop for Journal {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.intents.is_empty() {
            // Else it is found, and found empty.
            let _ = state.segment.remove();
        }
    }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn failed(action: &str, folder: &Path) -> impl FnOnce(io::Error) -> Error {
    let action = format!("{action} the intent journal in `{}`", folder.display());
    move |source| Error::Io { action, source }
}
