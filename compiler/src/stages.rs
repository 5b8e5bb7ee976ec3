//! Where a schedule may be cut: the stages of the component.
//!
//! Between two stages only the outputs of the first are alive, so a split of the
//! model at a cut transfers no more than they are. Every stage has work that is
//! worth a cut: at least one kernel that multiplies, or it is the last one. Between
//! two of these the cut is where the least crosses; of equals, at the last one:
//! pooling and activations stay with the kernel before them.

use std::ops::Range;

use crate::schedule::{Origin, Schedule, ValueId};

/// A stage: its steps, and the values that cross its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Indices of its steps.
    pub steps: Range<usize>,
    /// What enters it.
    pub inputs: Vec<ValueId>,
    /// What leaves it.
    pub outputs: Vec<ValueId>,
}

/// How finely a model is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// Wherever a single tensor crosses.
    #[default]
    Layers,
    /// One stage.
    Whole,
}

/// Cuts a schedule into stages.
pub fn cut(schedule: &Schedule, granularity: Granularity) -> Vec<Stage> {
    let last_reads = schedule.last_reads();
    let mut stages = Vec::new();
    let mut first = 0;
    let mut inputs = schedule.inputs.clone();
    if granularity == Granularity::Layers {
        let works = |step: usize| schedule.steps[step].kernel.macs() > 0;
        // The best place since the last kernel that multiplies.
        let mut best: Option<Stage> = None;
        for end in 1..schedule.steps.len() {
            let alive = alive_after(schedule, &last_reads, end);
            if let [crossing] = alive[..]
                && (first..end).any(works)
                && best.as_ref().is_none_or(|best| {
                    size_bytes(schedule, crossing) <= size_bytes(schedule, best.outputs[0])
                })
            {
                best = Some(Stage { steps: first..end, inputs: inputs.clone(), outputs: alive });
            }
            if works(end)
                && let Some(stage) = best.take()
            {
                (first, inputs) = (stage.steps.end, stage.outputs.clone());
                stages.push(stage);
            }
        }
    }
    let outputs = schedule.outputs.clone();
    stages.push(Stage { steps: first..schedule.steps.len(), inputs, outputs });
    stages
}

fn size_bytes(schedule: &Schedule, id: ValueId) -> usize {
    schedule.value(id).size_bytes()
}

/// The computed values that are written before the step `end` and read from it on.
fn alive_after(schedule: &Schedule, last_reads: &[Option<usize>], end: usize) -> Vec<ValueId> {
    let written = schedule.steps[..end].iter().flat_map(|step| step.outputs.iter().copied());
    let inputs = schedule.inputs.iter().copied();
    inputs
        .chain(written)
        .filter(|id| !matches!(schedule.value(*id).origin, Origin::Constant(_)))
        .filter(|id| last_reads[id.0].is_some_and(|read| read >= end))
        .collect()
}
