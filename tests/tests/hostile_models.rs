//! Files made to do harm: each gives an error, in little memory and time, or a
//! component whose fuel is exact.
//!
//! The bounds hold in a process of its own for each file, as a failed allocation
//! or a full stack ends it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use leeway_compiler::{CompileError, Options, compile};
use leeway_contract::Certificate;
use leeway_runtime::sandbox::{EngineKind, Limits, Sandbox};
use leeway_tests::compare::sandbox;
use leeway_tests::mutate::{BASES, Mutant, mutant};
use leeway_tests::onnx::{Attribute, Dim, FLOAT, Graph, INT64, UINT8};
use leeway_tests::random::{Random, Style};
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, StringStringEntryProto,
    TensorProto, attribute_proto::AttributeType, type_proto,
};

/// The address space of the process that compiles a hostile file.
const MEMORY_KILOBYTES: u64 = 1 << 20;
/// The time that it has: a multiple of what it takes on an idle machine.
const TIME: Duration = Duration::from_secs(10);

/// What the child is to compile; set by [`in_a_child`].
const CASE: &str = "LEEWAY_HOSTILE_CASE";

fn options() -> Options {
    Options { name: "test".into(), file: "test.onnx".into(), ..Options::default() }
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| Dim::from(size)).collect()
}

/// The protobuf of a valid model: x [1, 8] through Relu and a product.
fn valid() -> ModelProto {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &dims(&[1, 8]));
    let weights = graph.floats(&[8, 4], &[0.5; 32]);
    let relu = graph.node("Relu", &[&input], &[]);
    let output = graph.node("MatMul", &[&relu, &weights], &[]);
    ModelProto::decode(&*graph.finish(&[&output])).expect("what was just encoded")
}

/// The valid model with a change.
fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let mut model = valid();
    change(model.graph.as_mut().expect("it has a graph"));
    model.encode_to_vec()
}

/// x [1, 8] plus what `build` makes of constants.
fn plus(build: impl FnOnce(&mut Graph) -> String) -> Vec<u8> {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &dims(&[1, 8]));
    let constant = build(&mut graph);
    let output = graph.node("Add", &[&input, &constant], &[]);
    graph.finish(&[&output])
}

fn external(entries: &[(&str, &str)]) -> Vec<u8> {
    changed(|graph| {
        let tensor = &mut graph.initializer[0];
        tensor.raw_data.clear();
        tensor.data_location = Some(DataLocation::External as i32);
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        tensor.external_data = entries.iter().map(entry).collect();
    })
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: format!("the_{output}"),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn graph_attribute(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Graph as i32,
        g: Some(graph),
        ..AttributeProto::default()
    }
}

fn int_attribute(name: &str, i: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.into(), r#type, i, ..AttributeProto::default() }
}

/// An `If` inside an `If`, so many times: its bytes, as the encoder is recursive.
fn nested(depth: usize) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend_from_slice(bytes);
        field
    };
    let mut body = node("Relu", &["x"], "deep").encode_to_vec();
    for _ in 0..depth {
        let graph = field(1, &body);
        let attribute = [field(1, b"then_branch"), field(6, &graph)].concat();
        body = [field(1, b"x"), field(2, b"y"), field(4, b"If"), field(5, &attribute)].concat();
    }
    let mut model = valid();
    let graph = model.graph.take().expect("it has a graph");
    let graph = [graph.encode_to_vec(), field(1, &body)].concat();
    [model.encode_to_vec(), field(7, &graph)].concat()
}

fn named(name: &str) -> tract_onnx::pb::ValueInfoProto {
    tract_onnx::pb::ValueInfoProto { name: name.into(), ..Default::default() }
}

fn filled(graph: &mut Graph, shape: &[i64]) -> String {
    let (zero, shape) = (graph.floats(&[1], &[0.0]), graph.ints(shape));
    graph.node("Expand", &[&zero, &shape], &[])
}

/// Queries and keys of one number, a mask for the first key, and places that count.
fn attention(keys: usize, queries: usize) -> Vec<u8> {
    let mut graph = Graph::new();
    let q = graph.input("q", FLOAT, &[1, 1, queries, 1].map(Into::into));
    let k = graph.input("k", FLOAT, &[1, 1, keys, 1].map(Into::into));
    let mask = graph.input("mask", FLOAT, &[1, 1].map(Into::into));
    let causal = [("is_causal", Attribute::Int((queries > 1).into()))];
    let output = graph.node("Attention", &[&q, &k, &k, &mask], &causal);
    graph.finish(&[&output])
}

fn zeros(graph: &mut Graph, shape: &[i64]) -> String {
    let shape = graph.ints(shape);
    graph.node("ConstantOfShape", &[&shape], &[])
}

