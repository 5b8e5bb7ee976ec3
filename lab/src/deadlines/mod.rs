//! The study of deadlines: admitted streams of the reference models, on links that
//! degrade and recover, under each policy, in simulated time.
//!
//! What is simulated is the world: when inputs arrive, what the link carries, how long
//! an execution takes. The executor, the estimates and the policies are the device's
//! own code ([`leeway_runtime::offload::Dispatcher`]), execution times are drawn from
//! a calibration on this machine, and the same input meets the same luck under each
//! policy, so that hindsight can tell what would have been best.

mod calibrate;
mod data;
mod hindsight;
mod histogram;
mod play;
mod scenario;
mod trace;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use leeway_runtime::admission::{
    Admission, Executor, Offloading, Overload, Refusal, Stream, admit,
};
use leeway_runtime::power::PowerModel;
use leeway_runtime::timing::BoundRule;

pub use calibrate::Timed;
pub use data::{
    Course, DeadlineStudy, Outcome, PolicyInfo, ScenarioInfo, Setup, StreamInfo, Timeline,
};
pub use histogram::Histogram;
pub use scenario::{Condition, Family, Scenario, scenarios};
pub use trace::{Trace, TraceError};

use crate::experiment::{ExperimentError, Model};
use crate::power::SMALL_BOARD;

/// The settings of a study.
#[derive(Clone, Debug)]
pub struct Config {
    /// The models, one stream each.
    pub models: Vec<Model>,
    /// Of everything that is drawn.
    pub seed: u64,
    /// How long each scenario lasts, in simulated seconds.
    pub seconds: u32,
    /// How many scenarios are drawn of each kind that is random.
    pub draws: u32,
    /// What the device takes in each of its states.
    pub power: PowerModel,
    /// Recorded links, beside those that are made up.
    pub traces: Vec<Trace>,
}

impl Config {
    /// A minute of each of 18 scenarios, on a device of the power of a small board.
    pub fn new(models: Vec<Model>) -> Self {
        let (power, traces) = (SMALL_BOARD, Vec::new());
        Self { models, seed: 1, seconds: 60, draws: 3, power, traces }
    }
}

/// Why there is no study.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadlineError {
    /// The models could not be measured.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// The streams are more than the device can promise.
    #[error("the streams are not admitted: {0}")]
    Refused(#[from] Refusal),
}

/// What the study is doing.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// A model's execution time is being measured.
    Calibrating(&'a str),
    /// Scenarios are being played.
    Playing {
        /// How many have been, under all policies.
        done: usize,
        /// Of how many.
        of: usize,
    },
}

/// How far it is: what it does, and the part of the whole that is done.
pub type Progress<'a> = &'a mut (dyn FnMut(Step<'_>, f64) + Send);

/// What calibration takes of the whole, about.
const CALIBRATION_PART: f64 = 0.3;
/// The part of the core's time that the largest model's stream wants.
const UTILISATION: f64 = 0.3;
/// The deadline, as a part of the period.
const DEADLINE: f64 = 0.9;

/// Runs the whole study.
pub fn run(config: &Config, progress: Progress<'_>) -> Result<DeadlineStudy, DeadlineError> {
    let (start, models) = (Instant::now(), &config.models);
    let mut timed = Vec::with_capacity(models.len());
    for (i, model) in models.iter().enumerate() {
        let part = i as f64 / models.len() as f64;
        progress(Step::Calibrating(&model.name), CALIBRATION_PART * part);
        timed.push(calibrate::time(model, config.seed)?);
    }
    of_timed(config, &timed, start, progress)
}

/// The study of models whose times are known, which has begun at `start`.
fn of_timed(
    config: &Config,
    timed: &[Timed],
    start: Instant,
    progress: Progress<'_>,
) -> Result<DeadlineStudy, DeadlineError> {
    let (streams, timed) = streams(timed);
    let executor = Executor::default();
    let admission = admit(&streams, &executor)?;

    let scenarios = scenarios(config.seed, config.seconds, config.draws, &config.traces);
    let courses = play_all(config, &timed, &streams, &admission, &scenarios, progress);
    let mut timeline = None;
    let mut outcomes = Vec::new();
    for (course, scenario) in courses.into_iter().zip(&scenarios) {
        outcomes.extend(course.outcomes);
        if scenario.family == Family::Degrading {
            timeline = Some(course.timeline);
        }
    }
    Ok(DeadlineStudy {
        setup: Setup::of_this_machine(config, start.elapsed().as_secs_f64()),
        streams: StreamInfo::all(&streams, &admission, &timed),
        policies: play::policies(),
        scenarios: scenarios.iter().map(ScenarioInfo::from).collect(),
        outcomes,
        timeline,
    })
}

/// A stream for each model, and a second one for the largest. The largest takes its
/// share of the core; the others come about as often, so that none has most of the
/// inputs.
fn streams(timed: &[Timed]) -> (Vec<Stream>, Vec<Timed>) {
    let rule = BoundRule::default();
    let largest = timed.iter().max_by_key(|timed| timed.bound(&rule));
    let second = largest.map(|timed| Timed { name: format!("{} 2", timed.name), ..timed.clone() });
    let slowest = largest.map_or(0.0, |timed| timed.bound(&rule).as_secs_f64() / UTILISATION);
    let all: Vec<Timed> = timed.iter().cloned().chain(second).collect();
    let stream = |(number, timed): (usize, &Timed)| {
        // Whole milliseconds, as people choose them.
        let period_ms = (1e3 * slowest * (1.0 + 0.13 * number as f64)).ceil().max(1.0);
        let period = Duration::from_secs_f64(period_ms / 1e3);
        Stream {
            name: timed.name.clone(),
            period,
            deadline: period.mul_f64(DEADLINE),
            jitter: Duration::ZERO,
            priority: None,
            stages: timed.stage_bounds(&rule),
            core: None,
            overload: Overload::DropNewest,
            degrade_to: None,
            offload: Some(Offloading { setup: Duration::from_micros(200) }),
        }
    };
    let streams = all.iter().enumerate().map(stream).collect();
    (streams, all)
}

/// Plays the scenarios on as many threads as there are processors.
fn play_all(
    config: &Config,
    timed: &[Timed],
    streams: &[Stream],
    admission: &Admission,
    scenarios: &[Scenario],
    progress: Progress<'_>,
) -> Vec<Course> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (AtomicUsize::new(0), Mutex::new((0, progress)));
    let courses: Vec<Mutex<Option<Course>>> = scenarios.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(scenarios.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(number) else { return };
                    let course = play::play(config, timed, streams, admission, scenario);
                    *lock(&courses[number]) = Some(course);
                    let mut done = lock(&done);
                    done.0 += 1;
                    let (played, of) = (done.0, scenarios.len());
                    let part = played as f64 / of as f64;
                    let fraction = CALIBRATION_PART + (1.0 - CALIBRATION_PART) * part;
                    (done.1)(Step::Playing { done: played, of }, fraction);
                }
            });
        }
    });
    let take = |course: &Mutex<Option<Course>>| lock(course).take();
    courses.iter().filter_map(take).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
