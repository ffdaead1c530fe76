//! Gate 3: field nodes and buffers are walked along the schema, and their cost is added up.
//!
//! Only sizes are looked at: contents are `arrow-ipc`'s to validate, and it does so safely once every buffer is as
//! large as its array's length demands.

use arrow::datatypes::{DataType, Field, FieldRef};

use super::header::{BatchHeader, Node};
use super::malformed;
use crate::error::Result;

/// Roughly what an array costs beside its buffers.
const ARRAY_BYTES: u64 = 256;

/// What a batch that fits its schema comes to.
#[derive(Debug)]
pub(super) struct Layout {
    /// Bytes to charge: buffers, arrays, and rows that occupy no buffer.
    pub(super) cost: u64,
    /// Bytes of each buffer that mean something. `arrow-ipc` must not see the padding behind them: it panics on a
    /// buffer that is not a whole number of values.
    pub(super) lengths: Vec<usize>,
}

/// Checks that `batch` has exactly the nodes and buffers that `fields` need, where `sizes` are the decoded lengths of
/// its buffers.
pub(super) fn check<'a>(
    fields: impl IntoIterator<Item = &'a Field>,
    batch: &BatchHeader,
    sizes: &[usize],
) -> Result<Layout> {
    let layout = Layout {
        cost: sizes
            .iter()
            .fold(0, |total, &size| total.saturating_add(size as u64)),
        lengths: vec![],
    };
    let (nodes, variadic) = (batch.nodes.iter(), batch.variadic.iter());
    let mut walk = Walk {
        nodes,
        sizes: sizes.iter(),
        variadic,
        layout,
    };
    walk.charge_rows(batch.rows);
    for field in fields {
        walk.array(field.data_type(), Rows::Exactly(batch.rows))
            .map_err(|fault| in_column(field, &fault))?;
    }
    walk.finish()
}

fn in_column(field: &Field, fault: &str) -> crate::error::Error {
    malformed(format!("column `{}`: {fault}", field.name()))
}

/// How many rows an array must have to fit its parent.
enum Rows {
    Exactly(usize),
    AtLeast(usize),
    Any,
}

struct Walk<'a> {
    nodes: std::slice::Iter<'a, Node>,
    sizes: std::slice::Iter<'a, usize>,
    variadic: std::slice::Iter<'a, usize>,
    layout: Layout,
}

type Checked<T> = Result<T, String>;

