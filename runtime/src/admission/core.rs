//! The schedulability of the streams on one core: which segments their models
//! run in, how long offloaded inputs can be waited for, and each stream's
//! worst-case response time.
//!
//! An input that is offloaded is armed: unless the fog host has answered by then,
//! it becomes ready on the device at a set time after its arrival, and is still
//! answered by its deadline (W. Liu, J.-J. Chen, A. Toma, T.-W. Kuo, Q. Deng,
//! "Computation Offloading by Using Timing Unreliable Components in Real-Time
//! Systems", DAC 2014). To the tests that is a release jitter: the input becomes
//! ready at any time from its arrival, where it is not offloaded, to when it is
//! armed, and its deadline stays. Sending it is a job of its own. So one test
//! covers every mixture of inputs offloaded, compensated and run on the device.

use std::time::Duration;

use super::edf::{self, Verdict};
use super::fixed_priority::{self, Response};
use super::load::{Blocking, Endless, Load};
use super::refusal::{self, Blocked, Refusal, Share};
use super::segments::Segments;
use super::stream::{Executor, Scheduling, Stream};
use crate::nanos;

/// How finely the time is searched that an offloaded input can be waited for.
const ARM_STEPS: u64 = 128;

/// A stream on a core.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The stream.
    pub stream: &'a Stream,
    /// The segments that its model runs in.
    pub segments: Segments,
    /// How long after an input's arrival its local execution begins at the latest.
    pub armed: u64,
    /// Under fixed priorities, its rank: the most urgent is 0.
    pub rank: usize,
    /// The worst-case response time, and what of it is blocking.
    pub response: u128,
    /// A segment of this member may have just begun.
    pub blocking: (u64, Option<usize>),
}

/// A refusal, and the member whose shorter segments may help.
struct Failure {
    refusal: Refusal,
    blocker: Option<usize>,
}

/// The streams of one core, and how they are scheduled.
pub struct Core<'a> {
    number: usize,
    executor: Executor,
    members: Vec<Member<'a>>,
}

impl<'a> Core<'a> {
    /// Streams of which all have been checked for themselves.
    pub fn new(number: usize, executor: Executor, streams: &[&'a Stream]) -> Self {
        let member = |&stream: &&'a Stream| {
            let stages = stream.stages.iter().map(|&stage| nanos::of(stage)).collect();
            let over = executor.dispatch.saturating_add(executor.tolerance);
            let segments = Segments::whole(stages, nanos::of(over));
            Member { stream, segments, armed: 0, rank: 0, response: 0, blocking: (0, None) }
        };
        Self { number, executor, members: streams.iter().map(member).collect() }
    }

    /// Finds segments with which every deadline is met, if no input is waited for.
    pub fn fit(&mut self) -> Result<(), Refusal> {
        while let Err(failure) = self.test() {
            let blocker = failure.blocker.map(|member| &mut self.members[member].segments);
            if !blocker.is_some_and(Segments::shorten) {
                return Err(failure.refusal);
            }
        }
        Ok(())
    }

