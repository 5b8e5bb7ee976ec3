//! Kernels on 8-bit integers: products are summed in 32 bits, two at a time
//! (`i32x4.dot_i16x8_s`), of operands whose zero points have been subtracted.

pub mod conv;
pub mod dense;
pub mod dynamic;
pub mod matmul;
pub mod mean;
pub mod outcome;
pub mod planes;
pub mod pool;
pub mod product;
pub mod weights;
pub mod widen;
pub mod winograd;
