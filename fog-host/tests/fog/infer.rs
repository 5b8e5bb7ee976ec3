//! The Open Inference Protocol v2: health, metadata, inference.

use serde_json::{Value, json};

use crate::support::{HEADER_LENGTH, bytes, request, start};
use crate::testing::{Behaviour, TestModel};

#[test]
fn health_and_metadata() {
    let (_host, client) = start();
    assert_eq!(client.get("/v2/health/live").json(), json!({ "live": true }));
    while client.get("/v2/health/ready").status != 200 {}
    let server = client.get("/v2").json();
    assert_eq!(server["name"], "leeway-fog");
    assert_eq!(
        server["extensions"],
        json!([
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "model_repository",
            "statistics"
        ])
    );

    let digest = client.push(&TestModel::chain(2, 2.0));
    client.alias("m", "7", digest);
    for (model, name, version) in
        [("m".to_owned(), "m".to_owned(), "7"), (digest.to_string(), digest.to_string(), "1")]
    {
        let metadata = client.get(&format!("/v2/models/{model}")).json();
        assert_eq!(metadata["name"], name);
        assert_eq!(metadata["versions"], json!([version]));
        let tensor = |name| json!([{ "name": name, "datatype": "FP32", "shape": [1, 4] }]);
        assert_eq!(metadata["inputs"], tensor("x"));
        assert_eq!(metadata["outputs"], tensor("y"));
        assert_eq!(metadata["parameters"]["stages"], 2);
        let versioned = client.get(&format!("/v2/models/{model}/versions/{version}"));
        assert_eq!(versioned.json(), metadata);
        let ready = client.get(&format!("/v2/models/{model}/ready"));
        assert_eq!(ready.json(), json!({ "name": name, "ready": true }));
        client.get(&format!("/v2/models/{model}/versions/99/ready")).error(404);
    }
    client.get("/v2/models/none").error(404);
    client.get("/v2/nothing").error(404);
    assert_eq!(client.delete("/v2/health/live").status, 405);
}

#[test]
fn inference_in_json() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    let mut flat = request(json!([0.1, -2.5, 3, 1e-42]));
    flat["id"] = "request 7".into();
    let answer = client.infer(digest, &flat);
    assert_eq!(answer.values(), [0.2, -5.0, 6.0, 1e-42 * 2.0]);
    let json = answer.json();
    assert_eq!(json["id"], "request 7");
    assert_eq!(json["model_name"], digest.to_string());
    assert_eq!(json["parameters"]["digest"], digest.to_string());
    assert_eq!(json["parameters"]["fuel"], 130);
    assert!(json["parameters"]["compute_ns"].as_u64().unwrap() > 0);
    assert!(json["parameters"]["queue_ns"].as_u64().is_some());
    let timing = answer.header("server-timing").unwrap();
    assert!(timing.starts_with("queue;dur=") && timing.contains("compute;dur="), "{timing}");

    let nested = client.infer(digest, &request(json!([[1, 2, 3, 4]])));
    assert_eq!(nested.values(), [2.0, 4.0, 6.0, 8.0]);
    assert!(nested.json().get("id").is_none());
}

#[test]
fn binary_tensors_both_ways_carry_every_bit() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(1.0));
    let data = bytes([f32::NAN, f32::INFINITY, -0.0, 1e-42]);
    let input = json!({
        "name": "x", "datatype": "FP32", "shape": [1, 4],
        "parameters": { "binary_data_size": 16 }
    });
    let all = json!({ "parameters": { "binary_data_output": true }, "inputs": [input] });
    let one = json!({
        "inputs": [input], "outputs": [{ "name": "y", "parameters": { "binary_data": true } }]
    });
    for request in [all, one] {
        let answer = client.infer_binary(digest, &request, &data);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.binary(), data);
        let output = &answer.json()["outputs"][0];
        assert_eq!(output["parameters"]["binary_data_size"], 16);
        assert!(output.get("data").is_none());
    }
    // Binary in, JSON out; and JSON in, binary out.
    let plain = json!({ "inputs": [input] });
    let answer = client.infer_binary(digest, &plain, &bytes([1.0, 2.0, 3.0, 4.0]));
    assert_eq!(answer.values(), [1.0, 2.0, 3.0, 4.0]);
    assert!(answer.header(HEADER_LENGTH).is_none());
    let mut binary = request(json!([1, 2, 3, 4]));
    binary["parameters"] = json!({ "binary_data_output": true });
    assert_eq!(client.infer(digest, &binary).binary(), bytes([1.0, 2.0, 3.0, 4.0]));
    // What JSON does not have is not made up.
    let error = client.infer_binary(digest, &plain, &data).error(400);
    assert!(error.contains("binary data"), "{error}");
}

#[test]
fn a_range_of_stages_and_a_model_split_in_two() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::chain(3, 2.0));
    let whole = client.infer(digest, &request(json!([1, 1, 1, 1])));
    assert_eq!(whole.values(), [8.0; 4]);

    let mut first = request(json!([1, 1, 1, 1]));
    first["parameters"] = json!({ "last_stage": 0 });
    let first = client.infer(digest, &first);
    assert_eq!(first.values(), [2.0; 4]);
    assert_eq!(first.json()["outputs"][0]["name"], "h1");

    let mut rest = request(json!([2, 2, 2, 2]));
    rest["inputs"][0]["name"] = "h1".into();
    rest["parameters"] = json!({ "first_stage": 1, "last_stage": 2 });
    let rest = client.infer(digest, &rest);
    assert_eq!(rest.values(), [8.0; 4]);
    let fuel = |json: &Value| json["parameters"]["fuel"].as_u64().unwrap();
    assert_eq!(fuel(&first.json()) + fuel(&rest.json()), fuel(&whole.json()) + 53);

    for parameters in [json!({ "first_stage": 3 }), json!({ "first_stage": 2, "last_stage": 1 })] {
        let mut request = request(json!([1, 1, 1, 1]));
        request["parameters"] = parameters;
        assert!(client.infer(digest, &request).error(400).contains("stages, 0 to 2"));
    }
}

