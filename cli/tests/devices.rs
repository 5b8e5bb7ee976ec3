//! `leeway` from a key to a device: keygen, sign, deploy, status, pin, rollback, and
//! bundles, against an agent in this process.

mod bench;

use bench::{Bench, with_device};

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
