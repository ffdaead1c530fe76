//! Which leaves of a file to read for the wanted fields of the pinned schema, and how to make those fields of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef};
use iceberg::spec::{Literal, NestedField, NestedFieldRef, Transform, Type};
use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use super::adapt::{Adapt, Child, Constant, leaf_cast};
use super::file_schema::{FileField, FileSchema};
use super::types::arrow_field;
use crate::error::{Error, Result};
use crate::table::files::FileEntry;

/// Values of identity partition fields by source field id: what a file without that column holds.
pub(super) type PartitionValues = HashMap<i32, Literal>;

/// The identity partition values of a data file.
pub(super) fn partition_values(file: &FileEntry) -> PartitionValues {
    let fields = file
        .partition_spec
        .fields()
        .iter()
        .zip(file.partition.fields());
    fields
        .filter(|(field, _)| field.transform == Transform::Identity)
        .filter_map(|(field, value)| Some((field.source_id, value.clone()?)))
        .collect()
}

/// The leaves to read of a file.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) mask: ProjectionMask,
    /// The leaves that each decoded column is made of.
    pub(super) columns: Vec<Arc<[usize]>>,
}

impl Projection {
    fn new(parquet: &SchemaDescriptor, leaves: BTreeSet<usize>) -> Self {
        let leaves: Vec<usize> = leaves.into_iter().collect();
        let root = |leaf: &usize| parquet.get_column_root_idx(*leaf);
        let columns = leaves.chunk_by(|a, b| root(a) == root(b)).map(Arc::from);
        Self {
            columns: columns.collect(),
            mask: ProjectionMask::leaves(parquet, leaves),
        }
    }
}

/// Wanted columns, each made of the columns that a projected file yields or of a constant.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) projection: Projection,
    columns: Vec<Child>,
}

impl FilePlan {
    /// Plans the reading of `fields` from the file at `path`.
    pub(super) fn try_new(
        path: &str,
        schema: &FileSchema,
        parquet: &SchemaDescriptor,
        fields: &[NestedFieldRef],
        partition: &PartitionValues,
    ) -> Result<Self> {
        let mut resolver = Resolver {
            path,
            partition,
            leaves: BTreeSet::new(),
        };
        let found = fields.iter().map(|field| {
            let position = schema
                .columns
                .iter()
                .position(|column| column.id == Some(field.id));
            resolver.child(field, position, &schema.columns)
        });
        let columns = renumber(found.collect::<Result<_>>()?);
        Ok(Self {
            projection: Projection::new(parquet, resolver.leaves),
            columns,
        })
    }

    /// The wanted columns of a decoded batch.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.columns
            .iter()
            .map(|column| column.apply(batch.columns(), batch.num_rows()))
            .collect()
    }
}

struct Resolver<'a> {
    path: &'a str,
    partition: &'a PartitionValues,
    leaves: BTreeSet<usize>,
}

