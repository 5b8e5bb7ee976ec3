//! Runs the version that did not answer on the same input, off the way of
//! answers: one thread of a low priority, a short queue, and what does not fit is not
//! compared.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Weak};

use leeway_contract::{Digest, Tensor};

use super::{Model, Serving, Version};
use crate::transaction::quiet;

/// An answered input that the other version shall run as well.
pub(super) struct Shadowed {
    pub(super) model: Arc<Model>,
    pub(super) other: Arc<Version>,
    pub(super) answered: Digest,
    pub(super) inputs: Arc<Vec<Tensor>>,
    pub(super) outputs: Vec<Tensor>,
}

const QUEUE: usize = 4;

/// The thread, which starts with the first input that is offered to it.
pub(super) struct Shadow {
    serving: Weak<Serving>,
    queue: Mutex<Option<SyncSender<Shadowed>>>,
}

impl Shadow {
    pub(super) fn start(serving: Weak<Serving>) -> Self {
        Self { serving, queue: Mutex::new(None) }
    }

    pub(super) fn offer(&self, shadowed: Shadowed) {
        let Ok(mut queue) = self.queue.lock() else { return };
        if queue.is_none() {
            *queue =
                self.spawn().inspect_err(|error| tracing::warn!(%error, "no shadow runs")).ok();
        }
        if let Some(queue) = &*queue {
            queue.try_send(shadowed).ok();
        }
    }

    fn spawn(&self) -> std::io::Result<SyncSender<Shadowed>> {
        let (sender, receiver) = sync_channel::<Shadowed>(QUEUE);
        let serving = self.serving.clone();
        std::thread::Builder::new().name("shadow".into()).spawn(move || {
            quiet::give_way();
            for shadowed in receiver {
                match serving.upgrade() {
                    Some(serving) => serving.compare(shadowed),
                    None => return,
                }
            }
        })?;
        Ok(sender)
    }
}
