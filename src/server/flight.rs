//! The Flight service: one delegating line per RPC. What each does is in the file of its family.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult,
    Ticket,
};
use futures::stream::{self, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::rpc::{ResponseStream, Rpc};
use super::{Services, do_action, do_exchange, do_get, do_put, info, status};

/// Answers Flight's RPCs with the services below.
#[derive(Clone, Debug)]
pub(super) struct FlightServer {
    services: Arc<Services>,
}

impl FlightServer {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self { services }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FlightService for FlightServer {
    type HandshakeStream = ResponseStream<HandshakeResponse>;
    type ListFlightsStream = ResponseStream<FlightInfo>;
    type DoGetStream = ResponseStream<FlightData>;
    type DoPutStream = ResponseStream<PutResult>;
    type DoExchangeStream = ResponseStream<FlightData>;
    type DoActionStream = ResponseStream<ActionResult>;
    type ListActionsStream = ResponseStream<ActionType>;

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        Err(status::unimplemented(
            "Handshake: this server has no authentication",
        ))
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        Rpc::begin("ListFlights")
            .streaming(info::list(&self.services, request.into_inner()))
            .await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let rpc = Rpc::begin("GetFlightInfo");
        rpc.unary(info::flight_info(
            &self.services,
            rpc.principal(),
            request.into_inner(),
        ))
        .await
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(status::unimplemented(
            "PollFlightInfo: use GetFlightInfo, which plans without running",
        ))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let rpc = Rpc::begin("GetSchema");
        rpc.unary(info::schema(
            &self.services,
            rpc.principal(),
            request.into_inner(),
        ))
        .await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let rpc = Rpc::begin("DoGet");
        let (headers, _, ticket) = request.into_parts();
        rpc.streaming(do_get::run(
            &self.services,
            rpc.principal(),
            &headers,
            ticket,
        ))
        .await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let rpc = Rpc::begin("DoPut");
        rpc.streaming(do_put::run(
            &self.services,
            rpc.principal(),
            request.into_inner(),
        ))
        .await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        let rpc = Rpc::begin("DoExchange");
        let (headers, _, messages) = request.into_parts();
        rpc.streaming(do_exchange::run(
            &self.services,
            rpc.principal(),
            &headers,
            messages,
        ))
        .await
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let rpc = Rpc::begin("DoAction");
        rpc.streaming(do_action::run(
            &self.services,
            rpc.principal(),
            request.into_inner(),
        ))
        .await
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        Ok(Response::new(
            stream::iter(do_action::list()).map(Ok).boxed(),
        ))
    }
}
