//! What the RPCs that take a historical request have in common: it must be one, it must say where its entity
//! dataframe is, and a dataframe inside it is decoded by the guard before anything else sees it.

use bytes::Bytes;

use super::{Services, ipc_guard, ticket};
use crate::error::{Error, Result};
use crate::historical::{EntityFrame, HistoricalPlan};
use crate::model::{EntitySource, HistoricalRequest, Principal, Request};

/// Decodes a request that must be a historical one, with an entity source.
pub(super) fn decode(bytes: &Bytes) -> Result<HistoricalRequest> {
    with_entity(ticket::decode(bytes)?)
}

/// A request that must be a historical one, with an entity source.
pub(super) fn with_entity(request: Request) -> Result<HistoricalRequest> {
    let request = any_entity(request)?;
    match request.entity {
        EntitySource::Attached => Err(Error::invalid(
            "historical.entity",
            "expected one of `upload`, `ipc`, `range`, `sql`; only DoExchange takes the dataframe on the call",
        )),
        EntitySource::Staged(_)
        | EntitySource::Inline(_)
        | EntitySource::Range(_)
        | EntitySource::Sql(_) => Ok(request),
    }
}

/// A request that must be a historical one whose entity dataframe comes on the same call.
pub(super) fn without_entity(request: Request) -> Result<HistoricalRequest> {
    let request = any_entity(request)?;
    match request.entity {
        EntitySource::Attached => Ok(request),
        EntitySource::Staged(_)
        | EntitySource::Inline(_)
        | EntitySource::Range(_)
        | EntitySource::Sql(_) => Err(Error::invalid(
            "historical.entity",
            "expected no entity; in DoExchange the dataframe comes on the call",
        )),
    }
}

fn any_entity(request: Request) -> Result<HistoricalRequest> {
    match request {
        Request::Historical(request) => Ok(request),
        other => Err(Error::invalid(
            other.kind(),
            "expected a `historical` request; uploads and writes are made by DoPut, updates by DoAction",
        )),
    }
}

/// Plans a request that carries or names its entity dataframe.
pub(super) async fn plan(
    services: &Services,
    principal: &Principal,
    request: &HistoricalRequest,
) -> Result<HistoricalPlan> {
    let attached = match &request.entity {
        EntitySource::Inline(bytes) => Some(inline_frame(services, bytes)?),
        EntitySource::Staged(_)
        | EntitySource::Range(_)
        | EntitySource::Sql(_)
        | EntitySource::Attached => None,
    };
    services.historical.plan(principal, request, attached).await
}

fn inline_frame(services: &Services, bytes: &Bytes) -> Result<EntityFrame> {
    let (schema, batches) = ipc_guard::decode_ipc_stream(bytes.clone(), services.limits)?;
    Ok(EntityFrame::new(schema, batches))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ATTACHED: &str = r#"{"historical": {"features": ["v:f"]}}"#;
    const STAGED: &str = r#"{"historical": {"features": ["v:f"], "entity": {"upload": "ID"}}}"#;
    const UPLOAD: &str = r#"{"upload_entities": {}}"#;

    #[rstest]
    #[case(
        ATTACHED,
        "historical.entity: expected one of `upload`, `ipc`, `range`, `sql`; only DoExchange"
    )]
    #[case(
        UPLOAD,
        "upload_entities: expected a `historical` request; uploads and writes are made by DoPut"
    )]
    fn calls_without_a_dataframe_need_to_know_where_it_is(
        #[case] json: &'static str,
        #[case] message: &str,
    ) {
        let error = decode(&Bytes::from_static(json.as_bytes()))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(message), "{error}");
    }

    #[test]
    fn a_call_with_a_dataframe_takes_no_second_one() {
        let attached = |json: &'static str| {
            without_entity(ticket::decode(&Bytes::from_static(json.as_bytes())).unwrap())
        };
        assert!(attached(ATTACHED).is_ok());
        let error = attached(STAGED).unwrap_err().to_string();
        assert!(
            error.starts_with("historical.entity: expected no entity"),
            "{error}"
        );
    }
}
