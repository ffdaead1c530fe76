//! The smallest join there is: one view of one key and one feature.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Field, Int32Type, TimeUnit};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::{ExecutionPlan, collect};

use super::super::{FetchRows, PitJoinExec, PitView};
use super::source::{Layout, TableSource, context, memory, scan};
use super::{batch, timestamps};

pub(super) const MICRO: TimeUnit = TimeUnit::Microsecond;

/// A view `v` of one Int64 key `id`, one feature `value`, no created time.
pub(super) struct Table {
    pub(super) unit: TimeUnit,
    pub(super) ttl: Option<Duration>,
    pub(super) keys: Vec<Option<i64>>,
    pub(super) events: Vec<Option<i64>>,
    pub(super) values: Vec<i32>,
}

impl Table {
    pub(super) fn of(unit: TimeUnit, rows: &[(i64, i64, i32)]) -> Self {
        let keys = rows.iter().map(|row| Some(row.0)).collect();
        let events = rows.iter().map(|row| Some(row.1)).collect();
        Self {
            unit,
            ttl: None,
            keys,
            events,
            values: rows.iter().map(|row| row.2).collect(),
        }
    }

    pub(super) fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    pub(super) fn ranking(&self) -> Vec<(String, ArrayRef)> {
        let keys: ArrayRef = Arc::new(self.keys.iter().copied().collect::<Int64Array>());
        let events = timestamps(self.unit, self.events.iter().copied());
        vec![("id".to_owned(), keys), ("event".to_owned(), events)]
    }

    pub(super) fn source(&self) -> TableSource {
        let mut columns = self.ranking();
        columns.push((
            "value".to_owned(),
            Arc::new(Int32Array::from(self.values.clone())),
        ));
        TableSource::new(batch(columns), vec![2], &self.layout())
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            files: vec![(0..self.keys.len()).collect()],
            batch_rows: 8192,
        }
    }

    pub(super) fn view(&self) -> PitView {
        view(self.ttl, Arc::new(self.source()))
    }

    pub(super) fn scan(&self) -> Arc<dyn ExecutionPlan> {
        scan(&batch(self.ranking()), &self.layout())
    }
}

pub(super) fn view(ttl: Option<Duration>, fetch: Arc<dyn FetchRows>) -> PitView {
    let features = vec![Field::new("value", DataType::Int32, false)];
    PitView {
        name: "v".to_owned(),
        keys: vec![0],
        ttl,
        has_created: false,
        fetch,
        features,
    }
}

/// A spine of an Int64 key `id` and instants `ts`.
pub(super) fn spine(unit: TimeUnit, rows: &[(i64, i64)]) -> Arc<dyn ExecutionPlan> {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let instants = timestamps(unit, rows.iter().map(|row| Some(row.1)));
    let rows = batch(vec![("id".to_owned(), keys), ("ts".to_owned(), instants)]);
    let schema = rows.schema();
    memory(vec![rows], schema)
}

pub(super) fn join_one(
    spine: Arc<dyn ExecutionPlan>,
    scan: Arc<dyn ExecutionPlan>,
    view: PitView,
) -> Arc<PitJoinExec> {
    Arc::new(PitJoinExec::try_new(spine, 1, 2, vec![(scan, view)]).unwrap())
}

pub(super) fn unbounded() -> Arc<TaskContext> {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    context(8192, &pool)
}

/// The feature `value` of each output row.
pub(super) async fn values(unit: TimeUnit, rows: &[(i64, i64)], table: &Table) -> Vec<Option<i32>> {
    let batches = collect(
        join_one(spine(unit, rows), table.scan(), table.view()),
        unbounded(),
    )
    .await
    .unwrap();
    batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(2)
                .as_primitive::<Int32Type>()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect()
}
