//! A [`Dispatcher`] in simulated time: studies and tests see what it does in hours of
//! any weather, within seconds and to the nanosecond again.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::Fuel;

use super::beliefs::{Beliefs, Due};
use super::dispatcher::{Dispatcher, InputId, NotTaken, Placed, Ran, Replied};
use super::fog::{FogAnswer, FogError, Traffic};
use super::record::DecisionRecord;
use crate::executor::machine::Next;

/// An input of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it is ready to be worked on.
    pub ready: Duration,
    /// When it arrived: what its deadline counts from.
    pub arrived: Duration,
    /// Its stream.
    pub stream: usize,
}

/// What is around the dispatcher: the models' execution, the link, the fog host.
/// Each function is told the time and returns how long what it stands for takes.
pub trait World {
    /// An input is about to be placed; it is the `number`-th arrival. What is served may
    /// be changed before; returns the inputs that this gives back.
    fn arrives(
        &mut self,
        _now: Duration,
        _number: usize,
        _arrival: Arrival,
        _dispatcher: &mut Dispatcher,
    ) -> Vec<InputId> {
        Vec::new()
    }

    /// It was taken and placed.
    fn placed(&mut self, _placed: &Placed) {}

    /// It was not.
    fn not_taken(&mut self, _now: Duration, _arrival: Arrival, _why: NotTaken) {}

    /// An input is sent. A reply that takes longer than `limit` is a timeout.
    fn infer(
        &mut self,
        now: Duration,
        placed: &Placed,
        limit: Duration,
    ) -> (Duration, Result<FogAnswer, FogError>);

    /// A probe is sent, or a module pushed.
    fn probe(&mut self, now: Duration, due: Due) -> (Duration, Result<Traffic, FogError>);

    /// Stages of an input's model run on the device, which are promised to take
    /// `budget` at most.
    fn run(
        &mut self,
        now: Duration,
        input: InputId,
        stream: usize,
        stages: RangeInclusive<u32>,
        budget: Duration,
    ) -> Duration;
}

/// How often it is asked whether a probe is due.
const PROBING: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Event {
    Arrival(usize),
    Reply(InputId, Result<FogAnswer, FogError>),
    /// A core is done with a segment, which was stopped or took a time.
    Over {
        input: InputId,
        elapsed: Duration,
        stopped: bool,
    },
    /// A core wanted to be asked again.
    Wake,
    Probe,
    Probed {
        due: Due,
        started: Duration,
        result: Result<Traffic, FogError>,
    },
}

/// The events to come, and the world that makes them.
struct Simulation<'a> {
    dispatcher: &'a mut Dispatcher,
    world: &'a mut dyn World,
    dispatch: Duration,
    /// By time, and a number that keeps equal times in the order of their causes.
    events: BTreeMap<(Duration, u64), Event>,
    number: u64,
    /// When the reply to an input comes that is under way.
    replies: HashMap<InputId, (Duration, u64)>,
    busy: Vec<bool>,
    wake: Vec<Option<Duration>>,
    arrivals_left: usize,
}

/// Runs through all arrivals, in the order of their times; `dispatch` is what the
/// executor adds to each segment. `see` is shown every record. Without `probes`, the
/// link is not probed.
pub fn simulate(
    dispatcher: &mut Dispatcher,
    arrivals: &[Arrival],
    dispatch: Duration,
    probes: bool,
    world: &mut dyn World,
    see: &mut dyn FnMut(DecisionRecord),
) {
    let cores = dispatcher.cores();
    let mut simulation = Simulation {
        dispatcher,
        world,
        dispatch,
        events: BTreeMap::new(),
        number: 0,
        replies: HashMap::new(),
        busy: vec![false; cores],
        wake: vec![None; cores],
        arrivals_left: arrivals.len(),
    };
    for (number, arrival) in arrivals.iter().enumerate() {
        simulation.plan(arrival.ready, Event::Arrival(number));
    }
    if probes {
        simulation.plan(Duration::ZERO, Event::Probe);
    }
    while let Some(((now, _), event)) = simulation.events.pop_first() {
        simulation.happen(now, event, arrivals, see);
        // What happens at the same time is seen before a core is asked.
        if simulation.events.first_key_value().is_none_or(|(&(next, _), _)| next > now) {
            simulation.ask_cores(now);
        }
    }
}

