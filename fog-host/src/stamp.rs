//! When bytes arrived, by the kernel. What a request waited in the socket's buffer, while
//! this program was busy with others, is a part of the client's time, and a host that does
//! not count it takes what it cannot answer in time.
//!
//! The kernel stamps what it receives with its clock (`SO_TIMESTAMPNS`, socket(7)), and
//! the difference to the same clock now is the time waited: no other machine's clock is
//! in it.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Who waited for longer than this, waited for a clock that was set.
const LONGEST: Duration = Duration::from_secs(60);

/// When a connection's last bytes arrived: nanoseconds since 1970, 0 where nobody knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamp(Arc<AtomicU64>);

/// When a request arrived: its head, or the end of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// By the clock of this program.
    pub(crate) at: Instant,
}

impl Arrival {
    /// A request that did not wait.
    pub(crate) fn now() -> Self {
        Self { at: Instant::now() }
    }
}

impl Stamp {
    /// The arrival of what was read last.
    pub(crate) fn arrival(&self) -> Arrival {
        let stamp = Duration::from_nanos(self.0.load(Ordering::Relaxed));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let waited = now.checked_sub(stamp).filter(|waited| *waited < LONGEST);
        let waited = waited.unwrap_or_default();
        let now = Instant::now();
        Arrival { at: now.checked_sub(waited).unwrap_or(now) }
    }
}

/// A stream whose arrivals are stamped.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) stream: TcpStream,
    stamp: Stamp,
}

impl Stamped {
    /// A stream; where the kernel does not stamp, nothing seems to wait.
    pub(crate) fn new(stream: TcpStream) -> Self {
        if let Err(error) = ask_for_stamps(stream.as_raw_fd()) {
            tracing::debug!(%error, "the kernel does not stamp what arrives");
        }
        Self { stream, stamp: Stamp::default() }
    }

    /// Where the stamps are.
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp.clone()
    }
}

fn ask_for_stamps(socket: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is a `c_int`, which lives during the call, and its length
    // is that of a `c_int`.
    let result = unsafe {
        let on = (&raw const on).cast();
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, on, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for the control message of a stamp, in words, as the kernel's headers are aligned.
const CONTROL_WORDS: usize = 8;

/// Receives into `buffer`: how many bytes, and their stamp.
fn receive(socket: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<(usize, Option<u64>)> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: zeroes are a valid `msghdr`: no pointers and no lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the message points to `part`, which is `buffer`, and to `control`, with their
    // lengths; all live during the call, and nothing else points to them.
    let length = unsafe { libc::recvmsg(socket, &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled `message` in, whose control buffer lives; these
    // functions stay within `msg_controllen`, and a header that they give is whole. The
    // data of a message of this type is a `timespec`, which may not be aligned.
    let stamp = unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        let mut stamp = None;
        while !header.is_null() {
            let kind = ((*header).cmsg_level, (*header).cmsg_type);
            if kind == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let time = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                stamp = nanos(time);
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        stamp
    };
    Ok((length, stamp))
}

fn nanos(time: libc::timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

impl AsyncRead for Stamped {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, stamp } = self.get_mut();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            // SAFETY: `receive` writes to it, and does not take initialised bytes away.
            let unfilled = unsafe { buffer.unfilled_mut() };
            let (room, mut received) = (unfilled.len(), None);
            let tried = stream.try_io(Interest::READABLE, || {
                let (length, at) = receive(stream.as_raw_fd(), unfilled)?;
                received = Some((length, at));
                // Nothing is left: to find that out takes no turn. Said here, and not of a
                // second try, as more may arrive in between, which is told once.
                let is_empty = (1..room).contains(&length);
                if is_empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (received, tried) {
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
                (Some((length, at)), _) => {
                    // SAFETY: the kernel has written so many bytes.
                    unsafe { buffer.assume_init(length) };
                    buffer.advance(length);
                    if let Some(at) = at {
                        stamp.0.store(at, Ordering::Relaxed);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_waits_in_the_socket_has_waited() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = Stamped::new(listener.accept().await.unwrap().0);
        let stamp = stream.stamp();
        let before = Instant::now();
        assert!(stamp.arrival().at >= before);
        // The kernel begins to stamp a little after it was first asked to.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = Instant::now();
        client.write_all(b"abc").await.unwrap();
        // Nobody reads it.
        let wait = Duration::from_millis(50);
        tokio::time::sleep(wait).await;
        let mut bytes = [0; 8];
        assert_eq!(stream.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(&bytes[..3], b"abc");
        let Arrival { at } = stamp.arrival();
        // The kernel's tick is coarser than its clock.
        let tick = Duration::from_millis(20);
        assert!(at.elapsed() + tick >= wait && at + tick >= before, "{:?}", at.elapsed());
        stream.write_all(b"def").await.unwrap();
        drop(stream);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"def");
    }
}
