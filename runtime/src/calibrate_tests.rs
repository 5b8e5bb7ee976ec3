//! Calibration on made-up runs and on a made-up executor.

use std::ops::RangeInclusive;

use leeway_contract::{Certificate, DType};

use super::*;
use crate::offload::local::LocalRun;
use crate::offload::tests::certificate;

/// Takes the nanoseconds that its input holds.
struct Scripted {
    certificate: Certificate,
    runs: usize,
}

impl Local for Scripted {
    fn digest(&self) -> Digest {
        Digest::of(b"scripted")
    }

    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn run(&mut self, _: RangeInclusive<u32>, inputs: &[Tensor]) -> Result<LocalRun, LocalError> {
        self.runs += 1;
        let ns = inputs[0].to_f32().unwrap()[0];
        if ns < 0.0 {
            return Err(LocalError("negative".into()));
        }
        let elapsed = Duration::from_nanos(ns as u64);
        Ok(LocalRun { outputs: inputs.to_vec(), fuel: Fuel(100), elapsed })
    }
}

fn inputs(times: &[f32]) -> Vec<Vec<Tensor>> {
    assert_eq!(Tensor::from_f32(&[1], &[0.0]).dtype, DType::F32);
    times.iter().map(|&t| vec![Tensor::from_f32(&[1], &[t])]).collect()
}

fn run(times: &[f32], options: CalibrationOptions) -> Result<Calibration, CalibrationError> {
    let mut local = Scripted { certificate: certificate(), runs: 0 };
    let calibration = calibrate(&mut local, &inputs(times), &options)?;
    assert_eq!(local.runs, 1 + options.warm_up + calibration.samples.len());
    Ok(calibration)
}

#[test]
fn every_input_runs_as_often_as_asked_in_a_mixed_order() {
    let times: Vec<f32> = (1..=20).map(|t| t as f32 * 1_000.0).collect();
    let calibration = run(&times, CalibrationOptions::default()).unwrap();
    assert_eq!((calibration.inputs, calibration.samples.len()), (20, 100));
    for input in 0..20 {
        assert_eq!(calibration.samples.iter().filter(|s| s.input == input).count(), 5);
    }
    let first_round: Vec<usize> = calibration.samples[..20].iter().map(|s| s.input).collect();
    assert!(!first_round.is_sorted());
    assert_eq!(calibration.wcet, Duration::from_nanos(20_000));
    assert_eq!(calibration.highest_observed, Duration::from_nanos(20_000));
    assert_eq!(calibration.fuel, Fuel(100));
    assert!((calibration.ns_per_fuel - 100.0).abs() < 1.0, "{}", calibration.ns_per_fuel);
}

#[test]
fn a_budget_takes_fewer_inputs_evenly() {
    let rest = Duration::from_millis(4);
    let options = CalibrationOptions { repetitions: 5, rest, ..CalibrationOptions::default() };
    let each = Duration::from_millis(6);
    let budget = |ms| CalibrationOptions { budget: Some(Duration::from_millis(ms)), ..options };
    assert_eq!(choose(100, each, &options).len(), 100);
    assert_eq!(
        choose(100, each, &budget(1_000)),
        [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95]
    );
    assert_eq!(choose(100, each, &budget(1)).len(), FEWEST_INPUTS);
    assert_eq!(choose(3, each, &budget(1)), [0, 1, 2]);
}

#[test]
fn a_failing_input_is_named_and_no_inputs_are_an_error() {
    let error = run(&[1.0, -1.0], CalibrationOptions::default()).unwrap_err();
    assert!(matches!(error, CalibrationError::Run { input: 1, .. }), "{error}");
    assert!(matches!(run(&[], CalibrationOptions::default()), Err(CalibrationError::NoInputs)));
}

fn sample(input: usize, ns: u64, disturbed: bool) -> RunSample {
    RunSample { input, ns, disturbed }
}

#[test]
fn disturbed_runs_and_hidden_hiccups_do_not_raise_the_wcet() {
    let mut samples = Vec::new();
    for repetition in 0..5u64 {
        samples.push(sample(0, 1_000 + repetition, false));
        samples.push(sample(1, 1_100 + repetition, false));
    }
    samples[2].ns = 900_000; // the hypervisor, which tells nobody
    samples[5] = sample(1, 5_000_000, true); // a preemption
    let calibration = summarise(Digest::of(b"m"), Fuel(10), &[0, 1], samples);
    let ns = Duration::from_nanos;
    assert!((ns(1_100)..=ns(1_104)).contains(&calibration.wcet), "{:?}", calibration.wcet);
    assert_eq!(calibration.highest_undisturbed, ns(900_000));
    assert_eq!(calibration.highest_observed, ns(5_000_000));
    assert_eq!(calibration.disturbed, 1);
}

#[test]
fn where_every_run_was_disturbed_they_are_all_there_is() {
    let samples = vec![sample(0, 1_000, true), sample(0, 3_000, true), sample(0, 2_000, true)];
    let calibration = summarise(Digest::of(b"m"), Fuel(0), &[0], samples);
    assert_eq!(calibration.wcet, Duration::from_nanos(2_000));
    assert_eq!(calibration.ns_per_fuel, 0.0);
    assert_eq!(calibration.disturbed, 3);
}

#[test]
fn a_calibration_survives_json() {
    let calibration = run(&[1_000.0, 2_000.0], CalibrationOptions::default()).unwrap();
    let json = serde_json::to_string(&calibration).unwrap();
    assert!(json.contains("\"wcet_ns\":2000"), "{json}");
    assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
}
