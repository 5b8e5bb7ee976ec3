//! Convolution by Winograd's minimal filtering (A. Lavin, S. Gray, "Fast
//! Algorithms for Convolutional Neural Networks", CVPR 2016): tiles of the image
//! are transformed, multiplied point by point with the transformed weights, which
//! is a matrix product over the channels for each point, and transformed back.
//!
//! Four tiles side by side are the lanes of a vector: a *group*. The groups of one
//! row of tiles are a *strip*, and what is transformed before it is multiplied are
//! a few strips, so that it stays in the cache. The last group of a strip and the
//! last strip overlap the ones before: the same pixels are written twice.
//!
//! The weights are transformed when compiling, or, where they would grow too much,
//! when they are wanted: those of one row of register tiles at a time.
//!
//! The image is not padded: a strip is transformed along its columns first, with
//! zeros for the rows that are outside, into rows that have room for the padding
//! at their ends.

mod emit;
pub mod products;
pub mod transform;

use self::transform::Transform;
use super::conv::{Conv, Window};
use super::product::Form;

/// The most groups of a strip: a wider image would not stay in the cache.
const MOST_GROUPS: usize = 32;

/// Transformed pixels and products that are wanted at once, in bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// By how much a model may grow for the transformed weights of one convolution.
const MOST_GROWTH_BYTES: usize = 2 << 20;

/// What is between the ends of transformed pixels of two points beyond their size,
/// so that not all of them fall into the same set of the cache.
const GAP_BYTES: usize = 64;

/// A convolution with stride 1, by tiles.
pub struct Winograd<'a> {
    conv: &'a Conv,
    y: Transform,
    x: Transform,
    /// Strips of a block.
    strips: usize,
    /// Whether the weights are transformed when compiling.
    early: bool,
}

/// Addresses in the scratch space, and distances.
struct Layout {
    /// Vectors of groups of a block.
    vectors: usize,
    /// Of a row that is transformed along its columns.
    row_bytes: usize,
    /// From one point's transformed pixels to the next one's.
    pixels_bytes: usize,
    /// From one point's products to the next one's.
    products_bytes: usize,
    /// From one point's transformed weights to the next one's.
    weights_bytes: usize,
    zeros: usize,
    columns: usize,
    rows: usize,
    pixels: usize,
    products: usize,
    weights: usize,
    size_bytes: usize,
}

impl<'a> Winograd<'a> {
    /// The fastest form by the estimate, and its time, if the convolution has any.
    pub fn of(conv: &'a Conv) -> Option<(Self, usize)> {
        Self::forms(conv).into_iter().min_by_key(|(_, time)| *time)
    }

    /// For each number of pixels in a tile the fastest form; the fastest first.
    pub fn all(conv: &'a Conv) -> Vec<Self> {
        let mut forms = Self::forms(conv);
        forms.sort_by_key(|(_, time)| *time);
        let mut all: Vec<Self> = Vec::new();
        for (form, _) in forms {
            if all.iter().all(|other| other.outputs() != form.outputs()) {
                all.push(form);
            }
        }
        all
    }

    /// Pixels of the output of a tile: rows and columns.
    pub fn outputs(&self) -> (usize, usize) {
        (self.y.outputs, self.x.outputs)
    }

    /// All forms with their times by the estimate.
    fn forms(conv: &'a Conv) -> Vec<(Self, usize)> {
        let fits = |w: &Window| {
            w.stride == 1
                && w.dilation == 1
                && w.before + w.input < w.output + w.taps
                && w.before < w.taps
        };
        if !fits(&conv.y) || !fits(&conv.x) || conv.y.taps * conv.x.taps == 1 {
            return Vec::new();
        }
        let forms = Transform::all(conv.y.taps)
            .flat_map(|y| Transform::all(conv.x.taps).map(move |x| (y, x)));
        let forms = forms.flat_map(|(y, x)| [true, false].map(|early| (y, x, early)));
        let forms = forms.map(|(y, x, early)| {
            let mut form = Self { conv, y, x, strips: 1, early };
            form.strips = form.strips_at_once();
            let time = form.time();
            (form, time)
        });
        let forms = forms.filter(|(form, _)| {
            form.groups() <= MOST_GROUPS
                && (!form.early || form.weight_growth_bytes() <= MOST_GROWTH_BYTES)
        });
        forms.collect()
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let Form { rows, vectors } = self.tile(self.strips);
        let (y, x) = (self.y, self.x);
        format!("winograd {}x{} {rows}x{}", y.outputs, x.outputs, 4 * vectors)
    }

