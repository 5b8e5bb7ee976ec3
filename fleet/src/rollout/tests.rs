//! Properties of the machine, over random fleets, limits, outcomes and orders.

use std::collections::BTreeSet;

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

/// A random fleet and what would come of each of its devices.
struct World {
    rng: ChaCha8Rng,
    waves: Vec<Vec<usize>>,
    limits: Limits,
    fate: Vec<Outcome>,
}

fn failed() -> Outcome {
    Outcome::Failed { reason: "f".into() }
}

fn lost() -> Outcome {
    Outcome::Unreachable { reason: "u".into() }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let devices = rng.random_range(1..40);
        let mut order: Vec<usize> = (0..devices).collect();
        order.shuffle(&mut rng);
        let mut waves = Vec::new();
        while !order.is_empty() {
            let size = rng.random_range(1..=order.len());
            waves.push(order.split_off(order.len() - size));
        }
        let limits = Limits {
            parallel: rng.random_range(1..10),
            failures: rng.random_range(0..4),
            unreachable: rng.random_range(0..6),
            pause: Duration::from_secs(rng.random_range(0..3)),
        };
        let bad = rng.random_range(0.0..0.4);
        let fate = (0..devices).map(|_| match rng.random_bool(bad) {
            true if rng.random() => failed(),
            true => lost(),
            false => Outcome::Healthy,
        });
        let fate = fate.collect();
        Self { rng, waves, limits, fate }
    }

    fn wave_of(&self, device: usize) -> usize {
        self.waves.iter().position(|wave| wave.contains(&device)).unwrap()
    }

    /// Plays a rollout for at most `steps` steps and checks every one of them. Returns
    /// the devices that were started.
    fn play(&mut self, rollout: &mut Rollout, steps: usize) -> BTreeSet<usize> {
        let (mut now, mut started, mut running) = (Duration::ZERO, BTreeSet::new(), vec![]);
        let mut ended = vec![Duration::ZERO; self.waves.len()];
        for _ in 0..steps {
            match rollout.next(now) {
                Next::Start(device) => {
                    assert_eq!(rollout.stopped(), None, "started after a limit");
                    assert!(started.insert(device), "started twice");
                    running.push(device);
                    assert!(running.len() <= self.limits.parallel);
                    let wave = self.wave_of(device);
                    let before = self.waves[..wave].iter().flatten();
                    assert!(before.clone().all(|&d| rollout.outcomes()[d].is_some()));
                    if before.clone().any(|d| started.contains(d)) {
                        let end = ended[..wave].iter().max().unwrap();
                        assert!(now >= *end + self.limits.pause, "no pause");
                    }
                }
                Next::Wait => {
                    let at = self.rng.random_range(0..running.len());
                    let device = running.swap_remove(at);
                    now += Duration::from_millis(self.rng.random_range(0..2000));
                    let wave = self.wave_of(device);
                    ended[wave] = now;
                    rollout.finish(device, self.fate[device].clone());
                }
                Next::Pause(time) => {
                    assert!(running.is_empty() && time <= self.limits.pause);
                    now += time;
                }
                Next::Finished => {
                    assert!(running.is_empty());
                    return started;
                }
            }
        }
        started
    }

    /// No more failed than the limit and the devices at once allow, and without a limit
    /// exceeded nobody was left out.
    fn check_end(&self, rollout: &Rollout) {
        let count = |kind: &Outcome| rollout.count(|outcome| outcome == kind);
        assert!(count(&failed()) <= self.limits.failures + self.limits.parallel);
        assert!(count(&lost()) <= self.limits.unreachable + self.limits.parallel);
        match rollout.stopped() {
            None => assert!(rollout.outcomes().iter().all(Option::is_some)),
            Some(Stopped::Failures { seen, limit }) => {
                assert_eq!((seen, limit), (count(&failed()), self.limits.failures));
            }
            Some(Stopped::Unreachable { .. }) => assert!(count(&lost()) > self.limits.unreachable),
        }
    }
}

#[test]
fn limits_waves_and_pauses_are_kept_and_every_device_is_started_once() {
    for seed in 0..3000 {
        let mut world = World::new(seed);
        let mut rollout = Rollout::new(world.waves.clone(), world.limits);
        let started = world.play(&mut rollout, usize::MAX);
        world.check_end(&rollout);
        let with_outcome = rollout.outcomes().iter().flatten().count();
        assert_eq!(started.len(), with_outcome, "seed {seed}");
    }
}

#[test]
fn an_interrupted_rollout_goes_on_and_repeats_only_what_was_not_reached() {
    for seed in 0..3000 {
        let mut world = World::new(seed);
        let mut first = Rollout::new(world.waves.clone(), world.limits);
        let steps = world.rng.random_range(0..60);
        world.play(&mut first, steps);
        let mut second = Rollout::new(world.waves.clone(), world.limits);
        for (device, outcome) in first.outcomes().iter().enumerate() {
            if let Some(outcome) = outcome {
                second.recall(device, outcome.clone());
            }
        }
        let again = world.play(&mut second, usize::MAX);
        world.check_end(&second);
        for device in again {
            let before = &first.outcomes()[device];
            assert!(matches!(before, None | Some(Outcome::Unreachable { .. })), "seed {seed}");
        }
    }
}

#[test]
fn a_device_that_is_not_reached_is_no_failure() {
    let limits = Limits { parallel: 2, failures: 0, unreachable: 3, pause: Duration::ZERO };
    let mut rollout = Rollout::new(vec![(0..4).collect()], limits);
    for device in 0..3 {
        assert_eq!(rollout.next(Duration::ZERO), Next::Start(device));
        rollout.finish(device, lost());
    }
    assert_eq!(rollout.stopped(), None);
    assert_eq!(rollout.next(Duration::ZERO), Next::Start(3));
    rollout.finish(3, lost());
    assert_eq!(rollout.stopped(), Some(Stopped::Unreachable { seen: 4, limit: 3 }));
    assert_eq!(rollout.next(Duration::ZERO), Next::Finished);
}
