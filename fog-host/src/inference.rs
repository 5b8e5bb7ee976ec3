//! What an inference goes through, by whatever protocol it came: the client's
//! limits, the queue's test, a worker, and what is counted of it.

use std::time::{Duration, Instant};

use leeway_protocol::{Answer, Parameters, Request};

use crate::access::Client;
use crate::clients::TooMany;
use crate::error::HttpError;
use crate::host::{Host, Target};
use crate::observe::{Refused, Times};
use crate::pool::{Done, Job, SubmitError, Written};
use crate::seen::Answered;
use crate::stamp::Arrival;

/// An inference that was asked for.
pub(crate) struct Inference<'a> {
    pub(crate) host: &'a Host,
    pub(crate) client: &'a Client,
    pub(crate) target: &'a Target,
    /// When the request's head was here.
    pub(crate) arrival: Arrival,
}

impl Inference<'_> {
    /// Decodes a request, runs it, and encodes what it gave. `decode` has its own
    /// errors; `encode` says of one that the request wants what cannot be.
    pub(crate) async fn answer<R>(
        &self,
        decode: impl Future<Output = Result<Request, HttpError>>,
        encode: impl FnOnce(&Answer<'_>, &Request) -> Result<R, HttpError>,
    ) -> Result<R, HttpError> {
        let result = self.try_answer(decode, encode).await;
        if let Err(error) = &result {
            let answered = if error.is_temporary() { Answered::Refused } else { Answered::Failed };
            self.host.seen.inferred(&self.client.name, answered);
            let Target { name, version, .. } = self.target;
            self.host.observations.failed(name, version, self.arrival.at.elapsed());
        }
        result
    }

    async fn try_answer<R>(
        &self,
        decode: impl Future<Output = Result<Request, HttpError>>,
        encode: impl FnOnce(&Answer<'_>, &Request) -> Result<R, HttpError>,
    ) -> Result<R, HttpError> {
        let Self { host, client, target, arrival } = self;
        let arrived = arrival.at;
        let observations = &host.observations;
        let permit = host.clients.enter(&client.name, client.limits, Instant::now());
        let _permit = permit.inspect_err(|_: &TooMany| observations.refused(Refused::Client))?;
        let mut request = decode.await?;
        let job = self.job(&mut request)?;
        let range = job.range.clone();
        let last = *range.end() as usize;
        let decoded = Instant::now();
        let answer = host.pool.submit(job).inspect_err(|error| self.count(error))?;
        let Done { execution, queue, ended } = match answer.done().await {
            Ok(done) => done?,
            Err(_) => return Err(HttpError::unavailable("shutting down", Duration::from_secs(1))),
        };
        let ran = Instant::now();
        let certificate = target.module.certificate();
        let answer = Answer {
            model_name: &target.name,
            model_version: &target.version,
            digest: target.module.digest(),
            fuel: execution.fuel,
            queue,
            compute: execution.elapsed,
            specs: &certificate.stages[last].outputs,
            outputs: &execution.outputs,
            labels: certificate.labels.as_deref(),
        };
        let encoded = encode(&answer, &request)?;
        let (digest, now) = (target.module.digest(), Instant::now());
        let (waited, encoding) = (ran.saturating_duration_since(ended), now - ran);
        host.pool.written(now, &Written { digest, range, waited, encoding });
        let times = Times {
            request: arrived.elapsed(),
            input: decoded - arrived,
            queue,
            compute: execution.elapsed,
            output: ran.elapsed(),
            deadline: request.parameters.timeout(),
        };
        host.seen.inferred(&client.name, Answered::Yes(times));
        observations.answered(&target.name, &target.version, times, execution.fuel);
        Ok(encoded)
    }

    fn count(&self, error: &SubmitError) {
        let observations = &self.host.observations;
        match error {
            SubmitError::Full { .. } => observations.refused(Refused::Queue),
            SubmitError::Late { .. } => observations.refused(Refused::Deadline),
            SubmitError::Stopped => {}
        }
    }

    /// Refuses a request with these parameters, whose tensors have not been read yet, if it
    /// could not end in time. Under more load than the host can answer, most requests end
    /// here, and reading them all would leave no time to answer any.
    pub(crate) fn foresee(&self, parameters: &Parameters) -> Result<(), HttpError> {
        let module = &self.target.module;
        // What is wrong with the range is said by whoever reads the request.
        let Ok(range) = parameters.range(module.certificate()) else { return Ok(()) };
        let time = self.time(parameters);
        let foreseen = self.host.pool.foresee(module, &range, self.arrival.at + time, time);
        Ok(foreseen.inspect_err(|error| self.count(error))?)
    }

    /// The time that a request has, from its arrival on.
    fn time(&self, parameters: &Parameters) -> Duration {
        let limit = self.host.config.request_time;
        parameters.timeout().map_or(limit, |timeout| timeout.min(limit))
    }

    /// The job that the request asks for, checked against the certificate before
    /// it takes a place in the queue.
    fn job(&self, request: &mut Request) -> Result<Job, HttpError> {
        let module = self.target.module.clone();
        let range =
            request.parameters.range(module.certificate()).map_err(HttpError::bad_request)?;
        let stages = &module.certificate().stages;
        let inputs = request.take_inputs(&stages[*range.start() as usize].inputs);
        let inputs = inputs.map_err(HttpError::bad_request)?;
        let outputs = request.check_outputs(&stages[*range.end() as usize].outputs);
        outputs.map_err(HttpError::bad_request)?;
        let time = self.time(&request.parameters);
        Ok(Job { module, range, inputs, deadline: self.arrival.at + time, time })
    }
}
