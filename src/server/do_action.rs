//! DoAction: what is neither data nor a plan for data.

use arrow_flight::{Action, ActionType, Result as ActionResult};
use futures::stream::{self, BoxStream, StreamExt};

use super::{Services, historical, online, ticket};
use crate::error::{Error, Result};
use crate::model::{Principal, Request};
use crate::proto::v1::UpdateResult;

const EXPLAIN: &str = "explain";
const UPDATE: &str = "update";
const TEARDOWN: &str = "teardown";

/// Runs an action.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    action: Action,
) -> Result<BoxStream<'static, Result<ActionResult>>> {
    match action.r#type.as_str() {
        EXPLAIN => explain(services, principal, action).await,
        UPDATE | TEARDOWN => change(services, action).await,
        _ => Err(unknown(action.r#type)),
    }
}

/// Every action that [`run`] knows.
pub(crate) fn list() -> Vec<ActionType> {
    let actions = [
        (
            EXPLAIN,
            "Runs a historical or an online request and answers its plan as text: per feature view, what was pruned, read, \
             scanned and matched. Body: the Request, as protobuf or JSON. Rows are discarded.",
        ),
        (
            UPDATE,
            "Creates, evolves and drops online tables as feature views are defined. Body: a Request with `update`. Answers \
             an UpdateResult as JSON.",
        ),
        (
            TEARDOWN,
            "Drops online tables with their rows. Body: a Request with `teardown`. Answers an UpdateResult as JSON.",
        ),
    ];
    let described = |(name, description): (&str, &str)| ActionType {
        r#type: name.to_owned(),
        description: description.to_owned(),
    };
    actions.map(described).into()
}

/// Makes online tables be as the request says.
async fn change(
    services: &Services,
    action: Action,
) -> Result<BoxStream<'static, Result<ActionResult>>> {
    let changed = match (ticket::decode(&action.body)?, action.r#type.as_str()) {
        (Request::Update(request), UPDATE) => services.ingest.update(request).await?,
        (Request::Teardown(request), TEARDOWN) => services.ingest.teardown(request).await?,
        (other, action) => {
            let message = format!("expected a request with `{action}`, as the action is called");
            return Err(Error::invalid(other.kind(), message));
        }
    };
    let result = UpdateResult {
        created: changed.created,
        evolved: changed.evolved,
        dropped: changed.dropped,
    };
    let json = serde_json::to_vec(&result)
        .map_err(|error| Error::internal("write the answer of an action", error))?;
    Ok(stream::once(std::future::ready(Ok(ActionResult::new(json)))).boxed())
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
            "action `persist` not found; the actions are `explain`, `update`, `teardown`"
        );
    }
}
