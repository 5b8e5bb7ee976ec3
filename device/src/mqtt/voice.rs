//! What is said and heard on the link: desired states go to the reconciler, status and
//! events to the broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::Digest;
use leeway_control::messages::Status;
use leeway_control::report::{DesiredReply, DeviceEvent};
use leeway_deploy::desired::{DesiredState, Told, WantError};
use leeway_deploy::transaction::Progress;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties, RetainForwardRule};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::config::{MqttConfig, Topics};
use super::fit::json;
use super::link::{Connection, Heard, Link, Wanted};
use super::{changes, fit};
use crate::api::{Both, status_of};

/// The events that wait for the broker. Of more, the oldest are lost, and counted.
const EVENTS: usize = 256;
/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(100);
/// How often it is tried to send what found no room.
const AGAIN: Duration = Duration::from_secs(1);

/// What is said.
pub(super) struct Voice {
    client: AsyncClient,
    topics: Topics,
    both: Both,
    interval: Duration,
    changed: Arc<Notify>,
    steps: UnboundedReceiver<DeviceEvent>,
    seen: Option<Status>,
    /// The last status that was told, and when.
    told: Option<(Vec<u8>, Instant)>,
    events: VecDeque<DeviceEvent>,
    lost: u64,
    replies: VecDeque<(DesiredReply, PublishProperties)>,
    /// The last desired state that came.
    last: Option<Digest>,
    /// The connection that has been greeted.
    greeted: Option<Connection>,
}

impl Voice {
    pub(super) fn new(config: &MqttConfig, client: AsyncClient, both: Both) -> Self {
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let (sender, steps) = unbounded_channel();
        both.reconciler.listen(move |told| {
            if let Told::Done { model, progress } = told {
                let Progress { step, found, .. } = progress.clone();
                // Nobody speaks any more.
                sender.send(DeviceEvent::Step { model: model.to_owned(), step, found }).ok();
            }
            notify.notify_one();
        });
        Self {
            client,
            topics: config.topics(),
            both,
            interval: config.status_interval(),
            changed,
            steps,
            seen: None,
            told: None,
            events: VecDeque::new(),
            lost: 0,
            replies: VecDeque::new(),
            last: None,
            greeted: None,
        }
    }

    /// Until it is stopped.
    pub(super) async fn speak(mut self, link: Link, mut stopped: watch::Receiver<()>) {
        let (mut heard, task) = link.spawn();
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changed = Arc::clone(&self.changed);
            tokio::select! {
                _ = stopped.changed() => break,
                alive = heard.wanted.changed() => {
                    if alive.is_err() {
                        return;
                    }
                    let wanted = heard.wanted.borrow_and_update().clone();
                    if let Some(wanted) = wanted {
                        self.take(wanted).await;
                    }
                }
                _ = heard.connected.changed() => {}
                () = changed.notified() => {
                    sleep(GATHER).await;
                    self.look().await;
                }
                _ = again.tick() => {}
            }
            self.say(&mut heard).await;
        }
        if self.greeted.is_some() {
            self.publish(&self.topics.online(), true, b"false".to_vec());
            self.client.try_disconnect().ok();
            // It ends when it has said so.
            task.await.ok();
        }
    }

    /// Takes a desired state, and says what became of it.
    async fn take(&mut self, wanted: Wanted) {
        let digest = Digest::of(&wanted.text);
        // Nobody wants anything any more; or the broker has kept what is known.
        let known = wanted.retained && self.last == Some(digest);
        if wanted.text.is_empty() || known {
            return;
        }
        self.last = Some(digest);
        let (reconciler, text) = (Arc::clone(&self.both.reconciler), wanted.text);
        let taken = tokio::task::spawn_blocking(move || {
            let state = DesiredState::parse(&text).map_err(WantError::from);
            let generation = state.as_ref().ok().map(|state| state.generation);
            (generation, state.and_then(|state| reconciler.want(state, false)))
        });
        let (generation, error) = match taken.await {
            Ok((generation, result)) => (generation, result.err().map(|error| error.to_string())),
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(error) = &error {
            tracing::error!(error, "what came by MQTT is not what the device shall be");
        }
        let reply = DesiredReply { taken: error.is_none(), generation, error };
        let correlation_data = wanted.correlation;
        let properties = PublishProperties { correlation_data, ..PublishProperties::default() };
        self.replies.push_back((reply, properties));
        self.look().await;
    }

    /// Looks at the device, and notes what has happened since.
    async fn look(&mut self) {
        let both = self.both.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || status_of(&both)).await else { return };
        while let Ok(step) = self.steps.try_recv() {
            self.events.push_back(step);
        }
        if let Some(before) = &self.seen {
            self.events.extend(changes::between(before, &now));
        }
        let over = self.events.len().saturating_sub(EVENTS);
        self.lost += over as u64;
        self.events.drain(..over);
        self.seen = Some(now);
    }

    /// Says what is new, as far as there is a connection with room for it.
    async fn say(&mut self, heard: &mut Heard) {
        let Some(connection) = *heard.connected.borrow_and_update() else {
            self.greeted = None;
            return;
        };
        if self.greeted != Some(connection) && self.greet() {
            self.greeted = Some(connection);
            self.told = None;
        }
        if self.told.as_ref().is_none_or(|(_, at)| at.elapsed() >= self.interval) {
            self.look().await;
        }
        self.say_status(connection);
        while let Some((reply, properties)) = self.replies.front().cloned() {
            let (topic, qos) = (self.topics.reply(), QoS::AtLeastOnce);
            let correlation = properties.correlation_data.as_ref().map_or(0, |data| data.len());
            let room = connection.room(&topic).saturating_sub(correlation);
            if let Some(text) = fit::reply(&reply, room) {
                let sent =
                    self.client.try_publish_with_properties(topic, qos, false, text, properties);
                if sent.is_err() {
                    return;
                }
            }
            self.replies.pop_front();
        }
        let topic = self.topics.events();
        while let Some(text) = self.events.front().map(json) {
            if text.len() > connection.room(&topic) {
                self.lost += 1;
            } else if !self.publish(&topic, false, text) {
                break;
            }
            self.events.pop_front();
        }
        if self.lost > 0 {
            let lost = DeviceEvent::Lost { events: self.lost };
            if self.publish(&topic, false, json(&lost)) {
                self.lost = 0;
            }
        }
    }

    /// On a new connection: what the device wants to hear, and that it is there.
    fn greet(&self) -> bool {
        let mut filter = Filter::new(self.topics.desired(), QoS::AtLeastOnce);
        // What the broker keeps is news only where it has forgotten the device.
        filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
        self.client.try_subscribe_many([filter]).is_ok()
            && self.publish(&self.topics.online(), true, b"true".to_vec())
    }

    fn say_status(&mut self, connection: Connection) {
        let topic = self.topics.status();
        let Some(seen) = &self.seen else { return };
        let status = fit::status(seen, connection.room(&topic)).unwrap_or_default();
        let before = self.told.as_ref();
        let due = before.is_none_or(|(told, at)| *told != status || at.elapsed() >= self.interval);
        if !due {
            return;
        }
        if status.is_empty() {
            let bytes = connection.packet_bytes;
            tracing::warn!(?bytes, "the MQTT broker takes no packet that a status fits into");
        }
        // An empty payload would say that there is none.
        if status.is_empty() || self.publish(&topic, true, status.clone()) {
            self.told = Some((status, Instant::now()));
        }
    }

    fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok()
    }
}
