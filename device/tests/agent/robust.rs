//! What the agent lives through: no network, a full disk, a service manager that
//! watches it, clients that hang or have no token; and how little memory it takes.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::running::{Running, Start, TestModel, UNSIGNED, component, module, scaling};
use leeway_client::Client;
use leeway_contract::Digest;
use leeway_control::DeployRequest;
use leeway_control::desired::GoalState;

/// What the idle agent may take with two small models.
const MOST_RESIDENT: u64 = 40 << 20;

#[test]
fn without_a_network_it_serves_and_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Start { config: UNSIGNED, ..Start::default() };
    let running = Running::start(folder.path(), &plain);
    running.deploy(&module(2.0)).unwrap();
    running.kill();
    // Nobody is there: the port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let desired =
        format!("generation = 1\n[[model]]\nname = \"scaling\"\nsource = \"http://{free}\"\n");
    std::fs::write(folder.path().join("desired.toml"), desired).unwrap();
    let config = format!("desired = \"desired.toml\"\n{UNSIGNED}[fog]\nurl = \"http://{free}\"\n");
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    running.wait("an attempt fails", |running| {
        let goals = running.client.desired().unwrap().models;
        goals.get("scaling").is_some_and(|goal| goal.reason.is_some())
    });
    let goal = &running.client.desired().unwrap().models["scaling"];
    let reason = goal.reason.as_ref().unwrap();
    assert!(reason.contains(&free.to_string()), "{reason}");
    assert!(goal.state == GoalState::Waiting || goal.state == GoalState::Working, "{goal:?}");
    assert_eq!(running.answer(), 2.0);
    // A newer state takes its place at once: what is wanted is here.
    let digest = Digest::of(&module(2.0));
    let newer = format!("generation = 2\n[[model]]\nname = \"scaling\"\ndigest = \"{digest}\"\n");
    std::fs::write(folder.path().join("desired.toml"), newer).unwrap();
    running.signal("-HUP");
    running.wait("reached", |running| {
        let desired = running.client.desired().unwrap();
        desired.generation == Some(2) && desired.is_reached()
    });
}

#[test]
fn on_a_full_disk_it_serves_and_says_that_nothing_can_be_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Start { config: UNSIGNED, ..Start::default() };
    let running = Running::start(folder.path(), &plain);
    running.deploy(&module(2.0)).unwrap();
    assert_eq!(running.status().read_only, None);
    running.kill();
    // No disk has so much left free.
    let config = format!("{UNSIGNED}[store]\nreserve_mib = {}\n", 1u64 << 40);
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    let error = running.deploy(&module(3.0)).unwrap_err().to_string();
    assert!(error.contains("507") && error.contains("no room"), "{error}");
    let said = running.status().read_only.expect("it says so");
    assert!(said.contains("no room"), "{said}");
    assert_eq!(running.answer(), 2.0);
}

#[test]
fn a_restart_during_a_probation_keeps_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { config: UNSIGNED, ..Start::default() };
    let mut running = Running::start(folder.path(), &start);
    running.deploy(&module(2.0)).unwrap();
    (0..6).for_each(|_| assert_eq!(running.answer(), 2.0));
    let seen = |running: &Running| running.status().models["scaling"].probation.unwrap();
    assert_eq!(seen(&running).inferences, 6);
    running.signal("-TERM");
    assert!(running.child.wait().unwrap().success());
    drop(running);
    let running = Running::start(folder.path(), &start);
    assert_eq!(seen(&running).inferences, 6);
    assert_eq!(running.status().models["scaling"].slots.starts, 1);
}

fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("the service manager is told");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn the_service_manager_hears_of_readiness_life_reload_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let start = Start { config: UNSIGNED, environment: &environment };
    let running = Running::start(folder.path(), &start);
    assert!(told(&manager).starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(told(&manager), "WATCHDOG=1");
    }
    let wait = |wanted: &str| {
        loop {
            match told(&manager) {
                life if life == "WATCHDOG=1" => {}
                other => break assert!(other.starts_with(wanted), "{wanted}: {other}"),
            }
        }
    };
    running.signal("-HUP");
    wait("RELOADING=1\nMONOTONIC_USEC=");
    wait("READY=1");
    running.signal("-TERM");
    wait("STOPPING=1");
}

#[test]
fn over_tcp_only_who_has_the_token_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a token of 24 characters\n").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!("{UNSIGNED}[tcp]\nlisten = \"{free}\"\ntoken_file = \"token\"\n");
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    running.deploy(&module(2.0)).unwrap();
    let client = |token: Option<&str>| {
        Client::new(&format!("http://{free}"), token.map(str::to_owned)).unwrap()
    };
    running.wait("it listens", |_| std::net::TcpStream::connect(free).is_ok());
    for token in [None, Some("a token of 24 charactert"), Some("")] {
        let error = client(token).status().unwrap_err().to_string();
        assert!(error.contains("401"), "{token:?}: {error}");
        let error = client(token).apply("generation = 1\n", false).unwrap_err().to_string();
        assert!(error.contains("401"), "{token:?}: {error}");
    }
    let status = client(Some("a token of 24 characters")).status().unwrap();
    assert!(status.models.contains_key("scaling"));
}

/// A place that sends a byte now and then, for ever.
fn dripping() -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        // It has the module, and no signature of it.
        let mut stream = loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            if !String::from_utf8_lossy(&request[..length]).contains("/signature") {
                break stream;
            }
            let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(none).unwrap();
        };
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    (address, thread)
}

#[test]
fn a_deployment_that_is_under_way_can_be_cancelled_and_blocks_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &Start { config: UNSIGNED, ..Start::default() });
    let (address, dripping) = dripping();
    let digest = Digest::of(b"what never comes");
    assert!(running.client.cancel(digest).unwrap_err().to_string().contains("404"));
    let source = Some(format!("http://{address}"));
    let request = DeployRequest { source, ..DeployRequest::new(digest) };
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| running.deploy_sent(&request).unwrap_err().to_string());
        running.wait("it begins", |running| running.status().store_bytes.unwrap_or(0) > 10);
        running.deploy(&module(2.0)).unwrap();
        assert_eq!(running.answer(), 2.0);
        assert_eq!(running.client.cancel(digest).unwrap(), 1);
        let error = slow.join().unwrap();
        assert!(error.contains("fetch") && error.contains("superseded"), "{error}");
    });
    dripping.join().unwrap();
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}

#[test]
fn idle_with_two_small_models_it_takes_less_than_40_mb() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { config: UNSIGNED, ..Start::default() };
    let running = Running::start(folder.path(), &start);
    running.deploy(&module(2.0)).unwrap();
    let other = TestModel { name: "other".into(), ..scaling(3.0) };
    running.deploy(&component(&other)).unwrap();
    assert_eq!(running.answer(), 2.0);
    // As it is after a start: compiling took memory once.
    running.kill();
    let running = Running::start(folder.path(), &start);
    assert_eq!(running.answer(), 2.0);
    assert_eq!(running.status().models.len(), 2);
    let resident = resident(running.child.id());
    assert!(resident < MOST_RESIDENT, "{resident} bytes");
}
