//! What is checked of a component's bytes before any of it is compiled: its
//! digest, its certificate's claims about the engine, its imports and exports,
//! and the size of its linear memories.

use leeway_contract::{Certificate, EngineClaim, INFERENCE_INTERFACE};
use wasmparser::{BinaryReaderError, ComponentExternalKind, Parser, Payload};

use super::error::LoadError;

/// The size of a page of linear memory where a memory does not say another one.
const PAGE_BYTES: u64 = 65536;

/// Compares what the certificate says of the engine with what the engine is. It
/// may say either of NaNs, and of relaxed SIMD where the engine leaves NaNs alone:
/// there is an engine for each.
pub(super) fn engine_claim(claimed: &EngineClaim, own: &EngineClaim) -> Result<(), LoadError> {
    let claims = [
        ("engine.wasmtime", own.wasmtime.clone(), claimed.wasmtime.clone()),
        ("engine.fuel_table", own.fuel_table.to_string(), claimed.fuel_table.to_string()),
    ];
    if claimed.relaxed_simd && claimed.nan_canonicalization {
        let (wanted, seen) = ("false".into(), "true".into());
        return Err(LoadError::Claim { claim: "engine.relaxed_simd", wanted, seen });
    }
    for (claim, wanted, seen) in claims {
        if wanted != seen {
            return Err(LoadError::Claim { claim, wanted, seen });
        }
    }
    Ok(())
}

/// Checks the component's surface and its memories.
pub(super) fn shape(component: &[u8], certificate: &Certificate) -> Result<(), LoadError> {
    let shape = Shape::read(component).map_err(leeway_contract::SectionError::from)?;
    if let Some(name) = shape.imports.into_iter().next() {
        return Err(LoadError::Import { name });
    }
    let wanted = [(INFERENCE_INTERFACE.to_owned(), ComponentExternalKind::Instance)];
    if shape.exports != wanted {
        let names: Vec<String> = shape.exports.iter().map(|(name, _)| name.clone()).collect();
        let seen = match names.as_slice() {
            [] => "no exports".to_owned(),
            [name] if name == INFERENCE_INTERFACE => format!("{name:?}, which is no interface"),
            _ => format!("{names:?}"),
        };
        return Err(LoadError::Export { wanted: INFERENCE_INTERFACE, seen });
    }
    if shape.memory_bytes > certificate.memory_bytes {
        return Err(LoadError::Memory {
            certified_bytes: certificate.memory_bytes,
            declared_bytes: shape.memory_bytes,
        });
    }
    Ok(())
}

/// How many memories a component's core modules define.
pub(super) fn memories(component: &[u8]) -> usize {
    Shape::read(component).map_or(0, |shape| shape.memories)
}

/// What a component's sections say.
#[derive(Default)]
struct Shape {
    imports: Vec<String>,
    exports: Vec<(String, ComponentExternalKind)>,
    /// The initial size of all memories that its core modules define. A module
    /// that is instantiated twice counts once here; the limit at run time
    /// counts instances.
    memory_bytes: u64,
    memories: usize,
}

impl Shape {
    fn read(component: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut shape = Self::default();
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        shape.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export?;
                        shape.exports.push((export.name.name.to_owned(), export.kind));
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory?;
                        shape.memories += 1;
                        let page = match memory.page_size_log2 {
                            Some(log2) => 1u64.checked_shl(log2).unwrap_or(u64::MAX),
                            None => PAGE_BYTES,
                        };
                        let bytes = memory.initial.saturating_mul(page);
                        shape.memory_bytes = shape.memory_bytes.saturating_add(bytes);
                    }
                }
                _ => {}
            }
        }
        Ok(shape)
    }
}
