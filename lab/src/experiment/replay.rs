//! What the device's thread does: calibrate, then replay over each link.

use std::sync::Arc;
use std::time::Instant;

use leeway_fog_host::Running;
use leeway_runtime::offload::clock::{Clock, MonotonicClock};
use leeway_runtime::offload::fog::{Fog as _, HttpFog};
use leeway_runtime::offload::local::Local as _;
use leeway_runtime::offload::policy::{AllFog, AllLocal, Policy, Threshold};
use leeway_runtime::offload::sensor::{Pacing, Sensor, Stream};
use leeway_runtime::offload::{Offloader, Prober, Task, TaskId};
use leeway_runtime::power::Prices;
use leeway_runtime::realtime::RealTimeReport;
use leeway_runtime::sandbox::{Sandbox, SandboxConfig};
use leeway_runtime::timing::measure::MeasureOptions;
use leeway_runtime::timing::{BoundRule, Calibration, Claims, Device, Watch, calibrate};

use super::cpu::{self, Cpus};
use super::device::OnDevice;
use super::{Config, ExperimentError, Progress, Results, Step, rows};
use crate::link::{Link, LinkProfile};
use crate::power::SMALL_BOARD;
use crate::study::DecisionRow;

/// What calibrating all models may take of the whole.
const CALIBRATION_PART: f64 = 0.08;
/// The device rests for this part of the time it worked, after each input: a
/// real-time thread that never does is paused by the kernel when it hurts.
const REST_PART: u32 = 20;

/// The experiment as the device's thread sees it.
pub(super) struct Bench<'a, 'p> {
    config: &'a Config,
    cpus: Cpus,
    fog: &'a Running,
    start: Instant,
    progress: &'p mut (dyn FnMut(Progress<'_>) + Send),
    clock: Arc<dyn Clock>,
    engine_hash: String,
    on_device: Vec<OnDevice>,
    /// Of each model, its calibration and what watches it since.
    calibrated: Vec<(Calibration, Arc<Watch>)>,
    decisions: Vec<DecisionRow>,
}

/// The orders in which three policies take their turns. In six inputs each
/// comes first, second and third twice, and follows each other policy as often
/// as that one follows it: a run on the device is slower after a long wait for
/// the network than after another run (balanced for carry-over effects, E. J.
/// Williams, "Experimental designs balanced for the estimation of residual
/// effects of treatments", 1949, DOI 10.1071/CH9490149).
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]];

/// One policy over one link.
struct Contender {
    offloader: Offloader,
    prober: Prober,
    tasks: Vec<TaskId>,
    /// Whether its estimates are kept fresh: the fixed policies use none.
    probes: bool,
}

