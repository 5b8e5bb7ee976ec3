//! The model repository extension: the index, loading and unloading.

use serde::{Deserialize, Serialize};

use super::{ProtocolError, wrong};

/// What the index is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct IndexRequest {
    /// Only models that can be asked to infer.
    #[serde(default)]
    pub ready: bool,
}

/// A version of a model in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// Whether it can be asked to infer.
    pub state: ModelState,
    /// Why it is in this state, or nothing.
    pub reason: String,
}

/// Whether a model can be asked to infer, by Triton's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ModelState {
    /// It can.
    Ready,
    /// It cannot.
    Unavailable,
}

impl ModelState {
    /// Triton's name.
    pub fn name(self) -> &'static str {
        match self {
            ModelState::Ready => "READY",
            ModelState::Unavailable => "UNAVAILABLE",
        }
    }
}

/// The body of a request to load or unload a model.
#[derive(Debug, Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: Option<serde_json::Map<String, serde_json::Value>>,
}

impl IndexRequest {
    /// Decodes a body, which may be empty.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        decode(body, "index request")
    }
}

/// Checks the body of a request to load a model: nothing of a model here can be set
/// when loading, so a parameter is refused.
pub fn check_load(body: &[u8]) -> Result<(), ProtocolError> {
    let request: LoadRequest = decode(body, "load request")?;
    match request.parameters.unwrap_or_default().keys().next() {
        None => Ok(()),
        Some(name) => Err(no_parameter(name)),
    }
}

/// The refusal of a parameter of a request to load a model.
pub(crate) fn no_parameter(name: &str) -> ProtocolError {
    let why = "a module here is as it was built, nothing can be set";
    wrong(format!("the parameter {name:?}: {why}"))
}

/// Checks the body of a request to unload a model. No model here has dependents.
pub fn check_unload(body: &[u8]) -> Result<(), ProtocolError> {
    decode::<LoadRequest>(body, "unload request").map(drop)
}

fn decode<'de, T: Default + Deserialize<'de>>(
    body: &'de [u8],
    what: &str,
) -> Result<T, ProtocolError> {
    match body.trim_ascii().first() {
        None => return Ok(T::default()),
        Some(b'{') => {}
        // serde would take an array for the object's values in their order.
        Some(_) => return Err(wrong(format!("not a valid {what}: it is no object"))),
    }
    serde_json::from_slice(body).map_err(|error| wrong(format!("not a valid {what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_may_be_empty_and_parameters_are_not_ignored() {
        assert_eq!(IndexRequest::decode(b""), Ok(IndexRequest { ready: false }));
        assert_eq!(IndexRequest::decode(b"{\"ready\": true}"), Ok(IndexRequest { ready: true }));
        assert!(IndexRequest::decode(b"[").is_err());
        assert_eq!(check_load(b" \n"), Ok(()));
        assert_eq!(check_load(b"{\"parameters\": {}}"), Ok(()));
        assert!(check_unload(b"[]").is_err() && check_load(b"[{}]").is_err());
        let error = check_load(br#"{"parameters": {"config": "{}"}}"#).unwrap_err().to_string();
        assert!(error.contains("config"), "{error}");
        assert_eq!(check_unload(br#"{"parameters": {"unload_dependents": true}}"#), Ok(()));
    }
}
