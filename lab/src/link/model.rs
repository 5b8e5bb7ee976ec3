//! When what is sent over a link arrives: a pure function of the profile, the
//! seed and the sends, in time since the start of the link.
//!
//! Losses are recovered as TCP recovers them. A lost segment that at least three
//! others follow is sent again after the duplicate acknowledgements are back
//! (fast retransmit, RFC 5681); any other waits for the retransmission timeout,
//! which doubles with each further loss (RFC 6298, with Linux's minimum of
//! 200 ms over the smoothed round trip).

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::outage::OutageSchedule;
use super::profile::LinkProfile;

/// The largest payload of one segment: Ethernet's 1500 bytes less the headers.
pub const SEGMENT_BYTES: usize = 1460;
/// What IPv4 and TCP add to each segment on the wire.
pub const HEADER_BYTES: usize = 40;

/// The least that a retransmission timeout lies above the round trip.
const MIN_TIMEOUT: Duration = Duration::from_millis(200);
/// The retransmission timeout before a round trip was measured (RFC 6298).
const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Duplicate acknowledgements before a fast retransmit (RFC 5681).
const DUPLICATE_ACKS: usize = 3;
/// After so many losses of one segment the next one arrives. Keeps the model
/// total; at 10 % loss it is reached once in a million segments.
const MAX_LOSSES: u32 = 6;

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device to the fog host.
    Up,
    /// From the fog host to the device.
    Down,
}

impl Direction {
    /// 0 for up, 1 for down.
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// One direction of one connection: what keeps its bytes in order.
#[derive(Clone, Debug)]
pub struct Flow {
    direction: Direction,
    /// When the last byte so far is delivered.
    delivered: Duration,
}

impl Flow {
    /// A flow on which nothing was sent yet.
    pub fn new(direction: Direction) -> Self {
        Self { direction, delivered: Duration::ZERO }
    }

    /// The direction.
    pub fn direction(&self) -> Direction {
        self.direction
    }
}

/// The arrival of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Payload of the segment in bytes.
    pub bytes: usize,
    /// When the receiver has it, and everything before it on the same flow.
    pub at: Duration,
    /// How many times it was lost on the way.
    pub losses: u32,
}

/// One direction of the link.
#[derive(Clone, Debug)]
struct Pipe {
    bits_per_s: u64,
    /// When the last segment so far has left.
    free_at: Duration,
    /// Draws for the n-th segment of this direction, whenever it is sent.
    rng: ChaCha8Rng,
}

/// The schedule of a link: tells for each send when it arrives. The same seed
/// and the same sends give the same arrivals.
#[derive(Clone, Debug)]
pub struct LinkModel {
    profile: LinkProfile,
    pipes: [Pipe; 2],
    outages: OutageSchedule,
}

impl LinkModel {
    /// A link of the given figures, on which nothing was sent yet.
    ///
    /// A loss outside of 0 to 1 counts as the nearer of the two. Panics if it
    /// is not a number.
    pub fn new(profile: LinkProfile, seed: u64) -> Self {
        let profile = LinkProfile { loss: profile.loss.clamp(0.0, 1.0), ..profile };
        let stream = |number| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        let pipe =
            |bits_per_s, number| Pipe { bits_per_s, free_at: Duration::ZERO, rng: stream(number) };
        Self {
            pipes: [pipe(profile.up_bits_per_s, 0), pipe(profile.down_bits_per_s, 1)],
            outages: OutageSchedule::new(profile.outages, stream(2)),
            profile,
        }
    }

    /// The figures.
    pub fn profile(&self) -> &LinkProfile {
        &self.profile
    }

    /// Sends `bytes` on `flow` at `now`; returns the arrivals of its segments,
    /// in order. Nothing to send is one segment without payload, such as the
    /// end of a stream.
    pub fn send(&mut self, flow: &mut Flow, now: Duration, bytes: usize) -> Vec<Delivery> {
        let segments = bytes.div_ceil(SEGMENT_BYTES).max(1);
        let size = |i: usize| (bytes - i * SEGMENT_BYTES).min(SEGMENT_BYTES);
        let deliver = |i: usize| {
            let after = segments - 1 - i;
            let (arrival, losses) =
                self.transmit(flow.direction, now, size(i), Recovery::Data { after });
            flow.delivered = flow.delivered.max(arrival);
            Delivery { bytes: size(i), at: flow.delivered, losses }
        };
        (0..segments).map(deliver).collect()
    }

