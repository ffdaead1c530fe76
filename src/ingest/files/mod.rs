//! Rows on their way into Parquet files outside of tables.
//!
//! A file is replaced as a whole, so that a reader sees it with all new rows or none. A folder gets one more file.
//! Writers in this process take turns; another process that rewrites the same file at the same moment can undo this
//! one's rows, which only a table can prevent.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use futures::TryStreamExt;
use tokio::sync::OwnedMutexGuard;

use self::place::{Place, Shape};
use self::sink::Sink;
use super::chunks::Chunks;
use super::columns::Columns;
use super::{Ingest, Rows};
use crate::error::{Error, Result};
use crate::model::ParquetLocation;
use crate::table::parquet::ParquetSource;

mod hive;
mod place;
mod sink;

impl Ingest {
    /// Appends to the file or folder of `location`; where nothing is, the rows make it.
    pub(super) async fn append_files_at(
        &self,
        name: &str,
        location: &ParquetLocation,
        mapping: &BTreeMap<String, String>,
        rows: Rows,
    ) -> Result<u64> {
        let (place, _turn) = self.enter(location).await?;
        if place.shape == Shape::Missing {
            return self.write_new(&place, &[], rows).await;
        }
        let source = ParquetSource::open(location).await?;
        let partition_by = partition_columns(&source);
        let target = with_partitions(
            &plain(source.schema()),
            &partition_by,
            &rows.schema,
            mapping,
        );
        let columns = Columns::new(name, &rows.schema, target, mapping)?;
        let chunks = Chunks::new(rows.batches, &columns, self.chunk_bytes);
        match place.shape {
            Shape::File => rewrite(&place, &source, chunks, &columns).await,
            _ => add_part(&place, chunks, &columns, &partition_by).await,
        }
    }

    /// Adds part files to a folder of logs.
    pub(super) async fn log_files(
        &self,
        location: &ParquetLocation,
        partition_by: &[String],
        rows: Rows,
    ) -> Result<u64> {
        let (place, _turn) = self.enter(location).await?;
        if place.shape == Shape::File {
            let place = format!("file `{}`", location.uri);
            drop(_turn);
            return self
                .append_files_at(&place, location, &BTreeMap::new(), rows)
                .await;
        }
        let columns = own_columns(location, &rows.schema)?;
        let chunks = Chunks::new(rows.batches, &columns, self.chunk_bytes);
        add_part(&place, chunks, &columns, partition_by).await
    }

    /// Writes a file, or a folder with one file, that replaces what is there.
    pub(super) async fn save_files(
        &self,
        location: &ParquetLocation,
        overwrite: bool,
        rows: Rows,
    ) -> Result<u64> {
        let (place, _turn) = self.enter(location).await?;
        if place.shape != Shape::Missing && !overwrite {
            return Err(Error::AlreadyExists {
                what: format!("`{}`", location.uri),
            });
        }
        let old = place.parquet_files().await?;
        self.write_new(&place, &old, rows).await
    }

    /// Waits for this writer's turn, then looks what is there.
    async fn enter(&self, location: &ParquetLocation) -> Result<(Place, OwnedMutexGuard<()>)> {
        self.rules.check_file(location)?;
        let path = location.uri.trim_start_matches("file://");
        let turn = self.locks.hold(path.trim_end_matches('/')).await;
        Ok((Place::look(location).await?, turn))
    }

    /// Writes rows in the schema that they came with; `old` files of a folder go when all is written.
    async fn write_new(
        &self,
        place: &Place,
        old: &[object_store::path::Path],
        rows: Rows,
    ) -> Result<u64> {
        let columns = own_columns(&place.location, &rows.schema)?;
        let mut chunks = Chunks::new(rows.batches, &columns, self.chunk_bytes);
        if place.is_one_file() {
            let mut sink = Sink::new(place, place.path(), columns.schema())?;
            let written = write_chunks(&mut sink, &mut chunks).await;
            return sink.finish_with(written).await;
        }
        let (hidden, path) = (place.hidden_part(), place.part());
        let mut sink = Sink::new(place, &hidden, columns.schema())?;
        let written = write_chunks(&mut sink, &mut chunks).await;
        let written = sink.finish_with(written).await?;
        for file in old {
            place.delete(file).await?;
        }
        place.rename(&hidden, &path).await?;
        Ok(written)
    }
}

