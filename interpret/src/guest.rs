//! The prebuilt guests, as they are committed: core modules without imports.
//! `guest-models/guests/build` makes them.

use std::io::Read as _;

use flate2::read::GzDecoder;

const INTERPRETER: &[u8] = include_bytes!("../../guest-models/prebuilt/interpreter.wasm.gz");
const VIBRATION: &[u8] = include_bytes!("../../guest-models/prebuilt/vibration.wasm.gz");

/// The SHA-256 digests of the prebuilt modules, as `sha256sum` writes them.
const DIGESTS: &str = include_str!("../../guest-models/prebuilt/SHA256SUMS");

/// The release of tract in the guest.
pub const TRACT: &str = "0.23.9";

/// The interpreter's module, with no model in it.
pub fn interpreter() -> Vec<u8> {
    decompressed(INTERPRETER)
}

/// The hand-written example's module.
pub fn vibration() -> Vec<u8> {
    decompressed(VIBRATION)
}

/// The digest that is recorded for a guest's module, in hexadecimal digits.
pub fn recorded_digest(guest: &str) -> &'static str {
    let line = DIGESTS.lines().find(|line| line.ends_with(&format!(" {guest}.wasm")));
    line.and_then(|line| line.split(' ').next()).unwrap_or_default()
}

fn decompressed(guest: &[u8]) -> Vec<u8> {
    let mut module = Vec::new();
    let read = GzDecoder::new(guest).read_to_end(&mut module);
    read.expect("the embedded guests decompress, which a test holds");
    module
}

#[cfg(test)]
mod tests {
    use super::*;
    use leeway_contract::Digest;
    use wasmparser::{Parser, Payload, Validator, WasmFeatures};

    #[test]
    fn the_guests_have_the_recorded_digests() {
        assert_eq!(Digest::of(&interpreter()).to_hex(), recorded_digest("interpreter"));
        assert_eq!(Digest::of(&vibration()).to_hex(), recorded_digest("vibration"));
    }

    #[test]
    fn the_guests_import_nothing_and_need_no_relaxed_simd() {
        for module in [interpreter(), vibration()] {
            let imports = Parser::new(0)
                .parse_all(&module)
                .any(|payload| matches!(payload.expect("it parses"), Payload::ImportSection(_)));
            assert!(!imports);
            let features = WasmFeatures::default().difference(WasmFeatures::RELAXED_SIMD);
            Validator::new_with_features(features).validate_all(&module).expect("it is valid");
        }
    }

    #[test]
    fn the_release_of_tract_is_the_one_that_is_locked() {
        let lock = include_str!("../../guest-models/guests/Cargo.lock");
        assert!(lock.contains(&format!("name = \"tract-core\"\nversion = \"{TRACT}\"")));
        let own = include_str!("../../Cargo.lock");
        assert!(own.contains(&format!("name = \"tract-core\"\nversion = \"{TRACT}\"")));
    }
}
