//! Closed-loop load: as many requests under way as there are connections, for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::exchange::{Call, Connections};
use crate::servers::Server;

/// The share of a turn at whose start nothing is counted.
const WARM_UP: f64 = 0.2;

/// What was seen of a server.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Requests that were answered, in a second.
    pub per_second: f64,
    /// The median of their times.
    pub p50: Duration,
    /// Their 99th percentile.
    pub p99: Duration,
    /// The CPU time of the whole server for one.
    pub cpu: Duration,
}

impl Seen {
    /// The better of two turns, each number for itself.
    pub fn better(self, other: Self) -> Self {
        Self {
            per_second: self.per_second.max(other.per_second),
            p50: self.p50.min(other.p50),
            p99: self.p99.min(other.p99),
            cpu: self.cpu.min(other.cpu),
        }
    }
}

/// A percentile of times, which are sorted here.
pub fn percentile(times: &mut [Duration], percent: f64) -> Duration {
    times.sort_unstable();
    let place = (times.len() as f64 * percent / 100.0).ceil() as usize;
    times.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

/// One turn.
pub async fn closed(
    server: &Server,
    call: &Call,
    connections: usize,
    time: Duration,
) -> Result<Seen> {
    let address = server.address(call.encoding());
    let start = Instant::now();
    let (counted, end) = (start + time.mul_f64(WARM_UP), start + time);
    let mut tasks = Vec::new();
    for mut connection in Connections::open(call, address, connections).await? {
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let sent = Instant::now();
                if sent >= end {
                    return Ok(times);
                }
                let answer = connection.exchange().await?;
                if answer.status != 200 {
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    bail!("status {}: {body}", answer.status);
                }
                if sent >= counted {
                    times.push(sent.elapsed());
                }
            }
        }));
    }
    tokio::time::sleep_until(counted.into()).await;
    let (cpu, since) = (server.cpu_time()?, Instant::now());
    tokio::time::sleep_until(end.into()).await;
    let (cpu, passed) = (server.cpu_time()?.saturating_sub(cpu), since.elapsed());
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let (p50, p99) = (percentile(&mut times, 50.0), percentile(&mut times, 99.0));
    let count = times.len().max(1);
    let per_second = count as f64 / passed.as_secs_f64();
    Ok(Seen { per_second, p50, p99, cpu: cpu.div_f64(count as f64) })
}
