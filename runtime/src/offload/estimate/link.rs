//! The estimator of T_L, the time that an exchange with the fog host spends
//! outside of it: the talk's T_L (Saguil and Azim, ISORC 2019, DOI
//! 10.1109/ISORC.2019.00022), there measured as transfer time, here fitted as
//! round trip plus bytes over throughput, for each direction.
//!
//! Every exchange on the link is an observation: probes, throughput probes and
//! inferences. Of an inference it is the round trip, by the device's clock, less
//! the duration that the fog host reports, by its own: two durations, so that
//! the clocks' difference never enters. Small exchanges fix the round trip,
//! large ones the throughput, in one robust fit over the last [`REMEMBERED`] of
//! them (an M-estimator with exponential forgetting and non-negative parameters,
//! see `fit.rs`). Three things are added to the fit, and are our own:
//!
//! - A correction by the mean relative residual of inferences. A robust fit
//!   follows the bulk of the observations, but what offloading costs on average
//!   includes skewed noise, and an inference also costs encoding and scheduling
//!   that a probe does not have. Each residual is clipped at twice the fitted
//!   time, so that one outlier moves the estimate by a bounded part of itself.
//! - A surcharge for the tail, what was clipped off over the last
//!   [`TAIL_REMEMBERED`] exchanges (lost segments, which TCP sends again after
//!   a fifth of a second), on average per exchange. The worst of them is left
//!   out: one is an accident, two are the link.
//! - A change-point rule. Three exchanges in a row that are surprising on the
//!   same side are a new link, not three outliers: everything before them is
//!   forgotten, except the slopes as a weak prior. In quality control this is a
//!   run rule (Western Electric, "Statistical Quality Control Handbook", 1956).
//!
//!   So is a level of the exchanges' times over what was estimated for them that has
//!   changed by the Page-Hinkley test (`change.rs`), which finds what no exchange
//!   by itself shows; and so is an outage.
//!
//! The distribution of T_L is the estimate times that of the last exchanges' times
//! over what had been estimated for them, since the last change.

use std::collections::VecDeque;
use std::time::Duration;

use super::change::PageHinkley;
use super::fit::{Fit, Line, Point, fit};
use super::spread::{Spread, Window};
use crate::offload::fog::Traffic;

/// How many exchanges the fit remembers.
pub const REMEMBERED: usize = 48;
/// How many exchanges the tail's surcharge remembers.
pub const TAIL_REMEMBERED: usize = 200;
/// The tail's mean is taken over at least so many.
const TAIL_AT_LEAST: usize = 50;
/// What each exchange weighs, of the one after it.
const FORGETTING: f64 = 0.95;
/// Surprises in a row that make a change point.
const RUN: usize = 3;
/// A surprise is this many scales from the prediction, and this part of it.
const SURPRISE_SCALES: f64 = 5.0;
const SURPRISE_PART: f64 = 0.3;
/// A residual counts as at most this many times the fitted time.
const CLIP: f64 = 2.0;
const KIB: f64 = 1024.0;
/// An exchange of at least this many bytes in one direction measures throughput.
const LARGE_BYTES: u64 = 4096;

/// What an exchange was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// A probe: the fog host does nothing worth measuring.
    Probe,
    /// An inference, whose time on the fog host has been subtracted.
    Inference,
}

/// One observed exchange.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    kind: ExchangeKind,
    up: f64,
    down: f64,
    time: f64,
}

/// Estimates T_L on one link from the exchanges seen on it.
#[derive(Clone, Debug, Default)]
pub struct LinkEstimator {
    exchanges: VecDeque<Exchange>,
    fit: Option<Fit>,
    /// The last fit that no surprise has bent. Surprises are told by it, and
    /// after a change point its slopes are the prior.
    settled: Fit,
    /// What the fitted time is multiplied with: 1, the mean clipped residual of
    /// inferences as a part of it, and the tail's surcharge.
    factor: f64,
    /// Of each exchange, what was over [`CLIP`], as a part of the fitted time.
    tail: VecDeque<f64>,
    /// The length of the run of surprises: positive where the exchanges took
    /// longer than predicted, negative where shorter.
    run: i32,
    /// The time of each exchange over what had been estimated for it.
    ratios: Window,
    /// Of the ratios' logarithms.
    level: PageHinkley,
}

/// The parameters of the fit, for people and reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkParameters {
    /// The time of an exchange without any bytes.
    pub round_trip: Duration,
    /// Device to fog; `None` where nothing large has been sent yet or it is too
    /// fast to tell.
    pub up_bytes_per_s: Option<f64>,
    /// Fog to device.
    pub down_bytes_per_s: Option<f64>,
}

