//! Concatenations whose operands are computed where they belong, so that nothing is
//! copied.
//!
//! An operand that nothing reads after the concatenation, and that lies in it without a
//! gap, becomes a part of its output (see [`Schedule::within`]). Memory for the output
//! is then taken from its first part on; where a model would need more for that,
//! everything stays as it is.

use std::collections::HashMap;

use crate::emit::nest::is_dense;
use crate::kernels::copy::{Copy, Part};
use crate::plan;
use crate::schedule::{Origin, Schedule, ValueId, Within};

/// Kernels may write up to the next multiple of this.
const WRITTEN_BYTES: usize = 16;

/// Joins the operands of all concatenations, unless that takes more memory.
pub fn join(schedule: &mut Schedule) {
    let before = plan::activation_bytes(schedule);
    let mut copies = HashMap::new();
    let last_reads = schedule.last_reads();
    for at in 0..schedule.steps.len() {
        let step = &schedule.steps[at];
        let Some(copy) = step.kernel.as_any().downcast_ref::<Copy>() else { continue };
        let (whole, copy) = (step.outputs[0], copy.clone());
        let mut left = copy.clone();
        left.parts.retain(|part| {
            let value = schedule.root(schedule.steps[at].inputs[part.input]);
            let offset_bytes = part.to * copy.element_bytes;
            let fits = copy.fill.is_none()
                && last_reads[value.0] == Some(at)
                && is_computed(schedule, value)
                && is_all_of(schedule, value, &copy, part)
                && is_dense(&part.to_strides, &part.shape)
                && offset_bytes.is_multiple_of(WRITTEN_BYTES)
                && schedule.value(value).size_bytes().is_multiple_of(WRITTEN_BYTES);
            if fits {
                schedule.within.insert(value, Within { whole, offset_bytes });
            }
            !fits
        });
        if left.parts.len() < copy.parts.len() {
            schedule.steps[at].kernel = Box::new(left);
            copies.insert(at, copy);
        }
    }
    if !copies.is_empty() && plan::activation_bytes(schedule) > before {
        schedule.within.clear();
        for (at, copy) in copies {
            schedule.steps[at].kernel = Box::new(copy);
        }
    }
}

/// Whether a step makes the value, and it is not part of another one yet.
fn is_computed(schedule: &Schedule, value: ValueId) -> bool {
    schedule.value(value).origin == Origin::Step && !schedule.within.contains_key(&value)
}

fn is_all_of(schedule: &Schedule, value: ValueId, copy: &Copy, part: &Part) -> bool {
    let bytes = part.shape.iter().product::<usize>() * copy.element_bytes;
    part.from == 0
        && is_dense(&part.from_strides, &part.shape)
        && schedule.value(value).size_bytes() == bytes
}
