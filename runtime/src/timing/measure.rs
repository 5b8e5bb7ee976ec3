//! Measuring: runs a model on inputs in a mixed order, with warm and with cold
//! caches, whole and stage by stage.
//!
//! Every input runs several times, in a seeded order that mixes inputs, after a
//! warm-up, and each time after a short rest: a device that waits for its sensor
//! or its network runs the next input on a core that has just been idle, which
//! costs time that a run right after another one does not see.
//!
//! A run of the whole model and a run stage by stage take turns, so that whatever
//! slows the machine down slows both down. Stages follow each other without rest.
//! Before a cold run, and each of its stages, the caches are emptied.

use std::time::{Duration, Instant};

use leeway_contract::{Fuel, Tensor};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::evict::Evictor;
use super::run::{Cause, RunSample};
use crate::nanos;
use crate::offload::local::{Local, LocalError};
use crate::realtime::ThreadUsage;

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureOptions {
    /// Runs before anything is measured.
    pub warm_up: usize,
    /// Warm runs of each input.
    pub repetitions: usize,
    /// Cold runs in all, of inputs in turn; 0 for none.
    pub cold_runs: usize,
    /// Whether stages are measured by themselves.
    pub stages: bool,
    /// Idle time before each warm run.
    pub rest: Duration,
    /// Roughly the longest that the warm runs of the whole model may take: where
    /// the inputs are too many for it, evenly spaced ones are taken, and at least
    /// eight.
    pub budget: Option<Duration>,
    /// How often at most a run is made again that a more urgent thread interrupted: where
    /// the measuring thread gives way to others, and what is measured will not have to.
    pub again: u32,
    /// Of the order.
    pub seed: u64,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        let rest = Duration::from_millis(2);
        let (warm_up, repetitions, cold_runs, seed) = (5, 5, 0, 1);
        let (stages, budget, again) = (false, None, 0);
        Self { warm_up, repetitions, cold_runs, stages, rest, budget, again, seed }
    }
}

const FEWEST_INPUTS: usize = 8;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// Nothing to run.
    #[error("calibration needs at least one input and one repetition")]
    NoInputs,
    /// The model failed on one input.
    #[error("input {input}: {source}")]
    Run {
        /// Which input.
        input: usize,
        /// Why.
        source: LocalError,
    },
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Steps of the phase that are done.
    pub done: usize,
    /// All of its steps.
    pub total: usize,
}

/// What calibration is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Runs with warm caches.
    Warm,
    /// Runs with cold caches.
    Cold,
    /// The tails of the model and of its stages are fitted.
    Analysing,
}

/// The runs of one piece of code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The fuel of one run.
    pub fuel: Fuel,
    /// The runs, in order.
    pub samples: Vec<RunSample>,
}

/// Whole and by stages, under one condition of the caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// All stages in one call.
    pub whole: Series,
    /// Each stage in a call of its own; empty where stages were not measured.
    pub stages: Vec<Series>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How many inputs ran.
    pub inputs: usize,
    /// With warm caches.
    pub warm: Runs,
    /// With cold caches; `None` where there were no such runs.
    pub cold: Option<Runs>,
}

