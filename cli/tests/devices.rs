//! `leeway` from a key to a device: keygen, sign, deploy, status, pin, rollback, and
//! bundles, against an agent in this process.

#[allow(dead_code, reason = "each of its users needs a part")]
mod bench;

use bench::{Bench, fixture, with_device};

#[test]
fn a_signed_release_is_deployed_and_an_unsigned_or_older_one_is_not() {
    let bench = Bench::new();
    let error = bench.fail(&with_device(&["deploy", "1.wasm"]));
    assert!(error.contains("leeway sign"), "{error}");

    bench.succeed(&["sign", "1.wasm", "--key", "release.pem", "--counter", "1"]);
    bench.succeed(&["sign", "2.wasm", "--key", "release.pem", "--counter", "2"]);
    bench.succeed(&with_device(&["deploy", "2.wasm", "--reason", "new weights"]));
    let status = bench.succeed(&with_device(&["status"]));
    assert!(status.contains("active     2 ") && status.contains("new weights"), "{status}");
    let error = bench.fail(&with_device(&["deploy", "1.wasm"]));
    assert!(error.contains("--allow-older"), "{error}");

    bench.succeed(&with_device(&["pin", "tabular"]));
    let error = bench.fail(&with_device(&["deploy", "1.wasm", "--allow-older"]));
    assert!(error.contains("pinned"), "{error}");
    bench.succeed(&with_device(&["pin", "tabular", "--undo"]));
    let deployed = bench.succeed(&with_device(&["deploy", "1.wasm", "--allow-older"]));
    assert!(deployed.starts_with("tabular 1 serves"), "{deployed}");

    // Neither has been on probation long enough to return to.
    let error = bench.fail(&with_device(&["rollback", "tabular"]));
    assert!(error.contains("no earlier release"), "{error}");
    let error = bench.fail(&["status", "--to", "unix:nowhere.sock"]);
    assert!(error.contains("nowhere.sock"), "{error}");
}

#[test]
fn a_device_becomes_what_a_file_says_and_tells_how_far_it_is() {
    let bench = Bench::new();
    bench.succeed(&["sign", "1.wasm", "--key", "release.pem", "--counter", "1"]);
    bench.succeed(&["sign", "2.wasm", "--key", "release.pem", "--counter", "2"]);
    let write = |generation: u32, model: &str, version: &str| {
        let source = bench.path(&format!("{version}.wasm"));
        let text = format!(
            "generation = {generation}\n[[model]]\nname = {model:?}\nversion = {version:?}\n\
             source = {source:?}\n[[model.stream]]\nname = \"camera\"\nperiod_ms = 1000\n\
             deadline_ms = 1000\n"
        );
        std::fs::write(bench.path("desired.toml"), text).unwrap();
    };
    let apply = with_device(&["apply", "desired.toml", "--wait", "60"]);
    write(1, "tabular", "1");
    let told = bench.succeed(&apply);
    assert!(told.contains("generation 1") && told.contains("tabular: wanted 1"), "{told}");
    assert!(told.contains("reached"), "{told}");
    // Older and other states are refused, a newer one is taken.
    write(1, "tabular", "2");
    assert!(bench.fail(&apply).contains("generation 1 holds already"));
    write(2, "tabular", "2");
    bench.succeed(&apply);
    write(3, "other", "2");
    let error = bench.fail(&apply);
    assert!(error.contains("not what it shall be"), "{error}");
    let status = bench.succeed(&with_device(&["status"]));
    assert!(status.contains("generation 3") && status.contains("refused"), "{status}");
    assert!(status.contains("wanted the model \"other\""), "{status}");
    assert!(status.contains("active     2 "), "{status}");
    std::fs::write(bench.path("desired.toml"), "generation = \"x\"\n").unwrap();
    assert!(bench.fail(&apply).contains("desired.toml"));
}

#[test]
fn a_device_far_away_is_reached_with_a_certificate_that_it_believes() {
    let bench = Bench::new();
    let address = bench.secure_agent("far", "release");
    bench.succeed(&["sign", "1.wasm", "--key", "release.pem"]);
    let [authority, other, certificate, key, strange, strange_key] =
        ["ca.pem", "other-ca.pem", "operator.pem", "operator.key", "stranger.pem", "stranger.key"]
            .map(fixture);
    let with = |authority: &str, certificate: &str, key: &str, rest: &[&str]| {
        let access = ["--authority", authority, "--certificate", certificate, "--key", key];
        let all = [rest, &["--to", &address], &access].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = bench.leeway(&arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let operator = |rest: &[&str]| run(with(&authority, &certificate, &key, rest));
    let (done, said) = operator(&["deploy", "1.wasm"]);
    assert!(done && said.contains("tabular 1 serves"), "{said}");
    assert!(operator(&["status"]).1.contains("active     1 "));
    assert!(operator(&["pin", "tabular"]).0);
    std::fs::write(bench.path("desired.toml"), "generation = 1\n").unwrap();
    assert!(operator(&["apply", "desired.toml"]).0);

    assert!(!run(with(&authority, &strange, &strange_key, &["status"])).0);
    // Who answers must be the device.
    assert!(!run(with(&other, &certificate, &key, &["status"])).0);
    let error = bench.fail(&["status", "--to", &address]);
    assert!(error.contains("https://HOST:PORT with an authority"), "{error}");
    let plain = address.replace("https", "http");
    let error = bench.fail(&["status", "--to", &plain]);
    assert!(error.contains("this port speaks TLS"), "{error}");
    let error = bench.fail(&["status", "--to", &plain, "--authority", &authority]);
    assert!(error.contains("as there is an authority"), "{error}");
}

#[test]
fn a_stranger_s_signature_is_refused_and_keys_are_not_overwritten() {
    let bench = Bench::new();
    let before = std::fs::read(bench.path("release.pem")).unwrap();
    let error = bench.fail(&["keygen", "release"]);
    assert!(error.contains("release.pem"), "{error}");
    assert_eq!(std::fs::read(bench.path("release.pem")).unwrap(), before);

    bench.succeed(&["keygen", "stranger"]);
    bench.succeed(&["sign", "1.wasm", "--key", "stranger.pem"]);
    let error = bench.fail(&with_device(&["deploy", "1.wasm"]));
    assert!(error.contains("refused at the step signature"), "{error}");
    let error = bench.fail(&["sign", "1.wasm", "--key", "release.pub.pem"]);
    assert!(error.contains("release.pub.pem"), "{error}");
}

#[test]
fn a_bundle_carries_modules_with_their_signatures() {
    let bench = Bench::new();
    bench.succeed(&["sign", "1.wasm", "--key", "release.pem"]);
    bench.succeed(&["bundle", "1.wasm", "2.wasm", "-o", "stick.tar"]);
    let listed = bench.succeed(&["bundle", "stick.tar", "--list"]);
    assert!(listed.contains("tabular:1") && listed.contains("tabular:2"), "{listed}");
    bench.succeed(&["bundle", "stick.tar", "--extract", "out"]);
    for (taken, original) in [
        ("out/tabular-1.wasm", "1.wasm"),
        ("out/tabular-1.wasm.sig", "1.wasm.sig"),
        ("out/tabular-2.wasm", "2.wasm"),
    ] {
        let read = |name| std::fs::read(bench.path(name)).unwrap();
        assert_eq!(read(taken), read(original), "{taken}");
    }
    assert!(!bench.path("out/tabular-2.wasm.sig").exists());
    let error = bench.fail(&["bundle", "model.onnx", "--list"]);
    assert!(error.contains("model.onnx"), "{error}");
}