/// The old rows in the file's own schema, then the new ones, in a file that takes the old one's place.
async fn rewrite(
    place: &Place,
    source: &ParquetSource,
    mut chunks: Chunks<'_>,
    columns: &Columns,
) -> Result<u64> {
    let Some(first) = chunks.next().await? else {
        return Ok(0);
    };
    let mut sink = Sink::new(place, place.path(), columns.schema())?;
    let written = async {
        for file in source.files() {
            let mut old = source.read_raw(file);
            while let Some(batch) = old.try_next().await? {
                sink.write(&relabelled(&batch, columns.schema())?).await?;
            }
        }
        let rows = write_all(&mut sink, &first).await?;
        Ok(rows + write_chunks(&mut sink, &mut chunks).await?)
    };
    let written = written.await;
    sink.finish_with(written).await
}

fn relabelled(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())
        .map_err(Error::arrow("copy rows"))
}

/// One more file in a folder, or one for each of its partitions.
async fn add_part(
    place: &Place,
    mut chunks: Chunks<'_>,
    columns: &Columns,
    partition_by: &[String],
) -> Result<u64> {
    if !partition_by.is_empty() {
        return hive::write(place, chunks, columns.schema(), partition_by).await;
    }
    let Some(first) = chunks.next().await? else {
        return Ok(0);
    };
    let mut sink = Sink::new(place, &place.part(), columns.schema())?;
    let written = async {
        let rows = write_all(&mut sink, &first).await?;
        Ok(rows + write_chunks(&mut sink, &mut chunks).await?)
    };
    let written = written.await;
    sink.finish_with(written).await
}

async fn write_chunks(sink: &mut Sink, chunks: &mut Chunks<'_>) -> Result<u64> {
    let mut rows = 0;
    while let Some(chunk) = chunks.next().await? {
        rows += write_all(sink, &chunk).await?;
    }
    Ok(rows)
}

async fn write_all(sink: &mut Sink, batches: &[RecordBatch]) -> Result<u64> {
    for batch in batches {
        sink.write(batch).await?;
    }
    Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
}

/// The columns as sent.
fn own_columns(location: &ParquetLocation, sent: &Schema) -> Result<Columns> {
    let place = format!("`{}`", location.uri);
    let fields: Vec<_> = sent.fields().iter().map(in_parquet).collect();
    let target = Arc::new(Schema::new(fields));
    Columns::new(&place, sent, target, &BTreeMap::new())
}

/// The column in a type that Parquet has: its timestamps have no seconds, which would be read back as plain numbers.
fn in_parquet(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::List(item) => DataType::List(in_parquet(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(in_parquet).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

/// Without the metadata in which pandas describes another frame's columns.
fn plain(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().clone()))
}

/// Columns that the folders of a source are named for.
fn partition_columns(source: &ParquetSource) -> Vec<String> {
    let keys = source.files().first().map(|file| &file.partition);
    let keys = keys.into_iter().flatten().map(|key| key.column.clone());
    keys.filter(|column| source.schema().index_of(column).is_err())
        .collect()
}

/// A schema and the columns of its folders, which become text whatever type they are sent in.
fn with_partitions(
    schema: &SchemaRef,
    partition_by: &[String],
    sent: &Schema,
    mapping: &BTreeMap<String, String>,
) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    for column in partition_by {
        let mapped = mapping.get(column).unwrap_or(column);
        let found = sent.field_with_name(column);
        let found = found.or_else(|_| sent.field_with_name(mapped));
        let kind = found.map_or(DataType::Utf8, |field| field.data_type().clone());
        fields.push(Arc::new(Field::new(column, kind, true)));
    }
    Arc::new(Schema::new(fields))
}
