//! The TCP socket, for those who are not on the device: with TLS, or without on the
//! device itself, and for nobody whom the agent does not know.

use std::sync::Arc;

use axum::Router;
use http::Extensions;
use leeway_tls::server::{ConnectionLimits, Connections, Tls};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;

mod config;
mod door;

pub use config::{TcpConfig, TcpError};
pub(crate) use door::Door;
use door::Shown;

/// Who is let in, and by which certificate the device is known: both may be read again
/// while it listens.
#[derive(Debug)]
pub(crate) struct Tcp {
    door: Arc<Door>,
    tls: Option<Arc<Tls>>,
    limits: ConnectionLimits,
}

impl Tcp {
    /// By these settings, whose files are read now.
    pub(crate) fn new(config: &TcpConfig) -> Result<Self, TcpError> {
        let tls = config.tls()?.map(|settings| Arc::new(Tls::new(settings)));
        let (door, limits) = (Arc::new(Door::new(config.keys()?)), config.limits());
        Ok(Self { door, tls, limits })
    }

    /// Who is let in.
    pub(crate) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Reads the files again, by new settings. What is wrong leaves all that was; the
    /// address, and whether there is TLS, stay as they are.
    pub(crate) fn reload(&self, config: &TcpConfig) -> Result<(), TcpError> {
        let (keys, settings) = (config.keys()?, config.tls()?);
        match (&self.tls, settings) {
            (Some(tls), Some(settings)) => tls.replace(settings),
            (None, None) => {}
            _ => return Err(TcpError::Restart),
        }
        self.door.replace(keys);
        Ok(())
    }

    /// Serves until `ended` is done.
    pub(crate) async fn serve(
        &self,
        listener: TcpListener,
        router: Router,
        ended: impl Future<Output = ()>,
    ) {
        let open = |stream, _| {
            let known = |shown: Option<&CertificateDer<'static>>| {
                let shown = shown.map(|certificate| Shown(Arc::new(certificate.clone())));
                move |extensions: &mut Extensions| {
                    if let Some(shown) = shown.clone() {
                        extensions.insert(shown);
                    }
                }
            };
            (stream, known)
        };
        let connections = Connections { router, limits: self.limits };
        connections.serve_tcp(listener, self.tls.clone(), open, ended).await;
    }
}
