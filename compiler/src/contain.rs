//! Panics turned into errors: on a corrupt model, tract may panic where it should
//! not, and so may we.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::CompileError;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread becomes an error: a program's panic hook need
/// not report it.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// Runs what reads a model that may be corrupt: a panic says that it is.
pub fn reading<T>(
    file: &str,
    read: impl FnOnce() -> Result<T, CompileError>,
) -> Result<T, CompileError> {
    contained(read).unwrap_or_else(|panic| {
        let reason = format!("the reader gave up: {panic}");
        Err(CompileError::Invalid { file: file.into(), reason })
    })
}

/// Runs what compiles a model that was read: a panic is our own defect.
pub fn compiling<T>(
    file: &str,
    compile: impl FnOnce() -> Result<T, CompileError>,
) -> Result<T, CompileError> {
    contained(compile)
        .unwrap_or_else(|reason| Err(CompileError::Defect { file: file.into(), reason }))
}

/// What `run` gives, or what it said when it panicked.
fn contained<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CONTAINED.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic that says nothing").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_what_is_contained_in_another_stays_so() {
        let result = compiling::<()>("m.onnx", || {
            reading("m.onnx", || Ok(())).unwrap();
            assert!(is_contained());
            panic!("no such place")
        });
        assert!(!is_contained());
        let error = result.unwrap_err();
        assert_eq!(
            error.to_string(),
            "m.onnx: defect in the compiler, please report it: no such place"
        );
        let error = reading::<()>("m.onnx", || panic!("no such axis: {}", 7)).unwrap_err();
        assert!(error.to_string().ends_with("the reader gave up: no such axis: 7"), "{error}");
    }
}