#[test]
fn requests_that_are_wrong_are_refused_with_the_reason() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    let path = format!("/v2/models/{digest}/infer");
    let post = |body: &str| client.post(&path, body.as_bytes()).error(400);
    for body in ["", "{", "[]", "{}", "{\"inputs\": 3}", "{\"inputs\": [{}]}", "\u{0}\u{1}"] {
        let error = post(body);
        assert!(error.contains("not an inference request"), "{body}: {error}");
    }
    let wrong = |request: Value| client.infer(digest, &request).error(400);
    assert!(wrong(json!({ "inputs": [] })).contains("input \"x\" is missing"));
    let changed = |pointer: &str, value: Value| {
        let mut request = request(json!([1, 2, 3, 4]));
        *request.pointer_mut(pointer).unwrap() = value;
        wrong(request)
    };
    assert!(changed("/inputs/0/name", "z".into()).contains("\"x\" is missing"));
    let error = changed("/inputs/0/shape", json!([4, 1]));
    assert!(error.contains("wanted FP32[1,4], seen FP32[4,1]"), "{error}");
    assert!(changed("/inputs/0/shape", json!([-1, 4])).contains("not an inference request"));
    assert!(changed("/inputs/0/datatype", "FP33".into()).contains("FP33"));
    assert!(changed("/inputs/0/datatype", "BYTES".into()).contains("BYTES"));
    assert!(changed("/inputs/0/datatype", "INT32".into()).contains("seen INT32[1,4]"));
    assert!(changed("/inputs/0/data", json!([1, 2, 3])).contains("wanted 16 bytes of data"));
    assert!(changed("/inputs/0/data", json!([1, 2, 3, null])).contains("binary data"));
    assert!(changed("/inputs/0/data", json!(["1", 2, 3, 4])).contains("binary data"));
    let nan = request(json!([1, 2, 3, 4])).to_string().replace("[1,2,3,4]", "[1,2,3,NaN]");
    assert!(nan.contains("NaN") && post(&nan).contains("not an inference request"));
    let mut twice = request(json!([1, 2, 3, 4]));
    let input = twice["inputs"][0].clone();
    twice["inputs"].as_array_mut().unwrap().push(input);
    assert!(wrong(twice).contains("twice"));
    let mut unknown = request(json!([1, 2, 3, 4]));
    unknown["outputs"] = json!([{ "name": "z" }]);
    assert!(wrong(unknown).contains("the output \"z\" is not one of [\"y\"]"));
}

#[test]
fn binary_data_that_does_not_fit_is_refused() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    let sized = |size: usize| {
        let parameters = json!({ "binary_data_size": size });
        json!({ "inputs": [
            { "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": parameters }
        ] })
    };
    let data = bytes([1.0; 4]);
    let infer = |size, data: &[u8]| client.infer_binary(digest, &sized(size), data).error(400);
    assert!(infer(17, &data).contains("17 bytes of binary data, 16 are left"));
    assert!(infer(12, &data).contains("4 bytes of binary data belong to no input"));
    assert!(infer(12, &data[..12]).contains("wanted 16 bytes of data, seen 12"));
    assert!(infer(usize::MAX, &data).contains("16 are left"));
    let path = format!("/v2/models/{digest}/infer");
    for length in ["99999", "-1", "x", "18446744073709551616"] {
        let answer = client.post_with(&path, (HEADER_LENGTH, length), b"{}");
        answer.error(400);
    }
}

#[test]
fn a_body_that_is_larger_than_any_request_for_the_model_is_refused() {
    let (_host, client) = start();
    let digest = client.push(&TestModel::scaling(2.0));
    let path = format!("/v2/models/{digest}/infer");
    client.post(&path, &vec![b' '; 1 << 20]).error(413);
    assert_eq!(client.infer(digest, &request(json!([1, 2, 3, 4]))).status, 200);
}

#[test]
fn a_model_that_fails_is_an_error_and_the_host_goes_on() {
    let (_host, client) = start();
    let good = client.push(&TestModel::scaling(2.0));
    let cases = [
        (Behaviour::Trap, "trapped"),
        (Behaviour::WrongShape, "not as certified"),
        (Behaviour::Fail, "failed: no"),
        (Behaviour::OutOfBounds, "internal error"),
    ];
    for (behaviour, wanted) in cases {
        let digest = client.push(&TestModel::behaving(behaviour));
        let error = client.infer(digest, &request(json!([1, 2, 3, 4]))).error(500);
        assert!(error.contains(wanted), "{error}");
        assert_eq!(client.infer(good, &request(json!([1, 2, 3, 4]))).status, 200);
    }
}

#[test]
fn the_probe_swallows_what_it_gets() {
    let (_host, client) = start();
    assert_eq!(client.post("/v1/echo", &[]).json(), json!({ "bytes": 0 }));
    let answer = client.post("/v1/echo", &vec![7; 1_000_000]);
    assert_eq!(answer.json(), json!({ "bytes": 1_000_000 }));
}
