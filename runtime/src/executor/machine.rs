//! The local executor's decisions: which inputs are taken, which job runs next,
//! and whose answer counts. It is told the time and does nothing itself.
//!
//! What it relies on is what admission assumed: inputs of a stream arrive at
//! least a period apart (those that do not are an overload of their own stream, and
//! are shed from it), and segments take no longer than their worst case.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Sum;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::admission::{Admission, Admitted, Executor, Overload, Scheduling, Stream};

/// What was promised to a stream, as the machine needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The minimum time between two inputs.
    pub period: Duration,
    /// From an input's arrival to its answer.
    pub deadline: Duration,
    /// How long after its arrival an input may become ready.
    pub jitter: Duration,
    /// The stages that run without a break.
    pub segments: Vec<RangeInclusive<u32>>,
    /// The worst-case execution time of each segment.
    pub budgets: Vec<Duration>,
    /// How much longer one may take before it is stopped.
    pub tolerance: Duration,
    /// Under fixed priorities, the rank.
    pub rank: Option<usize>,
    /// How long after its arrival an offloaded input becomes ready on the device.
    pub arm_after: Duration,
    /// What happens to inputs that come too early.
    pub overload: Overload,
}

impl Service {
    /// The services of the admitted streams of one core, in their order. Both
    /// lists are in the order in which the streams were asked for.
    pub fn of_core(
        streams: &[Stream],
        admission: &Admission,
        executor: &Executor,
        core: usize,
    ) -> Vec<Self> {
        let pairs = streams.iter().zip(&admission.streams).filter(|(_, a)| a.core == core);
        pairs.map(|(stream, admitted)| Self::of(stream, admitted, executor)).collect()
    }

    /// The service of one stream, as it was admitted.
    pub fn of(stream: &Stream, admitted: &Admitted, executor: &Executor) -> Self {
        let time = |range: &RangeInclusive<u32>| {
            stream.stages[*range.start() as usize..=*range.end() as usize].iter().sum()
        };
        Self {
            period: stream.period,
            deadline: stream.deadline,
            jitter: stream.jitter,
            segments: admitted.segments.clone(),
            budgets: admitted.segments.iter().map(time).collect(),
            tolerance: executor.tolerance,
            rank: admitted.rank,
            arm_after: admitted.arm_after.unwrap_or_default(),
            overload: stream.overload,
        }
    }

    /// The worst-case execution time of all segments.
    pub fn wcet(&self) -> Duration {
        self.budgets.iter().sum()
    }
}

/// Names a job of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// An input that is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The one that has just come.
    Newest,
    /// Its stream wants its smaller model to take it.
    Degraded,
}

/// An input that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its job.
    pub job: JobId,
    /// Its arrival, as its deadline counts from: later than it came where it came
    /// too early.
    pub arrival: Duration,
    /// When its answer is due.
    pub deadline: Duration,
    /// When it becomes ready on the device if it is offloaded.
    pub armed: Duration,
    /// An older one of the stream that made place for it.
    pub dropped: Option<JobId>,
}

/// What the core should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run these stages of a job.
    Run {
        /// The job.
        job: JobId,
        /// The stages.
        stages: RangeInclusive<u32>,
        /// Their worst-case execution time.
        budget: Duration,
        /// Stop them after this time.
        limit: Duration,
    },
    /// Nothing before this time; unless something happens, nothing at all.
    Wait(Option<Duration>),
}

/// What has become of a job whose segment has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has segments left.
    More,
    /// The device has answered it.
    Answered,
    /// It had been answered in the meantime.
    TooLate,
}

/// What has happened to the inputs of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Inputs that came.
    pub arrived: u64,
    /// Of these, too early ones that were not run.
    pub shed: u64,
    /// Answers by the device.
    pub by_device: u64,
    /// Answers by the fog host.
    pub by_fog: u64,
    /// Inputs that neither answered.
    pub failed: u64,
    /// Segments that took longer than their worst case.
    pub overruns: u64,
    /// Answers that were late.
    pub missed: u64,
    /// Answers of the fog host that came after the device's.
    pub fog_too_late: u64,
    /// Requests to the fog host that failed, or had an answer that was not one.
    pub fog_failed: u64,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |a, b| Self {
            arrived: a.arrived + b.arrived,
            shed: a.shed + b.shed,
            by_device: a.by_device + b.by_device,
            by_fog: a.by_fog + b.by_fog,
            failed: a.failed + b.failed,
            overruns: a.overruns + b.overruns,
            missed: a.missed + b.missed,
            fog_too_late: a.fog_too_late + b.fog_too_late,
            fog_failed: a.fog_failed + b.fog_failed,
        })
    }
}

