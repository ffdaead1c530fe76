//! Requests to one server: signed in, repeated where that is safe, bounded in time.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::error::{Answer, Failure};
use super::paths::under_v1;
use super::secrets::Secrets;
use super::settings::{ServerConfig, Settings, base};
use super::token::Tokens;
use crate::catalog::CatalogConfig;
use crate::clock;
use crate::storage;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Less than callers wait, so that they learn what did not answer.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Requests that changed nothing are sent again this often.
const RETRIES: u32 = 3;
const FIRST_WAIT_MS: u64 = 100;
/// Asks for credentials with each table.
const DELEGATION: &str = "x-iceberg-access-delegation";

/// A client of one catalog.
#[derive(Debug)]
pub(super) struct Session {
    config: CatalogConfig,
    client: Client,
    tokens: Tokens,
    secrets: Secrets,
    settings: OnceCell<Settings>,
}

impl Session {
    /// Asks the server nothing.
    ///
    /// # Errors
    /// A message without secrets, if properties contradict each other or a file of certificates cannot be read.
    pub(super) fn new(config: &CatalogConfig) -> Result<Self, String> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .user_agent(concat!("murre/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(config)?);
        if let Some(file) = config.properties.get("ssl.cabundle") {
            for certificate in storage::certificates(file.as_ref())? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self {
            client: builder
                .build()
                .map_err(|error| Failure::of_connection(&error).message())?,
            secrets: Secrets::of(&config.properties),
            tokens: Tokens::new(&base(config), &config.properties),
            settings: OnceCell::new(),
            config: config.clone(),
        })
    }

    /// What is in force; asks the server the first time.
    pub(super) async fn settings(&self) -> Result<&Settings, Failure> {
        let asked = self.settings.get_or_try_init(|| async {
            let mut url = under_v1(&base(&self.config)).map_err(Failure::Unreachable)?;
            url.path_segments_mut()
                .map_err(|()| Failure::Unreachable("faulty address".to_owned()))?
                .push("config");
            if let Some(warehouse) = &self.config.warehouse {
                url.query_pairs_mut().append_pair("warehouse", warehouse);
            }
            let server: ServerConfig = self.get(url).await?;
            Ok(Settings::new(&self.config, server))
        });
        asked.await
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, Failure> {
        read(&self.send(Method::GET, url, None).await?)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Failure> {
        read(&self.post_only(url, body).await?)
    }

    /// [`Session::post`] where the answer does not matter.
    pub(super) async fn post_only(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<Vec<u8>, Failure> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| Failure::Unreachable(error.to_string()))?;
        self.send(Method::POST, url, Some(body)).await
    }

    /// A request without a body whose answer has none.
    pub(super) async fn do_only(&self, method: Method, url: Url) -> Result<(), Failure> {
        self.send(method, url, None).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Failure> {
        for attempt in 0..RETRIES {
            match self.signed_in(&method, &url, body.as_deref()).await {
                Err(failure) if is_passing(&method, &failure) => wait_after(attempt).await,
                done => return done,
            }
        }
        self.signed_in(&method, &url, body.as_deref()).await
    }

    /// With another token if the server refuses the one that we have.
    async fn signed_in(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
    ) -> Result<Vec<u8>, Failure> {
        let token = self.tokens.get(&self.client, None).await?;
        let answer = self.once(method, url, body, token.as_deref()).await;
        let is_refused =
            matches!(&answer, Err(failure) if failure.status() == Some(StatusCode::UNAUTHORIZED));
        if !is_refused || !self.tokens.can_renew() {
            return answer;
        }
        let token = self.tokens.get(&self.client, token.as_deref()).await?;
        self.once(method, url, body, token.as_deref()).await
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
        token: Option<&str>,
    ) -> Result<Vec<u8>, Failure> {
        let mut request = self.client.request(method.clone(), url.clone());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_vec());
        }
        let failed = |error: reqwest::Error| Failure::of_connection(&error);
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        match status.is_success() {
            true => Ok(body.into()),
            false => {
                let secrets = self.secrets.with(token);
                Err(Failure::Answered(Answer::new(status, &body, &secrets)))
            }
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let unread = |error: serde_json::Error| {
        Failure::Unanswered(format!(
            "the server's answer cannot be read: it is {} at byte {}",
            words(&error),
            error.column()
        ))
    };
    serde_json::from_slice(body).map_err(unread)
}

/// An answer may hold lent credentials, which the error of its reader would repeat.
fn words(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "not what the protocol says",
        _ => "no JSON",
    }
}

/// Whether the same request may succeed later, and certainly changed nothing yet.
fn is_passing(method: &Method, failure: &Failure) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (failure, failure.status()) {
        (_, Some(StatusCode::TOO_MANY_REQUESTS)) => true,
        (Failure::Unanswered(_), _) => reads,
        (
            _,
            Some(
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
            ),
        ) => reads,
        _ => false,
    }
}

/// A while that grows, and is another one for each client.
async fn wait_after(attempt: u32) {
    let most = FIRST_WAIT_MS << attempt;
    let wait = rand::random_range(most / 2..=most);
    clock::sleep(Duration::from_millis(wait)).await;
}

fn headers(config: &CatalogConfig) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static(DELEGATION),
        HeaderValue::from_static("vended-credentials"),
    );
    for (key, value) in &config.properties {
        let Some(name) = key.strip_prefix("header.") else {
            continue;
        };
        let faulty = || format!("property `{key}` is no HTTP header");
        let mut value = HeaderValue::from_str(value).map_err(|_| faulty())?;
        value.set_sensitive(true);
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| faulty())?,
            value,
        );
    }
    Ok(headers)
}
