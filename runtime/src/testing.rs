//! Small hand-written models for tests: a core module in WAT that speaks the
//! canonical ABI itself, wrapped as a component, with a certificate.
//!
//! It depends on `wat` and the contract only, so that the tests of other crates
//! can include it by its path.

#![allow(dead_code, reason = "each crate that includes this file uses a part of it")]

use leeway_contract::certificate::{Compiler, FORMAT, Model};
use leeway_contract::section::{self, GoldenVector};
use leeway_contract::{
    Bound, Certificate, DType, Digest, EngineClaim, Fuel, Stage, StageFuel, Tensor, TensorSpec,
};

/// What a test model does when it is run.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Each stage multiplies each of the four elements by this.
    Scale(f32),
    /// It never returns.
    Spin,
    /// It goes around an empty loop so often, and returns its input.
    Busy(u32),
    /// Its code has so many steps one after the other.
    Long(usize),
    /// It traps in a function named `boom`.
    Trap,
    /// Its output has another shape than certified.
    WrongShape,
    /// Its output has fewer bytes than its shape needs.
    ShortData,
    /// It gives no outputs.
    NoOutputs,
    /// It asks for 100 more pages of memory, and traps if it gets none.
    Grow,
    /// It answers `failed("no")`.
    Fail,
    /// It returns its input, and answers `invalid-input("no")` to one that begins with a
    /// negative number.
    Picky,
    /// It counts its calls in its memory and adds the count to each element.
    Count,
    /// It returns tensors that lie outside of its memory.
    OutOfBounds,
}

/// A model `FP32[1,4] -> FP32[1,4]` of one or more stages.
#[derive(Clone, Debug)]
pub struct TestModel {
    /// What it does.
    pub behaviour: Behaviour,
    /// Its name in the certificate.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// The number of stages certified.
    pub stages: u32,
    /// The number of stages that the component says it has.
    pub counted_stages: u32,
    /// Pages of 64 KiB that its memory starts with.
    pub pages: u32,
    /// Certified memory.
    pub memory_bytes: u64,
    /// Certified fuel of a call, over that of the stages.
    pub call_fuel: Fuel,
    /// Certified fuel of each stage.
    pub stage_fuel: Fuel,
    /// How the fuel is bound.
    pub bound: Bound,
    /// A function that it imports.
    pub import: Option<String>,
    /// The name of the interface that it exports.
    pub export: String,
    /// Its golden vectors.
    pub golden: Vec<GoldenVector>,
}

/// Of a call of `run` with one input: function entry 1, the input's pointer 3,
/// the result 10, three `cabi_realloc` of 12, `cabi_post` 3.
const CALL_FUEL: Fuel = Fuel(53);

/// Of a stage that scales: 2 before the loop, 17 for each of four elements, 7
/// for the loop over stages.
const STAGE_FUEL: Fuel = Fuel(77);

impl TestModel {
    /// One stage that multiplies by `factor`, with an exact certificate.
    pub fn scaling(factor: f32) -> Self {
        Self {
            behaviour: Behaviour::Scale(factor),
            name: "scaling".into(),
            version: "1".into(),
            stages: 1,
            counted_stages: 1,
            pages: 1,
            memory_bytes: 65536,
            call_fuel: CALL_FUEL,
            stage_fuel: STAGE_FUEL,
            bound: Bound::Static,
            import: None,
            export: leeway_contract::INFERENCE_INTERFACE.into(),
            golden: vec![],
        }
    }

    /// As many stages as given, each of which multiplies by `factor`.
    pub fn chain(stages: u32, factor: f32) -> Self {
        Self { stages, counted_stages: stages, ..Self::scaling(factor) }
    }

    /// One stage that behaves so, with plenty of fuel.
    pub fn behaving(behaviour: Behaviour) -> Self {
        Self { behaviour, stage_fuel: Fuel(1 << 60), bound: Bound::Upper, ..Self::scaling(1.0) }
    }

    /// An input of the model.
    pub fn input(values: [f32; 4]) -> Vec<Tensor> {
        vec![Tensor::from_f32(&[1, 4], &values)]
    }

