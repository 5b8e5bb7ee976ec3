//! Any bytes as a component: its certificate and golden vectors, or an error. And
//! any bytes as the certificate of a component.

#![no_main]

use leeway_contract::{Certificate, section};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = section::read_certificate(bytes) {
        let _ = section::read_golden(bytes, &certificate);
    }
    if let Ok(certificate) = Certificate::from_json(bytes) {
        let _ = certificate.total_fuel();
        let _ = certificate.macs();
        let _ = certificate.bound();
        // The golden vectors' section is missing, or is these bytes.
        let _ = section::read_golden(EMPTY_COMPONENT, &certificate);
        let json = certificate.to_json();
        assert_eq!(Certificate::from_json(&json).expect("what was just written"), certificate);
    }
});

const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
