//! Components that are made so that compiling them takes long, or much memory.

use std::sync::LazyLock;
use std::time::Duration;

use leeway_contract::Digest;
use leeway_deploy::compile::{CompileLimits, Compiler};
use leeway_fog_host::FogConfig;
use serde_json::json;

use crate::support::{component, request, start_with};
use crate::testing::{Behaviour, TestModel};

/// A function that Cranelift is at for much longer than a second.
static LONG: LazyLock<Vec<u8>> =
    LazyLock::new(|| component(&TestModel::behaving(Behaviour::Long(200_000))));

fn refused(limits: CompileLimits) -> String {
    let config = FogConfig {
        workers: 1,
        compiler: Some(Compiler { program: env!("CARGO_BIN_EXE_leeway-fog").into(), limits }),
        ..FogConfig::default()
    };
    let (_host, client) = start_with(config);
    let good = client.push(&TestModel::scaling(2.0));
    let digest = Digest::of(&LONG);
    let error = client.put(&format!("/v1/modules/{digest}"), &LONG).error(422);
    assert_eq!(client.head(&format!("/v1/modules/{digest}")).status, 404);
    let answer = client.infer(good, &request(json!([1, 2, 3, 4])));
    assert_eq!(answer.values(), [2.0, 4.0, 6.0, 8.0]);
    // And others are compiled after it.
    client.push(&TestModel::scaling(3.0));
    error
}

#[test]
fn compiling_ends_at_its_time() {
    let limits = CompileLimits { time: Duration::from_secs(1), ..FogConfig::COMPILE_LIMITS };
    let error = refused(limits);
    assert!(error.contains("compile: ") && error.contains("1s"), "{error}");
}

#[test]
fn compiling_ends_at_its_memory() {
    let limits = CompileLimits { memory_bytes: 150 << 20, ..FogConfig::COMPILE_LIMITS };
    let error = refused(limits);
    assert!(error.contains("compile: ") && error.contains("memory"), "{error}");
}
