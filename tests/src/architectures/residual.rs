//! Residual networks: He et al., "Deep Residual Learning for Image Recognition",
//! 2015, with the stride in the 3x3 convolution as torchvision has it; and a
//! one-dimensional one as for electrocardiograms.

use super::net::{Activation, Net, Window};
use crate::onnx::{Attribute, FLOAT};

/// ResNet-18, for 1000 classes.
pub fn resnet_18(side: usize) -> Vec<u8> {
    resnet(side, [2, 2, 2, 2], false)
}

/// ResNet-50, for 1000 classes.
pub fn resnet_50(side: usize) -> Vec<u8> {
    resnet(side, [3, 4, 6, 3], true)
}

fn resnet(side: usize, blocks: [usize; 4], bottleneck: bool) -> Vec<u8> {
    let mut net = Net::new(18);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let x = net.conv_act(&x, (3, 64), Window::new(7, 2), Activation::Relu);
    let mut x = net.max_pool(&x, 3, 2, 1);
    let mut channels = 64;
    for (level, &count) in blocks.iter().enumerate() {
        let width = 64 << level;
        for block in 0..count {
            let stride = if level > 0 && block == 0 { 2 } else { 1 };
            let outputs = if bottleneck { 4 * width } else { width };
            let shortcut = match stride == 1 && channels == outputs {
                true => x.clone(),
                false => net.conv(&x, channels, outputs, Window::new(1, stride)),
            };
            let body = match bottleneck {
                true => {
                    let y =
                        net.conv_act(&x, (channels, width), Window::new(1, 1), Activation::Relu);
                    let y =
                        net.conv_act(&y, (width, width), Window::new(3, stride), Activation::Relu);
                    net.conv_residual(&y, width, outputs, Window::new(1, 1))
                }
                false => {
                    let window = Window::new(3, stride);
                    let y = net.conv_act(&x, (channels, width), window, Activation::Relu);
                    net.conv_residual(&y, width, width, Window::new(3, 1))
                }
            };
            let sum = net.op("Add", &[&body, &shortcut]);
            x = net.activation(&sum, Activation::Relu);
            channels = outputs;
        }
    }
    let classes = net.classifier(&x, channels, 1000);
    net.finish(&[&classes])
}

/// A residual network over signals `[1, 12, length]`, for five classes. Its
/// batch normalisations are not folded.
pub fn ecg_resnet(length: usize) -> Vec<u8> {
    let mut net = Net::new(12);
    let x = net.graph.input("input", FLOAT, &[1, 12, length].map(Into::into));
    let x = conv_norm(&mut net, &x, (12, 32), 15, 2);
    let x = net.op("Relu", &[&x]);
    let attributes = [
        ("kernel_shape", Attribute::Ints(&[3])),
        ("strides", Attribute::Ints(&[2])),
        ("pads", Attribute::Ints(&[1, 1])),
    ];
    let mut x = net.graph.node("MaxPool", &[&x], &attributes);
    for level in 0..3 {
        let (inputs, outputs) = (32 << level, 64 << level);
        let y = conv_norm(&mut net, &x, (inputs, outputs), 15, 2);
        let y = net.op("Relu", &[&y]);
        let y = conv_norm(&mut net, &y, (outputs, outputs), 15, 1);
        let shortcut = conv_norm(&mut net, &x, (inputs, outputs), 1, 2);
        let sum = net.op("Add", &[&y, &shortcut]);
        x = net.op("Relu", &[&sum]);
    }
    let classes = net.classifier(&x, 256, 5);
    net.finish(&[&classes])
}

/// A convolution of signals without bias, and a batch normalisation.
fn conv_norm(
    net: &mut Net,
    x: &str,
    (inputs, outputs): (usize, usize),
    window: usize,
    stride: usize,
) -> String {
    let weights = net.weights(&[outputs, inputs, window], inputs * window);
    let pad = (window / 2) as i64;
    let attributes = [
        ("kernel_shape", Attribute::Ints(&[window as i64])),
        ("strides", Attribute::Ints(&[stride as i64])),
        ("pads", Attribute::Ints(&[pad, pad])),
    ];
    let x = net.graph.node("Conv", &[x, &weights], &attributes);
    let ones = net.graph.floats(&[outputs], &vec![1.0; outputs]);
    let (bias, mean) = (net.bias(outputs), net.bias(outputs));
    let variance = net.graph.floats(&[outputs], &vec![0.8; outputs]);
    net.op("BatchNormalization", &[&x, &ones, &bias, &mean, &variance])
}