#[derive(Debug)]
struct Job {
    stream: usize,
    /// What was promised when it came, or since, where it could still be served so.
    service: Arc<Service>,
    arrival: Duration,
    deadline: Duration,
    ready: Duration,
    /// Of its next segment.
    segment: usize,
    /// The last stage of the model that answers it: what is promised to its stream may
    /// be for one with more.
    last: u32,
    /// Whether an answer of the fog host may still come.
    offloaded: bool,
    /// Whether somebody has answered it.
    answered: bool,
}

impl Job {
    /// How many segments its model has.
    fn segments(&self) -> usize {
        self.service.segments.iter().take_while(|stages| *stages.start() <= self.last).count()
    }
}

/// The executor of one core.
#[derive(Debug)]
pub struct Machine {
    scheduling: Scheduling,
    services: Vec<Arc<Service>>,
    counts: Vec<Counts>,
    /// The arrival of each stream's last input.
    last_arrival: Vec<Option<Duration>>,
    /// Each stream's inputs that came too early and wait for their time.
    early: Vec<VecDeque<JobId>>,
    jobs: BTreeMap<JobId, Job>,
    running: Option<JobId>,
    next: u64,
}

impl Machine {
    /// A machine without jobs; streams are named by their place among `services`.
    pub fn new(scheduling: Scheduling, services: Vec<Service>) -> Self {
        let streams = services.len();
        Self {
            scheduling,
            counts: vec![Counts::default(); streams],
            last_arrival: vec![None; streams],
            early: vec![VecDeque::new(); streams],
            services: services.into_iter().map(Arc::new).collect(),
            jobs: BTreeMap::new(),
            running: None,
            next: 0,
        }
    }

    /// What has happened to the inputs of a stream.
    pub fn counts(&self, stream: usize) -> Counts {
        self.counts[stream]
    }

    /// From now on a stream is served so. So are its jobs that have come already, unless
    /// they have begun and their segments are others.
    pub fn serve(&mut self, stream: usize, service: Service) {
        let service = Arc::new(service);
        for (id, job) in self.jobs.iter_mut().filter(|(_, job)| job.stream == stream) {
            let begun = job.segment > 0 || self.running == Some(*id);
            if !begun || job.service.segments == service.segments {
                job.service = Arc::clone(&service);
            }
        }
        self.services[stream] = service;
    }

    /// The device waits for no answer of the fog host any longer: what is waited for is
    /// ready now, or when it arrives.
    pub fn arm_all(&mut self, now: Duration) {
        for job in self.jobs.values_mut().filter(|job| job.offloaded && job.ready < Duration::MAX) {
            job.ready = job.ready.min(job.arrival.max(now));
        }
    }

    /// Whether no job is left that has arrived and that the device has to answer.
    pub fn is_idle_at(&self, now: Duration) -> bool {
        self.running.is_none() && self.jobs.values().all(|job| job.ready > now)
    }

    /// Whether an input of the stream that comes now comes too early.
    pub fn is_early(&self, now: Duration, stream: usize) -> bool {
        let period = self.services[stream].period;
        self.last_arrival[stream].is_some_and(|last| last.saturating_add(period) > now)
    }

    /// Takes back the input of the stream that came too early and waits for its time, as
    /// if it had not come.
    pub fn give_back(&mut self, now: Duration, stream: usize) -> Option<JobId> {
        let waits = |job: &JobId| self.jobs.get(job).is_some_and(|job| job.arrival > now);
        let early = self.early[stream].drain(..).find(waits)?;
        let job = self.jobs.remove(&early)?;
        self.last_arrival[stream] = Some(job.arrival.saturating_sub(job.service.period));
        self.counts[stream].arrived -= 1;
        Some(early)
    }

