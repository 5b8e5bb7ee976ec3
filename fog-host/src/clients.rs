//! Fairness between clients: how many requests each may make in a second and have
//! under way, and its share of the queue when it is contended.
//!
//! The rate is held by a token bucket that holds one second's requests. The share
//! is what there is room for, divided by the clients of the last second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A client is active for so long after its last request.
const ACTIVE: Duration = Duration::from_secs(1);
/// When more clients than these are known, those that are not active are forgotten.
const KNOWN: usize = 1024;

/// What a client may do at most; `None` is no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientLimits {
    /// Inferences in a second, on average.
    pub requests_per_second: Option<f64>,
    /// Inferences that wait or run at the same time.
    pub concurrent_requests: Option<usize>,
}

/// Why a client is told to come back later.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(crate) enum TooMany {
    /// Too many in a second.
    #[error("more than {limit} requests in a second")]
    Rate {
        /// The client's limit.
        limit: f64,
        /// When there is room for the next one.
        retry_after: Duration,
    },
    /// Too many at the same time.
    #[error("{under_way} requests are under way already, {limit} may be")]
    Concurrent {
        /// How many there are.
        under_way: usize,
        /// The client's limit, or its share.
        limit: usize,
    },
}

#[derive(Clone, Copy)]
struct Known {
    /// What is in the bucket, as of `seen`.
    tokens: f64,
    seen: Instant,
    under_way: usize,
}

/// All clients, by name.
pub(crate) struct Clients {
    known: Mutex<HashMap<Arc<str>, Known>>,
    /// The requests that there is room for.
    room: usize,
}

impl Clients {
    /// Clients that share room for so many requests.
    pub(crate) fn sharing(room: usize) -> Self {
        Self { known: Mutex::default(), room }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        // Nothing panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a client's request in, until the permit is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        client: &Arc<str>,
        limits: ClientLimits,
        now: Instant,
    ) -> Result<Permit, TooMany> {
        let mut known = self.lock();
        let is_active =
            |other: &Known| other.under_way > 0 || now.duration_since(other.seen) < ACTIVE;
        if known.len() >= KNOWN {
            known.retain(|_, other| is_active(other));
        }
        let others = known.iter().filter(|(name, other)| *name != client && is_active(other));
        // Alone, a client may have more than there is room for: then the queue says
        // when to come back. Not without end, as each request has its body in memory.
        let share = match others.count() {
            0 => self.room.saturating_mul(2),
            others => self.room.div_ceil(1 + others),
        };
        let limit = limits.concurrent_requests.unwrap_or(usize::MAX).min(share);
        let burst = limits.requests_per_second.map(|rate| rate.max(1.0));
        let fresh = Known { tokens: burst.unwrap_or(0.0), seen: now, under_way: 0 };
        let this = known.entry(Arc::clone(client)).or_insert(fresh);
        if let (Some(rate), Some(burst)) = (limits.requests_per_second, burst) {
            let passed = now.duration_since(this.seen).as_secs_f64();
            this.tokens = (this.tokens + passed * rate).min(burst);
            this.seen = now;
            if this.tokens < 1.0 {
                let wait = (1.0 - this.tokens) / rate;
                let retry_after = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
                return Err(TooMany::Rate { limit: rate, retry_after });
            }
        }
        this.seen = now;
        if this.under_way >= limit {
            return Err(TooMany::Concurrent { under_way: this.under_way, limit });
        }
        this.tokens -= 1.0;
        this.under_way += 1;
        Ok(Permit { clients: Arc::clone(self), client: Arc::clone(client) })
    }
}

/// A request that is under way.
pub(crate) struct Permit {
    clients: Arc<Clients>,
    client: Arc<str>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(known) = self.clients.lock().get_mut(&self.client) {
            known.under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ClientLimits =
        ClientLimits { requests_per_second: None, concurrent_requests: None };

    fn enter(clients: &Arc<Clients>, name: &str, now: Instant) -> Result<Permit, TooMany> {
        clients.enter(&name.into(), NONE, now)
    }

    #[test]
    fn one_client_may_take_all_the_room_and_two_share_it() {
        let (clients, now) = (Arc::new(Clients::sharing(4)), Instant::now());
        let mut all: Vec<Permit> = (0..5).map(|_| enter(&clients, "a", now).unwrap()).collect();
        let more: Vec<Permit> = (0..3).map(|_| enter(&clients, "a", now).unwrap()).collect();
        let refused = enter(&clients, "a", now).map(drop).unwrap_err();
        assert_eq!(refused, TooMany::Concurrent { under_way: 8, limit: 8 });
        drop(more);
        let other = enter(&clients, "b", now).unwrap();
        all.truncate(2);
        let refused = enter(&clients, "a", now).map(drop).unwrap_err();
        assert_eq!(refused, TooMany::Concurrent { under_way: 2, limit: 2 });
        // The other one goes away: there is room again, after a while.
        drop(other);
        assert!(enter(&clients, "a", now).is_err());
        all.push(enter(&clients, "a", now + ACTIVE).unwrap());
    }

    #[test]
    fn the_rate_allows_bursts_of_a_second() {
        let (clients, now) = (Arc::new(Clients::sharing(100)), Instant::now());
        let limits = ClientLimits { requests_per_second: Some(2.0), ..NONE };
        let client = "a".into();
        for _ in 0..2 {
            clients.enter(&client, limits, now).map(drop).unwrap();
        }
        let refused = clients.enter(&client, limits, now).map(drop).unwrap_err();
        let retry_after = Duration::from_millis(500);
        assert_eq!(refused, TooMany::Rate { limit: 2.0, retry_after });
        let later = now + retry_after;
        clients.enter(&client, limits, later).map(drop).unwrap();
        assert!(clients.enter(&client, limits, later).is_err());
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let (clients, now) = (Arc::new(Clients::sharing(1)), Instant::now());
        for number in 0..2 * KNOWN {
            let now = now + ACTIVE * number as u32;
            enter(&clients, &number.to_string(), now).map(drop).unwrap();
        }
        assert!(clients.lock().len() <= KNOWN);
    }
}
