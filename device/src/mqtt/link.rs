//! The connection to the broker: kept, and made again after a while where it broke. It
//! has a task of its own, so that nothing that is said or done keeps it from being heard.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use tokio::sync::watch;

use super::config::Topics;

/// What may wait to be sent.
const WAITING: usize = 64;
/// What a PUBLISH packet has besides topic, payload and correlation data, at most: type,
/// lengths, the packet's identifier (MQTT 5, 3.3).
const FRAME_BYTES: usize = 16;
/// Between two attempts to connect: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A desired state that came.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) text: Bytes,
    /// Whether it had been kept by the broker.
    pub(super) retained: bool,
    /// By which its sender knows the answer again (MQTT 5, 3.3.2.3.6).
    pub(super) correlation: Option<Bytes>,
}

/// The receiving ends of a link: each has the newest only.
pub(super) struct Link {
    events: EventLoop,
    topics: Topics,
    /// What the connection is made by, from now on.
    renewed: watch::Receiver<MqttOptions>,
}

/// A connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// How many there were before it.
    number: u64,
    /// The largest packet that the broker takes.
    pub(super) packet_bytes: Option<u32>,
}

impl Connection {
    /// The bytes of a message on this topic.
    pub(super) fn room(&self, topic: &str) -> usize {
        let most = self.packet_bytes.map_or(usize::MAX, |bytes| bytes as usize);
        most.saturating_sub(topic.len() + FRAME_BYTES)
    }
}

/// What a link has to say.
#[derive(Clone)]
pub(super) struct Heard {
    /// The connection, while there is one.
    pub(super) connected: watch::Receiver<Option<Connection>>,
    /// The newest desired state.
    pub(super) wanted: watch::Receiver<Option<Wanted>>,
}

impl Link {
    /// A link and what speaks on it. Nothing is sent yet.
    pub(super) fn new(
        mut options: watch::Receiver<MqttOptions>,
        topics: Topics,
    ) -> (AsyncClient, Self) {
        let now = options.borrow_and_update().clone();
        let (client, events) = AsyncClient::new(now, WAITING);
        (client, Self { events, topics, renewed: options })
    }

    /// Begins; it ends when the client says goodbye.
    pub(super) fn spawn(self) -> (Heard, tokio::task::JoinHandle<()>) {
        let (connected, connected_end) = watch::channel(None);
        let (wanted, wanted_end) = watch::channel(None);
        let task = tokio::spawn(self.keep(connected, wanted));
        (Heard { connected: connected_end, wanted: wanted_end }, task)
    }

    async fn keep(
        mut self,
        connected: watch::Sender<Option<Connection>>,
        wanted: watch::Sender<Option<Wanted>>,
    ) {
        let (mut number, mut failures) = (0, 0u32);
        let desired = self.topics.desired();
        loop {
            let event = tokio::select! {
                Ok(()) = self.renewed.changed() => {
                    // Whoever is connected by what held before is not any more.
                    connected.send_replace(None);
                    self.events.clean();
                    self.events.options = self.renewed.borrow_and_update().clone();
                    failures = 0;
                    continue;
                }
                event = self.events.poll() => event,
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(acknowledged))) => {
                    (number, failures) = (number + 1, 0);
                    let packet_bytes = acknowledged.properties.and_then(|p| p.max_packet_size);
                    tracing::info!("the MQTT broker is reached");
                    connected.send_replace(Some(Connection { number, packet_bytes }));
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if publish.topic == desired.as_bytes() {
                        wanted.send_replace(Some(heard(publish)));
                    }
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(ConnectionError::RequestsDone) => {
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    connected.send_replace(None);
                    if let ConnectionError::MqttState(StateError::OutgoingPacketTooLarge {
                        ..
                    }) = &error
                    {
                        // It waited for a broker that takes more than this one.
                        self.events.pending.clear();
                    }
                    let pause = pause(failures);
                    failures = failures.saturating_add(1);
                    let refused = matches!(&error, ConnectionError::ConnectionRefused(code)
                        if *code != ConnectReturnCode::ServerUnavailable);
                    match refused {
                        true => tracing::error!(%error, ?pause, "the MQTT broker refuses"),
                        false => tracing::warn!(%error, ?pause, "the MQTT broker is not reached"),
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        Ok(()) = self.renewed.changed() => self.renewed.mark_changed(),
                    }
                }
            }
        }
    }
}

fn heard(publish: Publish) -> Wanted {
    let correlation = publish.properties.and_then(|properties| properties.correlation_data);
    Wanted { text: publish.payload, retained: publish.retain, correlation }
}

/// How long to wait after so many failures: devices that lost the same broker do not come
/// back in step.
fn pause(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    doubled.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[test]
fn pauses_grow_to_a_minute_and_are_scattered() {
    for (failures, most) in [(0, 1.0), (1, 2.0), (5, 32.0), (6, 60.0), (40, 60.0)] {
        let seen = pause(failures).as_secs_f64();
        assert!((most / 2.0..=most).contains(&seen), "{failures}: {seen}");
    }
    let different = (0..16).map(|_| pause(6)).collect::<std::collections::BTreeSet<_>>();
    assert!(different.len() > 1);
}
