//! One SELECT over given tables, and nothing else.
//!
//! The text comes from a client, so it is distrusted at each step: it is parsed under limits, must be a single query,
//! resolves names only to the tables that the caller hands in (no catalog, no files, no table functions, no variables),
//! and may neither write nor change the session. Scalar functions that make much out of little are left out, and a plan
//! that would grow beyond reason while it is optimized is refused. What runs is charged to the engine's memory; the
//! temporary values of a single batch are not.

mod context;
mod size;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::TableReference;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast;
use tokio::task::JoinSet;

use super::Engine;
use crate::error::{Error, Result};
use context::GivenTables;
pub use table::PinnedTableProvider;

/// The request's field that holds the query.
const FIELD: &str = "entity.sql";

/// A query that is known to be a single one, with the tables that it names.
#[derive(Debug)]
pub struct Select {
    statement: Statement,
    tables: Vec<String>,
}

impl Select {
    /// Parses a query; CPU work without I/O.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if it is not exactly one query, or too large.
    pub fn parse(query: &str) -> Result<Self> {
        let statement = parse(query).map_err(refused)?;
        size::check_statement(query_of(&statement)?)?;
        let (tables, _) = resolve_table_references(&statement, true)
            .map_err(Error::from)
            .map_err(refused)?;
        let tables = tables.iter().map(table_key).collect();
        Ok(Self { statement, tables })
    }

    /// Names of the tables, levels joined by dots.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }
}

fn parse(query: &str) -> Result<Statement> {
    size::check_text(query)?;
    let mut statements = DFParserBuilder::new(query).build()?.parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(Error::invalid(FIELD, "expected exactly one statement")),
    }
}

/// The parsed text of a statement that is a query.
fn query_of(statement: &Statement) -> Result<&ast::Statement> {
    match statement {
        Statement::Statement(sql) if matches!(**sql, ast::Statement::Query(_)) => Ok(sql),
        _ => Err(Error::invalid(FIELD, "expected a SELECT, and nothing else")),
    }
}

/// How a table is looked up: its name as written, without quotes.
fn table_key(table: &TableReference) -> String {
    let levels = [table.catalog(), table.schema(), Some(table.table())];
    levels.into_iter().flatten().collect::<Vec<_>>().join(".")
}

/// What DataFusion finds wrong with a query is the query's fault.
pub fn refused(error: Error) -> Error {
    match error {
        Error::Engine(error) => Error::invalid(FIELD, error.strip_backtrace()),
        other => other,
    }
}

impl Engine {
    /// Parses a query on the engine's threads.
    ///
    /// # Errors
    /// As [`Select::parse`].
    pub async fn parse_select(&self, query: String) -> Result<Select> {
        self.compute(move || Select::parse(&query)).await
    }

    /// Plans a query over `tables` by name on the engine's threads; `now` is the time that it is told.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a query that is wrong or would do more than read.
    pub async fn plan_select(
        &self,
        select: Select,
        tables: BTreeMap<String, Arc<dyn TableProvider>>,
        now: SystemTime,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let session = self.select_session(now);
        let plan = async move {
            let context = GivenTables::new(&session, tables);
            let options = ParserOptions::new().with_map_string_types_to_utf8view(false);
            let planner = SqlToRel::new_with_options(&context, options);
            let plan = planner.statement_to_plan(select.statement)?;
            size::check_plan(&plan)?;
            read_only().verify_plan(&plan)?;
            session.create_physical_plan(&plan).await
        };
        let mut task = JoinSet::new();
        task.spawn_on(plan, self.runtime().handle());
        match task.join_next().await {
            Some(Ok(planned)) => planned.map_err(|error: DataFusionError| refused(error.into())),
            Some(Err(error)) => Err(Error::internal("plan a query", error)),
            None => Err(Error::internal("plan a query", "no task")),
        }
    }
}

fn read_only() -> SQLOptions {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
}