impl LinkEstimator {
    /// An estimator that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in that an exchange of `traffic` bytes took `time` on the link.
    pub fn observe(&mut self, kind: ExchangeKind, traffic: Traffic, time: Duration) {
        let (up, down) = (traffic.up_bytes as f64 / KIB, traffic.down_bytes as f64 / KIB);
        let exchange = Exchange { kind, up, down, time: time.as_secs_f64() };
        let changed = self.watch_ratio(&exchange);
        self.watch_for_change(&exchange);
        self.watch_tail(&exchange);
        if self.exchanges.len() == REMEMBERED {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(exchange);
        if changed || self.run.unsigned_abs() as usize >= RUN {
            self.forget(RUN);
            self.refit(self.settled.line);
        } else {
            self.refit(self.fit.map_or(Line::default(), |fit| fit.line));
        }
        if let (0, Some(fit)) = (self.run, self.fit) {
            self.settled = fit;
        }
    }

    /// The link was gone: it may be another one now. Its throughput as it was is the
    /// prior, until an exchange is seen.
    pub fn outage(&mut self) {
        self.forget(0);
    }

    fn forget(&mut self, all_but_last: usize) {
        let before = self.exchanges.len().saturating_sub(all_but_last);
        self.exchanges.drain(..before);
        self.tail.clear();
        self.ratios.keep_last(0);
        self.level = PageHinkley::default();
        self.run = 0;
    }

    /// True where the level of the ratios has changed.
    fn watch_ratio(&mut self, exchange: &Exchange) -> bool {
        let Some(fit) = self.fit else { return false };
        let estimated = self.corrected(fit.line.at(exchange.up, exchange.down));
        let ratio = exchange.time / estimated.max(1e-9);
        self.ratios.push(ratio);
        self.level.changed(ratio.max(1e-9).ln())
    }

    fn watch_for_change(&mut self, exchange: &Exchange) {
        if self.fit.is_none() {
            return;
        }
        let Fit { line, scale } = self.settled;
        let round_trip = self.corrected(line.round_trip);
        let predicted = self.corrected(line.at(exchange.up, exchange.down));
        let surprise = exchange.time - predicted;
        let limit = (SURPRISE_SCALES * scale).max(SURPRISE_PART * predicted);
        self.run = match surprise {
            s if s > limit => self.run.max(0) + 1,
            s if s < -limit => self.run.min(0) - 1,
            // Mostly transfer: it says little of the round trip either way.
            _ if predicted > 2.0 * round_trip => self.run,
            _ => 0,
        };
    }

    fn watch_tail(&mut self, exchange: &Exchange) {
        if self.fit.is_none() {
            return;
        }
        let fitted = self.settled.line.at(exchange.up, exchange.down).max(1e-9);
        if self.tail.len() == TAIL_REMEMBERED {
            self.tail.pop_front();
        }
        self.tail.push_back((exchange.time / fitted - 1.0 - CLIP).max(0.0));
    }

    /// The tail's mean without its worst, as a part of the fitted time.
    fn surcharge(&self) -> f64 {
        let worst = self.tail.iter().copied().fold(0.0, f64::max);
        (self.tail.iter().sum::<f64>() - worst) / self.tail.len().max(TAIL_AT_LEAST) as f64
    }

    fn refit(&mut self, before: Line) {
        let newest_first = || {
            let weights = std::iter::successors(Some(1.0), |w| Some(w * FORGETTING));
            self.exchanges.iter().rev().zip(weights)
        };
        let points: Vec<Point> = newest_first()
            .map(|(e, weight)| Point { up: e.up, down: e.down, time: e.time, weight })
            .collect();
        let fit = fit(&points, before);

        let inferences = || newest_first().filter(|(e, _)| e.kind == ExchangeKind::Inference);
        // While there are few, each may move the estimate only a little.
        let clip = CLIP.min(inferences().count() as f64 / 4.0);
        let (mut sum, mut weights) = (0.0, 1.0);
        for (e, weight) in inferences() {
            let predicted = fit.line.at(e.up, e.down);
            let residual = (e.time - predicted) / predicted.max(1e-9);
            sum += weight * residual.clamp(-clip, clip);
            weights += weight;
        }
        self.factor = (1.0 + sum / weights + self.surcharge()).max(0.0);
        self.fit = Some(fit);
    }

    fn corrected(&self, fitted: f64) -> f64 {
        fitted * self.factor
    }

    /// T_L of an inference that moves these bytes; `None` before the first
    /// exchange.
    pub fn estimate(&self, traffic: Traffic) -> Option<Duration> {
        let fit = self.fit.as_ref()?;
        let (up, down) = (traffic.up_bytes as f64 / KIB, traffic.down_bytes as f64 / KIB);
        Duration::try_from_secs_f64(self.corrected(fit.line.at(up, down))).ok()
    }

    /// The same as a distribution, in seconds.
    pub fn spread(&self, traffic: Traffic) -> Option<Spread> {
        let estimate = self.estimate(traffic)?.as_secs_f64();
        Some(self.ratios.spread().unwrap_or(Spread::constant(1.0)).times(estimate))
    }

    /// The fitted round trip and throughput; `None` before the first exchange.
    pub fn parameters(&self) -> Option<LinkParameters> {
        let line = self.fit?.line;
        let rate = |slope: f64| (slope > 0.0).then(|| KIB / slope);
        Some(LinkParameters {
            round_trip: Duration::try_from_secs_f64(line.round_trip).ok()?,
            up_bytes_per_s: rate(line.up),
            down_bytes_per_s: rate(line.down),
        })
    }

    /// Whether an exchange is remembered that was large enough to measure
    /// throughput.
    pub fn knows_throughput(&self) -> bool {
        let large = |e: &Exchange| e.up.max(e.down) * KIB >= LARGE_BYTES as f64;
        self.exchanges.iter().any(large)
    }

    /// The body to send in the next throughput probe, in bytes: as large as its
    /// transfer takes about as long as the round trip, between 4 and 64 KiB.
    pub fn probe_bytes(&self) -> usize {
        const SMALLEST: f64 = LARGE_BYTES as f64;
        let wanted = match self.fit {
            Some(Fit { line, .. }) if line.up + line.down > 0.0 => {
                KIB * line.round_trip / (line.up + line.down)
            }
            _ => SMALLEST,
        };
        wanted.clamp(SMALLEST, 16.0 * SMALLEST) as usize
    }
}
