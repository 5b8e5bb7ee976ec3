//! Valid models with something wrong: mutations of the protobuf and of the bytes,
//! from a seed.

use prost::Message as _;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, attribute_proto::AttributeType, type_proto,
};

use crate::onnx::{Attribute, Dim, FLOAT, Graph};
use crate::random::Random;

/// A mutated model.
pub struct Mutant {
    /// The file.
    pub bytes: Vec<u8>,
    /// What was done to which model.
    pub what: String,
}

/// The mutant of a seed.
pub fn mutant(seed: u64) -> Mutant {
    let mut random = Random::new(seed);
    let (name, base) = random.pick(BASES);
    let mut what = name.to_owned();
    let mut model = ModelProto::decode(&*base()).expect("what was just encoded");
    for _ in 0..random.within(1..=3) {
        let graph = model.graph.as_mut().expect("it has a graph");
        let (name, mutation) = random.pick(MUTATIONS);
        mutation(graph, &mut random);
        what += &format!(", {name}");
    }
    let mut bytes = model.encode_to_vec();
    if random.within(0..=3) == 0 {
        let (name, mutation) = random.pick(OF_BYTES);
        mutation(&mut bytes, &mut random);
        what += &format!(", {name}");
    }
    Mutant { bytes, what }
}

type Base = (&'static str, fn() -> Vec<u8>);
type OfBytes = (&'static str, fn(&mut Vec<u8>, &mut Random));
type Mutation = (&'static str, fn(&mut GraphProto, &mut Random));

const BASES: &[Base] = &[
    ("convolution", convolution),
    ("dense", dense),
    ("constants", constants),
    ("element-wise", element_wise),
    ("shapes", shapes),
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

const MUTATIONS: &[Mutation] = &[
    ("a dimension of a constant", |graph, random| {
        let number = a_number(random);
        if let Some(tensor) = any(&mut graph.initializer, random)
            && let Some(dim) = any(&mut tensor.dims, random)
        {
            *dim = number;
        }
    }),
    ("a dimension of an input", |graph, random| {
        let number = a_number(random);
        if let Some(input) = any(&mut graph.input, random)
            && let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_mut().and_then(|t| t.value.as_mut())
            && let Some(dim) = tensor.shape.as_mut().and_then(|s| any(&mut s.dim, random))
        {
            dim.value = Some(match random.within(0..=3) {
                0 => Size::DimParam("N*N-1".into()),
                _ => Size::DimValue(number),
            });
        }
    }),
    ("the type of an input", |graph, random| {
        if let Some(input) = any(&mut graph.input, random)
            && let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.elem_type = random.within(0..=24) as i32;
        }
    }),
    ("the type of a constant", |graph, random| {
        if let Some(tensor) = any(&mut graph.initializer, random) {
            tensor.data_type = random.within(0..=24) as i32;
        }
    }),
    ("the integers of a constant", |graph, random| {
        let tensors = graph.initializer.iter_mut().filter(|tensor| tensor.data_type == 7);
        if let Some(tensor) = any(&mut tensors.collect::<Vec<_>>(), random) {
            let count = random.within(1..=4);
            tensor.dims = vec![count as i64];
            tensor.raw_data = (0..count).flat_map(|_| a_number(random).to_le_bytes()).collect();
        }
    }),
    ("the length of a constant", |graph, random| {
        if let Some(tensor) = any(&mut graph.initializer, random) {
            tensor.raw_data.truncate(random.within(0..=16));
        }
    }),
    ("an operator", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.op_type = random.pick(OPERATORS).into();
        }
    }),
    ("an operator without attributes", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.op_type = random.pick(OPERATORS).into();
            node.attribute.clear();
        }
    }),
    ("a node more", |graph, random| {
        let inputs = (0..random.within(0..=3)).map(|_| a_name(graph, random)).collect();
        let name = format!("more_{}", graph.node.len());
        let op_type = random.pick(OPERATORS).to_owned();
        let output = vec![name.clone()];
        if random.within(0..=1) == 0 {
            graph.output[0].name = name.clone();
        }
        graph.node.push(NodeProto { name, op_type, input: inputs, output, ..NodeProto::default() });
    }),
    ("an attribute", |graph, random| {
        let number = a_number(random);
        if let Some(node) = any(&mut graph.node, random)
            && let Some(attribute) = any(&mut node.attribute, random)
        {
            attribute.i = number;
            attribute.f = f32::from_bits(number as u32);
            if let Some(item) = any(&mut attribute.ints, random) {
                *item = number;
            }
        }
    }),
    ("an attribute more", |graph, random| {
        let number = a_number(random);
        let count = random.within(0..=4);
        if let Some(node) = any(&mut graph.node, random) {
            let name = random.pick(ATTRIBUTES).to_owned();
            node.attribute.push(match random.within(0..=1) {
                0 => AttributeProto {
                    name,
                    r#type: AttributeType::Int as i32,
                    i: number,
                    ..AttributeProto::default()
                },
                _ => AttributeProto {
                    name,
                    r#type: AttributeType::Ints as i32,
                    ints: (0..count).map(|_| a_number(random)).collect(),
                    ..AttributeProto::default()
                },
            });
        }
    }),
    ("an attribute less", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.attribute.pop();
        }
    }),
    ("a node's input", |graph, random| {
        let name = a_name(graph, random);
        if let Some(node) = any(&mut graph.node, random)
            && let Some(input) = any(&mut node.input, random)
        {
            *input = name;
        }
    }),
    ("a node's input less", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.input.pop();
        }
    }),
    ("a node's input more", |graph, random| {
        let name = a_name(graph, random);
        if let Some(node) = any(&mut graph.node, random) {
            node.input.push(name);
        }
    }),
    ("a node's output more", |graph, random| {
        if let Some(node) = any(&mut graph.node, random) {
            node.output.push(format!("second_{}", random.within(0..=9)));
        }
    }),
    ("a node less", |graph, random| {
        let at = random.within(0..=graph.node.len() - 1);
        graph.node.remove(at);
    }),
    ("an output", |graph, random| {
        let name = a_name(graph, random);
        if let Some(output) = any(&mut graph.output, random) {
            output.name = name;
        }
    }),
    ("nodes in another order", |graph, random| {
        let count = graph.node.len() - 1;
        let (a, b) = (random.within(0..=count), random.within(0..=count));
        graph.node.swap(a, b);
    }),
    ("nodes without names", |graph, _| {
        graph.node.iter_mut().for_each(|node| node.name.clear());
    }),
];

