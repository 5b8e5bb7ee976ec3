//! The transforms of Winograd's minimal filtering along one axis: `m` outputs of
//! `r` taps by `m + r - 1` products. S. Winograd, "Arithmetic Complexity of
//! Computations", 1980; A. Lavin, S. Gray, "Fast Algorithms for Convolutional
//! Neural Networks", CVPR 2016.
//!
//! The points are 0, infinity and pairs of a number and its negative, so that a
//! pair shares most of its work. With six points the pairs are the roots of 1/2
//! and of 2: the error is a quarter of that with 1 and 2, which are usual.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local};

/// Outputs and taps along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Outputs of a tile.
    pub outputs: usize,
    /// Taps of the window.
    pub taps: usize,
}

impl Transform {
    /// Those that there are for so many taps. A single tap needs none, and is one.
    pub fn all(taps: usize) -> impl Iterator<Item = Self> {
        let outputs: &[usize] = match taps {
            1 => &[1],
            3 => &[4, 2],
            5 => &[2],
            _ => &[],
        };
        outputs.iter().map(move |&outputs| Self { outputs, taps })
    }

    /// Products, and pixels of the input.
    pub fn points(self) -> usize {
        self.outputs + self.taps - 1
    }

    /// The numbers among the points: all but the last.
    fn numbers(self) -> &'static [f64] {
        match self.points() {
            1 => &[],
            4 => &[0.0, 1.0, -1.0],
            6 => &[0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2],
            points => unreachable!("no transform has {points} points"),
        }
    }

    /// What the taps are multiplied with: `[points][taps]`.
    pub fn of_taps(self) -> Vec<Vec<f64>> {
        let numbers = self.numbers();
        let row = |&point: &f64| {
            let others = numbers.iter().filter(|other| **other != point);
            let scale: f64 = others.map(|other| point - other).product();
            (0..self.taps).map(|tap| point.powi(tap as i32) / scale).collect()
        };
        let mut last = vec![0.0; self.taps];
        last[self.taps - 1] = 1.0;
        numbers.iter().map(row).chain([last]).collect()
    }

    /// Operators of [`Transform::emit_input`] and [`Transform::emit_outputs`].
    pub fn operators(self) -> (usize, usize) {
        match (self.points(), self.outputs) {
            (4, _) => (4, 4),
            (6, 2) => (20, 9),
            (6, _) => (20, 17),
            _ => (0, 0),
        }
    }

    /// Emits the transform of pixels of the input, one vector for each; `store`
    /// pops each result.
    pub fn emit_input(
        self,
        code: &mut Code,
        pixels: &[Local],
        mut store: impl FnMut(&mut Code, usize),
    ) {
        match *pixels {
            [d] => {
                code.get(d);
                store(code, 0);
            }
            [d0, d1, d2, d3] => {
                let results = [(d2, I::F32x4Sub, d0), (d2, I::F32x4Add, d1), (d2, I::F32x4Sub, d1)];
                for (point, (a, operator, b)) in results.into_iter().enumerate() {
                    code.get(a).get(b).op(operator);
                    store(code, point);
                }
                code.get(d3).get(d1).op(I::F32x4Sub);
                store(code, 3);
            }
            [d0, d1, d2, d3, d4, d5] => {
                let ends = |code: &mut Code, a: Local, b: Local, c: Local| {
                    code.get(a).get(c).op(I::F32x4Add);
                    code.get(b).splat(2.5).op(I::F32x4Mul).op(I::F32x4Sub);
                };
                ends(code, d0, d2, d4);
                store(code, 0);
                let (even, odd) = (code.v128_local(), code.v128_local());
                for (pair, (square, root)) in
                    [(2.0, FRAC_1_SQRT_2), (0.5, SQRT_2)].into_iter().enumerate()
                {
                    code.get(d4).get(d2).splat(square).op(I::F32x4Mul).op(I::F32x4Sub).set(even);
                    code.get(d3).get(d1).splat(square).op(I::F32x4Mul).op(I::F32x4Sub);
                    code.splat(root as f32).op(I::F32x4Mul).set(odd);
                    code.get(even).get(odd).op(I::F32x4Add);
                    store(code, 1 + 2 * pair);
                    code.get(even).get(odd).op(I::F32x4Sub);
                    store(code, 2 + 2 * pair);
                }
                ends(code, d1, d3, d5);
                store(code, 5);
                code.release([even, odd]);
            }
            _ => unreachable!("no transform has {} points", pixels.len()),
        }
    }

    /// Emits the transform of taps, as [`Transform::of_taps`] has it; `store` pops
    /// each result.
    pub fn emit_taps(
        self,
        code: &mut Code,
        taps: &[Local],
        mut store: impl FnMut(&mut Code, usize),
    ) {
        let rows = self.of_taps();
        // Every other of the taps.
        let sum = |code: &mut Code, row: &[f64], first: usize| {
            for tap in (first..taps.len()).step_by(2) {
                code.get(taps[tap]);
                if row[tap] != 1.0 {
                    code.splat(row[tap] as f32).op(I::F32x4Mul);
                }
                if tap > first {
                    code.op(I::F32x4Add);
                }
            }
        };
        let (even, odd) = (code.v128_local(), code.v128_local());
        let last = self.points() - 1;
        if last > 0 {
            code.get(taps[0]).splat(rows[0][0] as f32).op(I::F32x4Mul);
            store(code, 0);
        }
        for point in (1..last).step_by(2) {
            sum(code, &rows[point], 0);
            code.set(even);
            sum(code, &rows[point], 1);
            code.set(odd);
            code.get(even).get(odd).op(I::F32x4Add);
            store(code, point);
            code.get(even).get(odd).op(I::F32x4Sub);
            store(code, point + 1);
        }
        code.get(taps[taps.len() - 1]);
        store(code, last);
        code.release([even, odd]);
    }

    /// Emits the transform of products to pixels of the output; `store` pops each.
    pub fn emit_outputs(
        self,
        code: &mut Code,
        products: &[Local],
        mut store: impl FnMut(&mut Code, usize),
    ) {
        match *products {
            [m] => {
                code.get(m);
                store(code, 0);
            }
            [m0, m1, m2, m3] => {
                code.get(m0).get(m1).op(I::F32x4Add).get(m2).op(I::F32x4Add);
                store(code, 0);
                code.get(m1).get(m2).op(I::F32x4Sub).get(m3).op(I::F32x4Add);
                store(code, 1);
            }
            [m0, m1, m2, m3, m4, m5] => {
                let pairs: Vec<[Local; 2]> = [(m1, m2), (m3, m4)]
                    .into_iter()
                    .map(|(plus, minus)| {
                        [I::F32x4Add, I::F32x4Sub].map(|operator| {
                            let local = code.v128_local();
                            code.get(plus).get(minus).op(operator).set(local);
                            local
                        })
                    })
                    .collect();
                for output in 0..self.outputs {
                    // The powers of the points.
                    for (point, pair) in [FRAC_1_SQRT_2, SQRT_2].into_iter().zip(&pairs) {
                        code.get(pair[output % 2]);
                        if output > 0 {
                            code.splat(point.powi(output as i32) as f32).op(I::F32x4Mul);
                        }
                    }
                    code.op(I::F32x4Add);
                    let last = (output == 0).then_some(m0);
                    let last = last.or((output + 1 == self.outputs).then_some(m5));
                    if let Some(last) = last {
                        code.get(last).op(I::F32x4Add);
                    }
                    store(code, output);
                }
                code.release(pairs.into_iter().flatten());
            }
            _ => unreachable!("no transform has {} points", products.len()),
        }
    }

    /// Emits the loads of the pixels of four tiles side by side, the first of
    /// which begins at `address + offset`: a vector for each pixel of a tile.
    pub fn emit_gather(self, code: &mut Code, address: Local, offset: u64) -> Vec<Local> {
        let pixel = |pixel: usize| offset + 4 * pixel as u64;
        let pixels = code.v128_locals(self.points());
        match self.outputs {
            1 => {
                code.load(address, offset).set(pixels[0]);
            }
            2 => {
                for (pair, pixels) in pixels.chunks(2).enumerate() {
                    let halves = code.v128_locals(2);
                    for (half, &local) in halves.iter().enumerate() {
                        code.load(address, pixel(2 * pair + 4 * half)).set(local);
                    }
                    for (&local, first) in pixels.iter().zip(0..) {
                        let lanes = [first, first + 2, first + 4, first + 6];
                        shuffle(code, halves[0], halves[1], lanes).set(local);
                    }
                    code.release(halves);
                }
            }
            _ => {
                for (tile, &local) in pixels[..4].iter().enumerate() {
                    code.load(address, pixel(4 * tile)).set(local);
                }
                emit_transpose(code, &pixels[..4]);
                // The pixels that a tile shares with the next one.
                for shared in 0..self.points() - 4 {
                    let beyond = code.v128_local();
                    code.load(address, pixel(16 + shared)).set(beyond);
                    shuffle(code, pixels[shared], beyond, [1, 2, 3, 4]).set(pixels[4 + shared]);
                    code.release([beyond]);
                }
            }
        }
        pixels
    }

    /// Emits the turn of a vector for each pixel of four tiles into vectors of
    /// pixels side by side.
    pub fn emit_scatter(self, code: &mut Code, pixels: &[Local]) {
        match *pixels {
            [_] => {}
            [a, b] => {
                let low = code.v128_local();
                shuffle(code, a, b, [0, 4, 1, 5]).set(low);
                shuffle(code, a, b, [2, 6, 3, 7]).set(b);
                code.copy(a, low);
                code.release([low]);
            }
            _ => emit_transpose(code, pixels),
        }
    }
}

/// Pushes four lanes of two vectors.
pub fn shuffle(code: &mut Code, a: Local, b: Local, lanes: [u8; 4]) -> &mut Code {
    let bytes = std::array::from_fn(|i| 4 * lanes[i / 4] + (i % 4) as u8);
    code.get(a).get(b).op(I::I8x16Shuffle(bytes))
}

/// Emits the transposition of four vectors.
pub fn emit_transpose(code: &mut Code, rows: &[Local]) {
    let halves = code.v128_locals(4);
    for (pair, lanes) in [[0, 4, 1, 5], [2, 6, 3, 7]].into_iter().enumerate() {
        shuffle(code, rows[0], rows[1], lanes).set(halves[2 * pair]);
        shuffle(code, rows[2], rows[3], lanes).set(halves[2 * pair + 1]);
    }
    for (row, &local) in rows.iter().enumerate() {
        let lanes = [[0, 1, 4, 5], [2, 3, 6, 7]][row % 2];
        shuffle(code, halves[row / 2 * 2], halves[row / 2 * 2 + 1], lanes).set(local);
    }
    code.release(halves);
}
