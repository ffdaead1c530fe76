//! A registry server in this process, as Feast's answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

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

/// Answers `Proto` with a fixture of this many copies' padding.
#[derive(Clone)]
struct Server {
    padding: usize,
}

impl NamedService for Server {
    const NAME: &'static str = "feast.registry.RegistryServer";
}

#[expect(clippy::disallowed_types, reason = "this test is a gRPC server")]
impl UnaryService<()> for Server {
    type Response = core::Registry;
    type Future = BoxFuture<Response<core::Registry>, tonic::Status>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut message = core::Registry::decode(file_registry("0.67")).unwrap();
        message.version_id = "x".repeat(self.padding);
        Box::pin(async { Ok(Response::new(message)) })
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
        assert_eq!(request.uri().path(), "/feast.registry.RegistryServer/Proto");
        let server = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<core::Registry, ()>::default();
            Ok(tonic::server::Grpc::new(codec).unary(server, request).await)
        })
    }
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
    assert_eq!(view_names(&reader.current().await.unwrap()), VIEWS);
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
    assert_eq!(view_names(&reader.current().await.unwrap()), VIEWS);
}
