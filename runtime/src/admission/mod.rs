//! Admission: whether the device can keep every deadline of a set of streams,
//! whatever the network does, told before the first input.
//!
//! - [`stream`]: what is asked: streams, their deadlines, the local executor.
//! - [`edf`], [`fixed_priority`]: the schedulability tests, over [`load`]s.
//! - [`segments`]: where a model may be interrupted.
//! - [`core`]: the streams of one core.
//! - [`refusal`]: why not.
//! - [`plan`](mod@plan): what is left to promise when execution times become longer.
//!
//! [`admit`] puts them together: it partitions streams over cores, and tells each
//! stream's worst-case response time and slack. It is arithmetic: nothing runs and
//! no clock is read.

mod core;
mod edf;
mod fixed_priority;
mod load;
mod plan;
mod refusal;
mod segments;
mod stream;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

pub use plan::{Plan, Standing, plan};
pub use refusal::{Blocked, Demand, Refusal, Response, Share};
pub use stream::{Executor, Offloading, Overload, Scheduling, Stream};

use crate::nanos;

/// A set of streams whose deadlines are all kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Admission {
    /// The streams, in the order in which they were asked for.
    pub streams: Vec<Admitted>,
}

/// What is promised to a stream, and what for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Admitted {
    /// The stream.
    pub name: String,
    /// The core that its model runs on.
    pub core: usize,
    /// The part of the core's time that it wants, from 0 to 1.
    pub utilisation: f64,
    /// Under fixed priorities, its rank on the core: the most urgent is 0.
    pub rank: Option<usize>,
    /// The ranges of stages that run without a break.
    pub segments: Vec<RangeInclusive<u32>>,
    /// The worst-case response time, from an input's arrival to its answer.
    #[serde(rename = "response_ns", with = "nanos")]
    pub response: Duration,
    /// What is left until the deadline then.
    #[serde(rename = "slack_ns", with = "nanos")]
    pub slack: Duration,
    /// Of the response time, a segment of a less urgent stream.
    #[serde(rename = "blocking_ns", with = "nanos")]
    pub blocking: Duration,
    /// Whose segment that is.
    pub blocked_by: Option<String>,
    /// Where inputs may be offloaded: how long after an input's arrival the local
    /// execution begins at the latest, if no answer has come.
    #[serde(rename = "arm_after_ns", with = "nanos::option")]
    pub arm_after: Option<Duration>,
}

/// Tests whether the executor keeps every deadline of these streams. Streams
/// without a core of their own are placed first fit, by decreasing utilisation.
pub fn admit(streams: &[Stream], executor: &Executor) -> Result<Admission, Refusal> {
    check(streams, executor)?;
    let mut order: Vec<usize> = (0..streams.len()).collect();
    order.sort_by(|&a, &b| {
        let free = |s: usize| streams[s].core.is_none();
        free(a).cmp(&free(b)).then(utilisation(&streams[b]).total_cmp(&utilisation(&streams[a])))
    });
    let mut cores: Vec<Placed> =
        (0..executor.cores).map(|core| Placed::new(streams, executor, core, Vec::new())).collect();
    for stream in order {
        place(streams, executor, &mut cores, stream)?;
    }

    let mut admitted: Vec<(usize, Admitted)> = Vec::with_capacity(streams.len());
    for (core, placed) in cores.into_iter().enumerate() {
        let members = placed.core.promise()?;
        let promises = members.iter().map(|member| promise(member, &members, executor, core));
        admitted.extend(placed.streams.into_iter().zip(promises));
    }
    admitted.sort_by_key(|&(stream, _)| stream);
    Ok(Admission { streams: admitted.into_iter().map(|(_, admitted)| admitted).collect() })
}

/// The streams of a core, by their place among all, in order.
struct Placed<'a> {
    streams: Vec<usize>,
    core: core::Core<'a>,
}

impl<'a> Placed<'a> {
    fn new(
        streams: &'a [Stream],
        executor: &Executor,
        core: usize,
        mut members: Vec<usize>,
    ) -> Self {
        members.sort_unstable();
        let chosen: Vec<&Stream> = members.iter().map(|&member| &streams[member]).collect();
        Self { core: core::Core::new(core, *executor, &chosen), streams: members }
    }
}

