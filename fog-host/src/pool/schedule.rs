//! Which job runs next, and which is taken at all: earliest deadline first over as
//! many workers as there are, with a test of feasibility at the door.
//!
//! A job is taken if, by the costs that are expected, it and all that were taken
//! before it end by their deadlines: the queue is gone through in its order, each
//! job onto the worker that is free first. Everything here is arithmetic on times
//! that are handed in; there is no clock and no thread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Why a job is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The queue is full.
    Full {
        /// How many jobs wait.
        waiting: usize,
        /// When all of them will have begun.
        wait: Duration,
    },
    /// It would end too late, or have one that was taken before it end too late.
    Late {
        /// When it, or that one, would end.
        end: Duration,
        /// When all that wait will have begun.
        wait: Duration,
    },
}

struct Entry<T> {
    cost: Duration,
    job: T,
}

/// A deadline, and a number, by which equal ones are in turn.
type Key = (Instant, u64);

/// A worker that is busy. Whichever thread has it is the worker.
#[derive(Debug)]
pub(super) struct Busy(usize);

/// The jobs that wait, and what the workers are at.
pub(super) struct Schedule<T> {
    queue: BTreeMap<Key, Entry<T>>,
    /// When each worker's run is expected to end; `None` for an idle one.
    running: Vec<Option<Instant>>,
    capacity: usize,
    next: u64,
}

impl<T> Schedule<T> {
    /// Of `capacity` jobs at most, besides those that find an idle worker.
    pub(super) fn new(workers: usize, capacity: usize) -> Self {
        Self { queue: BTreeMap::new(), running: vec![None; workers], capacity, next: 0 }
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether one more job may be taken.
    pub(super) fn check(
        &self,
        now: Instant,
        deadline: Instant,
        cost: Duration,
    ) -> Result<(), Refusal> {
        let idle = self.running.iter().filter(|end| end.is_none()).count();
        if self.queue.len() >= self.capacity + idle {
            return Err(Refusal::Full { waiting: self.queue.len(), wait: self.wait(now) });
        }
        match self.late(now, (deadline, self.next), cost) {
            None => Ok(()),
            Some(end) => {
                let end = end.saturating_duration_since(now);
                Err(Refusal::Late { end, wait: self.wait(now) })
            }
        }
    }

    /// Takes a job that has passed the check.
    pub(super) fn insert(&mut self, deadline: Instant, cost: Duration, job: T) {
        self.queue.insert((deadline, self.next), Entry { cost, job });
        self.next += 1;
    }

    /// When one more job would end, if that is too late, or one that it makes late.
    fn late(&self, now: Instant, key: Key, cost: Duration) -> Option<Instant> {
        let mut free = self.free(now);
        // What is more urgent ends as it would without it.
        for entry in self.queue.range(..key).map(|(_, entry)| entry) {
            run(&mut free, entry.cost);
        }
        let mut with = free.clone();
        let end = run(&mut with, cost);
        if end > key.0 {
            return Some(end);
        }
        self.queue.range(key..).find_map(|((deadline, _), entry)| {
            let (without, with) = (run(&mut free, entry.cost), run(&mut with, entry.cost));
            // One that is late already is so without this job.
            (with > *deadline && without <= *deadline).then_some(with)
        })
    }

    /// The most urgent job, for a worker that is idle until it says that this has ended.
    pub(super) fn start(&mut self, now: Instant) -> Option<(Busy, T)> {
        let worker = self.running.iter().position(Option::is_none)?;
        let (_, Entry { cost, job }) = self.queue.pop_first()?;
        Some((self.occupy(worker, now, cost), job))
    }

    /// An idle worker, if nothing waits, for a run that begins now.
    pub(super) fn start_at_once(&mut self, now: Instant, cost: Duration) -> Option<Busy> {
        let worker = self.running.iter().position(Option::is_none)?;
        self.queue.is_empty().then(|| self.occupy(worker, now, cost))
    }

    fn occupy(&mut self, worker: usize, now: Instant, cost: Duration) -> Busy {
        // A run without an end that a clock can tell is not idle.
        self.running[worker] = Some(now.checked_add(cost).unwrap_or(now));
        Busy(worker)
    }

    /// A worker's run has ended.
    pub(super) fn end(&mut self, Busy(worker): Busy) {
        self.running[worker] = None;
    }

    /// Drops the waiting jobs that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.queue.retain(|_, entry| keep(&entry.job));
    }

