//! What is done at which temperature. It is told the time and the temperature, and
//! does nothing itself.
//!
//! A limit takes effect when it is reached, and ends when the temperature has been
//! below it by the hysteresis for a while, so that nothing goes back and forth. At
//! the hard limit streams are degraded one by one while it stays that hot, and come
//! back one by one, the last one first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::zone::{TripKind, Zone};

/// Limits, in degrees Celsius, and how fast they act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// From here on the fog host is preferred, and what is promised is as of the
    /// throttled processor.
    pub soft_celsius: f64,
    /// From here on streams degrade.
    pub hard_celsius: f64,
    /// What the processor's clock is taken to be from the soft limit on, in kHz, before
    /// it is seen to be slower; the lowest that it has, where this is not given.
    #[serde(default)]
    pub throttled_khz: Option<u64>,
    /// How far below a limit it ends.
    #[serde(default = "default_hysteresis")]
    pub hysteresis_celsius: f64,
    /// How long it must have been that far below.
    #[serde(default = "default_hold")]
    pub hold_seconds: f64,
    /// How long one stream less may take to cool, before the next one degrades.
    #[serde(default = "default_step")]
    pub step_seconds: f64,
    /// The streams that degrade, in this order.
    #[serde(default)]
    pub degrade: Vec<String>,
}

fn default_hysteresis() -> f64 {
    5.0
}

fn default_hold() -> f64 {
    10.0
}

fn default_step() -> f64 {
    5.0
}

/// Rules that contradict themselves.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {seen}; {wanted} is wanted")]
pub struct RulesError {
    /// Which.
    pub name: &'static str,
    /// Its value.
    pub seen: f64,
    /// What makes sense.
    pub wanted: &'static str,
}

impl Rules {
    /// For a machine with these zones: somewhat below the temperature at which the
    /// kernel slows the processor down; 75 and 85 °C where it tells none.
    pub fn for_zones(zones: &[Zone]) -> Self {
        let lowest = |kinds: &[TripKind]| {
            let trips = zones.iter().flat_map(|zone| &zone.trips);
            let of_kind = trips.filter(|trip| kinds.contains(&trip.kind));
            of_kind.map(|trip| trip.millidegrees as f64 / 1e3).min_by(f64::total_cmp)
        };
        let passive = lowest(&[TripKind::Passive]);
        let end = lowest(&[TripKind::Hot, TripKind::Critical]).unwrap_or(f64::INFINITY);
        let hard = passive.unwrap_or(85.0).min(end - 5.0);
        let soft = (hard - 10.0).min(passive.map_or(75.0, |passive| passive - 5.0));
        Self {
            soft_celsius: soft,
            hard_celsius: hard,
            throttled_khz: None,
            hysteresis_celsius: default_hysteresis(),
            hold_seconds: default_hold(),
            step_seconds: default_step(),
            degrade: Vec::new(),
        }
    }

    /// Refuses limits in the wrong order and times that are none.
    pub fn check(&self) -> Result<(), RulesError> {
        let temperature = "a temperature from -60 to 200";
        let time = "a time in seconds from 0 to 86400";
        let of = |name, seen, range: std::ops::RangeInclusive<f64>, wanted| {
            (!range.contains(&seen)).then_some(RulesError { name, seen, wanted })
        };
        let error = of("soft_celsius", self.soft_celsius, -60.0..=200.0, temperature)
            .or_else(|| {
                let above = "a temperature from soft_celsius to 200";
                of("hard_celsius", self.hard_celsius, self.soft_celsius..=200.0, above)
            })
            .or_else(|| {
                let range = "a difference from 0 to 50";
                of("hysteresis_celsius", self.hysteresis_celsius, 0.0..=50.0, range)
            })
            .or_else(|| of("hold_seconds", self.hold_seconds, 0.0..=86_400.0, time))
            .or_else(|| of("step_seconds", self.step_seconds, 0.0..=86_400.0, time));
        error.map_or(Ok(()), Err)
    }
}

