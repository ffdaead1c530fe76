//! The rows of one source by its own column names: what Feast materializes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::expressions::{Literal, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExpr;
use iceberg::spec::NestedFieldRef;

use super::bind::BoundColumn;
use super::bounds::Bounds;
use super::operators::{filtered, projected};
use super::plan::HistoricalPlan;
use super::planned::PlannedView;
use super::planner::Planner;
use crate::engine::FeatureScanExec;
use crate::error::{Error, Result, nearest};
use crate::model::{FeatureSource, SourceRequest, SourceRows};
use crate::table::read::{ScanSpec, TableScan, arrow_field};
use crate::table::{PinnedTable, ScanFilter};

/// The column that stands for the join key of sources without one: Feast writes rows to online stores by it.
const DUMMY_ID: &str = "__dummy_id";

/// The columns of a source that a request names, found in its pinned table.
#[derive(Clone, Debug)]
pub(super) struct BoundSource {
    /// Name in the definitions.
    pub(super) name: String,
    pub(super) table: PinnedTable,
    pub(super) keys: Vec<BoundColumn>,
    pub(super) timestamp: BoundColumn,
    pub(super) created: Option<BoundColumn>,
    /// Columns of the result, each once.
    pub(super) output: Vec<BoundColumn>,
}

impl BoundSource {
    /// # Errors
    /// [`Error::TableColumnNotFound`]; [`Error::SchemaMismatch`] for a timestamp that is none.
    pub(super) fn try_new(
        request: &SourceRequest,
        source: &FeatureSource,
        table: PinnedTable,
    ) -> Result<Self> {
        let columns = SourceColumns {
            source,
            table: &table,
        };
        let keys = columns.named(&request.join_keys)?;
        let timestamp = columns.timestamp(&request.timestamp_field)?;
        let created = match request.created_timestamp_column.as_deref() {
            None | Some("") => None,
            Some(name) => Some(columns.timestamp(name)?),
        };
        let mut output = match request.features.is_empty() {
            true => columns.all()?,
            false => [keys.clone(), columns.named(&request.features)?].concat(),
        };
        output.push(timestamp.clone());
        output.extend(created.clone());
        Ok(Self {
            name: request.source.clone(),
            keys: each_once(keys),
            created: created.filter(|created| created.field_id != timestamp.field_id),
            timestamp,
            output: each_once(output),
            table,
        })
    }

    /// What a scan for the range may leave out.
    pub(super) fn filter(&self, bounds: Bounds) -> ScanFilter {
        ScanFilter {
            timestamp: bounds
                .is_bounded()
                .then(|| (self.timestamp.field_id, bounds.window())),
            keys: Vec::new(),
        }
    }

    /// The rows of `input` whose event time lies in the range.
    pub(super) fn within(
        &self,
        bounds: Bounds,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let field = &self.timestamp.field;
        let instants = col(field.name(), &input.schema())?;
        let predicate = bounds.predicate(&instants, field.data_type());
        filtered(input, predicate)
    }

    /// Brings rows to the columns of the result.
    fn result(&self, rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let names = self
            .output
            .iter()
            .map(|column| column.field.name().as_str());
        let is_keyed = !self.keys.is_empty() || names.clone().any(|name| name == DUMMY_ID);
        let empty = ScalarValue::Utf8(Some(String::new()));
        let dummy = ProjectionExpr::new(Arc::new(Literal::new(empty)), DUMMY_ID);
        projected(rows, names, (!is_keyed).then_some(dummy))
    }
}

/// Columns in order of their first appearance.
fn each_once(columns: Vec<BoundColumn>) -> Vec<BoundColumn> {
    let mut seen = BTreeSet::new();
    let mut columns = columns;
    columns.retain(|column| seen.insert(column.field_id));
    columns
}

fn bound(field: &NestedFieldRef) -> Result<BoundColumn> {
    Ok(BoundColumn {
        field_id: field.id,
        field: arrow_field(field)?,
    })
}

/// Looks columns up by the source's names.
struct SourceColumns<'a> {
    source: &'a FeatureSource,
    table: &'a PinnedTable,
}

impl SourceColumns<'_> {
    fn all(&self) -> Result<Vec<BoundColumn>> {
        let fields = self.table.schema().as_struct().fields().iter();
        fields.map(bound).collect()
    }

    fn named(&self, names: &[String]) -> Result<Vec<BoundColumn>> {
        names.iter().map(|name| self.get(name)).collect()
    }

    fn field(&self, name: &str) -> Option<&NestedFieldRef> {
        let mut fields = self.table.schema().as_struct().fields().iter();
        fields.find(|field| field.name == name)
    }

    fn get(&self, name: &str) -> Result<BoundColumn> {
        let fields = self.table.schema().as_struct().fields();
        let absent = || Error::TableColumnNotFound {
            table: self.table.name().to_string(),
            column: name.to_owned(),
            nearest: nearest(name, fields.iter().map(|field| field.name.as_str())),
        };
        bound(self.field(name).ok_or_else(absent)?)
    }

    /// A timestamp column. Definitions may name it by its mapped name, and mappings may name columns that are absent:
    /// what the table has decides.
    fn timestamp(&self, name: &str) -> Result<BoundColumn> {
        let mapping = &self.source.field_mapping;
        let sources = mapping.iter().filter(|(_, mapped)| *mapped == name);
        let sources = sources.map(|(source, _)| source.as_str());
        let mapped = mapping.get(name).map(String::as_str);
        let mut names = [name].into_iter().chain(sources).chain(mapped);
        let present = names.find(|name| self.field(name).is_some());
        let column = self.get(present.unwrap_or(name))?;
        match column.field.data_type() {
            DataType::Timestamp(_, _) => Ok(column),
            found => Err(Error::SchemaMismatch {
                column: format!("{}.{name}", self.table.name()),
                expected: "a timestamp".to_owned(),
                found: found.to_string(),
            }),
        }
    }
}

/// Rows, and the scan that their values come from.
pub(super) type ScannedRows = (Arc<dyn ExecutionPlan>, Arc<TableScan>);

impl Planner {
    /// Plans the rows of a source.
    pub(super) fn plan_source(
        &self,
        source: &BoundSource,
        rows: SourceRows,
        bounds: Bounds,
    ) -> Result<HistoricalPlan> {
        let (rows, scan) = match rows {
            SourceRows::All => self.all_rows(source, bounds)?,
            SourceRows::Latest => self.latest_rows(source, bounds)?,
        };
        let view = PlannedView {
            name: source.name.clone(),
            table: source.table.name().clone(),
            pin: source.table.pin(),
            scan,
            join: 0,
        };
        self.plan_of(source.result(rows)?, vec![view])
    }

    fn all_rows(&self, source: &BoundSource, bounds: Bounds) -> Result<ScannedRows> {
        let spec = ScanSpec {
            columns: source.output.iter().map(|column| column.field_id).collect(),
            filter: source.filter(bounds),
            with_addresses: false,
        };
        let (rows, scan) = self.scan_source(source, &source.name, spec)?;
        Ok((source.within(bounds, rows)?, scan))
    }

    /// A scan of the source's table under a name for plans.
    pub(super) fn scan_source(
        &self,
        source: &BoundSource,
        name: &str,
        spec: ScanSpec,
    ) -> Result<ScannedRows> {
        let scan = TableScan::try_new(source.table.clone(), spec, Arc::clone(&self.cache))?;
        let scan = Arc::new(scan);
        let exec = FeatureScanExec::new(name, Arc::clone(&scan), self.engine.partitions());
        Ok((Arc::new(exec), scan))
    }
}