fn chain(operator: &'static str, length: usize) -> Vec<u8> {
    let mut graph = Graph::new();
    let mut value = graph.input("x", FLOAT, &dims(&[1, 8]));
    for _ in 0..length {
        value = graph.node(operator, &[&value], &[]);
    }
    graph.finish(&[&value])
}

/// x [1, 8] through a node of a classical model. Of the attributes that hold real
/// numbers, the smallest integer is a NaN.
fn classical(operator: &str, attributes: &[(&str, &[i64])]) -> Vec<u8> {
    let of_rows = attributes.iter().find(|(name, _)| *name == "rows");
    let rows = of_rows.map_or(1, |(_, rows)| rows[0] as usize);
    let reals: Vec<Vec<f32>> = (attributes.iter())
        .map(|(_, numbers)| numbers.iter())
        .map(|n| n.map(|&n| if n == i64::MIN { f32::NAN } else { n as f32 }).collect())
        .collect();
    let attributes = attributes.iter().zip(&reals).filter(|((name, _), _)| *name != "rows");
    let modes: Vec<&str> = match attributes.clone().find(|((name, _), _)| *name == "nodes_modes") {
        Some(((_, modes), _)) => {
            modes.iter().map(|&mode| if mode == 0 { "LEAF" } else { "BRANCH_LEQ" }).collect()
        }
        None => Vec::new(),
    };
    let attributes: Vec<(&str, Attribute)> = attributes
        .map(|(&(name, numbers), reals)| {
            let value = match name {
                "nodes_modes" => Attribute::Strings(&modes),
                "n_targets" | "targets" => Attribute::Int(numbers[0]),
                "nodes_values" | "target_weights" | "base_values" | "coefficients" | "rho"
                | "offset" | "scale" => Attribute::Floats(reals),
                _ => Attribute::Ints(numbers),
            };
            (name, value)
        })
        .collect();
    let mut graph = Graph::new();
    let dtype = if matches!(operator, "OneHotEncoder" | "LabelEncoder") { INT64 } else { FLOAT };
    graph.input("x", dtype, &dims(&[rows, 8]));
    let outputs: &[&str] = if operator == "SVMClassifier" { &["y", "z"] } else { &["y"] };
    graph.classical(operator, &["x"], outputs, &attributes);
    graph.finish(outputs)
}

/// A tree with one branch, with other attributes.
fn forest(changes: &[(&str, &[i64])]) -> Vec<u8> {
    let mut attributes: Vec<(&str, &[i64])> = vec![
        ("nodes_treeids", &[0, 0, 0]),
        ("nodes_nodeids", &[0, 1, 2]),
        ("nodes_featureids", &[0, 0, 0]),
        ("nodes_modes", &[1, 0, 0]),
        ("nodes_values", &[0, 0, 0]),
        ("nodes_truenodeids", &[1, 0, 0]),
        ("nodes_falsenodeids", &[2, 0, 0]),
        ("target_treeids", &[0, 0]),
        ("target_nodeids", &[1, 2]),
        ("target_ids", &[0, 0]),
        ("target_weights", &[1, -1]),
        ("n_targets", &[1]),
    ];
    for change in changes {
        attributes.retain(|(name, _)| *name != change.0);
        attributes.push(*change);
    }
    classical("TreeEnsembleRegressor", &attributes)
}

/// Leaves with scores for two targets of a million, for which all have a place in a
/// vector.
fn vectors_of_scores() -> Vec<u8> {
    forest(&[
        ("n_targets", &[1 << 20]),
        ("target_ids", &[0, 7, 1, 5]),
        ("target_treeids", &[0; 4]),
        ("target_nodeids", &[1, 1, 2, 2]),
        ("target_weights", &[1; 4]),
        ("rows", &[1]),
    ])
}

/// A tree that is a chain of this many branches.
fn chain_of_branches(length: i64, rows: i64) -> Vec<u8> {
    let all = 0..2 * length + 1;
    let ids: Vec<i64> = all.clone().collect();
    let modes: Vec<i64> = all.clone().map(|id| i64::from(id < length)).collect();
    let zeros = vec![0; ids.len()];
    let next: Vec<i64> = all.clone().map(|id| if id < length { id + 1 } else { 0 }).collect();
    let end: Vec<i64> = all.map(|id| if id < length { length + 1 + id } else { 0 }).collect();
    // The last branch has two leaves, of which one is the first leaf of all.
    let leaves: Vec<i64> = (length..2 * length + 1).collect();
    let of_leaves = vec![0; leaves.len()];
    forest(&[
        ("nodes_treeids", &zeros),
        ("nodes_nodeids", &ids),
        ("nodes_featureids", &zeros),
        ("nodes_modes", &modes),
        ("nodes_values", &zeros),
        ("nodes_truenodeids", &next),
        ("nodes_falsenodeids", &end),
        ("target_treeids", &of_leaves),
        ("target_nodeids", &leaves),
        ("target_ids", &of_leaves),
        ("target_weights", &of_leaves),
        ("rows", &[rows]),
    ])
}

