//! The `conv` kernel of 8-bit integers: direct 1-D and 2-D convolution over NCHW, in
//! the form of [`crate::kernels::conv`]. An element of the planes that it reads is a
//! pair of numbers, of two channels or, where that takes fewer steps (depthwise), of
//! two rows.

use std::any::Any;

use super::outcome::{Outcome, Stored};
use super::planes::{Pairing, Planes};
use super::weights::{self, Width};
use super::widen::{Bytes, WRITE_SLACK};
use super::winograd::Winograd;
use crate::emit::code::{Address, Code, Local};
use crate::expr::Fusion;
use crate::kernels::conv::{self, Window};
use crate::kernels::product::{Form, Numbers, Sums};
use crate::kernels::tile::{self, Band, Vector, Walker};
use crate::schedule::{Kernel, Places};

/// The most steps of a window that one loop over the pairs of channels takes.
const STEPS_PER_LOOP: usize = 32;

/// So many weights of an output channel are stored as they are multiplied.
const FEW_WEIGHTS: usize = 64;

/// A convolution of 8-bit images with constant weights. The channels of the outcome
/// are the output channels.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Images.
    pub batch: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Input channels of one group.
    pub inputs: usize,
    /// Output channels of one group.
    pub outputs: usize,
    /// Rows.
    pub y: Window,
    /// Columns.
    pub x: Window,
    /// The images.
    pub input: Bytes,
    /// `[groups * outputs][inputs][y.taps][x.taps]`, without their zero points.
    pub weights: Vec<i16>,
    /// `[groups * outputs]`
    pub bias: Vec<i32>,
    /// What is stored.
    pub outcome: Outcome,
}

/// A step in the window: the taps, by their index, whose weights it takes, and the
/// offset of its pairs from the tile's first pixel.
#[derive(Clone, Copy)]
struct Step {
    first: usize,
    /// Of pairs of rows, the tap below.
    second: Option<usize>,
    offset_bytes: u64,
}

/// Everything that the emitter derives from the convolution.
struct Layout {
    planes: Planes,
    steps: Vec<Step>,
    /// A tile: output channels and vectors of pixels.
    tile: Form,
    bands: Vec<Band>,
    /// The weights as they are stored: narrow ones are widened when they are wanted.
    width: Width,
}

impl Layout {
    /// The pairs of weights of one output channel.
    fn pairs_of_weights(&self) -> usize {
        self.planes.pairs() * self.steps.len()
    }

    /// Where widened weights lie in the scratch space.
    fn widened(&self) -> usize {
        self.planes.size_bytes().next_multiple_of(16)
    }
}

impl Conv {
    /// The same convolution, with as few rows as possible.
    pub fn simplified(mut self) -> Self {
        (self.y, self.x) = conv::joined(self.y, self.x);
        self
    }

    /// The pairs that take the fewest steps.
    fn pairing(&self) -> Pairing {
        let of_channels = self.inputs.div_ceil(2) * self.y.taps;
        let of_rows = self.inputs * self.y.taps.div_ceil(2);
        match of_rows < of_channels {
            true => Pairing::Rows { below: self.y.dilation },
            false => Pairing::Channels,
        }
    }

    /// The first rows of the window's steps.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let each = if self.pairing() == Pairing::Channels { 1 } else { 2 };
        (0..self.y.taps).step_by(each)
    }

    fn planes(&self) -> Planes {
        let phases = |taps: &mut dyn Iterator<Item = usize>, window: &Window| {
            let mut phases: Vec<usize> =
                taps.map(|tap| tap * window.dilation % window.stride).collect();
            phases.sort_unstable();
            phases.dedup();
            phases
        };
        let columns = phases(&mut (0..self.x.taps), &self.x);
        let rows = phases(&mut self.rows(), &self.y);
        Planes {
            groups: 1,
            channels: self.inputs,
            y: self.y.axis(self.y.stride),
            x: self.x.axis(self.x.stride),
            phases: rows.into_iter().flat_map(|y| columns.iter().map(move |&x| (y, x))).collect(),
            pairing: self.pairing(),
        }
    }

    fn layout(&self) -> Layout {
        let planes = self.planes();
        let offset = |ty: usize, tx: usize| {
            let (y, x) = (ty * self.y.dilation, tx * self.x.dilation);
            let phase = (y % self.y.stride, x % self.x.stride);
            let plane = planes.phases.iter().position(|&p| p == phase);
            let plane = plane.expect("the phase of every step has a plane");
            let row = y / self.y.stride * planes.x.phase_size;
            4 * (plane * planes.plane_elements() + row + x / self.x.stride) as u64
        };
        let step = |ty: usize, tx: usize| {
            let below = planes.pairing != Pairing::Channels && ty + 1 < self.y.taps;
            Step {
                first: ty * self.x.taps + tx,
                second: below.then_some((ty + 1) * self.x.taps + tx),
                offset_bytes: offset(ty, tx),
            }
        };
        let steps: Vec<Step> =
            self.rows().flat_map(|ty| (0..self.x.taps).map(move |tx| step(ty, tx))).collect();
        let tile = self.tile(planes.pairs() * steps.len());
        let bands = tile::bands(self.y.output, self.x.output, tile.vectors);
        // A few weights are not worth a loop that widens them.
        let is_few = self.inputs * self.y.taps * self.x.taps <= FEW_WEIGHTS;
        let width = if is_few { Width::Wide } else { Width::of(&self.weights) };
        Layout { planes, steps, tile, bands, width }
    }

    /// The form of the register tile that takes the least time for so many steps.
    fn tile(&self, steps: usize) -> Form {
        let image = (self.y.output, self.x.output);
        let cost = |form: &Form| conv::cost_of_tiles(*form, self.outputs, image, steps);
        let forms = Form::all().filter(|form| form.rows <= self.outputs);
        forms.min_by_key(cost).expect("one row and one vector are a form")
    }

    /// Winograd's filtering, where an estimate says that it is faster.
    fn winograd(&self) -> Option<Winograd<'_>> {
        let (winograd, time) = Winograd::of(self)?;
        let layout = self.layout();
        let image = (self.y.output, self.x.output);
        let steps = layout.pairs_of_weights();
        (time < conv::time_of_tiles(layout.tile, self.outputs, image, steps)).then_some(winograd)
    }

    /// The two weights of an output channel for a step and a pair of channels.
    fn pair(&self, output: usize, pair: usize, step: &Step, pairing: Pairing) -> [i16; 2] {
        let taps = self.y.taps * self.x.taps;
        let weight = |channel: usize, tap: usize| match channel < self.inputs {
            true => self.weights[(output * self.inputs + channel) * taps + tap],
            false => 0,
        };
        match pairing {
            Pairing::Channels => [weight(2 * pair, step.first), weight(2 * pair + 1, step.first)],
            Pairing::Rows { .. } => {
                [weight(pair, step.first), step.second.map_or(0, |tap| weight(pair, tap))]
            }
        }
    }
}

