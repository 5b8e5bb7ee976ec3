//! The executor's thread with real components, whose fog host is the test.

use std::time::Duration;

use super::*;
use crate::admission::{Executor, Offloading, Overload, Stream, admit};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::testing::{Behaviour, TestModel};

const MS: Duration = Duration::from_millis(1);

fn stream(name: &str, stages: usize) -> Stream {
    Stream {
        name: name.into(),
        period: 20 * MS,
        deadline: 20_000 * MS,
        jitter: Duration::ZERO,
        priority: None,
        stages: vec![MS; stages],
        core: None,
        overload: Overload::DropOldest,
        // No period is so long that the fog host's answer comes after it.
        offload: Some(Offloading { setup: Duration::ZERO }),
    }
}

fn executor(models: &[(Stream, TestModel)]) -> LocalExecutor {
    let streams: Vec<Stream> = models.iter().map(|(stream, _)| stream.clone()).collect();
    // So that a machine busy with other tests stops nothing.
    let executor = Executor { tolerance: 5 * MS, ..Executor::default() };
    let admission = admit(&streams, &executor).unwrap();
    let services = Service::of_core(&streams, &admission, &executor, 0);
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let models = services.into_iter().zip(models).map(|(service, (_, model))| {
        let component = model.component(&Sandbox::engine_claim());
        let instance = sandbox.load(&component).unwrap().instantiate().unwrap();
        Model { service: Service { tolerance: 10_000 * MS, ..service }, instance }
    });
    LocalExecutor::start(executor.scheduling, models.collect(), RealTime::default()).unwrap()
}

fn values(answered: &Answered) -> Vec<f32> {
    answered.outputs[0].to_f32().unwrap()
}

#[test]
fn inputs_of_several_streams_are_answered_by_their_own_models() {
    let models = [
        (stream("double", 1), TestModel::scaling(2.0)),
        (stream("chain", 3), TestModel::chain(3, 2.0)),
    ];
    let executor = executor(&models);
    for round in 0..20 {
        let tickets: Vec<Ticket> = (0..2)
            .map(|stream| {
                let inputs = TestModel::input([round as f32; 4]);
                executor.submit(stream, executor.now(), inputs, false).unwrap()
            })
            .collect();
        let answers: Vec<Answered> = tickets.into_iter().map(|t| t.wait().unwrap()).collect();
        assert_eq!(values(&answers[0]), [2.0 * round as f32; 4]);
        assert_eq!(values(&answers[1]), [8.0 * round as f32; 4]);
        assert!(answers.iter().all(|answer| answer.by == By::Device));
        std::thread::sleep(21 * MS);
    }
    assert_eq!(executor.counts(0).by_device, 20);
    assert_eq!(executor.counts(1).by_device, 20);
}

#[test]
fn the_first_answer_counts_whoever_gives_it() {
    let executor = executor(&[(stream("double", 1), TestModel::scaling(2.0))]);
    let input = || TestModel::input([1.0; 4]);

    let ticket = executor.submit(0, executor.now(), input(), true).unwrap();
    let job = ticket.taken.job;
    assert!(executor.fog_answered(0, job, TestModel::input([7.0; 4])));
    assert!(!executor.fog_answered(0, job, TestModel::input([8.0; 4])));
    let answered = ticket.wait().unwrap();
    assert_eq!((values(&answered), answered.by), (vec![7.0; 4], By::Fog));

    std::thread::sleep(21 * MS);
    let ticket = executor.submit(0, executor.now(), input(), true).unwrap();
    let job = ticket.taken.job;
    // The fog host is silent: the device answers when the input is armed.
    let answered = ticket.wait().unwrap();
    assert_eq!((values(&answered), answered.by), (vec![2.0; 4], By::Device));
    assert!(!executor.fog_answered(0, job, TestModel::input([7.0; 4])));

    let counts = executor.counts(0);
    assert_eq!((counts.by_fog, counts.by_device, counts.fog_too_late), (1, 1, 2));
}

#[test]
fn a_failed_request_is_answered_by_the_device_at_once() {
    let mut slow = stream("double", 1);
    // Armed so late that the test would time out.
    (slow.period, slow.deadline) = (20_000_000 * MS, 20_000_000 * MS);
    let executor = executor(&[(slow, TestModel::scaling(2.0))]);
    let ticket = executor.submit(0, executor.now(), TestModel::input([1.0; 4]), true).unwrap();
    executor.fog_failed(0, ticket.taken.job);
    assert_eq!(ticket.wait().unwrap().by, By::Device);
}

#[test]
fn a_model_that_traps_fails_its_own_inputs_only() {
    let models = [
        (stream("trap", 1), TestModel::behaving(Behaviour::Trap)),
        (stream("double", 1), TestModel::scaling(2.0)),
    ];
    let executor = executor(&models);
    let tickets: Vec<Ticket> = (0..2)
        .map(|stream| {
            executor.submit(stream, executor.now(), TestModel::input([1.0; 4]), false).unwrap()
        })
        .collect();
    let answers: Vec<Answer> = tickets.into_iter().map(Ticket::wait).collect();
    assert!(matches!(answers[0], Err(ExecutorError::Run(_))), "{:?}", answers[0]);
    assert_eq!(values(answers[1].as_ref().unwrap()), [2.0; 4]);
    assert_eq!(executor.counts(0).failed, 1);
}

#[test]
fn a_newer_input_takes_the_place_of_one_that_came_too_early() {
    let mut slow = stream("double", 1);
    (slow.period, slow.deadline) = (20_000 * MS, 20_000 * MS);
    let executor = executor(&[(slow, TestModel::scaling(2.0))]);
    let submit = || executor.submit(0, executor.now(), TestModel::input([1.0; 4]), false);
    assert_eq!(submit().unwrap().wait().unwrap().by, By::Device);
    let (early, earlier) = (submit().unwrap(), submit().unwrap());
    assert_eq!(earlier.taken.dropped, Some(early.taken.job));
    assert!(matches!(early.wait(), Err(ExecutorError::Replaced)));
    // And the executor ends without waiting for the one that is left.
    drop(executor);
    assert!(matches!(earlier.wait(), Err(ExecutorError::Ended)));
}
