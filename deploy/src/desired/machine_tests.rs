//! The machine of desired states, on stories and on random ones.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use leeway_control::desired::{DesiredModel, DesiredState, Others};

fn digest(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn model(name: &str, module: u64) -> DesiredModel {
    DesiredModel { name: name.into(), digest: Some(digest(module)), ..DesiredModel::default() }
}

fn state(generation: u64, models: &[(&str, u64)]) -> DesiredState {
    let models = models.iter().map(|(name, module)| model(name, *module)).collect();
    DesiredState { generation, models, ..DesiredState::default() }
}

/// A device that does what the machine says, as a test wants it to.
#[derive(Default)]
struct World {
    machine: Machine,
    now: Duration,
    kept: Option<Kept>,
    active: BTreeMap<String, Digest>,
    running: BTreeMap<Ticket, (String, Want, u64)>,
    cancelled: Vec<Ticket>,
}

impl World {
    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { ticket, model, want, since } => {
                    assert!(self.running.insert(ticket, (model, want, since)).is_none());
                }
                Action::Cancel(ticket) => {
                    assert!(self.running.contains_key(&ticket), "it runs");
                    assert!(!self.cancelled.contains(&ticket), "cancelled twice");
                    self.cancelled.push(ticket);
                }
            }
        }
    }

    fn want(&mut self, state: DesiredState) {
        let kept = Kept::after(self.kept.as_ref(), state, &self.active, false).unwrap();
        if let Some(kept) = kept {
            let actions = self.machine.want(self.now, &kept, &self.active);
            self.kept = Some(kept);
            self.apply(actions);
        }
    }

    /// As the device's state machine does it: an attempt that is not wanted any more
    /// changes nothing.
    fn end(&mut self, ticket: Ticket, end: End) {
        let (model, _, since) = self.running.remove(&ticket).unwrap();
        let kept = self.kept.as_mut().unwrap();
        if let End::Reached { digest, canary: false } = &end
            && kept.wants_since(&model, since)
        {
            kept.tried(&model, *digest, true);
            match digest {
                Some(digest) => self.active.insert(model, *digest),
                None => self.active.remove(&model),
            };
        }
        self.machine.ended(self.now, ticket, end);
        self.pass(Duration::ZERO);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let actions = self.machine.due(self.now);
        self.apply(actions);
    }

    fn only(&self, name: &str) -> Ticket {
        let live = self.running.iter().filter(|(ticket, _)| !self.cancelled.contains(ticket));
        let mut of = live.filter(|(_, (model, ..))| model == name);
        let ticket = *of.next().expect("an attempt").0;
        assert!(of.next().is_none(), "two attempts");
        ticket
    }

    fn stands(&self, name: &str) -> (GoalState, u32) {
        let (_, goal) = self.machine.standing().find(|(n, _)| *n == name).unwrap();
        (goal.state, goal.attempts)
    }
}

fn reached(module: u64) -> End {
    End::Reached { digest: Some(digest(module)), canary: false }
}

#[test]
fn a_newer_state_supersedes_a_stuck_one_at_once_and_others_go_on() {
    let mut world = World::default();
    world.want(state(1, &[("a", 1), ("b", 2)]));
    let (stuck, other) = (world.only("a"), world.only("b"));
    world.want(state(2, &[("a", 3), ("b", 2)]));
    assert_eq!(world.cancelled, [stuck]);
    assert_eq!(world.only("b"), other);
    let new = world.only("a");
    world.end(new, reached(3));
    // The stuck one wakes up, and changes nothing.
    world.end(stuck, reached(1));
    assert_eq!(world.active["a"], digest(3));
    assert_eq!(world.stands("a").0, GoalState::Reached);
}

