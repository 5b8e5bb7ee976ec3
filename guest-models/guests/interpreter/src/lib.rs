//! The guest of `leeway build --interpret`: tract in WebAssembly, without imports.
//!
//! It is instantiated once, when a component is built. The builder writes the
//! model (an NNEF archive) into its memory and calls `leeway-initialise`, which
//! reads and optimises it. Then the builder keeps the memory as it is: that image
//! is the component's, and each instance starts with a model that is ready to run.

mod memory;
mod model;
mod random;

use std::sync::OnceLock;

use exports::leeway::model::inference::{Error, Guest, Tensor};
use model::Model;

wit_bindgen::generate!({ path: "../../../wit/model.wit", world: "model" });

struct Interpreter;

export!(Interpreter);

static MODEL: OnceLock<Model> = OnceLock::new();

impl Guest for Interpreter {
    fn stage_count() -> u32 {
        1
    }

    fn run(first: u32, last: u32, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        if (first, last) != (0, 0) {
            let seen = format!("stages {first}..={last} were wanted, the model has only stage 0");
            return Err(Error::InvalidRange(seen));
        }
        let model = MODEL.get().ok_or_else(|| {
            Error::Failed("no model in this guest: put one in with leeway build --interpret".into())
        })?;
        model.run(inputs)
    }
}

/// Memory for the model's bytes, which `leeway-initialise` takes over.
#[unsafe(export_name = "leeway-allocate")]
extern "C" fn allocate(length: usize) -> *mut u8 {
    Box::into_raw(vec![0u8; length].into_boxed_slice()).cast()
}

/// Reads the model that the builder wrote. 0, or the address of a message in the
/// upper half and its length in the lower half.
///
/// # Safety
/// `model` must be what `leeway-allocate` returned for `length`, and be passed once.
#[unsafe(export_name = "leeway-initialise")]
unsafe extern "C" fn initialise(model: *mut u8, length: usize) -> u64 {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: the linker's function, which runs the constructors that register
    // tract's kernels. Because it is called here, the linker calls it nowhere
    // else; because this function is called once, so is that one.
    unsafe { __wasm_call_ctors() };
    // SAFETY: by this function's contract it is a boxed slice of that length.
    let archive = unsafe { Vec::from_raw_parts(model, length, length) };
    let read = Model::read(&archive);
    drop(archive);
    let result = match read {
        Ok(read) => {
            let _ = MODEL.set(read);
            0
        }
        Err(message) => {
            let message: &'static str = message.leak();
            (message.as_ptr() as u64) << 32 | message.len() as u64
        }
    };
    memory::keep();
    result
}
