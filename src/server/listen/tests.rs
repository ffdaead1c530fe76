//! The transport over a real socket, with a service that has nothing behind it.

use std::sync::{Arc, Mutex};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult,
    Ticket,
};
use bytesize::ByteSize;
use futures::stream::{self, StreamExt, TryStreamExt};
use rstest::rstest;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::server::rpc::{ResponseStream, Rpc};

/// DoGet sends until it is dropped, and fails where the ticket asks for it; DoPut counts bytes.
#[derive(Debug)]
struct Toy {
    running: watch::Sender<bool>,
}

#[derive(Debug)]
struct Running(watch::Sender<bool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("toy"))
}

#[tonic::async_trait]
impl FlightService for Toy {
    type HandshakeStream = ResponseStream<HandshakeResponse>;
    type ListFlightsStream = ResponseStream<FlightInfo>;
    type DoGetStream = ResponseStream<FlightData>;
    type DoPutStream = ResponseStream<PutResult>;
    type DoExchangeStream = ResponseStream<FlightData>;
    type DoActionStream = ResponseStream<ActionResult>;
    type ListActionsStream = ResponseStream<ActionType>;

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        self.running.send_replace(true);
        let running = Running(self.running.clone());
        let fail = request.into_inner().ticket == "fail";
        let messages = stream::iter(0_u64..).map(move |sent| {
            let _held = &running;
            if fail && sent == 3 {
                Err(Error::invalid("row 3", "is bad"))
            } else {
                Ok(vec![7_u8; 100_000])
            }
        });
        let data = messages.map_ok(|body| FlightData {
            data_body: body.into(),
            ..FlightData::default()
        });
        Rpc::begin("DoGet")
            .streaming(async { Ok(data.boxed()) })
            .await
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let bytes = request
            .into_inner()
            .try_fold(0, |sum, data| async move { Ok(sum + data.data_body.len()) })
            .await?;
        let answer = PutResult {
            app_metadata: bytes.to_string().into(),
        };
        Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        absent()
    }
    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        absent()
    }
    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        absent()
    }
    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        absent()
    }
    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        absent()
    }
    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        absent()
    }
    async fn do_action(
        &self,
        _: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        absent()
    }
    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        absent()
    }
}

fn config(listen: &str) -> ServerConfig {
    ServerConfig {
        listen: listen.parse().unwrap(),
        max_message_size: ByteSize::mib(16),
        ..ServerConfig::default()
    }
}

struct Server {
    channel: Channel,
    running: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<()>>,
}

async fn started() -> Server {
    let config = config("127.0.0.1:0");
    let listener = bind(&config).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, running) = watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve(&config, Toy { running: sender }, listener, shutdown).await
    });
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    Server {
        channel,
        running,
        stop,
        served,
    }
}

async fn upload(server: &Server, bytes: usize) -> Result<String, Status> {
    let data = FlightData {
        data_body: vec![1; bytes].into(),
        ..FlightData::default()
    };
    let mut client = FlightServiceClient::new(server.channel.clone());
    let answers: Vec<PutResult> = client
        .do_put(stream::iter([data]))
        .await?
        .into_inner()
        .try_collect()
        .await?;
    Ok(String::from_utf8(answers[0].app_metadata.to_vec()).unwrap())
}

#[rstest]
#[case("127.0.0.1:0", true)]
#[case("[::1]:0", true)]
#[case("[::ffff:127.0.0.1]:0", true)]
#[case("0.0.0.0:0", false)]
#[case("[::]:0", false)]
#[case("192.168.1.4:8815", false)]
fn only_loopback_is_listened_on_unless_the_operator_insists(
    #[case] address: &str,
    #[case] allowed: bool,
) {
    let mut config = config(address);
    assert_eq!(check_reach(&config, config.listen).is_ok(), allowed);
    config.insecure_allow_remote = true;
    assert!(check_reach(&config, config.listen).is_ok());
}

#[tokio::test]
async fn a_listener_that_others_reach_is_refused_too() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let toy = Toy {
        running: watch::channel(false).0,
    };
    let error = serve(
        &config("127.0.0.1:0"),
        toy,
        listener,
        std::future::pending(),
    )
    .await
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("server.insecure_allow_remote = true"),
        "{error}"
    );
}

#[tokio::test]
async fn the_health_service_knows_flight() {
    let server = started().await;
    let request = HealthCheckRequest {
        service: "arrow.flight.protocol.FlightService".to_owned(),
    };
    let answer = HealthClient::new(server.channel.clone())
        .check(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
}

#[tokio::test]
async fn messages_beyond_grpcs_default_are_taken_up_to_the_configured_size() {
    let server = started().await;
    assert_eq!(
        upload(&server, 15 << 20).await.unwrap(),
        (15 << 20).to_string()
    );
    let status = upload(&server, 17 << 20).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn an_error_in_mid_stream_reaches_the_client_with_its_text() {
    let server = started().await;
    let mut client = FlightServiceClient::new(server.channel.clone());
    let mut answers = client
        .do_get(Ticket::new("fail"))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        assert_eq!(
            answers.message().await.unwrap().unwrap().data_body.len(),
            100_000
        );
    }
    let status = answers.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "row 3: is bad")
    );
}

#[tokio::test]
async fn work_stops_when_the_client_goes_away() {
    let mut server = started().await;
    let mut client = FlightServiceClient::new(server.channel.clone());
    let mut answers = client.do_get(Ticket::new("")).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    assert!(*server.running.borrow());
    drop(answers);
    let stopped = server.running.wait_for(|running| !running);
    tokio::time::timeout(Duration::from_secs(1), stopped)
        .await
        .expect("within a second")
        .unwrap();
}

#[tokio::test]
async fn a_running_call_ends_before_the_server_does() {
    let server = started().await;
    let sent = Arc::new(Mutex::new(None));
    let (half, rest) = oneshot::channel::<()>();
    let data = || FlightData {
        data_body: vec![1; 1000].into(),
        ..FlightData::default()
    };
    let messages = stream::once(async move { data() }).chain(stream::once(async move {
        rest.await.unwrap();
        data()
    }));
    let mut client = FlightServiceClient::new(server.channel.clone());
    let answer = Arc::clone(&sent);
    let call = tokio::spawn(async move {
        let answers: Vec<PutResult> = client
            .do_put(messages)
            .await
            .unwrap()
            .into_inner()
            .try_collect()
            .await
            .unwrap();
        *answer.lock().unwrap() = Some(answers[0].app_metadata.clone());
    });
    clock::sleep(Duration::from_millis(100)).await;
    server.stop.send(()).unwrap();
    clock::sleep(Duration::from_millis(100)).await;
    assert!(!server.served.is_finished());
    half.send(()).unwrap();
    call.await.unwrap();
    assert_eq!(sent.lock().unwrap().take().unwrap(), "2000");
    server.served.await.unwrap().unwrap();
}
