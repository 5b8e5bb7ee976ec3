//! A TCP connection that the handle of an exchange can close while another thread
//! waits on it.
//!
//! The agent chooses which of its idle connections an exchange gets, so the connection
//! asks, whenever it is used, whose exchange its thread is making.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{fmt, io};

// This part of ureq may change between minor versions; Cargo.lock pins it.
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, ShutdownHandle, TcpConnector, Transport,
};

use crate::offload::fog::abort::{Abort, Connection};

thread_local! {
    /// Of the exchange that this thread is making.
    static EXCHANGE: RefCell<Option<Arc<Abort>>> = const { RefCell::new(None) };
}

/// While it lives, what this thread exchanges can be ended.
pub(super) struct Abortable;

impl Abortable {
    pub fn by(abort: &Arc<Abort>) -> Self {
        EXCHANGE.set(Some(Arc::clone(abort)));
        Self
    }

    /// Whether the exchange that this thread is making has been ended.
    pub fn is_aborted() -> bool {
        EXCHANGE.with_borrow(|abort| abort.as_ref().is_some_and(|abort| abort.is_aborted()))
    }
}

impl Drop for Abortable {
    fn drop(&mut self) {
        if let Some(abort) = EXCHANGE.take() {
            abort.over();
        }
    }
}

/// The socket of a connection, and the exchange that uses it.
struct Socket {
    shutdown: Mutex<Option<Weak<dyn ShutdownHandle>>>,
    user: Mutex<Weak<Abort>>,
}

impl Socket {
    /// This thread's exchange uses it, unless that has been ended.
    fn used(self: &Arc<Self>) -> Result<(), ureq::Error> {
        let Some(abort) = EXCHANGE.with_borrow(Option::clone) else {
            *self.user.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
            return Ok(());
        };
        *self.user.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&abort);
        match abort.uses(self) {
            true => Ok(()),
            false => Err(ureq::Error::Io(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

impl Connection for Socket {
    fn close(&self, by: &Abort) {
        let user = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(user.as_ptr(), by) {
            return;
        }
        let shutdown = self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(shutdown) = shutdown.and_then(|shutdown| shutdown.upgrade()) {
            shutdown.shutdown();
        }
    }
}

/// Opens such connections.
#[derive(Debug, Default)]
pub(super) struct LineConnector(TcpConnector);

impl<In: Transport> Connector<In> for LineConnector {
    type Out = Line<<TcpConnector as Connector<In>>::Out>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let socket = Arc::new(Socket { shutdown: Mutex::new(None), user: Mutex::default() });
        let (kept, register) = (Arc::clone(&socket), Arc::clone(&details.register_shutdown));
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::new(move |handle: Weak<dyn ShutdownHandle>| {
                let mut kept = kept.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
                *kept = Some(Weak::clone(&handle));
                register(handle)
            }),
        };
        let transport = self.0.connect(&details, chained)?;
        Ok(transport.map(|transport| Line { transport, socket }))
    }
}

/// Such a connection.
pub(super) struct Line<T> {
    transport: T,
    socket: Arc<Socket>,
}

impl<T: fmt::Debug> fmt::Debug for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport.fmt(f)
    }
}

impl<T: Transport> Transport for Line<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.socket.used()?;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.socket.used()?;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
