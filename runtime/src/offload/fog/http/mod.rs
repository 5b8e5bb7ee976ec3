//! The fog host over HTTP/1.1: the Open Inference Protocol v2 with binary
//! tensors for inference, and our own paths for modules and probes.
//!
//! One connection is kept alive from call to call, with TCP_NODELAY. A call that runs
//! into its limit, or is ended, closes its connection, so that a late answer can never
//! be taken for the next one's.

mod line;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leeway_contract::Digest;
use leeway_protocol::client::error_message;
use leeway_protocol::device::DeviceReport;
use leeway_protocol::{ClientRequest, Encoded, HEADER_LENGTH};
use leeway_telemetry::{Exporter, TRACEPARENT, TRACERESPONSE};
// This part of ureq may change between minor versions; Cargo.lock pins it.
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector as _, NextTimeout, RustlsConnector};
use ureq::{Agent, Body, http};

use self::line::{Abortable, LineConnector};
use super::push;
use super::traced::Traced;
use super::{Abort, Fog, FogAccess, FogAnswer, FogError, InferRequest, Pushed, Traffic};
use crate::offload::estimate::FogTime;

/// What an exchange moves besides its bodies: request line, status line and
/// headers, about.
const HEADERS: Traffic = Traffic { up_bytes: 250, down_bytes: 150 };
/// The largest answer to anything but an inference.
pub(super) const SMALL_ANSWER_BYTES: u64 = 64 << 10;
/// The largest JSON header of an inference's answer.
const LARGEST_HEAD_BYTES: u64 = 64 << 10;

/// A URL that names no fog host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a fog host: {seen:?} (wanted {wanted})")]
pub struct HttpFogError {
    seen: String,
    wanted: &'static str,
}

/// A fog host that is reached over HTTP.
pub struct HttpFog {
    agent: Agent,
    base: String,
    authorization: Option<String>,
    names: Arc<NameCache>,
    traces: Option<Exporter>,
}

impl fmt::Debug for HttpFog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFog").field("base", &self.base).finish_non_exhaustive()
    }
}

impl HttpFog {
    /// The fog host at `base`, for example `http://192.0.2.7:8080`. Nothing is
    /// sent yet.
    pub fn new(base: &str) -> Result<Self, HttpFogError> {
        Self::with_access(base, &FogAccess::default())
    }

    /// The same of a host that knows its devices, and that they know: with an
    /// authority at `https://`, and nowhere else.
    pub fn with_access(base: &str, access: &FogAccess) -> Result<Self, HttpFogError> {
        let seen: String = base.chars().take(200).collect();
        let wanted = match access.wants_tls() {
            false => "http://HOST:PORT, or https://HOST:PORT with an authority",
            true => "https://HOST:PORT, as there is an authority or a certificate",
        };
        let error = || HttpFogError { seen: seen.clone(), wanted };
        let base = base.trim_end_matches('/').to_owned();
        let uri: http::Uri = base.parse().map_err(|_| error())?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let scheme = if access.wants_tls() { "https" } else { "http" };
        if uri.scheme_str() != Some(scheme) || uri.host().is_none() || path != "/" {
            return Err(error());
        }
        let names = Arc::new(NameCache::default());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .no_delay(true)
            // Below the fog host's own, which would close it under a request.
            .tls_config(access.tls())
            .max_idle_age(Duration::from_secs(60))
            .input_buffer_size(16 << 10)
            .output_buffer_size(16 << 10)
            .build();
        let resolver = CachingResolver(Arc::clone(&names));
        // TLS last, over the connection that the line has made.
        let connector = ().chain(LineConnector::default()).chain(RustlsConnector::default());
        let agent = Agent::with_parts(config, connector, resolver);
        Ok(Self { agent, base, authorization: access.authorization(), names, traces: None })
    }

