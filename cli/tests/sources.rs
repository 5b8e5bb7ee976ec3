//! Modules to a device and to `leeway verify` from wherever they are: a registry, a
//! stick, a fog host. The registry is Debian's docker-registry, so that those tests are
//! ignored by default; `.ci/run` runs them.

#[allow(dead_code, reason = "each of its users needs a part")]
mod bench;
#[allow(dead_code, reason = "each of its users needs a part")]
#[path = "../../distribution/src/registry/server.rs"]
mod server;

use bench::{Bench, with_device};
use leeway_contract::Digest;
use leeway_fog_host::{FogConfig, Running};
use server::Server;

/// A bench whose version 1 is signed by the key that its device trusts.
fn signed() -> Bench {
    let bench = Bench::new();
    bench.succeed(&["sign", "1.wasm", "--key", "release.pem", "--counter", "7"]);
    bench
}

fn digest_of(bench: &Bench, file: &str) -> String {
    Digest::of(&std::fs::read(bench.path(file)).unwrap()).to_string()
}

#[test]
fn a_stick_deploys_with_its_signature() {
    let bench = signed();
    bench.succeed(&["bundle", "1.wasm", "2.wasm", "-o", "stick.tar"]);
    let error = bench.fail(&with_device(&["deploy", "stick.tar"]));
    assert!(error.contains("tabular:1") && error.contains("tabular:2"), "{error}");
    let error = bench.fail(&with_device(&["deploy", "stick.tar#tabular:2"]));
    assert!(error.contains("refused at the step signature"), "{error}");
    let deployed = bench.succeed(&with_device(&["deploy", "stick.tar#tabular:1", "--json"]));
    let deployed: serde_json::Value = serde_json::from_str(&deployed).unwrap();
    assert_eq!(deployed["version"], "1");
    assert_eq!(deployed["digest"], digest_of(&bench, "1.wasm"));
}

#[test]
fn a_fog_host_s_module_deploys_by_digest() {
    let bench = signed();
    let host = Running::start(FogConfig::default()).unwrap();
    let digest = digest_of(&bench, "1.wasm");
    let url = host.url();
    let module = std::fs::read(bench.path("1.wasm")).unwrap();
    ureq::put(format!("{url}/v1/modules/{digest}")).send(&module[..]).unwrap();

    let error = bench.fail(&with_device(&["deploy", &digest]));
    assert!(error.contains("--from"), "{error}");
    let from = ["deploy", &digest, "--from", &url];
    let error = bench.fail(&with_device(&from));
    assert!(error.contains("refused at the step signature"), "{error}");
    let signature = [&from[..], &["--signature", "1.wasm.sig"]].concat();
    let deployed = bench.succeed(&with_device(&signature));
    assert!(deployed.contains("tabular 1 serves"), "{deployed}");

    let other = digest_of(&bench, "2.wasm");
    let error = bench.fail(&with_device(&["deploy", &other, "--from", &url]));
    assert!(error.contains("404") && error.contains(&other), "{error}");
}

#[test]
fn a_signature_on_the_fog_host_travels_along() {
    let bench = signed();
    let trust = bench.path("trust.toml");
    std::fs::write(&trust, "[[key]]\nname = \"release\"\nfile = \"release.pub.pem\"\n").unwrap();
    let host = Running::start(FogConfig { trust: Some(trust), ..FogConfig::default() }).unwrap();
    let (digest, url) = (digest_of(&bench, "1.wasm"), host.url());
    let put = |path: &str, file: &str| {
        let bytes = std::fs::read(bench.path(file)).unwrap();
        ureq::put(format!("{url}/v1/modules/{path}")).send(&bytes[..]).unwrap();
    };
    put(&format!("{digest}/signature"), "1.wasm.sig");
    put(&digest, "1.wasm");
    let model = format!("[[model]]\nname = \"tabular\"\nsource = \"{url}\"\n");
    let text = format!("generation = 1\n{model}digest = \"{digest}\"\n");
    std::fs::write(bench.path("desired.toml"), text).unwrap();
    bench.succeed(&with_device(&["apply", "desired.toml", "--wait", "60"]));
    let deployed = bench.succeed(&with_device(&["deploy", &digest, "--from", &url]));
    assert!(deployed.contains("tabular 1 serves"), "{deployed}");
}

