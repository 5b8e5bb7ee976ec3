//! A fog host that is slow, through the agent's process: the device answers in its
//! place, and what would have come too late is counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leeway_contract::Digest;
use leeway_control::streams::StreamCounts;
use leeway_fog_host::{FogConfig, Running as FogHost};

use super::running::testing::Behaviour;
use super::running::{Running, TestModel, component};
use super::streams::{agent, ask, deploy, with_streams};

/// How a request begins.
const METHODS: [&str; 4] = ["GET ", "HEAD ", "POST ", "PUT "];

/// What is between the device and its fog host: it carries probes at once, and answers to
/// inferences as long as it does not hold them back.
struct Between {
    address: SocketAddr,
    holds: Arc<AtomicBool>,
}

impl Between {
    fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, holds) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
        let (to, held) = (to.trim_start_matches("http://").to_owned(), Arc::clone(&holds));
        std::thread::spawn(move || {
            for device in listener.incoming() {
                let (Ok(device), Ok(host)) = (device, TcpStream::connect(&to)) else { return };
                carry(device, host, Arc::clone(&held));
            }
        });
        Self { address, holds }
    }
}

/// Carries what comes on one connection, on two threads that end with it.
fn carry(device: TcpStream, host: TcpStream, holds: Arc<AtomicBool>) {
    let (infers, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let pair = (device.try_clone().unwrap(), host.try_clone().unwrap());
    let (asks, gone) = (Arc::clone(&infers), Arc::clone(&over));
    let (mut from_device, mut to_host) = (device, host);
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(count @ 1..) = from_device.read(&mut buffer) {
            let head = String::from_utf8_lossy(&buffer[..count.min(200)]).into_owned();
            // A request may come in pieces, of which the first says what it is.
            if METHODS.iter().any(|method| head.starts_with(method)) {
                asks.store(head.starts_with("POST /v2/models/"), Ordering::Relaxed);
            }
            if to_host.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        gone.store(true, Ordering::Relaxed);
        to_host.shutdown(std::net::Shutdown::Both).ok();
    });
    std::thread::spawn(move || {
        let (mut to_device, mut from_host) = pair;
        let mut buffer = [0; 1 << 16];
        while let Ok(count @ 1..) = from_host.read(&mut buffer) {
            let hold = || infers.load(Ordering::Relaxed) && holds.load(Ordering::Relaxed);
            while hold() && !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if to_device.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        to_device.shutdown(std::net::Shutdown::Both).ok();
    });
}

fn counts(running: &Running) -> StreamCounts {
    running.status().streams["camera"].counts
}

/// Asks until the counts are so; each answer is the model's.
fn ask_until(running: &Running, what: &str, until: impl Fn(StreamCounts) -> bool) -> u64 {
    for asked in 1..=30 {
        let answer = ask(running, None).unwrap();
        assert_eq!(answer.outputs[0].tensor, TestModel::input([1.0; 4])[0]);
        let decision = answer.decision.unwrap();
        let (latency, deadline) = (&decision["latency_ns"], &decision["deadline_ns"]);
        assert!(latency.as_u64() <= deadline.as_u64(), "{decision}");
        if until(counts(running)) {
            return asked;
        }
    }
    panic!("{what}: it does not come to that: {:?}, {}", counts(running), running.log());
}

#[test]
fn a_slow_fog_host_is_compensated_for_and_its_late_answers_are_counted() {
    let host = FogHost::start(FogConfig::default()).unwrap();
    // It takes so long that the link is worth a try.
    let model = TestModel::behaving(Behaviour::Busy(30_000_000));
    let module = component(&TestModel { name: "scaling".into(), ..model });
    let url = format!("{}/v1/modules/{}", host.url(), Digest::of(&module));
    ureq::put(url).send(&module[..]).unwrap();
    let between = Between::start(&host.url());
    let folder = tempfile::tempdir().unwrap();
    let running = agent(
        folder.path(),
        // A machine busy with other tests stops nothing.
        &format!(
            "[fog]\nurl = \"http://{}\"\n[offload]\npolicy = \"threshold\"\n\
             [executor]\ntolerance_us = 500000\n",
            between.address
        ),
    );
    deploy(&running, &module, with_streams(&["camera"], 1_500.0)).unwrap();
    running.wait("a probe has come through", |running| {
        running.status().conditions.fog.is_some_and(|fog| fog.link == "up")
    });

    let slow = ask_until(&running, "the device answers", |counts| counts.compensated == 3);
    running.wait("the last exchange has ended", |running| counts(running).late == 3);
    let seen = counts(&running);
    let StreamCounts { arrived, by_device, by_fog, offloaded, missed, failed, wrong, .. } = seen;
    assert_eq!((arrived, by_device, by_fog, offloaded), (slow, slow, 0, 3), "{seen:?}");
    assert_eq!((missed, failed, wrong), (0, 0, 0), "{seen:?}");

    // Once it is not slow any more, it answers, with the same bits.
    between.holds.store(false, Ordering::Relaxed);
    let more = ask_until(&running, "the fog host answers", |counts| counts.by_fog == 1);
    let seen = counts(&running);
    assert_eq!((seen.arrived, seen.by_device), (slow + more, slow + more - 1), "{seen:?}");
    assert_eq!((seen.missed, seen.failed, seen.wrong), (0, 0, 0), "{seen:?}");
}
