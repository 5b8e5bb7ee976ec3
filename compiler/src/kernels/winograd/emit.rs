//! The code of Winograd's filtering: loops over blocks, in each of which the strips
//! are transformed, multiplied and transformed back.

use wasm_encoder::Instruction as I;

use super::products::{Pointers, Products};
use super::{Layout, Winograd};
use crate::emit::code::{Address, Code, Local, at};
use crate::kernels::conv::Conv;
use crate::kernels::product::Numbers;
use crate::schedule::Places;

/// Where the emitted loops are: `y` is the first row of a block.
#[derive(Clone, Copy)]
struct Cursor {
    image: Local,
    output: Local,
    weights: Local,
    bias: Local,
    y: Local,
}

impl Winograd<'_> {
    /// Emits the convolution.
    pub fn emit(&self, code: &mut Code, places: &Places) {
        let conv = self.conv;
        let layout = self.layout();
        let scratch = places.scratch;
        let zero = code.i32_local();
        code.point(zero, scratch.plus(layout.zeros as u32));
        // Zeros, and the padding at the ends of the rows, which nothing overwrites.
        code.repeat(layout.rows / 16, |code| {
            code.get(zero).splat(0.0).op(I::V128Store(at(0, 0)));
            code.advance(zero, 16);
        });
        code.release([zero]);

        let cursor = Cursor {
            image: code.i32_local(),
            output: code.i32_local(),
            weights: code.i32_local(),
            bias: code.i32_local(),
            y: code.i32_local(),
        };
        code.point(cursor.image, places.inputs[0]);
        code.point(cursor.output, places.outputs[0]);
        code.repeat(conv.batch, |code| {
            code.point(cursor.weights, places.weights[0]);
            code.point(cursor.bias, places.weights[1]);
            code.repeat(conv.groups, |code| {
                code.assign(cursor.y, 0);
                for (strips, repeat) in self.blocks() {
                    code.repeat(repeat, |code| {
                        self.emit_input(code, &layout, cursor, scratch, strips);
                        self.emit_panels(code, &layout, cursor, scratch, strips);
                        code.advance(cursor.y, (strips * self.y.outputs) as i64);
                    });
                }
                let (read, written) = (conv.inputs, conv.outputs);
                code.advance(cursor.image, (4 * read * conv.y.input * conv.x.input) as i64);
                code.advance(cursor.output, (4 * written * conv.y.output * conv.x.output) as i64);
                code.advance(cursor.weights, self.weight_bytes(written) as i64);
                code.advance(cursor.bias, 4 * written as i64);
            });
        });
        code.release([cursor.image, cursor.output, cursor.weights, cursor.bias, cursor.y]);
    }

    /// Bytes of the weights of so many output channels.
    fn weight_bytes(&self, outputs: usize) -> usize {
        let Conv { inputs, y, x, .. } = self.conv;
        let numbers = if self.early { self.points() } else { y.taps * x.taps };
        4 * numbers * inputs * outputs
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
        let [output, weights, bias] = [cursor.output, cursor.weights, cursor.bias].map(|from| {
            let local = code.i32_local();
            code.copy(local, from);
            local
        });
        let cursor = Cursor { output, weights, bias, ..cursor };
        for (outputs, repeat) in self.panels() {
            code.repeat(repeat, |code| {
                if !self.early {
                    self.emit_weights(code, layout, weights, scratch, outputs);
                }
                self.emit_products(code, layout, cursor, scratch, strips, outputs);
                self.emit_output(code, layout, cursor, scratch, strips, outputs);
                let plane = 4 * self.conv.y.output * self.conv.x.output;
                code.advance(output, (plane * outputs) as i64);
                code.advance(weights, self.weight_bytes(outputs) as i64);
                code.advance(bias, 4 * outputs as i64);
            });
        }
        code.release([output, weights, bias]);
    }

    /// Emits the transform of the weights of so many output channels, four at a
    /// time.
    fn emit_weights(
        &self,
        code: &mut Code,
        layout: &Layout,
        weights: Local,
        scratch: Address,
        outputs: usize,
    ) {
        let Conv { inputs, y: rows, x: columns, .. } = self.conv;
        let [from, to, between] = std::array::from_fn(|_| code.i32_local());
        code.copy(from, weights);
        code.point(to, scratch.plus(layout.weights as u32));
        code.point(between, scratch.plus(layout.rows as u32));
        let of_x = self.x.points();
        let tap_bytes = 4 * inputs * outputs;
        code.repeat((inputs * outputs).div_ceil(4), |code| {
            for row in 0..rows.taps {
                let first = row * columns.taps;
                let offsets = (first..first + columns.taps).map(|tap| tap * tap_bytes);
                let taps = code.load_each(from, offsets);
                self.x.emit_taps(code, &taps, |code, column| {
                    code.store_popped(between, 16 * (row * of_x + column));
                });
                code.release(taps);
            }
            for column in 0..of_x {
                let offsets = (0..rows.taps).map(|row| 16 * (row * of_x + column));
                let taps = code.load_each(between, offsets);
                self.y.emit_taps(code, &taps, |code, row| {
                    code.store_popped(to, (row * of_x + column) * layout.weights_bytes);
                });
                code.release(taps);
            }
            code.advance(from, 16);
            code.advance(to, 16);
        });
        code.release([from, to, between]);
    }

    /// Emits the transforms of the strips from row `cursor.y` on, of all channels.
    fn emit_input(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        scratch: Address,
        strips: usize,
    ) {
        let conv = self.conv;
        let [image, pixels, y, strip] = std::array::from_fn(|_| code.i32_local());
        code.copy(image, cursor.image);
        code.point(pixels, scratch.plus(layout.pixels as u32));
        let strip_bytes = (self.y.points() * layout.row_bytes) as i64;
        code.repeat(conv.inputs, |code| {
            // What was just stored is not read at once: across the ends of stores
            // that would be slow.
            code.copy(y, cursor.y);
            code.point(strip, scratch.plus(layout.columns as u32));
            code.repeat(strips, |code| {
                self.emit_columns(code, layout, scratch, image, y, strip);
                code.advance(y, self.y.outputs as i64);
                code.advance(strip, strip_bytes);
            });
            code.point(strip, scratch.plus(layout.columns as u32));
            code.repeat(strips, |code| {
                self.emit_rows(code, layout, strip, pixels);
                code.advance(strip, strip_bytes);
            });
            code.advance(image, (4 * conv.y.input * conv.x.input) as i64);
            // A block with fewer strips leaves gaps.
            code.advance(pixels, 16 * (layout.vectors - strips * self.groups()) as i64);
        });
        code.release([image, pixels, y, strip]);
    }

    /// Emits the transform along the columns of the strip at row `y` of the output, to
    /// `strip`.
    fn emit_columns(
        &self,
        code: &mut Code,
        layout: &Layout,
        scratch: Address,
        image: Local,
        y: Local,
        strip: Local,
    ) {
        let Conv { y: rows, x: columns, .. } = &self.conv;
        let row_bytes = 4 * columns.input as u32;
        let first = code.i32_local();
        code.push_at_most(y, rows.output.saturating_sub(self.y.outputs));
        code.set(first);
        let zeros = code.i32_local();
        code.point(zeros, scratch.plus(layout.zeros as u32));
        let from: Vec<Local> = (0..self.y.points()).map(|_| code.i32_local()).collect();
        for (point, &from) in from.iter().enumerate() {
            // The row, or zeros if it is outside.
            code.get(first).i32((point as u32).wrapping_sub(rows.before as u32)).op(I::I32Add);
            code.tee(from).i32(row_bytes).op(I::I32Mul).get(image).op(I::I32Add);
            code.get(zeros).get(from).i32(rows.input as u32).op(I::I32LtU).op(I::Select).set(from);
        }
        let to = code.i32_local();
        code.copy(to, strip);
        code.advance(to, 4 * columns.before as i64);
        let vector = |code: &mut Code, offset: usize, lanes: usize| {
            let pixels = code.v128_locals(from.len());
            for (&pixels, &from) in pixels.iter().zip(&from) {
                code.load(from, offset as u64).set(pixels);
            }
            self.y.emit_input(code, &pixels, |code, point| {
                let result = code.v128_local();
                code.set(result);
                code.store_lanes(to, (point * layout.row_bytes + offset) as u64, result, lanes);
                code.release([result]);
            });
            code.release(pixels);
        };
        let advance = |code: &mut Code, bytes: i64| {
            from.iter().chain([&to]).for_each(|&pointer| code.advance(pointer, bytes));
        };
        let vectors = columns.input / 4;
        code.repeat(vectors / 2, |code| {
            vector(code, 0, 4);
            vector(code, 16, 4);
            advance(code, 32);
        });
        let mut done = vectors / 2 * 8;
        if vectors % 2 == 1 {
            vector(code, 0, 4);
            advance(code, 16);
            done += 4;
        }
        match columns.input - done {
            0 => {}
            rest if columns.input < 4 => vector(code, 0, rest),
            rest => {
                advance(code, -4 * (4 - rest as i64));
                vector(code, 0, 4);
            }
        }
        code.release(from);
        code.release([first, zeros, to]);
    }

    /// Emits the transforms along the rows of `strip`, to `pixels`, which moves past
    /// them.
    fn emit_rows(&self, code: &mut Code, layout: &Layout, strip: Local, pixels: Local) {
        let (x, from) = (code.i32_local(), code.i32_local());
        code.assign(x, 0);
        code.repeat(self.groups(), |code| {
            let last = self.conv.x.output.saturating_sub(self.group_pixels());
            code.push_at_most(x, last);
            code.i32(2).op(I::I32Shl).get(strip).op(I::I32Add).set(from);
            for row in 0..self.y.points() {
                let gathered = self.x.emit_gather(code, from, (row * layout.row_bytes) as u64);
                self.x.emit_input(code, &gathered, |code, point| {
                    let point = row * self.x.points() + point;
                    code.store_popped(pixels, point * layout.pixels_bytes);
                });
                code.release(gathered);
            }
            code.advance(pixels, 16);
            code.advance(x, self.group_pixels() as i64);
        });
        code.release([x, from]);
    }

    /// Emits the products of a block, for all points and so many output
    /// channels.
    fn emit_products(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        scratch: Address,
        strips: usize,
        outputs: usize,
    ) {
        let inputs = self.conv.inputs;
        let pointers = Pointers {
            pixels: code.i32_local(),
            products: code.i32_local(),
            weights: code.i32_local(),
        };
        match self.early {
            true => code.copy(pointers.weights, cursor.weights),
            false => code.point(pointers.weights, scratch.plus(layout.weights as u32)),
        }
        code.point(pointers.pixels, scratch.plus(layout.pixels as u32));
        code.point(pointers.products, scratch.plus(layout.products as u32));
        let products = Products {
            numbers: Numbers::Reals,
            points: self.points(),
            steps: inputs,
            outputs,
            vectors: strips * self.groups(),
            form: self.tile(self.strips),
            row_bytes: 16 * layout.vectors,
            pixels_bytes: layout.pixels_bytes,
            products_bytes: layout.products_bytes,
            weights_bytes: if self.early { 4 * outputs * inputs } else { layout.weights_bytes },
        };
        products.emit(code, pointers);
        code.release([pointers.pixels, pointers.products, pointers.weights]);
    }

    /// Emits the transforms of the products to the strips from row `cursor.y` on, for
    /// so many output channels.
    fn emit_output(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        scratch: Address,
        strips: usize,
        outputs: usize,
    ) {
        let Conv { y: rows, x: columns, .. } = self.conv;
        let (products, plane, bias) = (code.i32_local(), code.i32_local(), code.i32_local());
        let (y, x, row, to) =
            (code.i32_local(), code.i32_local(), code.i32_local(), code.i32_local());
        let splat = code.v128_local();
        code.point(products, scratch.plus(layout.products as u32));
        code.copy(plane, cursor.output);
        code.copy(bias, cursor.bias);
        code.repeat(outputs, |code| {
            code.copy(y, cursor.y);
            code.load_splat(bias, 0).set(splat);
            code.repeat(strips, |code| {
                code.push_at_most(y, rows.output.saturating_sub(self.y.outputs));
                code.i32(4 * columns.output as u32).op(I::I32Mul).get(plane).op(I::I32Add).set(row);
                code.assign(x, 0);
                code.repeat(self.groups(), |code| {
                    code.push_at_most(x, columns.output.saturating_sub(self.group_pixels()));
                    code.i32(2).op(I::I32Shl).get(row).op(I::I32Add).set(to);
                    self.emit_group(code, layout, scratch, products, splat, to);
                    code.advance(products, 16);
                    code.advance(x, self.group_pixels() as i64);
                });
                code.advance(y, self.y.outputs as i64);
            });
            code.advance(products, 16 * (layout.vectors - strips * self.groups()) as i64);
            code.advance(plane, (4 * rows.output * columns.output) as i64);
            code.advance(bias, 4);
        });
        code.release([products, plane, bias, y, x, row, to, splat]);
    }

    /// Emits the transform of one group from `products` to pixels at `to`.
    fn emit_group(
        &self,
        code: &mut Code,
        layout: &Layout,
        scratch: Address,
        products: Local,
        bias: Local,
        to: Local,
    ) {
        let Conv { y: rows, x: columns, then, .. } = self.conv;
        let between = code.i32_local();
        code.point(between, scratch.plus(layout.rows as u32));
        let of_x = self.x.points();
        // One point is the pixel itself.
        let has_columns = self.y.points() > 1;
        if has_columns {
            for column in 0..of_x {
                let offset = |row| (row * of_x + column) * layout.products_bytes;
                let column_products = code.load_each(products, (0..self.y.points()).map(offset));
                self.y.emit_outputs(code, &column_products, |code, row| {
                    code.store_popped(between, 16 * (row * of_x + column));
                });
                code.release(column_products);
            }
        }
        for row in 0..self.y.outputs.min(rows.output) {
            let (from, pitch) =
                if has_columns { (between, 16) } else { (products, layout.products_bytes) };
            let offset = |column| pitch * (row * of_x + column);
            let row_products = code.load_each(from, (0..of_x).map(offset));
            let pixels = code.v128_locals(self.x.outputs);
            self.x.emit_outputs(code, &row_products, |code, column| {
                code.get(bias).op(I::F32x4Add).set(pixels[column]);
                then.apply(code, pixels[column]);
            });
            code.release(row_products);
            self.x.emit_scatter(code, &pixels);
            for (v, &pixels) in pixels.iter().enumerate() {
                let lanes = columns.output.saturating_sub(4 * v).min(4);
                if lanes > 0 {
                    let pixel = row * columns.output + 4 * v;
                    code.store_lanes(to, 4 * pixel as u64, pixels, lanes);
                }
            }
            code.release(pixels);
        }
        code.release([between]);
    }
}
