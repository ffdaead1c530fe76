//! Online tables follow definitions: `update` creates, evolves and drops them, `teardown` drops them.

use iceberg::ErrorKind;
use iceberg::table::Table;

use super::Owner;
use super::tables::Wanted;
use crate::catalog::{identifier, pass_over, table_error};
use crate::error::{Error, Result};
use crate::ingest::Ingest;
use crate::model::{
    OnlineDefinition, TableName, TeardownRequest, UpdateOutcome, UpdateRequest, ViewVersion,
};
use crate::table::commit::{delete_files, drop_table};
use crate::table::online::OnlineProperties;

impl Ingest {
    /// Makes tables be as views are defined, and drops those of views that are gone. Doing it again does nothing.
    ///
    /// # Errors
    /// [`Error::TypeNotWidened`], [`Error::InvalidRequest`] for other join keys than before,
    /// [`Error::FeatureViewNotFound`] for a view without a definition. What comes before it in the request is done then.
    pub async fn update(&self, request: UpdateRequest) -> Result<UpdateOutcome> {
        let mut outcome = UpdateOutcome::default();
        for (view, definition) in request.keep {
            let owner = self.owner(request.project.clone(), view).await?;
            self.keep(&owner, definition, request.dry_run, &mut outcome)
                .await?;
        }
        for view in request.delete {
            let owner = self.owner(request.project.clone(), view).await?;
            let found = self.tables_of(&owner, Some(&owner.view)).await?;
            self.drop_all(found, request.dry_run, &mut outcome).await?;
        }
        Ok(outcome)
    }

    /// Drops tables with their rows. Doing it again does nothing.
    ///
    /// # Errors
    /// What the catalog fails with.
    pub async fn teardown(&self, request: TeardownRequest) -> Result<UpdateOutcome> {
        let mut outcome = UpdateOutcome::default();
        if request.views.is_empty() {
            let any = ViewVersion::parse("");
            let owner = self.owner(request.project.clone(), any).await?;
            let found = self.tables_of(&owner, None).await?;
            self.drop_all(found, false, &mut outcome).await?;
        }
        for view in &request.views {
            let owner = self
                .owner(request.project.clone(), ViewVersion::parse(view))
                .await?;
            let found = self.tables_of(&owner, Some(&owner.view)).await?;
            self.drop_all(found, false, &mut outcome).await?;
        }
        Ok(outcome)
    }

    async fn keep(
        &self,
        owner: &Owner,
        definition: Option<OnlineDefinition>,
        dry_run: bool,
        outcome: &mut UpdateOutcome,
    ) -> Result<()> {
        let definition = match definition {
            Some(definition) => definition,
            None => self.registered_definition(owner, None).await?,
        };
        let wanted = Wanted::of_definition(definition)?;
        let (created, evolved) = match self.find(owner).await? {
            Some((table, _)) if Self::is_as_wanted(owner, &wanted, &table)? => (false, false),
            found if dry_run => (found.is_none(), found.is_some()),
            _ => {
                let ensured = self.ensured(owner, &wanted).await?;
                (ensured.created, ensured.evolved)
            }
        };
        let name = owner.table.to_string();
        if created {
            outcome.created.push(name);
        } else if evolved {
            outcome.evolved.push(name);
        }
        Ok(())
    }

    /// Online tables of the owner's project: those of a view, all its versions unless it names one, or all.
    async fn tables_of(
        &self,
        owner: &Owner,
        view: Option<&ViewVersion>,
    ) -> Result<Vec<(TableName, Table)>> {
        let catalogs = self.tables.catalogs();
        let catalog = catalogs.get(&owner.table.catalog).await?;
        let listed = catalog
            .list_tables(&identifier(&owner.table)?.namespace)
            .await;
        let listed = match listed {
            Err(error) if error.kind() == ErrorKind::NamespaceNotFound => return Ok(Vec::new()),
            listed => listed.map_err(|error| table_error(&owner.table, error))?,
        };
        let mut names: Vec<&str> = listed.iter().map(|table| table.name()).collect();
        names.retain(|name| view.is_none() || name.starts_with(&owner.table.name));
        names.sort_unstable();
        let mut found = Vec::new();
        for name in names {
            let name = TableName {
                name: name.to_owned(),
                ..owner.table.clone()
            };
            let table = match catalogs.load_table(&name).await {
                Ok(table) => table,
                Err(Error::TableNotFound { .. }) => continue,
                Err(error) => {
                    pass_over(&name, error)?;
                    continue;
                }
            };
            match belongs(&table, &owner.project, view) {
                Ok(true) => found.push((name, table)),
                Ok(false) => {}
                Err(error) => pass_over(&name, error)?,
            }
        }
        Ok(found)
    }

    async fn drop_all(
        &self,
        tables: Vec<(TableName, Table)>,
        dry_run: bool,
        outcome: &mut UpdateOutcome,
    ) -> Result<()> {
        for (name, table) in tables {
            let shown = name.to_string();
            if !dry_run {
                // To its end, whatever becomes of the request.
                let dropped = tokio::spawn(self.dropping(name, table).await).await;
                dropped.map_err(|error| Error::internal("drop a table", error))??;
            }
            outcome.dropped.push(shown);
        }
        Ok(())
    }

    /// The work of dropping a table, which nobody else changes meanwhile.
    async fn dropping(
        &self,
        name: TableName,
        table: Table,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let turn = self.locks.hold(&format!("shape {name:?}")).await;
        let (catalogs, hook) = (self.tables.catalogs().clone(), self.hook.clone());
        async move {
            let _turn = turn;
            let Some(dropped) = drop_table(&catalogs, &name, &table).await? else {
                return Ok(());
            };
            hook.tell(&name, None);
            if let Err(error) = delete_files(&name, &dropped).await {
                // The table is gone, and asking again would not find it.
                tracing::warn!(table = %name, %error, "files of a dropped table stay");
            }
            Ok(())
        }
    }
}

fn belongs(table: &Table, project: &str, view: Option<&ViewVersion>) -> Result<bool> {
    let Some(found) = OnlineProperties::read(table.metadata())? else {
        return Ok(false);
    };
    let of_view = view.is_none_or(|view| {
        let version = view.version.is_none() || view.version == found.view.version;
        view.view == found.view.view && version
    });
    Ok(found.project == project && of_view)
}
