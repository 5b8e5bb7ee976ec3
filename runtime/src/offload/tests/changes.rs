//! The set of streams changes while inputs come and the link fails: whatever is added,
//! removed, replaced, refused or set aside, and whenever, no admitted stream misses a
//! deadline.
//!
//! Seeded; a failure prints its seed. LEEWAY_SEEDS sets how many seeds are tried.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::streams::{Sky, bad_weather, random_set, seeds, subject};
use crate::admission::{Admission, Executor, Scheduling, Stream, admit, plan};
use crate::offload::fog::{FogAnswer, FogError, Traffic};
use crate::offload::policy::{AllFog, DeadlineAware, Policy};
use crate::offload::simulate::{Arrival, World, simulate};
use crate::offload::{Begun, Dispatcher, Due, InputId, NotTaken, Placed, ProbeRule, Subject};

const MS: Duration = Duration::from_millis(1);
const END: Duration = Duration::from_secs(8);
const CHANGES: u32 = 40;

/// A stream with the version of its model.
type Member = (Stream, u32);

/// What is wanted from a time on.
#[derive(Clone, Debug)]
enum Step {
    Serve {
        set: Vec<Member>,
        admission: Admission,
    },
    /// So many streams are set aside for their smaller models.
    SetAside(usize),
}

/// What is served when, and what comes when.
struct Scene {
    executor: Executor,
    steps: Vec<(Duration, Step)>,
    arrivals: Vec<Arrival>,
    /// How many streams there ever are.
    names: usize,
    /// Those that are the same from the first set to the last.
    constant: Vec<usize>,
    refused: u32,
}

fn streams(set: &[Member]) -> Vec<Stream> {
    set.iter().map(|(stream, _)| stream.clone()).collect()
}

fn models(set: &[Member]) -> Vec<Vec<Subject>> {
    let model = |(stream, version): &Member| {
        vec![subject(stream, format!("{} {version}", stream.name).as_bytes())]
    };
    set.iter().map(model).collect()
}

/// Deadlines hardly longer than response times, where that is admitted: what was not
/// counted would be late at once. The first stream's stays.
fn tightened(set: Vec<Member>, executor: &Executor, rng: &mut ChaCha8Rng) -> Option<Vec<Member>> {
    let admission = admit(&streams(&set), executor).ok()?;
    let mut tight = set.clone();
    for ((stream, _), admitted) in tight.iter_mut().zip(&admission.streams).skip(1) {
        let wanted = admitted.response.mul_f64(rng.random_range(1.0..1.2)) + stream.jitter;
        stream.deadline = stream.deadline.min(wanted);
    }
    Some(if admit(&streams(&tight), executor).is_ok() { tight } else { set })
}

/// One stream of a new name, sometimes with a smaller model.
fn newcomers(number: usize, rng: &mut ChaCha8Rng) -> Vec<Member> {
    let mut large = random_set(rng).remove(0);
    large.name = format!("{number}");
    if !rng.random_bool(0.3) {
        return vec![(large, 0)];
    }
    let small = Stream {
        name: format!("{number} small"),
        stages: vec![MS],
        offload: None,
        ..large.clone()
    };
    large.degrade_to = Some(small.name.clone());
    vec![(large, 0), (small, 0)]
}

/// The set with something added, removed, replaced or asked otherwise; not the first
/// stream.
fn changed(mut set: Vec<Member>, number: usize, rng: &mut ChaCha8Rng) -> Vec<Member> {
    let large: Vec<usize> = (0..set.len()).filter(|&i| !set[i].0.name.ends_with("small")).collect();
    let one = large[rng.random_range(1..large.len())];
    let name = set[one].0.name.clone();
    match rng.random_range(0..4) {
        0 if set.len() < 6 => set.extend(newcomers(number, rng)),
        1 if large.len() > 2 => {
            set.retain(|(of, _)| of.name != name && of.name != format!("{name} small"));
        }
        2 => {
            let model = random_set(rng).remove(0);
            let (stream, version) = &mut set[one];
            (stream.stages, *version) = (model.stages, *version + 1);
        }
        _ => {
            let stream = &mut set[one].0;
            stream.period = stream.period.mul_f64(rng.random_range(0.6..1.6));
            stream.deadline = stream.deadline.mul_f64(rng.random_range(0.8..1.6));
        }
    }
    set
}

