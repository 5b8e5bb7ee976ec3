//! What an offloader believes at the moment, and which exchange would tell it
//! more. Pure bookkeeping: it is told the time and does no I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::{Digest, Fuel};

use super::allowance::{Allowance, ProbeBudget};
use super::energy::EnergyModel;
use super::estimate::{ExchangeKind, FogTimeEstimator, LinkEstimator, OffloadedTime};
use super::fog::{FogAnswer, FogError, Traffic};
use super::health::{BackOff, BackOffRule, Breaker, LinkHealth, ModuleHealth};
use crate::thermal::Level;

/// When to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRule {
    /// Probes to begin with, and after a failure.
    pub first: u32,
    /// Without any contact for so long, probe; on a slow link, for 20 times its
    /// round trip if that is longer.
    pub refresh: Duration,
    /// Measure the throughput so often, where no inference has been large enough
    /// to do so.
    pub throughput_refresh: Duration,
    /// The time limit of a probe.
    pub limit: Duration,
    /// The time limit of pushing a module.
    pub push_limit: Duration,
    /// How failures are waited out.
    pub back_off: BackOffRule,
    /// Successes in a row, after a failure, before the link counts as up again.
    pub close_after: u32,
    /// What all probes together may take.
    pub budget: ProbeBudget,
}

impl Default for ProbeRule {
    fn default() -> Self {
        Self {
            first: 3,
            refresh: Duration::from_secs(1),
            throughput_refresh: Duration::from_secs(60),
            limit: Duration::from_secs(2),
            push_limit: Duration::from_secs(60),
            back_off: BackOffRule::default(),
            close_after: 2,
            budget: ProbeBudget::default(),
        }
    }
}

/// The exchange that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A probe whose time does not count, because it also opens the connection.
    Connect,
    /// A probe.
    Probe,
    /// A throughput probe with a body of so many bytes.
    Throughput(usize),
    /// The fog host lacks this module.
    Push(Digest),
}

/// Estimates of one fog host over one link, and the health of both.
#[derive(Debug, Default)]
pub struct Beliefs {
    link: LinkEstimator,
    fog_times: FogTimeEstimator,
    /// Whether there is a connection, as far as is known.
    connected: bool,
    last_contact: Option<Duration>,
    last_throughput: Option<Duration>,
    /// Probes since the connection was opened.
    probes: u32,
    breaker: Breaker,
    module_failures: HashMap<Digest, BackOff>,
    missing: Vec<Digest>,
    answered: Answered,
    allowance: Allowance,
    energy: Option<Arc<dyn EnergyModel>>,
    heat: Level,
}

/// The part of the inferences that the fog host has answered of late: a mean in
/// which the last one weighs an eighth.
#[derive(Debug)]
struct Answered(f64);

impl Default for Answered {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Answered {
    fn observe(&mut self, answered: bool) {
        self.0 += (f64::from(answered) - self.0) / 8.0;
    }

    /// A probe was answered, which says something of inferences too. Without it, some
    /// that were given up would keep all others on the device for good.
    fn recover(&mut self) {
        self.0 += (1.0 - self.0) / 32.0;
    }
}

/// What a probe is taken to move that has failed.
const PROBE_TRAFFIC: Traffic = Traffic { up_bytes: 250, down_bytes: 0 };

impl Beliefs {
    /// The link's state at the time `now`.
    pub fn link_health(&self, now: Duration) -> LinkHealth {
        match (self.breaker.failures(), self.last_contact) {
            (0, None) => LinkHealth::Unknown,
            (0, Some(at)) => LinkHealth::Up { age: now.saturating_sub(at) },
            (failures, _) => LinkHealth::Down { failures },
        }
    }

    /// How the fog host has served `module`.
    pub fn module_health(&self, now: Duration, module: Digest) -> ModuleHealth {
        match self.module_failures.get(&module) {
            Some(back_off) if back_off.failures() > 0 => ModuleHealth::Failing {
                failures: back_off.failures(),
                retry: back_off.may_try(now),
            },
            _ => ModuleHealth::Good,
        }
    }

    /// T_L of an inference with this traffic.
    pub fn transfer(&self, traffic: Traffic) -> Option<Duration> {
        self.link.estimate(traffic)
    }

    /// T_F of an inference of `module`.
    pub fn fog(&self, module: Digest, fuel: Fuel) -> Option<Duration> {
        self.fog_times.estimate(module, fuel)
    }

    /// T_L + T_F of such an inference, as a distribution.
    pub fn offloaded(&self, module: Digest, fuel: Fuel, traffic: Traffic) -> Option<OffloadedTime> {
        Some(OffloadedTime {
            transfer: self.link.spread(traffic)?,
            fog: self.fog_times.spread(module, fuel)?,
            answered: self.answered.0,
        })
    }

    /// The model of the device's energy.
    pub fn energy(&self) -> Option<&dyn EnergyModel> {
        self.energy.as_deref()
    }

    /// Sets it.
    pub fn set_energy(&mut self, model: Arc<dyn EnergyModel>) {
        self.energy = Some(model);
    }

    /// How hot the device is, as it was told last.
    pub fn heat(&self) -> Level {
        self.heat
    }

    /// The device is so hot.
    pub fn set_heat(&mut self, heat: Level) {
        self.heat = heat;
    }

    /// The link's estimator.
    pub fn link(&self) -> &LinkEstimator {
        &self.link
    }

