//! The `coupling` kernel: the probabilities of classes from those of pairs (see
//! [`crate::ml::coupling`]), a row at a time.
//!
//! The iteration ends where its error is small enough. Here all rows take all
//! iterations, of which those after the end change nothing.

use std::any::Any;

use wasm_encoder::{Instruction as I, ValType};

use crate::emit::code::{Address, Code, Local, at};
use crate::ml::coupling::{ITERATIONS, tolerance};
use crate::schedule::{Kernel, Places};

/// `out[row][class]` from `in[row][pair]`.
#[derive(Clone, Debug)]
pub struct Coupling {
    /// The number of rows.
    pub rows: usize,
    /// The number of classes.
    pub classes: usize,
}

impl Kernel for Coupling {
    fn describe(&self) -> String {
        format!("coupling of {} classes", self.classes)
    }

    fn scratch_bytes(&self) -> usize {
        // r and q, and q p.
        4 * (2 * self.classes * self.classes + self.classes)
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let k = self.classes;
        let matrix_bytes = (4 * k * k) as u32;
        let memory = Memory {
            pair: code.i32_local(),
            p: code.i32_local(),
            r: places.scratch,
            q: places.scratch.plus(matrix_bytes),
            qp: places.scratch.plus(2 * matrix_bytes),
        };
        code.point(memory.pair, places.inputs[0]);
        code.point(memory.p, places.outputs[0]);
        code.repeat(self.rows, |code| {
            self.emit_pairs(code, &memory);
            self.emit_matrix(code, &memory);
            self.emit_iterations(code, &memory);
            code.advance(memory.p, 4 * k as i64);
        });
        code.release([memory.pair, memory.p]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where the numbers of a row are.
struct Memory {
    /// The next probability of a pair.
    pair: Local,
    /// The probabilities of the classes.
    p: Local,
    /// Of each pair, both ways: the probability of the first against the second.
    r: Address,
    q: Address,
    qp: Address,
}

fn load(code: &mut Code, address: Local, offset: usize) {
    code.get(address).op(I::F32Load(at(offset as u64, 0)));
}

impl Coupling {
    /// Emits `r` from the probabilities of the pairs, and moves past them.
    fn emit_pairs(&self, code: &mut Code, memory: &Memory) {
        let k = self.classes;
        let (right, below) = (code.i32_local(), code.i32_local());
        for i in 0..k - 1 {
            code.point(right, memory.r.plus((4 * (i * k + i + 1)) as u32));
            code.point(below, memory.r.plus((4 * ((i + 1) * k + i)) as u32));
            code.repeat(k - 1 - i, |code| {
                code.get(right);
                load(code, memory.pair, 0);
                code.op(I::F32Store(at(0, 0)));
                code.get(below).f32(1.0);
                load(code, memory.pair, 0);
                code.op(I::F32Sub).op(I::F32Store(at(0, 0)));
                code.advance(memory.pair, 4);
                code.advance(right, 4);
                code.advance(below, 4 * k as i64);
            });
        }
        code.release([right, below]);
    }

    /// Emits `q[i][j] = -r[j][i] r[i][j]`, `q[i][i]` = the sum of `r[j][i]^2`, and
    /// equal probabilities to begin with.
    fn emit_matrix(&self, code: &mut Code, memory: &Memory) {
        let k = self.classes;
        let [row, column, q, p] = std::array::from_fn(|_| code.i32_local());
        let sum = code.local(ValType::F32);
        code.copy(p, memory.p);
        for i in 0..k {
            code.f32(0.0).set(sum);
            code.point(row, memory.r.plus((4 * i * k) as u32));
            code.point(column, memory.r.plus((4 * i) as u32));
            code.point(q, memory.q.plus((4 * i * k) as u32));
            let emit = |code: &mut Code, count: usize| {
                code.repeat(count, |code| {
                    code.get(sum);
                    load(code, column, 0);
                    load(code, column, 0);
                    code.op(I::F32Mul).op(I::F32Add).set(sum);
                    code.get(q);
                    load(code, column, 0);
                    code.op(I::F32Neg);
                    load(code, row, 0);
                    code.op(I::F32Mul).op(I::F32Store(at(0, 0)));
                    code.advance(row, 4);
                    code.advance(column, 4 * k as i64);
                    code.advance(q, 4);
                });
            };
            emit(code, i);
            code.advance(row, 4);
            code.advance(column, 4 * k as i64);
            code.advance(q, 4);
            emit(code, k - 1 - i);
            code.point(q, memory.q.plus((4 * (i * k + i)) as u32));
            code.get(q).get(sum).op(I::F32Store(at(0, 0)));
            code.get(p).f32(1.0 / k as f32).op(I::F32Store(at((4 * i) as u64, 0)));
        }
        code.release([row, column, q, p, sum]);
    }

    fn emit_iterations(&self, code: &mut Code, memory: &Memory) {
        let done = code.i32_local();
        let pqp = code.local(ValType::F32);
        code.assign(done, 0);
        code.repeat(ITERATIONS, |code| {
            self.emit_product(code, memory, pqp);
            self.emit_error(code, memory, pqp, done);
            self.emit_update(code, memory, pqp, done);
        });
        code.release([done, pqp]);
    }

    /// Emits `qp = q p` and `pqp = p q p`.
    fn emit_product(&self, code: &mut Code, memory: &Memory, pqp: Local) {
        let k = self.classes;
        let [q, qp, p, of_i] = std::array::from_fn(|_| code.i32_local());
        let sum = code.local(ValType::F32);
        code.f32(0.0).set(pqp);
        code.point(q, memory.q);
        code.point(qp, memory.qp);
        code.copy(of_i, memory.p);
        code.repeat(k, |code| {
            code.f32(0.0).set(sum);
            code.copy(p, memory.p);
            code.repeat(k, |code| {
                code.get(sum);
                load(code, q, 0);
                load(code, p, 0);
                code.op(I::F32Mul).op(I::F32Add).set(sum);
                code.advance(q, 4);
                code.advance(p, 4);
            });
            code.get(qp).get(sum).op(I::F32Store(at(0, 0)));
            code.get(pqp);
            load(code, of_i, 0);
            code.get(sum).op(I::F32Mul).op(I::F32Add).set(pqp);
            code.advance(qp, 4);
            code.advance(of_i, 4);
        });
        code.release([q, qp, p, of_i, sum]);
    }

    /// Sets `done` where the largest difference of `qp` from `pqp` is small.
    fn emit_error(&self, code: &mut Code, memory: &Memory, pqp: Local, done: Local) {
        let qp = code.i32_local();
        let (error, most) = (code.local(ValType::F32), code.local(ValType::F32));
        code.f32(0.0).set(most);
        code.point(qp, memory.qp);
        code.repeat(self.classes, |code| {
            load(code, qp, 0);
            code.get(pqp).op(I::F32Sub).op(I::F32Abs).tee(error).get(most);
            // A NaN is not larger.
            code.get(error).get(most).op(I::F32Gt).op(I::Select).set(most);
            code.advance(qp, 4);
        });
        code.get(most).f32(tolerance(self.classes)).op(I::F32Lt).get(done).op(I::I32Or).set(done);
        code.release([qp, error, most]);
    }

    /// Emits a step for each class, of nothing where it is done.
    fn emit_update(&self, code: &mut Code, memory: &Memory, pqp: Local, done: Local) {
        let k = self.classes;
        let [q, qp, p, of_i, qp_of_i, diagonal] = std::array::from_fn(|_| code.i32_local());
        let [step, scale] = std::array::from_fn(|_| code.local(ValType::F32));
        code.point(q, memory.q);
        code.point(diagonal, memory.q);
        code.point(qp_of_i, memory.qp);
        code.copy(of_i, memory.p);
        code.repeat(k, |code| {
            code.f32(0.0).get(pqp);
            load(code, qp_of_i, 0);
            code.op(I::F32Sub);
            load(code, diagonal, 0);
            code.op(I::F32Div).get(done).op(I::Select).set(step);
            code.get(of_i);
            load(code, of_i, 0);
            code.get(step).op(I::F32Add).op(I::F32Store(at(0, 0)));
            code.get(step).f32(1.0).op(I::F32Add).set(scale);
            // (pqp + step (step q[i][i] + 2 qp[i])) / scale / scale
            code.get(pqp).get(step).get(step);
            load(code, diagonal, 0);
            code.op(I::F32Mul).f32(2.0);
            load(code, qp_of_i, 0);
            code.op(I::F32Mul).op(I::F32Add).op(I::F32Mul).op(I::F32Add);
            code.get(scale).op(I::F32Div).get(scale).op(I::F32Div).set(pqp);
            code.point(qp, memory.qp);
            code.copy(p, memory.p);
            code.repeat(k, |code| {
                code.get(qp);
                load(code, qp, 0);
                code.get(step);
                load(code, q, 0);
                code.op(I::F32Mul).op(I::F32Add).get(scale).op(I::F32Div);
                code.op(I::F32Store(at(0, 0))).get(p);
                load(code, p, 0);
                code.get(scale).op(I::F32Div).op(I::F32Store(at(0, 0)));
                code.advance(q, 4);
                code.advance(qp, 4);
                code.advance(p, 4);
            });
            code.advance(diagonal, 4 * (k as i64 + 1));
            code.advance(qp_of_i, 4);
            code.advance(of_i, 4);
        });
        code.release([q, qp, p, of_i, qp_of_i, diagonal, step, scale]);
    }
}
