//! From names in a request to tables, columns and keys.
//!
//! What the definitions know comes first: aliases, join key maps, feature services, ttl. A view that they do not know is
//! read by what its table says, so that the online side works where the server cannot read the client's registry.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use futures::future::try_join_all;

use super::OnlineReader;
use super::part::Columns;
use super::state::State;
use super::table::OnlineTable;
use crate::error::{Error, Result, nearest};
use crate::model::{FeatureRef, FeatureSelection, KeyField, OnlineRequest, ViewVersion};
use crate::registry::{Registry, ResolvedView};
use crate::table::online::timestamp;

/// What a request reads, for any keys.
pub struct ReadPlan {
    pub(super) views: Vec<PlannedView>,
    pub(super) include_timestamps: bool,
    pub(super) include_status: bool,
    /// Everything but the keys, in the answer's order.
    pub(super) fields: Vec<Field>,
}

impl std::fmt::Debug for ReadPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadPlan")
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

/// One view's part in a read.
pub(super) struct PlannedView {
    /// Alias, or the view's name.
    pub(super) name: String,
    pub(super) table: Arc<OnlineTable>,
    /// Join keys with the request's column for each.
    pub(super) keys: Vec<(KeyField, String)>,
    pub(super) features: Vec<PlannedFeature>,
    /// Columns to read.
    pub(super) columns: Columns,
    /// Age past which a row does not count.
    pub(super) ttl: Option<Duration>,
    /// What is read; has the token's write, if that is one to this table.
    pub(super) state: Arc<State>,
}

/// One feature of a view.
pub(super) struct PlannedFeature {
    pub(super) field: Field,
    /// Its place in the table; absent for one that was never written.
    pub(super) field_id: Option<i32>,
}

/// A view as the request names it.
struct Named {
    view: ViewVersion,
    name: String,
    features: Option<Vec<String>>,
    definition: Option<ResolvedView>,
    /// Whether it computes its features; those that Feast's client writes have a table all the same.
    on_demand: bool,
}

impl ReadPlan {
    /// Whether no view of the request has join keys, so that it needs no key columns.
    pub fn needs_no_keys(&self) -> bool {
        self.views.iter().all(|view| view.keys.is_empty())
    }
}

impl OnlineReader {
    /// Finds the tables and columns of a request. Opens tables that were not in use.
    ///
    /// # Errors
    /// [`Error::OnlineTableNotFound`], [`Error::FeatureNotFound`], [`Error::FeatureServiceNotFound`],
    /// [`Error::ColumnCollision`]; those of the catalog.
    pub async fn plan(&self, request: &OnlineRequest) -> Result<ReadPlan> {
        let registry = self.definitions(request.project.as_deref()).await?;
        let project = match (&request.project, &registry) {
            (Some(project), _) => project.clone(),
            (None, Some(registry)) => registry.project().to_owned(),
            (None, None) => {
                let message = "expected a project; this server has no definitions that name one";
                return Err(Error::invalid("project", message));
            }
        };
        let named = named(&request.features, registry.as_deref())?;
        let mut views = self.views(&project, &named, request).await?;
        if !has_token(&views, request) {
            // Perhaps a table is another one by now.
            let refreshed = views.iter().map(|view| view.table.refreshed());
            try_join_all(refreshed).await?;
            views = self.views(&project, &named, request).await?;
        }
        if !has_token(&views, request) {
            let message = "expected the token of a write to one of the views that are read";
            return Err(Error::invalid("online.token", message));
        }
        let fields = fields(&views, request)?;
        Ok(ReadPlan {
            views,
            include_timestamps: request.include_timestamps,
            include_status: request.include_status,
            fields,
        })
    }

    async fn views(
        &self,
        project: &str,
        named: &[Named],
        request: &OnlineRequest,
    ) -> Result<Vec<PlannedView>> {
        let views = named.iter();
        try_join_all(views.map(|named| self.planned(project, named, request))).await
    }

    async fn planned(
        &self,
        project: &str,
        named: &Named,
        request: &OnlineRequest,
    ) -> Result<PlannedView> {
        let table = self.table(project, &named.view).await;
        let table = table.map_err(|error| named.explained(error))?;
        let state = match &request.token {
            Some(token) if token.table == table.state().metadata.uuid() => {
                table.state_with(token).await?
            }
            _ => table.state(),
        };
        let features = features(named, &state, request.full_feature_names)?;
        let columns = features
            .iter()
            .filter_map(|feature| Some((feature.field_id?, feature.field.data_type().clone())));
        let ttl = match &named.definition {
            Some(resolved) => resolved.view.ttl,
            None => state.properties.definition.ttl,
        };
        let keys = state.properties.definition.join_keys.iter();
        Ok(PlannedView {
            keys: keys
                .map(|key| (key.clone(), named.column_of(&key.name)))
                .collect(),
            columns: columns.collect(),
            features,
            ttl: ttl.limit().filter(|_| !request.ignore_ttl),
            name: named.name.clone(),
            table,
            state,
        })
    }
}

impl Named {
    /// The request's column for a join key.
    fn column_of(&self, key: &str) -> String {
        let mapped = self.definition.as_ref().and_then(|resolved| {
            let mut keys = resolved.join_keys.iter();
            keys.find(|(own, _)| own == key)
                .map(|(_, column)| column.clone())
        });
        mapped.unwrap_or_else(|| key.to_owned())
    }

