//! The streams of a model, and how their inputs are answered: by the device's executor,
//! as was promised to them.

use std::sync::Arc;
use std::time::Duration;

use leeway_contract::Tensor;
use leeway_runtime::offload::RunnerError;
use leeway_runtime::offload::record::DecisionRecord;
use leeway_runtime::sandbox::RunError;

use super::version::Fault;
use super::{Ran, RunFailure, ServeError, Serving, Version};

/// What is promised to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// That its deadlines are kept: it is the executor's stream with this number.
    Promised(usize),
    /// Nothing at the moment, for this reason; its inputs are not taken.
    GivenUp(String),
}

/// The stream that an input belongs to, of those that the model has.
pub(super) fn stream_of<'a>(
    model: &str,
    streams: &'a [String],
    named: Option<&str>,
) -> Result<Option<&'a String>, ServeError> {
    match (named, streams) {
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, several) => {
            let (model, streams) = (model.to_owned(), several.to_vec());
            Err(ServeError::WhichStream { model, streams })
        }
        (Some(name), streams) => match streams.iter().find(|stream| *stream == name) {
            Some(stream) => Ok(Some(stream)),
            None => {
                let (model, name) = (model.to_owned(), name.to_owned());
                Err(ServeError::NoStream { model, name, streams: streams.to_vec() })
            }
        },
    }
}

impl Serving {
    /// Answers an input of a stream by one of the model's versions.
    pub(super) fn run_on(
        &self,
        stream: &str,
        version: &Version,
        arrived: Duration,
        inputs: &Arc<Vec<Tensor>>,
    ) -> Result<Ran, RunFailure> {
        let place = match self.lanes.load().get(stream) {
            Some(Lane::Promised(place)) => *place,
            Some(Lane::GivenUp(why)) => {
                let text = format!("nothing is promised to the stream {stream:?}: {why}");
                return Err(RunFailure::of(Fault::SetAside, text));
            }
            // Its model has never been measured here.
            None => return version.run(inputs),
        };
        let ticket =
            self.streams.submit(place, Some(version.digest()), arrived, Arc::clone(inputs));
        match ticket.and_then(|ticket| ticket.wait()) {
            Ok(answered) => {
                let record = answered.record;
                Ok(Ran {
                    outputs: answered.outputs,
                    elapsed: record.latency,
                    local: record.local,
                    fuel: record.fuel,
                    overrun: false,
                    decision: Some(Box::new(record)),
                })
            }
            Err(RunnerError::Stopped { record }) => {
                self.outside(version, arrived, inputs, Some(record))
            }
            Err(RunnerError::Run(RunError::DeadlinePassed { .. })) => {
                self.outside(version, arrived, inputs, None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Answers outside of the promise an input whose run was stopped so that others are
    /// in time.
    fn outside(
        &self,
        version: &Version,
        arrived: Duration,
        inputs: &Arc<Vec<Tensor>>,
        decision: Option<Box<DecisionRecord>>,
    ) -> Result<Ran, RunFailure> {
        let ran = version.run(inputs)?;
        let elapsed = self.streams.now().saturating_sub(arrived);
        let decision = decision.map(|mut record| {
            (record.latency, record.local, record.fuel) = (elapsed, ran.local, ran.fuel);
            record
        });
        Ok(Ran { elapsed, overrun: true, decision: decision.or(ran.decision), ..ran })
    }
}

impl From<RunnerError> for RunFailure {
    fn from(error: RunnerError) -> Self {
        let fault = match error {
            RunnerError::Run(error) => return error.into(),
            RunnerError::Shed(_) | RunnerError::Replaced => Fault::Shed,
            RunnerError::Superseded | RunnerError::Changing => Fault::Superseded,
            _ => Fault::SetAside,
        };
        RunFailure::of(fault, error)
    }
}
