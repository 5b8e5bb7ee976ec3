//! The transforms of Winograd's minimal filtering along one axis, for integers: two or
//! four outputs of three taps, three outputs of four. S. Winograd, "Arithmetic Complexity of Computations",
//! 1980; A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
//! 2016.
//!
//! The points are 0, infinity, 1 and -1, and with six 2 and -2. Transformed taps are
//! multiplied by what makes them integers; what comes of the products is then a known
//! multiple of each output, `2^k` or `3 * 2^k`. As all is computed modulo 2^16 or 2^32,
//! only what is stored must fit.

use wasm_encoder::Instruction as I;

use crate::emit::code::{Code, Local};
use crate::kernels::winograd::transform::{emit_transpose, shuffle};

/// Outputs and taps along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Outputs of a tile.
    pub outputs: usize,
    /// Taps of the window.
    pub taps: usize,
}

impl Transform {
    /// Those that there are for so many taps.
    pub fn all(taps: usize) -> impl Iterator<Item = Self> {
        let outputs: &[usize] = match taps {
            3 => &[4, 2],
            4 => &[3],
            _ => &[],
        };
        outputs.iter().map(move |&outputs| Self { outputs, taps })
    }

    /// Products, and pixels of the input.
    pub fn points(self) -> usize {
        self.outputs + self.taps - 1
    }

    /// What each output is multiplied by: `2^k`, and the power of 3.
    pub fn multiple(self, output: usize) -> (u32, u32) {
        match self.points() {
            4 => (1, 0),
            _ => ([3, 2, 1, 1][output], 1),
        }
    }

    /// By how much a transformed tap may be larger than a tap.
    pub fn growth(self) -> i32 {
        match (self.points(), self.taps) {
            (4, _) => 3,
            (_, 3) => 7,
            _ => 15,
        }
    }

    /// The most powers of two of [`Transform::multiple`].
    pub fn lost_bits(self) -> u32 {
        (0..self.outputs).map(|output| self.multiple(output).0).max().unwrap_or_default()
    }

    /// Operators of [`Transform::emit_input`], [`Transform::emit_taps`] and
    /// [`Transform::emit_outputs`].
    pub fn operators(self) -> [usize; 3] {
        match self.points() {
            4 => [4, 3, 6],
            _ => [18, 8, 18],
        }
    }

    /// Emits the transform of pixels of the input, eight `i16` of each; `store` pops
    /// each result.
    pub fn emit_input(
        self,
        code: &mut Code,
        pixels: &[Local],
        store: &mut dyn FnMut(&mut Code, usize),
    ) {
        match *pixels {
            [d0, d1, d2, d3] => {
                let results = [(d0, I::I16x8Sub, d2), (d1, I::I16x8Add, d2), (d2, I::I16x8Sub, d1)];
                let last = (d1, I::I16x8Sub, d3);
                for (point, (a, operator, b)) in results.into_iter().chain([last]).enumerate() {
                    code.get(a).get(b).op(operator);
                    store(code, point);
                }
            }
            [d0, d1, d2, d3, d4, d5] => {
                let (even, odd) = (code.v128_local(), code.v128_local());
                // 4 d0 - 5 d2 + d4
                let ends = |code: &mut Code, a: Local, b: Local, c: Local| {
                    code.get(a).get(b).op(I::I16x8Sub).i32(2).op(I::I16x8Shl);
                    code.get(c).get(b).op(I::I16x8Sub).op(I::I16x8Add);
                };
                ends(code, d0, d2, d4);
                store(code, 0);
                for (pair, [of_even, of_odd]) in [[2, 0], [0, 1]].into_iter().enumerate() {
                    // d4 - 4 d2 and d3 - 4 d1, or d4 - d2 and 2 (d3 - d1)
                    let shifted = |code: &mut Code, local: Local, by: u32| {
                        code.get(local);
                        if by > 0 {
                            code.i32(by).op(I::I16x8Shl);
                        }
                    };
                    code.get(d4);
                    shifted(code, d2, of_even);
                    code.op(I::I16x8Sub).set(even).get(d3);
                    shifted(code, d1, of_even);
                    code.op(I::I16x8Sub).set(odd);
                    shifted(code, odd, of_odd);
                    code.set(odd).get(even).get(odd).op(I::I16x8Add);
                    store(code, 1 + 2 * pair);
                    code.get(even).get(odd).op(I::I16x8Sub);
                    store(code, 2 + 2 * pair);
                }
                ends(code, d1, d3, d5);
                store(code, 5);
                code.release([even, odd]);
            }
            _ => unreachable!("no transform has {} points", pixels.len()),
        }
    }

    /// Emits the transform of taps, eight `i16` of each; `store` pops each result.
    pub fn emit_taps(
        self,
        code: &mut Code,
        taps: &[Local],
        store: &mut dyn FnMut(&mut Code, usize),
    ) {
        let [even, odd] = [code.v128_local(), code.v128_local()];
        let pair = |code: &mut Code, first: usize, store: &mut dyn FnMut(&mut Code, usize)| {
            for (point, operator) in [(first, I::I16x8Add), (first + 1, I::I16x8Sub)] {
                code.get(even).get(odd).op(operator);
                store(code, point);
            }
        };
        // One of the taps, and `2^shift` times the next but one, if there is one.
        let sum = |code: &mut Code, first: usize, shift: u32| {
            code.get(taps[first]);
            if let Some(&tap) = taps.get(first + 2) {
                code.get(tap);
                if shift > 0 {
                    code.i32(shift).op(I::I16x8Shl);
                }
                code.op(I::I16x8Add);
            }
        };
        code.get(taps[0]);
        store(code, 0);
        sum(code, 0, 0);
        code.set(even);
        sum(code, 1, 0);
        code.set(odd);
        pair(code, 1, store);
        if self.points() == 6 {
            sum(code, 0, 2);
            code.set(even);
            sum(code, 1, 2);
            code.i32(1).op(I::I16x8Shl).set(odd);
            pair(code, 3, store);
        }
        code.get(taps[self.taps - 1]);
        store(code, self.points() - 1);
        code.release([even, odd]);
    }

