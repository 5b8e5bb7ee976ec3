//! Convolution of 8-bit images by Winograd's minimal filtering, exactly.
//!
//! Transformed pixels and taps are integers that fit 16 bits, whatever the image.
//! What comes of their products is a known multiple of each sum, modulo 2^32: a power
//! of 3, which has an inverse, times a power of 2. So the sum is found to the bit where
//! that power of 2 times it fits 32 bits, which is proven for the weights at hand.
//!
//! As in [`crate::kernels::winograd`], four tiles are the lanes of a vector: a *group*,
//! of tiles side by side or, where the image is narrow, in two or four rows. The last
//! groups of an image overlap the ones before. What is transformed are the planes of
//! pairs of channels that the direct convolution reads, too; the weights are transformed
//! when they are wanted, those of a register tile at a time.

mod emit;
mod transform;

use self::transform::Transform;
use super::conv::Conv;
use super::outcome::Outcome;
use super::planes::{Pairing, Planes};
use super::weights::Width;
use super::widen::{Bytes, Zero};
use crate::kernels::conv::Window;
use crate::kernels::planes::Axis;
use crate::kernels::product::Form;

/// Transformed pixels that are wanted at once, in bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// What is between the ends of transformed pixels of two points beyond their size, so
/// that not all of them fall into the same set of the cache.
const GAP_BYTES: usize = 64;

/// A convolution by tiles. With a stride, the phases of the image are as many more
/// channels, each with the taps that fall on it.
pub struct Winograd<'a> {
    conv: &'a Conv,
    y: Transform,
    x: Transform,
    /// Tiles of a group side by side: 1, 2 or 4.
    across: usize,
}

/// Addresses in the scratch space, after the planes, and distances.
struct Layout {
    planes: Planes,
    /// Vectors of groups of a block.
    vectors: usize,
    /// From one point's transformed pixels to the next one's.
    pixels_bytes: usize,
    /// From one point's products to the next one's.
    products_bytes: usize,
    /// From one point's transformed weights to the next one's.
    weights_bytes: usize,
    between: usize,
    pixels: usize,
    products: usize,
    weights: usize,
    size_bytes: usize,
}

impl<'a> Winograd<'a> {
    /// The fastest form by the estimate, and its time, if the convolution has any.
    pub fn of(conv: &'a Conv) -> Option<(Self, usize)> {
        let fits = |w: &Window| w.dilation == 1 && w.taps >= w.stride;
        let is_quantised = matches!(conv.outcome, Outcome::Quantised { .. });
        if !fits(&conv.y) || !fits(&conv.x) || !is_quantised {
            return None;
        }
        let bits = sign_free_bits(conv);
        let axis = |w: &Window| Transform::all(w.taps.div_ceil(w.stride));
        let largest = conv.weights.iter().map(|w| i32::from(w.unsigned_abs())).max()?;
        let forms = axis(&conv.y).flat_map(|y| axis(&conv.x).map(move |x| (y, x)));
        let forms = forms.filter(|(y, x)| {
            let tap = largest * y.growth() * x.growth();
            bits >= y.lost_bits() + x.lost_bits() && tap <= i32::from(i16::MAX)
        });
        let forms = forms.flat_map(|(y, x)| [4, 2, 1].map(|across| Self { conv, y, x, across }));
        forms
            .map(|form| (form.time(), form))
            .min_by_key(|(time, _)| *time)
            .map(|(t, form)| (form, t))
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let Form { rows, vectors } = self.tile();
        format!("winograd i8 {}x{} {rows}x{}", self.y.outputs, self.x.outputs, 4 * vectors)
    }

    fn points(&self) -> usize {
        self.y.points() * self.x.points()
    }

    /// What is side by side in a plane: where the channels do not pair, two rows, if they
    /// are of two phases.
    fn pairing(&self) -> Pairing {
        match self.conv.y.stride == 2 && !self.conv.inputs.is_multiple_of(2) {
            true => Pairing::Rows { below: 1 },
            false => Pairing::Channels,
        }
    }

    /// The phases of rows and columns that there are planes of.
    fn phases(&self) -> Vec<(usize, usize)> {
        let rows = if self.pairing() == Pairing::Channels { self.conv.y.stride } else { 1 };
        (0..rows).flat_map(|y| (0..self.conv.x.stride).map(move |x| (y, x))).collect()
    }

