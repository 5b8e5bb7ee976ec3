//! The custom sections of a component that hold its certificate and the data of
//! its golden vectors: how they are found, read, and written.

use wasm_encoder::Encode as _;
use wasmparser::{Encoding, Parser, Payload};

use crate::certificate::Golden;
use crate::{Certificate, CertificateError, Tensor, TensorSpec};

/// The section with the certificate, as JSON.
pub const CERTIFICATE: &str = "leeway:certificate";

/// The section with the golden vectors' data: for each vector its inputs' and
/// then its outputs' bytes, one after the other without padding. Their number,
/// order, types and shapes are those of the certificate.
pub const GOLDEN: &str = "leeway:golden";

/// Bytes that are not a component with a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SectionError {
    /// Not WebAssembly, or truncated, or otherwise malformed.
    #[error("not a WebAssembly component: {0}")]
    Malformed(#[from] wasmparser::BinaryReaderError),
    /// A core module where a component is wanted.
    #[error(
        "a WebAssembly core module, wanted a component: wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// A component without the section.
    #[error("the component has no custom section {CERTIFICATE:?}: build it with `leeway build`")]
    Missing,
    /// More than one section of the same name.
    #[error("the component has more than one custom section {0:?}")]
    Duplicate(&'static str),
    /// A certificate that is not one.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The golden vectors' section is shorter or longer than the certificate says.
    #[error("the golden vectors take {wanted} bytes by the certificate, their section has {seen}")]
    GoldenLength {
        /// By the certificate.
        wanted: usize,
        /// In the section.
        seen: usize,
    },
    /// A golden vector's data is not what its digest in the certificate says.
    #[error("golden vector {vector}: tensor {tensor:?} has not the digest in the certificate")]
    GoldenDigest {
        /// Which vector.
        vector: usize,
        /// Which tensor.
        tensor: String,
    },
}

/// A golden vector with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenVector {
    /// The inputs of the first stage.
    pub inputs: Vec<Tensor>,
    /// The outputs of the last stage.
    pub outputs: Vec<Tensor>,
}

impl GoldenVector {
    fn digests(&self) -> Golden {
        Golden {
            inputs: self.inputs.iter().map(Tensor::digest).collect(),
            outputs: self.outputs.iter().map(Tensor::digest).collect(),
        }
    }
}

/// The bytes of a component's code: the code sections of its core modules, without
/// weights.
pub fn code_bytes(component: &[u8]) -> Result<usize, SectionError> {
    let mut bytes = 0;
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::CodeSectionStart { size, .. } = payload? {
            bytes += size as usize;
        }
    }
    Ok(bytes)
}

/// Reads the certificate of a component.
pub fn read_certificate(component: &[u8]) -> Result<Certificate, SectionError> {
    Ok(Certificate::from_json(certificate_json(component)?)?)
}

/// The bytes of a component's certificate, as they stand in it.
pub fn certificate_json(component: &[u8]) -> Result<&[u8], SectionError> {
    find(component, CERTIFICATE)?.ok_or(SectionError::Missing)
}

/// Reads the golden vectors of a component, and checks their digests.
pub fn read_golden(
    component: &[u8],
    certificate: &Certificate,
) -> Result<Vec<GoldenVector>, SectionError> {
    let section = find(component, GOLDEN)?.unwrap_or_default();
    let bytes_of = |specs: &[TensorSpec]| {
        specs.iter().fold(0usize, |n, s| n.saturating_add(s.size_bytes().unwrap_or(usize::MAX)))
    };
    let per_vector = bytes_of(certificate.inputs()).saturating_add(bytes_of(certificate.outputs()));
    let wanted = per_vector.saturating_mul(certificate.golden.len());
    if section.len() != wanted {
        return Err(SectionError::GoldenLength { wanted, seen: section.len() });
    }

    let mut rest = section;
    let mut vectors = Vec::with_capacity(certificate.golden.len());
    for (vector, golden) in certificate.golden.iter().enumerate() {
        let mut take = |specs: &[TensorSpec], digests: &[crate::Digest]| {
            let mut tensors = Vec::with_capacity(specs.len());
            for (spec, digest) in specs.iter().zip(digests) {
                let (data, tail) = rest.split_at(spec.size_bytes().unwrap_or_default());
                rest = tail;
                let tensor =
                    Tensor { dtype: spec.dtype, shape: spec.shape.clone(), data: data.to_vec() };
                if tensor.digest() != *digest {
                    let tensor = spec.name.clone();
                    return Err(SectionError::GoldenDigest { vector, tensor });
                }
                tensors.push(tensor);
            }
            Ok(tensors)
        };
        let inputs = take(certificate.inputs(), &golden.inputs)?;
        let outputs = take(certificate.outputs(), &golden.outputs)?;
        vectors.push(GoldenVector { inputs, outputs });
    }
    Ok(vectors)
}

