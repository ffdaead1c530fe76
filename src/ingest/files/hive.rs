//! Folders named for the values of columns, `column=value/`, as pyarrow's `write_to_dataset` makes them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{
    SortColumn, cast, concat_batches, lexsort_to_indices, partition, take_record_batch,
};
use arrow::datatypes::{DataType, SchemaRef};
use object_store::path::{Path, PathPart};

use super::place::{Place, part_in};
use super::sink::Sink;
use crate::error::{Error, Result};
use crate::ingest::chunks::Chunks;

const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Writes a file for each chunk and partition under a name that readers leave out, and gives all of them their names at
/// the end.
pub(super) async fn write(
    place: &Place,
    mut chunks: Chunks<'_>,
    schema: &SchemaRef,
    partition_by: &[String],
) -> Result<u64> {
    let partitioning = Partitioning::new(place, schema, partition_by)?;
    let mut hidden = Vec::new();
    let written = async {
        let mut rows = 0;
        while let Some(chunk) = chunks.next().await? {
            rows += partitioning.write(&chunk, &mut hidden).await?;
        }
        Ok(rows)
    };
    let written: Result<u64> = written.await;
    match written {
        Ok(rows) => show(place, &hidden).await.map(|()| rows),
        Err(error) => {
            for path in &hidden {
                // The rows are refused already; a file that nobody reads may stay.
                let _ = place.delete(path).await;
            }
            Err(error)
        }
    }
}

async fn show(place: &Place, hidden: &[Path]) -> Result<()> {
    for path in hidden {
        let parts: Vec<PathPart<'_>> = path.parts().collect();
        let folder: Path = parts[..parts.len().saturating_sub(1)]
            .iter()
            .cloned()
            .collect();
        place.rename(path, &part_in(&folder, "part-")).await?;
    }
    Ok(())
}

struct Partitioning<'a> {
    place: &'a Place,
    schema: &'a SchemaRef,
    /// Positions of the columns in the folders' names.
    keys: Vec<usize>,
    /// Positions of the columns in the files.
    values: Vec<usize>,
}

impl<'a> Partitioning<'a> {
    fn new(place: &'a Place, schema: &'a SchemaRef, partition_by: &[String]) -> Result<Self> {
        let position = |column: &String| {
            schema.index_of(column).map_err(|_| Error::SchemaMismatch {
                column: column.clone(),
                expected: "a column that log rows are partitioned by".to_owned(),
                found: "no such column".to_owned(),
            })
        };
        let keys: Vec<usize> = partition_by.iter().map(position).collect::<Result<_>>()?;
        let values = (0..schema.fields().len()).filter(|position| !keys.contains(position));
        Ok(Self {
            place,
            schema,
            values: values.collect(),
            keys,
        })
    }

    async fn write(&self, chunk: &[RecordBatch], hidden: &mut Vec<Path>) -> Result<u64> {
        let rows = concat_batches(self.schema, chunk).map_err(Error::arrow("join batches"))?;
        let (rows, keys) = self.sorted(&rows)?;
        let ranges = partition(&keys).map_err(Error::arrow("split partitions"))?;
        let files = rows
            .project(&self.values)
            .map_err(Error::arrow("project"))?;
        for range in ranges.ranges() {
            let path = part_in(&self.folder(&keys, range.start)?, "_part-");
            let mut sink = Sink::new(self.place, &path, &files.schema())?;
            hidden.push(path);
            let written = sink.write(&files.slice(range.start, range.len())).await;
            sink.finish_with(written.map(|()| 0)).await?;
        }
        Ok(rows.num_rows() as u64)
    }

    /// Rows by partition, and the partitions' values as text.
    fn sorted(&self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<ArrayRef>)> {
        let failed = || Error::arrow("sort by partition");
        let keys = |rows: &RecordBatch| -> Result<Vec<ArrayRef>> {
            let columns = self.keys.iter().map(|position| rows.column(*position));
            columns
                .map(|column| cast(column, &DataType::Utf8).map_err(failed()))
                .collect()
        };
        let columns: Vec<SortColumn> = keys(rows)?
            .into_iter()
            .map(|values| SortColumn {
                values,
                options: None,
            })
            .collect();
        let order = lexsort_to_indices(&columns, None).map_err(failed())?;
        let rows = take_record_batch(rows, &order).map_err(failed())?;
        let keys = keys(&rows)?;
        Ok((rows, keys))
    }

    fn folder(&self, keys: &[ArrayRef], row: usize) -> Result<Path> {
        let mut folder = self.place.path().to_string();
        for (position, values) in self.keys.iter().zip(keys) {
            let column = self.schema.field(*position).name();
            let value = value(values.as_string(), row);
            // pyarrow leaves names as they are, but a slash would be another folder.
            folder = format!("{folder}/{}={value}", column.replace('/', "%2F"));
        }
        Path::parse(folder).map_err(|error| Error::internal("name folder", error))
    }
}

fn value(values: &StringArray, row: usize) -> String {
    match values.is_null(row) {
        true => NULL.to_owned(),
        false => quoted(values.value(row)),
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn quoted(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
