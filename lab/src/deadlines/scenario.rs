//! What happens to a link over time: the named profiles, a link that degrades and
//! recovers, and random ones by published models.
//!
//! No recorded bandwidth trace is part of the sources: those that are widely used come
//! without a licence of their own, or under one that asks more than ours (Mahimahi's, of
//! cellular networks, are under the GPL). A user's own are read by [`Trace`]. Two models
//! that others use in their place are:
//!
//! - Gilbert-Elliott: a link has a good and a bad state, and stays in each for a
//!   geometrically distributed time (E. N. Gilbert, "Capacity of a Burst-Noise
//!   Channel", 1960, DOI 10.1002/j.1538-7305.1960.tb03959.x; E. O. Elliott, "Estimates
//!   of Error Rates for Codes on Burst-Noise Channels", 1963, DOI
//!   10.1002/j.1538-7305.1963.tb00955.x).
//! - Markov-modulated bandwidth: H. Mao, R. Netravali, M. Alizadeh, "Neural Adaptive
//!   Video Streaming with Pensieve" (SIGCOMM 2017, DOI 10.1145/3098822.3098843), whose
//!   synthetic traces have states of average throughput from 0.2 to 4.3 Mbit/s, change
//!   to nearer states with geometrically higher probability, and draw each value from
//!   a normal distribution around the state's.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Trace;
use crate::link::LinkProfile;

/// The kind of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A named link, as it is.
    Profile,
    /// Good and bad states.
    GilbertElliott,
    /// Markov-modulated bandwidth.
    Markov,
    /// Good, ever worse, gone, and back.
    Degrading,
    /// Recorded.
    Trace,
}

/// The link for a while.
#[derive(Clone, Debug)]
pub struct Condition {
    /// From when, since the start of the scenario, until the next one.
    pub from: Duration,
    /// The figures; `None` where nothing passes.
    pub profile: Option<LinkProfile>,
}

/// A link over time.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub family: Family,
    /// Where its figures come from.
    pub source: String,
    /// In order, the first from the start.
    pub conditions: Vec<Condition>,
    /// How long it lasts.
    pub length: Duration,
    /// Of what is drawn of it while it is played.
    pub seed: u64,
}

impl Scenario {
    /// The condition at the time `at`.
    pub fn at(&self, at: Duration) -> &Condition {
        let after = self.conditions.partition_point(|condition| condition.from <= at);
        &self.conditions[after.saturating_sub(1)]
    }

    /// When something passes again that is sent at the time `at`; `None` if never.
    pub fn resumes(&self, at: Duration) -> Option<Duration> {
        if self.at(at).profile.is_some() {
            return Some(at);
        }
        let later = self.conditions.iter().find(|c| c.from > at && c.profile.is_some());
        later.map(|condition| condition.from)
    }
}

pub(super) fn named(name: &str) -> LinkProfile {
    LinkProfile::named(name).expect("the profile is one of the lab's own")
}

/// All scenarios of a study: each profile, one that degrades, `draws` of each random
/// kind, and each trace.
pub fn scenarios(seed: u64, seconds: u32, draws: u32, traces: &[Trace]) -> Vec<Scenario> {
    let length = Duration::from_secs(u64::from(seconds));
    let mut all: Vec<Scenario> = LinkProfile::all().iter().map(|p| steady(p, length)).collect();
    all.push(degrading(length));
    for draw in 0..draws {
        for base in ["wifi", "lte"] {
            all.push(gilbert_elliott(base, draw, seed, length));
            all.push(markov(base, draw, seed, length));
        }
    }
    all.extend(traces.iter().map(|trace| trace.scenario(length)));
    for (number, scenario) in all.iter_mut().enumerate() {
        scenario.seed = seed.wrapping_mul(1_000).wrapping_add(number as u64);
    }
    all
}

fn scenario(name: String, family: Family, source: String, length: Duration) -> Scenario {
    Scenario { name, family, source, conditions: Vec::new(), length, seed: 0 }
}

fn steady(profile: &LinkProfile, length: Duration) -> Scenario {
    let mut steady = scenario(profile.name.into(), Family::Profile, profile.source.into(), length);
    // Its outages are drawn here, so that all policies meet the same ones.
    let bare = LinkProfile { outages: None, ..profile.clone() };
    let mut at = Duration::ZERO;
    let mut rng = ChaCha8Rng::seed_from_u64(77);
    while at < length {
        steady.conditions.push(Condition { from: at, profile: Some(bare.clone()) });
        let Some(outages) = profile.outages else { break };
        at += outages.every.mul_f64(rng.random_range(0.5..1.5));
        steady.conditions.push(Condition { from: at, profile: None });
        at += outages.lasting.mul_f64(rng.random_range(0.5..1.5));
    }
    steady
}

