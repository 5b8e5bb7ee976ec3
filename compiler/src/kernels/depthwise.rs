//! Convolution of each channel with a window of its own: a few channels are padded
//! at a time, so that they stay in the cache, and a tile of a few rows of the
//! output by one vector takes each vector of the image once for all taps.
//!
//! The last tile of a row and the last rows of tiles overlap the ones before.

use wasm_encoder::Instruction as I;

use super::conv::{Conv, Layout};
use crate::emit::code::{Code, Local};
use crate::schedule::Places;

/// Planes that are made at a time, in bytes.
const PLANES_BYTES: usize = 16 << 10;

/// The most rows of a tile.
const MOST_ROWS: usize = 8;

/// Products after which a fence comes.
const PRODUCTS_PER_FENCE: usize = 8;

/// A convolution with one channel in each group.
pub struct Depthwise<'a> {
    conv: &'a Conv,
    layout: Layout,
    /// Channels that are padded at a time.
    channels: usize,
    /// Rows of a tile.
    rows: usize,
}

/// A vector of the image, and the products that it is in: row of the tile and tap.
struct Use {
    offset_bytes: u64,
    products: Vec<(usize, usize)>,
}

impl<'a> Depthwise<'a> {
    /// The convolution in this way, if it is of this kind.
    pub fn of(conv: &'a Conv) -> Option<Self> {
        if conv.inputs != 1 || conv.outputs != 1 {
            return None;
        }
        let bytes =
            |channels: usize| conv.layout(channels).planes.map_or(0, |planes| planes.size_bytes());
        // All of them as often, and more than one: to read across the ends of what
        // was just stored is slow.
        let divides = |channels: &usize| conv.groups.is_multiple_of(*channels);
        let counts = (1..=conv.groups).filter(divides);
        let channels = counts.take_while(|&channels| bytes(channels) <= PLANES_BYTES).last();
        let channels = channels.unwrap_or(1);
        let layout = conv.layout(channels);
        let mut depthwise = Self { conv, layout, channels, rows: 1 };
        let time = |&rows: &usize| {
            let products = rows * depthwise.layout.taps.len();
            let tile = depthwise.uses(rows).len() + 2 * products + rows + 24;
            conv.y.output.div_ceil(rows) * tile
        };
        depthwise.rows = (1..=MOST_ROWS.min(conv.y.output)).min_by_key(time)?;
        Some(depthwise)
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        format!("depthwise {}x4", self.rows)
    }

    /// The bytes of scratch space: of a few channels.
    pub fn scratch_bytes(&self) -> usize {
        self.layout.planes.as_ref().map_or(0, |planes| planes.size_bytes())
    }

    /// The weights, one window after the other.
    pub fn weights(&self) -> Vec<u8> {
        self.conv.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
    }

    /// The vectors that a tile of so many rows reads, from the top left.
    fn uses(&self, rows: usize) -> Vec<Use> {
        let mut all: Vec<(u64, usize, usize)> = Vec::new();
        for row in 0..rows {
            for tap in &self.layout.taps {
                let offset_bytes = tap.offset_bytes + (4 * row * self.layout.pitch) as u64;
                all.push((offset_bytes, row, tap.index));
            }
        }
        all.sort_unstable();
        let same = all.chunk_by(|a, b| a.0 == b.0);
        let of_vector = |same: &[(u64, usize, usize)]| Use {
            offset_bytes: same[0].0,
            products: same.iter().map(|&(_, row, tap)| (row, tap)).collect(),
        };
        same.map(of_vector).collect()
    }

    /// Emits the convolution.
    pub fn emit(&self, code: &mut Code, places: &Places) {
        let Conv { batch, groups, y, x, .. } = self.conv;
        let [image, output, weights, bias, plane] = std::array::from_fn(|_| code.i32_local());
        code.point(image, places.inputs[0]);
        code.point(output, places.outputs[0]);
        code.repeat(*batch, |code| {
            code.point(weights, places.weights[0]);
            code.point(bias, places.weights[1]);
            code.repeat(groups / self.channels, |code| {
                let mut channel = 4 * y.input * x.input;
                code.copy(plane, image);
                if let Some(planes) = &self.layout.planes {
                    planes.emit_at(code, image, places.scratch);
                    code.point(plane, places.scratch);
                    channel = 4 * planes.channel_elements();
                }
                code.repeat(self.channels, |code| {
                    self.emit_channel(code, plane, output, weights, bias);
                    code.advance(plane, channel as i64);
                    code.advance(output, (4 * y.output * x.output) as i64);
                    code.advance(weights, 4 * self.layout.taps.len() as i64);
                    code.advance(bias, 4);
                });
                code.advance(image, (4 * self.channels * y.input * x.input) as i64);
            });
        });
        code.release([image, output, weights, bias, plane]);
    }

    /// Emits all tiles of one channel.
    fn emit_channel(
        &self,
        code: &mut Code,
        plane: Local,
        output: Local,
        weights: Local,
        bias: Local,
    ) {
        let Conv { y: rows, x: columns, .. } = self.conv;
        let taps = code.v128_locals(self.layout.taps.len());
        for (tap, &local) in taps.iter().enumerate() {
            code.load_splat(weights, 4 * tap as u64).set(local);
        }
        let shift = code.v128_local();
        code.load_splat(bias, 0).set(shift);
        let [y, x, source, target, pixel, to] = std::array::from_fn(|_| code.i32_local());
        code.assign(y, 0);
        code.repeat(rows.output.div_ceil(self.rows), |code| {
            for (row, from, pitch) in
                [(source, plane, self.layout.pitch), (target, output, columns.output)]
            {
                code.push_at_most(y, rows.output - self.rows);
                code.i32(4 * pitch as u32).op(I::I32Mul).get(from).op(I::I32Add).set(row);
            }
            code.assign(x, 0);
            code.repeat(columns.output.div_ceil(4), |code| {
                code.push_at_most(x, columns.output.saturating_sub(4));
                code.i32(2).op(I::I32Shl).tee(pixel).get(target).op(I::I32Add).set(to);
                code.get(pixel).get(source).op(I::I32Add).set(pixel);
                self.emit_tile(code, pixel, to, &taps, shift);
                code.advance(x, 4);
            });
            code.advance(y, self.rows as i64);
        });
        code.release([y, x, source, target, pixel, to, shift]);
        code.release(taps);
    }

    fn emit_tile(&self, code: &mut Code, pixel: Local, to: Local, taps: &[Local], shift: Local) {
        let sums = code.v128_locals(self.rows);
        for &sum in &sums {
            code.copy(sum, shift);
        }
        code.fenced(&sums, to, |code| {
            let vector = code.v128_local();
            let mut products = 0;
            for each in self.uses(self.rows) {
                code.load(pixel, each.offset_bytes).set(vector);
                for &(row, tap) in &each.products {
                    code.multiply_add(sums[row], vector, taps[tap]);
                }
                products += each.products.len();
                if products >= PRODUCTS_PER_FENCE {
                    code.fence();
                    products = 0;
                }
            }
            code.release([vector]);
        });
        let columns = self.conv.x.output;
        for (row, &sum) in sums.iter().enumerate() {
            self.conv.then.apply(code, sum);
            code.store_lanes(to, (4 * row * columns) as u64, sum, columns.min(4));
        }
        code.release(sums);
    }
}