/// Appends to a component, which must have neither section yet, its certificate
/// and golden vectors. The vectors' digests are put into the certificate.
pub fn append(component: &mut Vec<u8>, certificate: &mut Certificate, golden: &[GoldenVector]) {
    certificate.golden = golden.iter().map(GoldenVector::digests).collect();
    append_section(component, CERTIFICATE, &certificate.to_json());
    if !golden.is_empty() {
        let mut data = Vec::new();
        for tensor in golden.iter().flat_map(|v| v.inputs.iter().chain(&v.outputs)) {
            data.extend_from_slice(&tensor.data);
        }
        append_section(component, GOLDEN, &data);
    }
}

fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    let section = wasm_encoder::CustomSection { name: name.into(), data: data.into() };
    component.push(0); // the id of a custom section
    section.encode(component);
}

/// The data of the one custom section of this name at the component's own
/// level. Sections of modules and components inside it do not count.
fn find<'a>(component: &'a [u8], name: &'static str) -> Result<Option<&'a [u8]>, SectionError> {
    let mut found = None;
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(SectionError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section)
                if depth == 0
                    && section.name() == name
                    && found.replace(section.data()).is_some() =>
            {
                return Err(SectionError::Duplicate(name));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::tests::example;

    fn component() -> Vec<u8> {
        wasm_encoder::Component::new().finish()
    }

    fn vector(x: f32) -> GoldenVector {
        let tensor = |v: f32| vec![Tensor::from_f32(&[1, 4], &[v; 4])];
        GoldenVector { inputs: tensor(x), outputs: tensor(x + 1.0) }
    }

    #[test]
    fn sections_round_trip() {
        let (mut bytes, mut certificate) = (component(), example());
        let vectors = vec![vector(1.0), vector(2.0)];
        append(&mut bytes, &mut certificate, &vectors);
        assert_eq!(read_certificate(&bytes).unwrap(), certificate);
        assert_eq!(read_golden(&bytes, &certificate).unwrap(), vectors);
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let (mut bytes, mut certificate) = (component(), example());
        let header = bytes.len();
        append(&mut bytes, &mut certificate, &[vector(1.0)]);
        let whole = bytes.len();
        for length in 0..whole {
            let truncated = &bytes[..length];
            let read = read_certificate(truncated)
                .and_then(|certificate| read_golden(truncated, &certificate));
            assert!(read.is_err(), "{length} of {whole} bytes (header {header}) were accepted");
        }
    }

    #[test]
    fn a_flipped_bit_in_a_golden_vector_is_seen() {
        let (mut bytes, mut certificate) = (component(), example());
        append(&mut bytes, &mut certificate, &[vector(1.0)]);
        *bytes.last_mut().unwrap() ^= 1;
        let error = read_golden(&bytes, &certificate).unwrap_err();
        assert!(matches!(error, SectionError::GoldenDigest { vector: 0, .. }), "{error}");
    }

    #[test]
    fn core_modules_and_uncertified_components_are_told_apart() {
        let module = wasm_encoder::Module::new().finish();
        assert!(matches!(read_certificate(&module), Err(SectionError::CoreModule)));
        assert!(matches!(read_certificate(&component()), Err(SectionError::Missing)));
        assert!(matches!(read_certificate(b"\0asm"), Err(SectionError::Malformed(_))));
    }

    #[test]
    fn two_certificates_are_refused() {
        let (mut bytes, mut certificate) = (component(), example());
        append(&mut bytes, &mut certificate, &[]);
        append(&mut bytes, &mut certificate, &[]);
        assert!(matches!(read_certificate(&bytes), Err(SectionError::Duplicate(CERTIFICATE))));
    }
}
