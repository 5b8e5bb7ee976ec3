//! A fog host on a thread of its own, for programs that are not asynchronous.

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::{BindError, FogConfig, FogHost, runtime};

/// A serving fog host. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    grpc_address: Option<SocketAddr>,
    end: Option<oneshot::Sender<End>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
enum End {
    Finish,
    Kill,
}

impl Running {
    /// Starts a host and returns when it listens. Not to be called from
    /// asynchronous code, which has [`FogHost`] itself.
    pub fn start(config: FogConfig) -> Result<Self, BindError> {
        let runtime = runtime(Some(2)).map_err(BindError::Workers)?;
        let host = runtime.block_on(FogHost::bind(config))?;
        let (address, grpc_address) = (host.local_addr(), host.grpc_addr());
        let (end, ended) = oneshot::channel();
        let serve = move || {
            let result = runtime.block_on(serve(host, ended));
            // Closes the connections that are left.
            runtime.shutdown_background();
            result
        };
        let thread = thread::Builder::new().name("leeway-fog-host".into()).spawn(serve);
        let thread = Some(thread.map_err(BindError::Workers)?);
        Ok(Self { address, grpc_address, end: Some(end), thread })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address that it listens on for gRPC, if it does.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc_address
    }

    /// Its URL, as devices and other clients want it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops accepting, finishes the accepted requests, and ends.
    pub fn shutdown(mut self) -> io::Result<()> {
        self.end(End::Finish)
    }

    /// Ends at once, like a host that loses its power: requests are left
    /// without an answer.
    pub fn kill(mut self) {
        // What serving ended with is of no interest any more.
        let _ = self.end(End::Kill);
    }

    fn end(&mut self, how: End) -> io::Result<()> {
        if let Some(end) = self.end.take() {
            // It may have ended by itself.
            let _ = end.send(how);
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the fog host panicked")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // As in `kill`.
        let _ = self.end(End::Kill);
    }
}

async fn serve(host: FogHost, ended: oneshot::Receiver<End>) -> io::Result<()> {
    let (finish, finished) = oneshot::channel();
    let shutdown = async {
        if finished.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let mut serving = std::pin::pin!(host.serve(shutdown));
    tokio::select! {
        result = &mut serving => result,
        end = ended => match end {
            Ok(End::Finish) => {
                // The receiver is polled below.
                let _ = finish.send(());
                serving.await
            }
            Ok(End::Kill) | Err(_) => Ok(()),
        },
    }
}
