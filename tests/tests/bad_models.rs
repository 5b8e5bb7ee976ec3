//! Models that cannot be compiled: each gets an error that says what was wrong,
//! and none a panic.

use leeway_compiler::{CompileError, Options, compile};
use leeway_tests::onnx::{Attribute, BFLOAT16, Dim, FLOAT, Graph};

fn options() -> Options {
    Options { name: "test".into(), file: "test.onnx".into(), ..Options::default() }
}

fn error(onnx: &[u8]) -> CompileError {
    match compile(onnx, &options()) {
        Ok(_) => panic!("the model was compiled"),
        Err(error) => error,
    }
}

#[test]
fn an_unknown_operator_is_named_with_its_node_and_file() {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &[1usize.into(), 8usize.into()]);
    let output = graph.node("Unique", &[&input], &[]);
    let message = error(&graph.finish(&[&output])).to_string();
    for part in ["test.onnx", "unique_1", "(Unique)", "not supported; TopK"] {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

#[test]
fn an_operator_that_does_not_exist_is_named() {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &[1usize.into(), 8usize.into()]);
    let output = graph.node("Frobnicate", &[&input], &[]);
    let message = error(&graph.finish(&[&output])).to_string();
    assert!(message.contains("Frobnicate"), "{message}");
}

#[test]
fn computed_weights_are_refused_with_the_reason() {
    let mut graph = Graph::new();
    let a = graph.input("a", FLOAT, &[1usize.into(), 1usize.into(), 4usize.into(), 4usize.into()]);
    let b = graph.input("b", FLOAT, &[1usize.into(), 1usize.into(), 2usize.into(), 2usize.into()]);
    let output = graph.node("ConvTranspose", &[&a, &b], &[]);
    let message = error(&graph.finish(&[&output])).to_string();
    assert!(message.contains("(ConvTranspose)") && message.contains("constant"), "{message}");
}

#[test]
fn four_spatial_dimensions_are_refused() {
    let mut graph = Graph::new();
    let shape = [1usize, 1, 4, 4, 4, 4].map(Dim::from);
    let input = graph.input("x", FLOAT, &shape);
    let weights = graph.floats(&[1, 1, 2, 2, 2, 2], &[0.5; 16]);
    let output = graph.node("Conv", &[&input, &weights], &[]);
    let message = error(&graph.finish(&[&output])).to_string();
    assert!(message.contains("4 spatial dimensions; 1 to 3 are supported"), "{message}");
}

#[test]
fn an_unknown_dimension_that_is_no_batch_asks_for_its_size() {
    let build = || {
        let mut graph = Graph::new();
        let shape = [Dim::Symbol("N"), Dim::Symbol("T"), 4usize.into()];
        let input = graph.input("x", FLOAT, &shape);
        let output = graph.node("Relu", &[&input], &[]);
        graph.finish(&[&output])
    };
    let message = error(&build()).to_string();
    assert!(message.contains("--set T=SIZE") && message.contains("\"x\""), "{message}");

    let mut options = options();
    options.sizes.insert("T".into(), 6);
    let compiled = compile(&build(), &options).unwrap();
    assert_eq!(compiled.certificate().inputs()[0].shape, [1, 6, 4]);
}

#[test]
fn shapes_inside_the_graph_may_be_in_symbols_that_get_a_size() {
    let mut graph = Graph::new();
    let shape = [Dim::Symbol("N"), 4usize.into()];
    let input = graph.input("x", FLOAT, &shape);
    let inner = graph.node("Exp", &[&input], &[]);
    graph.state(&inner, FLOAT, &shape);
    let output = graph.node("Relu", &[&inner], &[]);
    let mut options = options();
    options.sizes.insert("N".into(), 3);
    let compiled = compile(&graph.finish(&[&output]), &options).unwrap();
    assert_eq!(compiled.certificate().outputs()[0].shape, [3, 4]);
}

#[test]
fn a_type_that_is_not_supported_is_named() {
    let mut graph = Graph::new();
    let input = graph.input("x", BFLOAT16, &[1usize.into(), 4usize.into()]);
    let output = graph.node("Mul", &[&input, &input], &[]);
    let message = error(&graph.finish_typed(&[&output], BFLOAT16)).to_string();
    assert!(message.contains("BFLOAT16") && message.contains("FLOAT16"), "{message}");
}

#[test]
fn a_model_without_a_graph_and_bytes_that_are_no_model_are_invalid() {
    for bytes in [&b""[..], b"hello, this is no protobuf", &[0xff; 64]] {
        assert!(matches!(error(bytes), CompileError::Invalid { .. }), "{bytes:?}");
    }
}

#[test]
fn truncated_and_flipped_files_give_errors_or_models_but_no_panic() {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &[1usize, 2, 9, 9].map(Dim::from));
    let weights = graph.floats(&[3, 2, 3, 3], &[0.25; 54]);
    let conv = graph.node("Conv", &[&input, &weights], &[("pads", Attribute::Ints(&[1; 4]))]);
    let relu = graph.node("Relu", &[&conv], &[]);
    let pool = graph.node("GlobalAveragePool", &[&relu], &[]);
    let onnx = graph.finish(&[&pool]);
    assert!(compile(&onnx, &options()).is_ok());
    for length in 0..onnx.len() {
        let _ = compile(&onnx[..length], &options());
    }
    let mut refused = 0;
    for at in 0..onnx.len() {
        for bit in [0, 3, 7] {
            let mut flipped = onnx.clone();
            flipped[at] ^= 1 << bit;
            refused += usize::from(compile(&flipped, &options()).is_err());
        }
    }
    assert!(refused > 0, "no flipped bit was seen");
}

#[test]
fn a_missing_file_is_named() {
    let path = std::path::Path::new("no/such/model.onnx");
    let error = leeway_compiler::compile_file(path, &Options::for_file(path)).unwrap_err();
    assert!(error.to_string().contains("no/such/model.onnx"), "{error}");
}
