//! Studies for the tests: one small enough to compute by hand, one that looks
//! like a real one, and degenerate ones.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::link::{Direction, Flow, LinkModel, LinkProfile};
use crate::study::*;

const MS: u64 = 1_000_000;

fn setup() -> Setup {
    Setup {
        device_engine: "pulley".into(),
        device_cpu: Some(1),
        cpu_model: "A CPU <with> \"quotes\" & more".into(),
        seed: 2019,
        leeway: "0.1.0".into(),
        wasmtime: "48.0.0".into(),
        elapsed_s: 83.25,
    }
}

/// A study in which nothing happened.
pub(super) fn empty() -> Study {
    Study { setup: setup(), models: vec![], links: vec![], policies: vec![], decisions: vec![] }
}

fn model(name: &str, wcet_ns: u64, macs: u64, input_bytes: u64, deadline_ns: u64) -> ModelInfo {
    ModelInfo {
        name: name.into(),
        digest: format!("sha256:{:064x}", 0x2019_u128.wrapping_mul(u128::from(wcet_ns)) << 40),
        fuel: macs * 3 / 4 + 1_234,
        macs,
        input_bytes,
        component_bytes: macs / 2 + 20_000,
        wcet_ns,
        median_ns: wcet_ns * 8 / 10,
        calibration_ns: vec![wcet_ns * 8 / 10, wcet_ns],
        deadline_ns,
        bound_ns: wcet_ns * 5 / 4,
        executions: 300,
        exceeded: 1,
    }
}

/// One link, one model, three policies, four inputs each.
pub(super) fn by_hand() -> Study {
    let mut study = Study {
        models: vec![model("cnn", 12 * MS, 2_000_000, 784, 30 * MS)],
        links: vec![LinkInfo {
            name: "wifi".into(),
            summary: "3 ms".into(),
            source: "by hand".into(),
        }],
        policies: [ALL_LOCAL, ALL_FOG, THRESHOLD].map(String::from).into(),
        ..empty()
    };
    let mut decide = |policy: &str, sequence, placement: &str, ms: u64, tl: Option<u64>| {
        let fog = placement == FOG;
        study.decisions.push(DecisionRow {
            sequence,
            link: "wifi".into(),
            policy: policy.into(),
            model: "cnn".into(),
            placement: placement.into(),
            wcet_ns: 12 * MS,
            estimated_tl_ns: Some(3 * MS),
            estimated_tf_ns: Some(MS),
            latency_ns: ms * MS,
            tl_ns: tl.map(|t| t * MS),
            tf_ns: fog.then_some(MS),
            local_ns: (!fog).then_some(10 * MS),
            fuel: 1_501_234,
            predicted: (sequence % 4) as usize,
            label: (sequence % 3) as usize,
            missed: ms > 30,
            joules: Some(ms as f64 / 1024.0),
            fog_error: (placement == FALLBACK).then(|| "timed out, \"after\" 20 ms".into()),
        });
    };
    for sequence in 0..4 {
        decide(ALL_LOCAL, sequence, LOCAL, 10, None);
        decide(ALL_FOG, sequence, FOG, 5, Some(4));
    }
    decide(THRESHOLD, 0, FOG, 4, Some(3));
    decide(THRESHOLD, 1, FOG, 5, Some(4));
    decide(THRESHOLD, 2, LOCAL, 10, None);
    decide(THRESHOLD, 3, FALLBACK, 31, None);
    study
}