impl Kernel for Conv {
    fn describe(&self) -> String {
        if let Some(winograd) = self.winograd() {
            return winograd.describe();
        }
        let Form { rows, vectors } = self.layout().tile;
        format!("conv i8 {rows}x{}", 4 * vectors)
    }

    fn macs(&self) -> u64 {
        (self.batch * self.weights.len() * self.y.output * self.x.output) as u64
    }

    /// The weights, as the tiles read them, the bias, the scales and the shifts, the outcome's
    /// constants and the input's zero point.
    fn weights(&self) -> Vec<Vec<u8>> {
        let packed = match self.winograd() {
            Some(winograd) => winograd.weights(),
            None => self.direct_weights(),
        };
        let outputs = self.bias.len();
        let bias = self.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
        let (scales, shifts) = (self.outcome.scales(outputs), self.outcome.shifts(outputs));
        vec![packed, bias, scales, shifts, self.outcome.constants(), self.input.zeros()]
    }

    fn scratch_bytes(&self) -> usize {
        if let Some(winograd) = self.winograd() {
            return winograd.scratch_bytes();
        }
        let layout = self.layout();
        match layout.width {
            Width::Wide => layout.planes.size_bytes(),
            Width::Narrow => {
                layout.widened() + 4 * layout.tile.rows * layout.pairs_of_weights() + WRITE_SLACK
            }
        }
    }

