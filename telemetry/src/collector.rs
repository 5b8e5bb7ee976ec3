//! Where spans go, and which traces are recorded.

use std::path::PathBuf;

use leeway_tls::client::Access;
use ureq::Agent;

use crate::exporter::EndpointError;

/// A collector of spans, and what it is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// The authority that must have signed the collector's certificate, in PEM: for
    /// `https` only, which wants one.
    pub authority: Option<PathBuf>,
    /// The share of the traces that begin here which are recorded, from 0 to 1. One that
    /// somebody else began is recorded where they record it.
    pub sample: f64,
}

impl Collector {
    /// The collector at a URL, which has every trace.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), authority: None, sample: 1.0 }
    }

    /// The URL that spans are posted to.
    pub(crate) fn target(&self) -> Result<String, EndpointError> {
        let url = self.url.trim_end_matches('/');
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let wrong =
            |host: &str| host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/');
        if host.is_none_or(wrong) {
            return Err(EndpointError::Url { seen: self.url.chars().take(200).collect() });
        }
        if url.starts_with("https://") != self.authority.is_some() {
            return Err(EndpointError::Authority);
        }
        Ok(format!("{url}/v1/traces"))
    }

    /// What posts them.
    pub(crate) fn agent(&self, limit: std::time::Duration) -> Result<Agent, EndpointError> {
        let config = Agent::config_builder().timeout_global(Some(limit));
        let config = match &self.authority {
            None => config,
            Some(path) => config.tls_config(Access::read(Some(path), None, None)?.tls()),
        };
        Ok(config.build().into())
    }
}
