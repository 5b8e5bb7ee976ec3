//! The valid models that mutants begin as.

use crate::forests::{Forest, Shape};
use crate::onnx::{Attribute, BOOL, Dim, FLOAT, Graph, INT8, INT32, INT64, UINT8};
use crate::random::Random;

/// A model, by its name.
pub type Base = (&'static str, fn() -> Vec<u8>);

/// All of them.
pub const BASES: &[Base] = &[
    ("convolution", convolution),
    ("dense", dense),
    ("constants", constants),
    ("element-wise", element_wise),
    ("shapes", shapes),
    ("recurrent", recurrent),
    ("scan", scan),
    ("loop", repeated),
    ("branches", branches),
    ("quantised", quantised),
    ("attention", attention),
    ("trees", trees),
    ("classical", classical),
];

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| Dim::from(size)).collect()
}

fn convolution() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[1, 2, 9, 9]));
    let (w, b) = (g.floats(&[4, 2, 3, 3], &[0.25; 72]), g.floats(&[4], &[0.5; 4]));
    let attributes = [
        ("pads", Attribute::Ints(&[1; 4])),
        ("strides", Attribute::Ints(&[2, 1])),
        ("dilations", Attribute::Ints(&[1, 1])),
        ("kernel_shape", Attribute::Ints(&[3, 3])),
        ("group", Attribute::Int(1)),
    ];
    let conv = g.node("Conv", &[&x, &w, &b], &attributes);
    let relu = g.node("Relu", &[&conv], &[]);
    let window = [("kernel_shape", Attribute::Ints(&[2, 2])), ("ceil_mode", Attribute::Int(0))];
    let pool = g.node("MaxPool", &[&relu], &window);
    let mean = g.node("GlobalAveragePool", &[&pool], &[]);
    let flat = g.node("Flatten", &[&mean], &[("axis", Attribute::Int(1))]);
    g.finish(&[&flat])
}

fn dense() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &[Dim::Symbol("N"), 8usize.into()]);
    let (w, b) = (g.floats(&[8, 5], &[0.1; 40]), g.floats(&[5], &[0.1; 5]));
    let attributes = [("alpha", Attribute::Float(1.0)), ("transB", Attribute::Int(0))];
    let gemm = g.node("Gemm", &[&x, &w, &b], &attributes);
    let tanh = g.node("Tanh", &[&gemm], &[]);
    let out = g.node("Softmax", &[&tanh], &[("axis", Attribute::Int(-1))]);
    g.finish(&[&out])
}

fn constants() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[1, 6]));
    let (one, shape, repeats) = (g.floats(&[1, 1], &[1.5]), g.ints(&[2, 3]), g.ints(&[1, 2]));
    let expand = g.node("Expand", &[&one, &shape], &[]);
    let tile = g.node("Tile", &[&expand, &repeats], &[]);
    let (w, pads) = (g.floats(&[6, 3], &[0.5; 18]), g.ints(&[0, 0, 1, 1]));
    let product = g.node("MatMul", &[&tile, &w], &[]);
    let pad = g.node("Pad", &[&product, &pads], &[]);
    let sum = g.node("ReduceSum", &[&pad], &[("keepdims", Attribute::Int(1))]);
    let out = g.node("Add", &[&x, &sum], &[]);
    g.finish(&[&out])
}

fn element_wise() -> Vec<u8> {
    let mut g = Graph::new();
    let (x, y) = (g.input("x", FLOAT, &dims(&[2, 7])), g.input("y", FLOAT, &dims(&[7])));
    let sum = g.node("Add", &[&x, &y], &[]);
    let product = g.node("Mul", &[&sum, &x], &[]);
    let [low, high] = [-1.0, 1.0].map(|number| g.floats(&[], &[number]));
    let clip = g.node("Clip", &[&product, &low, &high], &[]);
    let exp = g.node("Exp", &[&clip], &[]);
    let less = g.node("Less", &[&exp, &y], &[]);
    let out = g.node("Where", &[&less, &exp, &x], &[]);
    g.finish(&[&out])
}

fn shapes() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[1, 4, 6]));
    let order = [("perm", Attribute::Ints(&[0, 2, 1]))];
    let transpose = g.node("Transpose", &[&x], &order);
    let shape = g.ints(&[1, -1, 8]);
    let reshape = g.node("Reshape", &[&transpose, &shape], &[]);
    let [from, to, axes] = [[0], [2], [1]].map(|n| g.ints(&n));
    let slice = g.node("Slice", &[&reshape, &from, &to, &axes], &[]);
    let both = g.node("Concat", &[&slice, &reshape], &[("axis", Attribute::Int(1))]);
    let out = g.node("ReduceMean", &[&both], &[("axes", Attribute::Ints(&[2]))]);
    g.finish(&[&out])
}