/// A class of hostile files: its name, one file of it, and a part of the error
/// that it gives; `None` where it may as well compile.
type Case = (&'static str, fn() -> Vec<u8>, Option<&'static str>);

const CASES: &[Case] = &[
    (
        "tree_cycle",
        || {
            forest(&[
                ("nodes_modes", &[1, 1, 0]),
                ("nodes_falsenodeids", &[2, 2, 0]),
                ("target_treeids", &[0]),
                ("target_nodeids", &[2]),
                ("target_ids", &[0]),
                ("target_weights", &[1]),
            ])
        },
        Some("descendant"),
    ),
    ("tree_child", || forest(&[("nodes_falsenodeids", &[1 << 40, 0, 0])]), Some("nodes_falsenode")),
    ("tree_negative", || forest(&[("nodes_truenodeids", &[-1, 0, 0])]), Some("nodes_truenodeids")),
    ("tree_feature", || forest(&[("nodes_featureids", &[8, 0, 0])]), Some("nodes_featureids")),
    ("tree_features", || forest(&[("nodes_featureids", &[1 << 40, 0, 0])]), Some("nodes_feature")),
    ("tree_lengths", || forest(&[("nodes_nodeids", &[0, 1])]), Some("nodes_treeids")),
    ("tree_twice", || forest(&[("nodes_nodeids", &[0, 1, 1])]), Some("nodes_nodeids")),
    ("tree_apart", || forest(&[("nodes_treeids", &[0, 1, 0])]), Some("tree")),
    ("tree_target", || forest(&[("target_ids", &[0, 1 << 40])]), Some("target_ids")),
    ("tree_weight_of_none", || forest(&[("target_nodeids", &[1, 9])]), Some("target_nodeids")),
    ("tree_weight_of_branch", || forest(&[("target_nodeids", &[1, 0])]), Some("target_nodeids")),
    ("tree_targets", || forest(&[("n_targets", &[1 << 40])]), Some("n_targets")),
    ("tree_no_targets", || forest(&[("n_targets", &[-1])]), Some("n_targets")),
    ("tree_base", || forest(&[("base_values", &[1, 2, 3])]), Some("base_values")),
    ("tree_threshold", || forest(&[("nodes_values", &[i64::MIN, 0, 0])]), Some("nodes_values")),
    ("tree_many_targets", || forest(&[("n_targets", &[1 << 20])]), None),
    ("tree_vectors", vectors_of_scores, None),
    ("tree_chain", || chain_of_branches(100_000, 1), None),
    ("tree_chains", || chain_of_branches(20_000, 20_000), None),
    ("tree_rows", || chain_of_branches(50_000, 1 << 26), None),
    (
        "svm_classes",
        || classical("SVMClassifier", &[("classlabels_ints", &[7; 1000]), ("rho", &[0])]),
        Some("classlabels_ints"),
    ),
    (
        "svm_vectors",
        || {
            let counts = [i64::MAX, i64::MAX];
            classical(
                "SVMClassifier",
                &[("classlabels_ints", &[0, 1]), ("vectors_per_class", &counts)],
            )
        },
        Some("support_vectors"),
    ),
    (
        "linear_targets",
        || classical("LinearRegressor", &[("targets", &[1 << 40]), ("coefficients", &[1; 8])]),
        Some("targets"),
    ),
    ("linear_features", || classical("LinearRegressor", &[("coefficients", &[1; 7])]), Some("7")),
    (
        "one_hot_twice",
        || classical("OneHotEncoder", &[("cats_int64s", &[1, 1])]),
        Some("cats_int64s"),
    ),
    (
        "label_keys",
        || classical("LabelEncoder", &[("keys_int64s", &[1, 2]), ("values_int64s", &[1])]),
        Some("LabelEncoder"),
    ),
    ("scaler", || classical("Scaler", &[("offset", &[1; 3]), ("scale", &[1; 3])]), Some("offset")),
    ("cycle", || changed(|g| g.node[0].input[0] = g.node[1].output[0].clone()), Some("cycle")),
    ("self_cycle", || changed(|g| g.node[0].input[0] = g.node[0].output[0].clone()), Some("cycle")),
    ("undefined", || changed(|g| g.node[0].input[0] = "nowhere".into()), Some("\"nowhere\"")),
    ("undefined_output", || changed(|g| g.output[0].name = "nowhere".into()), Some("\"nowhere\"")),
    ("named_twice", || changed(|g| g.node[1].output = g.node[0].output.clone()), Some("more than")),
    ("weights_twice", || changed(|g| g.initializer.push(g.initializer[0].clone())), Some("more")),
    ("huge_weights", || changed(|g| g.initializer[0].dims = vec![1 << 20; 2]), Some("limit")),
    ("overflow", || changed(|g| g.initializer[0].dims = vec![1 << 32; 3]), Some("limit")),
    ("negative", || changed(|g| g.initializer[0].dims = vec![-8, -4]), Some("[-8, -4]")),
    ("short_data", || changed(|g| g.initializer[0].dims = vec![8, 8]), Some("want 256")),
    (
        "short_typed_data",
        || {
            changed(|g| {
                g.initializer[0].raw_data.clear();
                g.initializer[0].float_data = vec![1.0; 5];
            })
        },
        Some("5 elements"),
    ),
    ("no_data", || changed(|g| g.initializer[0].raw_data.clear()), Some("0 elements")),
    ("high_rank", || changed(|g| g.initializer[0].dims = vec![1; 100_000]), Some("dimensions")),
    (
        "many_claims",
        || {
            changed(|g| {
                let tensor = |i: i32| TensorProto {
                    name: format!("t{i}"),
                    data_type: 1,
                    dims: vec![1 << 28],
                    ..Default::default()
                };
                g.initializer.extend((0..1000).map(tensor));
            })
        },
        Some("elements"),
    ),
    (
        "huge_constant_attribute",
        || {
            changed(|g| {
                let tensor =
                    TensorProto { data_type: 1, dims: vec![1 << 40], ..Default::default() };
                g.node.push(node("Constant", &[], "constant"));
                g.node[2].attribute = vec![AttributeProto {
                    name: "value".into(),
                    r#type: AttributeType::Tensor as i32,
                    t: Some(tensor),
                    ..Default::default()
                }];
            })
        },
        Some("the_constant"),
    ),
    (
        "sparse",
        || {
            changed(|g| {
                g.sparse_initializer
                    .push(SparseTensorProto { dims: vec![1 << 40], ..Default::default() });
            })
        },
        Some("sparse"),
    ),
    ("huge_input", || chain_of_shape(&[1, 1 << 40]), Some("limit")),
    ("overflowing_input", || chain_of_shape(&[1 << 31, 1 << 31, 1 << 31]), Some("limit")),
    ("two_gigabyte_input", || chain_of_shape(&[1, 1 << 29]), None),
    ("input_of_high_rank", || chain_of_shape(&[1; 1000]), Some("1000 dimensions")),
    (
        "deep_dimension",
        || {
            changed(|g| {
                let type_proto::Value::TensorType(tensor) =
                    g.input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
                let text = "(".repeat(100_000) + "N" + &")".repeat(100_000);
                tensor.shape.as_mut().unwrap().dim[0].value = Some(Size::DimParam(text));
            })
        },
        Some("letters"),
    ),
    ("external_up", || external(&[("location", "../secret")]), Some("folder of the model")),
    ("external_root", || external(&[("location", "/etc/passwd")]), Some("folder of the model")),
    ("external_device", || external(&[("location", "/dev/zero")]), Some("folder of the model")),
    ("external_none", || external(&[]), Some("not said")),
    ("external_alone", || external(&[("location", "weights")]), Some("in one file")),
    ("attention_of_many_keys", || attention(1 << 27, 1), Some("elements of its mask are missing")),
    ("attention_of_many_places", || attention(1 << 12, 1 << 12), Some("whose places count")),
    ("attention_of_no_keys", || attention(0, 1), None),
    ("zeros", || plus(|g| zeros(g, &[1 << 40])), Some("(ConstantOfShape)")),
    ("zeros_of_gigabytes", || plus(|g| zeros(g, &[1 << 27, 1])), Some("(ConstantOfShape)")),
    ("negative_zeros", || plus(|g| zeros(g, &[-5])), Some("test.onnx")),
    ("filled_gigabytes", || plus(|g| filled(g, &[1 << 28, 1])), Some("(Expand)")),
    (
        "expand",
        || {
            plus(|g| {
                let (one, shape) = (g.floats(&[1], &[1.0]), g.ints(&[1 << 20, 1 << 14]));
                g.node("Expand", &[&one, &shape], &[])
            })
        },
        Some("(Expand)"),
    ),
    (
        "tile",
        || {
            plus(|g| {
                let (one, repeats) = (g.floats(&[1, 1], &[1.0]), g.ints(&[1 << 20, 1 << 14]));
                g.node("Tile", &[&one, &repeats], &[])
            })
        },
        Some("(Tile)"),
    ),
    (
        "range",
        || {
            plus(|g| {
                let [a, b, c] = [0, 1 << 40, 1].map(|n| g.ints_shaped(&[], &[n]));
                let range = g.node("Range", &[&a, &b, &c], &[]);
                g.node("Cast", &[&range], &[("to", Attribute::Int(1))])
            })
        },
        Some("(Range)"),
    ),
    (
        "range_of_floats",
        || {
            plus(|g| {
                let [a, b, c] = [0.0, 1.0e10, 1.5].map(|n| g.floats(&[], &[n]));
                g.node("Range", &[&a, &b, &c], &[])
            })
        },
        Some("(Range)"),
    ),
    (
        "pad",
        || {
            plus(|g| {
                let (one, pads) = (g.floats(&[1, 1], &[1.0]), g.ints(&[0, 1 << 34, 0, 0]));
                g.node("Pad", &[&one, &pads], &[])
            })
        },
        Some("(Pad)"),
    ),
    (
        "resize",
        || {
            plus(|g| {
                let (one, sizes) =
                    (g.floats(&[1, 1, 1, 1], &[1.0]), g.ints(&[1, 1, 1 << 18, 1 << 16]));
                g.node("Resize", &[&one, "", "", &sizes], &[("mode", Attribute::String("nearest"))])
            })
        },
        Some("test.onnx"),
    ),
    (
        "one_hot",
        || {
            plus(|g| {
                let (at, depth) = (g.ints(&[1, 2, 3]), g.ints_shaped(&[], &[1 << 34]));
                let values = g.floats(&[2], &[0.0, 1.0]);
                g.node("OneHot", &[&at, &depth, &values], &[])
            })
        },
        Some("(OneHot)"),
    ),
    (
        "one_hot_of_an_input",
        || {
            let mut g = Graph::new();
            let at = g.input("x", INT64, &dims(&[1, 4]));
            let (depth, values) = (g.ints_shaped(&[], &[1 << 34]), g.floats(&[2], &[0.0, 1.0]));
            let hot = g.node("OneHot", &[&at, &depth, &values], &[]);
            g.finish(&[&hot])
        },
        Some("(OneHot)"),
    ),
    (
        "broadcast",
        || {
            plus(|g| {
                let (a, b) = (filled(g, &[1 << 20, 1]), filled(g, &[1, 1 << 20]));
                g.node("Add", &[&a, &b], &[])
            })
        },
        Some("(Add)"),
    ),
    (
        "doubling",
        || {
            plus(|g| {
                let mut value = g.floats(&[1], &[1.0]);
                for _ in 0..60 {
                    value = g.node("Concat", &[&value, &value], &[("axis", Attribute::Int(0))]);
                }
                value
            })
        },
        Some("test.onnx"),
    ),
    (
        "many_zeros",
        || {
            plus(|g| {
                let mut sum = filled(g, &[1000, 1000]);
                for _ in 0..500 {
                    let more = filled(g, &[1000, 1000]);
                    sum = g.node("Add", &[&sum, &more], &[]);
                }
                sum
            })
        },
        Some("bytes of constants"),
    ),
    (
        "product",
        || {
            plus(|g| {
                let (a, b) = (filled(g, &[1024, 1 << 18]), filled(g, &[1 << 18, 8]));
                let product = g.node("MatMul", &[&a, &b], &[]);
                g.node("ReduceSum", &[&product], &[("keepdims", Attribute::Int(0))])
            })
        },
        Some("test.onnx"),
    ),
    (
        "products",
        || {
            plus(|g| {
                let a = filled(g, &[1000, 1000]);
                let mut product = a.clone();
                for _ in 0..100 {
                    product = g.node("MatMul", &[&product, &a], &[]);
                }
                product
            })
        },
        Some("products of constants"),
    ),
    (
        "convolution_of_constants",
        || {
            plus(|g| {
                let (a, b) = (filled(g, &[1, 64, 64, 64]), filled(g, &[64, 64, 63, 63]));
                g.node("Conv", &[&a, &b], &[("pads", Attribute::Ints(&[31; 4]))])
            })
        },
        Some("Conv)"),
    ),
    (
        "window",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[1, 1, 8, 8]));
            let side = 1 << 30;
            let attributes = [
                ("kernel_shape", Attribute::Ints(&[side, side])),
                ("pads", Attribute::Ints(&[side / 2; 4])),
            ];
            let pool = g.node("AveragePool", &[&x], &attributes);
            g.finish(&[&pool])
        },
        Some("kernel_shape"),
    ),
    (
        "padded_input",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[1, 8]));
            let pads = g.ints(&[0, 1 << 40, 0, 1 << 40]);
            let pad = g.node("Pad", &[&x, &pads], &[]);
            g.finish(&[&pad])
        },
        Some("limit"),
    ),
    (
        "zero_times_much",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[1, 1 << 28]));
            let zero = g.floats(&[1], &[0.0]);
            let mut product = g.node("Mul", &[&x, &zero], &[]);
            for _ in 0..20 {
                product = g.node("Exp", &[&product], &[]);
            }
            g.finish(&[&product])
        },
        Some("limit"),
    ),
    (
        "filled_attribute",
        || {
            changed(|g| {
                g.node.push(node("ConstantLike", &[], "constant"));
                g.node[2].attribute = vec![AttributeProto {
                    name: "shape".into(),
                    r#type: AttributeType::Ints as i32,
                    ints: vec![1 << 36],
                    ..Default::default()
                }];
            })
        },
        Some("the_constant"),
    ),
    (
        "scan_of_too_many",
        || changed(|g| g.node.push(scan(vec![int_attribute("num_scan_inputs", 1 << 40)]))),
        Some("scanned inputs"),
    ),
    (
        "scan_along_no_axis",
        || {
            changed(|g| {
                let axes = AttributeProto {
                    name: "scan_input_axes".into(),
                    r#type: AttributeType::Ints as i32,
                    ints: vec![1 << 40],
                    ..Default::default()
                };
                g.node.push(scan(vec![int_attribute("num_scan_inputs", 1), axes]));
            })
        },
        Some("1 axes from -32 to 31 are wanted"),
    ),
    (
        "zeros_in_a_branch",
        || {
            changed(|g| {
                let shape = TensorProto {
                    name: "shape".into(),
                    data_type: INT64,
                    dims: vec![1],
                    int64_data: vec![1 << 40],
                    ..Default::default()
                };
                let body = GraphProto {
                    node: vec![node("ConstantOfShape", &["shape"], "zeros")],
                    output: vec![named("zeros")],
                    initializer: vec![shape],
                    ..Default::default()
                };
                let mut branch = node("If", &["x"], "branch");
                branch.attribute = vec![
                    graph_attribute("then_branch", body.clone()),
                    graph_attribute("else_branch", body),
                ];
                g.node.push(branch);
            })
        },
        Some("the_zeros"),
    ),
    (
        "an_order_that_is_none",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[1, 4, 6]));
            let order = [("perm", Attribute::Ints(&[0, 2, 2]))];
            let transpose = g.node("Transpose", &[&x], &order);
            g.finish(&[&transpose])
        },
        Some("no order of 3 axes"),
    ),
    (
        "a_window_of_other_axes",
        || pooled(&[2, 2], &[2, 2, 2]),
        Some("strides has 3 numbers, where a window of 2 axes has 2"),
    ),
    ("a_window_of_more_axes", || pooled(&[2, 2, 0], &[2, 2, 2]), Some("a window of 3 axes over")),
    ("transform_of_a_scalar", || of_a_scalar("DFT", &["x"]), Some("no axis 0 among 0 axes")),
    (
        "norm_of_a_scalar",
        || of_a_scalar("LayerNormalization", &["x", "x"]),
        Some("no axis 0 among 0 axes"),
    ),
    ("gather_by_a_scalar", || of_a_scalar("GatherND", &["of", "at"]), Some("a scalar where")),
    (
        "transform_of_a_scalar_in_a_body",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[4, 3]));
            let mut body = Graph::inner("inside_");
            let a = body.input("a", FLOAT, &dims(&[3]));
            let sum = body.node("ReduceSum", &[&a], &[("keepdims", Attribute::Int(0))]);
            let out = body.node("DFT", &[&sum], &[]);
            let body = Attribute::Graph(body.body(&[(&out, &[])]));
            let attributes = [("num_scan_inputs", Attribute::Int(1)), ("body", body)];
            let out = g.node("Scan", &[&x], &attributes);
            g.finish(&[&out])
        },
        Some("no axis 0 among 0 axes"),
    ),
    (
        "norm_over_more_axes_than_there_are",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[2, 3]));
            let attributes = [("axis", Attribute::Int(-3))];
            let out = g.node("LayerNormalization", &[&x, &x], &attributes);
            g.finish(&[&out])
        },
        Some("no axis -3 among 2 axes"),
    ),
    (
        "a_shape_of_many_axes",
        || {
            let mut g = Graph::new();
            let shape = g.input("shape", INT64, &dims(&[1 << 28]));
            let filled = g.node("ConstantOfShape", &[&shape], &[]);
            g.finish(&[&filled])
        },
        Some("268435456 axes"),
    ),
    (
        "an_axis_that_is_none",
        || {
            let mut g = Graph::new();
            let x = g.input("x", FLOAT, &dims(&[2, 3]));
            let out = g.node("Softmax", &[&x], &[("axis", Attribute::Int(1 << 40))]);
            g.finish(&[&out])
        },
        Some("\"axis\": 1099511627776"),
    ),
    ("deep_subgraphs", || nested(20), Some("depth")),
    ("deepest_subgraphs", || nested(2000), Some("not a valid")),
    ("many_nodes", || chain("Relu", 40_000), Some("nodes")),
    ("long_chain", || chain("Sigmoid", 1000), None),
    (
        "hidden_size",
        || {
            changed(|g| {
                let mut recurrent = node("LSTM", &["x", "x", "x"], "y");
                recurrent.attribute = vec![int_attribute("hidden_size", 1 << 40)];
                g.node.push(recurrent);
            })
        },
        Some("hidden_size"),
    ),
    (
        "groups",
        || {
            changed(|g| {
                let mut conv = node("Conv", &["x", "constant0"], "y");
                conv.attribute = vec![int_attribute("group", -1)];
                g.node.push(conv);
            })
        },
        Some("group"),
    ),
];