    /// Serves one stream more, whose last input arrived at `last_arrival`, elsewhere.
    /// Returns its place.
    pub fn add(&mut self, service: Service, last_arrival: Option<Duration>) -> usize {
        self.services.push(Arc::new(service));
        self.counts.push(Counts::default());
        self.last_arrival.push(last_arrival);
        self.early.push(VecDeque::new());
        self.services.len() - 1
    }

    /// When a stream's last input arrived, as its deadline counts from.
    pub fn last_arrival(&self, stream: usize) -> Option<Duration> {
        self.last_arrival[stream]
    }

    /// How a stream is served.
    pub fn service(&self, stream: usize) -> &Service {
        &self.services[stream]
    }

    /// Whether no job is left.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The work that the core would do before an input of this stream that arrives now:
    /// what is ready and more urgent, and what is running. Worst-case times.
    pub fn backlog(&self, now: Duration, stream: usize) -> Duration {
        let service = &self.services[stream];
        let urgency = self.urgency(stream, now.saturating_add(service.deadline));
        let before = self.jobs.iter().filter(|&(&id, job)| {
            let urgent = self.urgency(job.stream, job.deadline) <= urgency;
            !job.answered && job.ready <= now && (urgent || self.running == Some(id))
        });
        let left = |job: &Job| job.service.budgets[job.segment..].iter().sum();
        before
            .map(|(_, job)| left(job))
            .fold(Duration::ZERO, |sum, left: Duration| sum.saturating_add(left))
    }

    /// The stream of a job, while it is not over.
    pub fn stream(&self, job: JobId) -> Option<usize> {
        self.jobs.get(&job).map(|job| job.stream)
    }

    /// Takes an input that is ready now and belongs to an arrival at `arrived`, or
    /// sheds it. It runs on the device, unless [`Self::offload`] is called before
    /// the core is asked what to do next.
    pub fn arrive(
        &mut self,
        now: Duration,
        stream: usize,
        arrived: Duration,
    ) -> Result<Taken, Shed> {
        self.arrive_for(now, stream, arrived, u32::MAX)
    }

    /// The same for a model whose stages end with `last`, where the stream's segments
    /// may be for one that has more.
    pub fn arrive_for(
        &mut self,
        now: Duration,
        stream: usize,
        arrived: Duration,
        last: u32,
    ) -> Result<Taken, Shed> {
        let service = Arc::clone(&self.services[stream]);
        self.counts[stream].arrived += 1;
        let earliest = self.last_arrival[stream].map(|last| last.saturating_add(service.period));
        // One that is later than its jitter allows counts as one that arrived later.
        let arrived = arrived.min(now).max(now.saturating_sub(service.jitter));
        let arrival = earliest.map_or(arrived, |earliest| arrived.max(earliest));
        let mut dropped = None;
        if arrival > now {
            let waiting = &mut self.early[stream];
            waiting.retain(|job| self.jobs.get(job).is_some_and(|job| job.arrival > now));
            if let Some(&oldest) = waiting.front() {
                self.counts[stream].shed += 1;
                match service.overload {
                    Overload::DropNewest => return Err(Shed::Newest),
                    Overload::Degrade => return Err(Shed::Degraded),
                    Overload::DropOldest => {
                        waiting.pop_front();
                        dropped = Some(oldest);
                    }
                }
            }
        }
        // One that makes place hands on its place in time as well.
        let place = dropped.and_then(|job| self.jobs.remove(&job)).map(|job| job.arrival);
        let arrival = place.unwrap_or(arrival);
        let job = JobId(self.next);
        self.next += 1;
        if arrival > now {
            self.early[stream].push_back(job);
        }
        self.last_arrival[stream] = Some(arrival);
        let deadline = arrival.saturating_add(service.deadline);
        let armed = arrival.saturating_add(service.arm_after);
        let ready = arrival.max(now);
        let (segment, offloaded, answered) = (0, false, false);
        let state =
            Job { stream, service, arrival, deadline, ready, segment, last, offloaded, answered };
        self.jobs.insert(job, state);
        Ok(Taken { job, arrival, deadline, armed, dropped })
    }

