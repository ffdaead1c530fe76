//! Tables as the server describes them, with the storage settings and credentials that it lends.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::table::Table;
use iceberg::{Runtime, TableIdent};
use iceberg_catalog_rest::{LoadTableResult, StorageCredential};
use serde::Deserialize;

use super::error::{Failure, unavailable};
use super::session::Session;
use crate::storage::{Lender, Loan, lent_file_io};

/// Asks for one table's credentials again.
struct TableLender {
    session: Arc<Session>,
    table: TableIdent,
}

impl fmt::Debug for TableLender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableLender").field(&self.table).finish()
    }
}

/// The answer to a request for credentials alone.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lent {
    storage_credentials: Vec<StorageCredential>,
}

#[async_trait]
impl Lender for TableLender {
    async fn lend(&self) -> Result<Vec<Loan>, String> {
        self.ask().await.map_err(|failure| failure.message())
    }
}

impl TableLender {
    async fn ask(&self) -> Result<Vec<Loan>, Failure> {
        let settings = self.session.settings().await?;
        if settings.lends_alone {
            let url = settings
                .credentials(&self.table)
                .map_err(Failure::Unreachable)?;
            let lent: Lent = self.session.get(url).await?;
            return Ok(loans(HashMap::new(), lent.storage_credentials));
        }
        let url = settings.table(&self.table).map_err(Failure::Unreachable)?;
        let loaded: LoadTableResult = self.session.get(url).await?;
        Ok(loans(
            loaded.config,
            loaded.storage_credentials.unwrap_or_default(),
        ))
    }
}

/// `config` is for all files; what is for files below a prefix comes on top of it.
fn loans(config: HashMap<String, String>, credentials: Vec<StorageCredential>) -> Vec<Loan> {
    let common: BTreeMap<String, String> = config.into_iter().collect();
    let of_prefix = |credential: StorageCredential| {
        let mut properties = common.clone();
        properties.extend(credential.config);
        Loan {
            prefix: credential.prefix,
            properties,
        }
    };
    let mut loans: Vec<Loan> = credentials.into_iter().map(of_prefix).collect();
    if !loans.iter().any(|loan| loan.prefix.is_empty()) {
        loans.push(Loan {
            prefix: String::new(),
            properties: common,
        });
    }
    loans
}

/// The table of the server's answer.
pub(super) async fn table(
    session: &Arc<Session>,
    identifier: TableIdent,
    loaded: LoadTableResult,
) -> iceberg::Result<Table> {
    let settings = session.settings().await;
    let settings = settings.map_err(|failure| unavailable(failure.message()))?;
    let lender = TableLender {
        session: Arc::clone(session),
        table: identifier.clone(),
    };
    let loans = loans(
        loaded.config,
        loaded.storage_credentials.unwrap_or_default(),
    );
    let io: FileIO = lent_file_io(&settings.properties, loans, Arc::new(lender));
    let table = Table::builder()
        .file_io(io)
        .identifier(identifier)
        .metadata(loaded.metadata)
        .runtime(Runtime::try_current()?);
    match loaded.metadata_location {
        Some(location) => table.metadata_location(location).build(),
        None => table.build(),
    }
}
