//! The picture of made-up calibrations: with a tail, without, and degenerate.

use leeway_contract::{Digest, Fuel};
use leeway_runtime::realtime::RealTime;
use leeway_runtime::sandbox::EngineKind;
use leeway_runtime::timing::calibration::{FORMAT, Seen};
use leeway_runtime::timing::evt::TailOptions;
use leeway_runtime::timing::{Cause, Claims, Condition, Device, Timing};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

fn calibration(times: impl Iterator<Item = u64>) -> Calibration {
    let run = |(i, ns)| {
        let causes = if i % 100 == 99 { vec![Cause::Preempted] } else { vec![] };
        RunSample { input: 0, ns: ns * (1 + u64::from(i % 100 == 99)), causes }
    };
    let samples: Vec<RunSample> = times.enumerate().map(run).collect();
    let options = TailOptions { replicas: 100, seed: 1 };
    let whole = Timing::of(&samples, Fuel(10), &options).unwrap();
    Calibration {
        format: FORMAT,
        claims: Claims {
            module: Digest::of(b"m"),
            engine: EngineKind::Native,
            engine_hash: "0".into(),
            device: Device { machine: "A <Board>".into(), ..Device::default() },
        },
        real_time: RealTime::default().apply(),
        seed: 1,
        inputs: 1,
        warm: Condition { stages: vec![whole.clone()], whole },
        cold: None,
        seen: Seen::default(),
        samples,
        speed: None,
        energy: None,
    }
}

fn exponential(n: usize) -> impl Iterator<Item = u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    (0..n).map(move |_| 1_000_000 + (-20_000.0 * (1.0 - rng.random::<f64>()).ln()) as u64)
}

#[test]
fn a_tail_is_drawn_with_its_band_and_bounds() {
    let svg = timing(&calibration(exponential(2000)), "a & b");
    let document = roxmltree::Document::parse(&svg).unwrap();
    let has = |class: &str| document.descendants().any(|n| n.attribute("class") == Some(class));
    for class in ["band", "tail", "measured", "observed", "bar disturbed", "promise"] {
        assert!(has(class), "{class}");
    }
    assert!(svg.contains("1e-6: 1.") && svg.contains("1e-9: 1."), "{svg}");
    assert!(svg.contains("prefers-color-scheme: dark"));
}

#[test]
fn without_a_tail_the_reason_is_in_the_picture() {
    let svg = timing(&calibration(exponential(200)), "m");
    let document = roxmltree::Document::parse(&svg).unwrap();
    assert!(!document.descendants().any(|n| n.attribute("class") == Some("tail")));
    assert!(svg.contains("198 undisturbed runs; 1000 are needed"), "{svg}");
}

#[test]
fn degenerate_runs_are_drawn_all_the_same() {
    for times in [vec![5], vec![0, 0], vec![7; 1200], vec![1, u64::MAX / 4]] {
        let svg = timing(&calibration(times.into_iter()), "m");
        assert!(roxmltree::Document::parse(&svg).is_ok() && !svg.contains("NaN"));
    }
}
