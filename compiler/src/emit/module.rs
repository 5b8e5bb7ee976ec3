//! A core module under construction: functions with their costs, data, exports.

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, MemorySection, MemoryType, Module, NameMap, NameSection, TypeSection, ValType,
};

use super::code::Code;
use crate::cost::{CostError, FunctionCost, function_cost};
use crate::plan::{PAGE, Segment};

/// The index of a function in its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionIndex(pub u32);

/// Functions in the order of their indices: callees before callers.
#[derive(Default)]
pub struct Functions {
    signatures: Vec<(u32, bool)>,
    bodies: Vec<Vec<u8>>,
    costs: Vec<FunctionCost>,
    names: Vec<String>,
    exports: Vec<(String, FunctionIndex)>,
}

impl Functions {
    /// Adds a function with this many `i32` parameters and an `i32` result or
    /// none, and counts its cost.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        parameters: u32,
        has_result: bool,
        code: Code,
    ) -> Result<FunctionIndex, CostError> {
        let finished = code.finish();
        let body = finished.function.into_raw_body();
        self.costs.push(function_cost(&body, &finished.notes, &self.costs)?);
        self.bodies.push(body);
        self.signatures.push((parameters, has_result));
        self.names.push(name.into());
        Ok(FunctionIndex(self.bodies.len() as u32 - 1))
    }

    /// Exports a function.
    pub fn export(&mut self, name: impl Into<String>, function: FunctionIndex) {
        self.exports.push((name.into(), function));
    }

    /// The cost of a function.
    pub fn cost(&self, function: FunctionIndex) -> &FunctionCost {
        &self.costs[function.0 as usize]
    }

    /// The module, with a memory of just so many bytes (a multiple of a page),
    /// `segments` in it, and one global of type `i32`.
    pub fn finish(&self, memory_bytes: u64, segments: &[&Segment], global: u32) -> Vec<u8> {
        let mut kinds: Vec<(u32, bool)> = self.signatures.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let mut types = TypeSection::new();
        for &(parameters, has_result) in &kinds {
            let parameters = vec![ValType::I32; parameters as usize];
            types.ty().function(parameters, has_result.then_some(ValType::I32));
        }
        let mut functions = FunctionSection::new();
        for signature in &self.signatures {
            let kind = kinds.binary_search(signature).expect("every signature has a type");
            functions.function(kind as u32);
        }
        let mut memories = MemorySection::new();
        let pages = memory_bytes / PAGE;
        memories.memory(MemoryType {
            minimum: pages,
            maximum: Some(pages),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut globals = GlobalSection::new();
        let global_type = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(global_type, &ConstExpr::i32_const(global as i32));
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        for (name, function) in &self.exports {
            exports.export(name, ExportKind::Func, function.0);
        }
        let mut codes = CodeSection::new();
        for body in &self.bodies {
            codes.raw(body);
        }
        let mut data = DataSection::new();
        for segment in segments {
            data.active(
                0,
                &ConstExpr::i32_const(segment.address as i32),
                segment.bytes.iter().copied(),
            );
        }
        let mut names = NameMap::new();
        for (index, name) in self.names.iter().enumerate() {
            names.append(index as u32, name);
        }
        let mut name_section = NameSection::new();
        name_section.functions(&names);

        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&memories)
            .section(&globals)
            .section(&exports)
            .section(&codes)
            .section(&data)
            .section(&name_section);
        module.finish()
    }
}
