//! The sensor: replays data sets as streams of inputs, several models
//! interleaved, at a fixed rate or as fast as they are answered.

use std::sync::Arc;
use std::time::Duration;

use leeway_contract::Tensor;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::clock::Clock;

/// One recorded input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The model's inputs.
    pub inputs: Vec<Tensor>,
    /// The class that the data set holds for it, where it holds one.
    pub label: Option<usize>,
}

/// The data that is replayed for one model.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What the stream is for; the caller's own name, for example a task's.
    pub name: String,
    /// The samples, in recorded order.
    pub samples: Arc<[Sample]>,
}

/// When the next input is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// As soon as it is asked for, which is when the last one is answered.
    ClosedLoop,
    /// One input of any model every period. Inputs that are not fetched in time
    /// wait: their release times stay on the grid.
    Period(Duration),
}

/// An input as it comes from the sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input<'a> {
    /// Index of the stream.
    pub stream: usize,
    /// Number of the input within its stream, from 0.
    pub sequence: u64,
    /// The recorded sample.
    pub sample: &'a Sample,
    /// When it was there to be worked on, by the sensor's clock.
    pub released: Duration,
}

/// Replays streams, `per_stream` inputs of each.
///
/// One input of each stream makes a round; the order within a round is drawn
/// from the seed, so that no model always follows the same other one. Streams
/// shorter than `per_stream` start again; empty ones give nothing.
#[derive(Debug)]
pub struct Sensor {
    streams: Vec<Stream>,
    per_stream: u64,
    pacing: Pacing,
    clock: Arc<dyn Clock>,
    rng: ChaCha8Rng,
    start: Duration,
    emitted: u32,
    sequence: u64,
    round: Vec<usize>,
}

impl Sensor {
    /// A sensor that starts now.
    pub fn new(
        streams: Vec<Stream>,
        per_stream: u64,
        pacing: Pacing,
        seed: u64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            streams,
            per_stream,
            pacing,
            rng: ChaCha8Rng::seed_from_u64(seed),
            start: clock.now(),
            clock,
            emitted: 0,
            sequence: 0,
            round: Vec::new(),
        }
    }

    /// The streams.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// How many inputs there are in all.
    pub fn total(&self) -> u64 {
        self.per_stream * self.not_empty().count() as u64
    }

    fn not_empty(&self) -> impl Iterator<Item = usize> {
        let filled = |(i, s): (usize, &Stream)| (!s.samples.is_empty()).then_some(i);
        self.streams.iter().enumerate().filter_map(filled)
    }

    /// Waits for the next input; `None` when all have been given.
    pub fn next_input(&mut self) -> Option<Input<'_>> {
        if self.round.is_empty() {
            if self.emitted > 0 {
                self.sequence += 1;
            }
            if self.sequence >= self.per_stream {
                return None;
            }
            self.round = self.not_empty().collect();
            self.round.shuffle(&mut self.rng);
        }
        let stream = self.round.pop()?;
        let released = match self.pacing {
            Pacing::ClosedLoop => self.clock.now(),
            Pacing::Period(period) => {
                let at = self.start.saturating_add(period.saturating_mul(self.emitted));
                self.clock.sleep_until(at);
                at
            }
        };
        self.emitted = self.emitted.saturating_add(1);
        let samples = &self.streams[stream].samples;
        let sample = &samples[(self.sequence % samples.len() as u64) as usize];
        Some(Input { stream, sequence: self.sequence, sample, released })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::clock::VirtualClock;

    const MS: Duration = Duration::from_millis(1);

    fn stream(name: &str, samples: usize) -> Stream {
        let sample =
            |i| Sample { inputs: vec![Tensor::from_f32(&[1], &[i as f32])], label: Some(i) };
        Stream { name: name.into(), samples: (0..samples).map(sample).collect() }
    }

    /// Stream, sequence, label and release of every input.
    fn replay(
        streams: Vec<Stream>,
        pacing: Pacing,
        seed: u64,
    ) -> Vec<(usize, u64, usize, Duration)> {
        let clock = VirtualClock::new();
        let mut sensor = Sensor::new(streams, 5, pacing, seed, Arc::new(clock.clone()));
        let total = sensor.total();
        let mut seen = Vec::new();
        while let Some(input) = sensor.next_input() {
            let label = input.sample.label.unwrap();
            seen.push((input.stream, input.sequence, label, input.released));
            clock.advance(3 * MS); // the answer
        }
        assert_eq!(seen.len() as u64, total);
        seen
    }

    #[test]
    fn every_stream_gives_its_samples_in_order_and_again() {
        let streams = vec![stream("a", 5), stream("b", 2), stream("none", 0)];
        let seen = replay(streams, Pacing::ClosedLoop, 7);
        for (stream, length) in [(0, 5), (1, 2)] {
            let own: Vec<_> = seen.iter().filter(|s| s.0 == stream).collect();
            let sequence: Vec<u64> = own.iter().map(|s| s.1).collect();
            assert_eq!(sequence, [0, 1, 2, 3, 4]);
            assert!(own.iter().all(|s| s.2 as u64 == s.1 % length));
        }
    }

    #[test]
    fn the_order_is_the_seeds() {
        let streams = || vec![stream("a", 5), stream("b", 5), stream("c", 5)];
        let order = |seed| {
            let seen = replay(streams(), Pacing::ClosedLoop, seed);
            seen.into_iter().map(|s| s.0).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        for round in order(1).chunks(3) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2]);
        }
    }

    #[test]
    fn a_slow_answer_does_not_move_later_releases() {
        let released: Vec<Duration> = replay(vec![stream("a", 5)], Pacing::Period(2 * MS), 1)
            .into_iter()
            .map(|s| s.3)
            .collect();
        assert_eq!(released, [0, 2, 4, 6, 8].map(|ms| ms * MS));
    }
}
