//! Learned online, without profiling: the contextual linear bandit with forced
//! sampling of L. Zhang, L. Chen, J. Xu, "Autodidactic Neurosurgeon: Collaborative
//! Deep Inference for Mobile Edge Intelligence via Online Learning" (WWW 2021, DOI
//! 10.1145/3442381.3450051).
//!
//! The device's own time is known, the offloaded time is taken as linear in what is
//! known of an input: bytes up, bytes down, fuel. Ridge regression learns the
//! coefficients from the inputs that were offloaded, and the choice is optimistic:
//! offload where the lower end of the interval is less than the device's time. Inputs
//! that stay on the device teach nothing of the fog host, so that a policy that has
//! once been unlucky would stay there for ever; therefore some inputs are sent
//! whatever is expected. As in the paper the horizon need not be known: it doubles,
//! and within a horizon of H inputs every `H^(1/3)`-th is sent. Unlike there, older
//! observations count less, as links change (Y. Russac, C. Vernade, O. Cappé,
//! "Weighted Linear Bandits for Non-Stationary Environments", NeurIPS 2019).
//!
//! It uses no probes and no estimates. What is learned of is the time of an
//! offloaded input as it came out, compensated or not.

use std::time::Duration;

use super::{Context, Decision, Placement, Policy, Reason};
use crate::offload::fog::Traffic;
use crate::offload::record::DecisionRecord;

/// 1, KiB up, KiB down, and fuel.
const FEATURES: usize = 4;
const KIB: f64 = 1024.0;
/// One unit of the last feature.
const FUEL: f64 = 1e7;
/// Times are learned in milliseconds, so that the regularisation is weak.
const PER_SECOND: f64 = 1e3;
/// The ridge.
const RIDGE: f64 = 0.1;
/// The first horizon.
const FIRST_HORIZON: u64 = 16;

type Row = [f64; FEATURES];

/// The bandit.
#[derive(Clone, Debug)]
pub struct Learned {
    /// How wide the interval is: the paper's alpha.
    pub exploration: f64,
    /// What an observation weighs, of the next one.
    pub forgetting: f64,
    gram: [Row; FEATURES],
    moments: Row,
    /// Of `gram`.
    inverse: [Row; FEATURES],
    coefficients: Row,
    inputs: u64,
    horizon: u64,
}

impl Default for Learned {
    fn default() -> Self {
        let diagonal = |value: f64| {
            std::array::from_fn(|i| std::array::from_fn(|j| if i == j { value } else { 0.0 }))
        };
        Self {
            exploration: 1.0,
            forgetting: 0.85,
            gram: diagonal(RIDGE),
            moments: [0.0; FEATURES],
            inverse: diagonal(1.0 / RIDGE),
            coefficients: [0.0; FEATURES],
            inputs: 0,
            horizon: FIRST_HORIZON,
        }
    }
}

fn features(traffic: Traffic, fuel: u64) -> Row {
    [1.0, traffic.up_bytes as f64 / KIB, traffic.down_bytes as f64 / KIB, fuel as f64 / FUEL]
}

fn product(a: &Row, b: &Row) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Learned {
    /// Whether it is this input's turn to be sent, whatever is expected.
    fn forced(&mut self) -> bool {
        self.inputs += 1;
        if self.inputs > self.horizon {
            self.horizon *= 2;
        }
        let every = (self.horizon as f64).cbrt().ceil() as u64;
        self.inputs.is_multiple_of(every.max(2))
    }

    /// The lower end of the interval of an offloaded input's time, in milliseconds.
    fn optimistic(&self, x: &Row) -> f64 {
        let uncertain: Row = std::array::from_fn(|i| product(&self.inverse[i], x));
        let variance = product(x, &uncertain).max(0.0);
        product(&self.coefficients, x) - self.exploration * variance.sqrt()
    }

    fn learn(&mut self, x: &Row, time: Duration) {
        let wanted = time.as_secs_f64() * PER_SECOND;
        for i in 0..FEATURES {
            for j in 0..FEATURES {
                self.gram[i][j] = self.forgetting * self.gram[i][j] + x[i] * x[j];
            }
            self.gram[i][i] += (1.0 - self.forgetting) * RIDGE;
            self.moments[i] = self.forgetting * self.moments[i] + x[i] * wanted;
        }
        if let Some(inverse) = inverse(self.gram) {
            self.inverse = inverse;
            self.coefficients = std::array::from_fn(|i| product(&self.inverse[i], &self.moments));
        }
    }
}

