//! The worker processes: few, shared by all requests batch by batch, and replaced when they fail.
//!
//! A worker is taken for one batch and not for a whole request, so that a client who reads slowly keeps nobody waiting.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::protocol::Job;
use super::worker::{Failure, Process, Worker};
use crate::config::OnDemandConfig;
use crate::error::{Error, Result};

/// Processes at a time; each holds an interpreter with Feast and one batch.
const MAX_WORKERS: usize = 2;
/// What importing Feast may take on top of the first batch's limit.
const START_LIMIT: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pool {
    config: OnDemandConfig,
    permits: Semaphore,
    idle: Mutex<Vec<Worker>>,
}

/// Kills a worker that nobody waits for any more: past its time limit, or after the client has left.
struct KillOnDrop(Option<Arc<Process>>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.kill();
        }
    }
}

impl Pool {
    pub(super) fn new(config: OnDemandConfig) -> Self {
        Self {
            config,
            permits: Semaphore::new(MAX_WORKERS),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// What the job's views compute from `rows`, by the first worker that is free. One that died since it was used last is
    /// replaced.
    pub(super) async fn evaluate(&self, job: &Arc<Job>, rows: &RecordBatch) -> Result<RecordBatch> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|error| Error::internal("wait for a worker", error))?;
        let idle = self.idle.lock().expect("no holder panics").pop();
        if let Some(worker) = idle {
            match self.exchange(worker, job, rows).await? {
                Err(Failure::Gone(error)) => tracing::info!(%error, "an on-demand worker is gone"),
                Err(Failure::Refused(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        match self.exchange(self.start(job)?, job, rows).await? {
            Err(Failure::Gone(error)) => Err(gone(job, &error)),
            Err(Failure::Refused(error)) => Err(error),
            Ok(answer) => Ok(answer),
        }
    }

    fn start(&self, job: &Job) -> Result<Worker> {
        let python = &self.config.python;
        tracing::info!(python, "starting an on-demand worker");
        Worker::start(python).map_err(|error| {
            let message = format!("the interpreter of on_demand.python cannot be started: {error}");
            failed(job, message)
        })
    }

    async fn exchange(
        &self,
        mut worker: Worker,
        job: &Arc<Job>,
        rows: &RecordBatch,
    ) -> Result<Result<RecordBatch, Failure>> {
        let limit = self.limit(&worker);
        let mut guard = KillOnDrop(Some(worker.process()));
        let (work, rows) = (Arc::clone(job), rows.clone());
        let exchange = tokio::task::spawn_blocking(move || {
            let answer = worker.evaluate(&work, &rows);
            (worker, answer)
        });
        let done = timeout(limit, exchange).await;
        let (worker, answer) = done
            .map_err(|_| timed_out(job, limit))?
            .map_err(|error| Error::internal("evaluate on-demand feature views", error))?;
        guard.0 = None;
        if !matches!(answer, Err(Failure::Gone(_))) {
            self.idle.lock().expect("no holder panics").push(worker);
        }
        Ok(answer)
    }

    fn limit(&self, worker: &Worker) -> Duration {
        match worker.greeted() {
            true => self.config.timeout,
            false => self.config.timeout.saturating_add(START_LIMIT),
        }
    }
}

fn timed_out(job: &Job, limit: Duration) -> Error {
    Error::TimedOut {
        what: format!(
            "on-demand feature view `{}`: a batch",
            job.names.join("`, `")
        ),
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        hint: "make its code faster, or raise on_demand.timeout",
    }
}

fn gone(job: &Job, error: &std::io::Error) -> Error {
    tracing::warn!(%error, "an on-demand worker ended without an answer");
    let message = "its evaluator ended without an answer; the server's log has its last words";
    failed(job, message.to_owned())
}

fn failed(job: &Job, message: String) -> Error {
    Error::OnDemandFailed {
        view: job.names.join(", "),
        message,
    }
}
