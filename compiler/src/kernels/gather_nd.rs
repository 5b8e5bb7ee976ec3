//! The `gather nd` kernel: blocks of elements of any type, each from where several
//! indices together say.

use std::any::Any;

use leeway_contract::DType;

use super::copy::copy_bytes;
use super::indices::{self, Component};
use crate::emit::code::Code;
use crate::schedule::{Kernel, Places};

/// `out[b][i] = data[b][indices[b][i]]`, in blocks.
#[derive(Clone, Debug)]
pub struct GatherNd {
    /// The number of batches, which indices do not reach across.
    pub batches: usize,
    /// The number of blocks of each.
    pub blocks: usize,
    /// The type of the indices, an integer's.
    pub index_dtype: DType,
    /// The indices that name a block.
    pub components: Vec<Component>,
    /// The size of a batch of the data.
    pub batch_bytes: usize,
    /// The size of a block.
    pub block_bytes: usize,
}

impl Kernel for GatherNd {
    fn describe(&self) -> String {
        "gather nd".into()
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        let [to, data, index, from] = std::array::from_fn(|_| code.i32_local());
        code.point(to, places.outputs[0]);
        code.point(data, places.inputs[0]);
        code.point(index, places.inputs[1]);
        let index_bytes = self.components.len() * self.index_dtype.size_bytes();
        code.repeat(self.batches, |code| {
            code.repeat(self.blocks, |code| {
                let dtype = self.index_dtype;
                indices::emit_address(code, from, data, index, dtype, &self.components);
                copy_bytes(code, from, to, self.block_bytes);
                code.advance(to, self.block_bytes as i64);
                code.advance(index, index_bytes as i64);
            });
            code.advance(data, self.batch_bytes as i64);
        });
        code.release([to, data, index, from]);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
