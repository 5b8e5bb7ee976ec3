//! Which request is worked on next. Where more requests wait than can be answered, the
//! newest one is first: it has most of its time left, and is answered, while in the order
//! of their arrival each would be begun when it is nearly too late. Each fourth time it is
//! the oldest one's turn, so that nobody waits for ever.
//!
//! Over HTTP/1.1 a connection asks for a turn that has something of a new request to read;
//! what has begun is read on. Over HTTP/2, where a connection has many requests, each of these
//! asks when it has been read. Who asks takes its turn when it is woken: by then all others that
//! have something to do have asked. With the taking of a turn the next one is given, so that
//! as many are given at any time as there are threads. One that is given to who does not
//! want it any more goes to the next after `PATIENCE`.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::stamp::Stamped;

/// One of so many turns is the oldest one's.
const OLDEST_OF: u64 = 4;

/// Who does not take its turn in this time has lost it.
const PATIENCE: Duration = Duration::from_millis(5);

/// The turns of all requests of a host.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    /// Told when somebody begins to wait.
    crowded: Notify,
}

#[derive(Debug)]
struct Queue {
    /// The most that are given and not taken.
    threads: usize,
    /// Who waits, in the order in which they asked.
    waiting: BTreeMap<u64, Waker>,
    /// Who may take a turn, and since when.
    given: Vec<(u64, Instant)>,
    /// What was asked for last.
    asked: u64,
    /// How many turns were given.
    turns: u64,
    /// Whether turns that are not taken are looked for.
    is_watched: bool,
}

impl Turns {
    /// Turns for so many threads.
    pub(crate) fn new(threads: usize) -> Arc<Self> {
        let queue = Queue {
            threads: threads.max(1),
            waiting: BTreeMap::new(),
            given: Vec::new(),
            asked: 0,
            turns: 0,
            is_watched: false,
        };
        Arc::new(Self { queue: Mutex::new(queue), crowded: Notify::new() })
    }

