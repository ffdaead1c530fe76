//! A registry server in this process, as Feast's answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use prost::Message;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response};
use tonic_prost::ProstCodec;

use super::{VIEWS, file_registry, opened, repo, view_names};
use crate::error::ErrorKind;
use crate::proto::feast::core;
use crate::proto::feast::registry::{GetOnDemandFeatureViewRequest, ListRequest, Listed};

/// Answers with the objects of a fixture, whose projects it leaves out as Feast does, and this many bytes of padding.
#[derive(Clone)]
struct Server {
    padding: usize,
}

/// The answer to one method.
struct Answer(Listed);
/// The one on-demand feature view, with its code.
struct Code;

impl NamedService for Server {
    const NAME: &'static str = "feast.registry.RegistryServer";
}

#[expect(clippy::disallowed_types, reason = "this test is a gRPC server")]
impl UnaryService<ListRequest> for Answer {
    type Response = Listed;
    type Future = BoxFuture<Response<Listed>, tonic::Status>;

    fn call(&mut self, request: Request<ListRequest>) -> Self::Future {
        assert_eq!(request.into_inner().project, "rides");
        let listed = self.0.clone();
        Box::pin(async { Ok(Response::new(listed)) })
    }
}

#[expect(clippy::disallowed_types, reason = "this test is a gRPC server")]
impl UnaryService<GetOnDemandFeatureViewRequest> for Code {
    type Response = core::OnDemandFeatureView;
    type Future = BoxFuture<Response<core::OnDemandFeatureView>, tonic::Status>;

    fn call(&mut self, request: Request<GetOnDemandFeatureViewRequest>) -> Self::Future {
        assert_eq!(request.into_inner().name, "computed");
        let message = core::Registry::decode(file_registry("0.67")).unwrap();
        let view = message.on_demand_feature_views[0].clone();
        let view = core::OnDemandFeatureView::decode(view).unwrap();
        Box::pin(async { Ok(Response::new(view)) })
    }
}

impl Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let method = path.rsplit('/').next().unwrap().to_owned();
        let listed = listed(&method, self.padding);
        Box::pin(async move {
            if method == "GetOnDemandFeatureView" {
                let codec = ProstCodec::<core::OnDemandFeatureView, _>::default();
                return Ok(tonic::server::Grpc::new(codec).unary(Code, request).await);
            }
            let codec = ProstCodec::<Listed, _>::default();
            let mut server = tonic::server::Grpc::new(codec);
            Ok(server.unary(Answer(listed), request).await)
        })
    }
}

/// The project's objects of one kind; views come without their project.
fn listed(method: &str, padding: usize) -> Listed {
    let all = core::Registry::decode(file_registry("0.67")).unwrap();
    let objects = match method {
        "ListFeatureViews" => all.feature_views.iter().filter_map(unowned).collect(),
        "ListStreamFeatureViews" => all.stream_feature_views,
        "ListOnDemandFeatureViews" => all.on_demand_feature_views,
        "ListFeatureServices" => all.feature_services,
        "ListEntities" => {
            let description = vec![b'x'; padding];
            let unknown = core::Entity::default().encode_to_vec();
            vec![[unknown, field_99(&description)].concat().into()]
        }
        _ => Vec::new(),
    };
    Listed { objects }
}

fn unowned(view: &Bytes) -> Option<Bytes> {
    let mut spec = core::FeatureView::decode(view.clone()).unwrap().spec?;
    (spec.project == "rides").then(|| {
        spec.project.clear();
        core::FeatureView { spec: Some(spec) }
            .encode_to_vec()
            .into()
    })
}

/// A field that nobody knows.
fn field_99(value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::bytes::encode(99, &value.to_vec(), &mut field);
    field
}

async fn served(padding: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpIncoming::from(listener);
    let router = tonic::transport::Server::builder().add_service(Server { padding });
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

fn place(address: SocketAddr) -> String {
    format!("{{registry_type: remote, path: '{address}'}}")
}

#[tokio::test]
async fn a_registry_server_is_asked_for_everything() {
    let reader = opened(&repo(&place(served(0).await)));
    let registry = reader.current().await.unwrap();
    assert_eq!(view_names(&registry), VIEWS);
    assert_eq!(registry.feature_services().count(), 2);
    assert_eq!(registry.on_demand_views().count(), 1);
}

#[tokio::test]
async fn a_registry_may_be_larger_than_grpc_allows_by_default() {
    let reader = opened(&repo(&place(served(5 << 20).await)));
    assert_eq!(view_names(&reader.current().await.unwrap()), VIEWS);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable_by_name() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = opened(&repo(&place(address))).current().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
#[ignore = "needs `feast serve_registry --port 6570` over the fixture"]
async fn feasts_own_server_is_understood() {
    let address = SocketAddr::from(([127, 0, 0, 1], 6570));
    let reader = opened(&repo(&place(address)));
    let registry = reader.current().await.unwrap();
    assert_eq!(view_names(&registry), VIEWS);
    assert_eq!(registry.feature_services().count(), 2);
    assert!(registry.data_source("stats_source").is_ok());
    assert!(registry.data_source("data/march.parquet").is_ok());
    let code = &registry.on_demand_views().next().unwrap().definition;
    assert!(code.windows(13).any(|bytes| bytes == b"conv_plus_val"));
    assert!(code.windows(12).any(|bytes| bytes == b"def computed"));
}
