//! The data of a module, put into a finished component.
//!
//! wit-component parses, copies and validates a module several times, which takes
//! time and memory for the weights too. So it gets a module without them, and they
//! are written once, into their section of the module inside the component.

use wasm_encoder::{ConstExpr, Encode as _, SectionId};
use wasmparser::{BinaryReaderError, Parser, Payload};

use crate::plan::Segment;

/// The component with these segments in its only core module, which has a code
/// section and no data section.
pub fn insert(component: &[u8], segments: &[&Segment]) -> Result<Vec<u8>, BinaryReaderError> {
    let (mut module, mut code_end) = (0..0, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { unchecked_range, .. } => module = unchecked_range,
            Payload::CodeSectionStart { range, .. } => code_end = range.end,
            _ => {}
        }
    }
    let count = leb128(segments.len());
    let heads: Vec<Vec<u8>> = segments.iter().map(|segment| head(segment)).collect();
    let of_segments = heads.iter().zip(segments).map(|(head, s)| head.len() + s.bytes.len());
    let content_bytes = count.len() + of_segments.sum::<usize>();
    let size = leb128(content_bytes);
    let section_bytes = 1 + size.len() + content_bytes;

    let before = module.start - leb128(module.len()).len();
    let mut whole = Vec::with_capacity(component.len() + section_bytes + 5);
    whole.extend(&component[..before]);
    whole.extend(leb128(module.len() + section_bytes));
    whole.extend(&component[module.start..code_end]);
    whole.push(SectionId::Data as u8);
    whole.extend(size);
    whole.extend(count);
    for (head, segment) in heads.iter().zip(segments) {
        whole.extend(head);
        whole.extend(&segment.bytes);
    }
    whole.extend(&component[code_end..]);
    Ok(whole)
}

/// What is before the bytes of an active segment.
fn head(segment: &Segment) -> Vec<u8> {
    // Active, of memory 0.
    let mut head = vec![0];
    ConstExpr::i32_const(segment.address as i32).encode(&mut head);
    segment.bytes.len().encode(&mut head);
    head
}

fn leb128(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    number.encode(&mut bytes);
    bytes
}
