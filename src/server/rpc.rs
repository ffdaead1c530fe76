//! One call of a client: its identity, its span, and the last step of every answer, where errors become statuses.

use std::future::Future;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Response, Status};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::status;
use crate::error::Result;
use crate::model::Principal;

/// What a streaming RPC answers. Dropping it, as a client that goes away makes the transport do, drops the work.
pub(crate) type ResponseStream<T> = BoxStream<'static, Result<T, Status>>;

/// A call in progress.
#[derive(Debug)]
pub(crate) struct Rpc {
    id: Uuid,
    principal: Principal,
    span: Span,
}

impl Rpc {
    /// A call of `method` that has just come in.
    pub(crate) fn begin(method: &'static str) -> Self {
        let id = Uuid::new_v4();
        let principal = Principal::anonymous();
        let span = tracing::info_span!("rpc", method, request_id = %id, %principal);
        Self {
            id,
            principal,
            span,
        }
    }

    /// Who calls.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Answers with one message.
    pub(crate) async fn unary<T>(
        &self,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<Response<T>, Status> {
        let answer = work.instrument(self.span.clone()).await;
        answer
            .map(Response::new)
            .map_err(|error| self.span.in_scope(|| status::of(&error, self.id)))
    }

    /// Answers with a stream, which stays in this call's span and may still fail.
    pub(crate) async fn streaming<T: 'static>(
        &self,
        work: impl Future<Output = Result<BoxStream<'static, Result<T>>>> + Send,
    ) -> Result<Response<ResponseStream<T>>, Status> {
        let response = self.unary(work).await?;
        Ok(response.map(|answers| self.in_span(answers)))
    }

    fn in_span<T: 'static>(&self, mut answers: BoxStream<'static, Result<T>>) -> ResponseStream<T> {
        let (span, id) = (self.span.clone(), self.id);
        stream::poll_fn(move |cx| {
            let _in_span = span.enter();
            answers
                .poll_next_unpin(cx)
                .map_err(|error| status::of(&error, id))
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tonic::Code;

    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn an_error_in_mid_stream_ends_it_as_a_status() {
        let answers = stream::iter([Ok(1), Err(Error::invalid("field", "wrong"))]).boxed();
        let mut response = Rpc::begin("Test")
            .streaming(async { Ok(answers) })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(response.next().await.unwrap().unwrap(), 1);
        let status = response.next().await.unwrap().unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "field: wrong")
        );
    }

    #[tokio::test]
    async fn dropping_the_response_drops_the_work() {
        let held = Arc::new(());
        let work = Arc::clone(&held);
        let answers = stream::repeat_with(move || Ok(Arc::strong_count(&work))).boxed();
        let mut response = Rpc::begin("Test")
            .streaming(async { Ok(answers) })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(response.next().await.unwrap().unwrap(), 2);
        drop(response);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
