//! What `murre maintain` can be told.

use std::time::Duration;

use crate::catalog::Catalogs;
use crate::error::{Error, Result};
use crate::maintenance::Selection;
use crate::model::TableName;

/// What is done to each table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Small files are merged, deletes applied, superseded rows of online tables dropped, manifests merged.
    Compact {
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Old snapshots go.
    Expire(ExpireArgs),
    /// Files that nothing refers to go.
    Gc(GcArgs),
    /// Nothing; it is looked at.
    Status,
}

/// What `murre maintain expire` can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ExpireArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Snapshots older than this expire, whatever the table says; 1 hour at least [maintenance.snapshot_age]
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,
    /// So many snapshots of each branch stay, whatever the table says [maintenance.keep_last]
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Allow an age below one hour: requests that are going on may miss their snapshot
    #[arg(long)]
    pub force_younger: bool,
}

/// What `murre maintain gc` can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct GcArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Files older than this go [maintenance.orphan_age]
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,
    /// Allow an age below one day: files of writes that are going on would go too
    #[arg(long)]
    pub force_younger: bool,
}

impl Verb {
    pub(super) fn is_dry_run(&self) -> bool {
        match self {
            Self::Compact { dry_run } => *dry_run,
            Self::Expire(args) => args.dry_run,
            Self::Gc(args) => args.dry_run,
            Self::Status => true,
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which tables, and how they are reported.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TableOptions {
    /// Only tables of this project
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Only tables of this feature view: batch source and all versions, or one version, VIEW@v2; may be repeated
    #[arg(long, value_name = "VIEW")]
    pub feature_view: Vec<String>,
    /// This Iceberg table, NAMESPACE.NAME or CATALOG/NAMESPACE.NAME; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// How reports are printed
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

impl TableOptions {
    pub(super) fn selection(&self, catalogs: &Catalogs) -> Result<Selection> {
        let tables = self.table.iter().map(|text| table(text, catalogs));
        Ok(Selection {
            project: self.project.clone(),
            feature_views: self.feature_view.clone(),
            tables: tables.collect::<Result<_>>()?,
        })
    }
}

/// A table of the only catalog, where none is named.
fn table(text: &str, catalogs: &Catalogs) -> Result<TableName> {
    let known: Vec<&str> = catalogs.names().collect();
    match (text.split_once('/'), known.as_slice()) {
        (Some((catalog, qualified)), _) => TableName::parse(catalog, qualified),
        (None, [only]) => TableName::parse(*only, text),
        (None, _) => {
            let message = format!(
                "`{text}` may be in any of the catalogs [{}]; write CATALOG/{text}",
                known.join(", ")
            );
            Err(Error::invalid("table", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::CatalogConfig;

    fn catalogs(names: &[&str]) -> Catalogs {
        let text = "type = 'sql'\nuri = 'sqlite:///c.db'\nwarehouse = 'w'\n";
        let config: CatalogConfig = toml::from_str(text).unwrap();
        let named = names
            .iter()
            .map(|name| ((*name).to_owned(), config.clone()));
        Catalogs::connect(&named.collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn tables_are_named_with_or_without_their_catalog() {
        let (one, two) = (catalogs(&["lake"]), catalogs(&["lake", "prod"]));
        let found = table("a.b.c", &one).unwrap();
        assert_eq!(found, TableName::parse("lake", "a.b.c").unwrap());
        let found = table("prod/a.b", &two).unwrap();
        assert_eq!(found, TableName::parse("prod", "a.b").unwrap());
        assert_eq!(
            table("a.b", &two).unwrap_err().to_string(),
            "table: `a.b` may be in any of the catalogs [lake, prod]; write CATALOG/a.b"
        );
        assert!(table("b", &one).is_err());
    }
}
