//! Connections: accepted, with TLS or without, and served over HTTP/1.1 or HTTP/2
//! until they end or the host does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use leeway_contract::Digest;
use leeway_tls::server::{Tls, shown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service as _;

use crate::access::Peer;
use crate::pace::{Paced, UnderWay};
use crate::stamp::{Stamp, Stamped};

/// How long to wait after the system has no room for another connection.
const NO_ROOM_TIME: Duration = Duration::from_millis(100);
/// The requests that one HTTP/2 connection may have under way.
const STREAMS: u32 = 128;

/// How connections are served.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<Tls>>,
    /// The connections that there may be at once. More wait to be accepted.
    pub(crate) most: usize,
    /// The longest that a connection may idle.
    pub(crate) idle_time: Duration,
    /// The longest that a request's head may take from its first byte on.
    pub(crate) head_time: Duration,
}

impl Connections {
    /// Serves until `shutdown` is done, and then until all accepted requests are
    /// answered.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(self.most));
        let this = Arc::new(self);
        let accept_all = async {
            loop {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
                match listener.accept().await {
                    Ok((stream, address)) => {
                        let connection =
                            Arc::clone(&this).serve_one(stream, address, graceful.watcher());
                        tokio::spawn(hold(permit, connection));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(NO_ROOM_TIME).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept_all => {}
            () = shutdown => {}
        }
        drop(listener);
        graceful.shutdown().await;
    }

    async fn serve_one(self: Arc<Self>, stream: TcpStream, address: SocketAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let stream = Stamped::new(stream);
        let stamp = stream.stamp();
        let result = match &self.tls {
            None => {
                let peer = Peer { address, certificate: None };
                self.serve_stream(stream, peer, stamp, watcher).await
            }
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => {
                    let certificate = shown(&stream).map(|der| Digest::of(der));
                    let peer = Peer { address, certificate };
                    self.serve_stream(stream, peer, stamp, watcher).await
                }
                Err(error) => Err(error.into()),
            },
        };
        if let Err(error) = result {
            tracing::debug!(%address, %error, "a connection ended");
        }
    }

    async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        peer: Peer,
        stamp: Stamp,
        watcher: Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (router, under_way) = (self.router.clone(), UnderWay::default());
        let stream = Paced::new(stream, under_way.clone(), self.head_time);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(stamp.arrival());
            under_way.begin();
            let (answer, under_way) = (router.clone().call(request), under_way.clone());
            async move {
                let answer = answer.await;
                under_way.end();
                answer
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.idle_time)
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(self.idle_time)
            .keep_alive_timeout(self.idle_time);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        watcher.watch(connection).await
    }
}

/// A connection has its permit until it ends.
async fn hold(permit: OwnedSemaphorePermit, connection: impl Future<Output = ()>) {
    connection.await;
    drop(permit);
}
