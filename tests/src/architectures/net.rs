//! Layers with random weights, over the builder of ONNX graphs.

use crate::onnx::{Attribute, Graph};
use crate::random::Random;

/// A graph under construction. Layers take the name of their input and give that
/// of their output; weights are scaled so that numbers keep their magnitude (He
/// et al. 2015).
pub struct Net {
    /// The graph.
    pub graph: Graph,
    random: Random,
}

/// A convolution's window: square, padded so that stride 1 keeps the size.
#[derive(Clone, Copy)]
pub struct Window {
    /// The side of the window.
    pub side: usize,
    /// The stride on either axis.
    pub stride: usize,
    /// The groups of channels.
    pub groups: usize,
}

impl Window {
    /// An ungrouped one.
    pub fn new(side: usize, stride: usize) -> Self {
        Self { side, stride, groups: 1 }
    }

    /// One for each channel.
    pub fn depthwise(side: usize, stride: usize, channels: usize) -> Self {
        Self { side, stride, groups: channels }
    }
}

impl Net {
    /// An empty graph, whose weights follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self { graph: Graph::new(), random: Random::new(seed) }
    }

    /// Uniform numbers with the variance `2 / fan_in`.
    pub fn weights(&mut self, shape: &[usize], fan_in: usize) -> String {
        let scale = (6.0 / fan_in as f32).sqrt();
        let numbers = self.random.numbers(shape.iter().product());
        let numbers: Vec<f32> = numbers.into_iter().map(|x| x * scale).collect();
        self.graph.floats(shape, &numbers)
    }

    /// Small numbers.
    pub fn bias(&mut self, count: usize) -> String {
        let numbers: Vec<f32> = self.random.numbers(count).into_iter().map(|x| x * 0.1).collect();
        self.graph.floats(&[count], &numbers)
    }

    /// A node without attributes.
    pub fn op(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.graph.node(operator, inputs, &[])
    }

    /// A convolution of images with a bias.
    pub fn conv(&mut self, x: &str, inputs: usize, outputs: usize, window: Window) -> String {
        self.conv_damped(x, inputs, outputs, window, 1)
    }

    /// A convolution that ends a block with a shortcut: quieter than it, so that
    /// many blocks in a row do not add up.
    pub fn conv_residual(
        &mut self,
        x: &str,
        inputs: usize,
        outputs: usize,
        window: Window,
    ) -> String {
        self.conv_damped(x, inputs, outputs, window, 16)
    }

    fn conv_damped(
        &mut self,
        x: &str,
        inputs: usize,
        outputs: usize,
        window: Window,
        damping: usize,
    ) -> String {
        let Window { side, stride, groups } = window;
        let within = inputs / groups;
        let fan_in = damping * within * side * side;
        let weights = self.weights(&[outputs, within, side, side], fan_in);
        let bias = self.bias(outputs);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[side as i64; 2])),
            ("pads", Attribute::Ints(&[(side / 2) as i64; 4])),
            ("strides", Attribute::Ints(&[stride as i64; 2])),
            ("group", Attribute::Int(groups as i64)),
        ];
        self.graph.node("Conv", &[x, &weights, &bias], &attributes)
    }

    /// A convolution of images and `activation` after it.
    pub fn conv_act(
        &mut self,
        x: &str,
        channels: (usize, usize),
        window: Window,
        activation: Activation,
    ) -> String {
        let x = self.conv(x, channels.0, channels.1, window);
        self.activation(&x, activation)
    }

    /// An activation as exporters write it.
    pub fn activation(&mut self, x: &str, activation: Activation) -> String {
        match activation {
            Activation::Relu => self.op("Relu", &[x]),
            Activation::Relu6 => {
                let (low, high) = (self.graph.floats(&[], &[0.0]), self.graph.floats(&[], &[6.0]));
                self.op("Clip", &[x, &low, &high])
            }
            Activation::Leaky => {
                self.graph.node("LeakyRelu", &[x], &[("alpha", Attribute::Float(0.1))])
            }
            Activation::HardSwish => self.op("HardSwish", &[x]),
            Activation::Swish => {
                let gate = self.op("Sigmoid", &[x]);
                self.op("Mul", &[x, &gate])
            }
        }
    }

    /// The maximum over windows.
    pub fn max_pool(&mut self, x: &str, side: usize, stride: usize, padding: usize) -> String {
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[side as i64; 2])),
            ("strides", Attribute::Ints(&[stride as i64; 2])),
            ("pads", Attribute::Ints(&[padding as i64; 4])),
        ];
        self.graph.node("MaxPool", &[x], &attributes)
    }

    /// Values side by side in the channels.
    pub fn concat(&mut self, parts: &[&str]) -> String {
        self.graph.node("Concat", parts, &[("axis", Attribute::Int(1))])
    }

    /// A dense layer of `[rows, inputs]`, with weights as PyTorch keeps them.
    pub fn dense(&mut self, x: &str, inputs: usize, outputs: usize) -> String {
        let weights = self.weights(&[outputs, inputs], inputs);
        let bias = self.bias(outputs);
        self.graph.node("Gemm", &[x, &weights, &bias], &[("transB", Attribute::Int(1))])
    }

    /// The mean over each channel's pixels, and a dense layer to the classes.
    pub fn classifier(&mut self, x: &str, channels: usize, classes: usize) -> String {
        let mean = self.op("GlobalAveragePool", &[x]);
        let flat = self.graph.node("Flatten", &[&mean], &[("axis", Attribute::Int(1))]);
        self.dense(&flat, channels, classes)
    }

    /// The model's file.
    pub fn finish(self, outputs: &[&str]) -> Vec<u8> {
        self.graph.finish(outputs)
    }
}

/// What follows a convolution.
#[derive(Clone, Copy)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` or a tenth of it.
    Leaky,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `x * sigmoid(x)`.
    Swish,
}