impl Simulation<'_> {
    fn plan(&mut self, at: Duration, event: Event) -> (Duration, u64) {
        let key = (at, self.number);
        self.events.insert(key, event);
        self.number += 1;
        key
    }

    /// An input has its answer, or will get none: its exchange is ended.
    fn abort(&mut self, now: Duration, input: InputId) {
        if let Some(reply) = self.replies.remove(&input) {
            self.events.remove(&reply);
            self.dispatcher.replied(now, input, Err(&FogError::Aborted));
        }
    }

    fn beliefs<T>(&self, look: impl FnOnce(&mut Beliefs) -> T) -> T {
        look(
            &mut self
                .dispatcher
                .beliefs()
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn happen(
        &mut self,
        now: Duration,
        event: Event,
        arrivals: &[Arrival],
        see: &mut dyn FnMut(DecisionRecord),
    ) {
        match event {
            Event::Arrival(number) => {
                self.arrivals_left -= 1;
                let arrival = arrivals[number];
                for input in self.world.arrives(now, number, arrival, self.dispatcher) {
                    self.abort(now, input);
                }
                match self.dispatcher.arrive(now, arrival.stream, arrival.arrived) {
                    Ok(placed) => {
                        if let Some(dropped) = placed.dropped {
                            self.abort(now, dropped);
                        }
                        self.world.placed(&placed);
                        self.send(now, &placed);
                    }
                    Err(why) => self.world.not_taken(now, arrival, why),
                }
            }
            Event::Reply(input, reply) => {
                self.replies.remove(&input);
                if let Replied::Answer(record) = self.dispatcher.replied(now, input, reply.as_ref())
                {
                    see(*record);
                }
            }
            Event::Over { input, stopped: true, .. } => {
                self.busy[input.core] = false;
                self.dispatcher.failed(input, true);
            }
            Event::Over { input, elapsed, .. } => {
                self.busy[input.core] = false;
                if let Ran::Answered { record, .. } =
                    self.dispatcher.ran(now, input, elapsed, Fuel(0))
                {
                    self.abort(now, input);
                    see(*record);
                }
            }
            Event::Wake => {}
            Event::Probe => self.probe(now),
            Event::Probed { due, started, result } => {
                let rule = *self.dispatcher.probe_rule();
                let elapsed = now.saturating_sub(started);
                self.beliefs(|beliefs| beliefs.exchanged(now, due, &result, elapsed, &rule));
                self.probe(now);
            }
        }
    }

    fn send(&mut self, now: Duration, placed: &Placed) {
        let Some(limit) = placed.exchange else { return };
        let (time, reply) = self.world.infer(now, placed, limit);
        let reply = if time > limit { Err(FogError::TimedOut { limit }) } else { reply };
        let at = now.saturating_add(time.min(limit));
        let reply = self.plan(at, Event::Reply(placed.input, reply));
        self.replies.insert(placed.input, reply);
    }

    fn probe(&mut self, now: Duration) {
        if self.arrivals_left == 0 {
            return;
        }
        let rule = *self.dispatcher.probe_rule();
        let Some(due) = self.beliefs(|beliefs| beliefs.due(now, &rule)) else {
            self.plan(now.saturating_add(PROBING), Event::Probe);
            return;
        };
        let limit = if matches!(due, Due::Push(_)) { rule.push_limit } else { rule.limit };
        let (time, result) = self.world.probe(now, due);
        let result = if time > limit { Err(FogError::TimedOut { limit }) } else { result };
        let at = now.saturating_add(time.min(limit));
        self.plan(at, Event::Probed { due, started: now, result });
    }

    fn ask_cores(&mut self, now: Duration) {
        for core in 0..self.busy.len() {
            if self.busy[core] {
                continue;
            }
            match self.dispatcher.next(core, now) {
                Next::Run { job, stages, budget, limit } => {
                    let input = InputId { core, job };
                    let stream = self.dispatcher.stream_of(input).unwrap_or_default();
                    let time = self.world.run(now, input, stream, stages, budget);
                    self.busy[core] = true;
                    let (elapsed, stopped) = (time.min(limit), time > limit);
                    let over = now.saturating_add(elapsed).saturating_add(self.dispatch);
                    self.plan(over, Event::Over { input, elapsed, stopped });
                }
                Next::Wait(Some(until)) if self.wake[core] != Some(until) => {
                    self.wake[core] = Some(until);
                    self.plan(until.max(now), Event::Wake);
                }
                Next::Wait(_) => {}
            }
        }
    }
}