    /// The certificate, for an engine with this claim.
    pub fn certificate(&self, engine: &EngineClaim) -> Certificate {
        let spec = |name: String| TensorSpec { name, dtype: DType::F32, shape: vec![1, 4] };
        let end = |i: u32| match i {
            0 => "x".to_owned(),
            i if i == self.stages => "y".to_owned(),
            i => format!("h{i}"),
        };
        let stage = |i: u32| Stage {
            name: format!("stage {i}"),
            inputs: vec![spec(end(i))],
            outputs: vec![spec(end(i + 1))],
            fuel: StageFuel { enter: Fuel(0), compute: self.stage_fuel, leave: Fuel(0) },
            bound: self.bound,
            macs: 4,
            weight_bytes: 0,
            layers: vec![],
        };
        Certificate {
            format: FORMAT,
            model: Model {
                name: self.name.clone(),
                version: self.version.clone(),
                source: Digest::of(b"written by hand"),
            },
            compiler: Compiler { name: "hand".into(), version: "1".into() },
            engine: engine.clone(),
            call_fuel: self.call_fuel,
            stages: (0..self.stages).map(stage).collect(),
            memory_bytes: self.memory_bytes,
            activation_bytes: 0,
            golden: vec![],
            labels: None,
            preprocessing: None,
        }
    }

    /// The component's bytes, with the certificate in it.
    pub fn component(&self, engine: &EngineClaim) -> Vec<u8> {
        let mut component = self.without_certificate();
        section::append(&mut component, &mut self.certificate(engine), &self.golden);
        component
    }

    /// The component's bytes with the certificate, and its text changed before.
    pub fn with_text(&self, engine: &EngineClaim, change: impl Fn(String) -> String) -> Vec<u8> {
        let text = change(self.text());
        let mut component = wat::parse_str(text).expect("the changed text is valid");
        section::append(&mut component, &mut self.certificate(engine), &self.golden);
        component
    }

    /// The component's bytes, without a certificate.
    pub fn without_certificate(&self) -> Vec<u8> {
        wat::parse_str(self.text()).expect("the test model's text is valid")
    }

    fn text(&self) -> String {
        let import = match &self.import {
            Some(name) => format!("(import \"{name}\" (func))"),
            None => String::new(),
        };
        format!("(component {import} {} {} )", self.core(), wrapper(&self.export))
    }

    fn core(&self) -> String {
        let pages = self.pages;
        let stages = self.counted_stages;
        let body = self.body();
        format!(
            r#"
(core module $m
  (memory (export "memory") {pages})
  (global $top (mut i32) (i32.const 1024))
  (data (i32.const 16) "no")
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "post") (param i32) (global.set $top (i32.const 1024)))
  (func (export "stage-count") (result i32) (i32.const {stages}))
  (func $boom unreachable)
  (func $run (export "run")
    (param $first i32) (param $last i32) (param $ptr i32) (param $len i32) (result i32)
    (local $in i32) (local $i i32)
    (local.set $in (i32.load offset=12 (local.get $ptr)))
    {body}
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store offset=4 (i32.const 64) (local.get $ptr))
    (i32.store offset=8 (i32.const 64) (i32.const 1))
    (i32.const 64))
)"#
        )
    }

    /// What happens between the pointer to the input's data and the result,
    /// which is the input tensor itself, changed in place.
    fn body(&self) -> String {
        let each = |value: &str| {
            format!(
                r#"(local.set $i (i32.const 0))
                (loop $element
                  (f32.store (i32.add (local.get $in) (local.get $i)) {value})
                  (br_if $element (i32.lt_u
                    (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 16))))"#
            )
        };
        // The error of this number in the contract, with the text "no".
        let no = |error: u8| {
            format!(
                "(i32.store8 (i32.const 64) (i32.const 1))
                 (i32.store8 offset=4 (i32.const 64) (i32.const {error}))
                 (i32.store offset=8 (i32.const 64) (i32.const 16))
                 (i32.store offset=12 (i32.const 64) (i32.const 2))
                 (return (i32.const 64))"
            )
        };
        let element = "(f32.load (i32.add (local.get $in) (local.get $i)))";
        match self.behaviour {
            Behaviour::Scale(factor) => {
                let scaled = each(&format!("(f32.mul {element} (f32.const {factor:?}))"));
                format!(
                    r#"(loop $stage {scaled}
                    (br_if $stage (i32.le_u
                      (local.tee $first (i32.add (local.get $first) (i32.const 1)))
                      (local.get $last))))"#
                )
            }
            Behaviour::Spin => "(loop $again (br $again))".into(),
            Behaviour::Busy(times) => format!(
                "(local.set $i (i32.const {times}))
                 (loop $again
                   (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
            ),
            Behaviour::Long(steps) => "(local.set $i (i32.add (i32.load (local.get $ptr))
                   (i32.mul (local.get $i) (i32.load offset=4 (local.get $ptr)))))
                 (i32.store offset=8 (local.get $ptr) (local.get $i))"
                .repeat(steps),
            Behaviour::Trap => "(call $boom)".into(),
            Behaviour::WrongShape => "(i32.store (i32.load (local.get $ptr)) (i32.const 7))".into(),
            Behaviour::ShortData => "(i32.store offset=16 (local.get $ptr) (i32.const 12))".into(),
            Behaviour::NoOutputs => "(i32.store (i32.const 64) (i32.const 0))
                 (i32.store offset=8 (i32.const 64) (i32.const 0))
                 (return (i32.const 64))"
                .into(),
            Behaviour::Grow => {
                "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (call $boom)))"
                    .into()
            }
            Behaviour::Fail => no(2),
            Behaviour::Picky => {
                format!("(if (f32.lt (f32.load (local.get $in)) (f32.const 0)) (then {}))", no(1))
            }
            Behaviour::Count => {
                let counted = each(&format!(
                    "(f32.add {element} (f32.convert_i32_u (i32.load (i32.const 32))))"
                ));
                format!(
                    "(i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))
                     {counted}"
                )
            }
            Behaviour::OutOfBounds => {
                "(i32.store offset=12 (local.get $ptr) (i32.const -8))".into()
            }
        }
    }
}

