//! From the offloader's decision record to the study's row.

use leeway_contract::Tensor;
use leeway_runtime::nanos;
use leeway_runtime::offload::record::{DecisionRecord, Outcome};

use crate::study::{DecisionRow, FALLBACK, FOG, LOCAL};

/// The class that a classifier's outputs name.
pub(super) fn class(outputs: &[Tensor]) -> Option<usize> {
    outputs.first()?.argmax()
}

/// The row of one record.
pub(super) fn row(
    record: &DecisionRecord,
    link: &str,
    predicted: usize,
    label: usize,
) -> DecisionRow {
    let placement = match record.outcome {
        Outcome::Local => LOCAL,
        Outcome::Fog => FOG,
        Outcome::Fallback | Outcome::Compensated => FALLBACK,
    };
    let offloaded = record.offloaded.as_ref();
    DecisionRow {
        sequence: record.sequence,
        link: link.to_owned(),
        policy: record.policy.clone(),
        model: record.task.clone(),
        placement: placement.to_owned(),
        wcet_ns: nanos::of(record.estimates.wcet),
        estimated_tl_ns: record.estimates.transfer.map(nanos::of),
        estimated_tf_ns: record.estimates.fog.map(nanos::of),
        latency_ns: nanos::of(record.latency),
        tl_ns: offloaded.map(|o| nanos::of(o.transfer)),
        tf_ns: offloaded.map(|o| nanos::of(o.fog)),
        local_ns: record.local.map(nanos::of),
        fuel: record.fuel.0,
        predicted,
        label,
        missed: record.missed(),
        joules: record.joules,
        fog_error: record.fog_failure.as_ref().map(|f| f.message.clone()),
    }
}
