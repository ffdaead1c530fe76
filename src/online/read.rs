//! One view's rows for some keys: from memory where they are there, from single pages where the bucket was not asked for
//! before or the table is larger than the memory, and else loaded.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};

use super::by_key::Asked;
use super::column::Column;
use super::layer::{Layer, Order};
use super::part::{Found, Part};
use super::plan::PlannedView;
use super::state::State;
use crate::error::{Error, Result};
use crate::table::entity_key::{key_column, key_hash};
use crate::table::files::FileEntry;

/// So many keys are looked for in files before their buckets are loaded.
const FEW_KEYS: usize = 4;

/// What was found for each requested row.
pub(super) struct ViewRows {
    /// Layers that rows are in.
    pub(super) layers: Vec<Arc<Layer>>,
    /// Per requested row: the layer's place in `layers`, the row in it, and what orders it.
    pub(super) found: Vec<Option<(usize, usize, Order)>>,
    /// Where the view's written features are in the layers of parts, in the view's order.
    columns: Vec<usize>,
    pub(super) trace: Trace,
}

impl ViewRows {
    /// The `nth` written feature of the view in one of the layers. Layers that were read by key have the view's columns
    /// only, in its order.
    pub(super) fn column(&self, layer: usize, nth: usize) -> &Column {
        let layer = &self.layers[layer];
        let by_key = self.trace.by_key.as_ref();
        let own = by_key.is_some_and(|part| part.layers().iter().any(|it| Arc::ptr_eq(it, layer)));
        layer.column(if own { nth } else { self.columns[nth] })
    }
}

/// What a read of one view touched, for `explain`.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) state: Option<Arc<State>>,
    /// Distinct buckets of the requested keys.
    pub(super) buckets: Vec<usize>,
    /// Parts that were in memory.
    pub(super) hits: usize,
    /// Parts that were loaded now.
    pub(super) loaded: Vec<Arc<Part>>,
    /// Rows read by key.
    pub(super) by_key: Option<Arc<Part>>,
}

impl Trace {
    /// Whether files were read.
    pub(super) fn has_read(&self) -> bool {
        !self.loaded.is_empty() || self.by_key.is_some()
    }
}

/// Requested keys of one view.
struct Keys {
    bytes: BinaryArray,
    hashes: Vec<u32>,
    buckets: Vec<usize>,
}

/// Reads one view.
///
/// # Errors
/// [`Error::SchemaMismatch`] for key columns that are missing or of another kind; those of catalog and storage.
pub(super) async fn view_rows(view: &PlannedView, batch: &RecordBatch) -> Result<ViewRows> {
    let state = match view.state.has_columns(&view.columns) {
        true => Arc::clone(&view.state),
        false => view.table.with_columns(&view.state, &view.columns).await,
    };
    let keys = keys(view, &state, batch)?;
    let mut read = Read {
        view,
        state: &state,
        parts: HashMap::new(),
        shared: None,
        trace: Trace {
            state: Some(Arc::clone(&state)),
            buckets: distinct(&keys.buckets),
            ..Trace::default()
        },
    };
    read.gather_parts(&keys).await?;
    read.look_up(&keys)
}

struct Read<'a> {
    view: &'a PlannedView,
    state: &'a Arc<State>,
    /// By bucket.
    parts: HashMap<usize, Arc<Part>>,
    shared: Option<Arc<Part>>,
    trace: Trace,
}