    /// The planes, whose pairs of numbers are the inner dimension of the products.
    fn pairs(&self) -> usize {
        self.planes().pairs() * self.phases().len()
    }

    /// Rows of tiles of a group.
    fn down(&self) -> usize {
        4 / self.across
    }

    /// Rows and columns of the output of a group.
    fn group_pixels(&self) -> (usize, usize) {
        (self.down() * self.y.outputs, self.across * self.x.outputs)
    }

    /// Rows of groups, and groups of a row.
    fn groups(&self) -> (usize, usize) {
        let (height, width) = self.group_pixels();
        (self.conv.y.output.div_ceil(height), self.conv.x.output.div_ceil(width))
    }

    /// Rows of groups of a block, so that it stays in the cache, and that all blocks are
    /// about as large.
    fn strips(&self) -> usize {
        let (all, across) = self.groups();
        let most = (BLOCK_BYTES / (16 * self.points() * self.pairs() * across)).max(1);
        all.div_ceil(all.div_ceil(most))
    }

    /// The blocks: their rows of groups, and how many there are.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (all, strips) = (self.groups().0, self.strips());
        let blocks = [(strips, all / strips), (all % strips, 1)];
        blocks.into_iter().filter(|&(strips, repeat)| strips * repeat > 0)
    }

    /// The output channels that are multiplied and transformed back at once, and how
    /// often.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (outputs, rows) = (self.conv.outputs, self.tile().rows);
        let panels = [(rows, outputs / rows), (outputs % rows, 1)];
        panels.into_iter().filter(|&(outputs, repeat)| outputs * repeat > 0)
    }

    /// The register tile of the products of a block.
    fn tile(&self) -> Form {
        let columns = 4 * self.strips() * self.groups().1;
        Form::of_product(self.conv.outputs, self.pairs(), columns)
    }

    /// Vectors of four pixels that a row of a group is transformed from.
    fn row_vectors(&self) -> usize {
        (self.group_pixels().1 + self.x.taps - 1).div_ceil(4)
    }

    /// An estimate of the time of a group of channels, in the unit of [`Form::time`].
    fn time(&self) -> usize {
        let (pairs, outputs) = (self.pairs(), self.conv.outputs);
        let (y, x) = (self.y, self.x);
        let ([y_in, y_taps, y_out], [x_in, x_taps, x_out]) = (y.operators(), x.operators());
        // Loads, operators, shuffles and stores of one group.
        let columns = self.down() * self.row_vectors() * (2 * y.points() + y_in);
        let input = columns + y.points() * (20 + x_in + x.points());
        let output = x.points() * (y.points() + y_out + y.outputs)
            + y.outputs * (x.points() + x_out + 12 * x.outputs + 8);
        // Of four pairs of weights.
        let weights =
            y.taps * (x.taps + x_taps + x.points()) + x.points() * (y.taps + y_taps + y.points());
        let of_block = |strips: usize| {
            let groups = strips * self.groups().1;
            let transforms = 4 * groups * (pairs * (input + 20) + outputs * (output + 20));
            let columns = 4 * groups;
            let products = Form::of_product(outputs, pairs, columns);
            let products = products.time_of_product(outputs, pairs, columns);
            transforms + pairs * outputs * weights + self.points() * products
        };
        self.blocks().map(|(strips, repeat)| repeat * of_block(strips)).sum()
    }

    fn planes(&self) -> Planes {
        let (height, width) = self.group_pixels();
        let axis = |w: &Window, group: usize, transform: Transform| Axis {
            size: w.input,
            before: w.before,
            stride: w.stride,
            phase_size: w.output.max(group) + transform.taps - 1,
        };
        Planes {
            groups: 1,
            channels: self.conv.inputs,
            y: axis(&self.conv.y, height, self.y),
            x: axis(&self.conv.x, width, self.x),
            phases: self.phases(),
            pairing: self.pairing(),
        }
    }

    fn layout(&self) -> Layout {
        let planes = self.planes();
        let (pairs, rows) = (self.pairs(), self.tile().rows);
        let vectors = self.strips() * self.groups().1;
        let pixels_bytes = 16 * vectors * pairs + GAP_BYTES;
        let products_bytes = 16 * vectors * rows + GAP_BYTES;
        let weights_bytes = 4 * pairs * rows + GAP_BYTES;
        let mut next = planes.size_bytes().next_multiple_of(16);
        let mut space = |bytes: usize| {
            let at = next;
            next += bytes.next_multiple_of(16);
            at
        };
        let of_input = self.down() * self.y.points() * self.row_vectors();
        let of_others = self.y.outputs.max(self.y.taps) * self.x.points();
        let between = space(16 * of_input.max(of_others));
        let pixels = space(self.points() * pixels_bytes);
        let products = space(self.points() * products_bytes);
        let weights = space(self.points() * weights_bytes);
        Layout {
            planes,
            vectors,
            pixels_bytes,
            products_bytes,
            weights_bytes,
            between,
            pixels,
            products,
            weights,
            size_bytes: next,
        }
    }

    /// The bytes of scratch space.
    pub fn scratch_bytes(&self) -> usize {
        self.layout().size_bytes
    }

    fn width(&self) -> Width {
        Width::of(&self.conv.weights)
    }

    /// The weights: for each group of channels, panel of output channels and tap of the
    /// transform, those of each plane together.
    pub fn weights(&self) -> Vec<u8> {
        let Conv { groups, outputs, .. } = *self.conv;
        let (rows, width, phases) = (self.tile().rows, self.width(), self.phases());
        let taps = (0..self.y.taps).flat_map(|y| (0..self.x.taps).map(move |x| (y, x)));
        let mut packed = Vec::new();
        for first in (0..groups * outputs).step_by(outputs).flat_map(|group| {
            (0..outputs).step_by(rows).map(move |first| group + first..group + outputs)
        }) {
            for tap in taps.clone() {
                for pair in 0..self.planes().pairs() {
                    for &phase in &phases {
                        for output in first.clone().take(rows) {
                            for weight in self.pair_of_weights(output, pair, phase, tap) {
                                width.push(&mut packed, weight);
                            }
                        }
                    }
                }
            }
        }
        // Taps are read eight at a time.
        packed.extend([0; 16]);
        packed
    }

    /// The two weights of an output channel for a pair of a phase at a tap of the
    /// transform.
    fn pair_of_weights(
        &self,
        output: usize,
        pair: usize,
        (phase_y, phase_x): (usize, usize),
        (tap_y, tap_x): (usize, usize),
    ) -> [i16; 2] {
        let Conv { inputs, y, x, weights, .. } = self.conv;
        let (row, column) = (tap_y * y.stride + phase_y, tap_x * x.stride + phase_x);
        let weight = |channel: usize, row: usize| {
            let is_there = channel < *inputs && row < y.taps && column < x.taps;
            let at = ((output * inputs + channel) * y.taps + row) * x.taps + column;
            if is_there { weights[at] } else { 0 }
        };
        match self.pairing() {
            Pairing::Channels => [weight(2 * pair, row), weight(2 * pair + 1, row)],
            Pairing::Rows { below } => [weight(pair, row), weight(pair, row + below)],
        }
    }
}

/// The bits of an `i32` that the sums of a convolution, without the bias, leave free
/// beside the sign, whatever the image.
fn sign_free_bits(conv: &Conv) -> u32 {
    let (least, most) = range(conv.input);
    let per_output = conv.weights.len() / conv.bias.len();
    let sums = conv.weights.chunks(per_output).map(|weights| {
        let of = |a: i64, b: i64| -> i64 {
            weights.iter().map(|&w| (i64::from(w) * a).max(i64::from(w) * b)).sum()
        };
        // The largest, and the smallest without its sign.
        of(least, most).max(of(-least, -most))
    });
    let largest = sums.max().unwrap_or_default();
    (i64::from(i32::MAX) / largest.max(1)).ilog2()
}

/// The least and the greatest number of an operand, without its zero point.
fn range(bytes: Bytes) -> (i64, i64) {
    let (low, high) = if bytes.signed { (-128, 127) } else { (0, 255) };
    match bytes.zero {
        Zero::Known(zero) => (low - i64::from(zero), high - i64::from(zero)),
        Zero::Input(_) => (-255, 255),
    }
}
