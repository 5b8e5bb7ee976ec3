//! The server's end: its files, and who has connected.

mod accept;
mod files;
mod known;
mod listener;

pub use accept::{Tls, shown};
pub use files::{ClientCertificate, TlsFiles};
pub use known::{KnownClient, ParseKnownClientError};
pub use listener::{Peer, TlsListener};
