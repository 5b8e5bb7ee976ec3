//! The code of Winograd's filtering of integers: loops over blocks, in each of which
//! groups of tiles are transformed, multiplied and transformed back.

use wasm_encoder::Instruction as I;

use super::transform::Transform;
use super::{Layout, Winograd};
use crate::emit::code::{Address, Code, Local};
use crate::kernels::product::Numbers;
use crate::kernels::quantised::outcome::store_bytes;
use crate::kernels::winograd::products::{Pointers, Products};
use crate::schedule::Places;

/// The inverses of powers of 3 modulo 2^32.
const INVERSES: [u32; 3] = [1, 0xaaaa_aaab, 0x38e3_8e39];

/// Where the emitted loops are: `y` is the first row of a block.
#[derive(Clone, Copy)]
struct Cursor {
    output: Local,
    weights: Local,
    /// Bias and scales.
    per_row: [Local; 2],
    /// Of the outcome.
    constants: Local,
    y: Local,
}

impl Winograd<'_> {
    /// Emits the convolution.
    pub fn emit(&self, code: &mut Code, places: &Places) {
        let conv = self.conv;
        let layout = self.layout();
        let image = code.i32_local();
        let cursor = Cursor {
            output: code.i32_local(),
            weights: code.i32_local(),
            per_row: std::array::from_fn(|_| code.i32_local()),
            constants: code.i32_local(),
            y: code.i32_local(),
        };
        code.point(image, places.inputs[0]);
        code.point(cursor.output, places.outputs[0]);
        code.point(cursor.constants, places.weights[4]);
        code.repeat(conv.batch, |code| {
            code.point(cursor.weights, places.weights[0]);
            for (local, &address) in cursor.per_row.iter().zip(&places.weights[1..]) {
                code.point(*local, address);
            }
            code.repeat(conv.groups, |code| {
                let (inputs, zeros, to) = (&places.inputs, places.weights[5], places.scratch);
                layout.planes.emit(code, conv.input, inputs, zeros, image, to);
                code.assign(cursor.y, 0);
                for (strips, repeat) in self.blocks() {
                    code.repeat(repeat, |code| {
                        self.emit_input(code, &layout, cursor, places.scratch, strips);
                        self.emit_panels(code, &layout, cursor, places.scratch, strips);
                        code.advance(cursor.y, (strips * self.group_pixels().0) as i64);
                    });
                }
                code.advance(cursor.output, self.output_bytes(conv.outputs));
                code.advance(cursor.weights, self.weight_bytes(conv.outputs));
                for local in cursor.per_row {
                    code.advance(local, 4 * conv.outputs as i64);
                }
            });
        });
        code.release([image, cursor.output, cursor.weights, cursor.constants, cursor.y]);
        code.release(cursor.per_row);
    }

    /// Bytes of the weights of so many output channels.
    fn weight_bytes(&self, outputs: usize) -> i64 {
        let taps = self.y.taps * self.x.taps;
        (2 * self.width().bytes() * taps * self.pairs() * outputs) as i64
    }

    /// Bytes of so many output channels.
    fn output_bytes(&self, outputs: usize) -> i64 {
        (outputs * self.conv.y.output * self.conv.x.output) as i64
    }

    /// Emits the transforms of a block's groups, of all planes.
    fn emit_input(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        scratch: Address,
        strips: usize,
    ) {
        let [plane, pixels, row, from, y, x, between] = std::array::from_fn(|_| code.i32_local());
        let (y_step, x_step) = self.group_pixels();
        let pitch = 4 * layout.planes.x.phase_size;
        code.point(plane, scratch);
        code.point(pixels, scratch.plus(layout.pixels as u32));
        code.point(between, scratch.plus(layout.between as u32));
        code.repeat(self.pairs(), |code| {
            code.copy(y, cursor.y);
            code.repeat(strips, |code| {
                code.push_at_most(y, self.conv.y.output.saturating_sub(y_step));
                code.i32(pitch as u32).op(I::I32Mul).get(plane).op(I::I32Add).set(row);
                code.assign(x, 0);
                code.repeat(self.groups().1, |code| {
                    code.push_at_most(x, self.conv.x.output.saturating_sub(x_step));
                    code.i32(2).op(I::I32Shl).get(row).op(I::I32Add).set(from);
                    self.emit_columns(code, from, between, pitch);
                    self.emit_rows(code, layout, between, pixels);
                    code.advance(pixels, 16);
                    code.advance(x, x_step as i64);
                });
                code.advance(y, y_step as i64);
            });
            code.advance(plane, 4 * layout.planes.plane_elements() as i64);
            // A block with fewer strips leaves gaps.
            code.advance(pixels, 16 * (layout.vectors - strips * self.groups().1) as i64);
        });
        code.release([plane, pixels, row, from, y, x, between]);
    }

    /// From one row between the two transforms to the next.
    fn between_bytes(&self) -> usize {
        16 * self.row_vectors()
    }

    /// Emits the transform of a group's pixels along its columns.
    fn emit_columns(&self, code: &mut Code, from: Local, between: Local, pitch: usize) {
        let points = self.y.points();
        for down in 0..self.down() {
            for vector in 0..self.row_vectors() {
                let offset = |point| (down * self.y.outputs + point) * pitch + 16 * vector;
                let pixels = code.load_each(from, (0..points).map(offset));
                self.y.emit_input(code, &pixels, &mut |code, point| {
                    let offset = (down * points + point) * self.between_bytes() + 16 * vector;
                    code.store_popped(between, offset);
                });
                code.release(pixels);
            }
        }
    }

    /// Emits the transform of a group's pixels along its rows.
    fn emit_rows(&self, code: &mut Code, layout: &Layout, between: Local, pixels: Local) {
        let points = self.y.points();
        for row in 0..points {
            let rows: Vec<usize> =
                (0..self.down()).map(|down| (down * points + row) * self.between_bytes()).collect();
            let gathered = self.x.emit_gather(code, between, &rows);
            self.x.emit_input(code, &gathered, &mut |code, point| {
                let point = row * self.x.points() + point;
                code.store_popped(pixels, point * layout.pixels_bytes);
            });
            code.release(gathered);
        }
    }

    /// Emits the products of a block and their transforms, for all output channels.
    fn emit_panels(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        scratch: Address,
        strips: usize,
    ) {
        let [bias, scales] = cursor.per_row;
        let [output, weights, bias, scales] =
            [cursor.output, cursor.weights, bias, scales].map(|from| {
                let local = code.i32_local();
                code.copy(local, from);
                local
            });
        let cursor = Cursor { output, weights, per_row: [bias, scales], ..cursor };
        for (outputs, repeat) in self.panels() {
            code.repeat(repeat, |code| {
                self.emit_weights(code, layout, weights, scratch, outputs);
                self.emit_products(code, layout, scratch, strips, outputs);
                self.emit_output(code, layout, cursor, scratch, strips, outputs);
                code.advance(weights, self.weight_bytes(outputs));
            });
        }
        code.release([output, weights, bias, scales]);
    }

    /// Emits the transform of the weights of so many output channels, four pairs at a
    /// time.
    fn emit_weights(
        &self,
        code: &mut Code,
        layout: &Layout,
        weights: Local,
        scratch: Address,
        outputs: usize,
    ) {
        let [from, to, between] = std::array::from_fn(|_| code.i32_local());
        code.copy(from, weights);
        code.point(to, scratch.plus(layout.weights as u32));
        code.point(between, scratch.plus(layout.between as u32));
        let (rows, columns, width) = (self.y.taps, self.x.taps, self.width());
        let of_x = self.x.points();
        let count = self.pairs() * outputs;
        let tap_bytes = 2 * width.bytes() * count;
        code.repeat(count.div_ceil(4), |code| {
            for row in 0..rows {
                let taps = code.v128_locals(columns);
                for (column, &local) in taps.iter().enumerate() {
                    width.load(code, from, ((row * columns + column) * tap_bytes) as u64);
                    code.set(local);
                }
                self.x.emit_taps(code, &taps, &mut |code, column| {
                    code.store_popped(between, 16 * (row * of_x + column));
                });
                code.release(taps);
            }
            for column in 0..of_x {
                let offset = |row| 16 * (row * of_x + column);
                let taps = code.load_each(between, (0..rows).map(offset));
                self.y.emit_taps(code, &taps, &mut |code, row| {
                    code.store_popped(to, (row * of_x + column) * layout.weights_bytes);
                });
                code.release(taps);
            }
            code.advance(from, 8 * width.bytes() as i64);
            code.advance(to, 16);
        });
        code.release([from, to, between]);
    }

    /// Emits the products of a block, for all points and so many output channels.
    fn emit_products(
        &self,
        code: &mut Code,
        layout: &Layout,
        scratch: Address,
        strips: usize,
        outputs: usize,
    ) {
        let pointers = Pointers {
            pixels: code.i32_local(),
            products: code.i32_local(),
            weights: code.i32_local(),
        };
        code.point(pointers.pixels, scratch.plus(layout.pixels as u32));
        code.point(pointers.products, scratch.plus(layout.products as u32));
        code.point(pointers.weights, scratch.plus(layout.weights as u32));
        let products = Products {
            numbers: Numbers::PairsOfIntegers,
            points: self.points(),
            steps: self.pairs(),
            outputs,
            vectors: strips * self.groups().1,
            form: self.tile(),
            row_bytes: 16 * layout.vectors,
            pixels_bytes: layout.pixels_bytes,
            products_bytes: layout.products_bytes,
            weights_bytes: layout.weights_bytes,
        };
        products.emit(code, pointers);
        code.release([pointers.pixels, pointers.products, pointers.weights]);
    }

    /// Emits the transforms of the products to a block's pixels, for so many output
    /// channels, which the pointers to the output and to bias and scales move past.
    fn emit_output(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        scratch: Address,
        strips: usize,
        outputs: usize,
    ) {
        let (rows, columns) = (self.conv.y.output, self.conv.x.output);
        let (y_step, x_step) = self.group_pixels();
        let [products, between, row, to, y, x] = std::array::from_fn(|_| code.i32_local());
        code.point(products, scratch.plus(layout.products as u32));
        code.point(between, scratch.plus(layout.between as u32));
        code.repeat(outputs, |code| {
            code.copy(y, cursor.y);
            code.repeat(strips, |code| {
                code.push_at_most(y, rows.saturating_sub(y_step));
                code.i32(columns as u32).op(I::I32Mul).get(cursor.output).op(I::I32Add).set(row);
                code.assign(x, 0);
                code.repeat(self.groups().1, |code| {
                    code.push_at_most(x, columns.saturating_sub(x_step));
                    code.get(row).op(I::I32Add).set(to);
                    self.emit_columns_of_output(code, layout, products, between);
                    self.emit_rows_of_output(code, cursor, between, to);
                    code.advance(products, 16);
                    code.advance(x, x_step as i64);
                });
                code.advance(y, y_step as i64);
            });
            code.advance(products, 16 * (layout.vectors - strips * self.groups().1) as i64);
            code.advance(cursor.output, self.output_bytes(1));
            for local in cursor.per_row {
                code.advance(local, 4);
            }
        });
        code.release([products, between, row, to, y, x]);
    }

    /// Emits the transform of a group's products along the columns.
    fn emit_columns_of_output(
        &self,
        code: &mut Code,
        layout: &Layout,
        products: Local,
        between: Local,
    ) {
        let of_x = self.x.points();
        for column in 0..of_x {
            let offset = |row| (row * of_x + column) * layout.products_bytes;
            let of_column = code.load_each(products, (0..self.y.points()).map(offset));
            self.y.emit_outputs(code, &of_column, &mut |code, row| {
                code.store_popped(between, 16 * (row * of_x + column));
            });
            code.release(of_column);
        }
    }

    /// Emits the transform of a group's products along the rows, and the storing of its
    /// pixels at `to`.
    fn emit_rows_of_output(&self, code: &mut Code, cursor: Cursor, between: Local, to: Local) {
        let [bias, scales] = cursor.per_row;
        let of_x = self.x.points();
        for row in 0..self.y.outputs {
            let offset = |column| 16 * (row * of_x + column);
            let of_row = code.load_each(between, (0..of_x).map(offset));
            let pixels = code.v128_locals(self.x.outputs);
            self.x.emit_outputs(code, &of_row, &mut |code, column| {
                emit_division(code, self.y, row, self.x, column);
                code.load_splat(bias, 0).op(I::I32x4Add).set(pixels[column]);
                let scale = &mut |code: &mut Code, _| {
                    code.load_splat(scales, 0);
                };
                self.conv.outcome.apply(code, pixels[column], cursor.constants, scale);
            });
            code.release(of_row);
            self.emit_bytes(code, to, row, &pixels);
            code.release(pixels);
        }
    }

    /// Emits the storing of one row of each tile: `pixels` has the first pixel of each
    /// tile, the second, and so on.
    fn emit_bytes(&self, code: &mut Code, to: Local, row: usize, pixels: &[Local]) {
        let (height, width) = (self.conv.y.output, self.conv.x.output);
        let bytes = self.conv.outcome.emit_bytes(code, pixels);
        // Tile by tile, and each row of tiles from a multiple of a power of two on.
        let (together, slot) = (self.group_pixels().1, 16 / self.down());
        let byte = |i: usize| {
            let tile = i / slot * self.across + i % slot / self.x.outputs;
            (4 * (i % slot % self.x.outputs) + tile % 4) as u8
        };
        code.get(bytes).get(bytes).op(I::I8x16Shuffle(std::array::from_fn(byte))).set(bytes);
        for down in 0..self.down() {
            let y = down * self.y.outputs + row;
            if y < height {
                let (offset, count) = ((y * width) as u64, together.min(width));
                store_bytes(code, to, offset, bytes, down * slot, count);
            }
        }
        code.release([bytes]);
    }
}

/// Emits the exact division of the multiples of four sums by what they are multiplied by.
fn emit_division(code: &mut Code, y: Transform, row: usize, x: Transform, column: usize) {
    let ((y_twos, y_threes), (x_twos, x_threes)) = (y.multiple(row), x.multiple(column));
    if y_threes + x_threes > 0 {
        code.splat_bits(INVERSES[(y_threes + x_threes) as usize]).op(I::I32x4Mul);
    }
    if y_twos + x_twos > 0 {
        code.i32(y_twos + x_twos).op(I::I32x4ShrS);
    }
}
