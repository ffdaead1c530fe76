//! The bearer token: configured, or from OAuth2 client credentials, and then replaced before it expires and when the server
//! refuses it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{Answer, Failure};
use super::secrets::Secrets;

/// A token is replaced this long before it expires, or after two thirds of its life if that is later.
const MARGIN: Duration = Duration::from_secs(60);
/// What pyiceberg asks for if nothing else is configured.
const SCOPE: &str = "catalog";

/// Where the token of requests comes from.
pub(super) struct Tokens {
    grant: Option<Grant>,
    /// One request for a token at a time.
    current: Mutex<Option<Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// A request for a token.
struct Grant {
    server: String,
    form: Vec<(&'static str, String)>,
}

#[derive(Clone)]
struct Token {
    text: String,
    replace_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    /// `base` is the catalog's address, which gives tokens itself if no other server is named.
    pub(super) fn new(base: &str, properties: &BTreeMap<String, String>) -> Self {
        let token = properties.get("token").map(|token| Token {
            text: token.clone(),
            replace_at: None,
        });
        let credential = properties.get("credential");
        Self {
            grant: credential.map(|credential| Grant::new(base, credential, properties)),
            current: Mutex::new(token),
        }
    }

    /// A token that is good for now; none for servers that want none. `refused` is one that the server did not take.
    pub(super) async fn get(
        &self,
        client: &Client,
        refused: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let mut current = self.current.lock().await;
        let usable = current.as_ref().filter(|token| token.is_usable(refused));
        let text = usable.map(|token| token.text.clone());
        let (None, Some(grant)) = (&text, &self.grant) else {
            // A token that cannot be replaced is as good as it gets.
            return Ok(text.or_else(|| current.as_ref().map(|token| token.text.clone())));
        };
        let token = grant.ask(client).await?;
        let text = token.text.clone();
        *current = Some(token);
        Ok(Some(text))
    }

    /// Whether a refused token can be replaced.
    pub(super) fn can_renew(&self) -> bool {
        self.grant.is_some()
    }
}

impl Token {
    fn is_usable(&self, refused: Option<&str>) -> bool {
        refused != Some(self.text.as_str()) && self.replace_at.is_none_or(|at| Instant::now() < at)
    }
}

impl Grant {
    fn new(base: &str, credential: &str, properties: &BTreeMap<String, String>) -> Self {
        let server = properties.get("oauth2-server-uri").cloned();
        let (id, secret) = credential
            .split_once(':')
            .map_or((None, credential), |(id, secret)| (Some(id), secret));
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        form.extend(id.map(|id| ("client_id", id.to_owned())));
        form.push(("client_secret", secret.to_owned()));
        form.push((
            "scope",
            properties
                .get("scope")
                .map_or(SCOPE, String::as_str)
                .to_owned(),
        ));
        for key in ["audience", "resource"] {
            form.extend(properties.get(key).map(|value| (key, value.clone())));
        }
        Self {
            server: server.unwrap_or_else(|| format!("{base}/v1/oauth/tokens")),
            form,
        }
    }

    async fn ask(&self, client: &Client) -> Result<Token, Failure> {
        let asked = client.post(&self.server).form(&self.form).send();
        let answer = asked
            .await
            .map_err(|error| self.failed(&Failure::of_connection(&error)))?;
        let status = answer.status();
        let body = answer
            .bytes()
            .await
            .map_err(|error| self.failed(&Failure::of_connection(&error)))?;
        if !status.is_success() {
            return Err(self.failed(&Failure::Answered(Answer::new(
                status,
                &[],
                &Secrets::default(),
            ))));
        }
        let unread = |_| Failure::Unreachable("the token server's answer is no token".to_owned());
        let granted: Granted = serde_json::from_slice(&body).map_err(unread)?;
        Ok(Token {
            text: granted.access_token,
            replace_at: granted.expires_in.map(replace_at),
        })
    }

    /// Whatever failed, the catalog itself was asked for nothing. What the token server says may repeat what it was sent.
    fn failed(&self, failure: &Failure) -> Failure {
        Failure::Unreachable(format!(
            "no token from the OAuth2 server: {}",
            failure.message()
        ))
    }
}

fn replace_at(seconds: u64) -> Instant {
    let life = Duration::from_secs(seconds);
    Instant::now() + life.saturating_sub(MARGIN).max(life * 2 / 3)
}
