//! A real [`HttpFog`] against a server on a loopback port that misbehaves in
//! every way there is. Every input must be answered all the same.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel, Tensor};

use super::certificate;
use crate::offload::clock::MonotonicClock;
use crate::offload::fog::{Abort, Fog, FogError, HttpFog, InferRequest, Pushed};
use crate::offload::local::{Local, LocalError, LocalRun};
use crate::offload::policy::{AllFog, Threshold};
use crate::offload::record::Outcome;
use crate::offload::{Due, Offloader, Options, ProbeRule, Task, TaskId, WaitRule};

/// How the server answers an inference.
#[derive(Clone, Debug)]
enum Fault {
    /// Correctly.
    None,
    /// It reads the request and says nothing more.
    Hang,
    /// One byte of a correct answer every 30 ms.
    Dribble,
    /// It closes the connection instead of answering.
    Close,
    /// It closes the connection in the middle of the body.
    Truncate,
    /// Bytes that are not HTTP.
    Garbage,
    /// A correct HTTP response with this body and header length.
    Body(&'static [u8], usize),
    /// An error status.
    Status(u16),
    /// A correct answer to another request.
    OtherRequest,
    /// A correct answer by another module.
    OtherDigest,
    /// Three elements instead of four.
    WrongShape,
    /// A shape of four elements and the data of three.
    ShortData,
    /// More bytes than the answer has.
    ExtraBytes,
    /// Another fuel than certified.
    WrongFuel,
    /// Another name of the output.
    WrongName,
    /// No length of the JSON part.
    NoHeaderLength,
    /// A redirect to itself.
    Redirect,
    /// A body that never ends.
    Endless,
}

struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|&n| n > 0)?;
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).ok().filter(|&n| n > 0)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut request = Self { line: line.trim_end().to_owned(), headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A server with one fault at a time. Its threads end with their connections.
struct Server {
    url: String,
    fault: Arc<Mutex<Fault>>,
    connections: Arc<AtomicUsize>,
    modules: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            url,
            fault: Arc::new(Mutex::new(fault)),
            connections: Arc::default(),
            modules: Arc::default(),
        };
        let (fault, connections, modules) =
            (server.fault.clone(), server.connections.clone(), server.modules.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (fault, modules) = (fault.clone(), modules.clone());
                std::thread::spawn(move || serve(stream, &fault, &modules));
            }
        });
        server
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

fn respond(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).ok()
}

fn serve(stream: TcpStream, fault: &Mutex<Fault>, modules: &Mutex<Vec<String>>) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader) {
        let mut words = request.line.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let module = path.rsplit('/').next()?.to_owned();
        match method {
            "GET" => respond(&mut out, 200, "", b"{\"live\":true}")?,
            "POST" if path == "/v1/echo" => respond(&mut out, 200, "", &request.body)?,
            "HEAD" => {
                let has = modules.lock().unwrap().contains(&module);
                let status = if has { 200 } else { 404 };
                write!(out, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").ok()?;
            }
            "PUT" => {
                modules.lock().unwrap().push(module);
                respond(&mut out, 201, "", b"")?;
            }
            _ => {
                let fault = fault.lock().unwrap().clone();
                infer(&mut out, &request, &fault)?;
            }
        }
    }
    Some(())
}

