//! Whether a table's folder is its own: a file there that this table does not refer to may be another's. All tables of the
//! catalog are asked, since namespaces are folders inside of each other in many of them.

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{Catalog, ErrorKind, NamespaceIdent, TableIdent};

use super::spelled;
use crate::catalog::{Catalogs, table_error};
use crate::error::{Error, Result};
use crate::model::TableName;

/// Tables that are loaded at a time.
const CONCURRENCY: usize = 8;
/// Properties with places of a table's files beside its location.
const PLACES: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.folder-storage.path",
    "write.object-storage.path",
];

/// Refuses a table whose location is the root of a store, or holds, is or lies in a folder of another table's.
///
/// # Errors
/// [`Error::NotAllowed`]; if another table of the catalog cannot be loaded.
pub(super) async fn check(catalogs: &Catalogs, name: &TableName, table: &Table) -> Result<()> {
    let location = table.metadata().location();
    let own = spelled(location)?;
    let below_root = own.split_once(':').map_or("", |(_, path)| path);
    if below_root.trim_start_matches('/').matches('/').count() == 0 {
        return Err(shared(name, location, "is the root of a store"));
    }
    let catalog = catalogs.get(&name.catalog).await?;
    let others = other_tables(catalog.as_ref(), name).await?;
    let checks = others
        .iter()
        .map(|other| check_other(catalogs, name, &own, other));
    let checks: Vec<_> = checks.collect();
    let mut checks = futures::stream::iter(checks).buffer_unordered(CONCURRENCY);
    while checks.try_next().await?.is_some() {}
    Ok(())
}

async fn check_other(
    catalogs: &Catalogs,
    name: &TableName,
    own: &str,
    other: &TableName,
) -> Result<()> {
    let table = match catalogs.load_table(other).await {
        Ok(table) => table,
        Err(Error::TableNotFound { .. }) => return Ok(()),
        Err(cause) => {
            return Err(Error::Reworded {
                message: format!(
                    "orphans of table `{name}` stay, because it cannot be told whether table `{other}` is in its folder: {cause}"
                ),
                cause: Box::new(cause),
            });
        }
    };
    for place in places(table.metadata()) {
        // A place of a kind that cannot be opened here cannot be in a folder that can.
        let Ok(place) = spelled(place) else {
            continue;
        };
        if is_in(own, &place) || is_in(&place, own) {
            return Err(shared(
                name,
                own,
                &format!("is shared with table `{other}` at `{place}`"),
            ));
        }
    }
    Ok(())
}

fn shared(name: &TableName, location: &str, why: &str) -> Error {
    Error::NotAllowed {
        what: format!("removing orphans of table `{name}`, whose location `{location}` {why},"),
        remedy: "a file there may be somebody else's; give the table a folder of its own"
            .to_owned(),
    }
}

fn places(metadata: &TableMetadata) -> impl Iterator<Item = &str> {
    let properties = metadata.properties();
    let set = PLACES.iter().filter_map(|name| properties.get(*name));
    set.map(String::as_str).chain([metadata.location()])
}

/// Whether a folder is another one or below it.
fn is_in(folder: &str, other: &str) -> bool {
    let rest = folder.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All tables of the catalog but this one.
async fn other_tables(catalog: &dyn Catalog, name: &TableName) -> Result<Vec<TableName>> {
    let failed = |error| table_error(name, error);
    let mut others = Vec::new();
    for namespace in namespaces(catalog, &name.namespace).await.map_err(failed)? {
        let tables = or_none(catalog.list_tables(&namespace).await).map_err(failed)?;
        others.extend(tables.into_iter().map(|table| named(name, table)));
    }
    others.retain(|other| other != name);
    Ok(others)
}

fn named(like: &TableName, table: TableIdent) -> TableName {
    TableName {
        catalog: like.catalog.clone(),
        namespace: table.namespace.inner(),
        name: table.name,
    }
}

/// A level may be part of other namespaces' names, and none itself.
fn or_none<T>(listed: iceberg::Result<Vec<T>>) -> iceberg::Result<Vec<T>> {
    listed.or_else(|error| match error.kind() {
        ErrorKind::NamespaceNotFound => Ok(Vec::new()),
        _ => Err(error),
    })
}

/// All namespaces, at any depth. The table's `own` and those around it are added by hand: a SQL catalog does not find what is
/// below a level that is no namespace itself.
async fn namespaces(catalog: &dyn Catalog, own: &[String]) -> iceberg::Result<Vec<NamespaceIdent>> {
    let mut found = catalog.list_namespaces(None).await?;
    for depth in 1..=own.len() {
        let around = own.iter().take(depth).cloned().collect();
        add(&mut found, [NamespaceIdent::from_vec(around)?]);
    }
    let mut next = 0;
    while let Some(parent) = found.get(next).cloned() {
        add(
            &mut found,
            or_none(catalog.list_namespaces(Some(&parent)).await)?,
        );
        next += 1;
    }
    Ok(found)
}

fn add(found: &mut Vec<NamespaceIdent>, more: impl IntoIterator<Item = NamespaceIdent>) {
    for namespace in more {
        if !found.contains(&namespace) {
            found.push(namespace);
        }
    }
}
