//! A listener for axum whose connections have TLS, and tell who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::accept::{HANDSHAKE_TIME, Tls, shown};

/// The handshakes that may be under way. More connections wait to be accepted.
const HANDSHAKES: usize = 64;
/// How long to wait after the system has no room for another connection.
const NO_ROOM_TIME: Duration = Duration::from_millis(100);
/// What a TLS connection begins with (RFC 8446, 5.1): the type of a handshake's record.
const HANDSHAKE_RECORD: u8 = 22;
/// What somebody is told who speaks HTTP without TLS.
const PLAIN: &str = "{\"error\":\"this port speaks TLS: wanted https://\"}";

/// Who has connected.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Its certificate, if it has shown a valid one by an authority that is believed.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}

/// Accepts connections and shakes hands, with many at a time: none waits for another.
#[derive(Debug)]
pub struct TlsListener {
    listener: TcpListener,
    tls: Arc<Tls>,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, Peer)>>,
}

impl TlsListener {
    /// Connections of a listener, with TLS.
    pub fn new(listener: TcpListener, tls: Arc<Tls>) -> Self {
        Self { listener, tls, handshakes: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        loop {
            let room = self.handshakes.len() < HANDSHAKES;
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, address)) => {
                        self.handshakes.spawn(begin(Arc::clone(&self.tls), stream, address));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(NO_ROOM_TIME).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let address = self.listener.local_addr()?;
        Ok(Peer { address, certificate: None })
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// The beginning of one connection. What is wrong with it is nobody else's trouble.
async fn begin(
    tls: Arc<Tls>,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE_TIME, stream.peek(&mut first)).await;
    if matches!(peeked, Ok(Ok(1))) && first[0] != HANDSHAKE_RECORD {
        tracing::debug!(%address, "a connection without TLS");
        tokio::time::timeout(HANDSHAKE_TIME, refuse_plain(stream)).await.ok();
        return None;
    }
    match tls.accept(stream).await {
        Ok(stream) => {
            let certificate = shown(&stream).cloned().map(Arc::new);
            Some((stream, Peer { address, certificate }))
        }
        Err(error) => {
            tracing::debug!(%address, %error, "a handshake failed");
            None
        }
    }
}

/// Reads what came first: a socket that is closed over it takes the answer along.
async fn refuse_plain(mut stream: TcpStream) {
    let length = PLAIN.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{PLAIN}"
    );
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer).await.is_ok() && stream.write_all(answer.as_bytes()).await.is_ok() {
        stream.shutdown().await.ok();
    }
}