/// Puts a stream on the first core that keeps all deadlines with it.
fn place<'a>(
    streams: &'a [Stream],
    executor: &Executor,
    cores: &mut [Placed<'a>],
    stream: usize,
) -> Result<(), Refusal> {
    let candidates = match streams[stream].core {
        Some(core) => core..core + 1,
        None => 0..executor.cores,
    };
    let mut reasons = Vec::new();
    for core in candidates {
        let members = [&cores[core].streams[..], &[stream]].concat();
        let mut placed = Placed::new(streams, executor, core, members);
        match placed.core.fit() {
            Ok(()) => {
                cores[core] = placed;
                return Ok(());
            }
            Err(refusal) => reasons.push(refusal),
        }
    }
    match reasons.pop() {
        // With one core to choose from, the refusal says it all.
        Some(only) if reasons.is_empty() => Err(only),
        last => {
            reasons.extend(last);
            Err(Refusal::NoCore { stream: streams[stream].name.clone(), reasons })
        }
    }
}

/// What is promised to one of the members of a core.
fn promise(
    member: &core::Member,
    members: &[core::Member],
    executor: &Executor,
    core: usize,
) -> Admitted {
    let stream = member.stream;
    let response = Duration::from_nanos(u64::try_from(member.response).unwrap_or(u64::MAX));
    let fixed = executor.scheduling == Scheduling::FixedPriority;
    Admitted {
        name: stream.name.clone(),
        core,
        utilisation: member.segments.cost() as f64 / nanos::of(stream.period) as f64,
        rank: fixed.then_some(member.rank),
        segments: member.segments.ranges().to_vec(),
        response,
        slack: stream.deadline.saturating_sub(response),
        blocking: Duration::from_nanos(member.blocking.0),
        blocked_by: member.blocking.1.map(|by| members[by].stream.name.clone()),
        arm_after: stream.offload.map(|_| Duration::from_nanos(member.armed)),
    }
}

fn utilisation(stream: &Stream) -> f64 {
    stream.wcet().as_secs_f64() / stream.period.as_secs_f64()
}

/// Refuses streams that no test can be made for.
fn check(streams: &[Stream], executor: &Executor) -> Result<(), Refusal> {
    let given = streams.iter().filter(|stream| stream.priority.is_some()).count();
    for (index, stream) in streams.iter().enumerate() {
        let problem = if streams[..index].iter().any(|other| other.name == stream.name) {
            "there is another stream of that name; names tell streams apart".into()
        } else if stream.period.is_zero() {
            "its period is 0; the minimum time between two inputs is wanted".into()
        } else if stream.stages.is_empty() || stream.wcet().is_zero() {
            "its model has no worst-case execution time; calibrate it".into()
        } else if stream.wcet().saturating_add(stream.jitter) > stream.deadline {
            format!(
                "its model takes {:?}{} and its deadline is {:?}, so that it cannot be kept even \
                 alone; a longer deadline or a smaller model is needed",
                stream.wcet(),
                match stream.jitter {
                    Duration::ZERO => String::new(),
                    jitter => format!(", after a jitter of {jitter:?},"),
                },
                stream.deadline
            )
        } else if stream.jitter > stream.period {
            format!(
                "its jitter is {:?} and its period {:?}, so that inputs could overtake each other; \
                 a shorter jitter is needed",
                stream.jitter, stream.period
            )
        } else if let Some(core) = stream.core.filter(|&core| core >= executor.cores) {
            let cores = executor.cores;
            format!("its core is {core}; the executor has {cores}, counted from 0")
        } else if executor.scheduling == Scheduling::FixedPriority
            && stream.priority.is_none()
            && given > 0
        {
            "it has no priority and others have; give all of them one, or none".into()
        } else if let Some(problem) = degrades_wrongly(stream, streams) {
            problem
        } else {
            continue;
        };
        return Err(Refusal::Invalid { stream: stream.name.clone(), problem });
    }
    Ok(())
}

/// What is wrong with where a stream degrades to.
fn degrades_wrongly(stream: &Stream, streams: &[Stream]) -> Option<String> {
    let Some(to) = &stream.degrade_to else {
        let wanted = stream.overload == Overload::Degrade;
        return wanted.then(|| {
            "it is to degrade under overload and does not say to which stream; the smaller \
             model's stream is wanted"
                .into()
        });
    };
    match streams.iter().find(|other| other.name == *to) {
        None => Some(format!(
            "it degrades to {to:?}, which is not among the streams; the smaller model must be \
             admitted with it"
        )),
        Some(other) if other.degrade_to.is_some() => Some(format!(
            "it degrades to {to:?}, which degrades itself; a stream that does not is wanted"
        )),
        Some(other) if other.wcet() >= stream.wcet() => Some(format!(
            "it degrades to {to:?}, whose model takes {:?}, and its own takes {:?}; a smaller one is \
             wanted",
            other.wcet(),
            stream.wcet()
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
