//! Upkeep of online tables: found by what their properties say, one at a time, each verb with a report.

mod compact;

use std::sync::Arc;

use iceberg::{ErrorKind, NamespaceIdent};
use serde::Serialize;

use crate::catalog::{Catalogs, table_error};
use crate::error::{Error, Result, nearest};
use crate::model::TableName;
use crate::table::Tables;
use crate::table::online::OnlineProperties;

pub use compact::{CompactReport, Extent, FoldLimits};

/// What keeps tables in shape.
#[derive(Clone, Debug)]
pub struct Maintenance {
    tables: Arc<Tables>,
    limits: FoldLimits,
}

/// Which online tables are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this project; absent: of all.
    pub project: Option<String>,
    /// Of these views: all versions of `view`, or one, `view@v2`. None: of all views.
    pub feature_views: Vec<String>,
}

impl Selection {
    fn has(&self, table: &OnlineProperties) -> bool {
        let of_view = |wanted: &String| {
            *wanted == table.view.view || *wanted == table.view.to_string()
        };
        self.project.as_ref().is_none_or(|it| *it == table.project)
            && (self.feature_views.is_empty() || self.feature_views.iter().any(of_view))
    }
}

impl Maintenance {
    /// Upkeep of these tables.
    pub fn new(tables: Arc<Tables>) -> Self {
        Self {
            tables,
            limits: FoldLimits::default(),
        }
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: FoldLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The online tables of a namespace that are meant, by name.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`] for a view that has none; [`Error::CatalogUnavailable`].
    pub async fn online_tables(
        &self,
        catalog: &str,
        namespace: &[String],
        meant: &Selection,
    ) -> Result<Vec<(TableName, OnlineProperties)>> {
        let mut found = Vec::new();
        for name in table_names(self.tables.catalogs(), catalog, namespace).await? {
            let table = self.tables.catalogs().load_table(&name).await?;
            if let Some(properties) = OnlineProperties::read(table.metadata())? {
                found.push((name, properties));
            }
        }
        let missing = meant.feature_views.iter().find(|view| {
            let alone = Selection {
                feature_views: vec![ToString::to_string(view)],
                ..meant.clone()
            };
            !found.iter().any(|(_, properties)| alone.has(properties))
        });
        if let Some(view) = missing {
            let known = found.iter().map(|(_, it)| it.view.view.as_str());
            return Err(Error::FeatureViewNotFound {
                view: view.clone(),
                nearest: nearest(view, known),
            });
        }
        found.retain(|(_, properties)| meant.has(properties));
        Ok(found)
    }
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
