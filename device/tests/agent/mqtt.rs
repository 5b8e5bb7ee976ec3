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
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), address, process: None }
    }

    fn start(&mut self, settings: &str) {
        let config = self.folder.path().join("mosquitto.conf");
        let port = self.address.port();
        let text = format!("user root\nlistener {port} 127.0.0.1\n{settings}");
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
