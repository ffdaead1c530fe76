//! Merge-on-read: which rows of a data file its delete files remove.
//!
//! A delete file is read once per scan, by whoever needs it first, and kept while the scan lives: it usually applies
//! to many data files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Int64Type;
use arrow_row::{RowConverter, SortField};
use futures::TryStreamExt;
use iceberg::arrow::arrow_type_to_type;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};
use tokio::sync::OnceCell;

use super::Scan;
use super::cache::Keep;
use super::columns::{FilePlan, PartitionValues};
use super::file_schema::FieldIds;
use super::group::{GroupRows, OpenFile};
use super::types::arrow_field;
use crate::error::{Error, Result};
use crate::table::files::{DeleteFile, DeleteKind, FileEntry};

/// Field ids that the Iceberg specification reserves for position delete files.
const DELETE_PATH_ID: i32 = 2_147_483_546;
const DELETE_POSITION_ID: i32 = 2_147_483_545;

type KeySet = hashbrown::HashSet<Box<[u8]>, foldhash::fast::RandomState>;

/// The delete files of a scan by path.
#[derive(Debug)]
pub(super) struct DeleteCache {
    loaded: HashMap<String, OnceCell<Loaded>>,
    data_files: HashSet<String>,
}

#[derive(Clone, Debug)]
enum Loaded {
    /// Ascending positions by data file.
    Positions(Arc<HashMap<String, Vec<u64>>>),
    Equality(Arc<EqualitySet>),
}

/// Rows of an equality delete file, as comparable bytes.
#[derive(Debug)]
pub(super) struct EqualitySet {
    fields: Vec<NestedFieldRef>,
    converter: RowConverter,
    rows: KeySet,
}

/// All that deletes rows of one data file.
#[derive(Debug, Default)]
pub(super) struct FileDeletes {
    /// Ascending, distinct.
    positions: Vec<u64>,
    equality: Vec<Arc<EqualitySet>>,
}

impl DeleteCache {
    pub(super) fn new(files: &[Arc<FileEntry>]) -> Self {
        let deletes = files.iter().flat_map(|file| &file.deletes);
        let loaded: HashMap<_, _> = deletes
            .map(|delete| (delete.path.clone(), OnceCell::new()))
            .collect();
        let deleted = files.iter().filter(|file| !file.deletes.is_empty());
        Self {
            loaded,
            data_files: deleted.map(|file| file.path.clone()).collect(),
        }
    }

    /// Everything that deletes rows of `file`.
    pub(super) async fn of_file(&self, file: &FileEntry, scan: &Scan) -> Result<FileDeletes> {
        let mut all = FileDeletes::default();
        for delete in &file.deletes {
            match self.load(delete, scan).await? {
                Loaded::Equality(set) => all.equality.push(set),
                Loaded::Positions(positions) => {
                    all.positions
                        .extend(positions.get(&file.path).into_iter().flatten());
                }
            }
        }
        all.positions.sort_unstable();
        all.positions.dedup();
        Ok(all)
    }

    async fn load(&self, delete: &DeleteFile, scan: &Scan) -> Result<Loaded> {
        let cell = self.loaded.get(&delete.path);
        let cell = cell.ok_or_else(|| {
            Error::internal("applying deletes", "a delete file is not of this scan")
        })?;
        let load = || async {
            let file = Arc::new(scan.open(&delete.path, delete.size_bytes, None).await?);
            match &delete.kind {
                DeleteKind::Position => self
                    .positions(file)
                    .await
                    .map(Arc::new)
                    .map(Loaded::Positions),
                DeleteKind::Equality { field_ids } => {
                    EqualitySet::load(file, field_ids, scan.table_fields())
                        .await
                        .map(Arc::new)
                        .map(Loaded::Equality)
                }
            }
        };
        cell.get_or_try_init(load).await.cloned()
    }

