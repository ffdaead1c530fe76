//! Commands to the requests of the model.

use chrono::{DateTime, TimeDelta, Utc};

use super::command::{Historical, Pull};
use super::dates::instant;
use super::views;
use crate::error::{Error, Result};
use crate::model::{
    EntitySource, FeatureSelection, FeatureSource, HistoricalRequest, SourceLocation,
    SourceRequest, SourceRows, TimeRange,
};
use crate::registry::Registry;

/// Feast's default range where no requested view has a ttl.
const DEFAULT_RANGE: TimeDelta = TimeDelta::days(30);

impl Historical {
    /// Whether the command says which rows it wants without an entity dataframe.
    pub(super) fn has_range_or_sql(&self) -> bool {
        self.entity_df_sql.is_some() || self.start_date.is_some() || self.end_date.is_some()
    }
}

/// A historical request; `frame` is where its entity dataframe is, if there is one.
///
/// # Errors
/// [`Error::ProjectNotFound`], [`Error::FeatureViewNotFound`], [`Error::FeatureNotFound`],
/// [`Error::UnsupportedSource`], [`Error::InvalidRequest`].
pub(super) fn historical(
    command: &Historical,
    registry: &Registry,
    frame: Option<EntitySource>,
    now: DateTime<Utc>,
) -> Result<HistoricalRequest> {
    registry.check_project(Some(&command.project))?;
    let features = views::selection(command, registry)?;
    check_sources(registry, &features)?;
    let entity = match (frame, &command.entity_df_sql) {
        (Some(frame), _) => frame,
        (None, Some(query)) => EntitySource::Sql(query.clone()),
        (None, None) if command.has_range_or_sql() => {
            EntitySource::Range(range(command, registry, &features, now)?)
        }
        (None, None) => return Err(no_entity()),
    };
    Ok(HistoricalRequest {
        project: Some(command.project.clone()),
        features,
        full_feature_names: command.full_feature_names,
        entity,
        ordered: true,
        pins: None,
    })
}

pub(super) fn no_entity() -> Error {
    Error::invalid(
        "entity_df",
        "expected an entity dataframe, or start_date or end_date without one",
    )
}

/// Ends now, and reaches back by the longest ttl of the views, unless the command says otherwise.
fn range(
    command: &Historical,
    registry: &Registry,
    features: &FeatureSelection,
    now: DateTime<Utc>,
) -> Result<TimeRange> {
    let end = instant("end_date", command.end_date.as_deref())?.unwrap_or(now);
    let start = match instant("start_date", command.start_date.as_deref())? {
        Some(start) => start,
        None => end
            .checked_sub_signed(longest_ttl(registry, features)?)
            .unwrap_or(DateTime::<Utc>::MIN_UTC),
    };
    if end < start {
        let message = format!("expected a time not before start_date, {start}, found {end}");
        return Err(Error::invalid("command.end_date", message));
    }
    Ok(TimeRange { start, end })
}

fn longest_ttl(registry: &Registry, features: &FeatureSelection) -> Result<TimeDelta> {
    let resolved = registry.resolve(features)?;
    let ttls = resolved
        .views
        .iter()
        .filter_map(|view| view.view.ttl.limit());
    let longest = ttls.max().map(TimeDelta::from_std);
    Ok(longest.map_or(DEFAULT_RANGE, |ttl| ttl.unwrap_or(TimeDelta::MAX)))
}

/// The rows of one source.
///
/// # Errors
/// [`Error::DataSourceNotFound`], [`Error::UnsupportedSource`], [`Error::InvalidRequest`].
pub(super) fn source(
    rows: SourceRows,
    command: &Pull,
    registry: &Registry,
) -> Result<SourceRequest> {
    let name = &command.data_source_name;
    check_readable(name, &*registry.data_source(name)?)?;
    let created = command.created_timestamp_column.clone();
    Ok(SourceRequest {
        source: name.clone(),
        rows,
        join_keys: command.join_key_columns.clone(),
        features: command.feature_name_columns.clone(),
        timestamp_field: command.timestamp_field.clone(),
        created_timestamp_column: created.filter(|column| !column.is_empty()),
        start: instant("start_date", command.start_date.as_deref())?,
        end: instant("end_date", command.end_date.as_deref())?,
    })
}

/// # Errors
/// [`Error::UnsupportedSource`] with the source's name.
pub(super) fn check_readable(name: &str, source: &FeatureSource) -> Result<()> {
    match &source.location {
        SourceLocation::Unsupported(kind) => Err(Error::UnsupportedSource {
            source_name: name.to_owned(),
            source_kind: kind.clone(),
        }),
        SourceLocation::Iceberg(_) | SourceLocation::Parquet(_) => Ok(()),
    }
}

/// The name of a view's source, as far as the definitions list it by itself; else the view's.
pub(super) fn source_name<'a>(
    registry: &'a Registry,
    view: &'a str,
    source: &FeatureSource,
) -> &'a str {
    let mut known = registry.data_sources();
    let found = known.find(|(_, known)| known.as_ref() == source);
    found.map_or(view, |(name, _)| name)
}

fn check_sources(registry: &Registry, features: &FeatureSelection) -> Result<()> {
    registry
        .resolve(features)?
        .views
        .iter()
        .try_for_each(|view| {
            let source = &view.view.source;
            check_readable(source_name(registry, &view.view.name, source), source)
        })
}
