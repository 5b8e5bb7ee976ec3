//! Networks made for small processors: MobileNetV2 (Sandler et al. 2018),
//! MobileNetV3 (Howard et al. 2019), EfficientNet (Tan and Le 2019),
//! ShuffleNetV2 (Ma et al. 2018). All for 1000 classes.

use super::net::{Activation, Net, Window};
use crate::onnx::{Attribute, FLOAT};

/// An inverted residual block: a 1x1 convolution that expands, a depthwise one,
/// perhaps a squeeze-and-excitation, a 1x1 one that projects; and a shortcut
/// where the shape stays.
struct Inverted {
    inputs: usize,
    expanded: usize,
    outputs: usize,
    side: usize,
    stride: usize,
    activation: Activation,
    squeeze: Option<Squeeze>,
}

/// A squeeze-and-excitation (Hu et al. 2017).
struct Squeeze {
    width: usize,
    inner: Activation,
    gate: &'static str,
}

impl Inverted {
    fn layers(&self, net: &mut Net, x: &str) -> String {
        let &Self { inputs, expanded, outputs, side, stride, activation, .. } = self;
        let mut y = x.to_owned();
        if expanded != inputs {
            y = net.conv_act(&y, (inputs, expanded), Window::new(1, 1), activation);
        }
        let window = Window::depthwise(side, stride, expanded);
        y = net.conv_act(&y, (expanded, expanded), window, activation);
        if let Some(squeeze) = &self.squeeze {
            let mean = net.op("GlobalAveragePool", &[&y]);
            let window = Window::new(1, 1);
            let inner = net.conv_act(&mean, (expanded, squeeze.width), window, squeeze.inner);
            let gate = net.conv(&inner, squeeze.width, expanded, window);
            let gate = net.op(squeeze.gate, &[&gate]);
            y = net.op("Mul", &[&y, &gate]);
        }
        y = net.conv_residual(&y, expanded, outputs, Window::new(1, 1));
        match stride == 1 && inputs == outputs {
            true => net.op("Add", &[x, &y]),
            false => y,
        }
    }
}

/// MobileNetV2 of width 1.
pub fn mobilenet_v2(side: usize) -> Vec<u8> {
    let mut net = Net::new(2);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let mut x = net.conv_act(&x, (3, 32), Window::new(3, 2), Activation::Relu6);
    let mut inputs = 32;
    let levels = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, outputs, count, stride) in levels {
        for block in 0..count {
            let block = Inverted {
                inputs,
                expanded: expansion * inputs,
                outputs,
                side: 3,
                stride: if block == 0 { stride } else { 1 },
                activation: Activation::Relu6,
                squeeze: None,
            };
            x = block.layers(&mut net, &x);
            inputs = outputs;
        }
    }
    let x = net.conv_act(&x, (320, 1280), Window::new(1, 1), Activation::Relu6);
    let classes = net.classifier(&x, 1280, 1000);
    net.finish(&[&classes])
}

/// MobileNetV3, the small one.
pub fn mobilenet_v3_small(side: usize) -> Vec<u8> {
    use Activation::{HardSwish, Relu};
    let mut net = Net::new(3);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let mut x = net.conv_act(&x, (3, 16), Window::new(3, 2), HardSwish);
    let mut inputs = 16;
    let blocks = [
        (3, 16, 16, true, Relu, 2),
        (3, 72, 24, false, Relu, 2),
        (3, 88, 24, false, Relu, 1),
        (5, 96, 40, true, HardSwish, 2),
        (5, 240, 40, true, HardSwish, 1),
        (5, 240, 40, true, HardSwish, 1),
        (5, 120, 48, true, HardSwish, 1),
        (5, 144, 48, true, HardSwish, 1),
        (5, 288, 96, true, HardSwish, 2),
        (5, 576, 96, true, HardSwish, 1),
        (5, 576, 96, true, HardSwish, 1),
    ];
    for (side, expanded, outputs, squeeze, activation, stride) in blocks {
        let width = usize::next_multiple_of(expanded / 4, 8);
        let squeeze = squeeze.then_some(Squeeze { width, inner: Relu, gate: "HardSigmoid" });
        let block = Inverted { inputs, expanded, outputs, side, stride, activation, squeeze };
        x = block.layers(&mut net, &x);
        inputs = outputs;
    }
    let x = net.conv_act(&x, (96, 576), Window::new(1, 1), HardSwish);
    let x = net.classifier(&x, 576, 1024);
    let x = net.activation(&x, HardSwish);
    let classes = net.dense(&x, 1024, 1000);
    net.finish(&[&classes])
}