    async fn positions(&self, file: Arc<OpenFile>) -> Result<HashMap<String, Vec<u64>>> {
        let fields = [
            NestedField::required(
                DELETE_PATH_ID,
                "file_path",
                Type::Primitive(PrimitiveType::String),
            ),
            NestedField::required(
                DELETE_POSITION_ID,
                "pos",
                Type::Primitive(PrimitiveType::Long),
            ),
        ];
        let mut positions: HashMap<String, Vec<u64>> = HashMap::new();
        let mut batches = std::pin::pin!(whole_file(file, fields.map(Arc::new).to_vec()));
        while let Some(columns) = batches.try_next().await? {
            self.collect_positions(&columns, &mut positions)?;
        }
        for rows in positions.values_mut() {
            rows.sort_unstable();
        }
        Ok(positions)
    }

    fn collect_positions(
        &self,
        columns: &[ArrayRef],
        positions: &mut HashMap<String, Vec<u64>>,
    ) -> Result<()> {
        let [paths, rows] = columns else {
            return Err(unreadable("columns are missing"));
        };
        let paths = paths
            .as_string_opt::<i32>()
            .ok_or_else(|| unreadable("file_path is no string"))?;
        let rows = rows
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| unreadable("pos is no long"))?;
        let mut known: Option<(&str, bool)> = None;
        for (path, row) in paths.iter().zip(rows.values()) {
            let path = path.unwrap_or_default();
            let wanted = match known {
                Some((last, wanted)) if last == path => wanted,
                _ => self.data_files.contains(path),
            };
            known = Some((path, wanted));
            if wanted {
                let row = u64::try_from(*row).map_err(|_| unreadable("a position is negative"))?;
                match positions.get_mut(path) {
                    Some(rows) => rows.push(row),
                    None => drop(positions.insert(path.to_owned(), vec![row])),
                }
            }
        }
        Ok(())
    }
}

fn unreadable(message: &str) -> Error {
    Error::internal("reading a delete file", message)
}

/// All rows of a file, as `fields`.
fn whole_file(
    file: Arc<OpenFile>,
    fields: Vec<NestedFieldRef>,
) -> impl futures::Stream<Item = Result<Vec<ArrayRef>>> + Send {
    let groups: Vec<_> = file
        .footer
        .row_groups()
        .map(|(group, span, _)| {
            Ok(GroupRows {
                group,
                span,
                wanted: None,
            })
        })
        .collect();
    futures::stream::iter(groups)
        .and_then(move |rows| {
            let (file, fields) = (Arc::clone(&file), fields.clone());
            async move { decode_group(&file, &fields, &rows).await }
        })
        .map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok)))
        .try_flatten()
}

async fn decode_group(
    file: &OpenFile,
    fields: &[NestedFieldRef],
    rows: &GroupRows,
) -> Result<Vec<Vec<ArrayRef>>> {
    let schema = file.footer.schema.with_ids(&FieldIds::InFiles(None));
    let parquet = file.footer.reader.parquet_schema();
    let plan = FilePlan::try_new(
        file.input.path(),
        &schema,
        parquet,
        fields,
        &PartitionValues::new(),
    )?;
    let Some(reader) = file
        .open_group(&plan.projection, rows, 8192, Keep::No)
        .await?
    else {
        return Ok(Vec::new());
    };
    reader
        .map(|batch| plan.apply(&batch.map_err(|error| file.decode_failure(error))?))
        .collect()
}

impl EqualitySet {
    async fn load(file: Arc<OpenFile>, ids: &[i32], table: &[NestedFieldRef]) -> Result<Self> {
        let fields = ids
            .iter()
            .map(|id| equality_field(&file, *id, table))
            .collect::<Result<Vec<_>>>()?;
        let sort = fields
            .iter()
            .map(|field| Ok(SortField::new(arrow_field(field)?.data_type().clone())));
        let converter = RowConverter::new(sort.collect::<Result<_>>()?)
            .map_err(Error::arrow("preparing deletes"))?;
        let mut rows = KeySet::default();
        let mut batches = std::pin::pin!(whole_file(file, fields.clone()));
        while let Some(columns) = batches.try_next().await? {
            let encoded = converter
                .convert_columns(&columns)
                .map_err(Error::arrow("reading deletes"))?;
            rows.extend(encoded.iter().map(|row| Box::from(row.as_ref())));
        }
        Ok(Self {
            fields,
            converter,
            rows,
        })
    }

