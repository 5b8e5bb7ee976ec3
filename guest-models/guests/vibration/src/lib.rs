//! A model written by hand, to copy from: raw samples of an accelerometer go in,
//! the state of the machine that it is screwed to comes out.
//!
//! Before the network: samples become numbers, lose their mean, pass a Hann window
//! and a Fourier transform, and the energies of its octaves are compared. The
//! network: two dense layers, trained by `train.py`. After it: softmax, and an
//! alarm where the machine is surely not in order.

use std::f32::consts::PI;

use exports::leeway::model::inference::{Error, Guest, Tensor, TensorType};

wit_bindgen::generate!({ path: "../../../wit/model.wit", world: "model" });

/// Samples in a window, a power of two.
const SAMPLES: usize = 256;
/// Octaves of the spectrum: 1, 2..4, 4..8 and so on up to half the sample rate.
const FEATURES: usize = SAMPLES.ilog2() as usize - 1;
const HIDDEN: usize = 16;
/// In order, unbalanced, bearing worn.
const CLASSES: usize = 3;
/// The least probability of "in order" without an alarm.
const IN_ORDER: f32 = 0.5;

/// Both layers' weights, row by row, and biases: 32-bit floats, little-endian.
const WEIGHTS: &[u8; 4 * (HIDDEN * (FEATURES + 1) + CLASSES * (HIDDEN + 1))] =
    include_bytes!("../weights.bin");

struct Vibration;

export!(Vibration);

impl Guest for Vibration {
    fn stage_count() -> u32 {
        1
    }

    fn run(first: u32, last: u32, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        if (first, last) != (0, 0) {
            return Err(Error::InvalidRange(format!("stages {first}..={last}, wanted 0..=0")));
        }
        let features = features(&samples(&inputs)?);
        let mut weights = WEIGHTS.chunks_exact(4).map(float);
        let mut hidden = [0.0; HIDDEN];
        dense(&mut weights, &features, &mut hidden);
        hidden.iter_mut().for_each(|value| *value = value.max(0.0));
        let mut classes = [0.0; CLASSES];
        dense(&mut weights, &hidden, &mut classes);
        softmax(&mut classes);
        Ok(vec![
            Tensor {
                dimensions: vec![1, CLASSES as u32],
                ty: TensorType::Fp32,
                data: classes.iter().flat_map(|value| value.to_le_bytes()).collect(),
            },
            Tensor {
                dimensions: vec![1],
                ty: TensorType::Bool,
                data: vec![u8::from(classes[0] < IN_ORDER)],
            },
        ])
    }
}

/// The window: `U8[1, 512]`, 16-bit samples as the sensor sends them, low byte
/// first. (Tensors have no 16-bit integers.)
fn samples(inputs: &[Tensor]) -> Result<[f32; SAMPLES], Error> {
    let wanted = [1, 2 * SAMPLES as u32];
    match inputs {
        [input] if input.ty == TensorType::U8 && input.dimensions == wanted => {
            let pair = |i: usize| i16::from_le_bytes([input.data[2 * i], input.data[2 * i + 1]]);
            Ok(std::array::from_fn(|i| f32::from(pair(i))))
        }
        [input] => {
            let (ty, dimensions) = (input.ty, &input.dimensions);
            Err(Error::InvalidInput(format!("wanted U8{wanted:?}, seen {ty:?}{dimensions:?}")))
        }
        _ => Err(Error::InvalidInput(format!("wanted one input, seen {}", inputs.len()))),
    }
}

/// The logarithm of each octave's energy, over that of all of them.
fn features(samples: &[f32; SAMPLES]) -> [f32; FEATURES] {
    let mean = samples.iter().sum::<f32>() / SAMPLES as f32;
    let angle = |i: usize| 2.0 * PI * i as f32 / SAMPLES as f32;
    let mut real: [f32; SAMPLES] =
        std::array::from_fn(|i| (samples[i] - mean) * (0.5 - 0.5 * angle(i).cos()));
    let mut imaginary = [0.0; SAMPLES];
    fourier(&mut real, &mut imaginary);
    let energy = |bin: usize| real[bin] * real[bin] + imaginary[bin] * imaginary[bin];
    let octaves: [f32; FEATURES] =
        std::array::from_fn(|octave| (1 << octave..2 << octave).map(energy).sum());
    let total = octaves.iter().sum::<f32>() + 1.0;
    octaves.map(|octave| (octave / total + 1e-4).ln())
}

/// The discrete Fourier transform in place (Cooley and Tukey, 1965, radix 2).
fn fourier(real: &mut [f32; SAMPLES], imaginary: &mut [f32; SAMPLES]) {
    for i in 0..SAMPLES {
        let reversed = i.reverse_bits() >> (usize::BITS - SAMPLES.ilog2());
        if i < reversed {
            real.swap(i, reversed);
            imaginary.swap(i, reversed);
        }
    }
    let mut half = 1;
    while half < SAMPLES {
        for k in 0..half {
            let (sin, cos) = (-PI * k as f32 / half as f32).sin_cos();
            for a in (k..SAMPLES).step_by(2 * half) {
                let b = a + half;
                let turned = (
                    real[b] * cos - imaginary[b] * sin,
                    real[b] * sin + imaginary[b] * cos,
                );
                (real[b], imaginary[b]) = (real[a] - turned.0, imaginary[a] - turned.1);
                (real[a], imaginary[a]) = (real[a] + turned.0, imaginary[a] + turned.1);
            }
        }
        half *= 2;
    }
}

/// `outputs = weights * inputs + bias`; the weights of an output lie in a row,
/// and its bias after them.
fn dense(weights: &mut impl Iterator<Item = f32>, inputs: &[f32], outputs: &mut [f32]) {
    let mut next = || weights.next().unwrap_or_default();
    for output in outputs {
        *output = inputs.iter().map(|input| input * next()).sum();
        *output += next();
    }
}

fn softmax(values: &mut [f32; CLASSES]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    *values = values.map(|value| (value - largest).exp());
    let sum: f32 = values.iter().sum();
    *values = values.map(|value| value / sum);
}

fn float(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
