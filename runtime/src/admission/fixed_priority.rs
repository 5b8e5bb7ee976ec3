//! Response-time analysis under fixed priorities, where a job is preempted only
//! between its segments.
//!
//! R. J. Bril, J. J. Lukkien, W. F. J. Verhaegh, "Worst-case response time
//! analysis of real-time tasks under fixed-priority scheduling with deferred
//! preemption", Real-Time Systems 42, 2009. The worst job need not be the first
//! one of its busy period (R. I. Davis, A. Burns, R. J. Bril, J. J. Lukkien,
//! "Controller Area Network (CAN) schedulability analysis: Refuted, revisited and
//! revised", Real-Time Systems 35, 2007), so all of them are looked at.
//! Priorities that are not given are found by Audsley's algorithm, which is
//! optimal here as a response time depends on which loads are more urgent and not
//! on their order (N. C. Audsley, "On priority assignment in fixed priority
//! scheduling", Information Processing Letters 79, 2001).

use super::load::{Blocking, Endless, Load, Steps, fixed_point};

/// The worst case of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// From a job's arrival to its end.
    pub time: u128,
    /// Of that, one segment of a less urgent load.
    pub blocking: Blocking,
}

/// The worst-case response time of load `of`, where `urgent` tells which others
/// go before it; equally urgent ones are among them.
pub fn response_time(
    loads: &[Load],
    of: usize,
    urgent: impl Fn(usize) -> bool,
) -> Result<Response, Endless> {
    let mut steps = Steps::new();
    let load = &loads[of];
    let others = || (0..loads.len()).filter(|&other| other != of);
    let higher: Vec<&Load> = others().filter(|&o| urgent(o)).map(|o| &loads[o]).collect();
    let blocking = Blocking::of(loads, others().filter(|&other| !urgent(other)));
    let held_up = u128::from(blocking.time);

    let utilisation: f64 = higher.iter().map(|h| h.utilisation()).sum();
    if utilisation + load.utilisation() > 1.0 {
        return Err(Endless::Overloaded);
    }
    let busy = fixed_point(held_up + u128::from(load.cost), &mut steps, |busy| {
        let work = |load: &Load| load.ready_before(busy) * u128::from(load.cost);
        held_up + work(load) + higher.iter().map(|&h| work(h)).sum::<u128>()
    })?;

    let (cost, last) = (u128::from(load.cost), u128::from(load.last));
    let (period, jitter) = (u128::from(load.period), u128::from(load.jitter));
    let mut time = 0;
    let mut start = 0;
    for job in 0..load.ready_before(busy) {
        steps.take()?;
        // When the last segment of this job begins at the latest.
        let own = held_up + (job + 1) * cost - last;
        start = fixed_point(own.max(start), &mut steps, |start| {
            let work = |h: &&Load| h.ready_within(start) * u128::from(h.cost);
            own + higher.iter().map(work).sum::<u128>()
        })?;
        time = time.max((start + last + jitter).saturating_sub(job * period));
    }
    Ok(Response { time, blocking })
}

