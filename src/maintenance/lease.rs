//! One maintainer a table, across servers and commands: whoever has work to do on a table says so in a table property that
//! is committed only if nobody else's is there.
//!
//! It saves double work and nothing more: every commit of maintenance holds also where two work on one table. So a lease is
//! never waited for, trusts other machines' clocks, and ends by itself some time after its holder died; at once where that was
//! a process of this machine.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use serde::Serialize;
use uuid::Uuid;

use crate::catalog::Catalogs;
use crate::clock::{self, Clock};
use crate::error::Result;
use crate::model::TableName;
use crate::table::commit::{Change, commit_change};

/// Table property with the id of who maintains a table and until when, in milliseconds since 1970.
pub const MAINTAINER: &str = "murre.maintainer";
/// For how long a lease is taken and renewed.
pub const LEASE: Duration = Duration::from_secs(600);
/// Where Linux shows its processes.
const PROCESSES: &str = "/proc";
/// Between renewals.
const RENEWAL: Duration = Duration::from_secs(200);

/// Somebody who maintains tables: one for each process.
#[derive(Clone, Debug)]
pub struct Maintainer {
    catalogs: Catalogs,
    clock: Arc<dyn Clock>,
    id: String,
}

/// Who maintains a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Host, process and a random part.
    pub id: String,
    /// In milliseconds since 1970, by the holder's clock.
    pub until_ms: u64,
}

/// What became of asking for a lease.
#[derive(Debug)]
pub enum Take {
    /// It is ours, until it is released.
    Ours(Lease),
    /// Somebody else has it.
    Held(Holder),
}

/// The right to maintain a table.
#[derive(Debug)]
pub struct Lease {
    maintainer: Maintainer,
    table: TableName,
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        let (id, until) = text.rsplit_once(' ')?;
        Some(Self {
            id: id.to_owned(),
            until_ms: until.parse().ok()?,
        })
    }

    /// Who maintains a table now, by its properties. A lease beyond what anybody may take is none.
    pub fn of(metadata: &TableMetadata, now: SystemTime) -> Option<Self> {
        let holder = Self::parse(metadata.properties().get(MAINTAINER)?)?;
        let valid = millis(now)..=millis(now + 2 * LEASE);
        valid.contains(&holder.until_ms).then_some(holder)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = UNIX_EPOCH + Duration::from_millis(self.until_ms);
        let until = humantime::format_rfc3339_seconds(until);
        write!(f, "{} until {until}", self.id)
    }
}

impl Maintainer {
    /// A maintainer of tables of these catalogs, by a name that nobody else has.
    pub fn new(catalogs: Catalogs, clock: Arc<dyn Clock>) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let random = id.get(..8).unwrap_or_default();
        Self {
            catalogs,
            clock,
            id: format!("{}/{}/{random}", host(), std::process::id()),
        }
    }

    /// Who else maintains a table now.
    pub fn other(&self, metadata: &TableMetadata) -> Option<Holder> {
        let holder = Holder::of(metadata, self.clock.now())?;
        (holder.id != self.id && !self.has_died(&holder)).then_some(holder)
    }

    /// Whether the holder was a process of this machine that is not there any more.
    fn has_died(&self, holder: &Holder) -> bool {
        let (mut own, mut parts) = (self.id.split('/'), holder.id.split('/'));
        let is_here = own.next() == parts.next() && Path::new(PROCESSES).join("self").exists();
        let process = parts.next().and_then(|id| id.parse::<u32>().ok());
        let is_gone = |id: u32| !Path::new(PROCESSES).join(id.to_string()).exists();
        is_here && process.is_some_and(is_gone)
    }

    /// Asks for the lease of a table.
    ///
    /// # Errors
    /// As [`commit_change`].
    pub async fn take(&self, table: &TableName) -> Result<Take> {
        let held = self.claim(table).await?;
        Ok(match held {
            Some(holder) => Take::Held(holder),
            None => Take::Ours(Lease {
                maintainer: self.clone(),
                table: table.clone(),
            }),
        })
    }

    /// Takes or renews a lease unless somebody else has it, who is answered then.
    async fn claim(&self, table: &TableName) -> Result<Option<Holder>> {
        let mut held = None;
        let claimed = commit_change(&self.catalogs, table, |now| {
            held = self.other(now.metadata());
            Ok(match held {
                Some(_) => Change::default(),
                None => set([(MAINTAINER.to_owned(), self.property())]),
            })
        });
        claimed.await?;
        Ok(held)
    }

    fn property(&self) -> String {
        format!("{} {}", self.id, millis(self.clock.now() + LEASE))
    }
}

impl Lease {
    /// Does work, and renews the lease for as long as that takes. Work goes on where that fails.
    pub async fn during<T>(&self, work: impl Future<Output = T> + Send) -> T {
        tokio::select! {
            done = work => done,
            never = self.renewed() => match never {},
        }
    }

    async fn renewed(&self) -> Infallible {
        loop {
            clock::sleep(RENEWAL).await;
            match self.maintainer.claim(&self.table).await {
                Ok(None) => {}
                Ok(Some(holder)) => {
                    tracing::warn!(table = %self.table, %holder, "another one maintains the table too");
                }
                Err(error) => {
                    tracing::warn!(table = %self.table, %error, "cannot renew the lease of a table");
                }
            }
        }
    }

    /// Ends the lease, if it is still ours, and sets these properties. Answers the table as it is then.
    ///
    /// # Errors
    /// As [`commit_change`]; the lease ends by itself then.
    pub async fn release(self, marks: HashMap<String, String>) -> Result<Table> {
        let Maintainer { catalogs, id, .. } = &self.maintainer;
        let released = commit_change(catalogs, &self.table, |now| {
            let text = now.metadata().properties().get(MAINTAINER);
            let holder = text.and_then(|text| Holder::parse(text));
            Ok(match holder.is_some_and(|holder| holder.id == *id) {
                true => end(marks.clone()),
                false => Change::default(),
            })
        });
        Ok(released.await?.table)
    }
}

fn set(properties: impl Into<HashMap<String, String>>) -> Change {
    let updates = properties.into();
    Change {
        updates: vec![TableUpdate::SetProperties { updates }],
        ..Change::default()
    }
}

fn end(marks: HashMap<String, String>) -> Change {
    let mut change = match marks.is_empty() {
        true => Change::default(),
        false => set(marks),
    };
    change.updates.push(TableUpdate::RemoveProperties {
        removals: vec![MAINTAINER.to_owned()],
    });
    change
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The machine's name, for people.
fn host() -> String {
    let name = Path::new(PROCESSES).join("sys/kernel/hostname");
    let name = std::fs::read_to_string(name).unwrap_or_default();
    match name.split_whitespace().next() {
        Some(name) => name.to_owned(),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests;
