//! The agent as a program: it is killed without warning again and again while
//! versions come and go, and answers with a whole one each time it starts.

use crate::running::{Running, Start, TestModel, UNSIGNED, component, module};
use leeway_contract::Digest;
use leeway_control::DeployRequest;
use leeway_control::settings::{Rules, Settings};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::Duration;

const TURNS: u64 = 16;

/// What is done to the agent when it is killed.
fn disturb(running: &Running, factor: f32, what: u32) {
    match what {
        0 => {
            running.client.roll_back("scaling", None).ok();
        }
        1 => {
            // A candidate that is refused at the end: its module is collected.
            let mut bad = crate::running::scaling(factor);
            bad.golden[0].outputs[0].data[5] ^= 1;
            running.deploy(&component(&bad)).ok();
        }
        _ => {
            let Ok(digest) = running.client.send(&module(factor)) else { return };
            // It has proven itself at once, so that there is a version before.
            let probation = Rules { seconds: 0, ..Rules::default() };
            let settings = Some(Settings { probation, ..Settings::default() });
            let request = DeployRequest { settings, ..DeployRequest::new(digest) };
            running.deploy_sent(&request).ok();
        }
    }
}

#[test]
fn killed_at_any_moment_it_starts_with_the_old_version_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { config: UNSIGNED, ..Start::default() };
    let mut running = Running::start(folder.path(), &start);
    disturb(&running, 2.0, 2);
    let mut factors = vec![2.0f32];
    let mut rng = StdRng::seed_from_u64(5);
    for turn in 0..TURNS {
        let (next, what) = (3.0 + turn as f32, rng.random_range(0..5));
        let after = Duration::from_micros(rng.random_range(0..80_000));
        std::thread::scope(|scope| {
            let disturbing = scope.spawn(|| disturb(&running, next, what));
            std::thread::sleep(after);
            running.signal("-9");
            disturbing.join().unwrap();
        });
        running.kill();
        running = Running::start(folder.path(), &start);
        factors.push(next);
        let now = running.answer() as f32;
        assert!(factors.contains(&now), "turn {turn}, {what}: {now}");
        assert_eq!(running.active(), Digest::of(&module(now)), "turn {turn}, {what}");
        let status = running.status();
        assert_eq!(status.models["scaling"].broken, None, "turn {turn}, {what}");
        // What was half done does not stand in the way of the next.
        disturb(&running, next + 0.5, 2);
        assert_eq!(running.answer() as f32, next + 0.5, "turn {turn}, {what}");
        factors.push(next + 0.5);
    }
}

#[test]
fn what_is_refused_says_so_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { config: UNSIGNED, ..Start::default() };
    let running = Running::start(folder.path(), &start);
    running.deploy(&module(2.0)).unwrap();
    let bad =
        TestModel { import: Some("wasi:sockets/tcp@0.2.0".into()), ..TestModel::scaling(3.0) };
    let error = running.deploy(&component(&bad)).unwrap_err().to_string();
    assert!(error.contains("certificate") && error.contains("wasi:sockets"), "{error}");
    assert_eq!(running.answer(), 2.0);
    let missing = DeployRequest::new(Digest::of(b"nothing"));
    let error = running.deploy_sent(&missing).unwrap_err().to_string();
    assert!(error.contains("not in the store"), "{error}");
    let error = running.client.roll_back("scaling", None).unwrap_err().to_string();
    assert!(error.contains("409"), "{error}");
    running.client.pin("scaling", true, None).unwrap();
    assert!(running.deploy(&module(3.0)).unwrap_err().to_string().contains("pinned"));
}