/// An order of groups of loads, the most urgent first, in which each load meets
/// its deadline; `group_of` tells the group of each. `Err` has the groups of which
/// none can be the least urgent.
pub fn assign(loads: &[Load], group_of: &[usize]) -> Result<Vec<usize>, Vec<usize>> {
    let mut left: Vec<usize> = group_of.to_vec();
    left.sort_unstable();
    left.dedup();
    // Of several that fit, the one with the longest deadline is the least urgent.
    let deadline = |group: &usize| {
        let of_group = (0..loads.len()).filter(|&load| group_of[load] == *group);
        of_group.map(|load| loads[load].deadline).max()
    };
    left.sort_by_key(deadline);
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let fits = |group: &usize| {
            let urgent = |other: usize| left.contains(&group_of[other]);
            (0..loads.len()).filter(|&load| group_of[load] == *group).all(|load| {
                let response = response_time(loads, load, urgent);
                response.is_ok_and(|r| r.time <= u128::from(loads[load].deadline))
            })
        };
        match left.iter().rposition(fits) {
            Some(at) => order.push(left.remove(at)),
            None => return Err(left),
        }
    }
    order.reverse();
    Ok(order)
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn load(cost: u64, period: u64, deadline: u64) -> Load {
        Load { cost, longest: cost, last: cost, period, deadline, jitter: 0 }
    }

    /// Table 1 of Davis et al. 2007, in microseconds: the second job of the least
    /// urgent message is its worst.
    #[test]
    fn the_worst_job_is_not_the_first_one() {
        let us = 1_000;
        let messages = [
            load(1_000 * us, 2_500 * us, 2_500 * us),
            load(1_000 * us, 3_500 * us, 3_250 * us),
            load(1_000 * us, 3_500 * us, 3_250 * us),
        ];
        let times: Vec<u128> =
            (0..3).map(|m| response_time(&messages, m, |other| other < m).unwrap().time).collect();
        // A message that has begun is let through: 1 ns before is in time.
        let ms = u128::from(1_000 * us);
        assert_eq!(times, [2 * ms - 1, 3 * ms - 1, 35 * ms / 10]);
        assert!(assign(&messages, &[0, 1, 2]).is_err());
    }

    #[test]
    fn segments_let_others_in_earlier() {
        let whole = [load(2, 10, 10), load(8, 30, 30)];
        assert_eq!(response_time(&whole, 0, |_| false).unwrap().time, 2 + 7);
        let split = [whole[0], Load { longest: 3, last: 2, ..whole[1] }];
        let response = response_time(&split, 0, |_| false).unwrap();
        assert_eq!(response, Response { time: 4, blocking: Blocking { time: 2, by: Some(1) } });
        // And the one that is split pays for it: it is interrupted before its end.
        assert_eq!(response_time(&whole, 1, |o| o == 0).unwrap().time, 10);
        assert_eq!(response_time(&split, 1, |o| o == 0).unwrap().time, 10);
    }

    #[test]
    fn jitter_adds_to_the_own_response_and_to_others() {
        let mut loads = [load(2, 10, 10), load(3, 20, 20)];
        loads[0].jitter = 9;
        assert_eq!(response_time(&loads, 0, |_| false).unwrap().time, 2 + 2 + 9);
        // Two jobs of the first come within 3 of each other.
        assert_eq!(response_time(&loads, 1, |o| o == 0).unwrap().time, 2 + 2 + 3);
    }

    #[test]
    fn a_core_wanted_for_more_than_all_its_time_is_overloaded() {
        let loads = [load(6, 10, 10), load(5, 10, 10)];
        assert_eq!(response_time(&loads, 1, |o| o == 0), Err(Endless::Overloaded));
        assert!(response_time(&loads, 0, |_| false).is_ok());
    }

    #[test]
    fn hostile_periods_end_the_test() {
        let loads = [load(1, 2, u64::MAX), load(u64::MAX / 4, u64::MAX, u64::MAX)];
        assert!(response_time(&loads, 1, |o| o == 0).is_err());
    }

    /// Every order of `0..count`.
    fn orders(count: usize) -> Vec<Vec<usize>> {
        let shorter = if count == 1 { vec![Vec::new()] } else { orders(count - 1) };
        let insert = |order: &Vec<usize>, at: usize| {
            let mut order = order.clone();
            order.insert(at, count - 1);
            order
        };
        shorter.iter().flat_map(|order| (0..count).map(|at| insert(order, at))).collect()
    }

    fn meets_deadlines(loads: &[Load], order: &[usize]) -> bool {
        order.iter().enumerate().all(|(rank, &of)| {
            let response = response_time(loads, of, |other| order[..rank].contains(&other));
            response.is_ok_and(|r| r.time <= u128::from(loads[of].deadline))
        })
    }

    #[test]
    fn an_order_is_found_exactly_where_there_is_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut found, mut better) = (0, 0);
        for _ in 0..4_000 {
            let loads: Vec<Load> = (0..4)
                .map(|_| {
                    let (cost, period) = (rng.random_range(1..=9), rng.random_range(12..=40));
                    load(cost, period, rng.random_range(cost..=period))
                })
                .collect();
            let assigned = assign(&loads, &[0, 1, 2, 3]);
            let any = orders(4).iter().any(|order| meets_deadlines(&loads, order));
            assert_eq!(assigned.is_ok(), any, "{loads:?}");
            let Ok(order) = assigned else { continue };
            assert!(meets_deadlines(&loads, &order), "{loads:?}");
            found += 1;
            let mut by_deadline: Vec<usize> = (0..4).collect();
            by_deadline.sort_by_key(|&l| loads[l].deadline);
            better += u32::from(!meets_deadlines(&loads, &by_deadline));
        }
        // The sets are neither trivial nor hopeless, and the order of deadlines
        // would not have done.
        assert!(found > 400 && found < 3_600 && better > 0, "{found} found, {better} better");
    }
}
