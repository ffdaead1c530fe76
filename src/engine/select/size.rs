//! Keeps a query from costing more to plan than it may: planning is recursive and its memory is not counted.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::FIELD;
use crate::error::{Error, Result};

const MAX_BYTES: usize = 1 << 20;
/// Words and operators; they bound how deep an expression can be. Lists of values may be longer.
const MAX_TOKENS: usize = 1_000;
/// Each level of common table expressions is visited twice as often as the one around it.
const MAX_WITHS: usize = 8;
/// Tables read, those of a common table expression once a use.
const MAX_TABLES: u64 = 1_000;
/// Size of an expression once the expressions of inner queries have been put into it.
const MAX_EXPANSION: u64 = 100_000;

/// Refuses a text that would take too deep a recursion.
///
/// # Errors
/// [`Error::InvalidRequest`].
pub(super) fn check_text(query: &str) -> Result<()> {
    if query.len() > MAX_BYTES {
        return Err(too_large(format!("{} bytes", query.len()), MAX_BYTES));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, query)
        .tokenize()
        .map_err(|error| Error::invalid(FIELD, error.to_string()))?;
    let structural = tokens.iter().filter(|token| is_structural(token)).count();
    let withs = tokens.iter().filter(|token| is_with(token)).count();
    match (structural, withs) {
        (n, _) if n > MAX_TOKENS => Err(too_large(format!("{n} words and operators"), MAX_TOKENS)),
        (_, n) if n > MAX_WITHS => Err(too_large(format!("{n} WITH clauses"), MAX_WITHS)),
        _ => Ok(()),
    }
}

fn is_structural(token: &Token) -> bool {
    !matches!(
        token,
        Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_)
    )
}

fn is_with(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.keyword == Keyword::WITH)
}

fn too_large(found: String, limit: impl Display) -> Error {
    let message = format!("the query has {found}, more than {limit}; upload the rows instead");
    Error::invalid(FIELD, message)
}

/// Refuses a statement that common table expressions blow up: planning visits one as often as it is used.
///
/// # Errors
/// [`Error::InvalidRequest`].
pub(super) fn check_statement(statement: &ast::Statement) -> Result<()> {
    let mut tables = TableUses::default();
    let _ = statement.visit(&mut tables);
    match tables.total > MAX_TABLES {
        true => Err(too_large(format!("{} tables", tables.total), MAX_TABLES)),
        false => Ok(()),
    }
}

/// Counts the uses of tables. Scopes are ignored: of common table expressions with one name the largest counts.
#[derive(Default)]
struct TableUses {
    /// Per query that is being visited, the uses in it.
    open: Vec<u64>,
    /// Name of a common table expression by its query's place in memory.
    names: HashMap<*const ast::Query, String>,
    sizes: HashMap<String, u64>,
    total: u64,
}

impl Visitor for TableUses {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = cte.alias.name.value.to_lowercase();
            self.names.insert(&raw const *cte.query, name);
        }
        self.open.push(0);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let uses = self.open.pop().unwrap_or(0);
        match self.names.remove(&(&raw const *query)) {
            Some(name) => {
                let size = self.sizes.entry(name).or_default();
                *size = uses.max(*size);
            }
            None => self.add(uses),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<()> {
        let name = relation.to_string().replace(['"', '`'], "").to_lowercase();
        self.add(self.sizes.get(&name).map_or(1, |size| *size.max(&1)));
        ControlFlow::Continue(())
    }
}

impl TableUses {
    fn add(&mut self, uses: u64) {
        let sum = self.open.last_mut().unwrap_or(&mut self.total);
        *sum = sum.saturating_add(uses);
    }
}

/// Refuses a plan whose expressions would blow up when those of inner queries are put into those of outer ones.
///
/// # Errors
/// [`Error::InvalidRequest`] inside.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    let size = expansion(plan)?;
    match size > MAX_EXPANSION {
        true => Err(too_large(format!("an expression of {size} parts"), MAX_EXPANSION).into()),
        false => Ok(()),
    }
}

/// Size of the plan's largest output expression in terms of table columns.
fn expansion(plan: &LogicalPlan) -> Result<u64, DataFusionError> {
    let mut below = 1;
    for input in plan.inputs() {
        below = below.max(expansion(input)?);
    }
    let mut largest = below;
    for expr in plan.expressions() {
        largest = largest.max(expanded(&expr, below)?);
    }
    Ok(largest)
}

fn expanded(expr: &Expr, column: u64) -> Result<u64, DataFusionError> {
    let mut size: u64 = 0;
    expr.apply(|node| {
        let own = match node {
            Expr::Column(_) => column,
            Expr::Alias(_) => 0,
            Expr::ScalarSubquery(query) => expansion(&query.subquery)?,
            Expr::InSubquery(query) => expansion(&query.subquery.subquery)?,
            Expr::Exists(query) => expansion(&query.subquery.subquery)?,
            _ => 1,
        };
        size = size.saturating_add(own);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(size)
}