impl Resolver<'_> {
    /// What makes `field` out of the `position`-th of `siblings`, which is still to be renumbered.
    fn child(
        &mut self,
        field: &NestedField,
        position: Option<usize>,
        siblings: &[FileField],
    ) -> Result<Child> {
        match position.and_then(|position| Some((position, siblings.get(position)?))) {
            Some((_, source)) if source.data_type == DataType::Null => {
                Constant::try_new(arrow_field(field)?, None).map(Child::Constant)
            }
            Some((position, source)) => Ok(Child::Source(position, self.adapt(field, source)?)),
            None => self.absent(field).map(Child::Constant),
        }
    }

    fn absent(&self, field: &NestedField) -> Result<Constant> {
        let value = self
            .partition
            .get(&field.id)
            .or(field.initial_default.as_ref());
        if value.is_none() && field.required {
            let message = format!("it lacks required column `{}`", field.name);
            return Err(Error::Parquet {
                path: self.path.to_owned(),
                source: ParquetError::General(message),
            });
        }
        Constant::try_new(arrow_field(field)?, value)
    }

    fn adapt(&mut self, field: &NestedField, source: &FileField) -> Result<Adapt> {
        match (field.field_type.as_ref(), &source.data_type) {
            (Type::Primitive(_), from) if source.children.is_empty() => {
                self.leaves.insert(source.first_leaf);
                let to = arrow_field(field)?.data_type().clone();
                leaf_cast(from, &to).ok_or_else(|| mismatch(field, from))
            }
            (Type::Struct(target), DataType::Struct(_)) => {
                self.adapt_struct(field, target.fields(), source)
            }
            (Type::List(list), DataType::List(_)) => {
                let [element] = source.children.as_slice() else {
                    return Err(mismatch(field, &source.data_type));
                };
                let element = self.adapt(&list.element_field, element)?;
                match arrow_field(field)?.data_type() {
                    DataType::List(target) => {
                        Ok(Adapt::List(Arc::clone(target), Box::new(element)))
                    }
                    other => Err(mismatch(field, other)),
                }
            }
            (Type::Map(map), DataType::Map(..)) => {
                let [key, value] = source.children.as_slice() else {
                    return Err(mismatch(field, &source.data_type));
                };
                let key = self.adapt(&map.key_field, key)?;
                let value = self.adapt(&map.value_field, value)?;
                match arrow_field(field)?.data_type() {
                    DataType::Map(entries, _) => {
                        Ok(Adapt::Map(Arc::clone(entries), Box::new((key, value))))
                    }
                    other => Err(mismatch(field, other)),
                }
            }
            (_, from) => Err(mismatch(field, from)),
        }
    }

    fn adapt_struct(
        &mut self,
        field: &NestedField,
        target: &[NestedFieldRef],
        source: &FileField,
    ) -> Result<Adapt> {
        let children = target.iter().map(|child| {
            let position = source.child(child.id, &child.name);
            self.child(child, position, &source.children)
        });
        let children: Vec<Child> = children.collect::<Result<_>>()?;
        if !children
            .iter()
            .any(|child| matches!(child, Child::Source(..)))
        {
            self.leaves.insert(source.first_leaf);
        }
        match arrow_field(field)?.data_type() {
            DataType::Struct(fields) => Ok(Adapt::Struct(fields.clone(), renumber(children))),
            other => Err(mismatch(field, other)),
        }
    }
}

/// From positions among all fields of the file to positions among those that are read.
fn renumber(mut children: Vec<Child>) -> Vec<Child> {
    let read: BTreeSet<usize> = children.iter().filter_map(Child::source).collect();
    for child in &mut children {
        if let Child::Source(position, _) = child {
            *position = read.range(..*position).count();
        }
    }
    children
}

fn mismatch(field: &NestedField, found: &DataType) -> Error {
    Error::SchemaMismatch {
        column: field.name.clone(),
        expected: field.field_type.to_string(),
        found: format!("{found} in a data file"),
    }
}

/// The fields of a schema that `ids` name, in that order.
pub(super) fn top_level_fields(
    table: &str,
    schema: &iceberg::spec::Schema,
    ids: &[i32],
) -> Result<Vec<NestedFieldRef>> {
    let fields = schema.as_struct().fields();
    let find = |id: &i32| fields.iter().find(|field| field.id == *id).cloned();
    let missing = |id: &i32| {
        Error::internal(
            format!("scanning `{table}`"),
            format!("no top-level column has id {id}"),
        )
    };
    ids.iter()
        .map(|id| find(id).ok_or_else(|| missing(id)))
        .collect()
}

/// Arrow fields of Iceberg fields.
pub(super) fn arrow_fields(fields: &[NestedFieldRef]) -> Result<Vec<FieldRef>> {
    fields
        .iter()
        .map(|field| arrow_field(field).map(Arc::new))
        .collect()
}
