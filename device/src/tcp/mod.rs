//! The TCP socket, for those who are not on the device: with TLS, or without on the
//! device itself, and for nobody whom the agent does not know.

use std::io;
use std::sync::Arc;

use axum::Router;
use leeway_tls::server::{Peer, Tls, TlsListener};
use tokio::net::TcpListener;

mod config;
mod door;

pub use config::{TcpConfig, TcpError};
pub(crate) use door::Door;

/// Who is let in, and by which certificate the device is known: both may be read again
/// while it listens.
#[derive(Debug)]
pub(crate) struct Tcp {
    door: Arc<Door>,
    tls: Option<Arc<Tls>>,
}

impl Tcp {
    /// By these settings, whose files are read now.
    pub(crate) fn new(config: &TcpConfig) -> Result<Self, TcpError> {
        let tls = config.tls()?.map(|settings| Arc::new(Tls::new(settings)));
        Ok(Self { door: Arc::new(Door::new(config.keys()?)), tls })
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
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        match &self.tls {
            None => axum::serve(listener, router).with_graceful_shutdown(ended).await,
            Some(tls) => {
                let listener = TlsListener::new(listener, Arc::clone(tls));
                let service = router.into_make_service_with_connect_info::<Peer>();
                axum::serve(listener, service).with_graceful_shutdown(ended).await
            }
        }
    }
}
