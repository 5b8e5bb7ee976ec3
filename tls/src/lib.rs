//! TLS as the agent, the fog host and their clients use it. No engine, and no
//! provider of cryptography but ring.
//!
//! | feature  | subject                                                               |
//! |----------|-----------------------------------------------------------------------|
//! | `server` | a server's files, read again while it serves; its connections, within limits; who has connected |
//! | `client` | what a client shows, and wants to be shown: authority, certificate, token |

#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "server"))]
mod files;
#[cfg(feature = "server")]
pub mod server;

#[cfg(any(feature = "client", feature = "server"))]
pub use files::TlsError;