/// The component around the core module: it lifts the functions and exports
/// them, with their types, as one interface.
fn wrapper(export: &str) -> String {
    let types = r#"
  (type $tensor-type' (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64" "I8" "BOOL"
    "I16" "U16" "U32" "U64"))
  (IMPORT "tensor-type" (type $tensor-type (eq $tensor-type')))
  (type $tensor' (record
    (field "dimensions" (list u32)) (field "ty" $tensor-type) (field "data" (list u8))))
  (IMPORT "tensor" (type $tensor (eq $tensor')))
  (type $error' (variant
    (case "invalid-range" string) (case "invalid-input" string) (case "failed" string)))
  (IMPORT "error" (type $error (eq $error')))"#;
    let run = "(param \"first\" u32) (param \"last\" u32) (param \"inputs\" (list $tensor))
               (result (result (list $tensor) (error $error)))";
    let exported_run = run.replace("$tensor", "$tensor-out").replace("$error", "$error-out");
    let imports = types.replace("IMPORT", "import");
    let plain = r#"
  (type $tensor-type (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64" "I8" "BOOL"
    "I16" "U16" "U32" "U64"))
  (type $tensor (record
    (field "dimensions" (list u32)) (field "ty" $tensor-type) (field "data" (list u8))))
  (type $error (variant
    (case "invalid-range" string) (case "invalid-input" string) (case "failed" string)))"#;
    format!(
        r#"
(core instance $i (instantiate $m))
{plain}
(alias core export $i "memory" (core memory $memory))
(alias core export $i "realloc" (core func $realloc))
(alias core export $i "post" (core func $post))
(alias core export $i "stage-count" (core func $core-stage-count))
(alias core export $i "run" (core func $core-run))
(func $stage-count (result u32) (canon lift (core func $core-stage-count)))
(func $run {run}
  (canon lift (core func $core-run) (memory (core memory $memory))
    (realloc (core func $realloc)) (post-return (core func $post))))
(component $interface
  {imports}
  (import "stage-count" (func $stage-count (result u32)))
  (import "run" (func $run {run}))
  (export $tensor-type-out "tensor-type" (type $tensor-type))
  (type $tensor-again (record
    (field "dimensions" (list u32)) (field "ty" $tensor-type-out) (field "data" (list u8))))
  (export $tensor-out "tensor" (type $tensor-again))
  (export $error-out "error" (type $error))
  (export "stage-count" (func $stage-count))
  (export "run" (func $run) (func {exported_run})))
(instance $interface-instance (instantiate $interface
  (with "tensor-type" (type $tensor-type)) (with "tensor" (type $tensor))
  (with "error" (type $error))
  (with "stage-count" (func $stage-count)) (with "run" (func $run))))
(export "{export}" (instance $interface-instance))"#
    )
}
