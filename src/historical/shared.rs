//! Views that differ only in their features are joined as one: one scan of their table, one pass over its keys and
//! timestamps, one fetch of the rows that won.

use super::bind::{BoundColumn, BoundView};

/// Views that are joined as one.
#[derive(Debug)]
pub(super) struct JoinedViews {
    /// Their positions in the request, ascending.
    pub(super) members: Vec<usize>,
    /// The first of them, with the features of all.
    pub(super) view: BoundView,
}

impl JoinedViews {
    /// Groups views; `keys` are each view's key columns in the spine.
    pub(super) fn of(views: &[BoundView], keys: &[Vec<usize>]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (at, (view, columns)) in views.iter().zip(keys).enumerate() {
            let is_twin = |group: &&mut Self| {
                is_same_join(&group.view, view)
                    && group
                        .members
                        .iter()
                        .all(|member| keys.get(*member) == Some(columns))
            };
            match groups.iter_mut().find(is_twin) {
                Some(group) => group.add(at, view),
                None => groups.push(Self {
                    members: vec![at],
                    view: view.clone(),
                }),
            }
        }
        groups
    }

    /// What stands in `of_views` for the first of them.
    pub(super) fn first_of<T: Clone + Default>(&self, of_views: &[T]) -> T {
        let first = self.members.first().and_then(|first| of_views.get(*first));
        first.cloned().unwrap_or_default()
    }

    fn add(&mut self, at: usize, view: &BoundView) {
        self.members.push(at);
        self.view.name = format!("{}+{}", self.view.name, view.name);
        self.view.features.extend(view.features.iter().cloned());
    }
}

/// Whether both find the same row for every row of a spine.
fn is_same_join(a: &BoundView, b: &BoundView) -> bool {
    let ids = |columns: &[BoundColumn]| -> Vec<i32> {
        columns.iter().map(|column| column.field_id).collect()
    };
    let created = |view: &BoundView| view.created.as_ref().map(|column| column.field_id);
    a.table.is_same(&b.table)
        && ids(&a.keys) == ids(&b.keys)
        && a.timestamp.field_id == b.timestamp.field_id
        && created(a) == created(b)
        && a.ttl.limit() == b.ttl.limit()
}

/// Where each feature of the request, view by view, stands among those of the groups.
pub(super) fn feature_places(views: &[BoundView], groups: &[JoinedViews]) -> Vec<usize> {
    let mut starts = vec![0; views.len()];
    let mut next = 0;
    for member in groups.iter().flat_map(|group| &group.members) {
        if let (Some(start), Some(view)) = (starts.get_mut(*member), views.get(*member)) {
            *start = next;
            next += view.features.len();
        }
    }
    let places = starts.iter().zip(views);
    places
        .flat_map(|(start, view)| *start..*start + view.features.len())
        .collect()
}
