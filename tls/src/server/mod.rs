//! The server's end: its files, its connections, and who has connected.

mod accept;
mod connections;
mod files;
mod known;
mod pace;

pub use accept::{Tls, shown};
pub use connections::{ConnectionLimits, Connections};
pub use files::{ClientCertificate, TlsFiles};
pub use known::{KnownClient, ParseKnownClientError};