/// An LSTM in both directions over sequences of unequal lengths, and a GRU over what it
/// gives.
fn recurrent() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[4, 2, 3]));
    let w = g.floats(&[2, 12, 3], &[0.25; 72]);
    let r = g.floats(&[2, 12, 3], &[0.125; 72]);
    let b = g.floats(&[2, 24], &[0.5; 48]);
    let lengths = g.integers(INT32, &[2], &[4, 2]);
    let attributes = [
        ("hidden_size", Attribute::Int(3)),
        ("direction", Attribute::String("bidirectional")),
        ("layout", Attribute::Int(0)),
    ];
    let both = g.node("LSTM", &[&x, &w, &r, &b, &lengths], &attributes);
    let order = [("perm", Attribute::Ints(&[0, 2, 1, 3]))];
    let turned = g.node("Transpose", &[&both], &order);
    let shape = g.ints(&[4, 2, 6]);
    let flat = g.node("Reshape", &[&turned, &shape], &[]);
    let w = g.floats(&[1, 9, 6], &[0.25; 54]);
    let r = g.floats(&[1, 9, 3], &[0.5; 27]);
    let attributes =
        [("hidden_size", Attribute::Int(3)), ("linear_before_reset", Attribute::Int(1))];
    let all = g.node("GRU", &[&flat, &w, &r], &attributes);
    g.finish(&[&all])
}

/// A state that a product changes, along the axis of the input.
fn scan() -> Vec<u8> {
    let mut g = Graph::new();
    let xs = g.input("xs", FLOAT, &dims(&[2, 9, 3]));
    let begin = g.floats(&[2, 3], &[0.5; 6]);
    let weights = g.floats(&[3, 3], &[0.25; 9]);
    let mut body = Graph::inner("inside_");
    let [state, x] = ["state", "x_t"].map(|name| body.input(name, FLOAT, &dims(&[2, 3])));
    let product = body.node("MatMul", &[&state, &weights], &[]);
    let sum = body.node("Add", &[&product, &x], &[]);
    let next = body.node("Tanh", &[&sum], &[]);
    let given = body.node("ReduceSum", &[&sum], &[("keepdims", Attribute::Int(0))]);
    let body = body.body(&[(&next, &dims(&[2, 3])), (&given, &dims(&[]))]);
    let attributes = [
        ("body", Attribute::Graph(body)),
        ("num_scan_inputs", Attribute::Int(1)),
        ("scan_input_axes", Attribute::Ints(&[1])),
        ("scan_input_directions", Attribute::Ints(&[1])),
        ("scan_output_axes", Attribute::Ints(&[0])),
        ("scan_output_directions", Attribute::Ints(&[0])),
    ];
    let outputs = g.node_with("Scan", &[&begin, &xs], &attributes, 2);
    g.finish(&[&outputs[0], &outputs[1]])
}

/// A loop that ends by its number or by what it computes.
fn repeated() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[3]));
    let trips = g.ints_shaped(&[], &[21]);
    let begins = g.integers(BOOL, &[], &[1]);
    let mut body = Graph::inner("inside_");
    let number = body.input("number", INT64, &[]);
    body.input("condition", BOOL, &[]);
    let before = body.input("before", FLOAT, &dims(&[3]));
    let factor = body.floats(&[], &[1.5]);
    let number = body.node("Cast", &[&number], &[("to", Attribute::Int(FLOAT.into()))]);
    let grown = body.node("Mul", &[&before, &factor], &[]);
    let after = body.node("Add", &[&grown, &number], &[]);
    let sum = body.node("ReduceSum", &[&after], &[("keepdims", Attribute::Int(0))]);
    let limit = body.floats(&[], &[50.0]);
    let goes_on = body.node("Less", &[&sum, &limit], &[]);
    let outputs = [(&*goes_on, BOOL, &[][..]), (&after, FLOAT, &dims(&[3]))];
    let body = body.body_typed(&outputs);
    let attributes = [("body", Attribute::Graph(body))];
    let outputs = g.node_with("Loop", &[&trips, &begins, &x], &attributes, 1);
    g.finish(&[&outputs[0]])
}

