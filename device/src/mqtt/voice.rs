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
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::changes;
use super::config::{MqttConfig, Topics};
use super::link::{Heard, Link, Wanted};
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
    replies: VecDeque<(Vec<u8>, PublishProperties)>,
    /// The last desired state that came.
    last: Option<Digest>,
    /// The connection that has been greeted.
    greeted: Option<u64>,
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
        self.replies.push_back((json(&reply), properties));
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
        let connected = *heard.connected.borrow_and_update();
        if connected.is_none() {
            self.greeted = None;
            return;
        }
        if self.greeted != connected && self.greet() {
            self.greeted = connected;
            self.told = None;
        }
        if self.told.as_ref().is_none_or(|(_, at)| at.elapsed() >= self.interval) {
            self.look().await;
        }
        self.say_status();
        while let Some((reply, properties)) = self.replies.front().cloned() {
            let (topic, qos) = (self.topics.reply(), QoS::AtLeastOnce);
            let sent =
                self.client.try_publish_with_properties(topic, qos, false, reply, properties);
            if sent.is_err() {
                return;
            }
            self.replies.pop_front();
        }
        if self.lost > 0 && self.say_event(&DeviceEvent::Lost { events: self.lost }) {
            self.lost = 0;
        }
        while let Some(event) = self.events.front() {
            if !self.say_event(event) {
                return;
            }
            self.events.pop_front();
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

    fn say_status(&mut self) {
        let Some(status) = self.seen.as_ref().map(json) else { return };
        let due = self
            .told
            .as_ref()
            .is_none_or(|(told, at)| *told != status || at.elapsed() >= self.interval);
        if due && self.publish(&self.topics.status(), true, status.clone()) {
            self.told = Some((status, Instant::now()));
        }
    }

    fn say_event(&self, event: &DeviceEvent) -> bool {
        self.publish(&self.topics.events(), false, json(event))
    }

    fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok()
    }
}

fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("a message has only string keys")
}
