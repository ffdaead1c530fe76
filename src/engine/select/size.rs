//! Keeps a query from costing more to plan than it may: planning is recursive and its memory is not counted.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::FIELD;
use crate::error::{Error, Result};

const MAX_BYTES: usize = 1 << 20;
/// Words and operators; they bound how deep an expression can be. Lists of values may be longer.
const MAX_TOKENS: usize = 2_000;
/// Each level of common table expressions is visited twice as often as the one around it.
const MAX_WITHS: usize = 8;
/// Plan nodes, those of a common table expression once a use.
const MAX_NODES: usize = 2_000;
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

fn too_large(found: String, limit: usize) -> Error {
    let message = format!("the query has {found}, more than {limit}; upload the rows instead");
    Error::invalid(FIELD, message)
}

/// Refuses a plan that common table expressions blow up.
///
/// # Errors
/// [`Error::InvalidRequest`] inside.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    let mut nodes = 0;
    plan.apply_with_subqueries(|_| {
        nodes += 1;
        Ok(match nodes > MAX_NODES {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    let refuse = |what: &str| {
        let message = format!("{what}; simplify the query or upload the rows instead");
        Err(Error::invalid(FIELD, message).into())
    };
    if nodes > MAX_NODES {
        return refuse("its common table expressions come to too many steps");
    }
    match expansion(plan)? > MAX_EXPANSION {
        true => refuse("its inner queries come to too large an expression"),
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