#[test]
fn failures_are_repeated_later_and_later_and_a_newer_state_does_not_wait() {
    let mut world = World::default();
    world.want(state(1, &[("a", 1)]));
    let mut delays = Vec::new();
    for attempt in 1..=12 {
        assert_eq!(world.stands("a"), (GoalState::Working, attempt));
        world.end(world.only("a"), End::Failed("no network".into()));
        let delay = world.machine.next().unwrap() - world.now;
        delays.push(delay);
        world.pass(delay - Duration::from_nanos(1));
        assert_eq!(world.stands("a"), (GoalState::Waiting, attempt));
        world.pass(Duration::from_nanos(1));
    }
    let rule = RetryRule::default();
    assert!(delays[0] <= rule.first && delays[0] >= rule.first / 2, "{delays:?}");
    assert!(delays[11] <= rule.most && delays[11] >= rule.most / 2, "{delays:?}");
    world.end(world.only("a"), End::Failed("no network".into()));
    world.want(state(2, &[("a", 1)]));
    assert_eq!(world.stands("a"), (GoalState::Working, 1));
}

#[test]
fn what_was_refused_is_not_repeated_until_something_changes() {
    let mut world = World::default();
    world.want(state(1, &[("a", 1), ("b", 2), ("c", 3)]));
    world.end(world.only("a"), End::Refused("not signed".into()));
    world.end(world.only("b"), End::NotAdmitted("no time".into()));
    world.pass(Duration::from_secs(1 << 20));
    assert_eq!(world.stands("a"), (GoalState::Refused, 1));
    assert_eq!(world.stands("b"), (GoalState::Refused, 1));
    // Another model takes less time now, perhaps.
    world.end(world.only("c"), reached(3));
    assert_eq!(world.stands("a"), (GoalState::Refused, 1));
    assert_eq!(world.stands("b"), (GoalState::Working, 2));
    world.machine.retry(world.now);
    world.pass(Duration::ZERO);
    assert_eq!(world.stands("a"), (GoalState::Working, 2));
}

#[test]
fn what_was_lost_is_not_repeated_also_after_a_restart_until_a_newer_state_comes() {
    let mut world = World::default();
    world.active.insert("a".into(), digest(0));
    world.want(state(1, &[("a", 1)]));
    world.end(world.only("a"), reached(1));
    world.active.insert("a".into(), digest(0));
    let last = Some("rolled back: it trapped".to_owned());
    let observed = Observed { active: Some(digest(0)), candidate: None, last };
    world.machine.observe(world.now, "a", &observed);
    world.pass(Duration::from_secs(1 << 20));
    assert_eq!(world.stands("a"), (GoalState::Lost, 1));
    assert!(world.machine.standing().next().unwrap().1.reason.unwrap().contains("it trapped"));
    let restarted = |world: &World| {
        let mut machine = Machine::default();
        let actions = machine.want(world.now, world.kept.as_ref().unwrap(), &world.active);
        let state = machine.standing().next().unwrap().1.state;
        (state, actions.len())
    };
    assert_eq!(restarted(&world), (GoalState::Lost, 0));
    world.want(state(2, &[("a", 1)]));
    world.end(world.only("a"), reached(1));
    assert_eq!(restarted(&world), (GoalState::Reached, 0));
    world.want(state(3, &[("a", 1)]));
    assert!(world.running.is_empty(), "what is reached stays so");
}

#[test]
fn a_canary_is_reached_when_it_is_active_and_lost_when_it_is_withdrawn() {
    for promoted in [true, false] {
        let mut world = World::default();
        world.want(state(1, &[("a", 1)]));
        world.end(world.only("a"), End::Reached { digest: Some(digest(1)), canary: true });
        let seen = |active, candidate| Observed { active, candidate, last: None };
        world.machine.observe(world.now, "a", &seen(Some(digest(0)), Some(digest(1))));
        assert_eq!(world.stands("a").0, GoalState::Canary);
        let active = if promoted { digest(1) } else { digest(0) };
        world.machine.observe(world.now, "a", &seen(Some(active), None));
        let wanted = if promoted { GoalState::Reached } else { GoalState::Lost };
        assert_eq!(world.stands("a").0, wanted);
    }
}

