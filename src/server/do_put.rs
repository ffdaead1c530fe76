//! DoPut: an entity dataframe comes in and is staged, or rows of a feature view come in and are stored.

use arrow_flight::{FlightData, PutResult};
use chrono::SubsecRound;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tonic::Status;

use super::ipc_guard::GuardedStream;
use super::{Services, descriptor, feast, ipc_guard, ticket};
use crate::error::{Error, Result};
use crate::ingest::Rows;
use crate::model::{Principal, Request, WriteRequest};
use crate::proto::v1::{UploadEntitiesResult, WriteResult};
use crate::staging::StagedUpload;

/// Stages the stream and answers with an [`UploadEntitiesResult`]; Feast's commands go their own way.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<BoxStream<'static, Result<PutResult>>> {
    let mut upload = ipc_guard::decode_flight(messages, services.limits);
    let command = descriptor::command(upload.descriptor().await?)?.clone();
    if ticket::is_feast(&command) {
        return feast::put(services, principal, &command, upload).await;
    }
    match ticket::decode(&command)? {
        Request::UploadEntities { project } => check_project(services, project).await?,
        Request::Write(request) => return write(services, request, upload).await,
        other => {
            return Err(Error::invalid(
                other.kind(),
                "expected `upload_entities` or `write`; a DoPut keeps an entity dataframe or stores rows",
            ));
        }
    }
    let schema = upload.schema().await?;
    let staged = services
        .staging
        .put(principal, schema, upload.into_batches())
        .await?;
    Ok(answered(answer(&staged)?))
}

fn answered(json: Vec<u8>) -> BoxStream<'static, Result<PutResult>> {
    let result = PutResult {
        app_metadata: json.into(),
    };
    stream::once(std::future::ready(Ok(result))).boxed()
}

/// Stores rows of a feature view and answers with a [`WriteResult`].
async fn write(
    services: &Services,
    request: WriteRequest,
    mut upload: GuardedStream,
) -> Result<BoxStream<'static, Result<PutResult>>> {
    let rows = Rows {
        schema: upload.schema().await?,
        batches: upload.into_batches(),
    };
    let written = services.ingest.write_view(request, rows).await?;
    let result = WriteResult {
        table: written.table,
        snapshot_id: written.snapshot.map(|snapshot| snapshot.0),
        rows: written.rows,
        replayed: written.replayed,
        token: written.token.map(|token| token.to_string()),
    };
    json(&result).map(answered)
}

async fn check_project(services: &Services, project: Option<String>) -> Result<()> {
    let Some(project) = project else {
        return Ok(());
    };
    let registry = services.registry.current().await?;
    registry.check_project(Some(&project))
}

/// The expiry is cut to milliseconds, earlier than the truth, so that any JSON client can parse it.
fn answer(staged: &StagedUpload) -> Result<Vec<u8>> {
    let result = UploadEntitiesResult {
        upload: staged.id.0.clone(),
        rows: staged.rows,
        expires_at: Some(staged.expires_at.trunc_subsecs(3).into()),
    };
    json(&result)
}

fn json(result: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(result).map_err(|error| Error::internal("write the answer of DoPut", error))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::model::UploadId;

    #[test]
    fn the_answer_has_plain_numbers_and_every_field() {
        let expires_at = DateTime::from_timestamp(1_767_225_600, 123_456_789).unwrap();
        let mut staged = StagedUpload {
            id: UploadId("ID".to_owned()),
            rows: u64::MAX,
            expires_at,
        };
        let text = |staged: &StagedUpload| String::from_utf8(answer(staged).unwrap()).unwrap();
        assert_eq!(
            text(&staged),
            r#"{"upload":"ID","rows":18446744073709551615,"expires_at":"2026-01-01T00:00:00.123+00:00"}"#
        );
        staged.rows = 0;
        assert!(text(&staged).contains(r#""rows":0"#));
    }
}