#[test]
fn settings_come_with_a_deployment_and_wrong_ones_do_not_reach_the_device() {
    let bench = signed();
    let deploy = with_device(&["deploy", "1.wasm", "--settings", "settings.toml"]);
    std::fs::write(bench.path("settings.toml"), "[rollout]\nshadow = 2.0\n").unwrap();
    let error = bench.fail(&deploy);
    assert!(error.contains("rollout.shadow"), "{error}");
    std::fs::write(bench.path("settings.toml"), "[probation]\ninferences = 3\n").unwrap();
    bench.succeed(&deploy);
    let status = bench.succeed(&with_device(&["status", "--json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["models"]["tabular"]["slots"]["settings"]["probation"]["inferences"], 3);
}

#[test]
fn verify_tells_what_holds_by_its_exit_status() {
    let bench = signed();
    bench.succeed(&["keygen", "stranger"]);
    let verify = |arguments: &[&str]| {
        let output = bench.leeway(&[&["verify"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let key = ["--key", "release.pub.pem"];
    let (status, text) = verify(&["1.wasm", key[0], key[1]]);
    assert!(status == Some(0) && text.contains("release 7"), "{text}");
    let (status, text) = verify(&["1.wasm", "--key", "stranger.pub.pem"]);
    assert!(status == Some(1) && text.contains("is a stranger"), "{text}");
    let (status, text) = verify(&["1.wasm", key[0], key[1], "--threshold", "2"]);
    assert!(status == Some(1) && text.contains("2 trusted key(s)"), "{text}");
    let (status, text) = verify(&["2.wasm", key[0], key[1]]);
    assert!(status == Some(1) && text.contains("leeway sign"), "{text}");
    let other = digest_of(&bench, "2.wasm");
    let (status, text) = verify(&["1.wasm", key[0], key[1], "--digest", &other, "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &verdict["verified"]), (Some(1), &false.into()));
    assert_eq!(verdict["checks"][0]["holds"], false);
    assert_eq!(verdict["checks"][2]["holds"], true);
    for impossible in [&["nowhere.wasm", key[0], key[1]][..], &["1.wasm"]] {
        let (status, text) = verify(impossible);
        assert!(status == Some(2), "{text}");
    }
    let mut module = std::fs::read(bench.path("1.wasm")).unwrap();
    *module.last_mut().unwrap() ^= 1;
    std::fs::write(bench.path("1.wasm"), module).unwrap();
    let (status, text) = verify(&["1.wasm", key[0], key[1]]);
    assert!(status == Some(1) && text.contains("WRONG"), "{text}");
}

#[test]
#[ignore = "needs Debian's docker-registry"]
fn a_device_fetches_from_a_registry_what_it_shall_be() {
    let bench = signed();
    let server = Server::start();
    let reference = server.reference("models/tabular:1");
    bench.succeed(&["push", "1.wasm", &reference]);
    // A stranger attaches a newer release's signature: the other one counts.
    bench.succeed(&["keygen", "stranger"]);
    std::fs::copy(bench.path("1.wasm"), bench.path("again.wasm")).unwrap();
    bench.succeed(&["sign", "again.wasm", "--key", "stranger.pem", "--counter", "9"]);
    bench.succeed(&["push", "again.wasm", &reference]);
    let apply = |generation: u32, source: &str| {
        let model = format!("[[model]]\nname = \"tabular\"\nsource = \"{source}\"\n");
        let text = format!("generation = {generation}\n{model}");
        std::fs::write(bench.path("desired.toml"), text).unwrap();
        with_device(&["apply", "desired.toml", "--wait", "60"])
    };
    let told = bench.succeed(&apply(1, &reference));
    assert!(told.contains("reached"), "{told}");
    let status = bench.succeed(&with_device(&["status"]));
    assert!(status.contains("active     1 "), "{status}");

    // By the manifest's digest, and another version.
    bench.succeed(&["sign", "2.wasm", "--key", "release.pem", "--counter", "8"]);
    let pushed = bench.succeed(&["push", "2.wasm", &server.reference("models/tabular:2")]);
    let digest = pushed.split("sha256:").nth(1).expect(&pushed);
    let digest: String = digest.chars().take_while(char::is_ascii_hexdigit).collect();
    let by_digest = server.reference(&format!("models/tabular@sha256:{digest}"));
    bench.succeed(&apply(2, &by_digest));
    let status = bench.succeed(&with_device(&["status"]));
    assert!(status.contains("active     2 "), "{status}");

    let missing = server.reference("models/tabular:9");
    apply(3, &missing);
    bench.succeed(&with_device(&["apply", "desired.toml"]));
    let begin = std::time::Instant::now();
    loop {
        let status = bench.succeed(&with_device(&["status"]));
        if status.contains("tabular:9") && status.contains("active     2 ") {
            break;
        }
        assert!(begin.elapsed().as_secs() < 60, "{status}");
    }
}

#[test]
#[ignore = "needs Debian's docker-registry"]
fn a_registry_s_module_deploys_with_the_signatures_attached_to_it() {
    let bench = signed();
    let server = Server::start();
    let reference = server.reference("models/tabular:1");
    bench.succeed(&["push", "1.wasm", &reference]);
    let deployed = bench.succeed(&with_device(&["deploy", &reference]));
    assert!(deployed.contains("tabular 1 serves"), "{deployed}");
    bench.succeed(&["verify", &reference, "--key", "release.pub.pem"]);

    // A stranger attaches a newer release's signature: the device asks for the other.
    bench.succeed(&["keygen", "stranger"]);
    std::fs::copy(bench.path("1.wasm"), bench.path("again.wasm")).unwrap();
    bench.succeed(&["sign", "again.wasm", "--key", "stranger.pem", "--counter", "9"]);
    bench.succeed(&["push", "again.wasm", &reference]);
    bench.succeed(&with_device(&["deploy", &reference]));
    bench.succeed(&["verify", &reference, "--key", "release.pub.pem"]);

    let missing = server.reference("models/tabular:9");
    let error = bench.fail(&with_device(&["deploy", &missing]));
    assert!(error.contains("tabular:9"), "{error}");
    let unsigned = server.reference("models/tabular:2");
    bench.succeed(&["push", "2.wasm", &unsigned]);
    let error = bench.fail(&with_device(&["deploy", &unsigned]));
    assert!(error.contains("refused at the step signature"), "{error}");
    let cosign = ["verify", &reference, "--cosign-key", "release.pub.pem"];
    assert_eq!(bench.leeway(&cosign).status.code(), Some(1));
}
