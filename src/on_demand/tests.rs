//! The evaluator against a worker that speaks the protocol and needs no Feast. Feast itself is met in `python/tests`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use bytes::Bytes;
use datafusion::physical_plan::ExecutionPlan;
use futures::{TryStreamExt, stream};
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::model::OnDemandFeatureView;

/// A folder with an interpreter that runs the fake worker, and an evaluator that uses it.
struct Lab {
    folder: TempDir,
    evaluator: Arc<Evaluator>,
}

impl Lab {
    fn new(timeout: Duration) -> Self {
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("worker.py");
        std::fs::write(&script, include_str!("tests/worker.py")).unwrap();
        let python = folder.path().join("python");
        let run = format!("#!/bin/sh\nexec python3 '{}'\n", script.display());
        std::fs::write(&python, run).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            evaluator: evaluator(&python, timeout),
            folder,
        }
    }

    /// What the worker does with these batches, as the definition says.
    async fn evaluate(
        &self,
        definition: &str,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>> {
        run(&self.evaluator, definition, batches).await
    }

    /// Ids of the processes started so far.
    fn starts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("starts")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn evaluator(python: &Path, timeout: Duration) -> Arc<Evaluator> {
    Arc::new(Evaluator::new(OnDemandConfig {
        python: python.display().to_string(),
        timeout,
    }))
}

fn view(definition: &str) -> ResolvedOnDemand {
    ResolvedOnDemand {
        view: Arc::new(OnDemandFeatureView {
            name: "v".to_owned(),
            features: vec![Field::new("out", DataType::Float64, false)],
            inputs: Vec::new(),
            definition: Bytes::copy_from_slice(definition.as_bytes()),
        }),
        name: "a".to_owned(),
        features: vec!["out".to_owned()],
    }
}

async fn run(
    evaluator: &Arc<Evaluator>,
    definition: &str,
    batches: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>> {
    let schema = rows(0).schema();
    let input = stream::iter(batches.into_iter().map(Ok));
    let input = Box::pin(RecordBatchStreamAdapter::new(schema, input));
    let output = evaluator.evaluate(input, &[view(definition)], false)?;
    output.try_collect().await.map_err(Error::from)
}

/// Integers, so that the echo has to be cast.
fn rows(count: i64) -> RecordBatch {
    let values = Int64Array::from_iter_values(0..count);
    let schema = Schema::new(vec![Field::new("in", DataType::Int64, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn answers_are_appended_in_the_declared_type() {
    let lab = Lab::new(MINUTE);
    let output = lab.evaluate("echo", vec![rows(3)]).await.unwrap();
    assert_eq!(output.len(), 1);
    assert_eq!(output[0].schema().field(1).name(), "out");
    let expected = Float64Array::from(vec![0.0, 1.0, 2.0]);
    assert_eq!(output[0].column(1).as_primitive::<Float64Type>(), &expected);
    assert_eq!(output[0].column(0), rows(3).column(0));
}

#[tokio::test]
async fn small_batches_are_sent_together_and_large_ones_apart() {
    let lab = Lab::new(MINUTE);
    let small = lab.evaluate("echo", vec![rows(10); 5]).await.unwrap();
    assert_eq!(
        small.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
        [50]
    );
    let large = lab.evaluate("echo", vec![rows(40_000); 3]).await.unwrap();
    let sizes: Vec<_> = large.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [80_000, 40_000]);
}

#[tokio::test]
async fn no_rows_need_no_worker() {
    let nobody = evaluator(Path::new("/nonexistent/python"), MINUTE);
    let output = run(&nobody, "echo", vec![rows(0)]).await.unwrap();
    assert_eq!((output[0].num_columns(), output[0].num_rows()), (2, 0));
    assert!(run(&nobody, "echo", vec![]).await.unwrap().is_empty());
    let error = run(&nobody, "echo", vec![rows(1)]).await.unwrap_err();
    assert!(error.to_string().contains("cannot be started"), "{error}");
}

#[tokio::test]
async fn a_worker_is_kept() {
    let lab = Lab::new(MINUTE);
    for _ in 0..3 {
        lab.evaluate("echo", vec![rows(1)]).await.unwrap();
    }
    lab.evaluate("complain", vec![rows(1)]).await.unwrap_err();
    lab.evaluate("broken", vec![rows(1)]).await.unwrap_err();
    lab.evaluate("echo", vec![rows(1)]).await.unwrap();
    assert_eq!(lab.starts().len(), 1);
}

#[rstest]
#[case("complain", "on-demand feature view `v`: ValueError: negative fare")]
#[case("broken", "on-demand feature view `v`: ValueError: cannot be loaded")]
#[case(
    "crash",
    "on-demand feature view `a`: its evaluator ended without an answer; the server's log has its last words"
)]
#[case(
    "babble",
    "on-demand feature view `a`: its evaluator ended without an answer; the server's log has its last words"
)]
#[tokio::test]
async fn failures_are_told_and_survived(#[case] definition: &str, #[case] message: &str) {
    let lab = Lab::new(MINUTE);
    let error = lab.evaluate(definition, vec![rows(1)]).await.unwrap_err();
    assert!(matches!(error, Error::OnDemandFailed { .. }), "{error:?}");
    assert_eq!(error.to_string(), message);
    lab.evaluate("echo", vec![rows(1)]).await.unwrap();
}

#[tokio::test]
async fn what_is_not_arrow_is_an_error() {
    let lab = Lab::new(MINUTE);
    let error = lab.evaluate("garbage", vec![rows(1)]).await.unwrap_err();
    assert!(
        error.to_string().starts_with("read the answer of a worker"),
        "{error}"
    );
}

#[tokio::test]
async fn a_worker_that_died_meanwhile_is_replaced() {
    let lab = Lab::new(MINUTE);
    for _ in 0..2 {
        let output = lab.evaluate("echo and leave", vec![rows(1)]).await.unwrap();
        assert_eq!(output[0].num_rows(), 1);
    }
    assert_eq!(lab.starts().len(), 2);
}

#[tokio::test]
async fn a_worker_that_overstays_is_killed() {
    let lab = Lab::new(Duration::from_millis(300));
    lab.evaluate("echo", vec![rows(1)]).await.unwrap();
    let error = lab.evaluate("sleep", vec![rows(1)]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "on-demand feature view `a`: a batch took longer than 300 ms; make its code faster, or raise on_demand.timeout"
    );
    let process = Path::new("/proc").join(&lab.starts()[0]);
    assert!(!process.exists());
    lab.evaluate("echo", vec![rows(1)]).await.unwrap();
}

#[tokio::test]
async fn workers_end_with_their_evaluator() {
    let lab = Lab::new(MINUTE);
    lab.evaluate("echo", vec![rows(1)]).await.unwrap();
    let process = Path::new("/proc").join(&lab.starts()[0]);
    assert!(process.exists());
    drop(lab);
    assert!(!process.exists());
}

#[tokio::test]
async fn workers_do_not_get_the_servers_environment() {
    let lab = Lab::new(MINUTE);
    let error = lab
        .evaluate("environment", vec![rows(1)])
        .await
        .unwrap_err();
    let (text, known) = (error.to_string(), std::env::var_os("CARGO_MANIFEST_DIR"));
    assert!(known.is_some() && !text.contains("CARGO"), "{text}");
    assert!(text.contains("PATH"), "{text}");
}

#[test]
fn without_an_interpreter_both_ways_out_are_named() {
    let off = Evaluator::new(OnDemandConfig::default());
    assert!(off.check_configured(&[]).is_ok());
    let error = off
        .check_configured(&[view("echo")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("feast_murre.MurreOfflineStore"), "{error}");
    assert!(error.contains("on_demand.python"), "{error}");
}

#[test]
fn columns_are_named_by_alias_where_full_names_are_wanted() {
    let names = |full| {
        let columns = Evaluator::columns(&[view("")], full);
        columns.iter().map(|c| c.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(false), ["out"]);
    assert_eq!(names(true), ["a__out"]);
    assert!(Evaluator::columns(&[view("")], false)[0].is_nullable());
}

#[test]
fn a_feature_must_not_have_the_name_of_another_column() {
    let schema = Arc::new(Schema::new(vec![Field::new("out", DataType::Int64, true)]));
    let input = Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema));
    let lab = Arc::new(Evaluator::new(OnDemandConfig {
        python: "python3".to_owned(),
        ..OnDemandConfig::default()
    }));
    let plan = |full| {
        OnDemandExec::try_new(
            Arc::<datafusion::physical_plan::empty::EmptyExec>::clone(&input),
            Arc::clone(&lab),
            vec![view("")],
            full,
        )
    };
    let error = plan(false).unwrap_err();
    assert!(matches!(error, Error::ColumnCollision { column } if column == "out"));
    assert_eq!(plan(true).unwrap().schema().fields().len(), 2);
}
