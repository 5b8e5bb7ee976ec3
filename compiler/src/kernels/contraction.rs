//! The `contraction` kernel: sums of products over any axes of any number of
//! operands, one element of the output at a time. It does what the matrix kernels do
//! not: FP64, integers, repeated axes, one or three operands.

use std::any::Any;

use leeway_contract::DType;
use wasm_encoder::{Instruction as I, ValType};

use super::integers;
use crate::emit::code::{Code, at};
use crate::emit::nest::{self, dense_strides};
use crate::schedule::{Kernel, Places};

/// `out[i] = sum over j of operand_0[i, j] * operand_1[i, j] * ...`
#[derive(Clone, Debug)]
pub struct Contraction {
    /// The type of all tensors: FP32, FP64 or an integer type.
    pub dtype: DType,
    /// The sizes of the output's axes.
    pub shape: Vec<usize>,
    /// The sizes of the axes that are summed over.
    pub summed: Vec<usize>,
    /// For each operand, how far each axis moves in it, in elements: those of the
    /// output, and then those summed over.
    pub strides: Vec<Vec<usize>>,
}

/// The numbers that products and sums are computed in.
struct Arithmetic {
    kind: ValType,
    zero: I<'static>,
    multiply: I<'static>,
    add: I<'static>,
}

impl Contraction {
    /// The types that it has.
    pub fn supports(dtype: DType) -> bool {
        !matches!(dtype, DType::F16 | DType::BF16 | DType::Bool)
    }

    fn arithmetic(&self) -> Arithmetic {
        match self.dtype {
            DType::F32 => Arithmetic {
                kind: ValType::F32,
                zero: I::F32Const(0.0.into()),
                multiply: I::F32Mul,
                add: I::F32Add,
            },
            DType::F64 => Arithmetic {
                kind: ValType::F64,
                zero: I::F64Const(0.0.into()),
                multiply: I::F64Mul,
                add: I::F64Add,
            },
            _ => Arithmetic {
                kind: ValType::I64,
                zero: I::I64Const(0),
                multiply: I::I64Mul,
                add: I::I64Add,
            },
        }
    }

    /// Replaces an address by the element there.
    fn load(&self, code: &mut Code) {
        match self.dtype {
            DType::F32 => drop(code.op(I::F32Load(at(0, 0)))),
            DType::F64 => drop(code.op(I::F64Load(at(0, 0)))),
            dtype => integers::load(code, dtype),
        }
    }

    /// Pops an element and stores it at the address below it.
    fn store(&self, code: &mut Code) {
        match self.dtype {
            DType::F32 => drop(code.op(I::F32Store(at(0, 0)))),
            DType::F64 => drop(code.op(I::F64Store(at(0, 0)))),
            dtype => integers::store(code, dtype),
        }
    }
}

impl Kernel for Contraction {
    fn describe(&self) -> String {
        format!("contraction of {}", self.strides.len())
    }

    fn macs(&self) -> u64 {
        self.shape.iter().chain(&self.summed).map(|&size| size as u64).product()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let arithmetic = self.arithmetic();
        let size = self.dtype.size_bytes();
        let outer = self.shape.len();
        let pointers: Vec<_> = std::iter::once(places.outputs[0])
            .chain(places.inputs.iter().copied())
            .map(|address| {
                let pointer = code.i32_local();
                code.point(pointer, address);
                pointer
            })
            .collect();
        let out_strides = dense_strides(&self.shape);
        let mut of_output: Vec<&[usize]> = vec![&out_strides];
        of_output.extend(self.strides.iter().map(|strides| &strides[..outer]));
        let of_sums: Vec<&[usize]> = self.strides.iter().map(|s| &s[outer..]).collect();
        let (dims, sums) =
            (nest::collapse(&self.shape, &of_output), nest::collapse(&self.summed, &of_sums));
        let sizes = vec![size; pointers.len()];
        let sum = code.local(arithmetic.kind);
        nest::emit_loops(code, &dims, &pointers, &sizes, &mut |code| {
            code.op(arithmetic.zero.clone()).set(sum);
            let operands = &pointers[1..];
            let moved = nest::emit_loops(code, &sums, operands, &sizes[1..], &mut |code| {
                code.get(sum);
                for (i, &operand) in operands.iter().enumerate() {
                    code.get(operand);
                    self.load(code);
                    if i > 0 {
                        code.op(arithmetic.multiply.clone());
                    }
                }
                code.op(arithmetic.add.clone()).set(sum);
            });
            for (&operand, moved) in operands.iter().zip(moved) {
                code.advance(operand, -moved);
            }
            code.get(pointers[0]).get(sum);
            self.store(code);
        });
        code.release(pointers);
        code.release([sum]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
