//! The promise to all streams: the set is admitted as a whole, and the device's executor
//! goes over to it before any pointer does.

use std::collections::BTreeMap;
use std::sync::Arc;

use leeway_runtime::admission::{self, Admission, Admitted, Plan, Refusal, Stream};
use leeway_runtime::offload::{Model, RunnerError, Set};
use leeway_runtime::sandbox::{Limits, RunError};

use super::{Deployer, lock};
use crate::serving::{Lane, Version, WARM_UP, zeros};
use crate::transaction::Cause;
use crate::transaction::admit::{Load, Loads, no_smaller};

/// A set that the executor can go over to at once.
pub(super) struct Ready {
    loads: Loads,
    streams: Vec<Stream>,
    admission: Admission,
    models: Vec<Vec<Model>>,
    /// Streams that nothing is promised to, and why.
    given_up: BTreeMap<String, String>,
}

impl Ready {
    /// How many streams keep their deadlines.
    pub fn admitted(&self) -> usize {
        self.admission.streams.len()
    }
}

impl Deployer {
    /// Makes a set with a candidate of this model ready, where all of it is admitted.
    pub(super) fn ready(&self, loads: Loads, candidate: &str) -> Result<Ready, Cause> {
        let asked = self.asked(&loads, Some(candidate));
        check_smaller(&asked)?;
        let streams = streams(&asked);
        let admission = self.admit(&streams)?;
        let models = self.models(&asked).map_err(Cause::Run)?;
        Ok(Ready { loads, streams, admission, models, given_up: BTreeMap::new() })
    }

    /// Admits a set, with each stream on the core that it is on already, where that can be:
    /// one that moves has to wait for two cores to be idle.
    fn admit(&self, streams: &[Stream]) -> Result<Admission, Refusal> {
        let (executor, standing) = (self.config.streams.executor(), self.config.streams.standing());
        let core_of = |stream: &Stream| {
            let here = standing.admitted.iter().find(|admitted| admitted.name == stream.name);
            stream.core.or(here.map(|admitted| admitted.core))
        };
        let stay: Vec<Stream> =
            streams.iter().map(|one| Stream { core: core_of(one), ..one.clone() }).collect();
        admission::admit(&stay, executor).or_else(|_| admission::admit(streams, executor))
    }

    /// Makes as much of a set ready as is admitted: what serves has to go on.
    fn ready_as_far_as_admitted(&self, loads: Loads) -> Result<Ready, Cause> {
        let asked = self.asked(&loads, None);
        let all = streams(&asked);
        let plan = admission::plan(&all, self.config.streams.executor(), &[], 0);
        let given_up = given_up(&all, &plan);
        let kept = plan.admitted.into_iter();
        let (asked, admitted): (Vec<(&Load, Stream)>, Vec<Admitted>) =
            kept.map(|(place, _, admitted)| (asked[place].clone(), admitted)).unzip();
        let (streams, admission) = (streams(&asked), Admission { streams: admitted });
        let models = self.models(&asked).map_err(Cause::Run)?;
        Ok(Ready { loads, streams, admission, models, given_up })
    }