/// Measures a model on the calling thread, under whatever real-time set-up it
/// has ([`crate::realtime::RealTime::apply`]).
pub fn measure(
    local: &mut dyn Local,
    inputs: &[Vec<Tensor>],
    options: &MeasureOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Measured, MeasureError> {
    if inputs.is_empty() || options.repetitions == 0 {
        return Err(MeasureError::NoInputs);
    }
    let last = local.certificate().last_stage();
    let mut bench = Bench { local, last, stages: options.stages, again: options.again };
    let mut before = |_: bool| ();
    let mut each = bench.run(0, 0, last, &inputs[0], &mut before)?.1;
    for i in 0..options.warm_up {
        let input = i % inputs.len();
        each = bench.run(input, 0, last, &inputs[input], &mut before)?.1;
    }
    let chosen = choose(inputs.len(), Duration::from_nanos(each.ns), options);

    let total = chosen.len() * options.repetitions;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut order = chosen.clone();
    let mut warm = Runs::default();
    let mut rest = |first: bool| {
        if first {
            std::thread::sleep(options.rest);
        }
    };
    for repetition in 0..options.repetitions {
        order.shuffle(&mut rng);
        for (i, &input) in order.iter().enumerate() {
            bench.measure(input, &inputs[input], &mut rest, &mut warm)?;
            let done = repetition * order.len() + i + 1;
            progress(Progress { phase: Phase::Warm, done, total });
        }
    }
    let mut cold = None;
    if options.cold_runs > 0 {
        let mut evictor = Evictor::of_this_machine(crate::realtime::only_cpu());
        let mut evict = |_| evictor.evict();
        let runs = cold.insert(Runs::default());
        for i in 0..options.cold_runs {
            let input = order[i % order.len()];
            bench.measure(input, &inputs[input], &mut evict, runs)?;
            progress(Progress { phase: Phase::Cold, done: i + 1, total: options.cold_runs });
        }
    }
    Ok(Measured { inputs: chosen.len(), warm, cold })
}

/// Evenly spaced inputs, as many as the budget allows.
fn choose(inputs: usize, each: Duration, options: &MeasureOptions) -> Vec<usize> {
    let affordable = options.budget.map_or(inputs, |budget| {
        let run = nanos::of(each.saturating_add(options.rest));
        let one = run.saturating_mul(options.repetitions as u64).max(1);
        (nanos::of(budget) / one) as usize
    });
    let count = affordable.max(FEWEST_INPUTS).min(inputs);
    (0..count).map(|i| i * inputs / count).collect()
}

struct Bench<'a> {
    local: &'a mut dyn Local,
    last: u32,
    stages: bool,
    again: u32,
}

impl Bench<'_> {
    /// The whole model and then its stages on one input; `before` prepares a run,
    /// and is told whether it is the first of several that follow each other.
    fn measure(
        &mut self,
        input: usize,
        tensors: &[Tensor],
        before: &mut dyn FnMut(bool),
        runs: &mut Runs,
    ) -> Result<(), MeasureError> {
        let (_, sample, fuel) = self.run(input, 0, self.last, tensors, before)?;
        runs.whole.push(sample.clone(), fuel);
        if !self.stages {
            return Ok(());
        }
        runs.stages.resize_with(self.last as usize + 1, Series::default);
        if self.last == 0 {
            // The only stage is the whole.
            runs.stages[0].push(sample, fuel);
            return Ok(());
        }
        let mut crossing = tensors.to_vec();
        for stage in 0..=self.last {
            let prepare = &mut |_| before(stage == 0);
            let (outputs, sample, fuel) = self.run(input, stage, stage, &crossing, prepare)?;
            runs.stages[stage as usize].push(sample, fuel);
            crossing = outputs;
        }
        Ok(())
    }

    fn run(
        &mut self,
        input: usize,
        first: u32,
        last: u32,
        tensors: &[Tensor],
        before: &mut dyn FnMut(bool),
    ) -> Result<(Vec<Tensor>, RunSample, Fuel), MeasureError> {
        let mut again = self.again;
        loop {
            before(true);
            let usage = ThreadUsage::now();
            let start = Instant::now();
            let run = self.local.run(first..=last, tensors);
            let wall_ns = nanos::of(start.elapsed());
            let causes = Cause::between(usage, ThreadUsage::now(), wall_ns);
            let run = run.map_err(|source| MeasureError::Run { input, source })?;
            if again == 0 || !causes.contains(&Cause::Preempted) {
                let sample = RunSample { input, ns: nanos::of(run.elapsed), causes };
                return Ok((run.outputs, sample, run.fuel));
            }
            again -= 1;
        }
    }
}

impl Series {
    fn push(&mut self, sample: RunSample, fuel: Fuel) {
        self.samples.push(sample);
        self.fuel = fuel;
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
