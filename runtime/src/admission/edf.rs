//! Earliest deadline first, where a job is preempted only between its segments:
//! the processor demand test and worst-case response times.
//!
//! The demand test with blocking: S. Baruah, "The limited-preemption uniprocessor
//! scheduling of sporadic task systems", ECRTS 2005; decided by quick
//! processor-demand analysis: F. Zhang, A. Burns, "Schedulability analysis for
//! real-time systems with EDF scheduling", IEEE Transactions on Computers 58,
//! 2009, here between any two deadlines at which the blocking changes. Response
//! times: L. George, N. Rivierre, M. Spuri, "Preemptive and non-preemptive
//! real-time uniprocessor scheduling", INRIA RR-2966, 1996, with release jitter as
//! in M. Spuri, "Holistic analysis for deadline scheduled real-time distributed
//! systems", INRIA RR-2873, 1996.

use super::load::{Blocking, Endless, Load, Steps, fixed_point};

/// An interval in which more is wanted than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdemand {
    /// Its length.
    pub interval: u128,
    /// The work of the jobs that must begin and end in it.
    pub demand: u128,
    /// And what may hold them up at its start.
    pub blocking: Blocking,
}

/// What the demand test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No deadline is ever missed.
    Schedulable,
    /// One may be.
    Overdemand(Overdemand),
}

/// The longest time that the core can be busy without a break.
fn busy_period(loads: &[Load], steps: &mut Steps) -> Result<u128, Endless> {
    if loads.iter().map(Load::utilisation).sum::<f64>() > 1.0 {
        return Err(Endless::Overloaded);
    }
    let blocking = Blocking::of(loads, 0..loads.len()).time;
    let all = u128::from(blocking) + loads.iter().map(|l| u128::from(l.cost)).sum::<u128>();
    fixed_point(all, steps, |busy| {
        let work = |l: &Load| l.ready_before(busy) * u128::from(l.cost);
        u128::from(blocking) + loads.iter().map(work).sum::<u128>()
    })
}

/// The work of load `of` whose arrival and deadline both lie in an interval.
pub fn demand_of(load: &Load, interval: u128) -> u128 {
    match (interval + u128::from(load.jitter)).checked_sub(u128::from(load.deadline)) {
        Some(since) => (since / u128::from(load.period) + 1) * u128::from(load.cost),
        None => 0,
    }
}

fn demand(loads: &[Load], interval: u128) -> u128 {
    loads.iter().map(|load| demand_of(load, interval)).sum()
}

/// The segments that may hold up jobs whose deadlines end an interval: of loads
/// that have no such job themselves, as the jobs of a load become ready in order.
fn blocking(loads: &[Load], interval: u128) -> Blocking {
    let later = |&l: &usize| demand_of(&loads[l], interval) == 0;
    Blocking::of(loads, (0..loads.len()).filter(later))
}

/// The nearest that a job's deadline can be when it becomes ready.
fn first_deadline(load: &Load) -> u128 {
    u128::from(load.deadline).saturating_sub(u128::from(load.jitter))
}

/// The last deadline before `end`, of jobs that are ready at once at 0.
fn last_deadline(loads: &[Load], end: u128) -> Option<u128> {
    let of = |load: &Load| {
        let first = first_deadline(load);
        let since = end.checked_sub(1)?.checked_sub(first)?;
        Some(first + since / u128::from(load.period) * u128::from(load.period))
    };
    loads.iter().filter_map(of).max()
}

/// Whether every deadline is met.
pub fn test(loads: &[Load]) -> Result<Verdict, Endless> {
    let mut steps = Steps::new();
    let end = busy_period(loads, &mut steps)? + 1;
    let mut bounds: Vec<u128> = loads.iter().map(first_deadline).collect();
    bounds.extend([0, end]);
    bounds.retain(|&bound| bound <= end);
    bounds.sort_unstable();
    bounds.dedup();
    // Between two bounds the blocking does not change, and wanted time never
    // falls as the interval grows.
    for region in bounds.windows(2) {
        let mut next = last_deadline(loads, region[1]);
        while let Some(interval) = next.filter(|&interval| interval >= region[0]) {
            let (demand, blocking) = (demand(loads, interval), blocking(loads, interval));
            let wanted = demand + u128::from(blocking.time);
            if wanted > interval {
                return Ok(Verdict::Overdemand(Overdemand { interval, demand, blocking }));
            }
            next = if wanted < interval { Some(wanted) } else { last_deadline(loads, interval) };
            steps.take()?;
        }
    }
    Ok(Verdict::Schedulable)
}