    /// The streams of all models whose times are known. One of a model that serves drops
    /// inputs where there is no smaller one to hand them on to; for a candidate's there
    /// must be.
    fn asked<'a>(&self, loads: &'a Loads, candidate: Option<&str>) -> Vec<(&'a Load, Stream)> {
        let mut all = Vec::new();
        for (model, load) in loads.iter().filter(|(_, load)| load.is_known()) {
            let serves = candidate != Some(model);
            for (settings, mut stream) in
                load.streams.iter().zip(load.asked(self.config.offloading))
            {
                if serves && no_smaller(loads, load, settings).is_some() {
                    stream = stream.without_smaller();
                }
                all.push((load, stream));
            }
        }
        all
    }

    /// The models of these streams, with instances where the executor has none yet.
    fn models(&self, asked: &[(&Load, Stream)]) -> Result<Vec<Vec<Model>>, RunError> {
        let of = |(load, stream): &(&Load, Stream)| {
            load.versions.iter().map(|version| self.model(&stream.name, version)).collect()
        };
        asked.iter().map(of).collect()
    }

    fn model(&self, stream: &str, version: &Arc<Version>) -> Result<Model, RunError> {
        let module = version.module.clone();
        let here = self.config.streams.has(stream, module.digest());
        let instance = (!here).then(|| {
            let mut instance = module.instantiate()?;
            // The first input does not wait for pages that a first run touches.
            let stages = 0..=module.certificate().last_stage();
            match instance.run(stages, &zeros(&module), &Limits::within(WARM_UP)) {
                Ok(_) => Ok(instance),
                Err(_) => module.instantiate(),
            }
        });
        let watch = version.watch.clone();
        let calibrated = watch.as_ref().map(|watch| watch.calibrated().0.time);
        Ok(Model {
            instance: instance.transpose()?,
            wcet: watch.as_ref().map(|watch| watch.worst_input()).unwrap_or_default(),
            admitted_with: calibrated,
            watch,
            module,
        })
    }

    /// The executor serves this set from now on.
    pub(super) fn go_over(&self, ready: Ready) {
        let Ready { loads, streams, admission, models, given_up } = ready;
        let set = Set { streams: &streams, admission: &admission, models };
        let mut lanes: BTreeMap<String, Lane> =
            given_up.into_iter().map(|(name, why)| (name, Lane::GivenUp(why))).collect();
        match self.config.streams.serve(set) {
            Ok(places) => {
                let names = streams.iter().map(|stream| stream.name.clone());
                lanes.extend(names.zip(places.into_iter().map(Lane::Promised)));
                self.serving.set_lanes(lanes);
                *lock(&self.loads) = loads;
                *lock(&self.admission) = Some(admission).filter(|all| !all.streams.is_empty());
            }
            Err(error) => tracing::error!(%error, "the executor does not go over to the streams"),
        }
    }

    /// The set is another one, and what is left of it has to be promised: a model went
    /// back to another version, or is gone.
    pub(super) fn readmit(&self, change: impl FnOnce(&mut Loads)) {
        let mut loads = lock(&self.loads).clone();
        change(&mut loads);
        match self.ready_as_far_as_admitted(loads) {
            Ok(ready) => {
                for (stream, why) in &ready.given_up {
                    tracing::error!(stream, why, "a stream is not admitted any more");
                }
                self.go_over(ready);
            }
            Err(error) => tracing::error!(%error, "the streams are not admitted any more"),
        }
    }
}

fn streams(asked: &[(&Load, Stream)]) -> Vec<Stream> {
    asked.iter().map(|(_, stream)| stream.clone()).collect()
}

/// A smaller model must take the inputs that it is handed, and answer as is expected.
fn check_smaller(asked: &[(&Load, Stream)]) -> Result<(), Cause> {
    let tensors = |load: &Load| {
        let certificate = load.versions[0].module.certificate();
        let specs = [certificate.inputs(), certificate.outputs()];
        specs.map(|specs| specs.iter().map(|s| (s.dtype, s.shape.clone())).collect::<Vec<_>>())
    };
    for (load, stream) in asked {
        let to = asked.iter().find(|(_, to)| stream.degrade_to.as_ref() == Some(&to.name));
        if let Some((_, to)) = to.filter(|(smaller, _)| tensors(smaller) != tensors(load)) {
            let (stream, to) = (stream.name.clone(), to.name.clone());
            let problem = RunnerError::OtherTensors { stream, to };
            return Err(Cause::Settings(problem.to_string()));
        }
    }
    Ok(())
}

fn given_up(streams: &[Stream], plan: &Plan) -> BTreeMap<String, String> {
    let why = plan.refusal.as_ref().map(ToString::to_string).unwrap_or_default();
    let pairs = streams.iter().zip(&plan.set_aside).filter(|(_, set_aside)| **set_aside);
    pairs.map(|(stream, _)| (stream.name.clone(), why.clone())).collect()
}
