//! The cost model: the exact fuel that wasmtime will report for a function, read
//! off its encoded code.
//!
//! wasmtime charges each operator by its table of operator costs, bulk memory
//! operators per byte as well, and one unit for entering a function. The table
//! is the engine's own (`wasmtime_environ::OperatorCost`), not a copy. Loops
//! count by the trip counts that [`crate::emit::code::Code`] noted, branches by
//! whose they are, what only a fence leads to is an error's, and so is the way to the
//! joints. Code of any other form has no static cost and is refused.

use std::collections::BTreeMap;

use wasmparser::{FunctionBody, Operator};
use wasmtime_environ::OperatorCost;

use crate::emit::code::{Guard, Note};

/// What entering a function costs.
const FUNCTION_ENTRY: u64 = 1;

/// The fuel of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionCost {
    /// Of the code that every call runs, callees included.
    pub always: u64,
    /// Of the code behind each guard, callees included.
    pub guarded: BTreeMap<Guard, u64>,
}

impl FunctionCost {
    /// The fuel behind one guard; 0 where there is no such code.
    pub fn of(&self, guard: Guard) -> u64 {
        self.guarded.get(&guard).copied().unwrap_or(0)
    }
}

/// Code whose cost cannot be counted. Never the user's fault: the emitters made
/// something that the cost model does not know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// The code does not parse.
    #[error("emitted code does not parse: {0}")]
    Parse(#[from] wasmparser::BinaryReaderError),
    /// An operator whose cost depends on more than the code.
    #[error("operator {operator} at offset {offset} has no static cost: {reason}")]
    NotStatic {
        /// The operator.
        operator: String,
        /// Where in the function's body.
        offset: usize,
        /// Why.
        reason: &'static str,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loop,
    Block,
    /// A block whose rest is the way to joints, which nobody takes.
    WayToJoints,
    /// A function's body, or a branch.
    Other,
}

#[derive(Clone, Copy)]
struct Frame {
    kind: Kind,
    multiplier: u64,
    guard: Option<Guard>,
}

/// Counts the fuel of the function with this encoded `body` (locals and code,
/// without the length before it). `notes` has an entry for each `loop`, `if` and
/// fence in order; `callees` the costs of the functions by index.
pub fn function_cost(
    body: &[u8],
    notes: &[Note],
    callees: &[FunctionCost],
) -> Result<FunctionCost, CostError> {
    let table = OperatorCost::default();
    let body = FunctionBody::new(wasmparser::BinaryReader::new(body, 0));
    let mut reader = body.get_operators_reader()?;
    let mut notes = notes.iter();
    let mut cost = FunctionCost { always: FUNCTION_ENTRY, ..FunctionCost::default() };
    let mut frames = vec![Frame { kind: Kind::Other, multiplier: 1, guard: None }];
    let mut constant = None;
    let mut back_edge = false;
    let mut dead = false;
    let mut skips = false;

    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset()?;
        let refuse = |reason| {
            Err(CostError::NotStatic { operator: format!("{operator:?}"), offset, reason })
        };
        let Some(&frame) = frames.last() else { return refuse("it is after the function's end") };
        if dead && !matches!(operator, Operator::End) {
            return refuse("it cannot be reached");
        }
        if back_edge && !matches!(operator, Operator::End) {
            return refuse("a loop goes on after its backward branch");
        }

        let mut units = table.cost(&operator) as u64;
        match operator {
            Operator::Loop { .. } => match notes.next() {
                Some(&Note::Loop { trips }) => frames.push(Frame {
                    kind: Kind::Loop,
                    multiplier: frame.multiplier * trips,
                    guard: frame.guard,
                }),
                _ => return refuse("its trip count was not noted"),
            },
            Operator::If { .. } => match notes.next() {
                Some(&Note::If { guard }) => frames.push(Frame {
                    kind: Kind::Other,
                    multiplier: frame.multiplier,
                    // What is in an error's branch is an error's, whatever it says.
                    guard: if frame.guard == Some(Guard::Error) {
                        frame.guard
                    } else {
                        Some(guard)
                    },
                }),
                _ => return refuse("its guard was not noted"),
            },
            Operator::Block { .. } => frames.push(Frame { kind: Kind::Block, ..frame }),
            Operator::BrIf { relative_depth: 0 } if frame.kind == Kind::Loop => back_edge = true,
            Operator::BrIf { relative_depth } if is_block(&frames, relative_depth) => {
                match (notes.next(), frames.last_mut()) {
                    (Some(Note::Fence), _) => {}
                    (Some(Note::Joints), Some(innermost)) if relative_depth == 0 => {
                        innermost.kind = Kind::WayToJoints;
                        innermost.guard = Some(Guard::Error);
                    }
                    _ => return refuse("whether it is taken was not noted"),
                }
            }
            Operator::BrTable { .. } if frame.kind == Kind::WayToJoints => dead = true,
            Operator::Br { relative_depth: 1 } if is_block(&frames, 0) && is_block(&frames, 1) => {
                (dead, skips) = (true, true);
            }
            Operator::End => {
                frames.pop();
                // Only a fence leads to what the branch skipped.
                if let (true, Some(frame)) = (skips, frames.last_mut()) {
                    frame.guard = Some(Guard::Error);
                }
                (back_edge, dead, skips) = (false, false, false);
            }
            Operator::Return | Operator::Unreachable => {
                if frame.guard != Some(Guard::Error) {
                    return refuse("it leaves the function early");
                }
                dead = true;
            }
            Operator::MemoryCopy { .. } => match constant {
                Some(bytes) => units += bytes * u64::from(table.variable.memory_copy_per_byte),
                None => return refuse("its length is not a constant"),
            },
            Operator::MemoryFill { .. } => match constant {
                Some(bytes) => units += bytes * u64::from(table.variable.memory_fill_per_byte),
                None => return refuse("its length is not a constant"),
            },
            Operator::Call { function_index } => match callees.get(function_index as usize) {
                Some(callee) if callee.guarded.keys().all(|&guard| guard == Guard::Error) => {
                    units += callee.always;
                }
                _ => return refuse("its callee has no static cost"),
            },
            Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::CallIndirect { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryGrow { .. } => {
                return refuse("the emitters have no use for it");
            }
            _ => {}
        }
        constant = match operator {
            Operator::I32Const { value } => Some(u64::from(value as u32)),
            _ => None,
        };

        let units = units * frame.multiplier;
        match frame.guard {
            None => cost.always += units,
            Some(guard) => *cost.guarded.entry(guard).or_default() += units,
        }
    }
    Ok(cost)
}

/// Whether the frame at this depth is a block.
fn is_block(frames: &[Frame], depth: u32) -> bool {
    frames.iter().nth_back(depth as usize).is_some_and(|frame| frame.kind == Kind::Block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::code::{Code, Local};
    use wasm_encoder::Instruction;

    const FIRST: Local = Local(0);

    fn cost_of(code: Code) -> Result<FunctionCost, CostError> {
        let finished = code.finish();
        function_cost(&finished.function.into_raw_body(), &finished.notes, &[])
    }

    #[test]
    fn nested_loops_multiply() {
        let mut code = Code::new(0);
        let p = code.i32_local();
        code.repeat(3, |code| code.repeat(50, |code| code.advance(p, 4)));
        // 1 on entry; outer: 2 to set the counter, 3 x (inner + 5);
        // inner: 2 to set the counter, 5 x (ten times 4 + 5).
        assert_eq!(cost_of(code).unwrap().always, 1 + 2 + 3 * (2 + 5 * (10 * 4 + 5) + 5));
    }

    #[test]
    fn few_short_iterations_are_no_loop() {
        let mut code = Code::new(0);
        let p = code.i32_local();
        code.repeat(3, |code| code.repeat(5, |code| code.advance(p, 4)));
        assert_eq!(cost_of(code).unwrap().always, 1 + 3 * 5 * 4);
    }

    #[test]
    fn iterations_that_differ_are_a_loop() {
        let mut code = Code::new(0);
        let p = code.i32_local();
        code.repeat(3, |code| code.advance_before_last(p, 4));
        // 1 on entry, 2 to set the counter; 8 to advance or not, 5 for the loop.
        assert_eq!(cost_of(code).unwrap().always, 1 + 2 + 3 * (8 + 5));
    }

    #[test]
    fn branches_count_for_their_guard_only() {
        let mut code = Code::new(1);
        let p = code.i32_local();
        code.get(FIRST).guarded(Guard::Stage(2), |code| code.advance(p, 4));
        let cost = cost_of(code).unwrap();
        assert_eq!(cost.always, 1 + 2);
        assert_eq!(cost.of(Guard::Stage(2)), 4);
        assert_eq!(cost.of(Guard::Stage(1)), 0);
    }

    #[test]
    fn bulk_operators_count_per_byte_and_need_a_constant_length() {
        let mut code = Code::new(0);
        code.i32(0).i32(0).i32(100).op(Instruction::MemoryFill(0));
        assert_eq!(cost_of(code).unwrap().always, 1 + 3 + 1 + 100);

        let mut code = Code::new(1);
        code.i32(0).i32(0).get(FIRST).op(Instruction::MemoryFill(0));
        let error = cost_of(code).unwrap_err();
        assert!(error.to_string().contains("MemoryFill"), "{error}");
    }

    #[test]
    fn a_fence_costs_its_condition_and_what_it_leads_to_nothing() {
        let mut code = Code::new(0);
        let (p, sum) = (code.i32_local(), code.v128_local());
        code.repeat(3, |code| {
            code.fenced(&[sum], p, |code| {
                code.advance(p, 4);
                code.fence();
            });
        });
        // 1 on entry, 2 to set the counter; 4 to advance, 3 for the fence, 1 for
        // the branch over what it leads to, 5 for the loop.
        let cost = cost_of(code).unwrap();
        assert_eq!(cost.always, 1 + 2 + 3 * (4 + 3 + 1 + 5));
        assert_eq!(cost.of(Guard::Error), 3 * 3, "three times a store of three operators");
    }

    #[test]
    fn joints_cost_one_branch_and_what_mentions_the_locals() {
        let mut code = Code::new(0);
        let (p, sum) = (code.i32_local(), code.v128_local());
        code.repeat(3, |code| {
            code.jointed(p, &[sum], |code| {
                code.advance(p, 4);
                code.joint(&[]);
                code.splat(1.0).set(sum);
                code.joint(&[sum]);
            });
        });
        // 1 on entry, 2 to set the counter; 4 to advance, 2 for the branch, 2 to set
        // the sum, 1 to mention it, 5 for the loop.
        let cost = cost_of(code).unwrap();
        assert_eq!(cost.always, 1 + 2 + 3 * (4 + 2 + 2 + 1 + 5));
        assert_eq!(cost.of(Guard::Error), 3 * 4, "what the branch goes around");
    }

    #[test]
    fn code_of_another_form_is_refused() {
        let mut code = Code::new(0);
        code.op(Instruction::Loop(wasm_encoder::BlockType::Empty)).op(Instruction::End);
        assert!(cost_of(code).is_err(), "a loop without a note");

        let mut code = Code::new(0);
        code.op(Instruction::Return);
        assert!(cost_of(code).is_err(), "an early return");

        let mut code = Code::new(0);
        code.op(Instruction::Block(wasm_encoder::BlockType::Empty));
        code.i32(1).op(Instruction::BrIf(0)).op(Instruction::End);
        assert!(cost_of(code).is_err(), "a branch without a note");

        let mut code = Code::new(0);
        code.op(Instruction::Block(wasm_encoder::BlockType::Empty));
        code.i32(1).op(Instruction::BrTable(vec![0].into(), 0)).op(Instruction::End);
        assert!(cost_of(code).is_err(), "a table without a note");
    }
}
