//! Other networks for images: SqueezeNet 1.1 (Iandola et al. 2016), a U-Net of
//! three levels (Ronneberger et al. 2015), and a detector with two heads as
//! YOLOv3-tiny has them (Redmon and Farhadi 2018).

use super::net::{Activation, Net, Window};
use crate::onnx::{Attribute, FLOAT};

/// SqueezeNet 1.1, for 1000 classes.
pub fn squeezenet(side: usize) -> Vec<u8> {
    let mut net = Net::new(11);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let mut x = net.conv_act(&x, (3, 64), Window::new(3, 2), Activation::Relu);
    let fires = [
        (64, 16, 64),
        (128, 16, 64),
        (128, 32, 128),
        (256, 32, 128),
        (256, 48, 192),
        (384, 48, 192),
        (384, 64, 256),
        (512, 64, 256),
    ];
    for (index, (inputs, squeezed, expanded)) in fires.into_iter().enumerate() {
        if matches!(index, 0 | 2 | 4) {
            x = net.max_pool(&x, 3, 2, 0);
        }
        let relu = Activation::Relu;
        let y = net.conv_act(&x, (inputs, squeezed), Window::new(1, 1), relu);
        let left = net.conv_act(&y, (squeezed, expanded), Window::new(1, 1), relu);
        let right = net.conv_act(&y, (squeezed, expanded), Window::new(3, 1), relu);
        x = net.concat(&[&left, &right]);
    }
    let x = net.conv_act(&x, (512, 1000), Window::new(1, 1), Activation::Relu);
    let mean = net.op("GlobalAveragePool", &[&x]);
    let classes = net.graph.node("Flatten", &[&mean], &[("axis", Attribute::Int(1))]);
    net.finish(&[&classes])
}

/// A U-Net that segments an image into two classes; its sides are a multiple of 4.
pub fn u_net(side: usize) -> Vec<u8> {
    let mut net = Net::new(23);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let fine = double(&mut net, &x, 3, 16);
    let x = net.max_pool(&fine, 2, 2, 0);
    let middle = double(&mut net, &x, 16, 32);
    let x = net.max_pool(&middle, 2, 2, 0);
    let x = double(&mut net, &x, 32, 64);
    let x = up(&mut net, &x, 64, 32);
    let x = net.concat(&[&x, &middle]);
    let x = double(&mut net, &x, 64, 32);
    let x = up(&mut net, &x, 32, 16);
    let x = net.concat(&[&x, &fine]);
    let x = double(&mut net, &x, 32, 16);
    let classes = net.conv(&x, 16, 2, Window::new(1, 1));
    net.finish(&[&classes])
}

fn double(net: &mut Net, x: &str, inputs: usize, outputs: usize) -> String {
    let x = net.conv_act(x, (inputs, outputs), Window::new(3, 1), Activation::Relu);
    net.conv_act(&x, (outputs, outputs), Window::new(3, 1), Activation::Relu)
}

/// A transposed convolution that doubles the resolution.
fn up(net: &mut Net, x: &str, inputs: usize, outputs: usize) -> String {
    let weights = net.weights(&[inputs, outputs, 2, 2], inputs);
    let bias = net.bias(outputs);
    let attributes =
        [("kernel_shape", Attribute::Ints(&[2, 2])), ("strides", Attribute::Ints(&[2, 2]))];
    net.graph.node("ConvTranspose", &[x, &weights, &bias], &attributes)
}

/// Anchors of each cell of a head.
const ANCHORS: usize = 3;

/// Numbers of each anchor: a box of four, objectness, classes.
const PREDICTIONS: usize = 5 + 20;

/// A detector of 20 classes, whose output `[1, boxes, 25]` is decoded: centre and
/// size in pixels, objectness, and each class's probability. The sides are a
/// multiple of 32.
pub fn detector(side: usize) -> Vec<u8> {
    let mut net = Net::new(31);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let (mut x, mut inputs) = (x, 3);
    let mut fine = String::new();
    for (level, outputs) in [16, 32, 64, 128, 256].into_iter().enumerate() {
        x = net.conv_act(&x, (inputs, outputs), Window::new(3, 1), Activation::Leaky);
        if level == 4 {
            fine.clone_from(&x);
        }
        x = net.max_pool(&x, 2, 2, 0);
        inputs = outputs;
    }
    let x = net.conv_act(&x, (256, 512), Window::new(3, 1), Activation::Leaky);
    let x = net.conv_act(&x, (512, 128), Window::new(1, 1), Activation::Leaky);
    let coarse = net.conv_act(&x, (128, 256), Window::new(3, 1), Activation::Leaky);
    let coarse = head(&mut net, &coarse, 256, side, 32);
    let x = net.conv_act(&x, (128, 64), Window::new(1, 1), Activation::Leaky);
    let scales = net.graph.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let x = net.graph.node("Resize", &[&x, "", &scales], &[("mode", Attribute::String("nearest"))]);
    let x = net.concat(&[&x, &fine]);
    let x = net.conv_act(&x, (320, 128), Window::new(3, 1), Activation::Leaky);
    let fine = head(&mut net, &x, 128, side, 16);
    let boxes = net.concat(&[&coarse, &fine]);
    net.finish(&[&boxes])
}

/// A head over cells of `stride` pixels, decoded to `[1, boxes, 25]`.
fn head(net: &mut Net, x: &str, inputs: usize, side: usize, stride: usize) -> String {
    let x = net.conv(x, inputs, ANCHORS * PREDICTIONS, Window::new(1, 1));
    let cells = side / stride;
    let split = [1, ANCHORS, PREDICTIONS, cells * cells].map(|size| size as i64);
    let split = net.graph.ints(&split);
    let x = net.op("Reshape", &[&x, &split]);
    let x = net.graph.node("Transpose", &[&x], &[("perm", Attribute::Ints(&[0, 1, 3, 2]))]);
    let sigmoid = net.op("Sigmoid", &[&x]);
    let centre = part(net, &sigmoid, 0, 2);
    let size = part(net, &x, 2, 4);
    let scores = part(net, &sigmoid, 4, PREDICTIONS);
    let corners: Vec<f32> =
        (0..cells * cells).flat_map(|i| [(i % cells) as f32, (i / cells) as f32]).collect();
    let corners = net.graph.floats(&[cells * cells, 2], &corners);
    let centre = net.op("Add", &[&centre, &corners]);
    let pixels = net.graph.floats(&[], &[stride as f32]);
    let centre = net.op("Mul", &[&centre, &pixels]);
    let anchors = [1.0, 1.0, 1.5, 1.0, 1.0, 1.5].map(|x| x * stride as f32);
    let anchors = net.graph.floats(&[ANCHORS, 1, 2], &anchors);
    let size = net.op("Exp", &[&size]);
    let size = net.op("Mul", &[&size, &anchors]);
    let x = net.graph.node("Concat", &[&centre, &size, &scores], &[("axis", Attribute::Int(3))]);
    let boxes = net.graph.ints(&[1, (ANCHORS * cells * cells) as i64, PREDICTIONS as i64]);
    net.op("Reshape", &[&x, &boxes])
}

fn part(net: &mut Net, x: &str, from: usize, to: usize) -> String {
    let bounds = [from, to, 3].map(|bound| net.graph.ints(&[bound as i64]));
    let [from, to, axis] = &bounds;
    net.op("Slice", &[x, from, to, axis])
}
