//! Twice the load that the fog host can answer: requests at fixed times, whether those
//! before them have been answered or not, each with a deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;

use crate::exchange::{Call, Connections, Encoding};
use crate::load::{self, percentile};
use crate::servers::{Kind, Server};
use crate::{Arguments, Cpus, Model};

/// The most requests under way, so that a server that falls behind is not drowned in
/// connections. A time at which there is none free is counted.
const CONNECTIONS: usize = 512;

/// The requests under way with which the host's capacity is measured.
const SATURATING: usize = 64;

/// What became of the requests.
#[derive(Default)]
struct Outcome {
    /// The times of those that were answered.
    answered: Vec<Duration>,
    /// The times of those that were refused.
    refused: Vec<Duration>,
    /// How long this client took to read what had arrived.
    unread: Vec<Duration>,
    /// Those that found no connection.
    unsent: usize,
    /// Those whose connection broke.
    broken: usize,
}

/// Overloads the host with each model and prints what became of the requests.
pub async fn run(arguments: &Arguments, cpus: &Cpus, models: &[Model]) -> Result<()> {
    let server = Server::start(Kind::Leeway, None, models, cpus).await?;
    let deadline = Duration::from_secs_f64(arguments.deadline / 1e3);
    println!(
        "{:<12} {:<8} {:>10} {:>10} {:>10} {:>10} {:>7} {:>8} {:>8} {:>8} {:>9} {:>7} {:>8}",
        "model",
        "encoding",
        "capacity/s",
        "offered/s",
        "answered/s",
        "refused/s",
        "late",
        "p50 ms",
        "p99 ms",
        "refusal",
        "unsent/s",
        "broken",
        "client"
    );
    for model in models {
        for encoding in [Encoding::Json, Encoding::Binary, Encoding::Grpc] {
            let time = Duration::from_secs_f64(arguments.seconds);
            let call = Call::new(encoding, model, None);
            let capacity = load::closed(&server, &call, SATURATING, time).await?;
            let rate = 2.0 * capacity.per_second;
            let call = Call::new(encoding, model, Some(deadline));
            let time = time * 2;
            let mut outcome = open(&server, &call, rate, time).await?;
            let late = outcome.answered.iter().filter(|time| **time > deadline).count();
            let millis = |time: Duration| time.as_secs_f64() * 1e3;
            let a_second = |count: usize| count as f64 / time.as_secs_f64();
            println!(
                "{:<12} {:<8} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {:>7} {:>8.3} {:>8.3} {:>8.3} {:>9.0} {:>7} {:>8.3}",
                model.name,
                encoding.name(),
                capacity.per_second,
                rate,
                a_second(outcome.answered.len()),
                a_second(outcome.refused.len()),
                late,
                millis(percentile(&mut outcome.answered, 50.0)),
                millis(percentile(&mut outcome.answered, 99.0)),
                millis(percentile(&mut outcome.refused, 99.0)),
                a_second(outcome.unsent),
                outcome.broken,
                millis(percentile(&mut outcome.unread, 99.0)),
            );
        }
    }
    println!(
        "deadline: {deadline:?} from sending until the answer is in the client's socket; late: \
         answers after it; p50, p99: of answers; refusal: p99 of the time until a refusal, ms; \
         unsent: found all {CONNECTIONS} connections busy; client: p99 of what it was late to \
         read, ms"
    );
    Ok(())
}

async fn open(server: &Server, call: &Call, rate: f64, time: Duration) -> Result<Outcome> {
    let address = server.address(call.encoding());
    let ways = Connections::open(call, address, CONNECTIONS).await?;
    let free = Arc::new(Mutex::new(ways));
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let busy = Arc::new(Semaphore::new(CONNECTIONS));
    let (start, mut next) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        // Sleeping has steps of a millisecond.
        while start + Duration::from_secs_f64(next as f64 / rate) > Instant::now() {
            tokio::task::yield_now().await;
        }
        next += 1;
        let permit = Arc::clone(&busy).try_acquire_owned();
        let way = lock(&free).pop();
        let (Ok(permit), Some(mut way)) = (permit, way) else {
            lock(&outcome).unsent += 1;
            continue;
        };
        let (free, outcome) = (Arc::clone(&free), Arc::clone(&outcome));
        tokio::spawn(async move {
            let sent = Instant::now();
            match way.exchange().await {
                Ok(answer) => {
                    let time = answer.at.saturating_duration_since(sent);
                    let mut outcome = lock(&outcome);
                    outcome.unread.push(answer.at.elapsed());
                    match answer.status {
                        200 => outcome.answered.push(time),
                        _ => outcome.refused.push(time),
                    }
                    lock(&free).push(way);
                }
                Err(_) => lock(&outcome).broken += 1,
            }
            drop(permit);
        });
    }
    // All that is under way.
    let _all = busy.acquire_many(CONNECTIONS as u32).await?;
    let outcome = std::mem::take(&mut *lock(&outcome));
    Ok(outcome)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
