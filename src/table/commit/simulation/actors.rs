//! Who does something in the simulated world: writers, a server that dies, another server, another engine, a compaction.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Operation, Struct,
};
use iceberg::table::Table;
use tokio::sync::watch;

use super::check::live_files;
use super::world::{Door, World};
use crate::catalog::Catalogs;
use crate::clock;
use crate::error::Result;
use crate::model::TableName;
use crate::table::commit::{
    Change, Committed, GroupCommit, Receipt, Removed, Submission, commit_change, left_nothing,
};

/// Times that a client sends a write before it gives up.
const PATIENCE: usize = 12;
/// How long a client waits for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// What clients and operators know of what happened.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What each file holds: attempts at writes, by their names.
    pub(super) contents: BTreeMap<String, BTreeSet<String>>,
    /// The key of each attempt.
    pub(super) keys: BTreeMap<String, String>,
    /// Answers to clients by key.
    pub(super) receipts: BTreeMap<String, Vec<Receipt>>,
    /// Files that were deleted, since no snapshot could have them.
    pub(super) deleted: BTreeSet<String>,
    crashes: usize,
}

impl History {
    pub(super) fn replays(&self) -> usize {
        let receipts = self.receipts.values().flatten();
        receipts.filter(|receipt| receipt.replayed).count()
    }

    pub(super) fn crashes(&self) -> usize {
        self.crashes
    }
}

/// One life of a server.
#[derive(Clone)]
struct Server {
    commits: Arc<GroupCommit>,
    catalogs: Catalogs,
    life: Arc<watch::Sender<bool>>,
}

impl Server {
    fn start(world: &Arc<World>) -> Self {
        let (life, alive) = watch::channel(true);
        let door = Arc::new(Door {
            world: Arc::clone(world),
            alive,
        });
        let catalogs = Catalogs::over(Arc::<Door>::clone(&door), door);
        Self {
            commits: Arc::new(GroupCommit::new(catalogs.clone(), None)),
            catalogs,
            life: Arc::new(life),
        }
    }

    /// What is asked of the server; `None` if it dies, or does not answer in time.
    async fn ask<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut alive = self.life.subscribe();
        let death = async move { drop(alive.wait_for(|alive| !alive).await) };
        tokio::select! {
            answer = clock::timeout(ANSWER, work) => answer,
            () = death => None,
        }
    }
}

#[derive(Clone)]
pub(super) struct Crew {
    world: Arc<World>,
    name: TableName,
    servers: Arc<Mutex<Vec<Server>>>,
    history: Arc<Mutex<History>>,
}

impl Crew {
    pub(super) fn new(world: Arc<World>) -> Self {
        let servers = (0..2).map(|_| Server::start(&world)).collect();
        Self {
            world,
            name: TableName::parse("default", "n.t").unwrap(),
            servers: Arc::new(Mutex::new(servers)),
            history: Arc::default(),
        }
    }

