//! The agent and a real broker, Debian's mosquitto: ignored by default, `.ci/run` runs
//! these.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leeway_contract::Digest;
use leeway_control::report::{DesiredReply, DeviceEvent};
use leeway_control::slots::Event as Happened;
use leeway_control::{Status, Step};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};
use tempfile::TempDir;

use crate::running::{Running, Start, UNSIGNED, component, module, scaling};

/// A broker in a process of its own.
struct Broker {
    folder: TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl Broker {
    /// A place for one: nobody listens there yet.
    fn place() -> Self {
        Self::at("127.0.0.1:0")
    }

    fn at(address: &str) -> Self {
        let address = TcpListener::bind(address).unwrap().local_addr().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), address, process: None }
    }

    fn start(&mut self, settings: &str) {
        let config = self.folder.path().join("mosquitto.conf");
        let (port, ip) = (self.address.port(), self.address.ip());
        let text = format!("user root\nlistener {port} {ip}\n{settings}");
        fs::write(&config, text).unwrap();
        // Debian has it where not everybody looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut command = Command::new("mosquitto");
        command.env("PATH", path);
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("mosquitto is needed (Debian: apt install mosquitto)");
        self.process = Some(process);
        let listens = || TcpStream::connect(self.address).is_ok();
        eventually("the broker listens", || listens().then_some(()));
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    fn started() -> Self {
        let mut broker = Self::place();
        broker.start("allow_anonymous true\n");
        broker
    }

    /// Somebody who hears all that is said of the device, and may speak.
    fn operator(&self) -> Operator {
        let mut options = MqttOptions::new("operator", "127.0.0.1", self.address.port());
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut connection) = Client::new(options, 16);
        client.subscribe("plant/line-3/#", QoS::AtLeastOnce).unwrap();
        let heard = Heard::default();
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            for event in connection.iter() {
                let Ok(Event::Incoming(Packet::Publish(publish))) = event else {
                    if event.is_err() {
                        break;
                    }
                    continue;
                };
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                let topic = topic.strip_prefix("plant/line-3/").unwrap().to_owned();
                hearing.lock().unwrap().push((topic, publish.payload.to_vec()));
            }
        });
        Operator { client, heard }
    }

    fn settings(&self) -> String {
        let address = self.address;
        format!(
            "{UNSIGNED}[mqtt]\nurl = \"mqtt://{address}\"\ndevice = \"line-3\"\nprefix = \"plant\"\n"
        )
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "{what}: it does not come to that");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Topics below the device's, and what was said on them.
type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

struct Operator {
    client: Client,
    heard: Heard,
}

impl Operator {
    fn want(&self, text: &str) {
        let topic = "plant/line-3/desired";
        self.client.publish(topic, QoS::AtLeastOnce, true, text.to_owned()).unwrap();
    }

    /// All that was said on a topic.
    fn said(&self, topic: &str) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(seen, _)| seen == topic).map(|(_, text)| text.clone()).collect()
    }

    fn last(&self, topic: &str) -> Option<Vec<u8>> {
        self.said(topic).pop()
    }

    fn wait_online(&self, wanted: &str) {
        eventually(&format!("online is {wanted}"), || {
            (self.last("online").as_deref() == Some(wanted.as_bytes())).then_some(())
        });
    }

    fn wait_active(&self, digest: Digest) {
        eventually("the status tells of the version", || {
            let status: Status = serde_json::from_slice(&self.last("status")?).unwrap();
            let active = status.models.get("scaling")?.slots.active.as_ref()?.digest;
            (active == digest).then_some(())
        });
    }

    fn events(&self) -> Vec<DeviceEvent> {
        let said = self.said("events");
        said.iter().map(|text| serde_json::from_slice(text).unwrap()).collect()
    }

    /// The answer to the desired state of this number.
    fn reply(&self, number: usize) -> DesiredReply {
        let text = eventually("it is answered", || self.said("desired/reply").get(number).cloned());
        serde_json::from_slice(&text).unwrap()
    }
}

/// A desired state with the model from a file.
fn desired(generation: u64, source: &Path) -> String {
    let source = source.display();
    format!("generation = {generation}\n[[model]]\nname = \"scaling\"\nsource = \"{source}\"\n")
}

fn written(folder: &Path, factor: f32) -> PathBuf {
    let path = folder.join(format!("{factor}.wasm"));
    fs::write(&path, module(factor)).unwrap();
    path
}

