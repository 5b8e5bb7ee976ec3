//! Any bytes as an ONNX model: an error or a component with a certificate that
//! can be read.

#![no_main]

use std::sync::Once;

use leeway_compiler::{CompileError, Options, compile};
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // libFuzzer's hook ends the process at a panic; the reader's are errors.
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !leeway_compiler::contain::is_contained() {
                usual(info);
            }
        }));
    });
    let options = Options { name: "fuzz".into(), file: "fuzz.onnx".into(), ..Options::default() };
    match compile(bytes, &options) {
        Ok(compiled) => {
            let sealed = compiled.seal(&[]);
            leeway_contract::section::read_certificate(&sealed.component)
                .expect("a certificate of our own");
        }
        Err(error @ (CompileError::Cost { .. } | CompileError::Defect { .. })) => {
            panic!("{error}")
        }
        Err(_) => {}
    }
});