    /// Emits the transform of products, four `i32` of each, to multiples of the outputs;
    /// `store` pops each.
    pub fn emit_outputs(
        self,
        code: &mut Code,
        products: &[Local],
        store: &mut dyn FnMut(&mut Code, usize),
    ) {
        let double = |code: &mut Code| {
            code.i32(1).op(I::I32x4Shl);
        };
        match *products {
            [m0, m1, m2, m3] => {
                code.get(m0);
                double(code);
                code.get(m1).op(I::I32x4Add).get(m2).op(I::I32x4Add);
                store(code, 0);
                code.get(m1).get(m2).op(I::I32x4Sub).get(m3);
                double(code);
                code.op(I::I32x4Sub);
                store(code, 1);
            }
            [m0, m1, m2, m3, m4, m5] => {
                let [plus, minus, far_plus, far_minus] = [
                    (m1, I::I32x4Add, m2),
                    (m1, I::I32x4Sub, m2),
                    (m3, I::I32x4Add, m4),
                    (m3, I::I32x4Sub, m4),
                ]
                .map(|(a, operator, b)| {
                    let local = code.v128_local();
                    code.get(a).get(b).op(operator).set(local);
                    local
                });
                let triple = |code: &mut Code, local: Local| {
                    code.get(local);
                    double(code);
                    code.get(local).op(I::I32x4Add);
                };
                // 6 m0 - 4 plus + far_plus
                triple(code, m0);
                code.get(plus);
                double(code);
                code.op(I::I32x4Sub);
                double(code);
                code.get(far_plus).op(I::I32x4Add);
                store(code, 0);
                code.get(far_minus).get(minus);
                double(code);
                code.op(I::I32x4Sub);
                store(code, 1);
                // far_plus - plus, and with three outputs 6 m5
                code.get(far_plus).get(plus).op(I::I32x4Sub);
                if self.outputs == 3 {
                    triple(code, m5);
                    double(code);
                    code.op(I::I32x4Add);
                }
                store(code, 2);
                if self.outputs == 4 {
                    // 2 far_minus - minus + 6 m5
                    triple(code, m5);
                    code.get(far_minus).op(I::I32x4Add);
                    double(code);
                    code.get(minus).op(I::I32x4Sub);
                    store(code, 3);
                }
                code.release([plus, minus, far_plus, far_minus]);
            }
            _ => unreachable!("no transform has {} points", products.len()),
        }
    }

    /// Emits the loads of the pixels of four tiles: a vector for each pixel of a tile.
    /// The tiles are in `rows`, each an offset from the address, side by side.
    pub fn emit_gather(self, code: &mut Code, address: Local, rows: &[usize]) -> Vec<Local> {
        let across = 4 / rows.len();
        let load = |code: &mut Code, offset: usize| {
            let local = code.v128_local();
            code.load(address, offset as u64).set(local);
            local
        };
        let shuffled = |code: &mut Code, a: Local, b: Local, lanes: [u8; 4]| {
            let local = code.v128_local();
            shuffle(code, a, b, lanes).set(local);
            local
        };
        let first = |tile: usize| rows[tile / across] + 4 * self.outputs * (tile % across);
        match (self.outputs, across) {
            (2, 4) => {
                let [a, b, c] = [0, 16, 32].map(|offset| load(code, rows[0] + offset));
                let even = shuffled(code, a, b, [0, 2, 4, 6]);
                let odd = shuffled(code, a, b, [1, 3, 5, 7]);
                let next_even = shuffled(code, even, c, [1, 2, 3, 4]);
                let next_odd = shuffled(code, odd, c, [1, 2, 3, 5]);
                code.release([a, b, c]);
                vec![even, odd, next_even, next_odd]
            }
            (3, 4) => {
                let [a, b, c, d] = [0, 16, 32, 48].map(|offset| load(code, rows[0] + offset));
                // From the first two vectors, with the third, and one pixel further.
                let lanes: [[[u8; 4]; 3]; 3] = [
                    [[0, 3, 6, 6], [0, 1, 2, 5], [1, 2, 3, 4]],
                    [[1, 4, 7, 7], [0, 1, 2, 6], [1, 2, 3, 5]],
                    [[2, 5, 5, 5], [0, 1, 4, 7], [1, 2, 3, 6]],
                ];
                let pixels = lanes.map(|[first, second, _]| {
                    let local = shuffled(code, a, b, first);
                    shuffle(code, local, c, second).set(local);
                    local
                });
                let next = [0, 1, 2].map(|at| shuffled(code, pixels[at], d, lanes[at][2]));
                code.release([a, b, c, d]);
                pixels.into_iter().chain(next).collect()
            }
            _ => {
                let mut pixels: Vec<Local> = (0..4).map(|tile| load(code, first(tile))).collect();
                emit_transpose(code, &pixels);
                if self.points() > 4 {
                    let beyond: Vec<Local> =
                        (0..4).map(|tile| load(code, first(tile) + 16)).collect();
                    let low = shuffled(code, beyond[0], beyond[1], [0, 4, 1, 5]);
                    let high = shuffled(code, beyond[2], beyond[3], [0, 4, 1, 5]);
                    code.release(beyond);
                    pixels.push(shuffled(code, low, high, [0, 1, 4, 5]));
                    pixels.push(shuffled(code, low, high, [2, 3, 6, 7]));
                    code.release([low, high]);
                }
                pixels
            }
        }
    }
}
