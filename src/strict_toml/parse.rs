//! TOML text becomes a tree that knows its lines.

use std::sync::Arc;

use toml::de::{DeFloat, DeInteger, DeTable, DeValue, Error};

use super::{Fault, Kind, Node, Origin};

pub(super) fn document(text: &str, file: &str) -> Result<Node, Vec<Fault>> {
    let lines = Lines::new(text, file);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(lines.table(table.get_ref(), lines.at(0)));
    }
    Err(errors
        .iter()
        .map(|error| lines.syntax_fault(error))
        .collect())
}

struct Lines {
    file: Arc<str>,
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str, file: &str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            file: file.into(),
            starts,
        }
    }

    fn at(&self, offset: usize) -> Origin {
        Origin::File(
            Arc::clone(&self.file),
            self.starts.partition_point(|start| *start <= offset),
        )
    }

    fn syntax_fault(&self, error: &Error) -> Fault {
        let offset = error.span().map_or(0, |span| span.start);
        Fault {
            origin: self.at(offset),
            key: String::new(),
            message: error.message().replace('\n', ", "),
        }
    }

    fn table(&self, table: &DeTable<'_>, origin: Origin) -> Node {
        let entries = table.iter().map(|(key, value)| {
            (
                key.get_ref().to_string(),
                self.value(value.get_ref(), self.at(key.span().start)),
            )
        });
        Node::new(Kind::Table(entries.collect()), origin)
    }

    fn value(&self, value: &DeValue<'_>, origin: Origin) -> Node {
        let kind = match value {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(integer) => integer_kind(integer),
            DeValue::Float(float) => float_kind(float),
            DeValue::Boolean(boolean) => Kind::Boolean(*boolean),
            DeValue::Datetime(_) => Kind::Date,
            DeValue::Array(items) => Kind::Array(
                items
                    .iter()
                    .map(|item| self.value(item.get_ref(), self.at(item.span().start)))
                    .collect(),
            ),
            DeValue::Table(table) => return self.table(table, origin),
        };
        Node::new(kind, origin)
    }
}

/// An integer beyond 64 bits is kept as the float that is nearest, which no setting takes for an integer.
fn integer_kind(integer: &DeInteger<'_>) -> Kind {
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(value) => Kind::Integer(value),
        Err(_) => Kind::Float(integer.as_str().parse().unwrap_or(f64::NAN)),
    }
}

fn float_kind(float: &DeFloat<'_>) -> Kind {
    Kind::Float(float.as_str().parse().unwrap_or(f64::NAN))
}
