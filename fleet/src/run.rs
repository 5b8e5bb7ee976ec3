//! A rollout with threads and a clock: one thread for each device that is at it.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use leeway_client::Client;

use crate::device::{Module, Phase};
use crate::file::{Fleet, FleetError};
use crate::journal::{Journal, JournalError};
use crate::rollout::{Next, Outcome, Rollout};

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A device began.
    Began(usize),
    /// A device got further.
    Phase(usize, Phase),
    /// A device is finished.
    Finished(usize, &'a Outcome),
    /// The next wave waits so long.
    Pause(Duration),
}

/// Why a rollout ended without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A device's entry in the fleet's file.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// What came of a device could not be noted.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

enum Message {
    Phase(usize, Phase),
    Finished(usize, Outcome),
}

/// Brings a module to a fleet. `seen` hears of everything, on this thread.
///
/// # Errors
/// Where a device's address or token is none, before anything is sent; where the
/// journal cannot be written, after the devices that are at it are finished.
pub fn run(
    fleet: &Fleet,
    module: &Module,
    rollout: &mut Rollout,
    journal: &mut Journal,
    seen: &mut dyn FnMut(&Rollout, Event<'_>),
) -> Result<(), RunError> {
    let clients = fleet.devices.iter().map(|device| device.client());
    let clients: Vec<Client> = clients.collect::<Result<_, _>>()?;
    let (sender, messages) = mpsc::channel();
    let (begin, mut broken) = (Instant::now(), None);
    thread::scope(|scope| {
        loop {
            let wait = match rollout.next(begin.elapsed()) {
                Next::Start(device) if broken.is_none() => {
                    seen(rollout, Event::Began(device));
                    let (client, sender) = (&clients[device], sender.clone());
                    scope.spawn(move || {
                        // Nobody listens any more: the outcome is lost with the run.
                        let send = |message| sender.send(message).unwrap_or_default();
                        let outcome =
                            module.bring(client, &mut |phase| send(Message::Phase(device, phase)));
                        send(Message::Finished(device, outcome));
                    });
                    continue;
                }
                // Nothing is begun that could not be noted.
                Next::Start(device) => {
                    let reason = "it was not begun".to_owned();
                    rollout.finish(device, Outcome::Unreachable { reason });
                    continue;
                }
                Next::Finished => return,
                Next::Wait => None,
                Next::Pause(time) => {
                    seen(rollout, Event::Pause(time));
                    Some(time)
                }
            };
            let message = match wait {
                None => messages.recv().ok(),
                // Nothing by then: the pause is over.
                Some(time) => messages.recv_timeout(time).ok(),
            };
            match message {
                Some(Message::Phase(device, phase)) => seen(rollout, Event::Phase(device, phase)),
                Some(Message::Finished(device, outcome)) => {
                    let noted = journal.note(&fleet.devices[device].name, &outcome);
                    broken = broken.take().or(noted.err());
                    rollout.finish(device, outcome.clone());
                    seen(rollout, Event::Finished(device, &outcome));
                }
                None => {}
            }
        }
    });
    broken.map_or(Ok(()), |error| Err(error.into()))
}
