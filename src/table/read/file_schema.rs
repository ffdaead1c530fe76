//! The columns of a Parquet file as a tree that knows field ids and Parquet leaves, whatever the writer recorded.
//!
//! Files carry ids, or the table's name mapping gives them, or, as Iceberg does for files that it imported before
//! name mappings existed, the n-th column has id n. Without ids the fields of structs are matched by name.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use iceberg::spec::{MappedField, NameMapping};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;

/// Where the field ids of a file's columns come from.
#[derive(Clone, Debug)]
pub enum FieldIds {
    /// The file; for files without any, this mapping or else the columns' positions.
    InFiles(Option<Arc<NameMapping>>),
    /// This mapping, whatever ids a file has.
    ByName(Arc<NameMapping>),
}

/// One column or nested field of a file.
#[derive(Clone, Debug)]
pub(super) struct FileField {
    pub(super) id: Option<i32>,
    pub(super) name: String,
    pub(super) data_type: DataType,
    /// Index of its first Parquet leaf.
    pub(super) first_leaf: usize,
    /// A struct's fields, a list's element, or a map's key and value.
    pub(super) children: Vec<FileField>,
}

/// The top-level columns of a file.
#[derive(Clone, Debug)]
pub(super) struct FileSchema {
    pub(super) columns: Vec<FileField>,
    has_ids: bool,
}

impl FileSchema {
    pub(super) fn new(schema: &Schema, parquet: &SchemaDescriptor) -> Self {
        let mut leaf = 0;
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| FileField::new(field, &mut leaf))
            .collect();
        debug_assert_eq!(leaf, parquet.num_columns());
        let has_ids = columns.iter().any(FileField::has_id);
        Self { columns, has_ids }
    }

    /// The same columns with the ids that they have in the table.
    pub(super) fn with_ids(&self, ids: &FieldIds) -> Cow<'_, Self> {
        let mapping = match ids {
            FieldIds::InFiles(_) if self.has_ids => return Cow::Borrowed(self),
            FieldIds::InFiles(mapping) => mapping.as_deref(),
            FieldIds::ByName(mapping) => Some(mapping.as_ref()),
        };
        let mut columns = self.columns.clone();
        match mapping {
            Some(mapping) => {
                let mapped: Vec<&MappedField> = mapping.fields().iter().collect();
                for column in &mut columns {
                    column.forget_ids();
                    column.map_name(&column.name.clone(), &mapped);
                }
            }
            None => {
                for (column, id) in columns.iter_mut().zip(1..) {
                    column.id = Some(id);
                }
            }
        }
        Cow::Owned(Self {
            columns,
            has_ids: false,
        })
    }

    pub(super) fn column(&self, id: i32) -> Option<&FileField> {
        self.columns.iter().find(|column| column.id == Some(id))
    }
}

impl FileField {
    fn new(field: &Field, leaf: &mut usize) -> Self {
        let first_leaf = *leaf;
        let children: Vec<_> = nested(field.data_type())
            .into_iter()
            .map(|child| Self::new(child, leaf))
            .collect();
        if children.is_empty() {
            *leaf += 1;
        }
        Self {
            id: field
                .metadata()
                .get(PARQUET_FIELD_ID_META_KEY)
                .and_then(|id| id.parse().ok()),
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            first_leaf,
            children,
        }
    }

    fn forget_ids(&mut self) {
        self.id = None;
        self.children.iter_mut().for_each(Self::forget_ids);
    }

    fn has_id(&self) -> bool {
        self.id.is_some() || self.children.iter().any(Self::has_id)
    }

    /// The position of the field of a struct that holds what the table calls `id` or, without ids, `name`.
    pub(super) fn child(&self, id: i32, name: &str) -> Option<usize> {
        let nameless = self.children.iter().all(|child| child.id.is_none());
        self.children
            .iter()
            .position(|child| child.id == Some(id) || (nameless && child.name == name))
    }

    fn map_name(&mut self, name: &str, mapped: &[&MappedField]) {
        let Some(found) = mapped
            .iter()
            .find(|field| field.names().iter().any(|known| known == name))
        else {
            return;
        };
        self.id = found.field_id();
        let below: Vec<&MappedField> = found.fields().iter().map(AsRef::as_ref).collect();
        let roles: Vec<String> = match self.data_type {
            DataType::List(_) => vec!["element".to_owned()],
            DataType::Map(..) => vec!["key".to_owned(), "value".to_owned()],
            _ => self
                .children
                .iter()
                .map(|child| child.name.clone())
                .collect(),
        };
        for (child, role) in self.children.iter_mut().zip(roles) {
            child.map_name(&role, &below);
        }
    }
}

/// The fields directly below a type; a map's entries count as its own.
fn nested(data_type: &DataType) -> Vec<&FieldRef> {
    match data_type {
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::List(element) => vec![element],
        DataType::Map(entries, _) => nested(entries.data_type()),
        _ => Vec::new(),
    }
}

/// The schema to read a file with INT96 columns, or `None` where it has none.
pub(super) fn with_int96_as_micros(schema: &Schema, parquet: &SchemaDescriptor) -> Option<Schema> {
    let is_int96 = |leaf: usize| parquet.column(leaf).physical_type() == PhysicalType::INT96;
    if !(0..parquet.num_columns()).any(is_int96) {
        return None;
    }
    let mut leaf = 0;
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|field| int96_field(field, &is_int96, &mut leaf))
        .collect();
    Some(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn int96_field(field: &FieldRef, is_int96: &impl Fn(usize) -> bool, leaf: &mut usize) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| int96_field(field, is_int96, leaf))
                .collect(),
        ),
        DataType::List(element) => DataType::List(int96_field(element, is_int96, leaf)),
        DataType::Map(entries, sorted) => {
            DataType::Map(int96_field(entries, is_int96, leaf), *sorted)
        }
        other => {
            *leaf += 1;
            match is_int96(*leaf - 1) {
                true => DataType::Timestamp(TimeUnit::Microsecond, None),
                false => other.clone(),
            }
        }
    };
    field.as_ref().clone().with_data_type(data_type).into()
}
