//! Batches become Parquet files in the table's layout: one sort by partition and the table's sort order, then one run of
//! rows per partition. Nothing is visible before [`super::commit::append`].

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, cast, concat_batches, partition, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use futures::StreamExt;
use iceberg::arrow::{PartitionValueCalculator, arrow_struct_to_literal, schema_to_arrow_schema};
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Literal, NullOrder, PartitionKey, PartitionSpecRef,
    SortDirection, Struct, TableMetadata,
};
use iceberg::table::Table;
use iceberg::transform::create_transform_function;
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{
    DefaultFileNameGenerator, DefaultLocationGenerator,
};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::error::{Error, Result};

mod attempt;
pub mod journal;
mod new_files;
mod properties;
mod sort;

pub use attempt::Attempt;
pub use journal::Journal;
pub use new_files::NewFiles;
pub use properties::FileStyle;
pub(crate) use properties::target_bytes;

/// Rows handed to the Parquet writer at a time; a file is rolled between two of them.
const SLICE_ROWS: usize = 64 * 1024;
/// A file is rolled once it has so many bytes, unless its table says otherwise.
pub(crate) const FILE_BYTES: usize = 256 * 1024 * 1024;
const OPEN_FILES: usize = 4;

type FileBuilder = RollingFileWriterBuilder<
    ParquetWriterBuilder,
    DefaultLocationGenerator,
    DefaultFileNameGenerator,
>;

/// Writes `batches` as data files of `table`: split by its partition spec, sorted by its sort order. Columns are found
/// by name and must have the table's types. All of `batches` is held in memory, twice while it is sorted: call it once a
/// chunk and commit the files of all chunks together.
///
/// # Errors
/// [`Error::SchemaMismatch`] for a missing column or another type; storage and Parquet failures.
pub async fn write(table: &Table, batches: &[RecordBatch]) -> Result<Vec<DataFile>> {
    let spec = Arc::clone(table.metadata().default_partition_spec());
    let files = write_as(table, &spec, FileStyle::Scanned, batches.to_vec()).await?;
    Ok(files.keep())
}

/// [`write_for`] an attempt that is not noted.
///
/// # Errors
/// As [`write()`].
pub async fn write_as(
    table: &Table,
    spec: &PartitionSpecRef,
    style: FileStyle,
    batches: Vec<RecordBatch>,
) -> Result<NewFiles> {
    write_for(&Attempt::unnoted(), table, spec, style, batches).await
}

/// [`write()`] for an attempt at a commit, under any of the table's partition specs and for any use. Sorting and encoding run
/// on threads that may block.
///
/// # Errors
/// As [`write()`].
pub async fn write_for(
    attempt: &Attempt,
    table: &Table,
    spec: &PartitionSpecRef,
    style: FileStyle,
    batches: Vec<RecordBatch>,
) -> Result<NewFiles> {
    let plan = Plan {
        attempt: attempt.clone(),
        table: table.clone(),
        spec: Arc::clone(spec),
        style,
    };
    let prepared = blocking(move || {
        let prepared = plan.prepare(&batches)?;
        Ok((plan, prepared))
    });
    let (plan, (batch, runs)) = prepared.await?;
    let mut all = NewFiles::of(attempt, table);
    if runs.is_empty() {
        return Ok(all);
    }
    attempt.write_begins();
    let (plan, runtime) = (Arc::new(plan), Handle::current());
    let writes = runs.into_iter().map(|run| {
        let (plan, batch, runtime) = (Arc::clone(&plan), batch.clone(), runtime.clone());
        blocking(move || runtime.block_on(plan.write_run(&batch, run)))
    });
    let mut writes = futures::stream::iter(writes).buffered(OPEN_FILES);
    while let Some(written) = writes.next().await {
        match written {
            Ok(files) => all.add(files),
            Err(error) => {
                all.discard().await;
                return Err(error);
            }
        }
    }
    Ok(all.whole())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| Error::internal("write data files", error))?
}

/// The number of partitions that a batch with the table's columns touches under a spec.
///
/// # Errors
/// [`Error::Iceberg`] if the partition values cannot be computed.
pub fn partitions(table: &Table, spec: &PartitionSpecRef, batch: &RecordBatch) -> Result<usize> {
    let Some(values) = partition_values(table, spec, batch)? else {
        return Ok(1);
    };
    let columns = values.as_struct().columns().iter();
    let order = sort::order(columns.map(partition_column).collect())?;
    let sorted = arrow::compute::take(&values, &order, None).map_err(Error::arrow("sort rows"))?;
    let partitions = partition(sorted.as_struct().columns());
    Ok(partitions.map_err(Error::arrow("split partitions"))?.len())
}

