//! Whom the device believes: which modules may become active, by signature.
//!
//! - [`key`]: key pairs, in files that openssl reads and writes too.
//! - [`statement`]: what is signed, and how it is wrapped.
//! - [`Trust`]: the rules, and the check.
//!
//! The check reads no clock: a device may believe that it is 1970. The least that
//! the time can be is the newest time in a statement that was accepted, and keys
//! expire by that and by the time in the statement itself. What was current once is
//! kept from coming back by a counter that only grows, for each model.

use std::collections::BTreeSet;
use std::fmt;

use ed25519_dalek::Signature;
use leeway_contract::Digest;

pub mod key;
pub mod statement;

pub use key::{KeyError, KeyId, PublicKey, SecretKey};
pub use statement::{Envelope, EnvelopeError, Statement};

/// A key that the device believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// What its owner calls it.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// From when on it is not believed any more, in seconds since 1970.
    pub expires: Option<u64>,
}

/// The rules by which modules are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The keys.
    pub keys: Vec<TrustedKey>,
    /// Keys that are believed no more, whatever else is said.
    pub revoked_keys: BTreeSet<KeyId>,
    /// Modules that are not taken, whoever has signed them.
    pub revoked_modules: BTreeSet<Digest>,
    /// How many different keys must have signed.
    pub threshold: usize,
    /// Whether modules without any signature are taken.
    pub allow_unsigned: bool,
}

impl Default for Trust {
    /// No keys: nothing is taken.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            revoked_keys: BTreeSet::new(),
            revoked_modules: BTreeSet::new(),
            threshold: 1,
            allow_unsigned: false,
        }
    }
}

/// What the check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The module.
    pub digest: Digest,
    /// Of its certificate's bytes.
    pub certificate: Digest,
    /// The model's name by that certificate.
    pub model: &'a str,
    /// Its version by that certificate.
    pub version: &'a str,
}

/// What the device remembers of earlier checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newest time in a statement that was accepted.
    pub newest_signature: u64,
    /// The highest counter of this model that was active.
    pub highest_counter: u64,
    /// Whether an operator has allowed a lower counter this time.
    pub allow_older: bool,
}

/// A module that is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The statement's counter; `None` where it is not signed.
    pub counter: Option<u64>,
    /// When it was signed, by the signer's clock; 0 where it is not.
    pub signed_at: u64,
    /// The keys that count.
    pub signed_by: Vec<KeyId>,
}

/// Why a module is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// No signature.
    #[error("the module is not signed, and this device takes signed ones only: `leeway sign` it")]
    Unsigned,
    /// The signature's file is none.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The module was revoked.
    #[error("the module {0} was revoked on this device")]
    RevokedModule(Digest),
    /// A claim of the statement is not true of the module.
    #[error("the signature is for another {claim}: signed {signed}, seen {seen}")]
    OtherSubject {
        /// Which claim.
        claim: &'static str,
        /// In the statement.
        signed: String,
        /// Of the module.
        seen: String,
    },
    /// Too few keys that are believed have signed.
    #[error(
        "{wanted} trusted key(s) must have signed, seen {seen}{}; trusted here: {}",
        Notes(notes),
        Names(trusted)
    )]
    Keys {
        /// How many must.
        wanted: usize,
        /// How many have.
        seen: usize,
        /// Of each signature that does not count, why.
        notes: Vec<String>,
        /// The keys that are believed.
        trusted: Vec<KeyId>,
    },
    /// An older release than one that was active.
    #[error(
        "release {seen} of {model:?} is older than release {highest}, which was active here: an \
         operator can allow it once (--allow-older)"
    )]
    Older {
        /// The model.
        model: String,
        /// The highest counter that was active.
        highest: u64,
        /// The counter in the statement.
        seen: u64,
    },
}

struct Notes<'a>(&'a [String]);

impl fmt::Display for Notes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

struct Names<'a>(&'a [KeyId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no key");
        }
        let ids: Vec<String> = self.0.iter().map(KeyId::to_string).collect();
        f.write_str(&ids.join(", "))
    }
}

impl Trust {
    /// Whether a module may become active.
    ///
    /// # Errors
    /// The first rule that it breaks, with what was wanted and what was seen.
    pub fn check(
        &self,
        subject: &Subject<'_>,
        envelope: Option<&[u8]>,
        memory: &Memory,
    ) -> Result<Accepted, TrustError> {
        if self.revoked_modules.contains(&subject.digest) {
            return Err(TrustError::RevokedModule(subject.digest));
        }
        let Some(envelope) = envelope else {
            return match self.allow_unsigned {
                true => Ok(Accepted::default()),
                false => Err(TrustError::Unsigned),
            };
        };
        let envelope = Envelope::parse(envelope)?;
        let signers = self.signers(&envelope, memory)?;
        let statement = &envelope.statement;
        statement.check(subject)?;
        if statement.counter < memory.highest_counter && !memory.allow_older {
            return Err(TrustError::Older {
                model: subject.model.to_owned(),
                highest: memory.highest_counter,
                seen: statement.counter,
            });
        }
        Ok(Accepted {
            counter: Some(statement.counter),
            signed_at: statement.signed_at,
            signed_by: signers,
        })
    }

    /// The keys whose signatures count, which must be enough.
    fn signers(&self, envelope: &Envelope, memory: &Memory) -> Result<Vec<KeyId>, TrustError> {
        let now = memory.newest_signature.max(envelope.statement.signed_at);
        let (mut signers, mut notes) = (BTreeSet::new(), Vec::new());
        for (id, signature) in &envelope.signatures {
            match self.counts(envelope, id, signature, now) {
                Ok(id) => {
                    signers.insert(id);
                }
                Err(note) => notes.push(note),
            }
        }
        let (wanted, seen) = (self.threshold.max(1), signers.len());
        if seen < wanted {
            let trusted = self.keys.iter().map(|key| key.key.id()).collect();
            return Err(TrustError::Keys { wanted, seen, notes, trusted });
        }
        Ok(signers.into_iter().collect())
    }

    /// Whether one signature counts; why not, where it does not.
    fn counts(
        &self,
        envelope: &Envelope,
        id: &KeyId,
        signature: &Signature,
        now: u64,
    ) -> Result<KeyId, String> {
        let Some(trusted) = self.keys.iter().find(|trusted| trusted.key.id() == *id) else {
            return Err(format!("the key {id} is a stranger"));
        };
        let name = &trusted.name;
        if self.revoked_keys.contains(id) {
            return Err(format!("the key {id} ({name}) was revoked"));
        }
        if let Some(expires) = trusted.expires.filter(|&expires| now >= expires) {
            return Err(format!(
                "the key {id} ({name}) expired at {expires}, it is {now} or later"
            ));
        }
        match trusted.key.verifies(&envelope.signed_bytes(), signature) {
            true => Ok(*id),
            false => Err(format!("the signature by the key {id} ({name}) is wrong")),
        }
    }
}

#[cfg(test)]
mod tests;
