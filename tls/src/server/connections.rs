//! Connections: accepted as far as there is room for them, with TLS or without, and served
//! over HTTP/1.1 or HTTP/2 until they end, are too slow, or the server ends.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service as _;

use super::accept::{Tls, shown};
use super::pace::{Paced, UnderWay};

/// The requests that one HTTP/2 connection may have under way.
const STREAMS: u32 = 128;
/// What a TLS connection begins with (RFC 8446, 5.1): the type of a handshake's record.
const HANDSHAKE_RECORD: u8 = 22;
/// What somebody is told who speaks HTTP without TLS.
const PLAIN: &str = "{\"error\":\"this port speaks TLS: wanted https://\"}";

/// What connections may take of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How many there may be at once. More wait to be accepted.
    pub most: usize,
    /// The longest that one may idle.
    pub idle_time: Duration,
    /// The longest that a handshake may take, and then each request's head from its first
    /// byte on.
    pub head_time: Duration,
}

/// What serves connections.
#[derive(Clone, Debug)]
pub struct Connections {
    /// The routes.
    pub router: Router,
    /// What connections may take.
    pub limits: ConnectionLimits,
}

impl Connections {
    /// Serves TCP until `shutdown` is done, and then until all accepted requests are
    /// answered. `open` is given each connection: it returns the stream to read, and what
    /// makes of the certificate that was shown, if one was, what marks each request.
    pub async fn serve_tcp<S, F, M>(
        self,
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        open: impl Fn(TcpStream, SocketAddr) -> (S, F) + Clone + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(Option<&CertificateDer<'static>>) -> M + Send + 'static,
        M: Fn(&mut Extensions) + Send + 'static,
    {
        let this = self.clone();
        let serve = move |stream, address, watcher| {
            let (this, tls, open) = (this.clone(), tls.clone(), open.clone());
            async move {
                if let Err(error) = this.serve_one(stream, address, tls, open, watcher).await {
                    tracing::debug!(%address, %error, "a connection ended");
                }
            }
        };
        self.accept(listener, serve, shutdown).await;
    }

    /// Serves a Unix socket, likewise.
    pub async fn serve_unix(self, listener: UnixListener, shutdown: impl Future<Output = ()>) {
        let this = self.clone();
        let serve = move |stream: UnixStream, _, watcher| {
            let this = this.clone();
            async move {
                if let Err(error) = this.serve_stream(stream, |_| {}, watcher).await {
                    tracing::debug!(%error, "a local connection ended");
                }
            }
        };
        self.accept(listener, serve, shutdown).await;
    }

    async fn accept<L, C>(
        &self,
        mut listener: L,
        serve: impl Fn(L::Io, L::Addr, Watcher) -> C,
        shutdown: impl Future<Output = ()>,
    ) where
        L: Listener,
        C: Future<Output = ()> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(self.limits.most));
        let accept_all = async {
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                let (stream, address) = listener.accept().await;
                tokio::spawn(hold(permit, serve(stream, address, graceful.watcher())));
            }
        };
        tokio::select! {
            () = accept_all => {}
            () = shutdown => {}
        }
        drop(listener);
        graceful.shutdown().await;
    }

    async fn serve_one<S, F, M>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        open: impl Fn(TcpStream, SocketAddr) -> (S, F),
        watcher: Watcher,
    ) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(Option<&CertificateDer<'static>>) -> M,
        M: Fn(&mut Extensions) + Send + 'static,
    {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let Some(tls) = tls else {
            let (stream, known) = open(stream, address);
            return self.serve_stream(stream, known(None), watcher).await;
        };
        let shake_hands = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
                refuse_plain(stream).await?;
                return Err("it had no TLS".into());
            }
            let (stream, known) = open(stream, address);
            Ok::<_, Box<dyn Error + Send + Sync>>((tls.accept(stream).await?, known))
        };
        let (stream, known) = tokio::time::timeout(self.limits.head_time, shake_hands).await??;
        let mark = known(shown(&stream));
        self.serve_stream(stream, mark, watcher).await
    }

    async fn serve_stream<S, M>(
        &self,
        stream: S,
        mark: M,
        watcher: Watcher,
    ) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        M: Fn(&mut Extensions) + Send + 'static,
    {
        let ConnectionLimits { idle_time, head_time, .. } = self.limits;
        let (router, under_way) = (self.router.clone(), UnderWay::default());
        let stream = Paced::new(stream, under_way.clone(), head_time);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            mark(request.extensions_mut());
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
            .header_read_timeout(idle_time)
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(idle_time)
            .keep_alive_timeout(idle_time);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        watcher.watch(connection).await
    }
}

/// A connection has its permit until it ends.
async fn hold(permit: OwnedSemaphorePermit, connection: impl Future<Output = ()>) {
    connection.await;
    drop(permit);
}

/// Reads what came first: a socket that is closed over it takes the answer along.
async fn refuse_plain(mut stream: TcpStream) -> std::io::Result<()> {
    let length = PLAIN.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{PLAIN}"
    );
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
