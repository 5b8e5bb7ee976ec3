//! Properties of the T_L estimator on simulated links, seeded.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{ExchangeKind, LinkEstimator};
use crate::offload::fog::Traffic;

/// A link with a jitter that is exponential above a fixed delay, as queues
/// make it, and a few retransmissions.
struct SimulatedLink {
    rng: ChaCha8Rng,
    round_trip_s: f64,
    up_s_per_byte: f64,
    down_s_per_byte: f64,
    jitter_s: f64,
    loss: f64,
    retransmission_s: f64,
}

impl SimulatedLink {
    fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let round_trip_s = 10f64.powf(rng.random_range(-3.3..-0.7));
        Self {
            round_trip_s,
            up_s_per_byte: 10f64.powf(rng.random_range(-7.5..-4.5)),
            down_s_per_byte: 10f64.powf(rng.random_range(-7.5..-4.5)),
            jitter_s: round_trip_s * rng.random_range(0.02..0.3),
            loss: rng.random_range(0.0..0.03),
            retransmission_s: 0.2,
            rng,
        }
    }

    fn bytes(&self, traffic: Traffic) -> f64 {
        self.up_s_per_byte * traffic.up_bytes as f64
            + self.down_s_per_byte * traffic.down_bytes as f64
    }

    /// The mean without retransmissions.
    fn mean_s(&self, traffic: Traffic) -> f64 {
        self.round_trip_s + self.jitter_s + self.bytes(traffic)
    }

    fn exchange(&mut self, traffic: Traffic) -> Duration {
        let jitter = -self.jitter_s * self.rng.random_range(1e-9..1f64).ln();
        let lost = self.rng.random_bool(self.loss);
        let retransmission = if lost { self.retransmission_s } else { 0.0 };
        let s = self.round_trip_s + jitter + self.bytes(traffic) + retransmission;
        Duration::from_secs_f64(s)
    }

    fn inference(&mut self) -> Traffic {
        traffic([400, 700, 1_100, 3_500][self.rng.random_range(0..4)], 420)
    }

    /// What the offloader's prober and a few inferences would have seen.
    fn teach(&mut self, estimator: &mut LinkEstimator, exchanges: usize) {
        for i in 0..exchanges {
            let (kind, traffic) = match i % 16 {
                0 | 1 => (ExchangeKind::Probe, traffic(200, 200)),
                2 => (ExchangeKind::Probe, echo(estimator.probe_bytes())),
                _ => (ExchangeKind::Inference, self.inference()),
            };
            let time = self.exchange(traffic);
            estimator.observe(kind, traffic, time);
        }
    }
}

fn traffic(up_bytes: u64, down_bytes: u64) -> Traffic {
    Traffic { up_bytes, down_bytes }
}

fn echo(body: usize) -> Traffic {
    traffic(250 + body as u64, 200)
}

fn seconds(estimator: &LinkEstimator, traffic: Traffic) -> f64 {
    estimator.estimate(traffic).expect("an exchange was observed").as_secs_f64()
}

#[test]
fn estimates_are_near_the_mean_on_any_link() {
    for seed in 0..200 {
        let mut link = SimulatedLink::random(seed);
        let mut estimator = LinkEstimator::new();
        link.teach(&mut estimator, 80);
        for up in [300, 700, 1_100, 3_500] {
            let (mean, seen) =
                (link.mean_s(traffic(up, 420)), seconds(&estimator, traffic(up, 420)));
            // Retransmissions may only make it longer, and by no more than they do.
            let low = 0.8 * mean;
            let high = 1.2 * mean + 3.0 * link.loss.max(0.01) * link.retransmission_s;
            assert!((low..high).contains(&seen), "seed {seed}: {seen} for {mean} with {up} bytes");
        }
    }
}

#[test]
fn estimates_are_unbiased_where_the_noise_is_skewed() {
    let (mut estimated, mut measured) = (0.0, 0.0);
    for seed in 0..50 {
        let mut link = SimulatedLink { loss: 0.0, ..SimulatedLink::random(seed) };
        link.jitter_s = link.round_trip_s;
        let mut estimator = LinkEstimator::new();
        link.teach(&mut estimator, 80);
        let unit = link.mean_s(traffic(700, 420));
        for _ in 0..60 {
            let traffic = link.inference();
            estimated += seconds(&estimator, traffic) / unit;
            let time = link.exchange(traffic);
            measured += time.as_secs_f64() / unit;
            estimator.observe(ExchangeKind::Inference, traffic, time);
        }
    }
    let ratio = estimated / measured;
    assert!((0.95..1.05).contains(&ratio), "estimated {ratio} of what was measured");
}

