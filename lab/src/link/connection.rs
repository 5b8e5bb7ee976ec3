//! One connection over the link: opened after a round trip, then two threads for
//! each direction, one that reads and asks the model, one that waits and writes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::model::{Direction, Flow};
use super::relay::Shared;

/// What one call reads at most.
const READ_BYTES: usize = 16 * 1024;
/// Pieces under way in one direction of one connection. With full reads that is
/// 1 MiB, more than any profile has between its ends: whoever sends faster than
/// the link waits, as at a full socket buffer.
const WINDOW_PIECES: usize = 64;
/// Segments of one read that arrive no further apart are written together.
const TOGETHER: Duration = Duration::from_micros(125);
/// How long the fog host may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What comes out of the far end of a direction, and when.
struct Arrival {
    at: Duration,
    event: Event,
}

enum Event {
    Bytes(Vec<u8>),
    /// The sender has nothing more to send.
    End,
    /// The sender has closed the connection by force.
    Reset,
}

/// Carries one connection from the device until both ends are done with it.
pub(super) fn carry(shared: &Shared, device: TcpStream) {
    let established = shared.model().connect(shared.gate.now());
    if shared.gate.pass_at(established).is_err() {
        return;
    }
    let opened = open(shared, &device).and_then(|fog| Ok((shared.register(&device, &fog)?, fog)));
    let Ok((_registered, fog)) = opened else {
        shared.count_refused();
        return reset_when_closed(&device);
    };
    let reset = AtomicBool::new(false);
    let carrier = Carrier { shared, reset: &reset };
    let (up_sender, up_receiver) = sync_channel(WINDOW_PIECES);
    let (down_sender, down_receiver) = sync_channel(WINDOW_PIECES);
    thread::scope(|scope| {
        scope.spawn(|| carrier.depart(Flow::new(Direction::Up), &device, up_sender));
        scope.spawn(|| carrier.arrive(up_receiver, &fog));
        scope.spawn(|| carrier.depart(Flow::new(Direction::Down), &fog, down_sender));
        carrier.arrive(down_receiver, &device);
    });
}

/// Connects to the fog host.
fn open(shared: &Shared, device: &TcpStream) -> io::Result<TcpStream> {
    let fog = TcpStream::connect_timeout(&shared.target, CONNECT_TIMEOUT)?;
    fog.set_nodelay(true)?;
    device.set_nodelay(true)?;
    Ok(fog)
}

/// Lets the peer see a reset, not an orderly end, when `stream` is dropped.
fn reset_when_closed(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// What the four threads of a connection have in common.
#[derive(Clone, Copy)]
struct Carrier<'a> {
    shared: &'a Shared,
    /// One end has reset the connection, and the other end has heard of it.
    reset: &'a AtomicBool,
}

impl Carrier<'_> {
    /// Reads what is sent and puts it under way.
    fn depart(self, mut flow: Flow, mut from: &TcpStream, under_way: SyncSender<Arrival>) {
        let shared = self.shared;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = from.read(&mut buffer);
            if shared.gate.pass().is_err() || self.reset.load(Ordering::Acquire) {
                return;
            }
            let (bytes, last) = match read {
                Ok(0) => (0, Some(Event::End)),
                Ok(n) => (n, None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => (0, Some(Event::Reset)),
            };
            let deliveries = shared.model().send(&mut flow, shared.gate.now(), bytes);
            shared.count_sent(flow.direction(), &deliveries);
            if let Some(event) = last {
                let _ = under_way.send(Arrival { at: deliveries[0].at, event });
                return;
            }
            let mut data = &buffer[..bytes];
            for piece in deliveries.chunk_by(|a, b| b.at - a.at <= TOGETHER) {
                let at = piece[piece.len() - 1].at;
                let (now, later) = data.split_at(piece.iter().map(|d| d.bytes).sum());
                let event = Event::Bytes(now.to_vec());
                if under_way.send(Arrival { at, event }).is_err() {
                    return;
                }
                data = later;
            }
        }
    }

    /// Writes what is under way when it arrives.
    fn arrive(self, under_way: Receiver<Arrival>, mut to: &TcpStream) {
        for Arrival { at, event } in under_way {
            if self.shared.gate.pass_at(at).is_err() || self.reset.load(Ordering::Acquire) {
                return;
            }
            let done = match event {
                Event::Bytes(bytes) => to.write_all(&bytes),
                Event::End => to.shutdown(Shutdown::Write),
                Event::Reset => {
                    self.reset.store(true, Ordering::Release);
                    reset_when_closed(to);
                    // Ends the thread that reads here; it sends nothing more.
                    let _ = to.shutdown(Shutdown::Read);
                    return;
                }
            };
            // The receiver is gone; the other direction tells the sender.
            if done.is_err() {
                return;
            }
        }
    }
}