/// Answers an inference; `None` closes the connection.
fn infer(out: &mut TcpStream, request: &Request, fault: &Fault) -> Option<()> {
    let head_bytes: usize = request.header("inference-header-content-length")?.parse().ok()?;
    let (head, data) = request.body.split_at(head_bytes);
    let head: serde_json::Value = serde_json::from_slice(head).ok()?;
    assert_eq!(head["parameters"]["binary_data_output"], true);
    assert_eq!(head["parameters"]["first_stage"], 0);
    assert_eq!(head["parameters"]["last_stage"], 0);
    assert_eq!(head["inputs"][0]["name"], "x");
    assert_eq!(head["inputs"][0]["datatype"], "FP32");
    assert_eq!(head["inputs"][0]["shape"], serde_json::json!([1, 4]));
    assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], data.len());

    let asked = request.line.split('/').nth(3)?;
    let other = Digest::of(b"other").to_string();
    let (elements, bytes) = match fault {
        Fault::WrongShape => (3, 12),
        Fault::ShortData => (4, 12),
        _ => (4, 16),
    };
    let answer = serde_json::json!({
        "model_name": asked,
        "id": if matches!(fault, Fault::OtherRequest) { "12345".into() } else { head["id"].clone() },
        "outputs": [{
            "name": if matches!(fault, Fault::WrongName) { "z" } else { "y" },
            "shape": [1, elements],
            "datatype": "FP32",
            "parameters": { "binary_data_size": bytes },
        }],
        "parameters": {
            "compute_ns": 1_000,
            "queue_ns": 10,
            "fuel": if matches!(fault, Fault::WrongFuel) { 999 } else { 1_000 },
            "digest": if matches!(fault, Fault::OtherDigest) { &other } else { asked },
        },
    });
    let answer = serde_json::to_vec(&answer).unwrap();
    let length = format!("Inference-Header-Content-Length: {}\r\n", answer.len());
    let mut body = answer;
    body.extend_from_slice(&data[..bytes]);
    if matches!(fault, Fault::ExtraBytes) {
        body.push(0);
    }
    match fault {
        Fault::Hang => {
            std::thread::sleep(Duration::from_secs(5));
            None
        }
        Fault::Dribble => {
            write!(out, "HTTP/1.1 200 X\r\ncontent-length: {}\r\n{length}\r\n", body.len()).ok()?;
            for byte in body {
                out.write_all(&[byte]).ok()?;
                std::thread::sleep(Duration::from_millis(30));
            }
            Some(())
        }
        Fault::Close => None,
        Fault::Truncate => {
            write!(out, "HTTP/1.1 200 X\r\ncontent-length: {}\r\n{length}\r\n", body.len()).ok()?;
            out.write_all(&body[..body.len() - 8]).ok()?;
            None
        }
        Fault::Garbage => {
            out.write_all(b"\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n")
                .ok()?;
            None
        }
        Fault::Body(body, head_bytes) => {
            let length = format!("Inference-Header-Content-Length: {head_bytes}\r\n");
            respond(out, 200, &length, body)
        }
        Fault::Status(status) => respond(out, *status, "", b"{\"error\":\"not today\"}"),
        Fault::NoHeaderLength => respond(out, 200, "", &body),
        Fault::Redirect => respond(out, 307, "location: /v2/models/elsewhere/infer\r\n", b""),
        Fault::Endless => {
            write!(out, "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n{length}\r\n").ok()?;
            loop {
                out.write_all(b"400\r\n").ok()?;
                out.write_all(&[b' '; 0x400]).ok()?;
                out.write_all(b"\r\n").ok()?;
            }
        }
        _ => respond(out, 200, &length, &body),
    }
}

/// Answers at once on the device, with its input.
struct Echo(Certificate);

impl Local for Echo {
    fn digest(&self) -> Digest {
        Digest::of(b"module")
    }

    fn certificate(&self) -> &Certificate {
        &self.0
    }

    fn run(&mut self, _: RangeInclusive<u32>, inputs: &[Tensor]) -> Result<LocalRun, LocalError> {
        let elapsed = Duration::from_micros(10);
        Ok(LocalRun { outputs: inputs.to_vec(), fuel: Fuel(1_000), elapsed })
    }
}

const WAIT: Duration = Duration::from_millis(300);

fn options() -> Options {
    Options {
        wait: WaitRule::Estimate { factor: 4, floor: WAIT, ceiling: WAIT },
        probe: ProbeRule { limit: WAIT, ..ProbeRule::default() },
    }
}

fn task() -> Task {
    Task {
        name: "t".into(),
        local: Box::new(Echo(certificate())),
        wcet: Duration::from_secs(1),
        watch: None,
        deadline: None,
        component: Some(Arc::from(&b"component"[..])),
    }
}

fn all_fog(url: &str) -> (Offloader, TaskId) {
    let fog = Arc::new(HttpFog::new(url).unwrap());
    let clock = Arc::new(MonotonicClock::new());
    let mut offloader = Offloader::new(Box::new(AllFog), fog, clock, options());
    let task = offloader.add(task());
    (offloader, task)
}