/// A node over scalars.
fn of_a_scalar(operator: &str, inputs: &[&str]) -> Vec<u8> {
    let mut g = Graph::new();
    g.input("x", FLOAT, &[]);
    g.input("at", INT64, &[]);
    g.input("of", FLOAT, &dims(&[3, 4]));
    let out = g.node(operator, inputs, &[]);
    g.finish(&[&out])
}

/// The mean over windows of an 8-bit image of two axes.
fn pooled(window: &[i64], strides: &[i64]) -> Vec<u8> {
    let mut g = Graph::new();
    let x = g.input("x", FLOAT, &dims(&[1, 2, 6, 6]));
    let (scale, zero) = (g.floats(&[], &[0.05]), g.integers(UINT8, &[], &[120]));
    let x = g.node("QuantizeLinear", &[&x, &scale, &zero], &[]);
    let real = g.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
    let attributes =
        [("kernel_shape", Attribute::Ints(window)), ("strides", Attribute::Ints(strides))];
    let mean = g.node("AveragePool", &[&real], &attributes);
    let mean = g.node("QuantizeLinear", &[&mean, &scale, &zero], &[]);
    let out = g.node("DequantizeLinear", &[&mean, &scale, &zero], &[]);
    g.finish(&[&out])
}

/// A scan over x whose body is a Relu, with these attributes beside it.
fn scan(mut attributes: Vec<AttributeProto>) -> NodeProto {
    let body = GraphProto {
        node: vec![node("Relu", &["a"], "b")],
        input: vec![named("a")],
        output: vec![named("b")],
        ..Default::default()
    };
    attributes.push(graph_attribute("body", body));
    NodeProto { attribute: attributes, ..node("Scan", &["x"], "scan") }
}

