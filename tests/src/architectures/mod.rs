//! The architectures that people deploy, as ONNX files with seeded random
//! weights: what the tests compile and the benchmark times, without a framework
//! to export them.
//!
//! Layers and widths are those of the papers named; batch normalisations are
//! folded into the convolutions, as exporters do. Images are
//! `[1, 3, side, side]`.

mod images;
mod mobile;
mod net;
mod residual;
mod sequences;
mod trees;

pub use images::{detector, squeezenet, u_net};
pub use mobile::{efficientnet_b0, mobilenet_v2, mobilenet_v3_small, shufflenet_v2};
pub use residual::{ecg_resnet, resnet_18, resnet_50};
pub use sequences::{auto_encoder, gru, lstm, transformer};
pub use trees::{boosted, deep_boosted, forest};

/// An architecture, and what makes its ONNX file for a size.
#[derive(Clone, Copy)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    /// The size that people use: the side of an image, the length of a sequence,
    /// or a number of rows.
    pub size: usize,
    /// A size that keeps a test short.
    pub small: usize,
    /// The file for a size.
    pub onnx: fn(usize) -> Vec<u8>,
}

/// All of them.
pub const ARCHITECTURES: [Architecture; 20] = [
    Architecture { name: "mobilenet-v2", size: 224, small: 32, onnx: mobilenet_v2 },
    Architecture { name: "mobilenet-v3-small", size: 224, small: 32, onnx: mobilenet_v3_small },
    Architecture { name: "efficientnet-b0", size: 224, small: 32, onnx: efficientnet_b0 },
    Architecture { name: "shufflenet-v2", size: 224, small: 32, onnx: shufflenet_v2 },
    Architecture { name: "resnet-18", size: 224, small: 32, onnx: resnet_18 },
    Architecture { name: "resnet-50", size: 224, small: 32, onnx: resnet_50 },
    Architecture { name: "squeezenet", size: 224, small: 47, onnx: squeezenet },
    Architecture { name: "u-net", size: 128, small: 24, onnx: u_net },
    Architecture { name: "detector", size: 224, small: 64, onnx: detector },
    Architecture { name: "ecg-resnet", size: 1000, small: 150, onnx: ecg_resnet },
    Architecture { name: "auto-encoder", size: 640, small: 40, onnx: auto_encoder },
    Architecture { name: "gru", size: 49, small: 9, onnx: gru },
    Architecture { name: "lstm", size: 49, small: 9, onnx: lstm },
    Architecture { name: "transformer", size: 64, small: 11, onnx: transformer },
    Architecture { name: "forest-1", size: 1, small: 1, onnx: forest },
    Architecture { name: "forest-64", size: 64, small: 9, onnx: forest },
    Architecture { name: "boosted-1", size: 1, small: 1, onnx: boosted },
    Architecture { name: "boosted-64", size: 64, small: 9, onnx: boosted },
    Architecture { name: "deep-boosted-1", size: 1, small: 1, onnx: deep_boosted },
    Architecture { name: "deep-boosted-64", size: 64, small: 9, onnx: deep_boosted },
];
