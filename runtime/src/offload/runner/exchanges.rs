//! The threads that ask the fog host, and how an exchange ends before its time.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use leeway_contract::Tensor;

use super::{Answered, Loaded, Runner, Shared, State};
use crate::offload::dispatcher::{InputId, Replied};
use crate::offload::fog::{Abort, FogAnswer, FogError, InferRequest};

/// What a thread is to ask the fog host.
#[derive(Debug)]
pub(super) struct Exchange {
    pub input: InputId,
    pub model: Arc<Loaded>,
    pub tensors: Arc<Vec<Tensor>>,
    /// When an answer is of no use any more.
    pub until: Duration,
    /// Ends it when the input has its answer.
    pub abort: Arc<Abort>,
}

/// The threads, which take turns to wait for the next exchange.
#[derive(Debug)]
pub(super) struct Exchanges {
    receiver: Arc<Mutex<Receiver<Exchange>>>,
    pub threads: Vec<JoinHandle<()>>,
}

impl Exchanges {
    /// No thread yet, and what an exchange is given to.
    pub fn new() -> (Sender<Exchange>, Self) {
        let (sender, receiver) = channel();
        (sender, Self { receiver: Arc::new(Mutex::new(receiver)), threads: Vec::new() })
    }
}

impl Runner {
    /// Has enough threads for so many streams: each has one input under way, or two where
    /// its deadline is past its period.
    pub(super) fn ask_with(&self, offloading: usize) -> std::io::Result<()> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        for number in asking.threads.len()..2 * offloading {
            let (own, receiver) = (Arc::clone(&self.shared), Arc::clone(&asking.receiver));
            let named = std::thread::Builder::new().name(format!("leeway-fog-{number}"));
            asking.threads.push(named.spawn(move || {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(exchange) = next else { return };
                    own.exchange(&exchange);
                }
            })?);
        }
        Ok(())
    }
}

impl Shared {
    /// Asks the fog host, for as long as the answer is of use.
    fn exchange(&self, exchange: &Exchange) {
        let Exchange { input, model, tensors, until, abort } = exchange;
        let limit = until.saturating_sub(self.now());
        let (digest, certificate) = (model.module.digest(), model.module.certificate());
        let (id, stages) =
            (self.host.requests.fetch_add(1, Ordering::Relaxed), 0..=certificate.last_stage());
        let request = InferRequest { id, digest, certificate, stages, inputs: tensors };
        let reply = match limit {
            _ if abort.is_aborted() => Err(FogError::Aborted),
            Duration::ZERO => Err(FogError::TimedOut { limit }),
            limit => self.host.fog.infer_or_abort(&request, limit, abort),
        };
        let mut state = self.state();
        let now = self.now();
        self.replied(&mut state, now, *input, reply);
        state.exchanges.remove(input);
        drop(state);
        self.changed.notify_all();
    }

    fn replied(
        &self,
        state: &mut State,
        now: Duration,
        input: InputId,
        reply: Result<FogAnswer, FogError>,
    ) {
        match state.dispatcher.replied(now, input, reply.as_ref()) {
            Replied::Answer(record) => {
                let outputs = reply.map(|answer| answer.outputs).unwrap_or_default();
                state.answer(input, |_| Ok(Answered { outputs, record: *record }));
            }
            Replied::Lost(_) => state.give_up(input),
            Replied::Discarded => {}
        }
    }
}