/// How rows become files.
struct Plan {
    attempt: Attempt,
    table: Table,
    spec: PartitionSpecRef,
    style: FileStyle,
}

impl Plan {
    /// All rows in the files' order, and the files' parts of them.
    fn prepare(&self, batches: &[RecordBatch]) -> Result<(RecordBatch, Vec<Run>)> {
        let schema = Arc::new(arrow_schema(&self.table)?);
        let batches: Vec<RecordBatch> = batches
            .iter()
            .map(|batch| conform(batch, &schema))
            .collect::<Result<_>>()?;
        let batch = concat_batches(&schema, &batches).map_err(Error::arrow("join batches"))?;
        if batch.num_rows() == 0 {
            return Ok((batch, Vec::new()));
        }
        let batch = sort(&self.table, &self.spec, &batch)?;
        let runs = runs(&self.table, &self.spec, &batch)?;
        Ok((batch, runs))
    }

    async fn write_run(&self, batch: &RecordBatch, run: Run) -> Result<NewFiles> {
        let names = self.attempt.next_name();
        let mut writer = file_builder(&self.table, self.style, run.rows.len(), names)?.build();
        for start in run.rows.clone().step_by(SLICE_ROWS) {
            let rows = SLICE_ROWS.min(run.rows.end - start);
            writer
                .write(&run.key, &batch.slice(start, rows))
                .await
                .map_err(iceberg("write data file"))?;
        }
        let written = writer.close().await.map_err(iceberg("write data file"))?;
        let order = self.table.metadata().default_sort_order_id();
        let order = i32::try_from(order).unwrap_or_default();
        let finish = |mut file: iceberg::spec::DataFileBuilder| {
            file.content(DataContentType::Data)
                .partition_spec_id(self.spec.spec_id());
            if order != 0 {
                file.sort_order_id(order);
            }
            file.partition(match &run.key {
                Some(key) => key.data().clone(),
                // A spec whose fields were all dropped still has them.
                None => self.spec.fields().iter().map(|_| None).collect(),
            });
            file.build()
                .map_err(|error| Error::internal("describe data file", error))
        };
        let files: Vec<DataFile> = written.into_iter().map(finish).collect::<Result<_>>()?;
        let mut new = NewFiles::of(&self.attempt, &self.table);
        new.push(files);
        Ok(new)
    }
}

/// The Arrow schema that [`write()`] expects, with field ids.
///
/// # Errors
/// If the table has a type that Arrow has not.
pub fn arrow_schema(table: &Table) -> Result<Schema> {
    schema_to_arrow_schema(table.metadata().current_schema()).map_err(iceberg("read schema"))
}

/// The table's columns of `batch`, in its order and with its field ids.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mismatch = |column: &str, expected: String, found: &str| Error::SchemaMismatch {
        column: column.to_owned(),
        expected,
        found: found.to_owned(),
    };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let expected = || field.data_type().to_string();
        let column = batch
            .column_by_name(field.name())
            .ok_or_else(|| mismatch(field.name(), expected(), "no column"))?;
        if !accepts(field.data_type(), column.data_type()) {
            return Err(mismatch(
                field.name(),
                expected(),
                &column.data_type().to_string(),
            ));
        }
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(mismatch(field.name(), "no nulls".to_owned(), "nulls"));
        }
        columns.push(cast(column, field.data_type()).map_err(Error::arrow("add field ids"))?);
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::arrow("build batch"))
}

/// Whether a column can be written as it is: equal up to nested field ids, the name of UTC and the width of offsets.
fn accepts(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::Timestamp(a, Some(_)), DataType::Timestamp(b, Some(_))) => a == b,
        (DataType::LargeBinary, DataType::Binary) => true,
        _ => found.equals_datatype(expected),
    }
}

