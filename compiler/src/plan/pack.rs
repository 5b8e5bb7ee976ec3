//! Buffers with known lives, packed into little memory.
//!
//! Buffers are placed one after the other, each where it fits tightest between
//! those that live at the same time: in the order of their sizes, and of the
//! fullest moments (Y. Pisarchyk, J. Lee, "Efficient Memory Management for Deep
//! Neural Net Inference", 2020). Of several orders, and of some that are made by
//! placing earlier what stood out, the best one counts.

use std::cmp::Reverse;

/// A piece of a buffer, which is in use from one moment to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes of the buffer before it.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// The moment when it is first written.
    pub first: usize,
    /// The moment when it is last read.
    pub last: usize,
}

impl Piece {
    fn meets(&self, other: &Piece) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Where it ends in the buffer.
    fn end(&self) -> u64 {
        self.offset + self.size
    }
}

/// Memory whose pieces lie beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What it is of: others may use one until it is first written.
    pub pieces: Vec<Piece>,
}

impl Buffer {
    /// A buffer of one piece.
    pub fn new(size: u64, first: usize, last: usize) -> Self {
        Self { pieces: vec![Piece { offset: 0, size, first, last }] }
    }

    fn size(&self) -> u64 {
        self.pieces.iter().map(Piece::end).max().unwrap_or(0)
    }

    fn first(&self) -> usize {
        self.pieces.iter().map(|piece| piece.first).min().unwrap_or(0)
    }

    fn last(&self) -> usize {
        self.pieces.iter().map(|piece| piece.last).max().unwrap_or(0)
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

/// For each of so many moments, the bytes that are in use then.
pub fn alive(buffers: &[Buffer], moments: usize) -> Vec<u64> {
    let mut change = vec![0i64; moments + 1];
    let pieces = buffers.iter().flat_map(|buffer| &buffer.pieces);
    for piece in pieces.filter(|piece| piece.first < moments) {
        change[piece.first] += piece.size as i64;
        change[(piece.last + 1).min(moments)] -= piece.size as i64;
    }
    let mut bytes = 0;
    let sum = |change: &i64| {
        bytes += change;
        bytes as u64
    };
    change[..moments].iter().map(sum).collect()
}

/// Places buffers so that no pieces that are in use at the same time overlap.
pub fn pack(buffers: &[Buffer]) -> Packing {
    let moments = buffers.iter().map(|buffer| buffer.last() + 1).max().unwrap_or(0);
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
        let reaches_top = |i: &usize| last.offsets[*i] + buffers[*i].size() == last.size;
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
    let life = |b: &Buffer| (b.last() - b.first() + 1) as u64;
    let fullest = |b: &Buffer| alive[b.first()..=b.last()].iter().copied().max().unwrap_or(0);
    vec![
        by(&|b| [b.size(), life(b)]),
        by(&|b| [b.size() * life(b), b.size()]),
        by(&|b| [fullest(b), b.size()]),
        by(&|b| [life(b), b.size()]),
        (0..buffers.len()).collect(),
    ]
}

/// Places buffers in this order, each where it fits tightest.
fn place(buffers: &[Buffer], order: &[usize]) -> Packing {
    let mut packing = Packing { offsets: vec![0; buffers.len()], size: 0 };
    // In the order of their offsets, as what they forbid is then nearly sorted.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut forbidden: Vec<(i64, i64)> = Vec::new();
    for &i in order {
        let buffer = &buffers[i];
        forbidden.clear();
        for &j in &placed {
            let others = buffers[j].pieces.iter();
            let pairs = others.flat_map(|other| buffer.pieces.iter().map(move |it| (it, other)));
            for (piece, other) in pairs.filter(|(piece, other)| piece.meets(other)) {
                let other_offset = packing.offsets[j] + other.offset;
                let last_before = other_offset as i64 - piece.end() as i64;
                let first_after = (other_offset + other.size) as i64 - piece.offset as i64;
                forbidden.push((last_before, first_after));
            }
        }
        forbidden.sort_unstable();
        let offset = tightest(&forbidden);
        packing.offsets[i] = offset;
        packing.size = packing.size.max(offset + buffer.size());
        let at = placed.partition_point(|&j| packing.offsets[j] <= offset);
        placed.insert(at, i);
    }
    packing
}

/// Where a buffer is moved least between those around it. `forbidden` are, sorted, the
/// offsets between which it may not lie.
fn tightest(forbidden: &[(i64, i64)]) -> u64 {
    let mut end = 0;
    let mut best: Option<(i64, i64)> = None;
    for &(last_before, first_after) in forbidden {
        let free = last_before - end;
        if free >= 0 && best.is_none_or(|(smallest, _)| free < smallest) {
            best = Some((free, end));
        }
        end = end.max(first_after);
    }
    best.map_or(end, |(_, offset)| offset) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_apart(buffers: &[Buffer], Packing { offsets, size }: &Packing) {
        let pieces: Vec<(u64, &Piece)> = buffers
            .iter()
            .zip(offsets)
            .flat_map(|(buffer, &at)| buffer.pieces.iter().map(move |it| (at + it.offset, it)))
            .collect();
        for (i, &(at, a)) in pieces.iter().enumerate() {
            assert!(at + a.size <= *size);
            for &(other, b) in &pieces[i + 1..] {
                let apart = at + a.size <= other || other + b.size <= at;
                assert!(!a.meets(b) || apart, "{a:?} at {at} and {b:?} at {other}");
            }
        }
    }

    #[test]
    fn buffers_that_meet_do_not_overlap_and_others_share() {
        let buffers = [
            Buffer::new(100, 0, 1),
            Buffer::new(200, 1, 2),
            Buffer::new(100, 2, 3),
            Buffer::new(50, 0, 3),
            Buffer::new(300, 3, 3),
        ];
        let packing = pack(&buffers);
        assert_apart(&buffers, &packing);
        assert_eq!(packing.size, 450, "as many are alive at once");
    }

    #[test]
    fn memory_of_a_piece_that_is_not_written_yet_is_used() {
        let piece = |offset, first| Piece { offset, size: 100, first, last: 5 };
        let skipped = Buffer { pieces: vec![piece(0, 4), piece(100, 0)] };
        let buffers = [skipped, Buffer::new(100, 1, 3), Buffer::new(100, 4, 4)];
        let packing = pack(&buffers);
        assert_apart(&buffers, &packing);
        assert_eq!(packing.size, 300, "the second one lies where the first piece will");
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
                .map(|first| {
                    let size = 16 * (1 + random(64));
                    Buffer::new(size, first, first + 1 + random(4) as usize)
                })
                .collect();
            let packing = pack(&buffers);
            assert_apart(&buffers, &packing);
            let bound = alive(&buffers, 70).into_iter().max().unwrap();
            assert!(10 * packing.size <= 11 * bound, "{} over {bound}", packing.size);
        }
    }
}
