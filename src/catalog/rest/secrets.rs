//! What a request carried that nobody may read, should the server repeat it.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Url;

/// Secrets as they are, and as forms have them.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.len()).finish()
    }
}

impl Secrets {
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Self {
        let mut secrets = Self::default();
        for (key, value) in properties {
            if matches!(key.as_str(), "token" | "credential") || key.starts_with("header.") {
                secrets.add(value);
                let parts = value.split([':', ' ']).skip(1);
                parts.for_each(|part| secrets.add(part));
            }
        }
        secrets
    }

    pub(super) fn with(&self, token: Option<&str>) -> Self {
        let mut secrets = self.clone();
        token.into_iter().for_each(|token| secrets.add(token));
        secrets
    }

    fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        let pairs = [("s", secret)];
        let form = Url::parse_with_params("http://h", pairs).ok();
        let form = form.and_then(|url| {
            url.query()
                .map(|query| query.trim_start_matches("s=").to_owned())
        });
        self.0.push(secret.to_owned());
        self.0.extend(form.filter(|form| form != secret));
    }

    pub(super) fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret.as_str()))
    }
}