    /// Has each inference that is asked for begin a trace, which the fog host goes on
    /// with.
    #[must_use]
    pub fn with_traces(self, exporter: Exporter) -> Self {
        Self { traces: Some(exporter), ..self }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Tells the fog host what happened on the device of this name.
    ///
    /// # Errors
    /// Where it did not take it within the time limit.
    pub fn report(
        &self,
        device: &str,
        report: &DeviceReport,
        limit: Duration,
    ) -> Result<Traffic, FogError> {
        let body = serde_json::to_vec(report).expect("a report has only string keys");
        let path = format!("/v1/devices/{device}/report");
        let response = self
            .prepare(self.agent.post(self.url(&path)), limit)
            .content_type("application/json")
            .send(&body[..])
            .map_err(|error| self.failed(error, limit))?;
        let answer = self.read(response, SMALL_ANSWER_BYTES, limit)?;
        Ok(traffic(body.len(), answer.len()))
    }

    /// Sorts what went wrong below HTTP.
    fn failed(&self, error: ureq::Error, limit: Duration) -> FogError {
        if Abortable::is_aborted() {
            return FogError::Aborted;
        }
        let timed_out = |kind| matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        match error {
            ureq::Error::Timeout(_) => FogError::TimedOut { limit },
            ureq::Error::Io(error) if timed_out(error.kind()) => FogError::TimedOut { limit },
            ureq::Error::Io(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                // The host may have moved: look its name up again.
                self.names.forget();
                FogError::Unreachable(error.to_string())
            }
            error => FogError::Malformed(error.to_string()),
        }
    }

    /// A request to a path, within a time, by whom this device says it is.
    fn prepare<T>(
        &self,
        request: ureq::RequestBuilder<T>,
        limit: Duration,
    ) -> ureq::RequestBuilder<T> {
        let request = request.config().timeout_global(Some(limit)).build();
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    pub(super) fn head(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<http::Response<Body>, FogError> {
        let request = self.prepare(self.agent.head(self.url(path)), limit);
        request.call().map_err(|error| self.failed(error, limit))
    }

    pub(super) fn put(
        &self,
        path: &str,
        range: Option<&str>,
        body: &[u8],
        limit: Duration,
    ) -> Result<http::Response<Body>, FogError> {
        let mut request = self.prepare(self.agent.put(self.url(path)), limit);
        if let Some(range) = range {
            request = request.header("Content-Range", range);
        }
        let sent = request.content_type("application/wasm").send(body);
        sent.map_err(|error| self.failed(error, limit))
    }

    /// What a host says that will not.
    pub(super) fn refusal(&self, response: http::Response<Body>, limit: Duration) -> FogError {
        let status = response.status().as_u16();
        let refused = || FogError::Refused { status, message: String::new() };
        self.read(response, 0, limit).map_or_else(|error| error, |_| refused())
    }

    pub(super) fn read(
        &self,
        mut response: http::Response<Body>,
        largest_bytes: u64,
        limit: Duration,
    ) -> Result<Vec<u8>, FogError> {
        let status = response.status();
        let refused = !status.is_success();
        let largest = if refused { SMALL_ANSWER_BYTES } else { largest_bytes };
        let body = response.body_mut().with_config().limit(largest).read_to_vec();
        if refused {
            let message = error_message(&body.unwrap_or_default());
            return Err(FogError::Refused { status: status.as_u16(), message });
        }
        body.map_err(|error| self.failed(error, limit))
    }

    /// One inference.
    fn exchange(
        &self,
        request: &InferRequest<'_>,
        limit: Duration,
        traced: Option<&mut Traced<'_>>,
    ) -> Result<FogAnswer, FogError> {
        let asked = ClientRequest {
            id: request.id,
            certificate: request.certificate,
            stages: request.stages.clone(),
            inputs: request.inputs,
            timeout: Some(limit),
        };
        let malformed =
            |what: &str, error: &dyn fmt::Display| FogError::Malformed(format!("{what}{error}"));
        let Encoded { body, head_bytes } =
            asked.encode().map_err(|error| malformed("not sent: ", &error))?;
        let path = format!("/v2/models/{}/infer", request.digest);
        let mut post = self
            .prepare(self.agent.post(self.url(&path)), limit)
            .header(HEADER_LENGTH, head_bytes.unwrap_or(body.len()).to_string())
            .content_type("application/octet-stream");
        if let Some(traced) = &traced {
            post = post.header(TRACEPARENT, traced.traceparent());
        }
        let response = post.send(&body[..]).map_err(|error| self.failed(error, limit))?;
        if let Some(traced) = traced {
            let by = response.headers().get(TRACERESPONSE);
            traced.answered_by(by.and_then(|value| value.to_str().ok()));
        }

        let head_bytes = response.headers().get(HEADER_LENGTH);
        let head_bytes = head_bytes
            .ok_or_else(|| FogError::Malformed(format!("it has no header {HEADER_LENGTH:?}")))
            .and_then(|value| {
                leeway_protocol::parse_head_bytes(value.as_bytes())
                    .map_err(|error| malformed("", &error))
            });
        let outputs = request.certificate.stages.get(*request.stages.end() as usize);
        let output_bytes = outputs.map_or(0, |stage| {
            stage.outputs.iter().filter_map(|spec| spec.size_bytes()).sum::<usize>() as u64
        });
        let answer = self.read(response, output_bytes + LARGEST_HEAD_BYTES, limit)?;
        let traffic = traffic(body.len(), answer.len());
        let response = asked.decode(&answer, head_bytes?).map_err(|error| malformed("", &error))?;
        let time =
            FogTime { compute: response.compute, queue: response.queue, fuel: response.fuel };
        let answer = FogAnswer { outputs: response.outputs, time, traffic };
        request.check(response.digest, response.id, &answer)?;
        Ok(answer)
    }
}

impl Fog for HttpFog {
    fn infer(&self, request: &InferRequest<'_>, limit: Duration) -> Result<FogAnswer, FogError> {
        self.infer_or_abort(request, limit, &Arc::default())
    }

    fn infer_or_abort(
        &self,
        request: &InferRequest<'_>,
        limit: Duration,
        abort: &Arc<Abort>,
    ) -> Result<FogAnswer, FogError> {
        let _abortable = Abortable::by(abort);
        let mut traced = Traced::begin(self.traces.as_ref());
        let result = self.exchange(request, limit, traced.as_mut());
        if let Some(traced) = traced {
            traced.end(request, &result);
        }
        result
    }

    fn probe(&self, limit: Duration) -> Result<Traffic, FogError> {
        let response = self
            .prepare(self.agent.get(self.url("/v2/health/live")), limit)
            .call()
            .map_err(|error| self.failed(error, limit))?;
        let body = self.read(response, SMALL_ANSWER_BYTES, limit)?;
        Ok(traffic(0, body.len()))
    }

    fn probe_throughput(&self, body_bytes: usize, limit: Duration) -> Result<Traffic, FogError> {
        // Not zeros: a link that compresses would look faster than it is.
        let body: Vec<u8> =
            (0..body_bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let response = self
            .prepare(self.agent.post(self.url("/v1/echo")), limit)
            .content_type("application/octet-stream")
            .send(&body[..])
            .map_err(|error| self.failed(error, limit))?;
        let answer = self.read(response, body_bytes as u64 + SMALL_ANSWER_BYTES, limit)?;
        Ok(traffic(body.len(), answer.len()))
    }

    fn push(&self, digest: Digest, component: &[u8], limit: Duration) -> Result<Pushed, FogError> {
        push::push(self, digest, component, limit)
    }
}

fn traffic(up: usize, down: usize) -> Traffic {
    Traffic { up_bytes: HEADERS.up_bytes + up as u64, down_bytes: HEADERS.down_bytes + down as u64 }
}

/// The addresses of the one host that is asked. Without it, a call with a time
/// limit looks the name up on a new thread, each time.
#[derive(Default)]
struct NameCache(Mutex<Option<ResolvedSocketAddrs>>);

impl NameCache {
    fn get(&self) -> Option<ResolvedSocketAddrs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, addresses: &ResolvedSocketAddrs) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses.clone());
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[derive(Clone)]
struct CachingResolver(Arc<NameCache>);

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachingResolver")
    }
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if let Some(addresses) = self.0.get() {
            return Ok(addresses);
        }
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        self.0.put(&addresses);
        Ok(addresses)
    }
}
