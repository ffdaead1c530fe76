//! A registry behind Feast's registry server: one gRPC call returns all of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::OnceCell;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_prost::ProstCodec;

use super::{Failure, Fetched, LIMIT};
use crate::proto::feast::core;
use crate::registry::feast::feature_store::Place;

const METHOD: &str = "/feast.registry.RegistryServer/Proto";
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Remote {
    place: Place,
    repo: PathBuf,
    /// Made when first asked for: it belongs to the runtime of the request.
    channel: OnceCell<Channel>,
}

impl Remote {
    /// The server at `place.path`, which is `host:port`; relative certificate files start at `repo`.
    pub(super) fn new(place: &Place, repo: &Path) -> Self {
        Self {
            place: place.clone(),
            repo: repo.to_owned(),
            channel: OnceCell::new(),
        }
    }

    pub(super) async fn fetch(&self) -> Result<Fetched, Failure> {
        let channel = self.channel.get_or_try_init(|| self.connect()).await?;
        let mut client = Grpc::new(channel.clone()).max_decoding_message_size(LIMIT);
        client
            .ready()
            .await
            .map_err(|error| Failure::Unreachable(words(&error)))?;
        let codec = ProstCodec::<(), core::Registry>::default();
        let method = PathAndQuery::from_static(METHOD);
        let answer = client.unary(Request::new(()), method, codec).await;
        match answer {
            Ok(answer) => Ok(Fetched::Found {
                message: answer.into_inner(),
                version: None,
            }),
            Err(status) => Err(Failure::Unreachable(format!(
                "{}: {}",
                status.code(),
                status.message()
            ))),
        }
    }

    async fn connect(&self) -> Result<Channel, Failure> {
        let path = &self.place.path;
        let address = match path.split_once("://") {
            Some(("grpc", host)) => format!("http://{host}"),
            Some(("grpcs" | "grpc+tls", host)) => format!("https://{host}"),
            Some(_) => path.clone(),
            None if self.encrypted() => format!("https://{path}"),
            None => format!("http://{path}"),
        };
        let wrong = |error: tonic::transport::Error| Failure::Unreachable(words(&error));
        let mut endpoint = Endpoint::from_shared(address)
            .map_err(wrong)?
            .connect_timeout(CONNECT)
            .timeout(ANSWER);
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(self.tls().await?).map_err(wrong)?;
        }
        Ok(endpoint.connect_lazy())
    }

    fn encrypted(&self) -> bool {
        self.place.is_tls || !self.place.cert.is_empty()
    }

    async fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let place = &self.place;
        let mut tls = match place.cert.as_str() {
            "" => ClientTlsConfig::new().with_native_roots(),
            file => {
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.pem(file).await?))
            }
        };
        if !place.client_cert.is_empty() {
            let certificate = self.pem(&place.client_cert).await?;
            let key = self.pem(&place.client_key).await?;
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        if !place.authority.is_empty() {
            tls = tls.domain_name(place.authority.clone());
        }
        Ok(tls)
    }

    async fn pem(&self, file: &str) -> Result<Vec<u8>, Failure> {
        tokio::fs::read(self.repo.join(file))
            .await
            .map_err(|error| Failure::Unreachable(format!("cannot read `{file}`: {error}")))
    }
}

/// An error with its causes: tonic's own words are only "transport error".
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
