//! Where tract asks for randomness (operators without a seed), it gets the same
//! bytes each time: a call gives the same result again, on every machine.

/// The function that `getrandom` calls when it is built with
/// `--cfg getrandom_backend="custom"`.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    buffer: *mut u8,
    length: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: by this function's contract.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    // Xorshift (Marsaglia, 2003), from its first seed.
    let mut state = 2_463_534_242u32;
    for byte in buffer {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = state as u8;
    }
    Ok(())
}