/// The worst-case response time of load `of`, from a job's arrival.
pub fn response_time(loads: &[Load], of: usize) -> Result<(u128, Blocking), Endless> {
    let mut steps = Steps::new();
    let busy = busy_period(loads, &mut steps)?;
    let mut worst = (0, Blocking::default());
    // A job of `of` has its worst case where its deadline falls on one of a job of
    // another load that is ready as soon as the core becomes busy. Arrivals are
    // counted from the longest jitter before that, to stay positive.
    let own = &loads[of];
    for other in loads {
        let (deadline, shift) = (u128::from(other.deadline), u128::from(own.jitter));
        for job in 0..other.ready_before(busy) {
            steps.take()?;
            let at = deadline + job * u128::from(other.period) + shift;
            let Some(arrival) = at.checked_sub(u128::from(other.jitter) + u128::from(own.deadline))
            else {
                continue;
            };
            if arrival > busy + shift {
                break;
            }
            let candidate = response_of_job(loads, of, arrival, &mut steps)?;
            if candidate.0 > worst.0 {
                worst = candidate;
            }
        }
    }
    Ok(worst)
}

/// The response time of the job of `of` that arrives `arrival` after the longest
/// jitter before the core becomes busy.
fn response_of_job(
    loads: &[Load],
    of: usize,
    arrival: u128,
    steps: &mut Steps,
) -> Result<(u128, Blocking), Endless> {
    let own = &loads[of];
    let jitter = u128::from(own.jitter);
    let deadline = arrival + u128::from(own.deadline);
    let others = || (0..loads.len()).filter(|&other| other != of);
    let later = |&l: &usize| u128::from(loads[l].deadline) + jitter > deadline;
    let blocking = Blocking::of(loads, others().filter(later));
    let earlier = arrival / u128::from(own.period);
    let (cost, last) = (u128::from(own.cost), u128::from(own.last));
    let before = u128::from(blocking.time) + (earlier + 1) * cost - last;
    let start = fixed_point(before, steps, |start| {
        let work = |other: usize| {
            let load = &loads[other];
            let least = u128::from(load.deadline) + jitter;
            let Some(since) = (deadline + u128::from(load.jitter)).checked_sub(least) else {
                return 0;
            };
            let urgent = since / u128::from(load.period) + 1;
            urgent.min(load.ready_within(start)) * u128::from(load.cost)
        };
        before + others().map(work).sum::<u128>()
    })?;
    Ok(((start + last + jitter).saturating_sub(arrival).max(cost), blocking))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cost: u64, period: u64, deadline: u64) -> Load {
        Load { cost, longest: 1, last: 1, period, deadline, jitter: 0 }
    }

    /// With segments of one unit nothing blocks, and the test is that of
    /// preemptive EDF: full use of the core is schedulable where deadlines are
    /// periods.
    #[test]
    fn the_whole_core_may_be_used() {
        let loads = [load(2, 4, 4), load(3, 6, 6)];
        assert_eq!(test(&loads), Ok(Verdict::Schedulable));
        let tighter = [load(2, 4, 4), load(3, 6, 4)];
        let Ok(Verdict::Overdemand(over)) = test(&tighter) else { panic!("5 units within 4") };
        assert_eq!((over.interval, over.demand), (4, 5));
        assert_eq!(test(&[load(3, 4, 4), load(3, 6, 6)]), Err(Endless::Overloaded));
    }

    #[test]
    fn a_long_segment_of_a_later_deadline_counts() {
        let mut loads = [load(2, 10, 5), load(6, 20, 20)];
        assert_eq!(test(&loads), Ok(Verdict::Schedulable));
        loads[1].longest = 5;
        let Ok(Verdict::Overdemand(over)) = test(&loads) else { panic!("2 + 4 within 5") };
        assert_eq!(over.blocking, Blocking { time: 4, by: Some(1) });
        loads[1].longest = 4;
        assert_eq!(test(&loads), Ok(Verdict::Schedulable));
    }

    #[test]
    fn hostile_periods_end_the_test() {
        let loads = [load(1, 2, 2), load(u64::MAX / 4, u64::MAX, u64::MAX)];
        assert!(test(&loads).is_err() && response_time(&loads, 1).is_err());
    }
}
