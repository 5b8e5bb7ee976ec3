//! Versions are swapped under load: no inference is lost, each answer is the answering
//! version's to the bit, and memory does not grow. One test alone, as it reads the
//! memory of the whole process; `--bench swaps` is the long one, with times.

use std::time::Duration;

use leeway_deploy::state::StreamSettings;
use leeway_tests::swaps::{Report, Soak};

/// What memory may grow by after the first block, in bytes: less than a quarter of what
/// the swaps would take if each left its weights behind.
const GROWTH: u64 = 24 << 20;

#[test]
fn swaps_under_load_lose_nothing_and_leave_nothing_behind() {
    nothing_is_lost(&Soak::new().unwrap().run(8, 8, Duration::ZERO, |_, _| ()).unwrap());
    // And through a stream, whose executor goes over to each version. A machine that does
    // other things as well interrupts runs of 0.1 ms for many times as long.
    let stream = StreamSettings::new("camera", 100.0, 10_000.0);
    let report = Soak::with_stream(stream).unwrap().run(8, 8, Duration::ZERO, |_, _| ()).unwrap();
    nothing_is_lost(&report);
}

fn nothing_is_lost(report: &Report) {
    assert_eq!(report.swaps, 64);
    assert_eq!(report.wrong, 0, "{:?}", report.first_wrong);
    assert_eq!(report.begun, report.answered());
    assert!(report.swapping.wall.count() > 0 && report.still.wall.count() > 0);
    let (early, late) = (report.resident[1], report.resident[7]);
    assert!(late < early + GROWTH, "{early} bytes, then {late}: {:?}", report.resident);
}
