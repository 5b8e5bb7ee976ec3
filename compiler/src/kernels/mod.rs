//! The kernels: work on tensors, and how it is emitted. A kernel knows shapes,
//! strides and addresses, and nothing of graphs.

pub mod argument;
pub mod conv;
pub mod copy;
pub mod coupling;
pub mod cumulate;
pub mod dense;
pub mod depthwise;
pub mod distances;
pub mod gather;
pub mod integer_fold;
pub mod integers;
pub mod map;
pub mod matmul;
pub mod planes;
pub mod pool;
pub mod product;
pub mod quantised;
pub mod resample;
pub mod rows;
pub mod tile;
pub mod tree_records;
pub mod trees;
pub mod winograd;
