//! A second try for requests to S3 that are refused: the credentials may have expired before their time, or without one. The
//! request is signed again with others, so that nobody who reads or writes notices.

use std::collections::BTreeMap;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::Borrower;
use crate::storage::http::Connector;
use crate::storage::properties::Properties;
use crate::storage::s3;

const TOKEN: &str = "x-amz-security-token";
const DIGEST: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Connects to S3 with a second try.
#[derive(Debug)]
pub(super) struct SigningConnector {
    pub(super) connector: Connector,
    pub(super) region: String,
    pub(super) borrower: Borrower,
}

impl HttpConnector for SigningConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Signing {
            http: self.connector.connect(options)?,
            region: self.region.clone(),
            borrower: self.borrower.clone(),
        }))
    }
}

#[derive(Debug)]
struct Signing {
    http: HttpClient,
    region: String,
    borrower: Borrower,
}

#[async_trait]
impl HttpService for Signing {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let again = request.clone();
        let answer = self.http.execute(request).await?;
        if !matches!(
            answer.status(),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Ok(answer);
        }
        let (answer, is_refusal) = looked_at(answer).await?;
        if !is_refusal {
            return Ok(answer);
        }
        match self.other_than(again.headers()).await {
            Ok(credential) => self.http.execute(self.signed(again, &credential)).await,
            Err(error) => {
                let store = &self.borrower.store;
                tracing::warn!(store, error, "credentials were refused and not replaced");
                Ok(answer)
            }
        }
    }
}

/// Whether an answer may be about the credentials. An expired token is a bad request to Amazon; an answer to HEAD has no body
/// that would say so.
async fn looked_at(answer: HttpResponse) -> Result<(HttpResponse, bool), HttpError> {
    let (parts, body) = answer.into_parts();
    let body = body.bytes().await?;
    let expired = String::from_utf8_lossy(&body).contains("ExpiredToken");
    let is_refusal = expired || body.is_empty() || parts.status != StatusCode::BAD_REQUEST;
    Ok((HttpResponse::from_parts(parts, body.into()), is_refusal))
}

impl Signing {
    /// Other credentials than those that a request was signed with.
    async fn other_than(&self, signed: &HeaderMap) -> Result<AwsCredential, String> {
        let Borrower { ledger, prefix, .. } = &self.borrower;
        let is_refused = |settings: &BTreeMap<String, String>| match keys(settings) {
            Ok(Some(keys)) => is_signed_with(signed, &keys),
            _ => true,
        };
        let settings = ledger.replaced(prefix, is_refused).await?;
        keys(&settings)?.ok_or_else(|| "none are lent any more".to_owned())
    }

    /// The request with this credential's signature instead of the one it has.
    fn signed(&self, mut request: HttpRequest, credential: &AwsCredential) -> HttpRequest {
        let headers = request.headers_mut();
        headers.remove(TOKEN);
        let digest = text(headers, DIGEST).map(str::to_owned);
        let digest = digest.as_deref();
        let authorizer = AwsAuthorizer::new(credential, "s3", &self.region)
            .with_sign_payload(digest != Some(UNSIGNED));
        authorizer.authorize(&mut request, digest.and_then(bytes).as_deref());
        request
    }
}

fn keys(settings: &BTreeMap<String, String>) -> Result<Option<AwsCredential>, String> {
    s3::keys(Properties::new("s3", settings))
}

fn is_signed_with(headers: &HeaderMap, keys: &AwsCredential) -> bool {
    let authorization = text(headers, AUTHORIZATION.as_str()).unwrap_or_default();
    authorization.contains(&format!("Credential={}/", keys.key_id))
        && text(headers, TOKEN) == keys.token.as_deref()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The bytes of a digest in hexadecimal.
fn bytes(digest: &str) -> Option<Vec<u8>> {
    let byte = |index: usize| u8::from_str_radix(digest.get(index..index + 2)?, 16).ok();
    match digest.len() {
        64 => (0..64).step_by(2).map(byte).collect(),
        _ => None,
    }
}