    fn of(resolved: ResolvedView) -> Self {
        Self {
            view: ViewVersion {
                view: resolved.view.name.clone(),
                version: None,
            },
            name: resolved.name.clone(),
            features: resolved.features.clone(),
            definition: Some(resolved),
            on_demand: false,
        }
    }

    /// A view that only its table tells about.
    fn plain(name: &str, features: Vec<String>) -> Self {
        let view = ViewVersion::parse(name);
        Self {
            name: view.view.clone(),
            view,
            features: Some(features),
            definition: None,
            on_demand: false,
        }
    }

    fn explained(&self, error: Error) -> Error {
        match self.on_demand && matches!(error, Error::OnlineTableNotFound { .. }) {
            true => computed(&self.name),
            false => error,
        }
    }
}

fn named(selection: &FeatureSelection, registry: Option<&Registry>) -> Result<Vec<Named>> {
    match (selection, registry) {
        (FeatureSelection::Refs(refs), registry) => by_refs(refs, registry),
        (FeatureSelection::Service(name), None) => Err(Error::FeatureServiceNotFound {
            service: name.clone(),
            nearest: Vec::new(),
        }),
        (selection, Some(registry)) => resolved(registry, selection),
        (FeatureSelection::Views(_), None) => Err(Error::invalid(
            "online.features",
            "expected refs; this server has no definitions of the project",
        )),
    }
}

fn by_refs(refs: &[FeatureRef], registry: Option<&Registry>) -> Result<Vec<Named>> {
    let mut views: Vec<Named> = Vec::new();
    for (name, features) in FeatureRef::grouped(refs) {
        let known = registry.filter(|registry| registry.knows(name));
        let Some(registry) = known else {
            views.push(Named::plain(name, features));
            continue;
        };
        let refs = features.iter().map(|feature| FeatureRef {
            view: name.to_owned(),
            feature: feature.clone(),
        });
        let resolved = registry.resolve(&FeatureSelection::Refs(refs.collect()))?;
        if resolved.on_demand.is_empty() {
            views.extend(resolved.views.into_iter().map(Named::of));
        } else {
            views.push(Named {
                on_demand: true,
                ..Named::plain(name, features)
            });
        }
    }
    Ok(views)
}

fn resolved(registry: &Registry, selection: &FeatureSelection) -> Result<Vec<Named>> {
    let resolved = registry.resolve(selection)?;
    match resolved.on_demand.first() {
        Some(on_demand) => Err(computed(&on_demand.name)),
        None => Ok(resolved.views.into_iter().map(Named::of).collect()),
    }
}

fn computed(view: &str) -> Error {
    Error::Unsupported {
        what: format!(
            "on-demand feature view `{view}` in an online request to the server (Feast's client evaluates it)"
        ),
    }
}

fn features(named: &Named, state: &State, full_names: bool) -> Result<Vec<PlannedFeature>> {
    let wanted = match &named.features {
        Some(features) => features.clone(),
        None => all_features(state),
    };
    let declared = |feature: &str| {
        let definition = &state.properties.definition;
        let in_table = definition
            .features
            .iter()
            .any(|known| known.name == feature);
        let in_registry = named.definition.as_ref().is_some_and(|resolved| {
            resolved
                .view
                .features
                .as_ref()
                .is_some_and(|features| features.iter().any(|known| known == feature))
        });
        in_table || in_registry
    };
    let planned = |feature: &String| {
        let output = match full_names {
            true => format!("{}__{feature}", named.name),
            false => feature.clone(),
        };
        match state.features.get(feature) {
            Some((id, field)) => Ok(PlannedFeature {
                field: Field::new(output, field.data_type().clone(), true),
                field_id: Some(*id),
            }),
            // Known, but no row was ever written with it.
            None if declared(feature) => Ok(PlannedFeature {
                field: Field::new(output, DataType::Null, true),
                field_id: None,
            }),
            None => Err(Error::FeatureNotFound {
                view: named.name.clone(),
                feature: feature.clone(),
                nearest: nearest(feature, state.features.keys().map(String::as_str)),
            }),
        }
    };
    wanted.iter().map(planned).collect()
}

fn all_features(state: &State) -> Vec<String> {
    let mut all: Vec<(i32, &String)> = state
        .features
        .iter()
        .map(|(name, (id, _))| (*id, name))
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(_, name)| name.clone()).collect()
}

/// Whether the request's token, if there is one, is of a table that is read.
fn has_token(views: &[PlannedView], request: &OnlineRequest) -> bool {
    let token = request.token.as_ref();
    token.is_none_or(|token| {
        let mut states = views.iter().map(|view| &view.state);
        states.any(|state| state.metadata.uuid() == token.table)
    })
}

fn fields(views: &[PlannedView], request: &OnlineRequest) -> Result<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    for view in views {
        fields.extend(view.features.iter().map(|feature| feature.field.clone()));
        if request.include_status {
            let status = |feature: &PlannedFeature| {
                Field::new(
                    format!("{}__status", feature.field.name()),
                    DataType::Utf8,
                    false,
                )
            };
            fields.extend(view.features.iter().map(status));
        }
        if request.include_timestamps {
            let name = format!("{}__event_timestamp", view.name);
            fields.push(Field::new(name, timestamp(), true));
        }
    }
    let mut seen = std::collections::HashSet::new();
    match fields
        .iter()
        .find(|field| !seen.insert(field.name().as_str()))
    {
        Some(twice) => Err(Error::ColumnCollision {
            column: twice.name().clone(),
        }),
        None => Ok(fields),
    }
}
