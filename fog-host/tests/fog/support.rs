//! A fog host to test, and a client for it.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Response};
use leeway_contract::{Digest, Tensor};
use leeway_fog_host::{FogConfig, Running};
use leeway_runtime::sandbox::Sandbox;
use serde_json::{Value, json};
use ureq::Agent;

use crate::testing::TestModel;

pub const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

/// What a host answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        match self.header(HEADER_LENGTH) {
            Some(length) => serde_json::from_slice(&self.body[..length.parse().unwrap()]).unwrap(),
            None => serde_json::from_slice(&self.body)
                .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.body))),
        }
    }

    /// What follows the JSON part.
    pub fn binary(&self) -> &[u8] {
        let length: usize = self.header(HEADER_LENGTH).unwrap().parse().unwrap();
        &self.body[length..]
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name).map(|value| value.to_str().unwrap())
    }

    /// The message of an error, which must have this status.
    pub fn error(&self, status: u16) -> String {
        let message = self.json()["error"].as_str().expect("an error object").to_owned();
        assert_eq!(self.status, status, "{message}");
        message
    }

    /// The first output's elements.
    pub fn values(&self) -> Vec<f32> {
        let json = self.json();
        assert_eq!(self.status, 200, "{json}");
        let data = json["outputs"][0]["data"].as_array().unwrap().iter();
        data.map(|value| value.as_f64().unwrap() as f32).collect()
    }
}

/// A client with connections of its own that it keeps alive.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    pub fn new(host: &Running) -> Self {
        Self::at(host.local_addr())
    }

    pub fn at(address: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { agent: config.into(), base: format!("http://{address}"), token: None }
    }

    /// The same client, which pushes with this token.
    pub fn authorised(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    fn answer(response: Result<Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut response = response.expect("the host answers");
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        Answer { status: response.status().as_u16(), head: response.headers().clone(), body }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn get(&self, path: &str) -> Answer {
        Self::answer(self.agent.get(self.url(path)).call())
    }

    pub fn head(&self, path: &str) -> Answer {
        Self::answer(self.agent.head(self.url(path)).call())
    }

    pub fn delete(&self, path: &str) -> Answer {
        Self::answer(self.agent.delete(self.url(path)).call())
    }

    pub fn put(&self, path: &str, body: &[u8]) -> Answer {
        let mut request = self.agent.put(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Self::answer(request.send(body))
    }

    /// The status of a PUT; none where the connection breaks.
    pub fn try_put(&self, path: &str, body: &[u8]) -> Option<u16> {
        let answer = self.agent.put(self.url(path)).send(body).ok()?;
        Some(answer.status().as_u16())
    }

    pub fn put_with(&self, path: &str, header: (&str, &str), body: &[u8]) -> Answer {
        let request = self.agent.put(self.url(path)).header(header.0, header.1);
        Self::answer(request.send(body))
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        Self::answer(self.agent.post(self.url(path)).send(body))
    }

    pub fn post_with(&self, path: &str, header: (&str, &str), body: &[u8]) -> Answer {
        let request = self.agent.post(self.url(path)).header(header.0, header.1);
        Self::answer(request.send(body))
    }

    /// A request with headers of its own. A GET has no body.
    pub fn with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match method {
            "GET" => Self::answer(self.agent.run(request.body(()).unwrap())),
            _ => Self::answer(self.agent.run(request.body(body).unwrap())),
        }
    }

    /// Pushes a model, which must be accepted.
    pub fn push(&self, model: &TestModel) -> Digest {
        let component = component(model);
        let digest = Digest::of(&component);
        let answer = self.put(&format!("/v1/modules/{digest}"), &component);
        assert!(matches!(answer.status, 200 | 201), "{}", answer.json());
        digest
    }

    pub fn alias(&self, name: &str, version: &str, digest: Digest) -> Answer {
        let body = json!({ "digest": digest }).to_string();
        self.put(&format!("/v1/models/{name}/versions/{version}"), body.as_bytes())
    }

    pub fn infer(&self, model: impl std::fmt::Display, request: &Value) -> Answer {
        self.post(&format!("/v2/models/{model}/infer"), request.to_string().as_bytes())
    }

    /// An inference with a JSON part and binary data.
    pub fn infer_binary(
        &self,
        model: impl std::fmt::Display,
        request: &Value,
        data: &[u8],
    ) -> Answer {
        let mut body = request.to_string().into_bytes();
        let length = body.len().to_string();
        body.extend_from_slice(data);
        self.post_with(&format!("/v2/models/{model}/infer"), (HEADER_LENGTH, &length), &body)
    }
}

pub fn component(model: &TestModel) -> Vec<u8> {
    model.component(&Sandbox::engine_claim())
}

/// A host with a temporary store.
pub fn start() -> (Running, Client) {
    start_with(FogConfig { workers: 2, ..FogConfig::default() })
}

pub fn start_with(config: FogConfig) -> (Running, Client) {
    let host = Running::start(config).unwrap();
    let client = Client::new(&host);
    (host, client)
}

/// A request with one input in JSON.
pub fn request(data: Value) -> Value {
    json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": data }] })
}

/// The bytes of four elements.
pub fn bytes(values: [f32; 4]) -> Vec<u8> {
    Tensor::from_f32(&[1, 4], &values).data
}