fn chain_of_shape(shape: &[usize]) -> Vec<u8> {
    let mut graph = Graph::new();
    let input = graph.input("x", FLOAT, &dims(shape));
    let output = graph.node("Relu", &[&input], &[]);
    graph.finish(&[&output])
}

/// Runs an ignored test of this binary, with its memory limited.
fn in_a_child(test: &str, case: &str) -> (bool, String) {
    let this = std::env::current_exe().expect("the path of this test");
    let output = Command::new("sh")
        .args(["-c", "ulimit -v $0; exec \"$@\"", &MEMORY_KILOBYTES.to_string()])
        .arg(this)
        .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .expect("a shell starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
#[ignore = "run by the tests that limit its memory"]
fn a_child_compiles() {
    let Ok(name) = std::env::var(CASE) else { return };
    let (_, build, wanted) = CASES.iter().find(|case| case.0 == name).expect("a case");
    match (compile(&build(), &options()), wanted) {
        (Ok(_), None) => {}
        (Ok(_), Some(wanted)) => panic!("it was compiled, wanted an error with {wanted:?}"),
        (Err(error), wanted) => {
            let text = error.to_string();
            println!("{text}");
            let wanted = wanted.unwrap_or_default();
            assert!(text.contains(wanted), "wanted {wanted:?} in: {text}");
            let defect = matches!(error, CompileError::Cost { .. } | CompileError::Defect { .. });
            assert!(!defect, "a defect: {text}");
        }
    }
}

#[test]
fn hostile_files_give_errors_in_bounded_memory_and_time() {
    let mut failed = Vec::new();
    for (name, ..) in CASES {
        let start = Instant::now();
        let (success, text) = in_a_child("a_child_compiles", name);
        let time = start.elapsed();
        if !success || time > TIME {
            failed.push(format!("{name}, after {time:?}:\n{text}"));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), CASES.len(), failed.join("\n"));
}

#[test]
fn external_data_is_read_in_its_folder_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).expect("a folder in it");
    let weights: Vec<u8> = (0..40).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(inside.join("weights"), &weights).expect("a file in that");
    std::fs::write(folder.path().join("secret"), &weights).expect("a file beside it");
    let compiled = |entries: &[(&str, &str)]| {
        compile(&external(entries), &Options { directory: Some(inside.clone()), ..options() })
    };
    let refused = |entries: &[(&str, &str)], wanted: &str| {
        let error = compiled(entries).err().unwrap_or_else(|| panic!("{entries:?} was compiled"));
        assert!(error.to_string().contains(wanted), "{wanted:?} is missing in: {error}");
    };
    let fine = compiled(&[("location", "weights"), ("offset", "32"), ("length", "128")]);
    fine.unwrap_or_else(|error| panic!("{error}"));
    compiled(&[("location", "./weights"), ("offset", "32")]).unwrap_or_else(|e| panic!("{e}"));

    let at = |offset, length| [("location", "weights"), ("offset", offset), ("length", length)];
    refused(&at("64", "128"), "which has 160 bytes");
    refused(&at("0", "160"), "want 128");
    refused(&at("18446744073709551615", "128"), "which has 160 bytes");
    refused(&at("-1", "128"), "\"-1\"");
    refused(&[("location", "../secret"), ("length", "128")], "folder of the model");
    refused(&[("location", "."), ("length", "128")], "not a file");
    refused(&[("location", "nothing")], "nothing");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret", inside.join("link")).expect("a link");
        refused(&[("location", "link"), ("length", "128")], "outside the model directory");
    }
}