/// Two branches, of which a constant chooses.
fn branches() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[2, 3]));
    let chosen = g.integers(BOOL, &[], &[1]);
    let branch = |prefix: &str, operator: &str| {
        let mut inner = Graph::inner(prefix);
        let out = inner.node(operator, &[&x], &[]);
        Attribute::Graph(inner.body(&[(&out, &dims(&[2, 3]))]))
    };
    let attributes =
        [("then_branch", branch("yes_", "Exp")), ("else_branch", branch("no_", "Sqrt"))];
    let out = g.node("If", &[&chosen], &attributes);
    g.finish(&[&out])
}

/// A convolution of integers, one between `DequantizeLinear` and `QuantizeLinear`, and a
/// product.
fn quantised() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[1, 2, 6, 6]));
    let (scale, zero) = (g.floats(&[], &[0.05]), g.integers(UINT8, &[], &[120]));
    let x = g.node("QuantizeLinear", &[&x, &scale, &zero], &[]);
    let weights = g.integers(INT8, &[4, 2, 3, 3], &[3; 72]);
    let (scales, zeros) = (g.floats(&[4], &[0.02; 4]), g.integers(INT8, &[4], &[0; 4]));
    let bias = g.integers(INT32, &[4], &[7; 4]);
    let operands = [&*x, &scale, &zero, &weights, &scales, &zeros, &scale, &zero, &bias];
    let conv = g.node("QLinearConv", &operands, &[("pads", Attribute::Ints(&[1; 4]))]);
    let real = g.node("DequantizeLinear", &[&conv, &scale, &zero], &[]);
    let window =
        [("kernel_shape", Attribute::Ints(&[2, 2])), ("strides", Attribute::Ints(&[2, 2]))];
    let mean = g.node("AveragePool", &[&real], &window);
    let mean = g.node("QuantizeLinear", &[&mean, &scale, &zero], &[]);
    let flat = g.node("Flatten", &[&mean], &[("axis", Attribute::Int(1))]);
    let matrix = g.integers(INT8, &[36, 5], &[2; 180]);
    let (one, none) = (g.floats(&[], &[0.02]), g.integers(INT8, &[], &[0]));
    let operands = [&*flat, &scale, &zero, &matrix, &one, &none, &scale, &zero];
    let product = g.node("QLinearMatMul", &operands, &[]);
    let out = g.node("DequantizeLinear", &[&product, &scale, &zero], &[]);
    g.finish(&[&out])
}

/// A layer of a transformer encoder: embedding, one head, layer norm.
fn attention() -> Vec<u8> {
    let mut g = Graph::new();
    let tokens = g.input("tokens", INT64, &dims(&[1, 5]));
    let table = g.floats(&[7, 8], &[0.3; 56]);
    let x = g.node("Gather", &[&table, &tokens], &[("axis", Attribute::Int(0))]);
    let weights = g.floats(&[8, 8], &[0.2; 64]);
    let [q, k, v] = [(); 3].map(|()| g.node("MatMul", &[&x, &weights], &[]));
    let k = g.node("Transpose", &[&k], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
    let scores = g.node("MatMul", &[&q, &k], &[]);
    let scores = g.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let mixed = g.node("MatMul", &[&scores, &v], &[]);
    let sum = g.node("Add", &[&x, &mixed], &[]);
    let (scale, bias) = (g.floats(&[8], &[1.0; 8]), g.floats(&[8], &[0.1; 8]));
    let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(1e-5))];
    let out = g.node("LayerNormalization", &[&sum, &scale, &bias], &attributes);
    g.finish(&[&out])
}

/// A random forest.
fn trees() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[3, 4]));
    let forest = Forest::random(&mut Random::new(5), &Shape::complete(3, 3, 4, 2));
    let more = vec![("n_targets", Attribute::Int(2))];
    forest.add(&mut g, "TreeEnsembleRegressor", &x, &["scores"], more);
    g.finish(&["scores"])
}

/// A scaled row and a linear model.
fn classical() -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[2, 3]));
    let scaling =
        [("offset", Attribute::Floats(&[0.5; 3])), ("scale", Attribute::Floats(&[2.0; 3]))];
    g.classical("Scaler", &[&x], &["scaled"], &scaling);
    let attributes = [
        ("coefficients", Attribute::Floats(&[0.25; 6])),
        ("intercepts", Attribute::Floats(&[0.5; 2])),
        ("targets", Attribute::Int(2)),
        ("post_transform", Attribute::String("SOFTMAX")),
    ];
    g.classical("LinearRegressor", &["scaled"], &["scores"], &attributes);
    g.finish(&["scores"])
}