    /// When a connection that is opened at `now` can be written to: one round
    /// trip later, more if one of its two segments is lost.
    pub fn connect(&mut self, now: Duration) -> Duration {
        let (syn, _) = self.transmit(Direction::Up, now, 0, Recovery::Handshake);
        let (syn_ack, _) = self.transmit(Direction::Down, syn, 0, Recovery::Handshake);
        syn_ack
    }

    /// The arrival of one segment, and how many times it was lost.
    fn transmit(
        &mut self,
        direction: Direction,
        now: Duration,
        payload_bytes: usize,
        recovery: Recovery,
    ) -> (Duration, u32) {
        let pipe = &mut self.pipes[direction.index()];
        let on_wire = serialisation(pipe.bits_per_s, payload_bytes + HEADER_BYTES);
        let mut left = self.outages.advance(now.max(pipe.free_at), on_wire);
        pipe.free_at = left;

        let mut losses = 0;
        while losses < MAX_LOSSES && pipe.rng.random_bool(self.profile.loss) {
            let again = left + recovery.wait(&self.profile, pipe.bits_per_s, losses);
            left = self.outages.advance(again, on_wire);
            losses += 1;
        }
        let arrival = left + self.profile.delay + jitter(self.profile.jitter, &mut pipe.rng);
        (self.outages.resume(arrival), losses)
    }
}

/// How the sender of a lost segment finds out.
#[derive(Clone, Copy)]
enum Recovery {
    /// A segment of data that `after` others follow at once.
    Data { after: usize },
    /// A segment that opens a connection.
    Handshake,
}

impl Recovery {
    /// From the departure of a segment that is lost for the `losses + 1`-th time
    /// to its next departure.
    fn wait(self, profile: &LinkProfile, bits_per_s: u64, losses: u32) -> Duration {
        let timeout = match self {
            Recovery::Handshake => INITIAL_TIMEOUT,
            Recovery::Data { after } if after >= DUPLICATE_ACKS && losses == 0 => {
                let followers = DUPLICATE_ACKS * (SEGMENT_BYTES + HEADER_BYTES);
                return profile.round_trip() + serialisation(bits_per_s, followers);
            }
            Recovery::Data { .. } => profile.round_trip() + MIN_TIMEOUT.max(profile.jitter * 4),
        };
        timeout * 2u32.pow(losses)
    }
}

