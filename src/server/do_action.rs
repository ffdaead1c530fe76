//! DoAction: what is neither data nor a plan for data.

use arrow_flight::{Action, ActionType, Result as ActionResult};
use futures::stream::{self, BoxStream, StreamExt};

use super::{Services, historical, online, ticket};
use crate::error::{Error, Result};
use crate::model::{Principal, Request};

const EXPLAIN: &str = "explain";

/// Runs an action.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    action: Action,
) -> Result<BoxStream<'static, Result<ActionResult>>> {
    match action.r#type.as_str() {
        EXPLAIN => explain(services, principal, action).await,
        _ => Err(unknown(action.r#type)),
    }
}

/// Every action that [`run`] knows.
pub(crate) fn list() -> Vec<ActionType> {
    let description = "Runs a historical or an online request and answers its plan as text: per feature view, what was \
                       pruned, read, scanned and matched. Body: the Request, as protobuf or JSON. Rows are discarded."
        .to_owned();
    vec![ActionType {
        r#type: EXPLAIN.to_owned(),
        description,
    }]
}

async fn explain(
    services: &Services,
    principal: &Principal,
    action: Action,
) -> Result<BoxStream<'static, Result<ActionResult>>> {
    let text = match ticket::decode(&action.body)? {
        Request::Online(request) => online::explain(services, &request).await?,
        other => {
            let request = historical::with_entity(other)?;
            let plan = historical::plan(services, principal, &request).await?;
            plan.explain().await?
        }
    };
    Ok(stream::once(async move { Ok(ActionResult::new(text)) }).boxed())
}

fn unknown(action: String) -> Error {
    Error::ActionNotFound {
        action,
        known: list().into_iter().map(|known| known.r#type).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_action_is_told_the_known_ones() {
        assert_eq!(
            unknown("persist".to_owned()).to_string(),
            "action `persist` not found; the actions are `explain`"
        );
    }
}
