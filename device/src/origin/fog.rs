//! Modules of a fog host, by digest, or by the version that it has under the model's
//! name, with their signatures.

use std::io;
use std::time::Duration;

use http::{StatusCode, header};
use leeway_contract::Digest;
use leeway_deploy::desired::{DesiredModel, Resolved};
use leeway_deploy::transaction::{Opened, Source};
use leeway_protocol::metadata::ModelMetadata;
use ureq::{Agent, Body, http::Response};

use super::{failed, resolved};

/// The longest that a fog host may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// The largest signature.
const MOST_SIGNATURE_BYTES: u64 = 64 << 10;

/// Asks fog hosts.
pub(super) struct FogHosts {
    agent: Agent,
}

impl FogHosts {
    pub(super) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Self { agent: config.into() }
    }

    pub(super) fn resolve(&self, base: &str, wanted: &DesiredModel) -> io::Result<Resolved> {
        let base = base.trim_end_matches('/');
        let digest = match wanted.digest {
            Some(digest) => digest,
            None => self.digest(base, wanted)?,
        };
        let url = format!("{base}/v1/modules/{digest}");
        let known = wanted.signature.is_some();
        let envelope = if known { None } else { self.signature(&url)? };
        let envelopes = envelope.into_iter().collect();
        Ok(resolved(digest, envelopes, Module { agent: self.agent.clone(), url }))
    }

    /// What was signed of the module, if the host has it: one without any says so, and an
    /// older one knows of none.
    fn signature(&self, module: &str) -> io::Result<Option<Vec<u8>>> {
        let request = self.agent.get(format!("{module}/signature"));
        let request = request.config().timeout_global(Some(SILENCE)).build();
        let mut response = request.call().map_err(failed)?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let body = response.body_mut().with_config().limit(MOST_SIGNATURE_BYTES);
        body.read_to_vec().map(Some).map_err(failed)
    }

    /// The module that the host has under the model's name.
    fn digest(&self, base: &str, wanted: &DesiredModel) -> io::Result<Digest> {
        let mut url = format!("{base}/v2/models/{}", wanted.name);
        if let Some(version) = &wanted.version {
            url = format!("{url}/versions/{version}");
        }
        let mut response = get(&self.agent, &url, 0)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let metadata: ModelMetadata = serde_json::from_str(&text).map_err(failed)?;
        Ok(metadata.parameters.digest)
    }
}

fn get(agent: &Agent, url: &str, offset: u64) -> io::Result<Response<Body>> {
    let mut request = agent.get(url);
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let mut response = request.call().map_err(failed)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let said = response.body_mut().with_config().limit(4096).read_to_string().unwrap_or_default();
    Err(failed(format!("{url} answers {}: {said}", response.status())))
}

/// One module of a host.
struct Module {
    agent: Agent,
    url: String,
}

impl Source for Module {
    fn open(&mut self, offset: u64) -> io::Result<Opened<'_>> {
        let response = get(&self.agent, &self.url, offset)?;
        // A host that knows no ranges sends all of it.
        let offset = if response.status() == StatusCode::PARTIAL_CONTENT { offset } else { 0 };
        let left = response.body().content_length();
        let total = left.map(|left| left.saturating_add(offset));
        Ok(Opened { offset, total, reader: Box::new(response.into_body().into_reader()) })
    }
}