/// Four models over all links, as a slow device would have them; `inputs` of each
/// under each policy.
pub(super) fn study(inputs: u64) -> Study {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut models = vec![
        model("mlp-digits", 310_000, 25_408, 784, 50 * MS),
        model("cnn-digits", 24 * MS, 2_610_000, 784, 100 * MS),
        model("mlp-tabular", 41_000, 1_024, 120, 50 * MS),
        model("cnn-tabular", 2_300_000, 205_000, 120, 50 * MS),
    ];
    for m in &mut models {
        let execution = |_| execution_ns(m.wcet_ns, &mut rng);
        m.calibration_ns = (0..360).map(execution).collect();
        m.wcet_ns = *m.calibration_ns.iter().max().unwrap();
    }
    let links = LinkProfile::all().iter().map(LinkInfo::from);
    let policies = [ALL_LOCAL, ALL_FOG, THRESHOLD];
    let mut study = Study {
        links: links.collect(),
        policies: policies.map(String::from).into(),
        models,
        ..empty()
    };
    for profile in LinkProfile::all() {
        for policy in policies {
            let mut link = Exchange::new(profile);
            for m in &study.models {
                for sequence in 0..inputs {
                    let row = decide(profile, policy, m, sequence, &mut link, &mut rng);
                    study.decisions.push(row);
                }
            }
        }
    }
    study
}

/// An execution time below `worst`, most of them near the fastest.
fn execution_ns(worst: u64, rng: &mut ChaCha8Rng) -> u64 {
    let tail: f64 = rng.random::<f64>().powi(6) + 0.1 * rng.random::<f64>();
    (worst as f64 * (0.7 + 0.27 * tail)) as u64
}

/// Requests and answers over one emulated connection, in simulated time.
struct Exchange {
    model: LinkModel,
    flows: [Flow; 2],
    now: Duration,
}

impl Exchange {
    fn new(profile: &LinkProfile) -> Self {
        let flows = [Flow::new(Direction::Up), Flow::new(Direction::Down)];
        Self { model: LinkModel::new(profile.clone(), 7), flows, now: Duration::ZERO }
    }

    fn transfer_ns(&mut self, bytes: u64, fog: Duration) -> u64 {
        let [up, down] = &mut self.flows;
        let arrived = self.model.send(up, self.now, bytes as usize + 300)[0].at;
        let answered = self.model.send(down, arrived + fog, 400)[0].at;
        let transfer = answered - self.now - fog;
        self.now = answered + Duration::from_millis(20);
        transfer.as_nanos() as u64 + 250_000
    }
}

fn decide(
    profile: &LinkProfile,
    policy: &str,
    m: &ModelInfo,
    sequence: u64,
    link: &mut Exchange,
    rng: &mut ChaCha8Rng,
) -> DecisionRow {
    let estimated_tf = m.wcet_ns / 60 + 60_000;
    let estimated_tl = profile.round_trip().as_nanos() as u64 + 600_000;
    let to_fog = match policy {
        ALL_LOCAL => false,
        ALL_FOG => true,
        _ => m.wcet_ns > estimated_tl + estimated_tf,
    };
    let tf = (estimated_tf as f64 * rng.random_range(0.9..1.6)) as u64;
    let local = execution_ns(m.wcet_ns, rng);
    let tl = to_fog.then(|| link.transfer_ns(m.input_bytes, Duration::from_nanos(tf)));
    let timeout = 2 * m.deadline_ns.max(400 * MS);
    let (placement, latency_ns) = match tl {
        None => (LOCAL, local + 8_000),
        Some(tl) if tl + tf > timeout => (FALLBACK, timeout + local),
        Some(tl) => (FOG, tl + tf),
    };
    let label = (sequence * 7 % 10) as usize;
    DecisionRow {
        sequence,
        link: profile.name.into(),
        policy: policy.into(),
        model: m.name.clone(),
        placement: placement.into(),
        wcet_ns: m.wcet_ns,
        estimated_tl_ns: Some(estimated_tl),
        estimated_tf_ns: Some(estimated_tf),
        latency_ns,
        tl_ns: tl.filter(|_| placement == FOG),
        tf_ns: (placement == FOG).then_some(tf),
        local_ns: (placement != FOG).then_some(local),
        fuel: m.fuel,
        predicted: if sequence % 31 == 30 { label + 1 } else { label },
        label,
        missed: latency_ns > m.deadline_ns,
        joules: Some(1.2e-9 * latency_ns as f64),
        fog_error: (placement == FALLBACK).then(|| "no answer in time".into()),
    }
}