/// Sends one input; returns where it was answered and the kind of failure.
fn ask(offloader: &mut Offloader, task: TaskId, value: f32) -> (Outcome, Option<String>) {
    let input = [Tensor::from_f32(&[1, 4], &[value; 4])];
    let answer = offloader.infer(task, &input, None).expect("no input is lost");
    assert_eq!(answer.outputs, input, "the answer to another input");
    assert_eq!(answer.record.fuel, Fuel(1_000));
    (answer.record.outcome, answer.record.fog_failure.map(|f| f.kind))
}

#[test]
fn every_input_is_answered_whatever_the_fog_host_does() {
    let faults = [
        (Fault::Hang, "timed-out"),
        (Fault::Dribble, "timed-out"),
        (Fault::Close, "unreachable"),
        (Fault::Truncate, "unreachable"),
        (Fault::Garbage, "malformed"),
        (Fault::Body(b"", 0), "malformed"),
        (Fault::Body(b"{}", 2), "malformed"),
        (Fault::Body(b"{\"outputs\":[]}", usize::MAX), "malformed"),
        (Fault::Body(b"\xff\xfe\xfd", 3), "malformed"),
        (Fault::Status(404), "refused"),
        (Fault::Status(503), "refused"),
        (Fault::Redirect, "refused"),
        (Fault::OtherRequest, "other-request"),
        (Fault::OtherDigest, "other-module"),
        (Fault::WrongShape, "other-outputs"),
        (Fault::ShortData, "other-outputs"),
        (Fault::ExtraBytes, "malformed"),
        (Fault::WrongFuel, "other-fuel"),
        (Fault::WrongName, "malformed"),
        (Fault::NoHeaderLength, "malformed"),
        (Fault::Endless, "malformed"),
    ];
    let server = Server::start(Fault::None);
    let (mut offloader, task) = all_fog(&server.url);
    for (fault, kind) in faults {
        server.set(Fault::None);
        assert_eq!(ask(&mut offloader, task, 1.0), (Outcome::Fog, None), "before {fault:?}");
        server.set(fault.clone());
        let seen = ask(&mut offloader, task, 2.0);
        assert_eq!(seen, (Outcome::Fallback, Some(kind.to_owned())), "{fault:?}");
        // What it left behind is never taken for the next answer.
        server.set(Fault::None);
        assert_eq!(ask(&mut offloader, task, 3.0), (Outcome::Fog, None), "after {fault:?}");
    }
}

#[test]
fn a_refusal_is_told_in_the_fog_hosts_own_words() {
    let server = Server::start(Fault::Status(429));
    let fog = HttpFog::new(&server.url).unwrap();
    let certificate = certificate();
    let request = InferRequest {
        id: 1,
        digest: Digest::of(b"module"),
        certificate: &certificate,
        stages: 0..=0,
        inputs: &[Tensor::from_f32(&[1, 4], &[0.0; 4])],
    };
    let error = fog.infer(&request, WAIT).unwrap_err();
    assert_eq!(error, FogError::Refused { status: 429, message: "not today".into() });
}

#[test]
fn nobody_listening_is_unreachable_and_answered_locally() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (mut offloader, task) = all_fog(&url);
    for _ in 0..5 {
        let seen = ask(&mut offloader, task, 1.0);
        assert_eq!(seen, (Outcome::Fallback, Some("unreachable".into())));
    }
}

