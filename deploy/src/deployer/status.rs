//! What is told of streams and of what their promise rests on.

use std::collections::BTreeMap;
use std::time::Duration;

use leeway_control::calibration::{CalibrationStatus, EnergyStatus};
use leeway_control::streams::{Conditions, FogStatus, Promised, StreamCounts, StreamStatus};
use leeway_runtime::admission::{Admitted, Standing};
use leeway_runtime::offload::health::LinkHealth;
use leeway_runtime::thermal::{Level, Validity};

use super::{Deployer, lock};
use crate::serving::Lane;
use crate::state::StreamSettings;
use crate::transaction::admit::no_smaller;

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn promised(admitted: &Admitted) -> Promised {
    Promised {
        core: admitted.core,
        response_ms: ms(admitted.response),
        slack_ms: ms(admitted.slack),
        arm_after_ms: admitted.arm_after.map(ms),
    }
}

impl Deployer {
    /// How the streams of all models are.
    pub fn stream_status(&self) -> BTreeMap<String, StreamStatus> {
        let (loads, standing) = (lock(&self.loads).clone(), self.config.streams.standing());
        let lanes = self.serving.lanes();
        let mut told = BTreeMap::new();
        for (model, load) in &loads {
            for asked in &load.streams {
                let lane = lanes.get(&asked.name);
                let status = self.status_of(asked, lane, &standing);
                let versions = load.versions.iter().filter_map(|version| version.watch.as_ref());
                let bound = versions.clone().map(|watch| watch.bound().time).max();
                let exceeded = versions.map(|watch| watch.seen().exceeded).sum();
                let (model, bound_ms) = (model.clone(), bound.map(ms));
                let no_smaller = no_smaller(&loads, load, asked);
                let status = StreamStatus { model, bound_ms, exceeded, no_smaller, ..status };
                told.insert(asked.name.clone(), status);
            }
        }
        told
    }

    fn status_of(
        &self,
        asked: &StreamSettings,
        lane: Option<&Lane>,
        standing: &Standing,
    ) -> StreamStatus {
        let admitted = standing.admitted.iter().find(|admitted| admitted.name == asked.name);
        let set_aside = standing.set_aside.contains(&asked.name);
        let (counts, reason) = match lane {
            Some(Lane::Promised(place)) => {
                let refusal = standing.refusal.as_ref().filter(|_| set_aside);
                (self.counts_of(*place), refusal.map(ToString::to_string))
            }
            Some(Lane::GivenUp(why)) => (StreamCounts::default(), Some(why.clone())),
            None => {
                (StreamCounts::default(), Some("its model has not been calibrated here".into()))
            }
        };
        StreamStatus {
            period_ms: asked.period_ms,
            deadline_ms: asked.deadline_ms,
            promised: admitted.map(promised),
            set_aside: set_aside || matches!(lane, Some(Lane::GivenUp(_))),
            reason,
            counts,
            ..StreamStatus::default()
        }
    }

    fn counts_of(&self, place: usize) -> StreamCounts {
        let streams = &self.config.streams;
        let ((counts, discarded), (offloaded, compensated)) =
            (streams.counts(place), streams.sent(place));
        StreamCounts {
            arrived: counts.arrived,
            by_device: counts.by_device,
            by_fog: counts.by_fog,
            offloaded,
            compensated,
            late: discarded.not_in_time(),
            wrong: discarded.wrong(),
            degraded: streams.handed_on(place),
            shed: counts.shed,
            missed: counts.missed,
            failed: counts.failed,
        }
    }

    /// What was measured on this device of the version that answers a model.
    pub fn calibration_status(&self, model: &str) -> Option<CalibrationStatus> {
        let routing = self.serving.model(model)?.routing();
        let watch = routing.primary.watch.as_ref()?;
        let energy = watch.energy().map(|energy| EnergyStatus {
            joules: energy.joules,
            basis: energy.basis.to_string(),
            sensors: energy.sensors,
            instead: energy.instead,
        });
        let (bound_ms, real_time) = (ms(watch.bound().time), watch.real_time().to_string());
        Some(CalibrationStatus { bound_ms, real_time, energy })
    }

    /// What the promise rests on.
    pub fn conditions(&self) -> Conditions {
        let streams = &self.config.streams;
        let (advice, validity) = streams.heat();
        Conditions {
            real_time: streams.real_time().iter().map(ToString::to_string).collect(),
            heat: match advice.level {
                Level::Normal => "normal",
                Level::Warm => "warm",
                Level::Hot => "hot",
            }
            .into(),
            degraded: advice.degraded,
            clock: clock(&validity),
            fog: self.config.offloading.map(|_| self.fog_status()),
        }
    }

    fn fog_status(&self) -> FogStatus {
        let now = self.config.streams.now();
        self.config.streams.inspect(|beliefs| {
            let parameters = beliefs.link().parameters();
            FogStatus {
                link: match beliefs.link_health(now) {
                    LinkHealth::Unknown => "unknown",
                    LinkHealth::Up { .. } => "up",
                    LinkHealth::Down { .. } => "down",
                }
                .into(),
                round_trip_ms: parameters.map(|link| ms(link.round_trip)),
                up_bytes_per_s: parameters.and_then(|link| link.up_bytes_per_s),
                down_bytes_per_s: parameters.and_then(|link| link.down_bytes_per_s),
            }
        })
    }
}

fn clock(validity: &Validity) -> Option<String> {
    match validity {
        Validity::Holds => None,
        Validity::Slower { factor } => Some(format!("{factor:.2} times as slow as calibrated")),
        Validity::Broken { property, calibrated, seen, .. } => Some(format!(
            "the {property} is {seen}, models were calibrated with {calibrated}: calibrate again"
        )),
    }
}