#[test]
#[ignore = "needs Debian's mosquitto"]
fn a_desired_state_comes_by_the_broker_and_status_and_events_go_there() {
    let (broker, folder) = (Broker::started(), tempfile::tempdir().unwrap());
    let operator = broker.operator();
    // What was wanted before the device came is kept for it.
    operator.want(&desired(1, &written(folder.path(), 2.0)));
    let config = broker.settings();
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    operator.wait_online("true");
    operator.wait_active(Digest::of(&module(2.0)));
    assert_eq!(running.answer(), 2.0);
    assert_eq!(operator.reply(0), DesiredReply { taken: true, generation: Some(1), error: None });
    let activated = |event: &DeviceEvent| {
        matches!(event, DeviceEvent::History { what: Happened::Activated, digest, .. }
            if *digest == Digest::of(&module(2.0)))
    };
    eventually("the swap is told", || operator.events().iter().any(activated).then_some(()));

    // What is wrong is answered by name, and changes nothing.
    for (number, (text, wanted)) in [
        ("generation = 2\n[[model]]\nname = \"scaling\"\nsorce = \"/x\"\n", "sorce"),
        ("generation = 1\n", "generation 1 holds already"),
        ("\u{1}", "TOML"),
    ]
    .into_iter()
    .enumerate()
    {
        operator.want(text);
        let reply = operator.reply(1 + number);
        assert!(
            !reply.taken && reply.error.as_ref().is_some_and(|e| e.contains(wanted)),
            "{reply:?}"
        );
        assert_eq!(running.answer(), 2.0);
    }

    // A version that is refused: the step and the reason are told.
    let mut bad = scaling(3.0);
    bad.golden[0].outputs[0].data[5] ^= 1;
    let path = folder.path().join("bad.wasm");
    fs::write(&path, component(&bad)).unwrap();
    operator.want(&desired(2, &path));
    let refused = |event: &DeviceEvent| matches!(event, DeviceEvent::Goal { reason: Some(reason), .. } if reason.contains("golden"));
    eventually("the refusal is told", || operator.events().iter().any(refused).then_some(()));
    assert_eq!(running.answer(), 2.0);

    operator.want(&desired(3, &written(folder.path(), 4.0)));
    operator.wait_active(Digest::of(&module(4.0)));
    let steps = operator.events();
    let at =
        |step| steps.iter().any(|e| matches!(e, DeviceEvent::Step { step: s, .. } if *s == step));
    assert!([Step::Fetch, Step::Compile, Step::Switch].into_iter().all(at), "{steps:?}");

    // Its will, where it goes without a word.
    running.kill();
    operator.wait_online("false");
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    operator.wait_online("true");
    assert_eq!(running.answer(), 4.0);
    running.signal("-TERM");
    operator.wait_online("false");
}

#[test]
#[ignore = "needs Debian's mosquitto"]
fn models_answer_without_the_broker_and_it_is_reached_again() {
    let (mut broker, folder) = (Broker::place(), tempfile::tempdir().unwrap());
    let config = broker.settings();
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    running.deploy(&module(2.0)).unwrap();
    running.wait("it is tried", |running| running.log().contains("broker is not reached"));
    assert_eq!(running.answer(), 2.0);

    for generation in [1, 2] {
        // It has forgotten everything each time.
        broker.start("allow_anonymous true\n");
        let operator = broker.operator();
        operator.wait_online("true");
        let factor = 2.0 + generation as f32;
        operator.want(&desired(generation, &written(folder.path(), factor)));
        operator.wait_active(Digest::of(&module(factor)));
        broker.stop();
        assert_eq!(running.answer(), f64::from(factor));
    }
}

#[test]
#[ignore = "needs Debian's mosquitto"]
fn what_was_wanted_while_the_link_was_down_is_heard_when_it_is_back() {
    let (mut broker, folder) = (Broker::place(), tempfile::tempdir().unwrap());
    let state = broker.folder.path().display().to_string();
    let settings =
        format!("allow_anonymous true\npersistence true\npersistence_location {state}/\n");
    broker.start(&settings);
    let config = broker.settings();
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    let operator = broker.operator();
    operator.wait_online("true");
    operator.want(&desired(1, &written(folder.path(), 2.0)));
    operator.wait_active(Digest::of(&module(2.0)));
    // The device is cut off without a word, and the newest of what is wanted counts.
    running.signal("-STOP");
    for (generation, factor) in [(2, 3.0), (3, 4.0)] {
        operator.want(&desired(generation, &written(folder.path(), factor)));
    }
    running.signal("-CONT");
    operator.wait_active(Digest::of(&module(4.0)));
    assert_eq!(running.answer(), 4.0);
}

#[test]
#[ignore = "needs Debian's mosquitto"]
fn broker_and_device_know_each_other_by_certificates_and_a_password() {
    let (mut broker, folder) = (Broker::place(), tempfile::tempdir().unwrap());
    let fixture = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/fixtures").join(name);
        path.canonicalize().unwrap().display().to_string()
    };
    let passwords = broker.folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args(["line-3", "a password"])
        .status()
        .unwrap();
    assert!(made.success());
    broker.start(&format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\npassword_file {}\n",
        fixture("ca.pem"),
        fixture("host.pem"),
        fixture("host.key"),
        passwords.display(),
    ));
    fs::write(folder.path().join("password"), "a password\n").unwrap();
    let settings = |certificate: &str, user: &str| {
        format!(
            "{UNSIGNED}[mqtt]\nurl = \"mqtts://{}\"\ndevice = \"line-3\"\nuser = \"{user}\"\n\
             password_file = \"password\"\nauthority = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            broker.address,
            fixture("ca.pem"),
            fixture(&format!("{certificate}.pem")),
            fixture(&format!("{certificate}.key")),
        )
    };
    for (certificate, user, said) in [
        ("device", "line-3", "the MQTT broker is reached"),
        ("stranger", "line-3", "the MQTT broker is not reached"),
        ("device", "line-4", "the MQTT broker refuses"),
    ] {
        let config = settings(certificate, user);
        let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
        running.wait(said, |running| running.log().contains(said));
    }
}

