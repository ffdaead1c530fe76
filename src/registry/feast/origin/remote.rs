//! A registry behind Feast's registry server, listed kind by kind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tokio::sync::OnceCell;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response};

use super::raw_codec::RawCodec;
use super::{Failure, Fetched, LIMIT};
use crate::proto::feast::core;
use crate::proto::feast::registry::{GetOnDemandFeatureViewRequest, ListRequest, Listed};
use crate::registry::feast::feature_store::Place;

const SERVICE: &str = "/feast.registry.RegistryServer";
/// On-demand feature views that are asked for at a time.
const CALLS: usize = 8;
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

    pub(super) async fn fetch(&self, project: &str) -> Result<Fetched, Failure> {
        let channel = self.channel.get_or_try_init(|| self.connect()).await?;
        let list = |method| list(channel, method, project);
        let (entities, data_sources, feature_views, stream_feature_views) = tokio::try_join!(
            list("ListEntities"),
            list("ListDataSources"),
            list("ListFeatureViews"),
            list("ListStreamFeatureViews"),
        )?;
        let (on_demand, feature_services, saved_datasets) = tokio::try_join!(
            list("ListOnDemandFeatureViews"),
            list("ListFeatureServices"),
            list("ListSavedDatasets"),
        )?;
        let message = core::Registry {
            version_id: String::new(),
            entities,
            data_sources,
            feature_views,
            stream_feature_views,
            on_demand_feature_views: with_code(channel, project, on_demand).await?,
            feature_services,
            saved_datasets,
        };
        Ok(Fetched::Found {
            message: Box::new(message),
            version: None,
        })
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

/// The project's objects of one kind.
async fn list(channel: &Channel, method: &str, project: &str) -> Result<Vec<Bytes>, Failure> {
    let request = ListRequest {
        project: project.to_owned(),
    };
    decode::<Listed>(call(channel, method, request).await?).map(|listed| listed.objects)
}

/// The on-demand feature views in `listed`, each with the code that lists leave out.
async fn with_code(
    channel: &Channel,
    project: &str,
    listed: Vec<Bytes>,
) -> Result<Vec<Bytes>, Failure> {
    let names: Vec<String> = listed
        .into_iter()
        .map(|object| {
            Ok(decode::<core::OnDemandFeatureView>(object)?
                .spec
                .unwrap_or_default()
                .name)
        })
        .collect::<Result<_, _>>()?;
    let calls = names.into_iter().map(|name| {
        let project = project.to_owned();
        let request = GetOnDemandFeatureViewRequest { name, project };
        call(channel, "GetOnDemandFeatureView", request)
    });
    futures::stream::iter(calls)
        .buffered(CALLS)
        .try_collect()
        .await
}

async fn call<M>(channel: &Channel, method: &str, request: M) -> Result<Bytes, Failure>
where
    M: Message + 'static,
{
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(LIMIT);
    client
        .ready()
        .await
        .map_err(|error| Failure::Unreachable(words(&error)))?;
    let method =
        PathAndQuery::try_from(format!("{SERVICE}/{method}")).expect("a method's name is a path");
    let answer = client
        .unary(Request::new(request), method, RawCodec::new())
        .await;
    answer
        .map(Response::into_inner)
        .map_err(|status| Failure::Unreachable(format!("{}: {}", status.code(), status.message())))
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Failure> {
    M::decode(bytes).map_err(|error| Failure::Broken(error.to_string()))
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