    /// The job's input has been sent to the fog host: the device waits until it is
    /// armed. A job that has begun goes on.
    pub fn offload(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get_mut(&job).filter(|job| job.segment == 0) {
            job.offloaded = true;
            job.ready = job.ready.max(job.arrival.saturating_add(job.service.arm_after));
        }
    }

    /// A valid answer of the fog host has come. True if it is the job's answer, and
    /// false if there already is one.
    pub fn fog_answered(&mut self, now: Duration, stream: usize, job: JobId) -> bool {
        let Some(state) = self.jobs.get_mut(&job).filter(|job| !job.answered) else {
            self.counts[stream].fog_too_late += 1;
            return false;
        };
        state.answered = true;
        let missed = now > state.deadline;
        let counts = &mut self.counts[stream];
        counts.by_fog += 1;
        counts.missed += u64::from(missed);
        if self.running != Some(job) {
            self.jobs.remove(&job);
        }
        true
    }

    /// No valid answer of the fog host will come: the device need not wait. True if
    /// nobody will answer the job now, as the device has failed it before.
    pub fn fog_failed(&mut self, now: Duration, stream: usize, job: JobId) -> bool {
        let counts = &mut self.counts[stream];
        counts.fog_failed += 1;
        let Some(state) = self.jobs.get_mut(&job).filter(|job| !job.answered) else {
            return false;
        };
        state.offloaded = false;
        if state.ready == Duration::MAX {
            counts.failed += 1;
            self.jobs.remove(&job);
            return true;
        }
        state.ready = state.ready.min(now.max(state.arrival));
        false
    }

    /// What the core, which is free, should do.
    pub fn next(&mut self, now: Duration) -> Next {
        debug_assert!(self.running.is_none(), "the core is asked when it is free");
        let ready = self.jobs.iter().filter(|(_, job)| job.ready <= now);
        let chosen = ready
            .min_by_key(|&(&id, job)| (self.urgency(job.stream, job.deadline), job.arrival, id));
        match chosen {
            Some((&id, job)) => {
                let service = &job.service;
                let stages = service.segments[job.segment].clone();
                let stages = *stages.start()..=job.last.min(*stages.end());
                let budget = service.budgets[job.segment];
                self.running = Some(id);
                Next::Run {
                    job: id,
                    stages,
                    budget,
                    limit: budget.saturating_add(service.tolerance),
                }
            }
            None => {
                let ready = self.jobs.values().map(|job| job.ready);
                Next::Wait(ready.filter(|&ready| ready < Duration::MAX).min())
            }
        }
    }

    fn urgency(&self, stream: usize, deadline: Duration) -> Duration {
        match (self.scheduling, self.services[stream].rank) {
            (Scheduling::FixedPriority, Some(rank)) => Duration::from_nanos(rank as u64),
            _ => deadline,
        }
    }

    /// The segment that [`Self::next`] gave has run, for this time.
    pub fn ran(&mut self, now: Duration, job: JobId, elapsed: Duration) -> Progress {
        self.running = None;
        let Some(state) = self.jobs.get_mut(&job) else { return Progress::TooLate };
        let (service, counts) = (&state.service, &mut self.counts[state.stream]);
        counts.overruns += u64::from(elapsed > service.budgets[state.segment]);
        state.segment += 1;
        if !state.answered && state.segment < state.segments() {
            return Progress::More;
        }
        if state.answered {
            self.jobs.remove(&job);
            return Progress::TooLate;
        }
        counts.by_device += 1;
        counts.missed += u64::from(now > state.deadline);
        self.jobs.remove(&job);
        Progress::Answered
    }

    /// The segment that [`Self::next`] gave has failed, or was stopped. True if
    /// nobody will answer the job now; false if the fog host has, or still may.
    pub fn failed(&mut self, job: JobId, stopped: bool) -> bool {
        self.running = None;
        let Some(state) = self.jobs.get_mut(&job) else { return false };
        let counts = &mut self.counts[state.stream];
        counts.overruns += u64::from(stopped);
        if state.offloaded && !state.answered {
            state.ready = Duration::MAX;
            return false;
        }
        let lost = !state.answered;
        counts.failed += u64::from(lost);
        self.jobs.remove(&job);
        lost
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