    fn reads_first(&self) -> bool {
        self.batch * self.groups == 1
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        match self.winograd() {
            Some(winograd) => winograd.emit(code, places),
            None => self.emit_direct(code, places),
        }
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        self.outcome.fuse(then, self.y.output * self.x.output, self.bias.len())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where the emitted loops are.
#[derive(Clone, Copy)]
struct Cursor {
    /// The images that no planes were made of yet.
    image: Local,
    pixel: Local,
    output: Local,
    weights: Local,
    /// Bias, scales and shifts.
    per_row: [Local; 3],
    /// Of the outcome.
    constants: Local,
}

impl Conv {
    /// The weights, as the tiles of the direct convolution read them.
    fn direct_weights(&self) -> Vec<u8> {
        let layout = self.layout();
        let mut packed = Vec::new();
        for group in 0..self.groups {
            for first in (0..self.outputs).step_by(layout.tile.rows) {
                let rows = layout.tile.rows.min(self.outputs - first);
                for part in layout.steps.chunks(STEPS_PER_LOOP) {
                    for pair in 0..layout.planes.pairs() {
                        for step in part {
                            for row in 0..rows {
                                let output = group * self.outputs + first + row;
                                for weight in self.pair(output, pair, step, layout.planes.pairing) {
                                    layout.width.push(&mut packed, weight);
                                }
                            }
                        }
                    }
                }
            }
        }
        packed
    }

    /// Emits the direct convolution.
    fn emit_direct(&self, code: &mut Code, places: &Places) {
        let layout = self.layout();
        let cursor = Cursor {
            image: code.i32_local(),
            pixel: code.i32_local(),
            output: code.i32_local(),
            weights: code.i32_local(),
            per_row: std::array::from_fn(|_| code.i32_local()),
            constants: code.i32_local(),
        };
        code.point(cursor.constants, places.weights[4]);
        code.point(cursor.image, places.inputs[0]);
        code.point(cursor.pixel, places.scratch);
        code.point(cursor.output, places.outputs[0]);
        code.repeat(self.batch, |code| {
            code.point(cursor.weights, places.weights[0]);
            for (local, &address) in cursor.per_row.iter().zip(&places.weights[1..]) {
                code.point(*local, address);
            }
            // The planes of one group stay in the cache.
            code.repeat(self.groups, |code| {
                let (planes, to) = (&layout.planes, places.scratch);
                let (inputs, zeros) = (&places.inputs, places.weights[5]);
                planes.emit(code, self.input, inputs, zeros, cursor.image, to);
                let widened = to.plus(layout.widened() as u32);
                let rows = layout.tile.rows;
                let (whole, rest) = (self.outputs / rows, self.outputs % rows);
                code.repeat(whole, |code| self.emit_rows(code, &layout, cursor, widened, rows));
                if rest > 0 {
                    self.emit_rows(code, &layout, cursor, widened, rest);
                }
            });
        });
        code.release([cursor.image, cursor.pixel, cursor.output]);
        code.release([cursor.weights, cursor.constants]);
        code.release(cursor.per_row);
    }

    /// Emits all pixels of `rows` output channels, and moves on to the next.
    fn emit_rows(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        widened: Address,
        rows: usize,
    ) {
        let count = 2 * rows * layout.pairs_of_weights();
        let weights = code.i32_local();
        code.copy(weights, cursor.weights);
        if layout.width == Width::Narrow {
            let to = code.i32_local();
            code.point(to, widened);
            weights::emit_widening(code, weights, to, count);
            code.point(weights, widened);
            code.release([to]);
        }
        let size = self.outcome.element_bytes();
        let plane = size * self.y.output * self.x.output;
        let pitch = 4 * layout.planes.x.phase_size as i64;
        let row_bytes = (size * self.x.output) as i64;
        let walkers = [
            Walker { pointer: cursor.pixel, pixel_bytes: 4, row_bytes: pitch },
            Walker { pointer: cursor.output, pixel_bytes: size as i64, row_bytes },
        ];
        tile::emit_tiles(code, &layout.bands, &walkers, &mut |code, vectors| {
            self.emit_tile(code, layout, Cursor { weights, ..cursor }, rows, vectors);
        });
        code.release([weights]);
        code.advance(cursor.output, (rows * plane) as i64);
        for local in cursor.per_row {
            code.advance(local, 4 * rows as i64);
        }
        code.advance(cursor.weights, (layout.width.bytes() * count) as i64);
    }

    fn emit_tile(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        rows: usize,
        vectors: &[Vector],
    ) {
        let [bias, of_outcome @ ..] = cursor.per_row;
        let form = Form { rows, vectors: vectors.len() };
        let mut sums = Sums::of_rows(code, Numbers::PairsOfIntegers, form, |code, row| {
            code.load_splat(bias, 4 * row as u64);
        });
        self.emit_sums(code, layout, cursor, &mut sums, vectors);
        let sums = sums.into_rows(code);
        for (row, sums) in sums.iter().enumerate() {
            let mut stored = Vec::new();
            for (&sum, vector) in sums.iter().zip(vectors) {
                self.outcome.apply(code, sum, cursor.constants, &mut |code, blob| {
                    code.load_splat(of_outcome[blob], 4 * row as u64);
                });
                let to = (row * self.y.output + vector.y) * self.x.output + vector.x;
                stored.push(Stored { value: sum, to, lanes: vector.lanes });
            }
            self.outcome.store(code, cursor.output, &stored);
        }
        code.release(sums.into_iter().flatten());
    }

    /// Emits the loops over pairs of channels and steps that add to `sums`.
    fn emit_sums(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        sums: &mut Sums,
        vectors: &[Vector],
    ) {
        let rows = sums.form().rows;
        let (pixel, weight) = (code.i32_local(), code.i32_local());
        code.copy(weight, cursor.weights);
        let pairs = layout.planes.pairs();
        let pair_bytes = 4 * layout.planes.pair_elements() as u64;
        for steps in layout.steps.chunks(STEPS_PER_LOOP) {
            code.copy(pixel, cursor.pixel);
            let per_pair = (4 * steps.len() * rows) as u64;
            let count = (pairs, steps.len());
            sums.add_steps(code, count, weight, |code, sums, pairs| {
                for pair in 0..pairs as u64 {
                    for (s, step) in steps.iter().enumerate() {
                        let pixels = pair * pair_bytes + step.offset_bytes;
                        let weights = pair * per_pair + (4 * s * rows) as u64;
                        sums.add_step(
                            code,
                            |code, row| {
                                code.load_splat(weight, weights + 4 * row as u64);
                            },
                            |code, v| {
                                let row = vectors[v].y * layout.planes.x.phase_size;
                                code.load(pixel, pixels + 4 * (row + vectors[v].x) as u64);
                            },
                        );
                    }
                }
                code.advance(pixel, (pairs as u64 * pair_bytes) as i64);
                code.advance(weight, (pairs as u64 * per_pair) as i64);
            });
        }
        code.release([pixel, weight]);
    }
}