/// EfficientNet-B0.
pub fn efficientnet_b0(side: usize) -> Vec<u8> {
    let mut net = Net::new(0);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let mut x = net.conv_act(&x, (3, 32), Window::new(3, 2), Activation::Swish);
    let mut inputs = 32;
    let levels = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ];
    for (expansion, side, stride, outputs, count) in levels {
        for block in 0..count {
            let (width, inner) = (inputs / 4, Activation::Swish);
            let block = Inverted {
                inputs,
                expanded: expansion * inputs,
                outputs,
                side,
                stride: if block == 0 { stride } else { 1 },
                activation: Activation::Swish,
                squeeze: Some(Squeeze { width, inner, gate: "Sigmoid" }),
            };
            x = block.layers(&mut net, &x);
            inputs = outputs;
        }
    }
    let x = net.conv_act(&x, (320, 1280), Window::new(1, 1), Activation::Swish);
    let classes = net.classifier(&x, 1280, 1000);
    net.finish(&[&classes])
}

/// ShuffleNetV2 of width 1.
pub fn shufflenet_v2(side: usize) -> Vec<u8> {
    let mut net = Net::new(22);
    let x = net.graph.input("input", FLOAT, &[1, 3, side, side].map(Into::into));
    let x = net.conv_act(&x, (3, 24), Window::new(3, 2), Activation::Relu);
    let mut x = net.max_pool(&x, 3, 2, 1);
    let mut pixels = side.div_ceil(2).div_ceil(2);
    let mut inputs = 24;
    for (count, outputs) in [(4, 116), (8, 232), (4, 464)] {
        let half = outputs / 2;
        pixels = pixels.div_ceil(2);
        for block in 0..count {
            let (left, right) = match block {
                0 => {
                    let window = Window::depthwise(3, 2, inputs);
                    let y = net.conv(&x, inputs, inputs, window);
                    let window = Window::new(1, 1);
                    let left = net.conv_act(&y, (inputs, half), window, Activation::Relu);
                    (left, shuffle_branch(&mut net, &x, inputs, half, 2))
                }
                _ => {
                    let left = channels(&mut net, &x, 0, half);
                    let right = channels(&mut net, &x, half, outputs);
                    let right = shuffle_branch(&mut net, &right, half, half, 1);
                    (left, right)
                }
            };
            let joined = net.concat(&[&left, &right]);
            x = shuffle(&mut net, &joined, outputs, pixels);
            inputs = outputs;
        }
    }
    let x = net.conv_act(&x, (464, 1024), Window::new(1, 1), Activation::Relu);
    let classes = net.classifier(&x, 1024, 1000);
    net.finish(&[&classes])
}

fn shuffle_branch(net: &mut Net, x: &str, inputs: usize, outputs: usize, stride: usize) -> String {
    let y = net.conv_act(x, (inputs, outputs), Window::new(1, 1), Activation::Relu);
    let y = net.conv(&y, outputs, outputs, Window::depthwise(3, stride, outputs));
    net.conv_act(&y, (outputs, outputs), Window::new(1, 1), Activation::Relu)
}

fn channels(net: &mut Net, x: &str, from: usize, to: usize) -> String {
    let bounds = [from, to, 1].map(|bound| net.graph.ints(&[bound as i64]));
    let [from, to, axis] = &bounds;
    net.op("Slice", &[x, from, to, axis])
}

/// The channels of two groups interleaved.
fn shuffle(net: &mut Net, x: &str, channels: usize, pixels: usize) -> String {
    let (half, pixels) = ((channels / 2) as i64, pixels as i64);
    let grouped = net.graph.ints(&[1, 2, half, pixels, pixels]);
    let x = net.op("Reshape", &[x, &grouped]);
    let x = net.graph.node("Transpose", &[&x], &[("perm", Attribute::Ints(&[0, 2, 1, 3, 4]))]);
    let whole = net.graph.ints(&[1, 2 * half, pixels, pixels]);
    net.op("Reshape", &[&x, &whole])
}
