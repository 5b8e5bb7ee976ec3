//! What the whole-system tests share: ONNX models made on the spot, random
//! tensors, and the comparison of a component with native tract.

pub mod architectures;
pub mod compare;
pub mod decision;
pub mod forests;
pub mod mutate;
pub mod onnx;
pub mod random;
pub mod swaps;