/// The seeds of the tests of mutants: their number can be raised to search longer.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("LEEWAY_FIRST_SEED").unwrap_or(0);
    first..first + number("LEEWAY_SEEDS").unwrap_or(1500)
}

/// The reader reports panics as errors: they need not be printed.
fn quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !leeway_compiler::contain::is_contained() {
            usual(info);
        }
    }));
}

#[test]
#[ignore = "run by the test that limits its memory"]
fn a_child_compiles_mutants() {
    if std::env::var(CASE).is_err() {
        return;
    }
    quiet();
    for seed in seeds() {
        println!("seed {seed}");
        let Mutant { bytes, what } = mutant(seed);
        let start = Instant::now();
        let result = compile(&bytes, &options());
        let time = start.elapsed();
        assert!(time < TIME, "seed {seed}: {time:?} for {what}: {:?}", result.err());
        if let Err(error @ (CompileError::Cost { .. } | CompileError::Defect { .. })) = result {
            panic!("seed {seed}, {what}: {error}");
        }
    }
    println!("all seeds");
}

#[test]
fn what_mutants_begin_as_compiles() {
    for (name, base) in BASES {
        compile(&base(), &options()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn mutants_of_valid_models_compile_or_not_in_bounded_memory_and_time() {
    let (success, text) = in_a_child("a_child_compiles_mutants", "mutants");
    let lines: Vec<&str> = text.lines().collect();
    let seed = lines.iter().rev().find(|line| line.contains("seed "));
    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
    assert!(success && text.contains("all seeds"), "{seed:?}:\n{tail}");
}

#[test]
fn mutants_that_compile_have_exact_fuel() {
    quiet();
    let sandbox = sandbox(EngineKind::Native);
    let mut ran = 0;
    for seed in seeds() {
        let Mutant { bytes, what } = mutant(seed);
        let result = catch_unwind(AssertUnwindSafe(|| match compile(&bytes, &options()) {
            Ok(compiled) => runs_as_certified(&sandbox, &compiled.seal(&[]).component, seed),
            Err(_) => false,
        }));
        match result {
            Ok(run) => ran += usize::from(run),
            Err(_) => panic!("seed {seed}, {what}"),
        }
    }
    assert!(ran > 20, "only {ran} mutants of {} could be run", seeds().count());
}

/// Loads a component and runs it on inputs of each kind; not if it takes long.
fn runs_as_certified(sandbox: &Sandbox, component: &[u8], seed: u64) -> bool {
    let cheap = |certificate: &Certificate| {
        certificate.total_fuel().0 < 50_000_000 && certificate.memory_bytes < 1 << 26
    };
    let certificate = leeway_contract::section::read_certificate(component);
    if !cheap(&certificate.expect("a certificate that can be read")) {
        return false;
    }
    let module = sandbox.load(component).unwrap_or_else(|error| panic!("{error}"));
    let mut instance = module.instantiate().expect("an instance of a loaded module");
    let certificate = module.certificate();
    let mut random = Random::new(seed);
    for style in [Style::Tame, Style::AnyBits] {
        let inputs = random.tensors(certificate.inputs(), style);
        for last in 0..=certificate.last_stage() {
            let run = instance.run(0..=last, &inputs, &Limits::default());
            let fuel = run.unwrap_or_else(|error| panic!("to stage {last}: {error}")).fuel;
            assert_eq!(Some(fuel), certificate.fuel(0..=last), "fuel to stage {last}");
        }
    }
    true
}
