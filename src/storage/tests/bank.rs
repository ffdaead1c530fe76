//! Who lends credentials by script, and a table that is read with them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use iceberg::io::FileIO;

use super::super::lent::Lent;
use super::*;
use crate::clock::{self, Clock, ManualClock};

/// Lends key `k2`, `k3`, …, each for an hour or without an end, unless it is down.
#[derive(Debug)]
pub(super) struct Bank {
    clock: Arc<ManualClock>,
    life: Option<Duration>,
    pub(super) is_down: Mutex<bool>,
    asked: AtomicUsize,
}

#[async_trait]
impl Lender for Bank {
    async fn lend(&self) -> Result<Vec<Loan>, String> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        clock::sleep(Duration::from_millis(20)).await;
        match *self.is_down.lock().unwrap() {
            true => Err("the catalog is down".to_owned()),
            false => Ok(vec![self.loan("", &format!("k{}", asked + 2))]),
        }
    }
}

impl Bank {
    pub(super) fn loan(&self, prefix: &str, key: &str) -> Loan {
        let mut properties = properties(&[
            ("s3.access-key-id", key),
            ("s3.secret-access-key", "hunter2"),
            ("s3.session-token", &format!("hunter3-{key}")),
        ]);
        if let Some(life) = self.life {
            let until = self.clock.now() + life;
            let millis = until
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_millis();
            let name = "s3.session-token-expires-at-ms".to_owned();
            properties.insert(name, millis.to_string());
        }
        Loan {
            prefix: prefix.to_owned(),
            properties,
        }
    }
}

pub(super) struct Fixture {
    pub(super) server: Server,
    pub(super) bank: Arc<Bank>,
    pub(super) lent: Arc<Lent>,
    pub(super) io: FileIO,
}

impl Fixture {
    /// A table whose first key is `k1`.
    pub(super) async fn new(life: Option<u64>, refuses: fn(&str) -> Option<Answer>) -> Self {
        let server = Server::start(move |request| match refuses(request.key()) {
            Some(refusal) => refusal,
            None if request.header("range").is_some() => Answer::range(request),
            None => Answer::found("abc"),
        })
        .await;
        let bank = Arc::new(Bank {
            clock: Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH)),
            life: life.map(Duration::from_secs),
            is_down: Mutex::new(false),
            asked: AtomicUsize::new(0),
        });
        let lent = lent(&server, &bank, vec![bank.loan("", "k1")]);
        Self {
            io: iceberg_io::lent_file_io(Arc::clone(&lent)),
            server,
            bank,
            lent,
        }
    }

    pub(super) async fn read(&self) -> iceberg::Result<Bytes> {
        self.io.new_input("s3://lake/t/a")?.read().await
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.bank.clock.advance(Duration::from_secs(seconds));
    }

    pub(super) fn asked(&self) -> usize {
        self.bank.asked.load(Ordering::Relaxed)
    }
}

pub(super) fn lent(server: &Server, bank: &Arc<Bank>, loans: Vec<Loan>) -> Arc<Lent> {
    let base = properties(&[
        ("s3.endpoint", &server.address),
        ("s3.access-key-id", "base"),
        ("s3.secret-access-key", "hunter1"),
    ]);
    let clock = Arc::<ManualClock>::clone(&bank.clock);
    let lender = Arc::<Bank>::clone(bank);
    Arc::new(Lent::new(&base, loans, lender, clock))
}

pub(super) fn nothing(_: &str) -> Option<Answer> {
    None
}