impl Scene {
    fn random(seed: u64) -> Option<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(3_000 + seed);
        let scheduling = match seed % 2 {
            0 => Scheduling::EarliestDeadlineFirst,
            _ => Scheduling::FixedPriority,
        };
        let cores = 1 + seed as usize % 3 / 2;
        let executor = Executor { cores, scheduling, dispatch: MS / 50, ..Executor::default() };
        let first = random_set(&mut rng).into_iter().map(|stream| (stream, 0)).collect();
        let mut set = tightened(first, &executor, &mut rng)?;
        let mut scene = Self {
            executor,
            steps: Vec::new(),
            arrivals: Vec::new(),
            names: 0,
            constant: Vec::new(),
            refused: 0,
        };
        scene.push(Duration::ZERO, &set);
        for number in 1..=CHANGES {
            let at = END / (CHANGES + 1) * number + MS.mul_f64(rng.random_range(0.0..90.0));
            if rng.random_bool(0.2) {
                scene.steps.push((at, Step::SetAside(rng.random_range(0..=1))));
                continue;
            }
            let next = changed(set.clone(), number as usize + 10, &mut rng);
            let next = if rng.random() { tightened(next, &executor, &mut rng) } else { Some(next) };
            match next.filter(|next| admit(&streams(next), &executor).is_ok()) {
                Some(next) => {
                    set = next;
                    scene.push(at, &set);
                }
                None => scene.refused += 1,
            }
        }
        scene.let_inputs_come(&mut rng);
        Some(scene)
    }

    fn push(&mut self, at: Duration, set: &[Member]) {
        let admission = admit(&streams(set), &self.executor).expect("it was tried");
        self.steps.push((at, Step::Serve { set: set.to_vec(), admission }));
    }

    /// Inputs of every stream as often as the set of the time allows, mostly.
    fn let_inputs_come(&mut self, rng: &mut ChaCha8Rng) {
        let sets: Vec<(Duration, &Vec<Member>)> = self
            .steps
            .iter()
            .filter_map(|(at, step)| match step {
                Step::Serve { set, .. } => Some((*at, set)),
                Step::SetAside(_) => None,
            })
            .collect();
        // As the dispatcher will name them.
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (stream, _) in sets.iter().flat_map(|(_, set)| set.iter()) {
            let next = names.len();
            names.entry(&stream.name).or_insert(next);
        }
        let of = |name: &str, at: Duration| {
            let (_, set) = sets.iter().rev().find(|(from, _)| *from <= at)?;
            set.iter().map(|(stream, _)| stream).find(|stream| stream.name == name)
        };
        self.names = names.len();
        for (&name, &stream) in &names {
            let all = sets.iter().map(|(_, set)| set.iter().find(|(of, _)| of.name == name));
            let all: Vec<_> = all.collect();
            if all.iter().all(|one| *one == all[0]) {
                self.constant.push(stream);
            }
            let mut at = Duration::ZERO;
            let mut ready = Duration::ZERO;
            while at < END && !name.ends_with("small") {
                let Some(asked) = of(name, at) else {
                    at += MS;
                    continue;
                };
                ready = ready.max(at + asked.jitter.mul_f64(rng.random_range(0.0..=1.0)));
                self.arrivals.push(Arrival { ready, arrived: at, stream });
                let gap = if rng.random_bool(0.9) { 1.0 } else { rng.random_range(1.0..2.0) };
                at += asked.period.mul_f64(gap);
            }
        }
        self.arrivals.sort_by_key(|arrival| arrival.ready);
    }
}

/// The weather, and what is wanted as time goes by.
struct Changing<'a> {
    sky: Sky<'a>,
    scene: &'a Scene,
    next: usize,
    given_back: u64,
    not_taken: u64,
    /// Changes of the set that did not come to their end at once.
    waited: u64,
    /// Since when one is under way, and the longest that one was.
    since: Option<Duration>,
    longest: Duration,
}