#[test]
fn only_a_higher_generation_takes_the_place_of_another_state() {
    let none = BTreeMap::new();
    let kept = Kept::after(None, state(5, &[("a", 1)]), &none, false).unwrap().unwrap();
    let after = |generation, module, force| {
        Kept::after(Some(&kept), state(generation, &[("a", module)]), &none, force)
    };
    assert_eq!(after(5, 1, false), Ok(None));
    use super::super::kept::StaleError;
    assert_eq!(after(5, 2, false), Err(StaleError::Other(5)));
    assert_eq!(after(4, 2, false), Err(StaleError::Older { seen: 4, holds: 5 }));
    let forced = after(4, 2, true).unwrap().unwrap();
    // Attempts for generation 5 are told apart from those for the forced one.
    assert!(!forced.wants_since("a", 5) && forced.wants_since("a", 6));
}

/// Random stories: whatever happens in whatever order, each model has at most one
/// attempt that counts, what is superseded is cancelled, the newest wish is worked on
/// at once, nothing is done for a wish that does not hold, and when failures end, the
/// device becomes what it shall be.
#[test]
fn random_stories() {
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::default();
        let names = ["a", "b", "c", "d"];
        let mut generation = 0;
        for _ in 0..120 {
            match rng.random_range(0..10) {
                0 | 1 => {
                    generation += 1;
                    let mut next = state(generation, &[]);
                    for name in names {
                        if rng.random_bool(0.7) {
                            next.models.push(model(name, rng.random_range(0..3)));
                        }
                    }
                    next.others = if rng.random() { Others::Keep } else { Others::Remove };
                    world.want(next);
                    // Nothing waits after a new wish.
                    assert_eq!(world.machine.next(), None, "seed {seed}");
                }
                2 => world.pass(Duration::from_millis(rng.random_range(0..100_000))),
                _ => end_one(&mut world, &mut rng),
            }
            check(&world, seed);
        }
        // From now on everything works.
        for _ in 0..200 {
            let live: Vec<Ticket> = world.running.keys().copied().collect();
            live.into_iter().for_each(|ticket| succeed(&mut world, ticket));
            world.machine.retry(world.now);
            world.pass(Duration::ZERO);
        }
        let states = world.machine.standing().map(|(_, goal)| goal.state);
        assert!(states.into_iter().all(|state| state == GoalState::Reached), "seed {seed}");
        let Some(kept) = &world.kept else { continue };
        for (name, want) in kept.wants() {
            let wanted = match want {
                Want::Model(model) => model.digest,
                Want::Absent => None,
            };
            assert_eq!(world.active.get(&name).copied(), wanted, "seed {seed}, {name}");
        }
    }
}

fn succeed(world: &mut World, ticket: Ticket) {
    let digest = match &world.running[&ticket].1 {
        Want::Model(model) => model.digest,
        Want::Absent => None,
    };
    world.end(ticket, End::Reached { digest, canary: false });
}

fn end_one(world: &mut World, rng: &mut StdRng) {
    let Some(ticket) = world.running.keys().copied().choose(rng) else { return };
    match rng.random_range(0..4) {
        0 => world.end(ticket, End::Failed("a".into())),
        1 => world.end(ticket, End::Refused("b".into())),
        2 => world.end(ticket, End::NotAdmitted("c".into())),
        _ => succeed(world, ticket),
    }
}

fn check(world: &World, seed: u64) {
    let kept = world.kept.as_ref();
    let mut live = BTreeMap::new();
    for (ticket, (model, want, since)) in &world.running {
        if world.cancelled.contains(ticket) {
            continue;
        }
        assert!(live.insert(model, ticket).is_none(), "seed {seed}: two attempts at {model}");
        let kept = kept.unwrap();
        assert!(kept.wants_since(model, *since), "seed {seed}: {model} is wanted otherwise");
        assert_eq!(kept.wants().get(model), Some(want), "seed {seed}");
    }
    for (name, goal) in world.machine.standing() {
        assert_eq!(goal.ticket.as_ref(), live.get(&name.to_owned()).copied(), "seed {seed}");
    }
}