const OF_BYTES: &[OfBytes] = &[
    ("a bit", |bytes, random| {
        let at = random.within(0..=bytes.len() - 1);
        bytes[at] ^= 1 << random.within(0..=7);
    }),
    ("bytes", |bytes, random| {
        for _ in 0..random.within(1..=8) {
            let at = random.within(0..=bytes.len() - 1);
            bytes[at] = random.within(0..=255) as u8;
        }
    }),
    ("truncated", |bytes, random| bytes.truncate(random.within(0..=bytes.len()))),
    ("a piece twice", |bytes, random| {
        let end = random.within(1..=bytes.len());
        let start = random.within(0..=end);
        let piece = bytes[start..end].to_vec();
        bytes.splice(end..end, piece);
    }),
];

fn any<'a, T>(items: &'a mut [T], random: &mut Random) -> Option<&'a mut T> {
    match items.len() {
        0 => None,
        count => items.get_mut(random.within(0..=count - 1)),
    }
}

fn a_number(random: &mut Random) -> i64 {
    match random.within(0..=3) {
        0 => random.pick(&[
            i64::MIN,
            i64::MAX,
            i32::MIN.into(),
            i32::MAX.into(),
            1 << 16,
            1 << 20,
            1 << 28,
            1 << 31,
            1 << 32,
            1 << 40,
            (1 << 62) + 1,
        ]),
        1 => random.within(0..=300) as i64 - 100,
        _ => random.within(0..=8) as i64 - 2,
    }
}

/// The name of a value, or of none.
fn a_name(graph: &GraphProto, random: &mut Random) -> String {
    let mut names: Vec<&str> = vec![""];
    names.extend(graph.input.iter().map(|input| &*input.name));
    names.extend(graph.initializer.iter().map(|tensor| &*tensor.name));
    names.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    random.pick(&names).to_owned()
}

const ATTRIBUTES: &[&str] = &[
    "axis",
    "axes",
    "keepdims",
    "pads",
    "strides",
    "dilations",
    "group",
    "kernel_shape",
    "output_shape",
    "output_padding",
    "perm",
    "to",
    "alpha",
    "beta",
    "transA",
    "transB",
    "ceil_mode",
    "count_include_pad",
    "num_outputs",
    "split",
    "hidden_size",
    "blocksize",
    "shape",
    "size",
    "epsilon",
    "largest",
    "exclusive",
    "reverse",
    "upper",
    "batch_dims",
    "allowzero",
    "starts",
    "ends",
    "repeats",
    "scales",
    "k",
    "depth",
    "p",
    "num_heads",
];

const OPERATORS: &[&str] = &[
    "Abs",
    "Acos",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Attention",
    "AveragePool",
    "BatchNormalization",
    "BitShift",
    "Cast",
    "Ceil",
    "Clip",
    "Compress",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DFT",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "EyeLike",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GridSample",
    "GroupNormalization",
    "HardSigmoid",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsNaN",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mod",
    "Mul",
    "Multinomial",
    "Neg",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "RNN",
    "RandomNormal",
    "RandomUniform",
    "RandomUniformLike",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Resize",
    "Round",
    "STFT",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shape",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Upsample",
    "Where",
    "Xor",
];
