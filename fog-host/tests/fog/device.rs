//! The device's own client against the host.

use std::time::Duration;

use leeway_contract::{Digest, Tensor};
use leeway_runtime::offload::fog::{Fog as _, FogError, HttpFog, InferRequest, Pushed};
use leeway_runtime::sandbox::Sandbox;

use crate::support::{component, start};
use crate::testing::{Behaviour, TestModel};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn the_device_pushes_probes_and_infers_with_every_bit() {
    let (host, _) = start();
    let fog = HttpFog::new(&host.url()).unwrap();
    let model = TestModel::chain(3, 1.0);
    let (component, certificate) = (component(&model), model.certificate(&Sandbox::engine_claim()));
    let digest = Digest::of(&component);
    assert_eq!(fog.push(digest, &component, LIMIT).unwrap(), Pushed::Sent);
    assert_eq!(fog.push(digest, &component, LIMIT).unwrap(), Pushed::AlreadyThere);
    fog.probe(LIMIT).unwrap();
    assert!(fog.probe_throughput(300_000, LIMIT).unwrap().up_bytes >= 300_000);

    let values = [f32::NAN, f32::NEG_INFINITY, -0.0, 1e-42];
    let inputs = TestModel::input(values);
    for (first, last) in [(0, 2), (0, 0), (1, 2), (2, 2)] {
        let certificate = &certificate;
        let request =
            InferRequest { id: 1, digest, certificate, stages: first..=last, inputs: &inputs };
        let answer = fog.infer(&request, LIMIT).unwrap();
        assert_eq!(answer.outputs, inputs);
        assert_eq!(Some(answer.time.fuel), certificate.fuel(first..=last));
        assert!(answer.time.compute > Duration::ZERO);
    }
}

#[test]
fn the_device_is_told_why_it_was_refused() {
    let (host, client) = start();
    let fog = HttpFog::new(&host.url()).unwrap();
    let model = TestModel::behaving(Behaviour::Trap);
    let certificate = model.certificate(&Sandbox::engine_claim());
    let inputs: Vec<Tensor> = TestModel::input([0.0; 4]);
    let infer = |digest| {
        let certificate = &certificate;
        let request = InferRequest { id: 1, digest, certificate, stages: 0..=0, inputs: &inputs };
        match fog.infer(&request, LIMIT).unwrap_err() {
            FogError::Refused { status, message } => (status, message),
            error => panic!("{error}"),
        }
    };
    let (status, message) = infer(Digest::of(b"unknown"));
    assert!(status == 404 && message.contains("push it first"), "{status} {message}");
    let (status, message) = infer(client.push(&model));
    assert!(status == 500 && message.contains("trapped"), "{status} {message}");
    let other = fog.push(Digest::of(b"unknown"), b"other bytes", LIMIT).unwrap_err();
    assert!(matches!(other, FogError::Refused { status: 400, .. }), "{other}");
}
