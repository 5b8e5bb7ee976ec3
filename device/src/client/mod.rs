//! A client of the agent: `unix:PATH`, or `http://HOST:PORT` with a token.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use http::Response;
use leeway_contract::Digest;
use leeway_deploy::deployer::{Deployed, Rolled};
use leeway_protocol::ErrorObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body, SendBody};

use crate::control::{DeployEvent, DeployRequest, Reason, Refused, Sent, Status};

mod unix;

use unix::{NoResolver, UnixConnector};

/// Why the agent did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No address of an agent.
    #[error("not an agent's address: {0:?} (wanted unix:PATH or http://HOST:PORT)")]
    Address(String),
    /// It did not answer.
    #[error("the device does not answer: {0}")]
    Transport(#[from] Box<ureq::Error>),
    /// It said no.
    #[error("the device refused ({status}): {message}")]
    Status {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// What it said is not understood.
    #[error("the device's answer is not understood: {0}")]
    Answer(String),
    /// It did not bring the version in.
    #[error("refused at the step {}: {}", .0.step, .0.reason)]
    Refused(Refused),
}

/// A client of one agent.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// The longest that the agent may be silent.
const SILENCE: Duration = Duration::from_secs(120);

impl Client {
    /// A client for an agent's address. Nothing is sent yet.
    pub fn new(address: &str, token: Option<String>) -> Result<Self, ClientError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_recv_response(Some(SILENCE))
            .build();
        let (agent, base) = match address.strip_prefix("unix:") {
            Some(path) => {
                let connector = UnixConnector::new(path.into());
                (Agent::with_parts(config, connector, NoResolver), "http://device".to_owned())
            }
            None if address.starts_with("http://") => {
                let connector = ureq::unversioned::transport::DefaultConnector::default();
                let agent = Agent::with_parts(config, connector, DefaultResolver::default());
                (agent, address.trim_end_matches('/').to_owned())
            }
            None => return Err(ClientError::Address(address.chars().take(200).collect())),
        };
        Ok(Self { agent, base, token })
    }

    fn request<B: ureq::AsSendBody>(
        &self,
        method: http::Method,
        path: &str,
        body: B,
    ) -> Result<Response<Body>, ClientError> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(Box::new)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(Box::new)?;
        let message = serde_json::from_str(&text).map_or(text, |e: ErrorObject| e.error);
        Err(ClientError::Status { status, message })
    }

    fn json<T: DeserializeOwned>(mut response: Response<Body>) -> Result<T, ClientError> {
        let text = response.body_mut().read_to_string().map_err(Box::new)?;
        serde_json::from_str(&text).map_err(|error| ClientError::Answer(error.to_string()))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        Self::json(self.request(http::Method::GET, path, ())?)
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        Self::json(self.request(http::Method::POST, path, text(body))?)
    }

    /// How the device is.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// Sends a module, or what is missing of it.
    pub fn send(&self, module: &[u8]) -> Result<Digest, ClientError> {
        let digest = Digest::of(module);
        let sent: Sent = self.get(&format!("/v1/modules/{digest}"))?;
        if sent.whole {
            return Ok(digest);
        }
        let from = sent.bytes.min(module.len() as u64);
        let put = |from: u64| {
            let path = format!("/v1/modules/{digest}?from={from}");
            self.request(http::Method::PUT, &path, &module[from as usize..])
        };
        match put(from) {
            // What had come before was spoilt: all of it again.
            Err(ClientError::Status { status: 400, .. }) if from > 0 => put(0)?,
            response => response?,
        };
        Ok(digest)
    }

    /// Deploys a module that was sent. `progress` hears of each step.
    pub fn deploy(
        &self,
        request: &DeployRequest,
        mut progress: impl FnMut(&DeployEvent),
    ) -> Result<Deployed, ClientError> {
        let response = self.request(http::Method::POST, "/v1/deployments", text(request))?;
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.map_err(|error| ClientError::Answer(error.to_string()))?;
            let event: DeployEvent = serde_json::from_str(&line)
                .map_err(|error| ClientError::Answer(format!("{error}: {line}")))?;
            progress(&event);
            match event {
                DeployEvent::Deployed(deployed) => return Ok(deployed),
                DeployEvent::Refused(refused) => return Err(ClientError::Refused(refused)),
                DeployEvent::Progress(_) => {}
            }
        }
        Err(ClientError::Answer("it ended before the deployment did".into()))
    }

    /// Returns to the version before.
    pub fn roll_back(&self, model: &str, reason: Option<String>) -> Result<Rolled, ClientError> {
        self.post(&format!("/v1/models/{model}/rollback"), &Reason { reason })
    }

    /// Pins what is active, or unpins it.
    pub fn pin(
        &self,
        model: &str,
        pinned: bool,
        reason: Option<String>,
    ) -> Result<Status, ClientError> {
        let verb = if pinned { "pin" } else { "unpin" };
        self.post(&format!("/v1/models/{model}/{verb}"), &Reason { reason })
    }

    /// Sends a request of the Open Inference Protocol, in JSON.
    pub fn infer<T: DeserializeOwned>(
        &self,
        model: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.post(&format!("/v2/models/{model}/infer"), request)
    }
}

fn text(body: &impl Serialize) -> SendBody<'static> {
    let json = serde_json::to_vec(body).expect("a message has only string keys");
    SendBody::from_owned_reader(std::io::Cursor::new(json))
}
