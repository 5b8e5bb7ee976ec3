//! The static memory plan: an address for every value, blob of weights and
//! scratch space, with activations sharing memory where their lives do not meet.
//!
//! Offsets are chosen greedily, the largest buffer first (Y. Pisarchyk, J. Lee,
//! "Efficient Memory Management for Deep Neural Net Inference", 2020).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::schedule::{Origin, Places, Schedule};

/// Kernels may read this many bytes past the end of their inputs.
pub const READ_SLACK: u32 = 64;

/// The size of a page of linear memory.
pub const PAGE: u64 = 65536;

/// The most that a linear memory may have: 32-bit addresses, of which the kernels
/// step a little past the end.
pub const LIMIT_BYTES: u64 = (1 << 32) - (1 << 20);

/// Every buffer's address is a multiple of this.
const ALIGN: u64 = 16;

/// Data that is in memory from the start.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where.
    pub address: u32,
    /// What.
    pub bytes: Vec<u8>,
}

/// Where everything is.
#[derive(Debug)]
pub struct Plan {
    /// For each value: its address.
    pub values: Vec<u32>,
    /// For each step: what it works on.
    pub places: Vec<Places<u32>>,
    /// The weights and constants.
    pub segments: Vec<Segment>,
    /// The first address after constants and activations.
    pub end: u64,
    /// Bytes for activations and scratch space.
    pub activation_bytes: u64,
    /// For each step: bytes of weights and constants that it reads.
    pub weight_bytes: Vec<u64>,
}

/// A buffer that lives from one step to another, both included.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    size: u64,
    first: usize,
    last: usize,
}

/// Plans a schedule whose memory before `start` is taken. On failure, the bytes
/// that it needs.
pub fn plan(schedule: &Schedule, start: u32) -> Result<Plan, u64> {
    let mut next = u64::from(start).next_multiple_of(64);
    // The same bytes, as the weights of a loop's iterations are, lie there once.
    let mut segments: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
    let hashes = RandomState::new();
    let mut constant = |bytes: Vec<u8>| {
        let same = known.entry(hashes.hash_one(&bytes)).or_default();
        if let Some(&at) = same.iter().find(|&&at| segments[at].1 == bytes) {
            return segments[at].0;
        }
        same.push(segments.len());
        let address = next;
        next += (bytes.len() as u64).next_multiple_of(ALIGN);
        segments.push((address, bytes));
        address
    };

    let mut addresses = vec![0u64; schedule.values.len()];
    let last_reads = schedule.last_reads();
    for (id, value) in schedule.values.iter().enumerate() {
        if let Origin::Constant(bytes) = &value.origin
            && last_reads[id].is_some()
        {
            addresses[id] = constant(bytes.clone());
        }
    }
    let mut weights: Vec<Vec<u64>> = Vec::new();
    let mut weight_bytes = Vec::new();
    for step in &schedule.steps {
        let blobs = step.kernel.weights();
        let constants = step.inputs.iter().filter(|&&id| schedule.is_constant(id));
        let in_constants: usize = constants.map(|&id| schedule.value(id).size_bytes()).sum();
        weight_bytes.push((blobs.iter().map(Vec::len).sum::<usize>() + in_constants) as u64);
        weights.push(blobs.into_iter().map(&mut constant).collect());
    }
    let activations = (next + u64::from(READ_SLACK)).next_multiple_of(64);

    // One buffer for each computed value and for each scratch space.
    let mut buffers = Vec::new();
    let mut owners = Vec::new();
    let mut written = vec![0usize; schedule.values.len()];
    for (at, step) in schedule.steps.iter().enumerate() {
        step.outputs.iter().for_each(|output| written[output.0] = at);
    }
    for (id, value) in schedule.values.iter().enumerate() {
        if let (Origin::Input(_) | Origin::Step, Some(last)) = (&value.origin, last_reads[id]) {
            let size = (value.size_bytes() as u64).next_multiple_of(ALIGN);
            buffers.push(Buffer { size, first: written[id], last });
            owners.push(Owner::Value(id));
        } else if matches!(value.origin, Origin::Input(_)) {
            // An input that nothing reads is received all the same.
            let size = (value.size_bytes() as u64).next_multiple_of(ALIGN);
            buffers.push(Buffer { size, first: 0, last: 0 });
            owners.push(Owner::Value(id));
        }
    }
    for (at, step) in schedule.steps.iter().enumerate() {
        let size = (step.kernel.scratch_bytes() as u64).next_multiple_of(ALIGN);
        if size > 0 {
            buffers.push(Buffer { size, first: at, last: at });
            owners.push(Owner::Scratch(at));
        }
    }
    let (offsets, activation_bytes) = place(&buffers);
    let end = activations + activation_bytes + u64::from(READ_SLACK);
    if end > LIMIT_BYTES {
        return Err(end);
    }

    let mut scratch = vec![0u32; schedule.steps.len()];
    for (owner, offset) in owners.iter().zip(offsets) {
        match *owner {
            Owner::Value(id) => addresses[id] = activations + offset,
            Owner::Scratch(step) => scratch[step] = (activations + offset) as u32,
        }
    }
    for id in 0..schedule.values.len() {
        addresses[id] = addresses[schedule.root(crate::schedule::ValueId(id)).0];
    }
    let values: Vec<u32> = addresses.iter().map(|&a| a as u32).collect();
    let places = schedule.steps.iter().enumerate().map(|(at, step)| Places {
        inputs: step.inputs.iter().map(|id| values[id.0]).collect(),
        outputs: step.outputs.iter().map(|id| values[id.0]).collect(),
        weights: weights[at].iter().map(|&a| a as u32).collect(),
        scratch: scratch[at],
    });
    Ok(Plan {
        places: places.collect(),
        values,
        segments: segments
            .into_iter()
            .map(|(address, bytes)| Segment { address: address as u32, bytes })
            .collect(),
        end,
        activation_bytes,
        weight_bytes,
    })
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Value(usize),
    Scratch(usize),
}

/// An offset for each buffer, so that no two that live at the same time overlap,
/// and the size of all.
fn place(buffers: &[Buffer]) -> (Vec<u64>, u64) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].size), i));
    let mut offsets = vec![0u64; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let buffer = buffers[i];
        // In order of their offsets, those that live at the same time.
        let meets = |&j: &usize| buffers[j].first <= buffer.last && buffer.first <= buffers[j].last;
        let mut offset = 0;
        for j in placed.iter().copied().filter(meets) {
            if offset + buffer.size <= offsets[j] {
                break;
            }
            offset = offset.max(offsets[j] + buffers[j].size);
        }
        offsets[i] = offset;
        total = total.max(offset + buffer.size);
        let at = placed.partition_point(|&j| offsets[j] <= offset);
        placed.insert(at, i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (offsets, total) = place(&buffers);
        for (i, a) in buffers.iter().enumerate() {
            for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                let meet = a.first <= b.last && b.first <= a.last;
                let apart = offsets[i] + a.size <= offsets[j] || offsets[j] + b.size <= offsets[i];
                assert!(!meet || apart, "{a:?} at {} and {b:?} at {}", offsets[i], offsets[j]);
            }
        }
        assert!(total <= 450, "{total} bytes where 450 are alive at once");
    }
}