impl<'a, 'p> Bench<'a, 'p> {
    pub fn new(
        config: &'a Config,
        cpus: Cpus,
        fog: &'a Running,
        start: Instant,
        progress: &'p mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Self, ExperimentError> {
        for model in &config.models {
            for (what, empty) in
                [("validation", model.validation.is_empty()), ("test", model.test.is_empty())]
            {
                if empty {
                    return Err(ExperimentError::NoSamples { model: model.name.clone(), what });
                }
            }
        }
        let sandbox = Sandbox::new(SandboxConfig::with_engine(config.engine))?;
        let load = |model| OnDevice::load(&sandbox, model);
        let on_device = config.models.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            cpus,
            fog,
            start,
            progress,
            clock: Arc::new(MonotonicClock::new()),
            engine_hash: sandbox.engine_hash(),
            on_device,
            calibrated: Vec::new(),
            decisions: Vec::new(),
        })
    }

    fn fraction(&self) -> f64 {
        (self.start.elapsed().as_secs_f64() / self.config.time.as_secs_f64()).min(1.0)
    }

    /// Measures every model's execution time on this thread.
    pub fn calibrate(&mut self, real_time: &RealTimeReport) -> Result<(), ExperimentError> {
        let each = self.config.time.mul_f64(CALIBRATION_PART / self.config.models.len() as f64);
        let options = MeasureOptions {
            budget: Some(each),
            seed: self.config.seed,
            ..MeasureOptions::default()
        };
        for (model, on_device) in self.config.models.iter().zip(&mut self.on_device) {
            let fraction =
                self.start.elapsed().as_secs_f64() / self.config.time.as_secs_f64().max(1e-9);
            let step = Step::Calibrating(&model.name);
            (self.progress)(Progress { step, fraction: fraction.min(1.0) });
            let failed = |source| ExperimentError::Calibrate { model: model.name.clone(), source };
            let claims = Claims {
                module: on_device.digest(),
                engine: self.config.engine,
                engine_hash: self.engine_hash.clone(),
                device: Device::of_this_machine(self.cpus.device),
            };
            let (inputs, report) = (&model.validation, real_time.clone());
            let calibration = calibrate(on_device, inputs, claims, report, &options, &mut |_| ())
                .map_err(failed)?;
            let timing = &calibration.warm.whole;
            tracing::info!(
                model = model.name,
                wcet = ?timing.worst_input,
                highest_observed = ?timing.highest_observed,
                runs = timing.runs,
                disturbed = timing.disturbed.runs,
                "calibrated"
            );
            let watch = Watch::new(calibration.clone(), BoundRule::default());
            self.calibrated.push((calibration, Arc::new(watch)));
        }
        Ok(())
    }

    /// Replays the sensor over one link, of which `links_left` are to share the
    /// time that is left.
    pub fn replay(
        &mut self,
        profile: &LinkProfile,
        links_left: usize,
    ) -> Result<(), ExperimentError> {
        let started = Instant::now();
        let left = self.config.time.saturating_sub(self.start.elapsed());
        let share = left / u32::try_from(links_left).unwrap_or(u32::MAX).max(1);
        let failed = |source| ExperimentError::Link { link: profile.name.to_owned(), source };
        let (seed, target) = (self.config.seed, self.fog.local_addr());
        let link =
            cpu::on(self.cpus.fog, || Link::start(profile.clone(), seed, target).map_err(failed))?;
        let url = format!("http://{}", link.addr());

        self.push(profile, &url)?;
        let mut contenders = [
            self.contender(Box::new(AllLocal), &url, false)?,
            self.contender(Box::new(AllFog), &url, false)?,
            self.contender(Box::new(Threshold::default()), &url, true)?,
        ];
        for contender in &mut contenders {
            // A connection for each, and estimates where they are used.
            contender.prober.catch_up(if contender.probes { 10 } else { 1 });
        }

        let streams = self
            .config
            .models
            .iter()
            .map(|model| Stream { name: model.name.clone(), samples: Arc::clone(&model.test) });
        let inputs = self.config.inputs as u64;
        let mut sensor = Sensor::new(
            streams.collect(),
            inputs,
            Pacing::ClosedLoop,
            self.config.seed,
            Arc::clone(&self.clock),
        );
        let replaying = Instant::now();
        let mut replayed = None;
        while let Some(input) = sensor.next_input() {
            if replayed != Some(input.sequence) {
                replayed = Some(input.sequence);
                let rounds = input.sequence as u32;
                // Whole blocks of orders only, and none that would take too long.
                let block = ORDERS.len() as u32;
                let next = replaying.elapsed() / rounds.max(1) * block;
                let over = started.elapsed() + next > share;
                if rounds > 0 && rounds.is_multiple_of(block) && over {
                    break;
                }
                let step = Step::Replaying { link: profile.name, inputs: rounds as usize };
                let fraction = self.fraction();
                (self.progress)(Progress { step, fraction });
            }
            let worked = Instant::now();
            for k in ORDERS[(input.sequence as usize + input.stream) % ORDERS.len()] {
                let contender = &mut contenders[k];
                let task = contender.tasks[input.stream];
                let answer = contender.offloader.infer(task, &input.sample.inputs, None)?;
                let name = &self.config.models[input.stream].name;
                let predicted = rows::class(&answer.outputs)
                    .ok_or_else(|| ExperimentError::NoClass { model: name.clone() })?;
                let label = input.sample.label.unwrap_or(usize::MAX);
                let row = rows::row(&answer.record, profile.name, predicted, label);
                self.decisions.push(row);
                if contender.probes {
                    contender.prober.step();
                }
            }
            std::thread::sleep(worked.elapsed() / REST_PART);
        }
        drop(contenders);
        link.shutdown();
        Ok(())
    }

    /// Sends the components over the link, which only the first link has to do.
    fn push(&mut self, profile: &LinkProfile, url: &str) -> Result<(), ExperimentError> {
        let step = Step::Pushing(profile.name);
        let fraction = self.fraction();
        (self.progress)(Progress { step, fraction });
        let fog = HttpFog::new(url)?;
        for (model, on_device) in self.config.models.iter().zip(&self.on_device) {
            let limit = self.config.options.probe.push_limit;
            fog.push(on_device.digest(), &model.component, limit).map_err(|source| {
                let (model, link) = (model.name.clone(), profile.name.to_owned());
                ExperimentError::Push { model, link, source }
            })?;
        }
        Ok(())
    }

    fn contender(
        &self,
        policy: Box<dyn Policy>,
        url: &str,
        probes: bool,
    ) -> Result<Contender, ExperimentError> {
        let fog = Arc::new(HttpFog::new(url)?);
        let clock = Arc::clone(&self.clock);
        let mut offloader = Offloader::new(policy, fog, clock, self.config.options);
        let mut tasks = Vec::new();
        offloader.set_energy(Arc::new(Prices::declared(SMALL_BOARD)));
        for ((model, on_device), (calibration, watch)) in
            self.config.models.iter().zip(&self.on_device).zip(&self.calibrated)
        {
            tasks.push(offloader.add(Task {
                name: model.name.clone(),
                local: Box::new(on_device.clone()),
                wcet: calibration.warm.whole.worst_input,
                watch: Some(Arc::clone(watch)),
                deadline: Some(model.deadline),
                component: Some(Arc::clone(&model.component)),
            }));
        }
        let prober = offloader.prober();
        Ok(Contender { offloader, prober, tasks, probes })
    }

    pub fn finish(self) -> Results {
        let models = self.config.models.iter().zip(&self.on_device).zip(&self.calibrated);
        let info =
            |((model, on_device), (calibration, watch)): ((_, &OnDevice), &(_, Arc<Watch>))| {
                on_device.info(model, calibration, watch)
            };
        Results { models: models.map(info).collect(), decisions: self.decisions }
    }
}
