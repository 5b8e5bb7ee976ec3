//! The invariants of ARCHITECTURE.md that are about what must not be there.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The packages that a package is built from, itself included.
fn packages_of(package: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn assert_lacks(package: &str, unwanted: impl Fn(&str) -> bool) {
    let packages = packages_of(package);
    assert!(packages.len() > 1, "{package} depends on nothing: {packages:?}");
    let found: Vec<&String> = packages.iter().filter(|name| unwanted(name)).collect();
    assert!(found.is_empty(), "{package} must not depend on {found:?}");
}

/// The Rust sources under a folder, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source is text");
                files.push((path, text));
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(folder), &mut files);
    assert!(!files.is_empty(), "no sources in {folder}");
    files
}

/// The code of a source: no comments.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_contract_depends_on_no_other_crate_of_ours_and_on_no_engine() {
    assert_lacks("leeway-contract", |name| {
        (name.starts_with("leeway-") && name != "leeway-contract")
            || name.starts_with("wasmtime")
            || name.starts_with("tract")
    });
}

#[test]
fn the_protocol_depends_on_the_contract_only_and_does_no_io() {
    assert_lacks("leeway-protocol", |name| {
        let ours = name.starts_with("leeway-");
        (ours && name != "leeway-protocol" && name != "leeway-contract")
            || ["wasmtime", "tokio", "http", "ureq", "axum"].contains(&name)
    });
}

#[test]
fn the_device_s_client_carries_no_engine_and_nothing_asynchronous() {
    for package in ["leeway-client", "leeway-control", "leeway-fleet"] {
        assert_lacks(package, |name| {
            let engine = name.starts_with("wasmtime") || name.starts_with("cranelift");
            engine || ["tokio", "hyper", "leeway-runtime", "leeway-deploy"].contains(&name)
        });
    }
}

#[test]
fn distribution_depends_on_the_contract_only_and_on_no_engine() {
    assert_lacks("leeway-distribution", |name| {
        let ours = name.starts_with("leeway-");
        (ours && name != "leeway-distribution" && name != "leeway-contract")
            || name.starts_with("wasmtime")
            || name.starts_with("tract")
    });
}

#[test]
fn the_device_carries_no_compiler_and_no_tract() {
    assert_lacks("leeway-runtime", |name| name == "leeway-compiler" || name.starts_with("tract"));
}

#[test]
fn the_fog_host_carries_no_compiler_and_no_tract() {
    assert_lacks("leeway-fog-host", |name| {
        name == "leeway-compiler" || name.starts_with("tract") || name == "leeway-lab"
    });
}

#[test]
fn the_compiler_carries_no_engine() {
    // wasmtime-environ is the fuel table; the engine itself is not there.
    assert_lacks("leeway-compiler", |name| {
        name == "wasmtime" || name.starts_with("cranelift-codegen") || name == "leeway-runtime"
    });
}

#[test]
fn deploying_knows_no_network_and_nothing_asynchronous() {
    assert_lacks("leeway-deploy", |name| {
        ["axum", "hyper", "tokio", "leeway-fog-host", "leeway-compiler"].contains(&name)
            || name.starts_with("tract")
    });
    for (path, text) in sources("deploy/src") {
        for word in ["http", "ureq", "TcpStream", "async fn"] {
            assert!(!code(&text).contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn nothing_depends_on_the_command() {
    for package in
        ["leeway-compiler", "leeway-runtime", "leeway-deploy", "leeway-fog-host", "leeway-lab"]
    {
        assert_lacks(package, |name| name == "leeway-cli" || name == "leeway-tests");
    }
}

#[test]
fn the_sandbox_knows_nothing_of_http() {
    for (path, text) in sources("runtime/src/sandbox") {
        for word in ["http", "ureq", "axum", "hyper", "crate::offload"] {
            assert!(!code(&text).contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn the_offloader_knows_nothing_of_the_server() {
    for (path, text) in sources("runtime/src") {
        for word in ["axum", "hyper::", "leeway_fog_host"] {
            assert!(!code(&text).contains(word), "{} names {word}", path.display());
        }
    }
    assert_lacks("leeway-runtime", |name| name == "axum" || name == "hyper");
}

#[test]
fn only_the_fog_client_speaks_http_on_the_device() {
    for (path, text) in sources("runtime/src") {
        let is_client = path.components().any(|part| part.as_os_str() == "fog");
        let is_test = path.to_string_lossy().contains("tests");
        assert!(is_client || is_test || !code(&text).contains("ureq"), "{}", path.display());
    }
}

#[test]
fn no_wall_clock_enters_a_decision() {
    for folder in ["runtime/src/offload", "runtime/src/executor", "runtime/src/admission"] {
        for (path, text) in sources(folder) {
            for word in ["SystemTime", "UNIX_EPOCH", "clock_gettime", "header::DATE"] {
                assert!(!code(&text).contains(word), "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn no_wall_clock_decides_what_a_device_runs() {
    for folder in ["deploy/src", "device/src"] {
        for (path, text) in sources(folder) {
            // The history says when, for people.
            let history = path.ends_with("deploy/src/deployer/mod.rs");
            // What can be made again goes by its age; whatever goes, nothing is lost.
            let history = history || path.ends_with("deploy/src/deployer/leftovers.rs");
            for word in ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME"] {
                let names = code(&text).contains(word);
                assert!(history || !names, "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn every_source_says_its_subject_first() {
    let folders = [
        "wit/src",
        "protocol/src",
        "telemetry/src",
        "tls/src",
        "control/src",
        "client/src",
        "fleet/src",
        "compiler/src",
        "guest-models/src",
        "runtime/src",
        "deploy/src",
        "distribution/src",
        "device/src",
        "fog-host/src",
        "lab/src",
    ];
    for folder in folders.into_iter().chain(["cli", "tests", "benches"]) {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{} has no first line", path.display());
            assert!(path.file_stem().is_none_or(|name| name != "utils"), "{}", path.display());
        }
    }
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let folders = [
        "wit/src",
        "protocol/src",
        "telemetry/src",
        "tls/src",
        "compiler/src",
        "runtime/src",
        "deploy/src",
        "device/src",
        "fog-host/src",
        "lab/src",
        "cli/src",
    ];
    for (path, text) in folders.into_iter().flat_map(sources) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let is_code = !line.trim_start().starts_with("//");
            if is_code && (line.contains("unsafe {") || line.contains("unsafe fn")) {
                let before = lines[at.saturating_sub(12)..at].join("\n");
                assert!(before.contains("SAFETY"), "{}:{}", path.display(), at + 1);
            }
        }
    }
}