/// Rows by partition first, then by the table's sort order.
fn sort(table: &Table, spec: &PartitionSpecRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = match partition_values(table, spec, batch)? {
        Some(values) => values
            .as_struct()
            .columns()
            .iter()
            .map(partition_column)
            .collect(),
        None => Vec::new(),
    };
    columns.extend(sort_columns(table, batch)?);
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    let order = sort::order(columns)?;
    take_record_batch(batch, &order).map_err(Error::arrow("sort rows"))
}

fn partition_column(values: &ArrayRef) -> SortColumn {
    SortColumn {
        values: Arc::clone(values),
        options: None,
    }
}

/// The partitions of a sorted batch, each with its rows.
fn runs(table: &Table, spec: &PartitionSpecRef, sorted: &RecordBatch) -> Result<Vec<Run>> {
    let Some(values) = partition_values(table, spec, sorted)? else {
        return Ok(vec![Run {
            key: None,
            rows: 0..sorted.num_rows(),
        }]);
    };
    let ranges = partition(values.as_struct().columns())
        .map_err(Error::arrow("split partitions"))?
        .ranges();
    ranges
        .into_iter()
        .map(|rows| {
            Ok(Run {
                key: Some(partition_key(table, spec, &values, rows.start)?),
                rows,
            })
        })
        .collect()
}

struct Run {
    key: Option<PartitionKey>,
    rows: Range<usize>,
}

fn partition_values(
    table: &Table,
    spec: &PartitionSpecRef,
    batch: &RecordBatch,
) -> Result<Option<ArrayRef>> {
    if spec.is_unpartitioned() {
        return Ok(None);
    }
    let calculator = PartitionValueCalculator::try_new(spec, table.metadata().current_schema());
    calculator
        .and_then(|calculator| calculator.calculate(batch))
        .map(Some)
        .map_err(iceberg("compute partitions"))
}

fn partition_key(
    table: &Table,
    spec: &PartitionSpecRef,
    values: &ArrayRef,
    row: usize,
) -> Result<PartitionKey> {
    let schema = table.metadata().current_schema();
    let types = spec
        .partition_type(schema)
        .map_err(iceberg("read partition"))?;
    let literals = arrow_struct_to_literal(&values.slice(row, 1), &types);
    let data = match literals.map_err(iceberg("read partition"))?.pop().flatten() {
        Some(Literal::Struct(data)) => data,
        _ => Struct::empty(),
    };
    let spec = spec.as_ref().clone();
    Ok(PartitionKey::new(spec, Arc::clone(schema), data))
}

fn sort_columns(table: &Table, batch: &RecordBatch) -> Result<Vec<SortColumn>> {
    let metadata = table.metadata();
    let column = |source_id: i32| {
        let name = metadata.current_schema().name_by_field_id(source_id)?;
        batch.column_by_name(name).map(Arc::clone)
    };
    let mut columns = Vec::new();
    for field in &metadata.default_sort_order().fields {
        let Some(source) = column(field.source_id) else {
            break;
        };
        let transform =
            create_transform_function(&field.transform).map_err(iceberg("sort rows"))?;
        columns.push(SortColumn {
            values: transform.transform(source).map_err(iceberg("sort rows"))?,
            options: Some(SortOptions {
                descending: field.direction == SortDirection::Descending,
                nulls_first: field.null_order == NullOrder::First,
            }),
        });
    }
    Ok(columns)
}

fn file_builder(
    table: &Table,
    style: FileStyle,
    rows: usize,
    names: String,
) -> Result<FileBuilder> {
    let metadata = table.metadata();
    let names = DefaultFileNameGenerator::new(names, None, DataFileFormat::Parquet);
    Ok(RollingFileWriterBuilder::new(
        ParquetWriterBuilder::new(
            style.properties(metadata.properties(), rows),
            Arc::clone(metadata.current_schema()),
        ),
        target_bytes(metadata.properties()),
        table.file_io().clone(),
        DefaultLocationGenerator::with_data_location(data_folder(metadata)),
        names,
    ))
}

/// The location that data files of a table are written below.
pub(crate) fn data_folder(metadata: &TableMetadata) -> String {
    let properties = metadata.properties();
    let own = ["write.data.path", "write.folder-storage.path"];
    let own = own.iter().find_map(|name| properties.get(*name)).cloned();
    own.unwrap_or_else(|| format!("{}/data", metadata.location()))
}

fn iceberg(action: &str) -> impl FnOnce(iceberg::Error) -> Error {
    Error::iceberg(action)
}
