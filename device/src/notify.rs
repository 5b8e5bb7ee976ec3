//! What systemd is told: sd_notify(3), a datagram to the socket in
//! `NOTIFY_SOCKET`. Without one, nothing is told and nothing fails.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells the service manager.
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants a sign of life, at least.
    pub(crate) watchdog: Option<Duration>,
}

impl Notify {
    /// By the environment.
    pub(crate) fn from_environment() -> Self {
        let micros: Option<u64> =
            std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        // Half of it, as the manual wants.
        let watchdog = micros.filter(|&micros| micros > 0).map(|m| Duration::from_micros(m / 2));
        Self::new(std::env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let address = socket.and_then(|name| match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            _ => SocketAddr::from_pathname(name).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        Self { socket, watchdog }
    }

    /// Tells it that the configuration is being read again, and when that began, as
    /// `Type=notify-reload` wants it.
    pub(crate) fn tell_reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()));
    }

    /// Tells it something.
    pub(crate) fn tell(&self, message: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }
}

/// CLOCK_MONOTONIC, in microseconds.
fn monotonic_usec() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that this function owns, and the clock exists on
    // every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

#[test]
fn messages_arrive_by_path_and_by_abstract_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    let name = format!("leeway-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let abstract_listener = UnixDatagram::bind_addr(&address).unwrap();
    for (socket, listener) in
        [(path.into_os_string(), listener), (format!("@{name}").into(), abstract_listener)]
    {
        Notify::new(Some(socket), None).tell("READY=1");
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
    Notify::new(None, None).tell("nobody hears it");
}
