//! Pre-initialisation: a core module is started, something is done in it, and it
//! becomes a module whose memory starts as that left it (the technique of Wizer,
//! N. Fitzgerald, 2019).

use wasm_encoder::{
    ConstExpr, DataSection, ExportKind, ExportSection, MemorySection, MemoryType, Module,
    RawSection,
};
use wasmparser::{Encoding, ExternalKind, Parser, Payload};

use crate::error::InterpretError;

/// The exports with which the builder puts a model in. A component has not got
/// them.
const ALLOCATE: &str = "leeway-allocate";
const INITIALISE: &str = "leeway-initialise";

/// The size of a page of linear memory.
const PAGE_BYTES: usize = 65536;

/// Zeros between two pieces of data that are shorter than this are written out:
/// a data segment of its own takes about as much.
const SHORTEST_GAP: usize = 64;

/// Puts a model into a guest: the guest reads it, and its memory is kept.
pub fn with_model(guest: &[u8], model: &[u8]) -> Result<Vec<u8>, InterpretError> {
    rewrite(guest, &initialised(guest, model)?)
}

/// The guest's memory after it has read the model.
fn initialised(guest: &[u8], model: &[u8]) -> Result<Vec<u8>, InterpretError> {
    let engine = |error: wasmtime::Error| InterpretError::Guest(format!("{error:#}"));
    let mut config = wasmtime::Config::new();
    // As in the sandbox, where the memory is used again. The code runs once.
    config
        .wasm_relaxed_simd(false)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(wasmtime::OptLevel::None);
    let host = wasmtime::Engine::new(&config).map_err(engine)?;
    let module = wasmtime::Module::from_binary(&host, guest).map_err(engine)?;
    let mut store = wasmtime::Store::new(&host, ());
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).map_err(engine)?;
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| InterpretError::Guest("it exports no memory".into()))?;
    let allocate = instance.get_typed_func::<u32, u32>(&mut store, ALLOCATE).map_err(engine)?;
    let initialise =
        instance.get_typed_func::<(u32, u32), u64>(&mut store, INITIALISE).map_err(engine)?;

    let too_large = |_| InterpretError::TooLarge { bytes: model.len() };
    let length = u32::try_from(model.len()).map_err(too_large)?;
    let trapped = |error: wasmtime::Error| InterpretError::Trapped(trap(&error));
    let address = allocate.call(&mut store, length).map_err(trapped)?;
    memory
        .write(&mut store, address as usize, model)
        .map_err(|error| InterpretError::Guest(error.to_string()))?;
    let refused = initialise.call(&mut store, (address, length)).map_err(trapped)?;
    if refused != 0 {
        let (start, length) = ((refused >> 32) as usize, refused as u32 as usize);
        let message = memory.data(&store).get(start..start.saturating_add(length));
        let message = String::from_utf8_lossy(message.unwrap_or_default()).into_owned();
        return Err(InterpretError::Refused(message));
    }
    Ok(memory.data(&store).to_vec())
}

/// What a trap was, in one line.
fn trap(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}"),
    }
}

/// The module with this memory, and without what was needed to get there.
fn rewrite(guest: &[u8], memory: &[u8]) -> Result<Vec<u8>, InterpretError> {
    let malformed = |error: &dyn std::fmt::Display| InterpretError::Guest(error.to_string());
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(guest) {
        let payload = payload.map_err(|error| malformed(&error))?;
        match &payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(InterpretError::Guest("it is no core module".into()));
            }
            Payload::MemorySection(_) => {
                let minimum = (memory.len() / PAGE_BYTES) as u64;
                module.section(MemorySection::new().memory(MemoryType {
                    minimum,
                    maximum: None,
                    memory64: false,
                    shared: false,
                    page_size_log2: None,
                }));
            }
            Payload::ExportSection(exports) => {
                module.section(&kept_exports(exports.clone())?);
            }
            Payload::DataCountSection { .. } | Payload::StartSection { .. } => {}
            Payload::DataSection(_) => {
                module.section(&segments(memory));
            }
            Payload::CustomSection(section) if !section.name().starts_with("component-type") => {}
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection { id, data: &guest[range] });
                }
            }
        }
    }
    Ok(module.finish())
}

fn kept_exports(
    exports: wasmparser::ExportSectionReader<'_>,
) -> Result<ExportSection, InterpretError> {
    let mut kept = ExportSection::new();
    for export in exports {
        let export = export.map_err(|error| InterpretError::Guest(error.to_string()))?;
        match export.kind {
            ExternalKind::Func if ![ALLOCATE, INITIALISE].contains(&export.name) => {
                kept.export(export.name, ExportKind::Func, export.index);
            }
            ExternalKind::Memory => {
                kept.export(export.name, ExportKind::Memory, export.index);
            }
            _ => {}
        }
    }
    Ok(kept)
}

/// A data segment for each piece of the memory that is not zero.
fn segments(memory: &[u8]) -> DataSection {
    let mut section = DataSection::new();
    let mut rest = 0;
    while let Some(start) = memory[rest..].iter().position(|&byte| byte != 0) {
        let start = rest + start;
        let mut end = start;
        let mut at = start;
        while at < memory.len() && at - end <= SHORTEST_GAP {
            if memory[at] != 0 {
                end = at;
            }
            at += 1;
        }
        let data = memory[start..=end].iter().copied();
        section.active(0, &ConstExpr::i32_const(start as i32), data);
        rest = end + 1;
    }
    section
}
