//! Buffers with known lives, packed into little memory.
//!
//! Buffers are placed one after the other, each where it fits tightest between
//! those that live at the same time: in the order of their sizes, and of the
//! fullest moments (Y. Pisarchyk, J. Lee, "Efficient Memory Management for Deep
//! Neural Net Inference", 2020). Of several orders, and of some that are made by
//! placing earlier what stood out, the best one counts.

use std::cmp::Reverse;

/// A buffer that lives from one moment to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Its bytes.
    pub size: u64,
    /// The moment when it is first written.
    pub first: usize,
    /// The moment when it is last read.
    pub last: usize,
}

impl Buffer {
    fn meets(&self, other: &Buffer) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where buffers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The first byte of each.
    pub offsets: Vec<u64>,
    /// The bytes of all.
    pub size: u64,
}

/// How many pairs of buffers are looked at in search of a better packing.
const EFFORT: usize = 50_000_000;

/// How often a buffer is moved to the front in that search.
const MOST_ROUNDS: usize = 200;

/// For each of so many moments, the bytes of the buffers that live then.
pub fn alive(buffers: &[Buffer], moments: usize) -> Vec<u64> {
    let mut change = vec![0i64; moments + 1];
    for buffer in buffers.iter().filter(|buffer| buffer.first < moments) {
        change[buffer.first] += buffer.size as i64;
        change[(buffer.last + 1).min(moments)] -= buffer.size as i64;
    }
    let mut bytes = 0;
    let sum = |change: &i64| {
        bytes += change;
        bytes as u64
    };
    change[..moments].iter().map(sum).collect()
}

/// Places buffers so that no two that live at the same time overlap.
pub fn pack(buffers: &[Buffer]) -> Packing {
    let moments = buffers.iter().map(|buffer| buffer.last + 1).max().unwrap_or(0);
    let alive = alive(buffers, moments);
    // No packing is smaller.
    let bound = alive.iter().copied().max().unwrap_or(0);
    let rounds = EFFORT / buffers.len().pow(2).max(1);
    let mut best: Option<(Packing, Vec<usize>)> = None;
    for order in orders(buffers, &alive).into_iter().take(rounds.max(1)) {
        let packing = place(buffers, &order);
        if best.as_ref().is_none_or(|(best, _)| packing.size < best.size) {
            best = Some((packing, order));
        }
    }
    let (mut packing, mut order) = best.expect("there is an order");
    let mut last = packing.clone();
    for _ in 0..rounds.min(MOST_ROUNDS) {
        // What reaches the top goes first.
        let reaches_top = |i: &usize| last.offsets[*i] + buffers[*i].size == last.size;
        let Some(at) = order.iter().position(reaches_top).filter(|&at| at > 0) else { break };
        if packing.size == bound {
            break;
        }
        order[..=at].rotate_right(1);
        last = place(buffers, &order);
        if last.size < packing.size {
            packing = last.clone();
        }
    }
    packing
}

/// Orders in which to place buffers.
fn orders(buffers: &[Buffer], alive: &[u64]) -> Vec<Vec<usize>> {
    // The largest key first; of equals, the first in `buffers`.
    let by = |key: &dyn Fn(&Buffer) -> [u64; 2]| {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&i| Reverse(key(&buffers[i])));
        order
    };
    let life = |b: &Buffer| (b.last - b.first + 1) as u64;
    let fullest = |b: &Buffer| alive[b.first..=b.last].iter().copied().max().unwrap_or(0);
    vec![
        by(&|b| [b.size, life(b)]),
        by(&|b| [b.size * life(b), b.size]),
        by(&|b| [fullest(b), b.size]),
        by(&|b| [life(b), b.size]),
        (0..buffers.len()).collect(),
    ]
}

/// Places buffers in this order, each into the smallest gap that holds it.
fn place(buffers: &[Buffer], order: &[usize]) -> Packing {
    let mut packing = Packing { offsets: vec![0; buffers.len()], size: 0 };
    // In the order of their offsets.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    for &i in order {
        let buffer = buffers[i];
        let mut end = 0;
        let mut gap: Option<(u64, u64)> = None;
        for &j in placed.iter().filter(|&&j| buffers[j].meets(&buffer)) {
            let free = packing.offsets[j].saturating_sub(end);
            if free >= buffer.size && gap.is_none_or(|(smallest, _)| free < smallest) {
                gap = Some((free, end));
            }
            end = end.max(packing.offsets[j] + buffers[j].size);
        }
        let offset = gap.map_or(end, |(_, offset)| offset);
        packing.offsets[i] = offset;
        packing.size = packing.size.max(offset + buffer.size);
        let at = placed.partition_point(|&j| packing.offsets[j] <= offset);
        placed.insert(at, i);
    }
    packing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_apart(buffers: &[Buffer], Packing { offsets, size }: &Packing) {
        for (i, a) in buffers.iter().enumerate() {
            assert!(offsets[i] + a.size <= *size);
            for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                let apart = offsets[i] + a.size <= offsets[j] || offsets[j] + b.size <= offsets[i];
                assert!(
                    !a.meets(b) || apart,
                    "{a:?} at {} and {b:?} at {}",
                    offsets[i],
                    offsets[j]
                );
            }
        }
    }

    #[test]
    fn buffers_that_meet_do_not_overlap_and_others_share() {
        let buffer = |size, first, last| Buffer { size, first, last };
        let buffers = [
            buffer(100, 0, 1),
            buffer(200, 1, 2),
            buffer(100, 2, 3),
            buffer(50, 0, 3),
            buffer(300, 3, 3),
        ];
        let packing = pack(&buffers);
        assert_apart(&buffers, &packing);
        assert_eq!(packing.size, 450, "as many are alive at once");
    }

    #[test]
    fn random_lives_are_packed_within_a_tenth_of_the_bound() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..50 {
            let buffers: Vec<Buffer> = (0..60)
                .map(|first| Buffer {
                    size: 16 * (1 + random(64)),
                    first,
                    last: first + 1 + random(4) as usize,
                })
                .collect();
            let packing = pack(&buffers);
            assert_apart(&buffers, &packing);
            let bound = alive(&buffers, 70).into_iter().max().unwrap();
            assert!(10 * packing.size <= 11 * bound, "{} over {bound}", packing.size);
        }
    }
}