/// A quarter good; worse every second for a third; gone for a sixth; and back.
fn degrading(length: Duration) -> Scenario {
    let source = "Wifi's figures; then its rate falls and its delay and loss rise every second, by \
                  the 24th part of the way to a hundredth and to 25 times; then nothing passes; then \
                  it is as before.";
    let mut out = scenario("degrading".into(), Family::Degrading, source.into(), length);
    let good = named("wifi");
    out.conditions.push(Condition { from: Duration::ZERO, profile: Some(good.clone()) });
    let (falls, gone, back) = (length.mul_f64(0.2), length.mul_f64(0.6), length.mul_f64(0.75));
    let steps = 24;
    for step in 0..steps {
        let part = f64::from(step + 1) / f64::from(steps);
        let from = falls + (gone - falls).mul_f64(f64::from(step) / f64::from(steps));
        let slower = |rate: u64| ((rate as f64) * 0.01f64.powf(part)) as u64;
        let profile = LinkProfile {
            up_bits_per_s: slower(good.up_bits_per_s),
            down_bits_per_s: slower(good.down_bits_per_s),
            delay: good.delay.mul_f64(25f64.powf(part)),
            jitter: good.jitter.mul_f64(25f64.powf(part)),
            loss: good.loss + 0.05 * part,
            ..good.clone()
        };
        out.conditions.push(Condition { from, profile: Some(profile) });
    }
    out.conditions.push(Condition { from: gone, profile: None });
    out.conditions.push(Condition { from: back, profile: Some(good) });
    out
}

fn rng(kind: u64, base: &str, draw: u32, seed: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(kind * 1_000 + u64::from(draw) * 10 + base.len() as u64);
    rng
}

/// Slots of 100 ms; good for 4 s and bad for 0.6 s on average. In the bad state a
/// tenth of the rate is left and a fifth of the segments lost.
fn gilbert_elliott(base: &str, draw: u32, seed: u64, length: Duration) -> Scenario {
    let source = format!(
        "Gilbert-Elliott (1960, 1963) on {base}. Assumed: states of 4 s and 0.6 s on average; in the \
         bad one a tenth of the rate, and 20 % loss."
    );
    let name = format!("gilbert-elliott {base} {}", draw + 1);
    let mut out = scenario(name, Family::GilbertElliott, source, length);
    let good = LinkProfile { outages: None, ..named(base) };
    let bad = LinkProfile {
        up_bits_per_s: good.up_bits_per_s / 10,
        down_bits_per_s: good.down_bits_per_s / 10,
        loss: 0.2,
        ..good.clone()
    };
    let mut rng = rng(1, base, draw, seed);
    let slot = Duration::from_millis(100);
    let (mut at, mut is_good) = (Duration::ZERO, true);
    out.conditions.push(Condition { from: at, profile: Some(good.clone()) });
    while at < length {
        at += slot;
        let leaves = if is_good { 0.1 / 4.0 } else { 0.1 / 0.6 };
        if rng.random_bool(leaves) {
            is_good = !is_good;
            let profile = if is_good { &good } else { &bad };
            out.conditions.push(Condition { from: at, profile: Some(profile.clone()) });
        }
    }
    out
}

/// States of the average throughput, in Mbit/s.
const STATES: usize = 10;
const THROUGHPUT: [f64; 2] = [0.2, 4.3];

/// A value every second; the delay, jitter and loss are the base's.
fn markov(base: &str, draw: u32, seed: u64, length: Duration) -> Scenario {
    let source = format!(
        "Markov-modulated throughput from 0.2 to 4.3 Mbit/s, after the synthetic traces of Pensieve \
         (SIGCOMM 2017); delay, jitter and loss of {base}. Assumed: the same throughput both ways."
    );
    let name = format!("markov {base} {}", draw + 1);
    let mut out = scenario(name, Family::Markov, source, length);
    let mut rng = rng(2, base, draw, seed);
    let ratio = (THROUGHPUT[1] / THROUGHPUT[0]).powf(1.0 / (STATES - 1) as f64);
    let deviation = rng.random_range(0.05f64..0.5).sqrt();
    let mut state = rng.random_range(0..STATES);
    let base = LinkProfile { outages: None, ..named(base) };
    for second in 0..length.as_secs() {
        // A geometrically distributed step, up or down.
        let mut step = 0;
        while step < STATES && rng.random_bool(0.5) {
            step += 1;
        }
        let down = rng.random_bool(0.5);
        state = if down { state.saturating_sub(step) } else { (state + step).min(STATES - 1) };
        let normal = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let average = THROUGHPUT[0] * ratio.powi(state as i32);
        let bits_per_s = (1e6 * (average + deviation * normal).max(0.05)) as u64;
        let profile =
            LinkProfile { up_bits_per_s: bits_per_s, down_bits_per_s: bits_per_s, ..base.clone() };
        let from = Duration::from_secs(second);
        out.conditions.push(Condition { from, profile: Some(profile) });
    }
    out
}
