//! HTTP for object stores: bounded waits, bounded concurrency, and connections that are shared by all clients of a store,
//! whatever credentials they sign with.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use reqwest::{Certificate, Proxy};
use tokio::sync::Semaphore;

use super::clients::{Kept, digest};
use super::properties::Properties;

/// Requests of one store that wait for an answer at a time. Bodies are not counted while they are read: a reader that is slow
/// would keep others from theirs.
pub(super) const REQUESTS_AT_ONCE: usize = 64;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For the answer, and for each next piece of its body.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// After this time nothing is tried again, so a store that does not answer fails within half a minute.
pub(super) const RETRY_LIMIT: Duration = Duration::from_secs(10);
const MAX_RETRIES: usize = 4;
const USER_AGENT: &str = concat!("murre/", env!("CARGO_PKG_VERSION"));

static CONNECTIONS: Mutex<Kept<HttpClient>> = Mutex::new(Kept::new());

/// Retries with exponential backoff and jitter.
pub(super) fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_LIMIT,
        ..RetryConfig::default()
    }
}

/// How a store is connected to.
pub(super) struct Connector {
    /// What requests are counted by: the container and its endpoint.
    store: String,
    connect_limit: Duration,
    request_limit: Duration,
    /// Certificates that are trusted besides the system's.
    authorities: Option<PathBuf>,
    /// May hold a password.
    proxy: Option<String>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// # Errors
    /// A message, if a limit is not a number of seconds.
    pub(super) fn new(
        store: String,
        properties: Properties<'_>,
        authorities: Option<PathBuf>,
    ) -> Result<Self, String> {
        Ok(Self {
            store,
            connect_limit: properties
                .seconds("connect-timeout")?
                .unwrap_or(CONNECT_LIMIT),
            request_limit: properties
                .seconds("request-timeout")?
                .unwrap_or(REQUEST_LIMIT),
            authorities,
            proxy: properties.get("proxy-uri").map(str::to_owned),
        })
    }

    fn shared(&self, plain: bool) -> Result<HttpClient, String> {
        let authorities = self.authorities.as_deref().unwrap_or("".as_ref());
        let key = digest([
            self.store.as_str(),
            &format!("{:?} {:?}", self.connect_limit, self.request_limit),
            &authorities.to_string_lossy(),
            self.proxy.as_deref().unwrap_or_default(),
            if plain { "plain" } else { "" },
        ]);
        let mut connections = CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        connections.get_or_make(key, || {
            let http = HttpClient::new(self.client(plain)?);
            Ok(HttpClient::new(Limited {
                http,
                permits: Semaphore::new(REQUESTS_AT_ONCE),
                limit: self.request_limit,
            }))
        })
    }

    fn client(&self, plain: bool) -> Result<reqwest::Client, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .http1_only()
            .https_only(!plain)
            .connect_timeout(self.connect_limit)
            .read_timeout(self.request_limit)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        if let Some(path) = &self.authorities {
            for certificate in certificates(path)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some(proxy) = &self.proxy {
            let proxy = Proxy::all(proxy).map_err(|_| "proxy-uri: expected an address")?;
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|error| error.to_string())
    }
}

/// The certificates in a file, in PEM form.
///
/// # Errors
/// In words, why there are none.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let unread = |error: &dyn fmt::Display| {
        let path = path.display();
        format!("cannot read the certificates in `{path}`: {error}")
    };
    let pem = fs::read(path).map_err(|error| unread(&error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(unread(&"it holds none")),
        Ok(found) => Ok(found),
        Err(error) => Err(unread(&error)),
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        self.shared(plain.as_deref() == Some("true"))
            .map_err(|message| object_store::Error::Generic {
                store: "HTTP",
                source: message.into(),
            })
    }
}

/// At most [`REQUESTS_AT_ONCE`]; who waits too long for a turn fails like who waits too long for an answer.
#[derive(Debug)]
struct Limited {
    http: HttpClient,
    permits: Semaphore,
    limit: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("{REQUESTS_AT_ONCE} other requests have been waiting for this store for {0:?}")]
struct Busy(Duration);

#[async_trait]
impl HttpService for Limited {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let turn = tokio::time::timeout(self.limit, self.permits.acquire()).await;
        let _permit = turn
            .map_err(|_| HttpError::new(HttpErrorKind::Timeout, Busy(self.limit)))?
            .expect("the semaphore is never closed");
        self.http.execute(request).await
    }
}

/// A client behind the seam.
///
/// # Errors
/// In words, why it cannot be made.
pub(super) fn built<S: ObjectStore>(
    store: object_store::Result<S>,
) -> Result<Arc<dyn ObjectStore>, String> {
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(object_store::Error::Generic { source, .. }) => Err(source.to_string()),
        Err(other) => Err(other.to_string()),
    }
}
