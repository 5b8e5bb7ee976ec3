//! A core module under construction: functions with their costs, data, exports.

use std::collections::HashMap;

use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType,
    MemorySection, MemoryType, Module, NameMap, NameSection, TypeSection, ValType,
};

use super::code::{Code, Note};
use crate::cost::{CostError, FunctionCost, function_cost};
use crate::plan::PAGE;

/// The index of a function in its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionIndex(pub u32);

/// What a function does, to the bit: its signature, its body, and the notes of it.
#[derive(PartialEq, Eq, Hash)]
struct Definition {
    parameters: u32,
    has_result: bool,
    body: Vec<u8>,
    notes: Vec<Note>,
}

/// Functions in the order of their indices: callees before callers. Functions
/// that are equal are one.
#[derive(Default)]
pub struct Functions {
    indices: HashMap<Definition, FunctionIndex>,
    costs: Vec<FunctionCost>,
    /// For each function, the name that it was first added with, and how often
    /// it was.
    names: Vec<(String, usize)>,
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
        let definition = Definition { parameters, has_result, body, notes: finished.notes };
        if let Some(&index) = self.indices.get(&definition) {
            self.names[index.0 as usize].1 += 1;
            return Ok(index);
        }
        self.costs.push(function_cost(&definition.body, &definition.notes, &self.costs)?);
        self.names.push((name.into(), 1));
        let index = FunctionIndex(self.costs.len() as u32 - 1);
        self.indices.insert(definition, index);
        Ok(index)
    }

    /// Exports a function.
    pub fn export(&mut self, name: impl Into<String>, function: FunctionIndex) {
        self.exports.push((name.into(), function));
    }

    /// The cost of a function.
    pub fn cost(&self, function: FunctionIndex) -> &FunctionCost {
        &self.costs[function.0 as usize]
    }

    /// The module, with an empty memory of just so many bytes (a multiple of a page)
    /// and one global of type `i32`.
    pub fn finish(&self, memory_bytes: u64, global: u32) -> Vec<u8> {
        let mut definitions: Vec<(&Definition, FunctionIndex)> =
            self.indices.iter().map(|(definition, &index)| (definition, index)).collect();
        definitions.sort_unstable_by_key(|&(_, index)| index.0);
        let signature = |definition: &Definition| (definition.parameters, definition.has_result);
        let mut kinds: Vec<(u32, bool)> = definitions.iter().map(|&(d, _)| signature(d)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut types = TypeSection::new();
        for &(parameters, has_result) in &kinds {
            let parameters = vec![ValType::I32; parameters as usize];
            types.ty().function(parameters, has_result.then_some(ValType::I32));
        }
        let mut functions = FunctionSection::new();
        for &(definition, _) in &definitions {
            let kind =
                kinds.binary_search(&signature(definition)).expect("every signature has a type");
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
        for (definition, _) in &definitions {
            codes.raw(&definition.body);
        }
        let mut names = NameMap::new();
        for (index, (name, uses)) in self.names.iter().enumerate() {
            match uses - 1 {
                0 => names.append(index as u32, name),
                others => names.append(index as u32, &format!("{name} and {others} more")),
            }
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
            .section(&name_section);
        module.finish()
    }
}