    /// When the workers will be free, soonest first. A run that takes longer than
    /// was expected may end at any time.
    fn free(&self, now: Instant) -> Vec<Instant> {
        let mut free: Vec<Instant> =
            self.running.iter().map(|end| end.map_or(now, |end| end.max(now))).collect();
        free.sort_unstable();
        free
    }

    /// When all that wait will have begun.
    fn wait(&self, now: Instant) -> Duration {
        let mut free = self.free(now);
        for entry in self.queue.values() {
            run(&mut free, entry.cost);
        }
        free[0].saturating_duration_since(now)
    }
}

/// Has the worker that is free first, and is the first here, run a job: when it ends. The
/// workers stay in their order.
fn run(free: &mut [Instant], cost: Duration) -> Instant {
    let end = free[0].checked_add(cost).unwrap_or(free[0] + Duration::from_secs(1 << 40));
    let place = free[1..].partition_point(|other| *other < end);
    free[..=place].rotate_left(1);
    free[place] = end;
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl<T> Schedule<T> {
        /// Takes a job, or gives it back.
        fn admit(
            &mut self,
            now: Instant,
            deadline: Instant,
            cost: Duration,
            job: T,
        ) -> Result<(), (Refusal, T)> {
            match self.check(now, deadline, cost) {
                Ok(()) => {
                    self.insert(deadline, cost, job);
                    Ok(())
                }
                Err(refusal) => Err((refusal, job)),
            }
        }
    }

    fn schedule(workers: usize, capacity: usize) -> (Schedule<&'static str>, Instant) {
        (Schedule::new(workers, capacity), Instant::now())
    }

    #[test]
    fn the_earliest_deadline_runs_first_and_equal_ones_in_turn() {
        let (mut schedule, now) = schedule(1, 10);
        for (job, deadline) in [("c", 30), ("a", 10), ("b", 20), ("b2", 20)] {
            schedule.admit(now, now + MS * deadline, MS, job).unwrap();
        }
        for job in ["a", "b", "b2", "c"] {
            let (worker, seen) = schedule.start(now).unwrap();
            assert_eq!(seen, job);
            assert!(schedule.start(now).is_none());
            schedule.end(worker);
        }
        assert!(schedule.start(now).is_none());
    }

    #[test]
    fn a_job_that_would_be_late_is_refused_with_its_end() {
        let (mut schedule, now) = schedule(1, 10);
        schedule.admit(now, now + MS * 20, MS * 10, "a").unwrap();
        schedule.start(now).unwrap();
        schedule.admit(now, now + MS * 20, MS * 10, "b").unwrap();
        let refused = schedule.admit(now, now + MS * 29, MS * 10, "c").unwrap_err();
        assert_eq!(refused, (Refusal::Late { end: MS * 30, wait: MS * 20 }, "c"));
        schedule.admit(now, now + MS * 30, MS * 10, "c").unwrap();
    }

    #[test]
    fn what_was_taken_is_not_made_late_by_what_is_more_urgent() {
        let (mut schedule, now) = schedule(1, 10);
        schedule.admit(now, now + MS * 20, MS * 10, "a").unwrap();
        schedule.admit(now, now + MS * 40, MS * 20, "b").unwrap();
        // It would be in time itself.
        let refused = schedule.admit(now, now + MS * 15, MS * 15, "c").unwrap_err();
        assert!(matches!(refused, (Refusal::Late { end, .. }, "c") if end == MS * 25));
        schedule.admit(now, now + MS * 15, MS * 10, "d").unwrap();
    }

    #[test]
    fn one_that_is_late_already_keeps_nobody_out() {
        let (mut schedule, now) = schedule(1, 10);
        schedule.admit(now, now + MS * 10, MS * 5, "a").unwrap();
        let later = now + MS * 8;
        schedule.admit(later, later + MS * 100, MS * 5, "b").unwrap();
    }

    #[test]
    fn workers_share_the_queue() {
        let (mut schedule, now) = schedule(2, 10);
        schedule.admit(now, now + MS * 100, MS * 30, "long").unwrap();
        schedule.start(now).unwrap();
        for _ in 0..3 {
            schedule.admit(now, now + MS * 30, MS * 10, "short").unwrap();
        }
        let refused = schedule.admit(now, now + MS * 30, MS * 10, "short").unwrap_err();
        assert_eq!(refused.0, Refusal::Late { end: MS * 40, wait: MS * 30 });
        // A run that has taken longer than expected may end at any time.
        let later = now + MS * 31;
        schedule.retain(|_| false);
        schedule.admit(later, later + MS * 10, MS * 10, "next").unwrap();
    }

    #[test]
    fn a_full_queue_refuses_whatever_the_deadlines() {
        let (mut schedule, now) = schedule(1, 1);
        let deadline = now + MS * 1000;
        schedule.admit(now, deadline, MS, "finds an idle worker").unwrap();
        schedule.admit(now, deadline, MS, "waits").unwrap();
        let refused = schedule.admit(now, deadline, MS, "too many").unwrap_err();
        assert_eq!(refused.0, Refusal::Full { waiting: 2, wait: MS * 2 });
        schedule.start(now).unwrap();
        assert!(schedule.admit(now, deadline, MS, "still").is_err());
        schedule.retain(|job| *job != "waits");
        assert_eq!(schedule.waiting(), 0);
        schedule.admit(now, deadline, MS, "fits").unwrap();
    }

    #[test]
    fn what_runs_at_once_takes_an_idle_worker_and_passes_nobody() {
        let (mut schedule, now) = schedule(2, 10);
        let first = schedule.start_at_once(now, MS * 10).unwrap();
        schedule.admit(now, now + MS * 20, MS * 10, "waits").unwrap();
        assert!(schedule.start_at_once(now, MS).is_none());
        let (second, _) = schedule.start(now).unwrap();
        assert!(schedule.start_at_once(now, MS).is_none());
        // Both count in what is taken.
        assert!(schedule.admit(now, now + MS * 15, MS * 10, "late").is_err());
        schedule.end(first);
        schedule.end(second);
        assert!(schedule.start_at_once(now, MS).is_some());
    }

    /// A small generator of numbers from 0 to 1 (MINSTD).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 = self.0 * 48_271 % 2_147_483_647;
            self.0 as f64 / 2_147_483_647.0
        }
    }

    /// What became of the jobs that came at a multiple of what two workers can do, in
    /// simulated time: taken, of these late, refused, and the share of the time in
    /// which the workers worked.
    fn simulated(load: f64) -> (u32, u32, u32, f64) {
        const WORKERS: usize = 2;
        const JOBS: u32 = 20_000;
        let start = Instant::now();
        let (mut schedule, mut random) = (Schedule::new(WORKERS, 64), Random(7));
        let mut running: Vec<(Instant, Instant, Busy)> = Vec::new();
        let (mut taken, mut late, mut refused, mut busy) = (0, 0, 0, Duration::ZERO);
        let (mut now, mut arrival, mut jobs) = (start, start, 0);
        let mean_cost = MS * 10;
        while jobs < JOBS || schedule.waiting() > 0 || !running.is_empty() {
            let ends = running.iter().map(|(end, ..)| *end).min();
            let comes = (jobs < JOBS).then_some(arrival);
            now = ends.into_iter().chain(comes).min().unwrap_or(now);
            for (_, deadline, worker) in running.extract_if(.., |(end, ..)| *end <= now) {
                late += u32::from(now > deadline);
                schedule.end(worker);
            }
            if comes == Some(now) {
                let cost = mean_cost.mul_f64(0.5 + random.next());
                let deadline = now + cost + MS.mul_f64(50.0 * random.next());
                // It takes no more than is expected.
                let takes = cost.mul_f64(0.7 + 0.3 * random.next());
                match schedule.admit(now, deadline, cost, (deadline, takes)) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
                jobs += 1;
                // As if from many clients: exponential intervals.
                let interval = mean_cost.div_f64(load * WORKERS as f64);
                arrival += interval.mul_f64(-(1.0 - random.next()).ln());
            }
            while let Some((worker, (deadline, takes))) = schedule.start(now) {
                busy += takes;
                running.push((now + takes, deadline, worker));
            }
        }
        let share = busy.as_secs_f64() / (now - start).as_secs_f64() / WORKERS as f64;
        (taken, late, refused, share)
    }

    #[test]
    fn at_twice_the_load_what_is_taken_is_in_time_and_the_rest_is_refused() {
        let (taken, late, refused, share) = simulated(2.0);
        assert_eq!((late, taken + refused), (0, 20_000));
        // Whoever is refused is so for work that others have from it.
        assert!(share > 0.9 && taken > 10_000, "taken {taken}, busy {share:.3}");
        let (taken, late, refused, _) = simulated(0.5);
        assert_eq!(late, 0);
        assert!(refused < taken / 10, "taken {taken}, refused {refused}");
    }
}
