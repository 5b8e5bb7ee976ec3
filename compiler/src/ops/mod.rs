//! The operators: one file each, which turns a node of tract's typed graph into
//! steps. To add one, write its file and add it to [`OPERATORS`].

use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::lower::Lowering;

mod axis;
mod binary;
mod broadcast;
mod cast;
mod concat;
mod contract;
mod conv;
mod conv_computed;
mod cumsum;
mod deconv;
mod distances;
mod downsample;
mod einsum;
mod elementwise;
mod fourier;
mod gather;
mod grid_sample;
mod gru_seq;
pub mod half;
mod identity;
mod lrn;
mod mask;
mod norm;
mod pad;
mod padded;
mod pool;
mod quantised;
mod recurrent;
mod reduce;
mod resize;
mod scan;
mod scatter;
mod select;
mod slice;
mod softmax;
mod tile;
mod top_k;
mod trees;
mod unary;
mod volumes;
mod windows;

/// Lowers a node, or returns `None` if it is of another operator.
pub type Operator = fn(&mut Lowering, &TypedNode) -> Option<Result<(), CompileError>>;

/// All operators, in the order in which they are asked.
pub const OPERATORS: &[Operator] = &[
    axis::lower,
    binary::lower,
    broadcast::lower,
    cast::lower,
    concat::lower,
    conv::lower,
    cumsum::lower,
    deconv::lower,
    distances::lower,
    distances::lower_coupling,
    downsample::lower,
    einsum::lower,
    fourier::lower_dft,
    fourier::lower_stft,
    gather::lower,
    gather::lower_elements,
    grid_sample::lower,
    identity::lower,
    gru_seq::lower,
    lrn::lower,
    mask::lower_one_hot,
    mask::lower_trilu,
    norm::lower,
    pad::lower,
    padded::lower_non_zero,
    padded::lower_suppression,
    pool::lower_max,
    pool::lower_sum,
    quantised::lower_conv,
    quantised::lower_dequantize,
    quantised::lower_dynamic,
    quantised::lower_matmul,
    quantised::lower_mean,
    quantised::lower_quantize,
    recurrent::lower_gru,
    recurrent::lower_lstm,
    reduce::lower,
    resize::lower,
    scan::lower,
    scatter::lower_elements,
    scatter::lower_gather_nd,
    scatter::lower_nd,
    select::lower,
    slice::lower,
    softmax::lower,
    tile::lower,
    top_k::lower,
    trees::lower,
    unary::lower,
    windows::lower_indices,
];
