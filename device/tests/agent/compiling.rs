//! Components that are made so that compiling them takes long, or much memory: the agent
//! compiles in a program of its own, and goes on.

use std::path::Path;
use std::sync::LazyLock;

use leeway_client::ClientError;
use leeway_contract::Digest;
use leeway_control::DeployRequest;

use crate::running::testing::Behaviour;
use crate::running::{Running, Start, TestModel, UNSIGNED, component, module, scaling};

/// A function that Cranelift is at for much longer than a second.
static LONG: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let model = TestModel { version: "2".into(), ..TestModel::behaving(Behaviour::Long(200_000)) };
    component(&model)
});

/// An agent with these limits and a version that serves.
fn start(folder: &Path, limits: &str) -> Running {
    let config = format!("{UNSIGNED}{limits}");
    let running = Running::start(folder, &Start { config: &config, ..Start::default() });
    running.deploy(&module(2.0)).unwrap();
    running
}

/// Waits for the program that compiles. Returns its process.
fn compiling(running: &Running) -> u32 {
    running.wait("it compiles", |running| !running.children().is_empty());
    running.children()[0]
}

/// Nothing of the long one is left, and what served serves.
fn assert_nothing_came_of_it(running: &Running, folder: &Path, factor: f64) {
    running.wait("the program ends", |running| running.children().is_empty());
    let long = Digest::of(&LONG).to_hex();
    let code = std::fs::read_dir(folder.join("root/code")).unwrap();
    let mut names = code.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.starts_with(&long)));
    assert_eq!(running.answer(), factor);
}

fn refused(result: Result<(), ClientError>) -> String {
    match result {
        Err(ClientError::Refused(refused)) => {
            assert!(!refused.transient, "{refused:?}");
            format!("{}: {}", refused.step, refused.reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newer_desired_state_takes_the_place_of_one_that_compiles_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "");
    let want = |generation: u32, bytes: &[u8]| {
        let path = folder.path().join(format!("{generation}.wasm"));
        std::fs::write(&path, bytes).unwrap();
        let source = path.display();
        let state = format!(
            "generation = {generation}\n[[model]]\nname = \"scaling\"\nsource = \"{source}\"\n"
        );
        running.client.apply(&state, false).unwrap();
    };
    want(1, &LONG);
    compiling(&running);
    assert_eq!(running.answer(), 2.0);
    want(2, &module(3.0));
    running.wait("the newer one serves", |running| running.answer() == 3.0);
    assert_nothing_came_of_it(&running, folder.path(), 3.0);
}

#[test]
fn one_that_compiles_is_cancelled_by_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| running.deploy(&LONG).unwrap_err().to_string());
        compiling(&running);
        assert_eq!(running.answer(), 2.0);
        // Nor does another model wait for it.
        let other = TestModel { name: "other".into(), ..scaling(3.0) };
        running.deploy(&component(&other)).unwrap();
        assert_eq!(running.client.cancel(Digest::of(&LONG)).unwrap(), 1);
        let error = slow.join().unwrap();
        assert!(error.contains("compile") && error.contains("superseded"), "{error}");
    });
    assert_nothing_came_of_it(&running, folder.path(), 2.0);
}

#[test]
fn compiling_ends_at_its_limits_of_time_and_of_memory() {
    for (limits, wanted) in
        [("compile_s = 1\ncompile_mib = 4000", "1s"), ("compile_mib = 100", "104857600 bytes")]
    {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), &format!("[limits]\n{limits}\n"));
        let error = refused(running.deploy(&LONG));
        assert!(error.starts_with("compile: compiling ") && error.contains(wanted), "{error}");
        assert_nothing_came_of_it(&running, folder.path(), 2.0);
        // And others are compiled after it.
        running.deploy(&module(3.0)).unwrap();
        assert_eq!(running.answer(), 3.0);
    }
}

#[test]
fn a_model_that_wants_more_memory_than_there_is_here_is_not_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "[limits]\ninstance_mib = 1\n");
    let large = TestModel { memory_bytes: 2 << 20, pages: 32, ..scaling(3.0) };
    let error = refused(running.deploy(&component(&large)));
    assert!(error.starts_with("certificate: ") && error.contains("2097152 bytes"), "{error}");
    assert_eq!(running.answer(), 2.0);
}

#[test]
fn the_program_ends_with_the_agent_and_a_restart_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "");
    let digest = running.client.send(&LONG).unwrap();
    let process = std::thread::scope(|scope| {
        scope.spawn(|| running.deploy_sent(&DeployRequest::new(digest)));
        let process = compiling(&running);
        running.signal("-KILL");
        process
    });
    running.wait("it ends", |_| !Path::new(&format!("/proc/{process}")).exists());
    running.kill();
    let config = Start { config: UNSIGNED, ..Start::default() };
    let running = Running::start(folder.path(), &config);
    assert_nothing_came_of_it(&running, folder.path(), 2.0);
}
