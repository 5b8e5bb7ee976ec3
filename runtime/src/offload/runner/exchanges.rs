//! The threads that ask the fog host, and how an exchange ends before its time.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leeway_contract::Tensor;

use super::{Answered, Runner, Shared, State};
use crate::offload::clock::Clock as _;
use crate::offload::dispatcher::{InputId, Replied};
use crate::offload::fog::{Abort, FogAnswer, FogError, InferRequest};

/// What a thread is to ask the fog host.
#[derive(Debug)]
pub(super) struct Exchange {
    pub id: u64,
    pub input: InputId,
    pub stream: usize,
    pub inputs: Arc<Vec<Tensor>>,
    /// When an answer is of no use any more.
    pub until: Duration,
    /// Ends it when the input has its answer.
    pub abort: Arc<Abort>,
}

impl Runner {
    pub(super) fn start_exchanges(&mut self, threads: usize) -> std::io::Result<()> {
        let (sender, receiver) = channel::<Exchange>();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let (own, receiver) = (Arc::clone(&self.shared), Arc::clone(&receiver));
            let named = std::thread::Builder::new().name(format!("leeway-fog-{number}"));
            self.threads.push(named.spawn(move || {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(exchange) = next else { return };
                    own.exchange(&exchange);
                }
            })?);
        }
        self.exchanges = Some(sender);
        Ok(())
    }
}

impl Shared {
    /// Asks the fog host, for as long as the answer is of use.
    fn exchange(&self, exchange: &Exchange) {
        let Exchange { id, input, stream, inputs, until, abort } = exchange;
        let limit = until.saturating_sub(self.clock.now());
        let (digest, certificate) = &self.modules[*stream];
        let stages = 0..=certificate.last_stage();
        let request = InferRequest { id: *id, digest: *digest, certificate, stages, inputs };
        let reply = match limit {
            _ if abort.is_aborted() => Err(FogError::Aborted),
            Duration::ZERO => Err(FogError::TimedOut { limit }),
            limit => self.fog.infer_or_abort(&request, limit, abort),
        };
        let mut state = self.state();
        let now = self.clock.now();
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
