//! One worker process. All of this blocks, so it runs on threads that may.
//!
//! The process gets a short list of variables and not the server's whole environment, which may hold secrets that code
//! from the registry has no business with. It ends with its input, or is killed.

use std::io::{BufRead, BufReader, Error as IoError, ErrorKind, Read, Result as IoResult};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;

use super::protocol::{self, Complaint, Job};
use crate::config::inherited;
use crate::error::Error;

/// What an interpreter needs to find itself and its packages.
const VARIABLES: [&str; 11] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
];
/// Longest piece of a worker's standard error that is logged at once.
const MAX_LINE_BYTES: u64 = 4096;

/// A running process, killed when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    process: Arc<Process>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    greeted: bool,
    /// The job that it was told about last.
    loaded: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The process cannot be spoken to any more.
    Gone(IoError),
    /// It said no; the next batch may work.
    Refused(Error),
}

/// A process that may be killed from elsewhere while a thread waits for it.
#[derive(Debug)]
pub(super) struct Process(Mutex<Child>);

impl Process {
    /// Kills the process if it still runs, and reaps it.
    pub(super) fn kill(&self) {
        let mut child = self.0.lock().expect("no holder panics");
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.kill();
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        Self::Gone(error)
    }
}

impl Worker {
    /// Starts a process. Its first answer takes longer, since it has to import Feast before.
    pub(super) fn start(python: &str) -> IoResult<Self> {
        let mut child = Command::new(python)
            .args(["-m", "feast_murre.worker"])
            .env_clear()
            .envs(inherited(&VARIABLES))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        std::thread::spawn(move || log_lines(stderr));
        Ok(Self {
            process: Arc::new(Process(Mutex::new(child))),
            stdin,
            stdout: BufReader::new(stdout),
            greeted: false,
            loaded: None,
        })
    }

    /// A handle to kill it by.
    pub(super) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process)
    }

    /// Whether it has answered before.
    pub(super) fn greeted(&self) -> bool {
        self.greeted
    }

    /// The columns that the job's views compute from these rows.
    pub(super) fn evaluate(
        &mut self,
        job: &Job,
        rows: &RecordBatch,
    ) -> Result<RecordBatch, Failure> {
        self.greet()?;
        self.load(job)?;
        let refused = |what: &str| {
            let action = format!("{what} a worker");
            |source| Failure::Refused(Error::Arrow { action, source })
        };
        let rows = protocol::encode(rows).map_err(refused("send rows to"))?;
        protocol::write_frame(&mut self.stdin, protocol::BATCH, &rows)?;
        let answer = self.answer(protocol::BATCH, job)?;
        protocol::decode(&answer).map_err(refused("read the answer of"))
    }

    fn greet(&mut self) -> Result<(), Failure> {
        if !self.greeted {
            match protocol::read_frame(&mut self.stdout)? {
                (protocol::HELLO, _) => self.greeted = true,
                (kind, _) => return Err(unexpected(kind)),
            }
        }
        Ok(())
    }

    fn load(&mut self, job: &Job) -> Result<(), Failure> {
        if self.loaded == Some(job.id) {
            return Ok(());
        }
        self.loaded = None;
        protocol::write_frame(&mut self.stdin, protocol::REQUEST, &job.header)?;
        for definition in &job.definitions {
            protocol::write_frame(&mut self.stdin, protocol::DEFINITION, definition)?;
        }
        self.answer(protocol::DONE, job)?;
        self.loaded = Some(job.id);
        Ok(())
    }

    fn answer(&mut self, expected: u8, job: &Job) -> Result<Vec<u8>, Failure> {
        match protocol::read_frame(&mut self.stdout)? {
            (kind, payload) if kind == expected => Ok(payload),
            (protocol::ERROR, payload) => Err(Failure::Refused(complaint(&payload, job))),
            (kind, _) => Err(unexpected(kind)),
        }
    }
}

fn unexpected(kind: u8) -> Failure {
    let message = format!("unexpected frame `{}`", kind.escape_ascii());
    Failure::Gone(IoError::new(ErrorKind::InvalidData, message))
}

fn complaint(payload: &[u8], job: &Job) -> Error {
    let complaint: Complaint = serde_json::from_slice(payload).unwrap_or_else(|error| Complaint {
        view: String::new(),
        kind: "unreadable error".to_owned(),
        message: error.to_string(),
    });
    let view = match complaint.view.is_empty() {
        true => job.names.join(", "),
        false => complaint.view,
    };
    Error::OnDemandFailed {
        view,
        message: format!("{}: {}", complaint.kind, complaint.message),
    }
}

fn log_lines(stderr: ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line);
        if !matches!(read, Ok(bytes) if bytes > 0) {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        tracing::info!(line = text.trim_end(), "on-demand worker");
    }
}
