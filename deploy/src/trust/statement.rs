//! What is signed of a module, and the envelope with the signatures: DSSE
//! (<https://github.com/secure-systems-lab/dsse>), which in-toto and sigstore use.
//! The signature is in a file of its own, so that a module's bytes, and with them
//! its digest, do not depend on who has signed it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signature;
use leeway_contract::{Certificate, Digest};
use serde::{Deserialize, Serialize};

use super::{KeyId, SecretKey, Subject, TrustError};

/// The version of the statement's format.
const FORMAT: u32 = 1;

/// The type of what is signed.
const PAYLOAD_TYPE: &str = "application/vnd.leeway.release.v1+json";

/// The longest envelope that is read: far more than hundreds of signatures.
const MOST_BYTES: usize = 256 << 10;

/// What a signer says of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The version of this format.
    format: u32,
    /// The module.
    pub digest: Digest,
    /// Of the certificate's bytes in it: who has only the certificate can tell
    /// what it promises.
    pub certificate: Digest,
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Grows from release to release of a model.
    pub counter: u64,
    /// When it was signed, in seconds since 1970.
    pub signed_at: u64,
}

impl Statement {
    /// The statement about a module with this certificate, which stands in the
    /// module as `certificate_json`.
    pub fn new(
        digest: Digest,
        certificate: &Certificate,
        certificate_json: &[u8],
        counter: u64,
        signed_at: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            digest,
            certificate: Digest::of(certificate_json),
            model: certificate.model.name.clone(),
            version: certificate.model.version.clone(),
            counter,
            signed_at,
        }
    }

    /// Whether it is about this module.
    pub(super) fn check(&self, subject: &Subject<'_>) -> Result<(), TrustError> {
        let claims = [
            ("module", self.digest.to_string(), subject.digest.to_string()),
            ("certificate", self.certificate.to_string(), subject.certificate.to_string()),
            ("model", self.model.clone(), subject.model.to_owned()),
            ("version", self.version.clone(), subject.version.to_owned()),
        ];
        match claims.into_iter().find(|(_, signed, seen)| signed != seen) {
            Some((claim, signed, seen)) => Err(TrustError::OtherSubject { claim, signed, seen }),
            None => Ok(()),
        }
    }
}

/// A text that is no envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signature of a release: {0}")]
pub struct EnvelopeError(String);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    payload_type: String,
    payload: String,
    signatures: Vec<JsonSignature>,
}

#[derive(Serialize, Deserialize)]
struct JsonSignature {
    keyid: KeyId,
    sig: String,
}

/// A statement with signatures.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// What is signed.
    pub statement: Statement,
    pub(super) payload: Vec<u8>,
    pub(super) signatures: Vec<(KeyId, Signature)>,
}

impl Envelope {
    /// An envelope without signatures.
    pub fn new(statement: Statement) -> Self {
        let payload = serde_json::to_vec(&statement).expect("a statement has only string keys");
        Self { statement, payload, signatures: Vec::new() }
    }

    /// Adds a signature.
    pub fn sign(&mut self, key: &SecretKey) {
        let signature = key.sign(&self.signed_bytes());
        let id = key.public().id();
        self.signatures.retain(|(other, _)| *other != id);
        self.signatures.push((id, signature));
    }

    /// Reads an envelope. Nothing in it is believed yet.
    pub fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        let error = |reason: String| EnvelopeError(reason);
        if text.len() > MOST_BYTES {
            return Err(error(format!("{} bytes, at most {MOST_BYTES} are read", text.len())));
        }
        let json: Json = serde_json::from_slice(text).map_err(|e| error(e.to_string()))?;
        if json.payload_type != PAYLOAD_TYPE {
            let seen = json.payload_type;
            return Err(error(format!("the payload is {seen:?}, wanted {PAYLOAD_TYPE:?}")));
        }
        let payload = decode(&json.payload)?;
        let statement: Statement =
            serde_json::from_slice(&payload).map_err(|e| error(e.to_string()))?;
        if statement.format != FORMAT {
            let seen = statement.format;
            return Err(error(format!("its format is {seen}, this program reads {FORMAT}")));
        }
        let mut signatures = Vec::with_capacity(json.signatures.len());
        for JsonSignature { keyid, sig } in json.signatures {
            let signature = Signature::from_slice(&decode(&sig)?)
                .map_err(|e| error(format!("the signature by {keyid}: {e}")))?;
            signatures.push((keyid, signature));
        }
        Ok(Self { statement, payload, signatures })
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let signature = |(keyid, signature): &(KeyId, Signature)| JsonSignature {
            keyid: *keyid,
            sig: STANDARD.encode(signature.to_bytes()),
        };
        let json = Json {
            payload_type: PAYLOAD_TYPE.into(),
            payload: STANDARD.encode(&self.payload),
            signatures: self.signatures.iter().map(signature).collect(),
        };
        serde_json::to_string_pretty(&json).expect("an envelope has only string keys")
    }

    /// The keys that have signed, by their own account.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().map(|(id, _)| *id)
    }

    /// DSSE's pre-authentication encoding: type and payload, each with its length.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        let (kind, payload) = (PAYLOAD_TYPE, &self.payload);
        let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// Puts the signatures of the same statement together. The newest release comes first.
pub fn merge(envelopes: impl IntoIterator<Item = Envelope>) -> Vec<Envelope> {
    let mut merged: Vec<Envelope> = Vec::new();
    for envelope in envelopes {
        match merged.iter_mut().find(|other| other.payload == envelope.payload) {
            Some(same) => {
                for signature in envelope.signatures {
                    if !same.signatures.contains(&signature) {
                        same.signatures.push(signature);
                    }
                }
            }
            None => merged.push(envelope),
        }
    }
    merged.sort_by_key(|envelope| std::cmp::Reverse(envelope.statement.counter));
    merged
}

fn decode(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|error| EnvelopeError(format!("base64: {error}")))
}