#[test]
fn retransmissions_are_in_the_estimate() {
    let (mut estimated, mut measured) = (0.0, 0.0);
    for seed in 0..50 {
        let mut link = SimulatedLink {
            round_trip_s: 0.02,
            up_s_per_byte: 2e-6,
            down_s_per_byte: 2e-6,
            jitter_s: 0.005,
            loss: 0.03,
            ..SimulatedLink::random(seed)
        };
        let mut estimator = LinkEstimator::new();
        link.teach(&mut estimator, 200);
        for _ in 0..200 {
            let traffic = link.inference();
            estimated += seconds(&estimator, traffic);
            let time = link.exchange(traffic);
            measured += time.as_secs_f64();
            estimator.observe(ExchangeKind::Inference, traffic, time);
        }
    }
    let ratio = estimated / measured;
    assert!((0.92..1.08).contains(&ratio), "estimated {ratio} of what was measured");
}

#[test]
fn one_outlier_never_fools_it() {
    for seed in 0..100 {
        for (kind, outlier) in [
            (ExchangeKind::Probe, traffic(200, 200)),
            (ExchangeKind::Probe, echo(65_536)),
            (ExchangeKind::Inference, traffic(3_500, 420)),
        ] {
            let mut link = SimulatedLink { loss: 0.0, ..SimulatedLink::random(seed) };
            let mut estimator = LinkEstimator::new();
            link.teach(&mut estimator, 60);
            let wanted = traffic(700, 420);
            let before = seconds(&estimator, wanted);
            let time = Duration::from_secs_f64(100.0 * link.mean_s(outlier));
            estimator.observe(kind, outlier, time);
            let after = seconds(&estimator, wanted);
            let moved = after / before;
            assert!(
                (0.8..1.35).contains(&moved),
                "seed {seed}, {kind:?} of {outlier:?}: {before} s became {after} s"
            );
        }
    }
}

#[test]
fn a_changed_link_is_followed_within_eight_exchanges() {
    for seed in 0..100 {
        for factor in [0.1, 0.4, 3.0, 20.0] {
            let mut link = SimulatedLink { loss: 0.0, ..SimulatedLink::random(seed) };
            link.jitter_s = link.round_trip_s * 0.05;
            let mut estimator = LinkEstimator::new();
            link.teach(&mut estimator, 60);
            link.round_trip_s *= factor;
            link.jitter_s *= factor;
            link.teach(&mut estimator, 8);
            let wanted = traffic(700, 420);
            let (mean, seen) = (link.mean_s(wanted), seconds(&estimator, wanted));
            assert!(
                (0.6..1.6).contains(&(seen / mean)),
                "seed {seed}, factor {factor}: {seen} s for {mean} s"
            );
        }
    }
}

#[test]
fn the_directions_are_told_apart() {
    let mut link = SimulatedLink {
        round_trip_s: 0.1,
        up_s_per_byte: 20e-6,
        down_s_per_byte: 2e-6,
        jitter_s: 0.002,
        loss: 0.0,
        ..SimulatedLink::random(1)
    };
    let mut estimator = LinkEstimator::new();
    link.teach(&mut estimator, 40);
    for _ in 0..4 {
        let large = traffic(300, 30_000);
        let time = link.exchange(large);
        estimator.observe(ExchangeKind::Inference, large, time);
    }
    let parameters = estimator.parameters().unwrap();
    let (up, down) = (parameters.up_bytes_per_s.unwrap(), parameters.down_bytes_per_s.unwrap());
    assert!((40e3..62e3).contains(&up), "{up} bytes/s up");
    assert!((400e3..625e3).contains(&down), "{down} bytes/s down");
}

#[test]
fn one_exchange_is_enough_for_an_estimate_and_none_is_not() {
    let mut estimator = LinkEstimator::new();
    assert_eq!(estimator.estimate(traffic(100, 100)), None);
    assert!(!estimator.knows_throughput());
    estimator.observe(ExchangeKind::Probe, traffic(200, 200), Duration::from_millis(5));
    let first = seconds(&estimator, traffic(200, 200));
    assert!((0.004..0.006).contains(&first), "{first}");
}

#[test]
fn nonsense_gives_finite_estimates() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..50 {
        let mut estimator = LinkEstimator::new();
        for _ in 0..100 {
            let size = |rng: &mut ChaCha8Rng| 1u64 << rng.random_range(0..40);
            let exchange = traffic(size(&mut rng), size(&mut rng));
            let time = Duration::from_nanos(1 << rng.random_range(0..50));
            estimator.observe(ExchangeKind::Inference, exchange, time);
            let seen = seconds(&estimator, traffic(size(&mut rng), size(&mut rng)));
            assert!(seen.is_finite() && seen >= 0.0);
            assert!((4_096..=65_536).contains(&estimator.probe_bytes()));
        }
    }
}