    /// The output channels that are multiplied and transformed back at once, and how
    /// often.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let outputs = self.conv.outputs;
        let at_once = if self.early { outputs } else { self.tile(self.strips).rows };
        let panels = [(at_once, outputs / at_once), (outputs % at_once, 1)];
        panels.into_iter().filter(|&(outputs, repeat)| outputs * repeat > 0)
    }

    fn points(&self) -> usize {
        self.y.points() * self.x.points()
    }

    /// By how much the transformed weights are larger than the weights.
    fn weight_growth_bytes(&self) -> usize {
        4 * self.conv.weights.len() / (self.y.taps * self.x.taps)
            * (self.points() - self.y.taps * self.x.taps)
    }

    /// Pixels of the output of a group, from left to right.
    fn group_pixels(&self) -> usize {
        4 * self.x.outputs
    }

    /// Groups of a strip.
    fn groups(&self) -> usize {
        self.conv.x.output.div_ceil(self.group_pixels())
    }

    /// Strips of the image.
    fn all_strips(&self) -> usize {
        self.conv.y.output.div_ceil(self.y.outputs)
    }

    /// Strips of a block, so that it stays in the cache, and that all blocks are
    /// about as large.
    fn strips_at_once(&self) -> usize {
        let Conv { inputs, outputs, .. } = self.conv;
        // Late weights are transformed for each block.
        let (channels, bytes) = match self.early {
            true => (inputs + outputs, BLOCK_BYTES),
            false => (*inputs, 4 * BLOCK_BYTES),
        };
        let most = (bytes / (16 * self.points() * channels * self.groups())).max(1);
        self.all_strips().div_ceil(self.all_strips().div_ceil(most))
    }

    /// The register tile of the products of a block of so many strips.
    fn tile(&self, strips: usize) -> Form {
        let columns = 4 * strips * self.groups();
        Form::of_product(self.conv.outputs, self.conv.inputs, columns)
    }

    /// The blocks: their strips, and how many there are.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (all, strips) = (self.all_strips(), self.strips);
        let blocks = [(strips, all / strips), (all % strips, 1)];
        blocks.into_iter().filter(|&(strips, repeat)| strips * repeat > 0)
    }

    /// An estimate of the time, in the unit of [`Form::time`].
    fn time(&self) -> usize {
        let Conv { inputs, outputs, .. } = *self.conv;
        let (y, x) = (self.y, self.x);
        let ((y_in, y_out), (x_in, x_out)) = (y.operators(), x.operators());
        // Loads, operators, shuffles and stores of one group.
        let gather = if x.outputs == 1 { 1 } else { 2 * x.points() + 6 };
        let input = x.outputs * (2 * y.points() + y_in) + y.points() * (gather + x_in + x.points());
        let output = x.points() * (y.points() + y_out + y.outputs)
            + y.outputs * (x.points() + x_out + 5 * x.outputs);
        // Of four weights.
        let of_axis = |axis: Transform| axis.points() * axis.taps * 2 / 3;
        let of_weights = y.taps * (x.taps + of_axis(x) + x.points())
            + x.points() * (y.taps + of_axis(y) + y.points());
        let of_block = |strips: usize| {
            let groups = strips * self.groups();
            let transforms = 4 * groups * (inputs * (input + 20) + outputs * (output + 20));
            let weights = if self.early { 0 } else { inputs * outputs * of_weights * 3 / 2 };
            transforms + weights + self.points() * product_time(outputs, inputs, groups)
        };
        self.blocks().map(|(strips, repeat)| repeat * of_block(strips)).sum()
    }

    fn layout(&self) -> Layout {
        let Conv { inputs, x, .. } = self.conv;
        let outputs = self.panels().map(|(outputs, _)| outputs).max().unwrap_or_default();
        let vectors = self.strips * self.groups();
        let row_elements = x.output.max(self.group_pixels()) + 2 * self.x.points();
        let row_bytes = 4 * row_elements.next_multiple_of(4);
        let pixels_bytes = 16 * vectors * inputs + GAP_BYTES;
        let products_bytes = 16 * vectors * outputs + GAP_BYTES;
        let weights_bytes = if self.early { 0 } else { 4 * inputs * outputs + GAP_BYTES };
        let mut next = 0;
        let mut space = |bytes: usize| {
            let at = next;
            next += bytes.next_multiple_of(16);
            at
        };
        let zeros = space(4 * x.input.next_multiple_of(4));
        let columns = space(self.strips * self.y.points() * row_bytes);
        let rows = space(16 * self.y.outputs.max(self.y.taps) * self.x.points());
        let pixels = space(self.points() * pixels_bytes);
        let products = space(self.points() * products_bytes);
        let weights = space(self.points() * weights_bytes);
        Layout {
            vectors,
            row_bytes,
            pixels_bytes,
            products_bytes,
            weights_bytes,
            zeros,
            columns,
            rows,
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

    /// The weights: for each group of channels, panel of output channels and point
    /// or tap, tiles of output channels, in which those of one input channel are
    /// together. Transformed weights are rounded once.
    pub fn weights(&self) -> Vec<u8> {
        let Conv { groups, inputs, outputs, y, x, weights, .. } = self.conv;
        let rows = self.tile(self.strips).rows;
        let taps = y.taps * x.taps;
        let transforms = self.of_taps();
        let weight = |output: usize, input: usize, number: usize| {
            let taps = &weights[(output * inputs + input) * taps..][..taps];
            if !self.early {
                return taps[number];
            }
            let products = taps.iter().zip(&transforms[number]);
            products.map(|(&tap, factor)| f64::from(tap) * factor).sum::<f64>() as f32
        };
        let numbers = if self.early { self.points() } else { taps };
        let panels = self.panels().flat_map(|(size, repeat)| std::iter::repeat_n(size, repeat));
        let panels: Vec<usize> = panels.collect();
        let mut packed = Vec::with_capacity(4 * numbers * groups * outputs * inputs + 16);
        let mut first = 0;
        for &panel in std::iter::repeat_n(&panels, *groups).flatten() {
            for number in 0..numbers {
                for tile in (first..first + panel).step_by(rows) {
                    for input in 0..*inputs {
                        for output in tile..(tile + rows).min(first + panel) {
                            packed.extend(weight(output, input, number).to_le_bytes());
                        }
                    }
                }
            }
            first += panel;
        }
        // Taps are read four at a time.
        packed.extend([0; 16]);
        packed
    }

    /// What the taps of a window are multiplied with: `[points][taps]`.
    fn of_taps(&self) -> Vec<Vec<f64>> {
        let (of_y, of_x) = (self.y.of_taps(), self.x.of_taps());
        let points = of_y.iter().flat_map(|y| of_x.iter().map(move |x| (y, x)));
        let of_point = |(y, x): (&Vec<f64>, &Vec<f64>)| {
            y.iter().flat_map(|y| x.iter().map(move |x| y * x)).collect()
        };
        points.map(of_point).collect()
    }
}

/// The time of a product of `m x k` by `k x 4 vectors` elements.
fn product_time(m: usize, k: usize, vectors: usize) -> usize {
    Form::of_product(m, k, 4 * vectors).time_of_product(m, k, 4 * vectors)
}