/// How long the link is busy with so many bytes.
fn serialisation(bits_per_s: u64, bytes: usize) -> Duration {
    let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits_per_s.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// One draw from the exponential distribution of this mean, cut.
fn jitter(mean: Duration, rng: &mut ChaCha8Rng) -> Duration {
    let uniform: f64 = rng.random();
    mean.mul_f64((-(1.0 - uniform).ln()).min(f64::from(LinkProfile::JITTER_CUT)))
}

#[cfg(test)]
mod tests {
    use super::super::outage::Outages;
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const ZERO: Duration = Duration::ZERO;

    /// 12 Mbit/s: a full segment takes 1 ms. 10 ms each way, nothing random.
    fn plain() -> LinkProfile {
        LinkProfile {
            up_bits_per_s: 12_000_000,
            down_bits_per_s: 12_000_000,
            delay: MS * 10,
            ..LinkProfile::ideal("plain")
        }
    }

    fn arrivals(
        model: &mut LinkModel,
        flow: &mut Flow,
        now: Duration,
        bytes: usize,
    ) -> Vec<Duration> {
        model.send(flow, now, bytes).iter().map(|d| d.at).collect()
    }

    #[test]
    fn a_segment_takes_its_serialisation_and_the_delay() {
        let mut model = LinkModel::new(plain(), 0);
        let mut flow = Flow::new(Direction::Up);
        assert_eq!(arrivals(&mut model, &mut flow, MS * 5, SEGMENT_BYTES), [MS * 16]);
        // 710 bytes and the headers are half a segment.
        assert_eq!(arrivals(&mut model, &mut flow, MS * 50, 710), [MS * 60 + MS / 2]);
    }

    #[test]
    fn segments_follow_each_other_at_the_rate_of_the_link() {
        let mut model = LinkModel::new(plain(), 0);
        let deliveries = model.send(&mut Flow::new(Direction::Up), ZERO, 3 * SEGMENT_BYTES + 1);
        let at: Vec<Duration> = deliveries.iter().map(|d| d.at).collect();
        assert_eq!(at[..3], [MS * 11, MS * 12, MS * 13]);
        assert!(at[3] > MS * 13 && at[3] < MS * 14);
        assert_eq!(deliveries.iter().map(|d| d.bytes).sum::<usize>(), 3 * SEGMENT_BYTES + 1);
    }

    #[test]
    fn the_rate_is_shared_by_all_connections_but_not_by_the_two_directions() {
        let mut model = LinkModel::new(plain(), 0);
        let send = |model: &mut LinkModel, direction| {
            arrivals(model, &mut Flow::new(direction), ZERO, SEGMENT_BYTES)[0]
        };
        assert_eq!(send(&mut model, Direction::Up), MS * 11);
        assert_eq!(send(&mut model, Direction::Up), MS * 12);
        assert_eq!(send(&mut model, Direction::Down), MS * 11);
    }

    #[test]
    fn up_and_down_have_their_own_rates() {
        let profile = LinkProfile { down_bits_per_s: 24_000_000, ..plain() };
        let mut model = LinkModel::new(profile, 0);
        let mut down = Flow::new(Direction::Down);
        assert_eq!(arrivals(&mut model, &mut down, ZERO, SEGMENT_BYTES), [MS * 10 + MS / 2]);
    }

    #[test]
    fn the_rate_over_a_long_transfer_is_that_of_the_profile() {
        for profile in LinkProfile::all() {
            let mut model =
                LinkModel::new(LinkProfile { loss: 0.0, outages: None, ..profile.clone() }, 3);
            let bytes = 1_000 * SEGMENT_BYTES;
            let end = arrivals(&mut model, &mut Flow::new(Direction::Up), ZERO, bytes)[999];
            let bits = 8.0 * 1_000.0 * (SEGMENT_BYTES + HEADER_BYTES) as f64;
            let wire = bits / profile.up_bits_per_s as f64;
            let slack = (profile.delay + profile.jitter * LinkProfile::JITTER_CUT).as_secs_f64();
            assert!(
                (wire..=wire + slack).contains(&end.as_secs_f64()),
                "{}: {end:?}",
                profile.name
            );
        }
    }

    #[test]
    fn opening_a_connection_costs_one_round_trip() {
        let mut model =
            LinkModel::new(LinkProfile { delay: MS * 10, ..LinkProfile::ideal("x") }, 0);
        assert_eq!(model.connect(MS * 3), MS * 23);
    }

    #[test]
    fn jitter_has_its_mean_and_stays_within_its_bounds() {
        let profile = LinkProfile { delay: MS, jitter: MS * 2, ..LinkProfile::ideal("x") };
        let mut model = LinkModel::new(profile, 11);
        let extra: Vec<f64> = (0..20_000u32)
            .map(|i| {
                let sent = MS * 1_000 * i;
                let at = arrivals(&mut model, &mut Flow::new(Direction::Up), sent, 1)[0];
                (at - sent - MS).as_secs_f64() * 1e3
            })
            .collect();
        assert!(extra.iter().all(|&ms| (0.0..=16.0).contains(&ms)));
        let mean = extra.iter().sum::<f64>() / extra.len() as f64;
        assert!((mean - 2.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn bytes_of_a_flow_arrive_in_order_whatever_the_jitter() {
        let profile =
            LinkProfile { delay: MS, jitter: MS * 20, loss: 0.2, ..LinkProfile::ideal("x") };
        let mut model = LinkModel::new(profile, 5);
        let mut flow = Flow::new(Direction::Down);
        let at: Vec<Duration> =
            (0..2_000).flat_map(|i| arrivals(&mut model, &mut flow, MS * i, 2_000)).collect();
        assert!(at.is_sorted());
    }

    #[test]
    fn a_lost_segment_holds_back_what_follows_on_its_own_connection_only() {
        let profile = LinkProfile { loss: 0.05, ..plain() };
        let mut model = LinkModel::new(profile, 2);
        let mut flow = Flow::new(Direction::Up);
        let lost = (0..10_000u32)
            .map(|i| model.send(&mut flow, MS * 5_000 * i, 100)[0])
            .find(|d| d.losses == 1)
            .expect("one of ten thousand is lost");
        // Sent just after it: on the same connection it waits, on another not.
        let mut lossless = LinkModel { profile: plain(), ..model.clone() };
        let sent = lost.at - MS * 200;
        assert_eq!(lossless.send(&mut flow, sent, 1)[0].at, lost.at);
        assert!(lossless.send(&mut Flow::new(Direction::Up), sent, 1)[0].at < sent + MS * 11);
    }

    #[test]
    fn a_lost_segment_costs_a_timeout_or_a_fast_retransmit() {
        let certain = LinkProfile { loss: 1.0, ..plain() };
        // Alone: a round trip and 200 ms, doubled each time, until the cut.
        let alone = Recovery::Data { after: 2 };
        assert_eq!(alone.wait(&certain, 12_000_000, 0), MS * 220);
        assert_eq!(alone.wait(&certain, 12_000_000, 1), MS * 440);
        // Followed by three: a round trip and those three; then the timeout.
        let followed = Recovery::Data { after: 3 };
        assert_eq!(followed.wait(&certain, 12_000_000, 0), MS * 23);
        assert_eq!(followed.wait(&certain, 12_000_000, 1), MS * 440);
        assert_eq!(Recovery::Handshake.wait(&certain, 12_000_000, 1), MS * 2_000);

        let delivery =
            LinkModel::new(certain, 0).send(&mut Flow::new(Direction::Up), ZERO, SEGMENT_BYTES)[0];
        let timeouts: u32 = (0..MAX_LOSSES).map(|k| 220 * 2u32.pow(k)).sum();
        assert_eq!(delivery.losses, MAX_LOSSES);
        assert_eq!(delivery.at, MS * (timeouts + MAX_LOSSES + 1 + 10));
    }

    #[test]
    fn losses_come_at_the_rate_of_the_profile() {
        let mut model = LinkModel::new(LinkProfile { loss: 0.02, ..plain() }, 9);
        let mut flow = Flow::new(Direction::Up);
        let losses: u32 = (0..50_000).map(|_| model.send(&mut flow, ZERO, 1)[0].losses).sum();
        assert!((900..1_100).contains(&losses), "{losses}");
    }

    #[test]
    fn nothing_leaves_or_arrives_during_an_outage() {
        let outages = Outages { every: MS * 100, lasting: MS * 40 };
        let mut model = LinkModel::new(LinkProfile { outages: Some(outages), ..plain() }, 4);
        let mut schedule = model.outages.clone();
        let mut held = 0;
        for i in 0..500 {
            let sent = MS * 20 * i;
            let at = arrivals(&mut model, &mut Flow::new(Direction::Up), sent, SEGMENT_BYTES)[0];
            assert_eq!(schedule.resume(at), at, "arrived during an outage");
            held += u32::from(at > sent + MS * 11);
        }
        assert!(held > 50, "{held}");
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
        let run = |seed| {
            let mut model = LinkModel::new(LinkProfile::named("weak-wifi").unwrap(), seed);
            let (mut up, mut down) = (Flow::new(Direction::Up), Flow::new(Direction::Down));
            let mut all = vec![model.connect(ZERO)];
            for i in 0..500 {
                all.extend(arrivals(&mut model, &mut up, MS * 40 * i, 1_000));
                all.extend(arrivals(&mut model, &mut down, MS * 40 * i + MS * 20, 200));
            }
            all
        };
        assert_eq!(run(2019), run(2019));
        assert_ne!(run(2019), run(2020));
    }

    #[test]
    fn the_draws_of_a_direction_do_not_depend_on_the_other_one() {
        let profile = LinkProfile { jitter: MS, loss: 0.1, ..LinkProfile::ideal("x") };
        let (mut alone, mut both) =
            (LinkModel::new(profile.clone(), 1), LinkModel::new(profile, 1));
        for i in 0..200 {
            both.send(&mut Flow::new(Direction::Down), MS * i, 5_000);
            let now = MS * i;
            assert_eq!(
                alone.send(&mut Flow::new(Direction::Up), now, 3_000),
                both.send(&mut Flow::new(Direction::Up), now, 3_000)
            );
        }
    }
}