#[test]
fn one_connection_serves_all_exchanges() {
    let server = Server::start(Fault::None);
    let (mut offloader, task) = all_fog(&server.url);
    let mut prober = offloader.prober();
    prober.catch_up(10);
    for i in 0..50 {
        assert_eq!(ask(&mut offloader, task, i as f32), (Outcome::Fog, None));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_module_is_pushed_once() {
    let server = Server::start(Fault::None);
    let fog = HttpFog::new(&server.url).unwrap();
    let digest = Digest::of(b"component");
    assert_eq!(fog.push(digest, b"component", WAIT), Ok(Pushed::Sent));
    assert_eq!(fog.push(digest, b"component", WAIT), Ok(Pushed::AlreadyThere));
    assert_eq!(*server.modules.lock().unwrap(), [digest.to_string()]);
}

#[test]
fn the_probers_thread_brings_the_threshold_policy_to_the_fog() {
    let server = Server::start(Fault::None);
    let fog = Arc::new(HttpFog::new(&server.url).unwrap());
    let clock = Arc::new(MonotonicClock::new());
    let mut offloader = Offloader::new(Box::new(Threshold::default()), fog, clock, options());
    let task = offloader.add(task());
    assert_eq!(ask(&mut offloader, task, 1.0), (Outcome::Local, None));
    let thread = offloader.prober().spawn(Duration::from_millis(5)).unwrap();
    let offloaded = (0..2_000).any(|i| {
        std::thread::sleep(Duration::from_millis(5));
        let offloaded = ask(&mut offloader, task, i as f32).0 == Outcome::Fog;
        offloaded && offloader.inspect(|beliefs| beliefs.link().knows_throughput())
    });
    assert!(offloaded);
    drop(thread);
    // A task that comes later, as another version does, finds what is known.
    let mut beside = offloader.beside(Box::new(Threshold::default()));
    let later = beside.add(self::task());
    assert_eq!(ask(&mut beside, later, 1.0).0, Outcome::Fog);
}

#[test]
fn probes_measure_what_they_move() {
    let server = Server::start(Fault::None);
    let fog = HttpFog::new(&server.url).unwrap();
    let small = fog.probe(WAIT).unwrap();
    let large = fog.probe_throughput(10_000, WAIT).unwrap();
    assert!(small.up_bytes < 1_000 && small.down_bytes < 1_000);
    assert!(large.up_bytes >= 10_000 && large.down_bytes >= 10_000, "the echo comes back");
    let (mut offloader, _) = all_fog(&server.url);
    let _ = &mut offloader;
    let due: Vec<Due> = offloader.prober().catch_up(2).iter().map(|p| p.due).collect();
    assert_eq!(due, [Due::Connect, Due::Probe]);
}

#[test]
fn urls_that_name_no_fog_host_are_refused() {
    for url in ["", "192.0.2.7:80", "https://host", "ftp://host", "http://host/path", "http://"] {
        let error = HttpFog::new(url).unwrap_err();
        assert!(error.to_string().contains(&format!("{url:?}")), "{error}");
    }
    assert!(HttpFog::new("http://host:8080/").is_ok());
}

#[test]
fn an_exchange_that_is_ended_returns_at_once_and_its_connection_is_closed() {
    let server = Server::start(Fault::None);
    let fog = HttpFog::new(&server.url).unwrap();
    let certificate = certificate();
    let inputs = [Tensor::from_f32(&[1, 4], &[0.0; 4])];
    let request = InferRequest {
        id: 1,
        digest: Digest::of(b"module"),
        certificate: &certificate,
        stages: 0..=0,
        inputs: &inputs,
    };
    // On a connection that has been used before, and on a new one.
    for fault in [Fault::Hang, Fault::Dribble, Fault::Hang] {
        server.set(Fault::None);
        assert!(fog.infer(&request, WAIT).is_ok());
        let before = server.connections.load(Ordering::SeqCst);
        server.set(fault);
        let abort = Arc::new(Abort::default());
        let (result, waited) = std::thread::scope(|scope| {
            let exchange = scope.spawn(|| {
                let start = std::time::Instant::now();
                // The limit is longer than any test.
                let result = fog.infer_or_abort(&request, Duration::from_secs(600), &abort);
                (result, start.elapsed())
            });
            std::thread::sleep(Duration::from_millis(40));
            abort.abort();
            exchange.join().unwrap()
        });
        assert_eq!(result, Err(FogError::Aborted));
        assert!(waited < Duration::from_secs(5), "less than the server sleeps: {waited:?}");
        // What comes after it needs a connection of its own.
        server.set(Fault::None);
        assert!(fog.infer(&request, WAIT).is_ok());
        assert_eq!(server.connections.load(Ordering::SeqCst), before + 1);
    }
    // One that is ended before it begins asks nobody; one that is over is not touched.
    let abort = Arc::new(Abort::default());
    abort.abort();
    assert_eq!(fog.infer_or_abort(&request, WAIT, &abort), Err(FogError::Aborted));
    let abort = Arc::new(Abort::default());
    assert!(fog.infer_or_abort(&request, WAIT, &abort).is_ok());
    let before = server.connections.load(Ordering::SeqCst);
    abort.abort();
    assert!(fog.infer(&request, WAIT).is_ok());
    assert_eq!(server.connections.load(Ordering::SeqCst), before);
}