    /// The fog host has answered an inference. `transfer` is the round trip less
    /// the answer's own time.
    pub fn inferred(
        &mut self,
        now: Duration,
        module: Digest,
        answer: &FogAnswer,
        transfer: Duration,
    ) {
        self.contact(now, 1);
        self.connected = true;
        self.answered.observe(true);
        self.module_failures.remove(&module);
        self.link.observe(ExchangeKind::Inference, answer.traffic, transfer);
        self.fog_times.observe(module, answer.time);
    }

    /// The fog host has not answered an inference.
    pub fn not_inferred(
        &mut self,
        now: Duration,
        module: Digest,
        error: &FogError,
        rule: &BackOffRule,
    ) {
        self.answered.observe(false);
        let lacks_it = matches!(error, FogError::Refused { status: 404, .. });
        if lacks_it && !self.missing.contains(&module) {
            self.missing.push(module);
        }
        // A fog host that hangs on one module and answers probes fails the
        // module; one that cannot be reached at all does not.
        if !matches!(error, FogError::Unreachable(_)) {
            self.module_failures.entry(module).or_default().failed(now, rule);
        }
        self.no_contact_if_of_link(now, error, rule);
    }

    /// An inference was given up after a time in which no answer had to be expected.
    pub fn given_up(&mut self) {
        self.answered.observe(false);
        // The connection was closed to give up.
        self.connected = false;
    }

    /// A probe has failed. Whatever the error: what does not answer probes as it
    /// should is not a fog host to send inputs to.
    pub fn not_probed(&mut self, now: Duration, rule: &BackOffRule) {
        self.connected = false;
        self.probes = 0;
        self.breaker.failed(now, rule);
        self.spend(PROBE_TRAFFIC, Duration::ZERO);
    }

    /// What came of an exchange that was due.
    pub fn exchanged(
        &mut self,
        now: Duration,
        due: Due,
        result: &Result<Traffic, FogError>,
        elapsed: Duration,
        rule: &ProbeRule,
    ) {
        match (result, due) {
            (Ok(traffic), _) => self.done(now, due, *traffic, elapsed, rule),
            (Err(error), Due::Push(module)) => self.not_pushed(now, module, error, rule),
            (Err(_), _) => self.not_probed(now, &rule.back_off),
        }
    }

    /// An exchange has succeeded that was due.
    fn done(
        &mut self,
        now: Duration,
        due: Due,
        traffic: Traffic,
        time: Duration,
        rule: &ProbeRule,
    ) {
        self.contact(now, rule.close_after);
        if !matches!(due, Due::Push(_)) {
            self.spend(traffic, time);
        }
        match due {
            Due::Connect => self.connected = true,
            Due::Probe => {
                self.answered.recover();
                self.probes = self.probes.saturating_add(1);
                self.link.observe(ExchangeKind::Probe, traffic, time);
            }
            Due::Throughput(_) => {
                self.last_throughput = Some(now);
                self.link.observe(ExchangeKind::Probe, traffic, time);
            }
            Due::Push(module) => {
                self.missing.retain(|&missing| missing != module);
                self.module_failures.remove(&module);
            }
        }
    }

    /// A module that the fog host lacks could not be pushed: it is not tried there
    /// for a while.
    fn not_pushed(&mut self, now: Duration, module: Digest, error: &FogError, rule: &ProbeRule) {
        self.missing.retain(|&missing| missing != module);
        self.module_failures.entry(module).or_default().failed(now, &rule.back_off);
        self.no_contact_if_of_link(now, error, &rule.back_off);
    }

    /// Something came from the fog host; so many of these in a row close the breaker.
    fn contact(&mut self, now: Duration, wanted: u32) {
        self.last_contact = Some(now);
        let was_down = self.breaker.failures() > 0;
        self.breaker.succeeded(wanted);
        if was_down && self.breaker.failures() == 0 {
            self.link.outage();
            // What was not answered belonged to the outage.
            self.answered = Answered::default();
        }
    }

    fn spend(&mut self, traffic: Traffic, time: Duration) {
        let joules = self
            .energy
            .as_ref()
            .map_or(0.0, |model| model.exchange_joules(traffic, time, Duration::ZERO));
        self.allowance.spend(traffic.up_bytes + traffic.down_bytes, joules);
    }

    fn no_contact_if_of_link(&mut self, now: Duration, error: &FogError, rule: &BackOffRule) {
        if error.is_of_link() {
            self.not_probed(now, rule);
        }
    }

    /// What to exchange next with the fog host, if it is time for anything.
    pub fn due(&mut self, now: Duration, rule: &ProbeRule) -> Option<Due> {
        if !self.breaker.may_probe(now) {
            return None;
        }
        let affordable_bytes = self.allowance.at(now, &rule.budget);
        if self.connected
            && let Some(&module) = self.missing.first()
        {
            return Some(Due::Push(module));
        }
        let affordable_bytes = affordable_bytes?;
        if !self.connected {
            return Some(Due::Connect);
        }
        if self.probes < rule.first {
            return Some(Due::Probe);
        }
        let over = |since: Option<Duration>, wait| {
            since.is_none_or(|since| now.saturating_sub(since) >= wait)
        };
        if !self.link.knows_throughput() && over(self.last_throughput, rule.throughput_refresh) {
            // It comes back.
            let bytes = self.link.probe_bytes();
            if 2 * bytes as u64 <= affordable_bytes {
                return Some(Due::Throughput(bytes));
            }
        }
        let round_trip = self.link.parameters().map_or(Duration::ZERO, |p| p.round_trip);
        let refresh = rule.refresh.max(round_trip.saturating_mul(20));
        over(self.last_contact, refresh).then_some(Due::Probe)
    }
}
