//! The same question to every device of a fleet, several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use leeway_client::Client;

use crate::file::{Device, Fleet, FleetError};

/// Asks every device, as many at once as a rollout would. The answers are in the file's
/// order.
pub fn ask<T: Send>(
    fleet: &Fleet,
    question: impl Fn(&Device, &Client) -> T + Sync,
) -> Result<Vec<T>, FleetError> {
    let clients = fleet.devices.iter().map(|device| device.client());
    let clients: Vec<Client> = clients.collect::<Result<_, _>>()?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(device) = fleet.devices.get(at) else { return answers };
            answers.push((at, question(device, &clients[at])));
        }
    };
    let threads = fleet.rollout.parallel.min(fleet.devices.len());
    let mut answers: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.flat_map(|answers| answers.expect("a question does not panic")).collect()
    });
    answers.sort_by_key(|(at, _)| *at);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}
