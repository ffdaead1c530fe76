//! What a query can name: the tables it was given, and functions of their columns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::TableReference;

use super::table_key;

/// Functions whose result may be as long as an argument says, in memory that nobody counts.
const AMPLIFYING: [&str; 3] = ["repeat", "lpad", "rpad"];

/// Resolves names for the SQL planner.
pub(super) struct GivenTables<'a> {
    session: &'a SessionState,
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
    functions: HashMap<String, Arc<ScalarUDF>>,
}

impl<'a> GivenTables<'a> {
    pub(super) fn new(
        session: &'a SessionState,
        tables: BTreeMap<String, Arc<dyn TableProvider>>,
    ) -> Self {
        let mut functions = session.scalar_functions().clone();
        functions.retain(|_, function| !AMPLIFYING.contains(&function.name()));
        Self {
            session,
            tables,
            functions,
        }
    }
}

impl ContextProvider for GivenTables<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let name = table_key(&name);
        match self.tables.get(&name) {
            Some(table) => Ok(provider_as_source(Arc::clone(table))),
            None => plan_err!("table `{name}` not found"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.session.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.session.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.session.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.session.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.session.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.session.window_functions().keys().cloned().collect()
    }
}