impl World for Changing<'_> {
    fn arrives(
        &mut self,
        now: Duration,
        _: usize,
        _: Arrival,
        dispatcher: &mut Dispatcher,
    ) -> Vec<InputId> {
        if let Some(since) = self.since.take_if(|_| !dispatcher.is_changing()) {
            self.longest = self.longest.max(now - since);
        }
        let due = self.scene.steps.get(self.next).filter(|(at, _)| *at <= now);
        let Some((_, step)) = due.filter(|_| !dispatcher.is_changing()) else { return Vec::new() };
        self.next += 1;
        let given_back = match step {
            Step::Serve { set, admission } => {
                let Begun { named, given_back } =
                    dispatcher.change(now, &streams(set), admission, models(set));
                assert_eq!(named.len(), set.len());
                if dispatcher.is_changing() {
                    self.waited += 1;
                    self.since = Some(now);
                }
                given_back
            }
            Step::SetAside(most) => {
                let present = dispatcher.present();
                let order: Vec<String> = present.iter().map(|stream| stream.name.clone()).collect();
                let planned = plan(&present, dispatcher.executor(), &order, *most);
                dispatcher.adopt(now, &planned)
            }
        };
        self.given_back += given_back.len() as u64;
        given_back
    }

    fn not_taken(&mut self, _: Duration, _: Arrival, why: NotTaken) {
        self.not_taken += u64::from(!matches!(why, NotTaken::Shed(_)));
    }

    fn infer(
        &mut self,
        now: Duration,
        placed: &Placed,
        limit: Duration,
    ) -> (Duration, Result<FogAnswer, FogError>) {
        self.sky.infer(now, placed, limit)
    }

    fn probe(&mut self, now: Duration, due: Due) -> (Duration, Result<Traffic, FogError>) {
        self.sky.probe(now, due)
    }

    fn run(
        &mut self,
        now: Duration,
        input: InputId,
        stream: usize,
        stages: RangeInclusive<u32>,
        budget: Duration,
    ) -> Duration {
        self.sky.run(now, input, stream, stages, budget)
    }
}

#[test]
fn no_admitted_stream_misses_while_the_set_changes_and_the_link_fails() {
    let (mut changes, mut refused, mut waited, mut given_back) = (0, 0, 0, 0);
    let mut longest = Duration::ZERO;
    for seed in 0..4 * seeds() {
        let Some(scene) = Scene::random(seed) else { continue };
        let policies: [Box<dyn Policy>; 2] = [Box::new(AllFog), Box::<DeadlineAware>::default()];
        for policy in policies {
            let what = format!("seed {seed}, {}", policy.name());
            let (nobody, rule) = (Admission { streams: Vec::new() }, ProbeRule::default());
            let mut dispatcher =
                Dispatcher::new(&[], &nobody, &scene.executor, Vec::new(), policy, rule);
            let mut world = Changing {
                sky: Sky::new(&bad_weather, seed),
                scene: &scene,
                next: 0,
                given_back: 0,
                not_taken: 0,
                waited: 0,
                since: None,
                longest: Duration::ZERO,
            };
            let mut answered = 0;
            let mut see = |record: crate::offload::record::DecisionRecord| {
                answered += 1;
                assert!(!record.missed(), "{what}: {record:?}");
            };
            let dispatch = scene.executor.dispatch;
            simulate(&mut dispatcher, &scene.arrivals, dispatch, true, &mut world, &mut see);
            assert!(dispatcher.is_idle() && !dispatcher.is_changing(), "{what}");
            let mut ended = answered + world.not_taken + world.given_back;
            for stream in 0..scene.names {
                let counts = dispatcher.counts(stream);
                assert_eq!((counts.missed, counts.failed), (0, 0), "{what}: {counts:?}");
                assert!(
                    !scene.constant.contains(&stream) || counts.shed == 0,
                    "{what}: {counts:?}"
                );
                ended += counts.shed;
            }
            assert_eq!(ended, scene.arrivals.len() as u64, "{what}");
            changes += world.next as u32;
            (waited, given_back) = (waited + world.waited, given_back + world.given_back);
            longest = longest.max(world.longest);
        }
        refused += scene.refused;
    }
    let seen = format!(
        "{changes} changes, {refused} refused, {waited} waited, {longest:?} at most, \
         {given_back} inputs given back"
    );
    let wanted = seeds() as u32;
    assert!(changes > 40 * wanted && refused > wanted && waited > u64::from(wanted), "{seen}");
    assert!(given_back > 0, "{seen}");
    println!("{seen}");
}