    /// The members of a core that fits, with the longest waiting times with which
    /// every deadline is still met.
    pub fn promise(mut self) -> Result<Vec<Member<'a>>, Refusal> {
        self.arm();
        // It has just passed.
        self.test().map_err(|failure| failure.refusal)?;
        Ok(self.members)
    }

    /// Lets offloaded inputs be waited for as long as deadlines allow: first all of
    /// them for the same part of the time that they have, then each for itself.
    fn arm(&mut self) {
        let offloading: Vec<usize> =
            (0..self.members.len()).filter(|&m| self.members[m].stream.offload.is_some()).collect();
        self.arm_together(&offloading);
        for &member in &offloading {
            self.arm_together(&[member]);
        }
    }

    /// The largest part of the time that they have for which these members can
    /// wait, by bisection.
    fn arm_together(&mut self, which: &[usize]) {
        let (mut fits, mut too_long) = (0, ARM_STEPS + 1);
        let before: Vec<u64> = which.iter().map(|&member| self.members[member].armed).collect();
        while !which.is_empty() && fits + 1 < too_long {
            let part = fits.midpoint(too_long);
            self.wait(which, &before, part);
            match self.test() {
                Ok(()) => fits = part,
                Err(_) => too_long = part,
            }
        }
        self.wait(which, &before, fits);
    }

    fn wait(&mut self, which: &[usize], before: &[u64], part: u64) {
        for (&member, &before) in which.iter().zip(before) {
            let member = &mut self.members[member];
            let free = nanos::of(member.stream.deadline).saturating_sub(member.segments.cost());
            // Inputs of a stream become ready in the order of their arrival.
            let free = free.min(nanos::of(member.stream.period));
            member.armed =
                before.max((u128::from(free) * u128::from(part) / u128::from(ARM_STEPS)) as u64);
        }
    }

    /// The loads, and the member of each. A member's own inferences come first.
    fn loads(&self) -> (Vec<Load>, Vec<usize>) {
        let mut loads = Vec::new();
        let mut owners = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            let stream = member.stream;
            let inference = Load {
                cost: member.segments.cost(),
                longest: member.segments.longest(),
                last: member.segments.last(),
                period: nanos::of(stream.period),
                deadline: nanos::of(stream.deadline),
                jitter: nanos::of(stream.jitter).max(member.armed),
            };
            loads.push(inference);
            owners.push(index);
            if let Some(offload) = stream.offload {
                let setup = nanos::of(offload.setup.saturating_add(self.executor.dispatch));
                let jitter = nanos::of(stream.jitter);
                loads.push(Load { cost: setup, longest: setup, last: setup, jitter, ..inference });
                owners.push(index);
            }
        }
        (loads, owners)
    }

    fn test(&mut self) -> Result<(), Failure> {
        let (loads, owners) = self.loads();
        let utilisation: f64 = loads.iter().map(Load::utilisation).sum();
        if utilisation > 1.0 {
            return Err(Failure { refusal: self.overloaded(&loads, &owners), blocker: None });
        }
        match self.executor.scheduling {
            Scheduling::EarliestDeadlineFirst => self.test_edf(&loads, &owners),
            Scheduling::FixedPriority => self.test_fixed_priority(&loads, &owners),
        }
    }

    fn test_edf(&mut self, loads: &[Load], owners: &[usize]) -> Result<(), Failure> {
        match edf::test(loads).map_err(|endless| self.endless(endless, loads, owners))? {
            Verdict::Schedulable => {}
            Verdict::Overdemand(over) => return Err(self.overdemand(over, loads, owners)),
        }
        for load in first_of_each(owners) {
            let member = &mut self.members[owners[load]];
            // Where the exact time would take too long to find: the test has just
            // shown that it is no longer than the deadline.
            let deadline = u128::from(loads[load].deadline);
            let (response, blocking) =
                edf::response_time(loads, load).unwrap_or((deadline, Blocking::default()));
            member.response = response.min(deadline);
            member.blocking = (blocking.time, blocking.by.map(|by| owners[by]));
        }
        Ok(())
    }

    fn test_fixed_priority(&mut self, loads: &[Load], owners: &[usize]) -> Result<(), Failure> {
        let given = self.members.iter().all(|member| member.stream.priority.is_some());
        if given {
            let priorities: Vec<u8> =
                self.members.iter().filter_map(|member| member.stream.priority).collect();
            for (member, &own) in self.members.iter_mut().zip(&priorities) {
                member.rank = priorities.iter().filter(|&&other| other > own).count();
            }
        } else {
            let order = fixed_priority::assign(loads, owners)
                .map_err(|left| self.no_order(&left, loads, owners))?;
            for (rank, member) in order.into_iter().enumerate() {
                self.members[member].rank = rank;
            }
        }
        for load in first_of_each(owners) {
            let member = owners[load];
            let own = self.members[member].rank;
            let urgent = |other: usize| self.members[owners[other]].rank <= own;
            let response = fixed_priority::response_time(loads, load, urgent)
                .map_err(|endless| self.endless(endless, loads, owners))?;
            if response.time > u128::from(loads[load].deadline) {
                return Err(self.too_late(member, response, owners));
            }
            let member = &mut self.members[member];
            member.response = response.time;
            member.blocking = (response.blocking.time, response.blocking.by.map(|by| owners[by]));
        }
        Ok(())
    }

    fn name(&self, member: usize) -> String {
        self.members[member].stream.name.clone()
    }

    fn overloaded(&self, loads: &[Load], owners: &[usize]) -> Refusal {
        let part = |member: usize| {
            let own = loads.iter().zip(owners).filter(|&(_, &owner)| owner == member);
            own.map(|(load, _)| load.utilisation()).sum::<f64>()
        };
        let streams = (0..self.members.len()).map(|m| (self.name(m), part(m)));
        let utilisation = loads.iter().map(Load::utilisation).sum();
        Refusal::Overloaded { core: self.number, utilisation, streams: streams.collect() }
    }

    fn endless(&self, endless: Endless, loads: &[Load], owners: &[usize]) -> Failure {
        let refusal = match endless {
            Endless::Overloaded => self.overloaded(loads, owners),
            Endless::TooManySteps => {
                let shortest = self.members.iter().map(|member| member.stream.period).min();
                let shortest = shortest.unwrap_or_default();
                Refusal::TooManySteps { core: self.number, shortest }
            }
        };
        Failure { refusal, blocker: None }
    }

    fn overdemand(&self, over: edf::Overdemand, loads: &[Load], owners: &[usize]) -> Failure {
        let mut shares: Vec<Share> = Vec::new();
        let mut latest = (0, String::new());
        for (load, &owner) in loads.iter().zip(owners) {
            let work = duration(edf::demand_of(load, over.interval));
            if work.is_zero() {
                continue;
            }
            let stream = self.name(owner);
            if load.deadline >= latest.0 {
                latest = (load.deadline, stream.clone());
            }
            match shares.last_mut().filter(|last| last.stream == stream) {
                Some(own) => own.work += work,
                None => shares.push(Share { stream, work }),
            }
        }
        let blocker = over.blocking.by.map(|by| owners[by]);
        let refusal = Refusal::Demand(Box::new(refusal::Demand {
            stream: latest.1,
            core: self.number,
            interval: duration(over.interval),
            demand: duration(over.demand),
            blocking: self.blocked(over.blocking, blocker),
            shares,
        }));
        Failure { refusal, blocker }
    }

    fn too_late(&self, member: usize, response: Response, owners: &[usize]) -> Failure {
        let blocker = response.blocking.by.map(|by| owners[by]);
        let own = self.members[member].rank;
        let more_urgent = (0..self.members.len())
            .filter(|&other| other != member && self.members[other].rank <= own);
        let refusal = Refusal::Response(Box::new(refusal::Response {
            stream: self.name(member),
            core: self.number,
            response: duration(response.time),
            deadline: self.members[member].stream.deadline,
            blocking: self.blocked(response.blocking, blocker),
            more_urgent: more_urgent.map(|other| self.name(other)).collect(),
        }));
        Failure { refusal, blocker }
    }

    fn blocked(&self, blocking: Blocking, blocker: Option<usize>) -> Option<Blocked> {
        let time = Duration::from_nanos(blocking.time);
        blocker.map(|by| Blocked { time, by: self.name(by) })
    }

    /// Of the members that already have a place, less urgent than those that are
    /// `left`, the one with the longest segment is to blame.
    fn no_order(&self, left: &[usize], loads: &[Load], owners: &[usize]) -> Failure {
        let placed = (0..loads.len()).filter(|&load| !left.contains(&owners[load]));
        let blocker = Blocking::of(loads, placed).by.map(|by| owners[by]);
        let streams = left.iter().map(|&member| self.name(member)).collect();
        Failure { refusal: Refusal::NoOrder { core: self.number, streams }, blocker }
    }
}

/// The first load of each member: its inferences.
fn first_of_each(owners: &[usize]) -> Vec<usize> {
    (0..owners.len()).filter(|&load| load == 0 || owners[load - 1] != owners[load]).collect()
}

fn duration(ns: u128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}