/// How often it has said something in its log.
fn said(running: &Running, what: &str) -> usize {
    running.log().matches(what).count()
}

const REACHED: &str = "the MQTT broker is reached";

#[test]
#[ignore = "needs Debian's mosquitto"]
fn a_status_that_the_broker_would_not_take_is_cut_and_the_connection_stays() {
    let (mut broker, folder) = (Broker::place(), tempfile::tempdir().unwrap());
    let most = 2_000;
    broker.start(&format!("allow_anonymous true\nmax_packet_size {most}\n"));
    let config = broker.settings();
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    let operator = broker.operator();
    operator.wait_online("true");
    running.deploy(&module(2.0)).unwrap();
    let reason = |reason: &str| Some(reason.to_owned());
    for turn in 0..20 {
        running.client.pin("scaling", turn % 2 == 0, reason("for a history that is long")).unwrap();
    }
    assert!(serde_json::to_vec(&running.status()).unwrap().len() > most);
    let told = eventually("the status tells of the last one", || {
        let status: Status = serde_json::from_slice(&operator.last("status")?).unwrap();
        let newest = status.models.get("scaling")?.slots.history.last()?.event;
        (status.cut && newest == Happened::Unpinned).then_some(status)
    });
    let whole = running.status().models["scaling"].slots.history.clone();
    let left = &told.models["scaling"].slots.history;
    assert!(left.len() < whole.len() && whole.ends_with(left), "{left:?}");
    assert!(operator.said("status").iter().all(|text| text.len() < most));
    // An event that the broker would not take counts as lost, and those after it come.
    running.client.pin("scaling", true, reason(&"x".repeat(most))).unwrap();
    running.client.pin("scaling", false, reason("the end")).unwrap();
    let lost = |event: &DeviceEvent| matches!(event, DeviceEvent::Lost { events: 1 });
    let end = |event: &DeviceEvent| matches!(event, DeviceEvent::History { reason, .. } if reason == "the end");
    eventually("both are told", || {
        let events = operator.events();
        (events.iter().any(lost) && events.iter().any(end)).then_some(())
    });
    assert_eq!(said(&running, REACHED), 1);
}

#[test]
#[ignore = "needs Debian's mosquitto"]
fn files_are_read_again_and_wrong_ones_leave_the_connection_as_it_is() {
    let (mut broker, folder) = (Broker::place(), tempfile::tempdir().unwrap());
    let passwords = broker.folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args(["line-3", "right"])
        .status()
        .unwrap();
    assert!(made.success());
    broker.start(&format!("password_file {}\n", passwords.display()));
    let password = folder.path().join("password");
    fs::write(&password, "wrong\n").unwrap();
    let config = format!("{}user = \"line-3\"\npassword_file = \"password\"\n", broker.settings());
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    running.wait("it is refused", |running| said(running, "the MQTT broker refuses") > 0);
    // It does not wait for its next attempt.
    fs::write(&password, "right\n").unwrap();
    running.signal("-HUP");
    running.wait("it is reached", |running| said(running, REACHED) == 1);

    let again = "the configuration was read again";
    running.signal("-HUP");
    running.wait("nothing is new", |running| said(running, again) == 2);
    fs::remove_file(&password).unwrap();
    running.signal("-HUP");
    running.wait("it is told", |running| said(running, "was not read again") == 1);
    assert_eq!(said(&running, REACHED), 1);
    // Another file is another connection.
    fs::write(&password, "right\r\n").unwrap();
    running.signal("-HUP");
    running.wait("it is reached again", |running| said(running, REACHED) == 2);
    assert_eq!(said(&running, "is not reached"), 0);
}

#[test]
#[ignore = "needs Debian's mosquitto"]
fn a_broker_has_an_address_of_ipv6() {
    let (mut broker, folder) = (Broker::at("[::1]:0"), tempfile::tempdir().unwrap());
    broker.start("allow_anonymous true\n");
    let config = broker.settings();
    let running = Running::start(folder.path(), &Start { config: &config, ..Start::default() });
    running.wait("it is reached", |running| said(running, REACHED) == 1);
}

#[test]
fn what_anybody_between_could_read_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("device.toml");
    let text = "root = \"root\"\nsocket = \"socket\"\n[mqtt]\nurl = \"mqtt://192.0.2.1\"\ndevice = \"d\"\n";
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway-device"));
    let output = command.arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("plaintext = true"), "{said}");
}