impl Walk<'_> {
    fn array(&mut self, data_type: &DataType, rows: Rows) -> Checked<()> {
        let node = self.node(rows)?;
        self.charge(ARRAY_BYTES);
        match data_type {
            DataType::Null => self.nulls_only(node),
            DataType::Utf8 | DataType::Binary => self.bytes::<i32>(node),
            DataType::LargeUtf8 | DataType::LargeBinary => self.bytes::<i64>(node),
            DataType::Utf8View | DataType::BinaryView => self.views(node),
            DataType::List(child) | DataType::Map(child, _) => self.list::<i32>(node, child),
            DataType::LargeList(child) => self.list::<i64>(node, child),
            DataType::ListView(child) => self.list_view::<i32>(node, child),
            DataType::LargeListView(child) => self.list_view::<i64>(node, child),
            DataType::FixedSizeList(child, size) => self.fixed_size_list(node, child, *size),
            DataType::Struct(children) => self.fields(node, children),
            DataType::Dictionary(index, _) => self.fixed_width(node, index),
            DataType::FixedSizeBinary(_) => self.fixed_size_binary(node, data_type),
            DataType::Union(..) | DataType::RunEndEncoded(..) => {
                Err(format!("{data_type} is not accepted"))
            }
            _ => self.fixed_width(node, data_type),
        }
    }

    fn nulls_only(&mut self, node: Node) -> Checked<()> {
        if node.nulls != node.rows {
            return Err(format!(
                "a null array of {} rows claims {} nulls",
                node.rows, node.nulls
            ));
        }
        self.charge_rows(node.rows);
        Ok(())
    }

    fn fixed_width(&mut self, node: Node, data_type: &DataType) -> Checked<()> {
        self.validity(node)?;
        let bits = bit_width(data_type).ok_or_else(|| format!("{data_type} is not accepted"))?;
        self.buffer(bytes_for(node.rows, bits)?, "values")
    }

    fn fixed_size_binary(&mut self, node: Node, data_type: &DataType) -> Checked<()> {
        self.fixed_width(node, data_type)?;
        let bytes = bit_width(data_type).and_then(|bits| bytes_for(node.rows, bits).ok());
        match bytes {
            Some(bytes) if i32::try_from(bytes).is_ok() => Ok(()),
            _ => Err("a fixed-size binary array of over 2 GiB".to_owned()),
        }
    }

    fn bytes<O>(&mut self, node: Node) -> Checked<()> {
        self.validity(node)?;
        self.offsets::<O>(node)?;
        self.data("values")
    }

    fn views(&mut self, node: Node) -> Checked<()> {
        self.validity(node)?;
        self.buffer(bytes_for(node.rows, 128)?, "views")?;
        let count = *self
            .variadic
            .next()
            .ok_or("the count of its data buffers is missing")?;
        if count > self.sizes.len() {
            return Err(format!(
                "{count} data buffers claimed, at most {} are there",
                self.sizes.len()
            ));
        }
        (0..count).try_for_each(|_| self.data("view data"))
    }

    fn list<O>(&mut self, node: Node, child: &FieldRef) -> Checked<()> {
        self.validity(node)?;
        self.offsets::<O>(node)?;
        self.array(child.data_type(), Rows::Any)
    }

    fn list_view<O>(&mut self, node: Node, child: &FieldRef) -> Checked<()> {
        self.validity(node)?;
        let bytes = bytes_for(node.rows, 8 * size_of::<O>())?;
        self.buffer(bytes, "offsets")?;
        self.buffer(bytes, "sizes")?;
        self.array(child.data_type(), Rows::Any)
    }

    fn fixed_size_list(&mut self, node: Node, child: &FieldRef, size: i32) -> Checked<()> {
        self.validity(node)?;
        let elements = usize::try_from(size)
            .ok()
            .and_then(|size| node.rows.checked_mul(size));
        self.array(
            child.data_type(),
            Rows::AtLeast(elements.ok_or("too many elements")?),
        )
    }

    fn fields(&mut self, node: Node, children: &[FieldRef]) -> Checked<()> {
        self.validity(node)?;
        if children.is_empty() {
            self.charge_rows(node.rows);
        }
        children
            .iter()
            .try_for_each(|child| self.array(child.data_type(), Rows::Exactly(node.rows)))
    }

    fn node(&mut self, rows: Rows) -> Checked<Node> {
        let node = *self.nodes.next().ok_or("its field node is missing")?;
        match rows {
            Rows::Exactly(expected) if node.rows != expected => Err(format!(
                "an array of {} rows where {expected} belong",
                node.rows
            )),
            Rows::AtLeast(expected) if node.rows < expected => Err(format!(
                "an array of {} rows where {expected} belong",
                node.rows
            )),
            _ => Ok(node),
        }
    }

    /// The buffer is always there, but without nulls it means nothing.
    fn validity(&mut self, node: Node) -> Checked<()> {
        let bits = usize::from(node.nulls > 0);
        self.buffer(bytes_for(node.rows, bits)?, "validity")
    }

    /// An empty array may come without offsets.
    fn offsets<O>(&mut self, node: Node) -> Checked<()> {
        let present = self.sizes.as_slice().first().is_some_and(|&size| size > 0);
        let count = if node.rows > 0 || present {
            node.rows.checked_add(1).ok_or("too many rows")?
        } else {
            0
        };
        self.buffer(bytes_for(count, 8 * size_of::<O>())?, "offsets")
    }

    /// A buffer of `needed` bytes; what is beyond them is cut off.
    fn buffer(&mut self, needed: usize, what: &str) -> Checked<()> {
        match self.sizes.next() {
            Some(&size) if size >= needed => {
                self.layout.lengths.push(needed);
                Ok(())
            }
            Some(&size) => Err(format!("its {what} need {needed} bytes, {size} are there")),
            None => Err(format!("its {what} buffer is missing")),
        }
    }

    /// A buffer of any length.
    fn data(&mut self, what: &str) -> Checked<()> {
        let all = self.sizes.as_slice().first().copied().unwrap_or_default();
        self.buffer(all, what)
    }

    fn charge_rows(&mut self, rows: usize) {
        self.charge(rows as u64);
    }

    fn charge(&mut self, bytes: u64) {
        self.layout.cost = self.layout.cost.saturating_add(bytes);
    }

    fn finish(self) -> Result<Layout> {
        let left = [self.nodes.len(), self.sizes.len(), self.variadic.len()];
        if left == [0; 3] {
            return Ok(self.layout);
        }
        let [nodes, buffers, variadic] = left;
        Err(malformed(format!(
            "{nodes} field nodes, {buffers} buffers and {variadic} variadic counts more than the schema has"
        )))
    }
}

fn bytes_for(count: usize, bits: usize) -> Checked<usize> {
    let bits = count
        .checked_mul(bits)
        .ok_or_else(|| format!("{count} values do not fit any buffer"))?;
    Ok(bits.div_ceil(8))
}

fn bit_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok().map(|width| 8 * width),
        other => other.primitive_width().map(|width| 8 * width),
    }
}
