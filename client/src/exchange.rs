//! One request and its response.

use http::{Method, Request, Response, request};
use leeway_protocol::client::error_message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::{AsSendBody, Body};

use super::{Client, ClientError};

const JSON: &str = "application/json";

impl Client {
    pub(crate) fn builder(&self, method: Method, path: &str) -> request::Builder {
        let builder = Request::builder().method(method).uri(format!("{}{path}", self.base));
        match &self.authorization {
            Some(authorization) => builder.header("authorization", authorization),
            None => builder,
        }
    }

    /// Sends a request; what is no success is an error.
    pub(crate) fn exchange(
        &self,
        builder: request::Builder,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, ClientError> {
        let request = builder.body(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(Box::new)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(Box::new)?;
        Err(ClientError::Status { status, message: error_message(text.as_bytes()) })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        json(self.exchange(self.builder(Method::GET, path), ())?)
    }

    /// Sends a message; the response may come piece by piece.
    pub(crate) fn send_json(
        &self,
        method: Method,
        path: &str,
        message: &impl Serialize,
    ) -> Result<Response<Body>, ClientError> {
        let text = serde_json::to_vec(message).expect("a message has only string keys");
        let builder = self.builder(method, path).header("content-type", JSON);
        self.exchange(builder, &text[..])
    }

    /// Sends a text or nothing.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: impl AsSendBody,
    ) -> Result<T, ClientError> {
        json(self.exchange(self.builder(method, path), body)?)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        message: &impl Serialize,
    ) -> Result<T, ClientError> {
        json(self.send_json(Method::POST, path, message)?)
    }
}

fn json<T: DeserializeOwned>(mut response: Response<Body>) -> Result<T, ClientError> {
    let text = response.body_mut().read_to_string().map_err(Box::new)?;
    serde_json::from_str(&text).map_err(|error| ClientError::Answer(error.to_string()))
}
