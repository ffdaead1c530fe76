//! Which tables a command or the schedule is about: online tables, found by what their properties say, and the batch sources
//! of the definitions.

use std::collections::BTreeSet;

use iceberg::{ErrorKind, NamespaceIdent};

use super::Maintenance;
use crate::catalog::{Catalogs, pass_over, table_error};
use crate::error::{Error, Result, nearest};
use crate::model::{SourceLocation, TableName};
use crate::registry::Registry;
use crate::table::online::{OnlineLayout, OnlineProperties};

/// Which tables are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this project; absent: of all.
    pub project: Option<String>,
    /// Of these views: batch source and all versions of `view`, or the online table of one version, `view@v2`. None: of all
    /// views.
    pub feature_views: Vec<String>,
    /// These, whatever they belong to. Where nothing else is said, only these.
    pub tables: Vec<TableName>,
}

impl Selection {
    fn has_project(&self, project: &str) -> bool {
        self.project.as_ref().is_none_or(|it| it == project)
    }

    fn has_online(&self, table: &OnlineProperties) -> bool {
        let of_view =
            |wanted: &String| *wanted == table.view.view || *wanted == table.view.to_string();
        self.has_project(&table.project)
            && (self.feature_views.is_empty() || self.feature_views.iter().any(of_view))
    }

    fn has_source(&self, view: &str) -> bool {
        self.feature_views.is_empty() || self.feature_views.iter().any(|it| it == view)
    }

    pub(super) fn is_of_tables_only(&self) -> bool {
        !self.tables.is_empty() && self.project.is_none() && self.feature_views.is_empty()
    }
}

impl Maintenance {
    /// The tables that are meant, in order: online tables of the layout's namespace, batch sources of the definitions that
    /// are Iceberg tables and exist, and those that are named.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`]; [`Error::Unsupported`] for a view that has no Iceberg table;
    /// [`Error::CatalogUnavailable`].
    pub async fn select(
        &self,
        layout: &OnlineLayout,
        definitions: Option<&Registry>,
        meant: &Selection,
    ) -> Result<Vec<TableName>> {
        let mut chosen: BTreeSet<TableName> = meant.tables.iter().cloned().collect();
        if meant.is_of_tables_only() {
            return Ok(chosen.into_iter().collect());
        }
        let online = self
            .online_tables(&layout.catalog, &layout.namespace)
            .await?;
        let sources = sources(definitions, meant);
        check_views(definitions, meant, &online, &sources)?;
        let online = online.into_iter().filter(|(_, it)| meant.has_online(it));
        chosen.extend(online.map(|(name, _)| name));
        let sources: BTreeSet<TableName> = sources.into_iter().map(|(_, name)| name).collect();
        for name in sources {
            if self.exists(&name).await {
                chosen.insert(name);
            }
        }
        Ok(chosen.into_iter().collect())
    }

    /// The online tables of a namespace, by name.
    ///
    /// # Errors
    /// [`Error::CatalogUnavailable`].
    pub async fn online_tables(
        &self,
        catalog: &str,
        namespace: &[String],
    ) -> Result<Vec<(TableName, OnlineProperties)>> {
        let mut found = Vec::new();
        for name in table_names(self.tables.catalogs(), catalog, namespace).await? {
            let table = match self.tables.catalogs().load_table(&name).await {
                Ok(table) => table,
                Err(Error::TableNotFound { .. }) => continue,
                Err(error) => {
                    pass_over(&name, error)?;
                    continue;
                }
            };
            match OnlineProperties::read(table.metadata()) {
                Ok(Some(properties)) => found.push((name, properties)),
                Ok(None) => {}
                Err(error) => pass_over(&name, error)?,
            }
        }
        Ok(found)
    }

    /// Whether a source was written to at all. What cannot be told is told where the table is looked after.
    async fn exists(&self, name: &TableName) -> bool {
        let loaded = self.tables.catalogs().load_table(name).await;
        !matches!(loaded, Err(Error::TableNotFound { .. }))
    }
}

/// The batch sources that are meant, with their views.
fn sources(definitions: Option<&Registry>, meant: &Selection) -> Vec<(String, TableName)> {
    let definitions = definitions.filter(|it| meant.has_project(it.project()));
    let views = definitions.into_iter().flat_map(Registry::feature_views);
    let meant = views.filter(|view| meant.has_source(&view.name));
    let tables = meant.filter_map(|view| match &view.source.location {
        SourceLocation::Iceberg(table) => Some((view.name.clone(), table.clone())),
        SourceLocation::Parquet(_) | SourceLocation::Unsupported(_) => None,
    });
    tables.collect()
}

/// Refuses a view that has neither.
fn check_views(
    definitions: Option<&Registry>,
    meant: &Selection,
    online: &[(TableName, OnlineProperties)],
    sources: &[(String, TableName)],
) -> Result<()> {
    let is_missing = |view: &&String| {
        let alone = Selection {
            feature_views: vec![ToString::to_string(view)],
            ..meant.clone()
        };
        !online.iter().any(|(_, it)| alone.has_online(it))
            && !sources.iter().any(|(name, _)| name == *view)
    };
    let Some(view) = meant.feature_views.iter().find(is_missing) else {
        return Ok(());
    };
    if definitions.is_some_and(|it| it.feature_view(view).is_ok()) {
        let what = format!(
            "maintenance of feature view `{view}`, which has no online table and no Iceberg table as batch source,"
        );
        return Err(Error::Unsupported { what });
    }
    let known = online.iter().map(|(_, it)| it.view.view.as_str());
    let defined = definitions.into_iter().flat_map(Registry::feature_views);
    let known = known.chain(defined.map(|view| view.name.as_str()));
    Err(Error::FeatureViewNotFound {
        view: view.clone(),
        nearest: nearest(view, known),
    })
}

/// All tables of a namespace in order; none if it does not exist.
async fn table_names(
    catalogs: &Catalogs,
    catalog: &str,
    namespace: &[String],
) -> Result<Vec<TableName>> {
    let opened = catalogs.get(catalog).await?;
    let name = |name: String| TableName {
        catalog: catalog.to_owned(),
        namespace: namespace.to_vec(),
        name,
    };
    let levels = NamespaceIdent::from_vec(namespace.to_vec());
    let levels = levels.map_err(|_| Error::invalid("online.namespace", "it is empty"))?;
    let mut names: Vec<String> = match opened.list_tables(&levels).await {
        Ok(tables) => tables.into_iter().map(|it| it.name).collect(),
        Err(error) if error.kind() == ErrorKind::NamespaceNotFound => Vec::new(),
        Err(error) => return Err(table_error(&name(String::new()), error)),
    };
    names.sort_unstable();
    Ok(names.into_iter().map(name).collect())
}

#[cfg(test)]
mod tests;
