//! The `normal` kernel: rows divided by their root mean square, from their mean or from
//! zero (Ba, Kiros, Hinton, "Layer Normalization", 2016; Zhang, Sennrich, "Root Mean
//! Square Layer Normalization", 2019), with a factor and a summand for each element.

use std::any::Any;

use wasm_encoder::Instruction as I;

use super::rows::{Folding, Rows, unrolled};
use crate::emit::code::{Address, Code, Local};
use crate::emit::math;
use crate::expr::{Fusion, Unary};
use crate::schedule::{Kernel, Places};

/// `(x - m) / sqrt(mean((x - m)^2) + epsilon) * scale + shift` along an axis.
#[derive(Clone, Debug)]
pub struct Normal {
    /// The tensor.
    pub rows: Rows,
    /// Whether `m` is the mean, and not 0.
    pub centred: bool,
    /// What is added to the mean square.
    pub epsilon: f32,
    /// For each element of a row.
    pub scale: Vec<f32>,
    /// For each element of a row.
    pub shift: Vec<f32>,
}

/// The pointers to the vectors of a row, with the bytes from one to the next.
struct Row {
    source: (Local, u64),
    target: (Local, u64),
    /// The factors and the summands, if there are any.
    affine: Option<[(Local, u64); 2]>,
}

impl Normal {
    /// Of rows from zero, unscaled.
    pub fn of_rows(rows: Rows, epsilon: f32) -> Self {
        let (scale, shift) = (vec![1.0; rows.axis], vec![0.0; rows.axis]);
        Self { rows, centred: false, epsilon, scale, shift }
    }

    fn is_affine(&self) -> bool {
        self.scale.iter().any(|&scale| scale != 1.0) || self.shift.iter().any(|&x| x != 0.0)
    }

    /// Emits the row(s) that [`Rows::emit_rows`] wants.
    fn emit_row(&self, code: &mut Code, places: &Places, from: Local, to: Local, lanes: usize) {
        let (mean, root) = (code.v128_local(), code.v128_local());
        let sum = Folding { neutral: 0.0, combine: I::F32x4Add };
        let part = 1.0 / self.rows.axis as f32;
        if self.centred {
            self.rows.emit_folding(code, from, lanes, &sum, &|_| {});
            code.splat(part).op(I::F32x4Mul).set(mean);
        }
        self.rows.emit_folding(code, from, lanes, &sum, &|code| {
            self.centre(code, mean);
            math::unary(code, Unary::Square);
        });
        code.splat(part).op(I::F32x4Mul).splat(self.epsilon).op(I::F32x4Add);
        math::unary(code, Unary::Rsqrt);
        code.set(root);

        let (steps, step, tail) = self.rows.vectors(lanes);
        let (source, target) = (code.i32_local(), code.i32_local());
        code.copy(source, from);
        code.copy(target, to);
        let each = if lanes == 0 { 16 } else { 4 };
        let affine = self
            .is_affine()
            .then(|| [0, 1].map(|blob: usize| (pointer_to(code, places.weights[blob]), each)));
        let row = Row { source: (source, step), target: (target, step), affine };
        let emit = |code: &mut Code, number: u64, stored: usize| {
            self.emit_vector(code, &row, number, [mean, root], lanes == 0, stored);
        };
        let stored = if lanes == 0 { 4 } else { lanes };
        let walk = |pointers: &Row| {
            let both = [pointers.source, pointers.target];
            both.into_iter().chain(pointers.affine.into_iter().flatten()).collect::<Vec<_>>()
        };
        unrolled(code, steps, &walk(&row), |code, number| emit(code, number, stored));
        if tail > 0 {
            emit(code, 0, tail);
        }
        code.release(walk(&row).into_iter().map(|(pointer, _)| pointer));
        code.release([mean, root]);
    }

    /// Takes the mean from the elements on the stack.
    fn centre(&self, code: &mut Code, mean: Local) {
        if self.centred {
            code.get(mean).op(I::F32x4Sub);
        }
    }

    /// Emits the vector with this number. `along`: its elements are neighbours in a row.
    fn emit_vector(
        &self,
        code: &mut Code,
        row: &Row,
        number: u64,
        [mean, root]: [Local; 2],
        along: bool,
        stored: usize,
    ) {
        let value = code.v128_local();
        code.load(row.source.0, number * row.source.1);
        self.centre(code, mean);
        code.get(root).op(I::F32x4Mul);
        for ((pointer, bytes), then) in
            row.affine.into_iter().flatten().zip([I::F32x4Mul, I::F32x4Add])
        {
            match along {
                true => code.load(pointer, number * bytes),
                false => code.load_splat(pointer, number * bytes),
            };
            code.op(then);
        }
        code.set(value);
        code.store_lanes(row.target.0, number * row.target.1, value, stored);
        code.release([value]);
    }
}

fn pointer_to(code: &mut Code, address: Address) -> Local {
    let pointer = code.i32_local();
    code.point(pointer, address);
    pointer
}

impl Kernel for Normal {
    fn describe(&self) -> String {
        if self.centred { "layer norm".into() } else { "rms norm".into() }
    }

    /// The factors and the summands, up to a whole vector.
    fn weights(&self) -> Vec<Vec<u8>> {
        let padded = |numbers: &Vec<f32>| {
            let zeros = numbers.len().next_multiple_of(4) - numbers.len();
            let all = numbers.iter().copied().chain(std::iter::repeat_n(0.0, zeros));
            all.flat_map(f32::to_le_bytes).collect()
        };
        if self.is_affine() { [&self.scale, &self.shift].map(padded).into() } else { Vec::new() }
    }

    /// A row's root is known before its first element is written.
    fn overwrites(&self, _input: usize) -> bool {
        true
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        self.rows.emit_to_rows(code, places, &mut |code, from, to, lanes| {
            self.emit_row(code, places, from, to, lanes);
        });
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        match then {
            Fusion::PerChannel { inner, scale, shift }
                if *inner == self.rows.inner && scale.len() == self.rows.axis =>
            {
                for (at, (factor, summand)) in scale.iter().zip(shift).enumerate() {
                    self.scale[at] *= factor;
                    self.shift[at] = self.shift[at] * factor + summand;
                }
                true
            }
            _ => false,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
