//! A rollout with threads and a clock: one thread for each device that is at it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    let bring = |client: &Client, phase: &mut dyn FnMut(Phase)| module.bring(client, phase);
    run_with(fleet, &bring, rollout, journal, seen)
}

/// What is done with one device.
type Bring<'a> = &'a (dyn Fn(&Client, &mut dyn FnMut(Phase)) -> Outcome + Sync);

fn run_with(
    fleet: &Fleet,
    bring: Bring<'_>,
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
                        let mut phase = |phase| send(Message::Phase(device, phase));
                        // A device whose end nobody hears of would be waited for for ever.
                        let brought = catch_unwind(AssertUnwindSafe(|| bring(client, &mut phase)));
                        let outcome = brought.unwrap_or_else(|panic| panicked(&*panic));
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

/// It counts as the device's failure: nothing is known of what came of it.
fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Outcome::Failed { reason: format!("panicked: {}", text.unwrap_or("without a word")) }
}

#[test]
fn a_device_at_which_something_panics_has_failed_and_the_others_go_on() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.toml");
    let device = |name| format!("[[device]]\nname = \"{name}\"\naddress = \"unix:{name}\"\n");
    let devices = ["a", "b", "c"].map(device).concat();
    std::fs::write(&path, format!("[rollout]\nfailures = 1\nparallel = 1\n{devices}")).unwrap();
    let fleet = Fleet::read(&path).unwrap();
    let digest = leeway_contract::Digest::of(b"module");
    let (mut journal, _) = Journal::open(&folder.path().join("journal"), digest).unwrap();
    let mut rollout = Rollout::new(fleet.waves(), fleet.limits());
    // One at a time, in the order of the file.
    let begun = AtomicUsize::new(0);
    let bring = |_: &Client, _: &mut dyn FnMut(Phase)| match begun.fetch_add(1, Ordering::Relaxed) {
        1 => panic!("no {}", "memory"),
        _ => Outcome::Healthy,
    };
    let mut outcomes = Vec::new();
    let mut seen = |_: &Rollout, event: Event<'_>| {
        if let Event::Finished(device, outcome) = event {
            outcomes.push((device, outcome.clone()));
        }
    };
    run_with(&fleet, &bring, &mut rollout, &mut journal, &mut seen).unwrap();
    let failed = Outcome::Failed { reason: "panicked: no memory".into() };
    assert_eq!(outcomes, [(0, Outcome::Healthy), (1, failed), (2, Outcome::Healthy)]);
}
