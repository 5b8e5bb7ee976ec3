//! The relay as its user sees it: started and stopped, taken down and up again,
//! counted.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::connection;
use super::gate::{Gate, sharpen_timers};
use super::model::{Delivery, Direction, LinkModel};
use super::profile::LinkProfile;

/// An emulated link to one address. Connections to [`Link::addr`] come out at
/// that address, as late as the link's profile says. Ends when dropped.
///
/// The relay's threads run where the thread that started it may run: start it
/// before that thread is pinned to the device's core. They sleep until a
/// delivery is due and never spin.
///
/// A caller's `connect` returns at once, as the kernel accepts for the relay;
/// the round trip of the establishment is paid by the first bytes.
pub struct Link {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What went over a link so far. In each pair up, from the device, comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Connections that were opened.
    pub connections: u64,
    /// Of these, those that the target did not accept.
    pub refused: u64,
    /// Bytes of payload.
    pub bytes: [u64; 2],
    /// Segments, without those that were sent again.
    pub segments: [u64; 2],
    /// Losses; a segment can be lost several times.
    pub losses: [u64; 2],
}

impl Link {
    /// Starts a relay from a loopback port of its own to `target`. The seed
    /// decides jitter, losses and outages; time counts from here.
    ///
    /// Fails when there is no port or no thread to be had.
    pub fn start(profile: LinkProfile, seed: u64, target: SocketAddr) -> io::Result<Link> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(LinkModel::new(profile, seed), target));
        let acceptor = thread::Builder::new().name("link".into()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        })?;
        Ok(Link { addr, shared, acceptor: Some(acceptor) })
    }

    /// Where the device connects to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The figures of the link.
    pub fn profile(&self) -> LinkProfile {
        self.shared.model().profile().clone()
    }

    /// What went over the link so far.
    pub fn stats(&self) -> LinkStats {
        self.shared.stats()
    }

    /// Takes the link down, or brings it up again. While it is down nothing
    /// passes, not even what is under way; everything waits, new connections too.
    pub fn set_down(&self, down: bool) {
        self.shared.gate.set_down(down);
    }

    /// Closes all connections and waits for the relay's threads.
    pub fn shutdown(mut self) -> LinkStats {
        self.stop();
        self.stats()
    }

    fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.close();
        // The acceptor sees that the link is closed at its next connection.
        let woken = TcpStream::connect(self.addr).is_ok();
        if woken && acceptor.join().is_err() {
            tracing::error!(addr = %self.addr, "the link's acceptor panicked");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Accepts until the link is closed, then waits for the connections.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    sharpen_timers();
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.gate.is_closed() {
            break;
        }
        let carried = stream.and_then(|stream| {
            let shared = Arc::clone(shared);
            let carry = move || connection::carry(&shared, stream);
            thread::Builder::new().name("link-connection".into()).spawn(carry)
        });
        match carried {
            Ok(handle) => {
                shared.counters.connections.fetch_add(1, Ordering::Relaxed);
                connections.retain(|c| !c.is_finished());
                connections.push(handle);
            }
            Err(error) => tracing::warn!(%error, "a connection over the link was not accepted"),
        }
    }
    for connection in connections {
        // Its panic has been reported by the panic hook.
        let _ = connection.join();
    }
}

/// What all threads of a link share.
pub(super) struct Shared {
    pub(super) target: SocketAddr,
    pub(super) gate: Gate,
    model: Mutex<LinkModel>,
    counters: Counters,
    /// Both sockets of each open connection.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    refused: AtomicU64,
    registered: AtomicU64,
    bytes: [AtomicU64; 2],
    segments: [AtomicU64; 2],
    losses: [AtomicU64; 2],
}

impl Shared {
    fn new(model: LinkModel, target: SocketAddr) -> Self {
        Self {
            target,
            gate: Gate::new(),
            model: Mutex::new(model),
            counters: Counters::default(),
            open: Mutex::default(),
        }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, LinkModel> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, [TcpStream; 2]>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection among those that a shutdown closes, until the result
    /// is dropped. Fails when the shutdown has come before.
    pub(super) fn register(
        &self,
        device: &TcpStream,
        fog: &TcpStream,
    ) -> io::Result<Registered<'_>> {
        let sockets = [device.try_clone()?, fog.try_clone()?];
        let id = self.counters.registered.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, sockets);
        let registered = Registered { shared: self, id };
        match self.gate.is_closed() {
            true => Err(io::ErrorKind::NotConnected.into()),
            false => Ok(registered),
        }
    }

    pub(super) fn count_refused(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, direction: Direction, deliveries: &[Delivery]) {
        let add = |counters: &[AtomicU64; 2], n: u64| {
            counters[direction.index()].fetch_add(n, Ordering::Relaxed);
        };
        add(&self.counters.bytes, deliveries.iter().map(|d| d.bytes as u64).sum());
        add(&self.counters.segments, deliveries.len() as u64);
        add(&self.counters.losses, deliveries.iter().map(|d| u64::from(d.losses)).sum());
    }

    fn stats(&self) -> LinkStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let pair = |counters: &[AtomicU64; 2]| [get(&counters[0]), get(&counters[1])];
        LinkStats {
            connections: get(&self.counters.connections),
            refused: get(&self.counters.refused),
            bytes: pair(&self.counters.bytes),
            segments: pair(&self.counters.segments),
            losses: pair(&self.counters.losses),
        }
    }

    fn close(&self) {
        self.gate.close();
        for socket in self.open().values().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A connection's place among the open ones.
pub(super) struct Registered<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.open().remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