    /// Clears the bits of the rows that the set holds.
    fn remove(&self, columns: &[ArrayRef], keep: &mut BooleanBufferBuilder) -> Result<()> {
        let encoded = self
            .converter
            .convert_columns(columns)
            .map_err(Error::arrow("applying deletes"))?;
        for (row, encoded) in encoded.iter().enumerate() {
            if self.rows.contains(encoded.as_ref()) {
                keep.set_bit(row, false);
            }
        }
        Ok(())
    }
}

/// The column as the pinned schema has it or, where it has been dropped since, as the delete file has it. Always
/// optional: data files may be older than the column.
fn equality_field(file: &OpenFile, id: i32, table: &[NestedFieldRef]) -> Result<NestedFieldRef> {
    let unsupported = || Error::Unsupported {
        what: format!(
            "equality delete on nested field {id} in `{}`",
            file.input.path()
        ),
    };
    if let Some(field) = table.iter().find(|field| field.id == id) {
        let primitive = field
            .field_type
            .as_primitive_type()
            .ok_or_else(unsupported)?;
        return Ok(Arc::new(NestedField::optional(
            id,
            &field.name,
            Type::Primitive(primitive.clone()),
        )));
    }
    let column = file.footer.schema.column(id).ok_or_else(unsupported)?;
    let column_type = arrow_type_to_type(&column.data_type)
        .map_err(Error::iceberg("reading an equality delete file"))?;
    Ok(Arc::new(NestedField::optional(
        id,
        &column.name,
        column_type,
    )))
}

impl FileDeletes {
    /// Columns that are compared, each once.
    pub(super) fn equality_fields(&self) -> Vec<NestedFieldRef> {
        let mut fields: Vec<NestedFieldRef> = Vec::new();
        for field in self.equality.iter().flat_map(|set| &set.fields) {
            if !fields.iter().any(|known| known.id == field.id) {
                fields.push(Arc::clone(field));
            }
        }
        fields
    }

    /// Which rows remain, or `None` for all. `rows` are their numbers in the file, `compared` the columns of
    /// [`Self::equality_fields`].
    pub(super) fn remaining(
        &self,
        rows: &[u64],
        compared: &[ArrayRef],
    ) -> Result<Option<BooleanArray>> {
        let positions = self.positions_within(rows);
        if positions.is_empty() && self.equality.is_empty() {
            return Ok(None);
        }
        let mut keep = BooleanBufferBuilder::new(rows.len());
        keep.append_n(rows.len(), true);
        remove_positions(positions, rows, &mut keep);
        let fields = self.equality_fields();
        for set in &self.equality {
            let of_field = |field: &NestedFieldRef| {
                let index = fields.iter().position(|known| known.id == field.id);
                index.and_then(|index| compared.get(index)).cloned()
            };
            let columns: Option<Vec<ArrayRef>> = set.fields.iter().map(of_field).collect();
            set.remove(
                &columns.ok_or_else(|| unreadable("a compared column is absent"))?,
                &mut keep,
            )?;
        }
        let keep: BooleanBuffer = keep.finish();
        Ok((keep.count_set_bits() < rows.len()).then(|| BooleanArray::new(keep, None)))
    }

    fn positions_within(&self, rows: &[u64]) -> &[u64] {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return &[];
        };
        let start = self.positions.partition_point(|position| position < first);
        let end = self.positions.partition_point(|position| position <= last);
        self.positions.get(start..end).unwrap_or_default()
    }
}

/// Both lists ascend.
fn remove_positions(positions: &[u64], rows: &[u64], keep: &mut BooleanBufferBuilder) {
    let mut index = 0;
    for position in positions {
        index += rows
            .get(index..)
            .unwrap_or_default()
            .partition_point(|row| row < position);
        if rows.get(index) == Some(position) {
            keep.set_bit(index, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_remove_exactly_their_rows() {
        let deletes = FileDeletes {
            positions: vec![1, 4, 5, 9, 20],
            equality: Vec::new(),
        };
        let kept = deletes
            .remaining(&[3, 4, 5, 6, 8, 9], &[])
            .unwrap()
            .unwrap();
        assert_eq!(
            kept,
            BooleanArray::from(vec![true, false, false, true, true, false])
        );
        assert!(deletes.remaining(&[6, 7, 8], &[]).unwrap().is_none());
        assert!(deletes.remaining(&[], &[]).unwrap().is_none());
    }
}