/// How hot it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Below all limits.
    #[default]
    Normal,
    /// At the soft limit, or not long enough below.
    Warm,
    /// At the hard limit, or not all streams are back.
    Hot,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// How hot it is.
    pub level: Level,
    /// So many streams are degraded: the first ones of the rules' order.
    pub degraded: usize,
}

impl Advice {
    /// Whether the fog host is to be preferred, and what is promised to be as of the
    /// throttled processor.
    pub fn prefers_fog(&self) -> bool {
        self.level >= Level::Warm
    }
}

/// Without a reading for so long it counts as warm.
const BLIND: Duration = Duration::from_secs(30);

/// Follows the temperature.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    advice: Advice,
    /// Since when it has been below the present level by the hysteresis.
    cool_since: Option<Duration>,
    /// When the last stream was degraded.
    degraded_at: Option<Duration>,
    last_reading: Option<Duration>,
}

impl Machine {
    /// A machine that has seen no temperature yet.
    pub fn new(rules: Rules) -> Result<Self, RulesError> {
        rules.check()?;
        let advice = Advice::default();
        Ok(Self { rules, advice, cool_since: None, degraded_at: None, last_reading: None })
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is to be done at the moment.
    pub fn advice(&self) -> Advice {
        self.advice
    }

    /// The streams that are degraded at the moment.
    pub fn degraded(&self) -> &[String] {
        &self.rules.degrade[..self.advice.degraded]
    }

    /// The temperature at the time `now`, in thousandths of a degree Celsius; `None`
    /// where no sensor could be read.
    pub fn observe(&mut self, now: Duration, millidegrees: Option<i64>) -> Advice {
        match millidegrees {
            Some(millidegrees) => {
                self.last_reading = Some(now);
                self.at(now, millidegrees as f64 / 1e3);
            }
            None if now.saturating_sub(self.last_reading.unwrap_or_default()) >= BLIND => {
                self.advice.level = self.advice.level.max(Level::Warm);
                self.cool_since = None;
            }
            None => {}
        }
        self.advice
    }

    fn at(&mut self, now: Duration, celsius: f64) {
        let Rules { soft_celsius, hard_celsius, hysteresis_celsius, .. } = self.rules;
        if celsius >= hard_celsius {
            self.advice.level = Level::Hot;
            self.cool_since = None;
            self.degrade(now);
            return;
        }
        if celsius >= soft_celsius {
            self.advice.level = self.advice.level.max(Level::Warm);
        }
        let limit = match self.advice.level {
            Level::Normal => return,
            Level::Warm => soft_celsius,
            Level::Hot => hard_celsius,
        };
        if celsius >= limit - hysteresis_celsius {
            self.cool_since = None;
            return;
        }
        let since = *self.cool_since.get_or_insert(now);
        if now.saturating_sub(since) >= Duration::from_secs_f64(self.rules.hold_seconds) {
            self.cool_since = Some(now);
            self.relax(celsius);
        }
    }

    /// One stream more.
    fn degrade(&mut self, now: Duration) {
        let step = Duration::from_secs_f64(self.rules.step_seconds);
        let due = self.degraded_at.is_none_or(|at| now.saturating_sub(at) >= step);
        if (due || self.advice.degraded == 0) && self.advice.degraded < self.rules.degrade.len() {
            self.advice.degraded += 1;
            self.degraded_at = Some(now);
        }
    }

    /// One step back.
    fn relax(&mut self, celsius: f64) {
        let soft = self.rules.soft_celsius - self.rules.hysteresis_celsius;
        self.advice.degraded = self.advice.degraded.saturating_sub(1);
        if self.advice.level == Level::Hot && self.advice.degraded > 0 {
            return;
        }
        let below_both = self.advice.level == Level::Warm && celsius < soft;
        self.advice.level = if below_both { Level::Normal } else { Level::Warm };
        if self.advice.level == Level::Warm && celsius >= soft {
            self.cool_since = None;
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
