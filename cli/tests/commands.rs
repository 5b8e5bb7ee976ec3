//! The `leeway` command as a user runs it: build, inspect and run on the
//! reference models, and what it says when something is wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leeway_compiler::{Options, Oracle};
use leeway_contract::{Digest, Tensor, section};
use leeway_fog_host::{FogConfig, Running};
use leeway_guest_models::{ReferenceModel, reference_model, reference_models};
use leeway_tests::onnx::{Dim, FLOAT, Graph, INT64};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{read_npy, write_npy};
use serde_json::Value;

fn leeway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leeway")).args(arguments).output().expect("leeway starts")
}

fn succeed(arguments: &[&str]) -> String {
    let output = leeway(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "leeway {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("the output is text")
}

/// Runs a command that must fail, with a message of one line and no panic.
fn fail(arguments: &[&str]) -> String {
    let output = leeway(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "leeway {arguments:?} succeeded");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// A directory with a reference model, its component and inputs.
struct Bench {
    directory: tempfile::TempDir,
    model: &'static ReferenceModel,
}

impl Bench {
    fn new(model: &'static ReferenceModel) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("model.onnx"), model.onnx).unwrap();
        let bench = Self { directory, model };
        bench.write_input("x.npy", &model.test().unwrap().inputs[0]);
        bench
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn build(&self) -> String {
        let validation = self.model_folder().join("validation.npz").display().to_string();
        let (onnx, wasm) = (self.path("model.onnx"), self.path("model.wasm"));
        succeed(&["build", &onnx, "-o", &wasm, "--golden", &validation, "--json"])
    }

    fn model_folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-models").join(self.model.name)
    }

    fn write_input(&self, name: &str, tensor: &Tensor) {
        let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
        match tensor.to_f32() {
            Some(values) => {
                let array = ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap();
                write_npy(self.path(name), &array).unwrap();
            }
            None => {
                let array = ArrayD::from_shape_vec(IxDyn(&shape), tensor.data.clone()).unwrap();
                write_npy(self.path(name), &array).unwrap();
            }
        }
    }
}

#[test]
fn reference_models_build_and_run_like_native_tract() {
    for model in reference_models() {
        let bench = Bench::new(model);
        let built: Value = serde_json::from_str(&bench.build()).unwrap();
        assert_eq!(built["golden_vectors"], 4);
        assert!(built["largest_difference_from_tract"].as_f64().unwrap() <= 1e-5);
        let bytes = std::fs::read(bench.path("model.wasm")).unwrap();
        assert_eq!(built["digest"], Digest::of(&bytes).to_string());

        let options = Options { name: model.name.to_string(), ..Options::default() };
        let oracle = Oracle::new(model.onnx, &options).unwrap();
        for engine in ["native", "pulley"] {
            let input = format!("input={}", bench.path("x.npy"));
            let (wasm, out) = (bench.path("model.wasm"), bench.path("out"));
            let ran = succeed(&[
                "run",
                &wasm,
                "--input",
                &input,
                "--output-dir",
                &out,
                "--repeat",
                "3",
                "--engine",
                engine,
                "--json",
            ]);
            let ran: Value = serde_json::from_str(&ran).unwrap();
            assert_eq!(ran["digest"], built["digest"]);
            assert_eq!(ran["certified_fuel"], built["certified_fuel"]);
            assert_eq!(ran["fuel"], Value::from(vec![ran["certified_fuel"].clone(); 3]));
            assert_eq!(ran["nanoseconds"].as_array().unwrap().len(), 3);
            assert_eq!(ran["outputs"][0]["dtype"], "FP32");

            let file = ran["outputs"][0]["file"].as_str().unwrap();
            let seen: ArrayD<f32> = read_npy(file).unwrap();
            let wanted = oracle.run(&[model.test().unwrap().inputs[0].clone()]).unwrap();
            for (seen, wanted) in seen.iter().zip(wanted[0].to_f32().unwrap()) {
                assert!((seen - wanted).abs() <= 1e-5, "{}: {seen} and {wanted}", model.name);
            }
        }
    }
}

#[test]
fn inspect_shows_layers_and_fuel() {
    let bench = Bench::new(reference_model("cnn-digits").unwrap());
    bench.build();
    let text = succeed(&["inspect", &bench.path("model.wasm")]);
    for part in ["conv1", "MaxPool", "Softmax", "sha256:", "wasmtime 48", "static"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let json: Value =
        serde_json::from_str(&succeed(&["inspect", &bench.path("model.wasm"), "--json"])).unwrap();
    assert!(json["profile"].is_null());
    let stages = json["certificate"]["stages"].as_array().unwrap();
    let compute: u64 = stages.iter().map(|stage| stage["fuel"]["compute"].as_u64().unwrap()).sum();
    assert!(compute < json["certified_fuel"].as_u64().unwrap());
    assert_eq!(stages[0]["inputs"][0]["shape"], serde_json::json!([1, 1, 28, 28]));

    let profiled = succeed(&["inspect", &bench.path("model.wasm"), "--profile", "--json"]);
    let profiled: Value = serde_json::from_str(&profiled).unwrap();
    let profile = &profiled["profile"];
    let times = profile["layers"].as_array().unwrap();
    let layers = stages.iter().map(|stage| stage["layers"].as_array().unwrap().len());
    assert_eq!(times.len(), layers.sum::<usize>());
    let share: f64 = times.iter().map(|time| time["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    let sum: u64 = times.iter().map(|time| time["ns"].as_u64().unwrap()).sum();
    assert_eq!(profile["layers_ns"], sum);
    for field in ["compile_ns", "machine_code_bytes", "instantiate_ns", "whole_ns", "rounds"] {
        assert!(profile[field].as_u64().unwrap() > 0, "{field}");
    }
    let text = succeed(&["inspect", &bench.path("model.wasm"), "--profile"]);
    assert!(text.contains("GFLOP/s") && text.contains("to instantiate"), "{text}");
    for line in text.lines().skip_while(|line| !line.is_empty()) {
        assert!(line.chars().count() <= 120, "a wide line: {line}");
    }
}

#[test]
fn calibrate_measures_every_input_and_keeps_what_it_found() {
    let bench = Bench::new(reference_model("mlp-tabular").unwrap());
    bench.build();
    let validation = bench.model_folder().join("validation.npz").display().to_string();
    let [wasm, store, picture, output] =
        ["model.wasm", "store", "picture.svg", "calibration.json"].map(|name| bench.path(name));
    let inputs = bench.model.validation().unwrap().len();
    let runs = (2 * inputs).to_string();
    let arguments = [
        "calibrate",
        &wasm,
        "--validation",
        &validation,
        "--runs",
        &runs,
        "--cold-runs",
        "10",
        "--no-real-time",
        "--store",
        &store,
        "--picture",
        &picture,
        "--output",
        &output,
    ];
    let json: Value =
        serde_json::from_str(&succeed(&[&arguments[..], &["--json"]].concat())).unwrap();
    let calibration = &json["calibration"];
    assert_eq!(calibration["inputs"], inputs);
    assert_eq!(calibration["samples"].as_array().unwrap().len(), 2 * inputs);
    assert_eq!(calibration["cold"]["whole"]["runs"], 10);
    assert_eq!(calibration["real_time"]["scheduling"]["state"], "not-asked");
    let whole = &calibration["warm"]["whole"];
    let time = |name: &str| whole[name].as_u64().unwrap();
    assert!(whole["quantiles"][0]["time_ns"].as_u64().unwrap() <= time("highest_undisturbed_ns"));
    assert!(time("worst_input_ns") <= time("highest_undisturbed_ns"));
    assert!(time("highest_undisturbed_ns") <= time("highest_observed_ns"));
    assert!(whole["ns_per_fuel"]["estimate"].as_f64().unwrap() > 0.0);
    let stages = calibration["warm"]["stages"].as_array().unwrap().len();
    assert_eq!(json["stage_bounds"].as_array().unwrap().len(), stages);
    // Too few runs to extrapolate: the longest and a fifth of it.
    assert_eq!(json["bound"]["basis"], "observed");
    assert!(json["bound"]["time_ns"].as_u64().unwrap() > time("highest_observed_ns"));

    let kept = std::fs::read(json["file"].as_str().unwrap()).unwrap();
    assert_eq!(&serde_json::from_slice::<Value>(&kept).unwrap()["claims"], &calibration["claims"]);
    assert_eq!(std::fs::read(&output).unwrap().trim_ascii(), kept.trim_ascii());
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.contains("highest observed"), "{drawn}");
    let text = succeed(&arguments);
    for part in ["ns per fuel", "cold", "promised: ", "are needed to extrapolate", &store] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }

    let error = fail(&["calibrate", &wasm, "--validation", &bench.path("x.npy")]);
    assert!(error.contains("x.npy") && error.contains(".npz"), "{error}");
}

#[test]
fn labels_name_the_class_and_must_be_as_many_as_classes() {
    let bench = Bench::new(reference_model("mlp-tabular").unwrap());
    let (onnx, wasm) = (bench.path("model.onnx"), bench.path("model.wasm"));
    let error = fail(&["build", &onnx, "-o", &wasm, "--labels", "a,b,c"]);
    assert!(error.contains("3 labels") && error.contains("2 classes"), "{error}");
    succeed(&["build", &onnx, "-o", &wasm, "--labels", "malignant,benign"]);
    let input = format!("input={}", bench.path("x.npy"));
    let text = succeed(&["run", &wasm, "--input", &input]);
    assert!(text.contains("= malignant") || text.contains("= benign"), "{text}");
}

#[test]
fn a_component_runs_on_a_fog_host_with_the_same_bits() {
    let bench = Bench::new(reference_model("mlp-tabular").unwrap());
    bench.build();
    let (wasm, input) = (bench.path("model.wasm"), format!("input={}", bench.path("x.npy")));
    let host = Running::start(FogConfig::default()).unwrap();
    let url = host.url();
    let run = |out: &str, more: &[&str]| {
        let out = bench.path(out);
        let run = ["run", &wasm, "--input", &input, "--json", "--output-dir", &out];
        serde_json::from_str::<Value>(&succeed(&[&run[..], more].concat())).unwrap()
    };
    let (here, there) = (run("here", &[]), run("there", &["--fog", &url, "--repeat", "2"]));
    assert_eq!(there["fog"], url);
    assert_eq!(there["fuel"], Value::from(vec![here["fuel"][0].clone(); 2]));
    let file = |ran: &Value| std::fs::read(ran["outputs"][0]["file"].as_str().unwrap()).unwrap();
    assert_eq!(file(&there), file(&here));
    let authority = ["--fog", &url, "--fog-authority", "/nowhere/ca.pem"];
    let run = [&["run", &wasm, "--input", &input][..], &authority].concat();
    assert!(fail(&run).contains("/nowhere/ca.pem"));
}

#[test]
fn wrong_inputs_are_refused_with_what_was_wanted_and_seen() {
    let bench = Bench::new(reference_model("mlp-tabular").unwrap());
    bench.build();
    let wasm = bench.path("model.wasm");
    let error = fail(&["run", &wasm]);
    assert!(error.contains("--input input=FILE.npy"), "{error}");
    let error = fail(&["run", &wasm, "--input", "y=x.npy"]);
    assert!(error.contains("no input \"y\"") && error.contains("\"input\""), "{error}");
    let error = fail(&["run", &wasm, "--input", "input=missing.npy"]);
    assert!(error.contains("missing.npy"), "{error}");

    bench.write_input("odd.npy", &Tensor::from_f32(&[1, 31], &[0.0; 31]));
    let error = fail(&["run", &wasm, "--input", &format!("input={}", bench.path("odd.npy"))]);
    assert!(error.contains("FP32[1,30]") && error.contains("FP32[1,31]"), "{error}");
    bench.write_input("odd.npy", &Tensor::from_u8(&[1, 30], &[0; 30]));
    let error = fail(&["run", &wasm, "--input", &format!("input={}", bench.path("odd.npy"))]);
    assert!(error.contains("FP32[1,30]") && error.contains("U8[1,30]"), "{error}");
}

#[test]
fn damaged_and_lying_components_are_refused() {
    let bench = Bench::new(reference_model("mlp-tabular").unwrap());
    bench.build();
    let wasm = bench.path("model.wasm");
    let input = format!("input={}", bench.path("x.npy"));
    let bytes = std::fs::read(&wasm).unwrap();

    let other = Digest::of(b"another").to_string();
    let error = fail(&["run", &wasm, "--input", &input, "--digest", &other]);
    assert!(error.contains(&other) && error.contains(&Digest::of(&bytes).to_string()), "{error}");

    let damaged = bench.path("damaged.wasm");
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    fail(&["run", &damaged, "--input", &input]);
    fail(&["inspect", &damaged]);
    std::fs::write(&damaged, b"\x7fELF").unwrap();
    fail(&["inspect", &damaged]);

    // The certificate claims less fuel than the code burns.
    let mut certificate = section::read_certificate(&bytes).unwrap();
    let options = Options { name: "liar".into(), ..Options::default() };
    let compiled = leeway_compiler::compile(bench.model.onnx, &options).unwrap();
    certificate.stages[0].fuel.compute.0 -= 1;
    let mut lying = strip_sections(&compiled.seal(&[]).component);
    section::append(&mut lying, &mut certificate, &[]);
    std::fs::write(&damaged, &lying).unwrap();
    let error = fail(&["run", &damaged, "--input", &input]);
    assert!(error.contains("out of fuel"), "{error}");
}

/// The component without its certificate.
fn strip_sections(component: &[u8]) -> Vec<u8> {
    let json = section::read_certificate(component).unwrap().to_json();
    // The section is the last: its id, its size, its name with its length, the
    // certificate.
    let content = 1 + section::CERTIFICATE.len() + json.len();
    let mut size = content;
    let mut size_bytes = 1;
    while size >= 0x80 {
        size >>= 7;
        size_bytes += 1;
    }
    component[..component.len() - content - size_bytes - 1].to_vec()
}

#[test]
fn models_that_are_none_get_a_clear_error() {
    let bench = Bench::new(reference_model("mlp-tabular").unwrap());
    let onnx = bench.path("model.onnx");
    let error = fail(&["build", &bench.path("missing.onnx")]);
    assert!(error.contains("missing.onnx"), "{error}");
    std::fs::write(&onnx, &bench.model.onnx[..bench.model.onnx.len() / 2]).unwrap();
    let error = fail(&["build", &onnx, "-o", &bench.path("model.wasm")]);
    assert!(error.contains("not a valid ONNX model"), "{error}");
    assert!(!Path::new(&bench.path("model.wasm")).exists(), "nothing is left behind");
}

#[test]
fn a_refused_model_that_an_interpreter_would_take_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("computed-weights.onnx");
    let mut graph = Graph::new();
    let x = graph.input("x", FLOAT, &[1, 1, 3, 3].map(Dim::from));
    let weights = graph.input("weights", FLOAT, &[1, 1, 2, 2].map(Dim::from));
    let y = graph.node("ConvTranspose", &[&x, &weights], &[]);
    std::fs::write(&file, graph.finish(&[&y])).unwrap();
    let error = fail(&["build", &file.display().to_string()]);
    assert!(error.contains("convtranspose_1") && error.contains("--interpret"), "{error}");

    let mut graph = Graph::new();
    let limit = graph.input("limit", INT64, &[]);
    let [start, step] = [0, 1].map(|number| graph.ints_shaped(&[], &[number]));
    let y = graph.node("Range", &[&start, &limit, &step], &[]);
    std::fs::write(&file, graph.finish_typed(&[&y], INT64)).unwrap();
    let file = file.display().to_string();
    assert!(!fail(&["build", &file]).contains("--interpret"));
    let error = fail(&["build", &file, "--interpret"]);
    assert!(error.contains("depends on data"), "{error}");
    fail(&["build", &file, "--margin", "10"]);
}

#[test]
fn a_hand_written_module_is_certified_and_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("vibration.wasm"), leeway_interpret::guest::vibration()).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../guest-models/guests/vibration/test.npz")
        .display()
        .to_string();
    let certify = |input: &str| {
        [
            "certify".to_owned(),
            path("vibration.wasm"),
            format!("--output={}", path("certified.wasm")),
            format!("--input={input}"),
            "--output-tensor=probabilities=FP32[1,3]".to_owned(),
            "--output-tensor=alarm=BOOL[1]".to_owned(),
            "--labels=in order,unbalanced,bearing worn".to_owned(),
            format!("--golden={golden}"),
            "--json".to_owned(),
        ]
    };
    let arguments = certify("samples=U8[1,512]");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let built: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
    let stage = &built["certificate"]["stages"][0];
    assert_eq!(stage["bound"], "measured");
    assert!(built["measured"]["most_fuel"].as_u64() < built["certified_fuel"].as_u64());
    let inspected = succeed(&["inspect", &path("certified.wasm")]);
    assert!(inspected.contains("(measured)"), "{inspected}");
    assert_eq!(stage["layers"][0]["operator"], "written by hand");
    succeed(&["calibrate", &path("certified.wasm"), "--validation", &golden]);

    let arguments = certify("samples=U8[1,511]");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let error = fail(&arguments);
    assert!(error.contains("U8[1,511]") && error.contains("[60, 512]"), "{error}");
}
