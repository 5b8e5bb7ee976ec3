//! Operating a device: modules are sent and deployed, versions returned to.

use std::io::{BufRead as _, BufReader, Cursor, Read, Seek, SeekFrom};
use std::time::Duration;

use http::Method;
use leeway_contract::Digest;
use leeway_control::desired::DesiredStatus;
use leeway_control::messages::{Cancelled, Reason, Sent};
use leeway_control::{DeployEvent, DeployRequest, Deployed, Rolled, Status, Step};
use ureq::SendBody;

use super::{Client, ClientError};

/// How often in a row a transfer may break without getting further.
const ATTEMPTS: u32 = 5;

impl Client {
    /// How the device is.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// Sends a module, or what is missing of it.
    pub fn send(&self, module: &[u8]) -> Result<Digest, ClientError> {
        let digest = Digest::of(module);
        self.send_from(digest, &mut Cursor::new(module), &mut |_, _| ())?;
        Ok(digest)
    }

    /// Sends a module of this digest, or what is missing of it. `progress` hears how
    /// many bytes the device has, of how many. Where the connection breaks, the
    /// transfer is taken up again where it broke.
    pub fn send_from(
        &self,
        digest: Digest,
        module: &mut (impl Read + Seek),
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        let total = module.seek(SeekFrom::End(0)).map_err(ClientError::Source)?;
        let (mut attempt, mut furthest) = (0, 0);
        loop {
            let error = match self.send_rest(digest, module, total, progress, &mut furthest) {
                Ok(()) => return Ok(()),
                Err(Interrupted { error, further }) => {
                    attempt = if further { 1 } else { attempt + 1 };
                    error
                }
            };
            if !error.is_unreachable() || attempt >= ATTEMPTS {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100 << attempt));
        }
    }

    fn send_rest(
        &self,
        digest: Digest,
        module: &mut (impl Read + Seek),
        total: u64,
        progress: &mut dyn FnMut(u64, u64),
        furthest: &mut u64,
    ) -> Result<(), Interrupted> {
        let sent = self.get(&format!("/v1/modules/{digest}"));
        let sent: Sent = sent.map_err(|error| Interrupted { error, further: false })?;
        let further = sent.bytes > *furthest;
        *furthest = sent.bytes.max(*furthest);
        if sent.whole {
            progress(total, total);
            return Ok(());
        }
        let from = sent.bytes.min(total);
        let result = match self.put(digest, module, from, total, progress) {
            // What had come before was spoilt: all of it again.
            Err(ClientError::Status { status: 400, .. }) if from > 0 => {
                self.put(digest, module, 0, total, progress)
            }
            result => result,
        };
        result.map_err(|error| Interrupted { error, further })
    }

    fn put(
        &self,
        digest: Digest,
        module: &mut (impl Read + Seek),
        from: u64,
        total: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        module.seek(SeekFrom::Start(from)).map_err(ClientError::Source)?;
        let mut watched = Watched { module, at: from, total, progress };
        let path = format!("/v1/modules/{digest}?from={from}");
        let builder = self
            .builder(Method::PUT, &path)
            .header("content-type", "application/wasm")
            .header("content-length", total - from);
        self.exchange(builder, SendBody::from_reader(&mut watched)).map(drop)
    }

    /// Deploys a module that was sent. `progress` hears of each step.
    pub fn deploy(
        &self,
        request: &DeployRequest,
        mut progress: impl FnMut(&DeployEvent),
    ) -> Result<Deployed, ClientError> {
        let response = self.send_json(Method::POST, "/v1/deployments", request)?;
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.map_err(|error| ClientError::Transport(Box::new(error.into())))?;
            let event: DeployEvent = serde_json::from_str(&line)
                .map_err(|error| ClientError::Answer(format!("{error}: {line}")))?;
            progress(&event);
            match event {
                DeployEvent::Deployed(deployed) => return Ok(deployed),
                DeployEvent::Refused(refused) => return Err(ClientError::Refused(refused)),
                DeployEvent::Progress(_) => {}
            }
        }
        Err(ClientError::Answer("it ended before the deployment did".into()))
    }

    /// Deploys a module with one of several signatures, each the text of a signature's
    /// file: the device is asked with one after the other until it believes one.
    pub fn deploy_signed(
        &self,
        request: &DeployRequest,
        signatures: &[String],
        mut progress: impl FnMut(&DeployEvent),
    ) -> Result<Deployed, ClientError> {
        let mut left = signatures.iter().cloned().peekable();
        loop {
            let request = DeployRequest { signature: left.next(), ..request.clone() };
            match self.deploy(&request, &mut progress) {
                Err(ClientError::Refused(refused))
                    if refused.step == Step::Signature && left.peek().is_some() => {}
                result => return result,
            }
        }
    }

    /// Asks the deployments of a module to stop. Returns how many there were.
    pub fn cancel(&self, digest: Digest) -> Result<usize, ClientError> {
        let path = format!("/v1/deployments/{digest}");
        Ok(self.ask::<Cancelled>(Method::DELETE, &path, ())?.deployments)
    }

    /// The device shall be this: the text of a desired state. `force`: also where its
    /// generation is not higher than that of the one that holds.
    pub fn apply(&self, desired: &str, force: bool) -> Result<DesiredStatus, ClientError> {
        self.ask(Method::PUT, &format!("/v1/desired?force={force}"), desired)
    }

    /// How far the device is with what it shall be.
    pub fn desired(&self) -> Result<DesiredStatus, ClientError> {
        self.get("/v1/desired")
    }

    /// Returns to the version before.
    pub fn roll_back(&self, model: &str, reason: Option<String>) -> Result<Rolled, ClientError> {
        self.post(&format!("/v1/models/{model}/rollback"), &Reason { reason })
    }

    /// Pins what is active, or unpins it.
    pub fn pin(
        &self,
        model: &str,
        pinned: bool,
        reason: Option<String>,
    ) -> Result<Status, ClientError> {
        let verb = if pinned { "pin" } else { "unpin" };
        self.post(&format!("/v1/models/{model}/{verb}"), &Reason { reason })
    }
}

/// A transfer that broke.
struct Interrupted {
    error: ClientError,
    /// Whether more had arrived than the time before.
    further: bool,
}

/// Tells how much of a module was read.
struct Watched<'a, R> {
    module: &'a mut R,
    at: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.module.read(buffer)?;
        self.at += bytes as u64;
        (self.progress)(self.at, self.total);
        Ok(bytes)
    }
}