impl Read<'_> {
    async fn gather_parts(&mut self, keys: &Keys) -> Result<()> {
        let table = &self.view.table;
        let mut files: Vec<Arc<FileEntry>> = Vec::new();
        if !self.state.files.shared.is_empty() {
            match (self.state.shared.resident(), table.keeps_shared(self.state)) {
                (Some(part), _) => self.hit_shared(part),
                (None, true) => {
                    let part = table.shared(self.state).await?;
                    self.trace.loaded.push(Arc::clone(&part));
                    self.shared = Some(part);
                }
                (None, false) => files.extend(self.state.files.shared.iter().cloned()),
            }
        }
        let are_few = keys.hashes.len() <= FEW_KEYS;
        self.gather_buckets(are_few, &mut files).await?;
        if files.is_empty() {
            return Ok(());
        }
        let asked = Asked {
            files,
            columns: Arc::clone(&self.view.columns),
            keys: keys.bytes.clone(),
        };
        self.trace.by_key = Some(self.view.table.keys(self.state, asked).await?);
        Ok(())
    }

    fn hit_shared(&mut self, part: Arc<Part>) {
        self.trace.hits += 1;
        self.shared = Some(part);
    }

    /// Parts of the buckets; `files` gets those of buckets that are not kept in memory, or that are asked for the first
    /// time and for few keys: finding these takes a part of the time of loading the bucket, and most that are asked for
    /// once are not asked for again soon.
    async fn gather_buckets(
        &mut self,
        are_few: bool,
        files: &mut Vec<Arc<FileEntry>>,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for bucket in &self.trace.buckets {
            let own = &self.state.files.by_bucket[*bucket];
            if own.is_empty() {
                continue;
            }
            let slot = &self.state.buckets[*bucket];
            if let Some(part) = slot.resident() {
                self.trace.hits += 1;
                self.parts.insert(*bucket, part);
            } else if self.view.table.keeps_buckets(self.state)
                && !(are_few && slot.is_asked_first())
            {
                missing.push(*bucket);
            } else {
                files.extend(own.iter().cloned());
            }
        }
        let loads = missing
            .iter()
            .map(|bucket| self.view.table.bucket(self.state, *bucket));
        let loaded = futures::future::try_join_all(loads).await?;
        self.trace.loaded.extend(loaded.iter().cloned());
        self.parts.extend(missing.into_iter().zip(loaded));
        Ok(())
    }

    fn look_up(self, keys: &Keys) -> Result<ViewRows> {
        let now = self.view.table.means().loader.budget.now();
        let always = [&self.shared, &self.trace.by_key];
        let used = self.parts.values().chain(always.into_iter().flatten());
        used.for_each(|part| part.touch(now));
        let mut rows = ViewRows {
            layers: Vec::new(),
            found: Vec::with_capacity(keys.hashes.len()),
            columns: self.places(),
            trace: Trace::default(),
        };
        let mut places: HashMap<*const Layer, usize> = HashMap::new();
        for row in 0..keys.hashes.len() {
            let found = self.latest(keys, row).map(|found| {
                let place = *places.entry(Arc::as_ptr(found.layer)).or_insert_with(|| {
                    rows.layers.push(Arc::clone(found.layer));
                    rows.layers.len() - 1
                });
                (place, found.row, found.order)
            });
            rows.found.push(found);
        }
        rows.trace = self.trace;
        Ok(rows)
    }

    fn latest(&self, keys: &Keys, row: usize) -> Option<Found<'_>> {
        if keys.bytes.is_null(row) {
            return None;
        }
        let (key, hash) = (keys.bytes.value(row), keys.hashes[row]);
        let own = self.parts.get(&keys.buckets[row]);
        let parts = [own, self.shared.as_ref(), self.trace.by_key.as_ref()];
        let found = parts
            .into_iter()
            .flatten()
            .filter_map(|part| part.find(key, hash));
        found.max_by_key(|found| found.order)
    }

    fn places(&self) -> Vec<usize> {
        let columns = self
            .view
            .features
            .iter()
            .filter_map(|feature| feature.field_id);
        let of = |id: i32| {
            self.state
                .columns
                .iter()
                .position(|(known, _)| *known == id)
        };
        columns.filter_map(of).collect()
    }
}

fn distinct(buckets: &[usize]) -> Vec<usize> {
    let mut distinct = buckets.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

fn keys(view: &PlannedView, state: &State, batch: &RecordBatch) -> Result<Keys> {
    let columns: Vec<(&str, ArrayRef)> = view
        .keys
        .iter()
        .map(|(key, column)| {
            let sent = batch
                .column_by_name(column)
                .ok_or_else(|| Error::MissingEntityColumn {
                    column: column.clone(),
                    view: view.name.clone(),
                    found: batch
                        .schema()
                        .fields()
                        .iter()
                        .map(|it| it.name().clone())
                        .collect(),
                })?;
            Ok((key.name.as_str(), key_column(key, sent)?))
        })
        .collect::<Result<_>>()?;
    let bytes = state.encoder.encode(batch.num_rows(), |name| {
        let mut known = columns.iter();
        known
            .find(|(own, _)| *own == name)
            .map(|(_, column)| column)
    })?;
    let hashes: Vec<u32> = (0..bytes.len())
        .map(|row| match bytes.is_valid(row) {
            true => key_hash(bytes.value(row)),
            false => 0,
        })
        .collect();
    let count = state.properties.buckets;
    let buckets = hashes.iter().map(|hash| (hash % count) as usize).collect();
    Ok(Keys {
        bytes,
        hashes,
        buckets,
    })
}