    /// Ends when all writers have.
    pub(super) async fn play(self, writers: usize, writes: usize) -> History {
        let others = [
            tokio::spawn(self.clone().dies()),
            tokio::spawn(self.clone().compacts()),
            tokio::spawn(self.clone().meddles()),
        ];
        let writers = (0..writers).map(|writer| tokio::spawn(self.clone().writes(writer, writes)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        for other in others {
            other.abort();
            let _ = other.await;
        }
        std::mem::take(&mut *self.history.lock().unwrap())
    }

    fn server(&self) -> Server {
        let index = self.world.pick(2);
        self.servers.lock().unwrap()[index].clone()
    }

    async fn writes(self, writer: usize, writes: usize) {
        for write in 0..writes {
            let key = format!("{writer}-{write}");
            for attempt in 0..PATIENCE {
                if self.write(&key, attempt).await && self.world.draw(0.0..1.0) < 0.8 {
                    break;
                }
                self.world.wait(5.0).await;
            }
        }
    }

    /// Whether it was acknowledged.
    async fn write(&self, key: &str, attempt: usize) -> bool {
        let name = format!("{key}/{attempt}");
        let file = self.file(&name, BTreeSet::from([name.clone()]));
        let path = file.file_path().to_owned();
        self.history
            .lock()
            .unwrap()
            .keys
            .insert(name, key.to_owned());
        let server = self.server();
        let Ok(table) = self.world.load() else {
            return false;
        };
        let submission = Submission {
            table: table.metadata().uuid(),
            files: BTreeMap::from([(0, vec![file])]),
            rows: 1,
            key: Some(key.to_owned()),
            max_sequence: None,
        };
        let answer = server
            .ask(server.commits.commit(&self.name, submission))
            .await;
        let mut history = self.history.lock().unwrap();
        match answer {
            Some(Ok(receipt)) => {
                history
                    .receipts
                    .entry(key.to_owned())
                    .or_default()
                    .push(receipt);
                if receipt.replayed {
                    history.deleted.insert(path);
                }
                true
            }
            Some(Err(error)) if left_nothing(&error) => {
                history.deleted.insert(path);
                false
            }
            Some(Err(_)) | None => false,
        }
    }

    fn file(&self, name: &str, contents: BTreeSet<String>) -> DataFile {
        let path = format!("memory://data/{name}.parquet");
        let mut history = self.history.lock().unwrap();
        history.contents.insert(path.clone(), contents);
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .partition_spec_id(0)
            .record_count(1)
            .file_size_in_bytes(1)
            .build()
            .unwrap()
    }

    /// A server dies now and then, and another one takes its place.
    async fn dies(self) {
        loop {
            self.world.wait(30.0).await;
            let new = Server::start(&self.world);
            let index = self.world.pick(2);
            let old = std::mem::replace(&mut self.servers.lock().unwrap()[index], new);
            old.life.send_replace(false);
            self.history.lock().unwrap().crashes += 1;
        }
    }

    /// Some files become one, as a compaction does it.
    async fn compacts(self) {
        for run in 0.. {
            self.world.wait(20.0).await;
            let server = self.server();
            server.ask(self.compact(&server, run)).await;
        }
    }

    async fn compact(&self, server: &Server, run: usize) -> Result<()> {
        let table = server.catalogs.load_table(&self.name).await?;
        let live: Vec<String> = live_files(&table).await?.into_iter().take(5).collect();
        if live.len() < 2 {
            return Ok(());
        }
        let contents = {
            let history = self.history.lock().unwrap();
            let of = |path: &String| history.contents[path].iter().cloned();
            live.iter().flat_map(of).collect()
        };
        let file = self.file(&format!("compacted-{run}"), contents);
        let path = file.file_path().to_owned();
        let done = self
            .replace(server, &table, file, live.into_iter().collect())
            .await;
        if done.as_ref().is_err_and(left_nothing) {
            self.history.lock().unwrap().deleted.insert(path);
        }
        done.map(drop)
    }

    async fn replace(
        &self,
        server: &Server,
        table: &Table,
        file: DataFile,
        paths: BTreeSet<String>,
    ) -> Result<Committed> {
        let current = table.metadata().current_snapshot();
        let change = Change {
            added: BTreeMap::from([(0, vec![file])]),
            removed: Removed::Files {
                paths,
                read_at: current.map_or(0, |snapshot| snapshot.sequence_number()),
            },
            operation: Operation::Replace,
            ..Change::default()
        };
        commit_change(&server.catalogs, &self.name, |_| Ok(change.clone())).await
    }

    /// Another engine changes properties and appends rows of its own.
    async fn meddles(self) {
        for round in 0.. {
            self.world.wait(15.0).await;
            let server = Server::start(&self.world);
            let name = format!("other/{round}");
            let file = (round % 2 == 0).then(|| self.file(&name, BTreeSet::from([name.clone()])));
            let change = Change {
                updates: vec![TableUpdate::SetProperties {
                    updates: [("round".to_owned(), round.to_string())].into(),
                }],
                added: file.map(|file| (0, vec![file])).into_iter().collect(),
                operation: Operation::Append,
                ..Change::default()
            };
            // Whether it was done does not matter to anybody.
            drop(commit_change(&server.catalogs, &self.name, |_| Ok(change.clone())).await);
        }
    }
}
