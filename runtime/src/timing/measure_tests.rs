//! Measuring a made-up executor: what is run, in which order, and how often.

use std::ops::RangeInclusive;

use leeway_contract::{Certificate, Digest};

use super::*;
use crate::offload::local::LocalRun;
use crate::testing::TestModel;

/// Takes the nanoseconds that its input holds; a stage, a hundred times its number
/// more.
struct Scripted {
    certificate: Certificate,
    ranges: Vec<RangeInclusive<u32>>,
}

impl Scripted {
    fn new(stages: u32) -> Self {
        let engine = crate::sandbox::Sandbox::engine_claim();
        let certificate = TestModel::chain(stages, 1.0).certificate(&engine);
        Self { certificate, ranges: Vec::new() }
    }
}

impl Local for Scripted {
    fn digest(&self) -> Digest {
        Digest::of(b"scripted")
    }

    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn run(
        &mut self,
        stages: RangeInclusive<u32>,
        inputs: &[Tensor],
    ) -> Result<LocalRun, LocalError> {
        self.ranges.push(stages.clone());
        let ns = inputs[0].to_f32().unwrap()[0];
        if ns < 0.0 {
            return Err(LocalError("negative".into()));
        }
        let more =
            if self.certificate.last_stage() > 0 { 100 * u64::from(*stages.end()) } else { 0 };
        let elapsed = Duration::from_nanos(ns as u64 + more);
        let fuel = Fuel(u64::from(stages.end() - stages.start()) + 1);
        Ok(LocalRun { outputs: inputs.to_vec(), fuel, elapsed })
    }
}

fn inputs(times: &[f32]) -> Vec<Vec<Tensor>> {
    times.iter().map(|&t| vec![Tensor::from_f32(&[1], &[t])]).collect()
}

const QUICK: MeasureOptions = MeasureOptions {
    warm_up: 2,
    repetitions: 5,
    cold_runs: 0,
    stages: false,
    rest: Duration::ZERO,
    budget: None,
    again: 0,
    seed: 1,
};

#[test]
fn every_input_runs_as_often_as_asked_in_a_mixed_order() {
    let times: Vec<f32> = (1..=20).map(|t| t as f32 * 1_000.0).collect();
    let mut local = Scripted::new(1);
    let mut steps = Vec::new();
    let measured =
        measure(&mut local, &inputs(&times), &QUICK, &mut |p| steps.push((p.done, p.total)));
    let measured = measured.unwrap();
    let samples = &measured.warm.whole.samples;
    assert_eq!((measured.inputs, samples.len(), local.ranges.len()), (20, 100, 103));
    for input in 0..20 {
        let of_input = samples.iter().filter(|s| s.input == input);
        assert!(of_input.clone().all(|s| s.ns == 1_000 * (input as u64 + 1)));
        assert_eq!(of_input.count(), 5);
    }
    let round =
        |i: usize| samples[20 * i..20 * (i + 1)].iter().map(|s| s.input).collect::<Vec<_>>();
    assert!(!round(0).is_sorted() && round(0) != round(1));
    assert_eq!((steps[0], steps[99], steps.len()), ((1, 100), (100, 100), 100));

    let again = measure(&mut Scripted::new(1), &inputs(&times), &QUICK, &mut |_| ()).unwrap();
    let order = |m: &Measured| m.warm.whole.samples.iter().map(|s| s.input).collect::<Vec<_>>();
    assert_eq!(order(&again), order(&measured));
}

#[test]
fn stages_run_one_after_another_on_what_crosses_and_cold_runs_are_apart() {
    let mut local = Scripted::new(3);
    let options = MeasureOptions { stages: true, cold_runs: 4, repetitions: 2, ..QUICK };
    let measured = measure(&mut local, &inputs(&[10.0, 20.0]), &options, &mut |_| ()).unwrap();
    assert_eq!(local.ranges[3..7], [0..=2, 0..=0, 1..=1, 2..=2]);
    let cold = measured.cold.unwrap();
    for (runs, count) in [(&measured.warm, 4), (&cold, 4)] {
        assert_eq!((runs.whole.samples.len(), runs.stages.len()), (count, 3));
        assert_eq!((runs.whole.fuel, runs.stages[1].fuel), (Fuel(3), Fuel(1)));
        for (i, stage) in runs.stages.iter().enumerate() {
            let expected = |s: &RunSample| 10 * (s.input as u64 + 1) + 100 * i as u64;
            assert!(stage.samples.iter().all(|s| s.ns == expected(s)));
            assert_eq!(stage.samples.len(), count);
        }
    }
}

#[test]
fn the_only_stage_is_the_whole_and_runs_once() {
    let mut local = Scripted::new(1);
    let options = MeasureOptions { stages: true, ..QUICK };
    let measured = measure(&mut local, &inputs(&[10.0]), &options, &mut |_| ()).unwrap();
    assert_eq!(measured.warm.stages, std::slice::from_ref(&measured.warm.whole));
    assert_eq!(local.ranges.len(), 1 + 2 + 5);
}

#[test]
fn a_budget_takes_fewer_inputs_evenly() {
    let rest = Duration::from_millis(4);
    let options = MeasureOptions { repetitions: 5, rest, ..QUICK };
    let each = Duration::from_millis(6);
    let budget = |ms| MeasureOptions { budget: Some(Duration::from_millis(ms)), ..options };
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
    let run = |times: &[f32]| measure(&mut Scripted::new(1), &inputs(times), &QUICK, &mut |_| ());
    let error = run(&[1.0, -1.0]).unwrap_err();
    assert!(matches!(error, MeasureError::Run { input: 1, .. }), "{error}");
    assert!(matches!(run(&[]), Err(MeasureError::NoInputs)));
}

/// A model whose first runs take until another thread has interrupted them.
struct Interrupted {
    model: Scripted,
    still: u32,
}

impl Local for Interrupted {
    fn digest(&self) -> Digest {
        self.model.digest()
    }

    fn certificate(&self) -> &Certificate {
        &self.model.certificate
    }

    fn run(
        &mut self,
        stages: RangeInclusive<u32>,
        inputs: &[Tensor],
    ) -> Result<LocalRun, LocalError> {
        let before = ThreadUsage::now().preemptions;
        while self.still > 0 && ThreadUsage::now().preemptions == before {
            std::hint::spin_loop();
        }
        self.still = self.still.saturating_sub(1);
        self.model.run(stages, inputs)
    }
}

#[test]
fn a_run_that_was_interrupted_is_made_again_where_that_is_asked_for_and_no_more_often() {
    let cpu = *crate::realtime::allowed_cpus().last().expect("a thread runs somewhere");
    let pin = move || crate::realtime::RealTime { cpu: Some(cpu), ..Default::default() }.apply();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin();
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let measuring = scope.spawn(|| {
            pin();
            let runs = |again| {
                let mut local = Interrupted { model: Scripted::new(1), still: 3 };
                let options = MeasureOptions { warm_up: 0, repetitions: 1, again, ..QUICK };
                let measured = measure(&mut local, &inputs(&[1_000.0]), &options, &mut |_| ());
                assert_eq!(measured.unwrap().warm.whole.samples.len(), 1);
                local.model.ranges.len()
            };
            // One to begin with, and the one that counts.
            assert_eq!(runs(0), 2);
            // Three are interrupted and made again; more may be, by chance.
            assert!((5..=2 * 6).contains(&runs(5)));
        });
        let measured = measuring.join();
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        measured.unwrap();
    });
}