impl Policy for Learned {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn decide(&mut self, context: &Context) -> Decision {
        let forced = self.forced();
        if context.armed == Some(Duration::ZERO) {
            return Decision::local(Reason::NoSlack);
        }
        if forced {
            return Decision::fog(Reason::ForcedSample);
        }
        let x = features(context.traffic, context.fuel.0);
        match self.optimistic(&x) < context.local().as_secs_f64() * PER_SECOND {
            true => Decision::fog(Reason::BenefitExpected),
            false => Decision::local(Reason::NoBenefit),
        }
    }

    fn observe(&mut self, record: &DecisionRecord) {
        if record.decision.placement == Placement::Fog {
            let x = features(record.estimates.traffic, record.fuel.0);
            self.learn(&x, record.latency);
        }
    }
}

/// By Gauss-Jordan elimination; the matrix is positive definite.
fn inverse(mut a: [Row; FEATURES]) -> Option<[Row; FEATURES]> {
    let mut out: [Row; FEATURES] =
        std::array::from_fn(|i| std::array::from_fn(|j| if i == j { 1.0 } else { 0.0 }));
    for i in 0..FEATURES {
        let pivot = a[i][i];
        if pivot <= 1e-12 || !pivot.is_finite() {
            return None;
        }
        let scale = |row: Row| row.map(|value| value / pivot);
        (a[i], out[i]) = (scale(a[i]), scale(out[i]));
        for k in (0..FEATURES).filter(|&k| k != i) {
            let factor = a[k][i];
            for j in 0..FEATURES {
                a[k][j] -= factor * a[i][j];
                out[k][j] -= factor * out[i][j];
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::context;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Plays `inputs` inputs of a model that takes 50 ms on the device; returns how
    /// many were sent.
    fn play(policy: &mut Learned, inputs: u32, offloaded: Duration) -> u32 {
        let context = Context { armed: Some(200 * MS), ..context() };
        let x = features(context.traffic, context.fuel.0);
        let sent = (0..inputs).filter(|_| {
            let fog = policy.decide(&context).placement == Placement::Fog;
            if fog {
                policy.learn(&x, offloaded);
            }
            fog
        });
        sent.count() as u32
    }

    #[test]
    fn it_finds_the_faster_side_and_notices_when_that_changes() {
        let mut policy = Learned::default();
        let slow = play(&mut policy, 400, 90 * MS);
        assert!((30..130).contains(&slow), "{slow} of 400 sent, which are forced samples");
        play(&mut policy, 200, 20 * MS);
        let fast = play(&mut policy, 200, 20 * MS);
        assert_eq!(fast, 200);
        play(&mut policy, 100, 90 * MS);
        assert!(play(&mut policy, 200, 90 * MS) < 80);
    }

    #[test]
    fn an_inverse_is_one() {
        let a = [
            [4.0, 1.0, 0.5, 0.0],
            [1.0, 3.0, 0.0, 0.2],
            [0.5, 0.0, 2.0, 0.1],
            [0.0, 0.2, 0.1, 1.0],
        ];
        let inverse = inverse(a).unwrap();
        for (i, row) in a.iter().enumerate() {
            let times: Row = std::array::from_fn(|j| product(row, &inverse.map(|row| row[j])));
            let unit: Row = std::array::from_fn(|j| f64::from(i == j));
            assert!(times.iter().zip(&unit).all(|(seen, wanted)| (seen - wanted).abs() < 1e-12));
        }
        assert_eq!(super::inverse([[0.0; FEATURES]; FEATURES]), None);
    }
}