    /// Passes turns on that are not taken, for ever.
    pub(crate) async fn watch(&self) {
        loop {
            self.crowded.notified().await;
            loop {
                tokio::time::sleep(PATIENCE).await;
                let mut queue = self.lock();
                queue.expire(Instant::now());
                if queue.waiting.is_empty() {
                    queue.is_watched = false;
                    break;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Gives turns, as many as may be.
    fn give(&mut self, now: Instant) {
        while self.given.len() < self.threads {
            let is_oldest = (self.turns + 1).is_multiple_of(OLDEST_OF);
            let next = if is_oldest { self.waiting.pop_first() } else { self.waiting.pop_last() };
            let Some((key, waker)) = next else { return };
            self.turns += 1;
            self.given.push((key, now));
            waker.wake();
        }
    }

    /// Takes back what was given long before, and gives it to others.
    fn expire(&mut self, now: Instant) {
        self.given.retain(|(_, since)| now.saturating_duration_since(*since) < PATIENCE);
        self.give(now);
    }

    fn take(&mut self, key: u64) -> bool {
        let at = self.given.iter().position(|(given, _)| *given == key);
        at.map(|at| self.given.swap_remove(at)).is_some()
    }
}

/// The place of a connection or of a request among all.
#[derive(Debug)]
struct Turn {
    turns: Arc<Turns>,
    /// What it asked for.
    asked: Option<u64>,
}

impl Turn {
    /// Of who has not asked yet.
    fn of(turns: &Arc<Turns>) -> Self {
        Self { turns: Arc::clone(turns), asked: None }
    }

    /// Ready when it is its turn, which it has then taken.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let mut queue = self.turns.lock();
        let key = *self.asked.get_or_insert_with(|| {
            queue.asked += 1;
            queue.asked
        });
        if queue.take(key) {
            self.asked = None;
            queue.give(now);
            return Poll::Ready(());
        }
        queue.waiting.insert(key, cx.waker().clone());
        queue.give(now);
        if !queue.waiting.is_empty() && !queue.is_watched {
            queue.is_watched = true;
            self.turns.crowded.notify_one();
        }
        Poll::Pending
    }

    /// Does not want one any more.
    fn leave(&mut self) {
        let Some(key) = self.asked.take() else { return };
        let mut queue = self.turns.lock();
        queue.waiting.remove(&key);
        if queue.take(key) {
            queue.give(Instant::now());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether a connection is read without a turn: as long as a request of it is being answered,
/// or for ever where its requests wait for turns, and not its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct AtOnce(Arc<AtomicBool>);

/// A connection whose request is being answered, until this is dropped.
struct Answering(AtOnce);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// Has a request of HTTP/2 wait for its turn. One of HTTP/1.1 was read in its turn.
pub(crate) async fn in_turn(
    State(turns): State<Arc<Turns>>,
    request: Request,
    next: Next,
) -> Response {
    let at_once = request.extensions().get::<AtOnce>().cloned().unwrap_or_default();
    at_once.0.store(true, Ordering::Relaxed);
    if request.version() == Version::HTTP_2 {
        let mut turn = Turn::of(&turns);
        poll_fn(|cx| turn.poll(cx)).await;
        return next.run(request).await;
    }
    let _answering = Answering(at_once);
    next.run(request).await
}

/// A stream that is read in its turn.
#[derive(Debug)]
pub(crate) struct InTurn {
    stream: Stamped,
    turn: Turn,
    at_once: AtOnce,
}

impl InTurn {
    /// A stream among all of a host.
    pub(crate) fn new(stream: Stamped, turns: &Arc<Turns>) -> Self {
        Self { stream, turn: Turn::of(turns), at_once: AtOnce::default() }
    }

    /// What its requests carry.
    pub(crate) fn at_once(&self) -> AtOnce {
        self.at_once.clone()
    }
}

impl AsyncRead for InTurn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, turn, at_once } = self.get_mut();
        if at_once.0.load(Ordering::Relaxed) {
            turn.leave();
        } else {
            ready!(stream.stream.poll_read_ready(cx))?;
            ready!(turn.poll(cx));
        }
        Pin::new(stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for InTurn {
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
        parts: &[IoSlice<'_>],
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
    use super::*;

    fn poll(turn: &mut Turn) -> bool {
        turn.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn is_empty(turns: &Turns) -> bool {
        let queue = turns.lock();
        queue.waiting.is_empty() && queue.given.is_empty()
    }

    #[test]
    fn the_newest_is_first_and_the_oldest_each_fourth_time() {
        let turns = Turns::new(1);
        let mut all: Vec<Turn> = (0..9).map(|_| Turn::of(&turns)).collect();
        assert!(all.iter_mut().all(|turn| !poll(turn)), "nobody before all have asked");
        let mut order = Vec::new();
        let mut left: Vec<usize> = (0..all.len()).collect();
        while !left.is_empty() {
            let given = turns.lock().given[0].0;
            let next = *left.iter().find(|&&i| given == i as u64 + 1).unwrap();
            assert!(left.iter().all(|&i| i == next || !poll(&mut all[i])));
            assert!(poll(&mut all[next]));
            left.retain(|&i| i != next);
            order.push(next);
        }
        // The first was alone when it asked.
        assert_eq!(order, [0, 8, 7, 1, 6, 5, 4, 2, 3]);
    }

    #[test]
    fn a_turn_of_who_has_gone_is_given_to_the_next() {
        let turns = Turns::new(1);
        let mut all: Vec<Turn> = (0..3).map(|_| Turn::of(&turns)).collect();
        assert!(all.iter_mut().all(|turn| !poll(turn)));
        drop(all.remove(0));
        assert!(!poll(&mut all[0]) && poll(&mut all[1]) && poll(&mut all[0]));
        assert!(is_empty(&turns));
    }

    #[test]
    fn a_turn_that_is_not_taken_goes_to_the_next() {
        let turns = Turns::new(1);
        let mut all: Vec<Turn> = (0..3).map(|_| Turn::of(&turns)).collect();
        assert!(all.iter_mut().all(|turn| !poll(turn)));
        let now = Instant::now();
        turns.lock().expire(now);
        assert!(!poll(&mut all[2]), "it is the first one's still");
        turns.lock().expire(now + PATIENCE);
        assert!(poll(&mut all[2]));
        // Who has lost it asks again, and is in its old place.
        assert!(!poll(&mut all[0]) && poll(&mut all[1]) && poll(&mut all[0]));
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn who_waits_behind_who_does_not_come_is_woken() {
        let turns = Turns::new(1);
        let mut first = Turn::of(&turns);
        assert!(!poll(&mut first));
        let mut second = Turn::of(&turns);
        let waits = poll_fn(|cx| second.poll(cx));
        tokio::select! {
            () = turns.watch() => unreachable!("it has no end"),
            () = waits => {}
        }
        drop(first);
        assert!(turns.lock().given.is_empty());
    }
}
