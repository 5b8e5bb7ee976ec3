//! The sandbox against hand-written components: good ones, wrong ones, and ones
//! that lie.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use leeway_contract::{Bound, Digest, Fuel, SectionError, Tensor};

use super::*;
use crate::testing::{Behaviour, TestModel};

fn sandbox(engine: EngineKind) -> Sandbox {
    Sandbox::new(SandboxConfig::with_engine(engine)).unwrap()
}

fn bytes(model: &TestModel) -> Vec<u8> {
    model.component(&Sandbox::engine_claim())
}

fn load(model: &TestModel) -> Result<Module, LoadError> {
    sandbox(EngineKind::Native).load(&bytes(model))
}

fn instance(model: &TestModel) -> Instance {
    load(model).unwrap().instantiate().unwrap()
}

fn run(instance: &mut Instance) -> Result<Execution, RunError> {
    instance.run(0..=0, &TestModel::input([1.0, -2.0, 3.5, 0.0]), &Limits::default())
}

#[test]
fn a_model_runs_with_exactly_its_fuel_on_both_engines() {
    for engine in [EngineKind::Native, EngineKind::Pulley] {
        let module = sandbox(engine).load(&bytes(&TestModel::scaling(2.0))).unwrap();
        let mut instance = module.instantiate().unwrap();
        for _ in 0..3 {
            let execution = run(&mut instance).unwrap();
            assert_eq!(execution.outputs, TestModel::input([2.0, -4.0, 7.0, 0.0]));
            assert_eq!(execution.fuel, module.certificate().total_fuel(), "{engine}");
        }
        assert!(module.code_bytes() > 0);
    }
}

#[test]
fn each_range_of_stages_burns_what_is_certified_for_it() {
    let module = load(&TestModel::chain(3, 2.0)).unwrap();
    let mut instance = module.instantiate().unwrap();
    for (first, last) in [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2)] {
        let input = TestModel::input([1.0, 1.0, 1.0, 1.0]);
        let execution = instance.run(first..=last, &input, &Limits::default()).unwrap();
        let factor = 2f32.powi((last - first + 1) as i32);
        assert_eq!(execution.outputs, TestModel::input([factor; 4]));
        assert_eq!(Some(execution.fuel), module.certificate().fuel(first..=last));
    }
    let error = instance.run(1..=3, &[], &Limits::default()).unwrap_err();
    assert_eq!(error, RunError::InvalidRange { first: 1, last: 3, last_stage: 2 });
}

#[test]
fn one_unit_too_little_is_out_of_fuel_and_the_next_run_is_well() {
    let mut model = TestModel::scaling(2.0);
    model.call_fuel = Fuel(52);
    let mut instance = instance(&model);
    for _ in 0..2 {
        assert_eq!(run(&mut instance), Err(RunError::OutOfFuel { certified: Fuel(129) }));
    }
}

#[test]
fn an_endless_loop_runs_out_of_little_fuel() {
    let mut model = TestModel::behaving(Behaviour::Spin);
    model.stage_fuel = Fuel(10_000);
    let certified = Fuel(10_053);
    assert_eq!(run(&mut instance(&model)), Err(RunError::OutOfFuel { certified }));
}

#[test]
fn an_endless_loop_with_much_fuel_is_interrupted_at_its_deadline() {
    for engine in [EngineKind::Native, EngineKind::Pulley] {
        let model = TestModel::behaving(Behaviour::Spin);
        let module = sandbox(engine).load(&bytes(&model)).unwrap();
        let mut instance = module.instantiate().unwrap();
        for _ in 0..2 {
            let deadline = Duration::from_millis(30);
            let start = Instant::now();
            let input = TestModel::input([0.0; 4]);
            let error = instance.run(0..=0, &input, &Limits::within(deadline)).unwrap_err();
            assert_eq!(error, RunError::DeadlinePassed { deadline });
            assert!(start.elapsed() >= deadline);
            assert!(start.elapsed() < deadline + Duration::from_secs(2), "{:?}", start.elapsed());
        }
    }
}

#[test]
fn a_deadline_of_one_run_interrupts_no_other() {
    let sandbox = sandbox(EngineKind::Native);
    let spin = sandbox.load(&bytes(&TestModel::behaving(Behaviour::Spin))).unwrap();
    let interrupt = |millis: u64| {
        let module = spin.clone();
        std::thread::spawn(move || {
            let limits = Limits::within(Duration::from_millis(millis));
            let start = Instant::now();
            let input = TestModel::input([0.0; 4]);
            let error = module.instantiate().unwrap().run(0..=0, &input, &limits).unwrap_err();
            (error, start.elapsed())
        })
    };
    let runs: Vec<_> = [150, 20, 70, 20].into_iter().map(|ms| (ms, interrupt(ms))).collect();
    for (millis, run) in runs {
        let (error, elapsed) = run.join().unwrap();
        let deadline = Duration::from_millis(millis);
        assert_eq!(error, RunError::DeadlinePassed { deadline });
        assert!(elapsed >= deadline);
    }
}

#[test]
fn a_deadline_that_is_kept_changes_nothing() {
    let mut instance = instance(&TestModel::scaling(2.0));
    let input = TestModel::input([1.0; 4]);
    let limits = Limits::within(Duration::from_secs(60));
    for _ in 0..100 {
        assert_eq!(instance.run(0..=0, &input, &limits).unwrap().fuel, Fuel(130));
    }
    let passed = Limits::within(Duration::ZERO);
    let error = instance.run(0..=0, &input, &passed).unwrap_err();
    assert_eq!(error, RunError::DeadlinePassed { deadline: Duration::ZERO });
    assert!(instance.run(0..=0, &input, &limits).is_ok());
}

#[test]
fn a_trap_names_the_function_and_the_next_run_is_answered() {
    let mut instance = instance(&TestModel::behaving(Behaviour::Trap));
    for _ in 0..2 {
        let RunError::Trap { message, frames } = run(&mut instance).unwrap_err() else { panic!() };
        assert!(message.contains("unreachable"), "{message}");
        assert!(frames[0].function.contains("boom"), "{frames:?}");
        assert!(frames[1].function.contains("run"), "{frames:?}");
    }
}

#[test]
fn outputs_that_are_not_as_certified_are_refused() {
    let error = run(&mut instance(&TestModel::behaving(Behaviour::WrongShape))).unwrap_err();
    assert!(error.to_string().contains("wanted FP32[1,4], seen FP32[7,4]"), "{error}");
    let error = run(&mut instance(&TestModel::behaving(Behaviour::ShortData))).unwrap_err();
    assert!(error.to_string().contains("wanted 16 bytes of data, seen 12"), "{error}");
    let error = run(&mut instance(&TestModel::behaving(Behaviour::NoOutputs))).unwrap_err();
    assert_eq!(error, RunError::OutputCount { stage: 0, wanted: 1, seen: 0 });
    let error = run(&mut instance(&TestModel::behaving(Behaviour::OutOfBounds))).unwrap_err();
    assert!(matches!(error, RunError::Engine(_)), "{error}");
}

#[test]
fn the_components_own_error_is_passed_on() {
    let error = run(&mut instance(&TestModel::behaving(Behaviour::Fail))).unwrap_err();
    assert_eq!(error, RunError::Guest(GuestError::Failed("no".into())));
    assert_eq!(error.to_string(), "the component answered failed: no");
}

#[test]
fn inputs_that_are_not_as_certified_are_refused() {
    let mut instance = instance(&TestModel::scaling(2.0));
    let mut run = |inputs: &[Tensor]| instance.run(0..=0, inputs, &Limits::default()).unwrap_err();
    assert_eq!(run(&[]), RunError::InputCount { stage: 0, wanted: 1, seen: 0 });
    let error = run(&[Tensor::from_f32(&[4, 1], &[0.0; 4])]);
    assert_eq!(error.to_string(), "input tensor \"x\": wanted FP32[1,4], seen FP32[4,1]");
    let mut short = TestModel::input([0.0; 4]);
    short[0].data.pop();
    assert!(matches!(run(&short), RunError::Input(_)));
    let bytes = run(&[Tensor::from_u8(&[1, 4], &[0; 4])]);
    assert!(bytes.to_string().contains("seen U8[1,4]"), "{bytes}");
}

#[test]
fn memory_grows_within_the_certificate_only() {
    let mut model = TestModel::behaving(Behaviour::Grow);
    let error = run(&mut instance(&model)).unwrap_err();
    assert!(matches!(error, RunError::Trap { .. }), "{error}");
    model.memory_bytes = 101 * 65536;
    assert!(run(&mut instance(&model)).is_ok());
}

#[test]
fn only_a_static_bound_reuses_the_instance() {
    let mut model = TestModel::behaving(Behaviour::Count);
    let zeros = TestModel::input([0.0; 4]);
    let mut counts = |bound| {
        model.bound = bound;
        let mut instance = instance(&model);
        let mut run = || instance.run(0..=0, &zeros, &Limits::default()).unwrap().outputs;
        [run(), run()]
    };
    let (one, two) = (TestModel::input([1.0; 4]), TestModel::input([2.0; 4]));
    assert_eq!(counts(Bound::Static), [one.clone(), two]);
    assert_eq!(counts(Bound::Upper), [one.clone(), one.clone()]);
    assert_eq!(counts(Bound::Measured), [one.clone(), one]);
}

#[test]
fn an_import_is_refused_by_its_name() {
    let mut model = TestModel::scaling(1.0);
    model.import = Some("wasi:clocks/monotonic-clock@0.2.0".into());
    let error = load(&model).unwrap_err();
    let LoadError::Import { name } = &error else { panic!("{error}") };
    assert_eq!(name, "wasi:clocks/monotonic-clock@0.2.0");
}

#[test]
fn another_export_is_refused_with_both_names() {
    let mut model = TestModel::scaling(1.0);
    model.export = "leeway:model/inference@0.2.0".into();
    let error = load(&model).unwrap_err().to_string();
    assert!(error.contains("inference@0.1.0") && error.contains("inference@0.2.0"), "{error}");
}

#[test]
fn a_function_of_another_type_is_refused_by_its_name() {
    let model = TestModel::scaling(1.0);
    let change = |wanted: &str, seen: &str| {
        model.with_text(&Sandbox::engine_claim(), |text| text.replace(wanted, seen))
    };
    let typed = change("\"data\" (list u8)", "\"data\" (list s8)");
    let error = sandbox(EngineKind::Native).load(&typed).unwrap_err();
    assert!(matches!(&error, LoadError::Function { function: "run", .. }), "{error}");
    let missing = change("(export \"run\" (func $run) ", "(export \"walk\" (func $run) ");
    let error = sandbox(EngineKind::Native).load(&missing).unwrap_err();
    assert!(matches!(&error, LoadError::Function { function: "run", .. }), "{error}");
}

#[test]
fn memory_beyond_the_certificate_is_refused_before_compiling() {
    let mut model = TestModel::scaling(1.0);
    model.pages = 3;
    let error = load(&model).unwrap_err();
    let (certified_bytes, declared_bytes) = (65536, 3 * 65536);
    assert!(
        matches!(error, LoadError::Memory { certified_bytes: c, declared_bytes: d }
            if (c, d) == (certified_bytes, declared_bytes)),
        "{error}"
    );
}

#[test]
fn another_number_of_stages_is_refused() {
    let mut model = TestModel::scaling(1.0);
    model.counted_stages = 4;
    let error = load(&model).unwrap_err();
    assert!(matches!(error, LoadError::StageCount { certified: 1, seen: 4 }), "{error}");
}

#[test]
fn a_certificate_for_another_engine_is_refused_with_the_claim() {
    let mut claim = Sandbox::engine_claim();
    claim.wasmtime = "47".into();
    let component = TestModel::scaling(1.0).component(&claim);
    let error = sandbox(EngineKind::Native).load(&component).unwrap_err().to_string();
    assert!(error.contains("engine.wasmtime") && error.contains("47"), "{error}");
    let mut claim = Sandbox::engine_claim();
    claim.fuel_table = Digest::of(b"another");
    let component = TestModel::scaling(1.0).component(&claim);
    let error = sandbox(EngineKind::Native).load(&component).unwrap_err().to_string();
    assert!(error.contains("engine.fuel_table"), "{error}");
}

#[test]
fn what_is_no_certified_component_is_refused() {
    let sandbox = sandbox(EngineKind::Native);
    let whole = bytes(&TestModel::scaling(1.0));
    for length in (0..whole.len()).step_by(7) {
        let error = sandbox.load(&whole[..length]).unwrap_err();
        assert!(matches!(error, LoadError::Section(_)), "{length}: {error}");
    }
    let uncertified = TestModel::scaling(1.0).without_certificate();
    let error = sandbox.load(&uncertified).unwrap_err();
    assert!(matches!(error, LoadError::Section(SectionError::Missing)), "{error}");
    let module = wat::parse_str("(module)").unwrap();
    let error = sandbox.load(&module).unwrap_err();
    assert!(matches!(error, LoadError::Section(SectionError::CoreModule)), "{error}");
}

#[test]
fn a_flipped_byte_never_panics() {
    let sandbox = sandbox(EngineKind::Native);
    let whole = bytes(&TestModel::scaling(1.0));
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x15;
        if let Ok(module) = sandbox.load(&flipped) {
            let mut instance = module.instantiate().unwrap();
            let limits = Limits::within(Duration::from_millis(200));
            let _ = instance.run(0..=0, &TestModel::input([1.0; 4]), &limits);
        }
    }
}

#[test]
fn other_bytes_than_wanted_are_refused_with_both_digests() {
    let whole = bytes(&TestModel::scaling(1.0));
    let (wanted, seen) = (Digest::of(b"another"), Digest::of(&whole));
    let error = sandbox(EngineKind::Native).load_expecting(&whole, wanted).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&wanted.to_string()) && text.contains(&seen.to_string()), "{text}");
    assert_eq!(sandbox(EngineKind::Native).load_expecting(&whole, seen).unwrap().digest(), seen);
}

#[test]
fn an_unmetered_sandbox_gives_the_same_outputs_and_no_fuel() {
    let config = SandboxConfig { metered: false, ..SandboxConfig::default() };
    let module = Sandbox::new(config).unwrap().load(&bytes(&TestModel::scaling(2.0))).unwrap();
    let execution = run(&mut module.instantiate().unwrap()).unwrap();
    assert_eq!(execution.outputs, TestModel::input([2.0, -4.0, 7.0, 0.0]));
    assert_eq!(execution.fuel, Fuel(0));
}

fn cached(directory: &Path) -> Sandbox {
    let cache_dir = Some(directory.join("cache"));
    Sandbox::new(SandboxConfig { cache_dir, ..SandboxConfig::default() }).unwrap()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn compiled_code_is_kept_for_this_user_only_and_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let whole = bytes(&TestModel::scaling(2.0));
    assert!(!cached(directory.path()).load(&whole).unwrap().from_cache());
    let again = cached(directory.path()).load(&whole).unwrap();
    assert!(again.from_cache());
    assert_eq!(run(&mut again.instantiate().unwrap()).unwrap().fuel, Fuel(130));

    let [entry] = entries(directory.path()).try_into().unwrap();
    let name = entry.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&Digest::of(&whole).to_hex()) && name.ends_with(".cwasm"), "{name}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&entry), 0o600);
    assert_eq!(mode(entry.parent().unwrap()), 0o700);
}

#[test]
fn a_corrupt_or_truncated_cache_entry_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let whole = bytes(&TestModel::scaling(2.0));
    cached(directory.path()).load(&whole).unwrap();
    let [entry] = entries(directory.path()).try_into().unwrap();
    let intact = fs::read(&entry).unwrap();
    let mut flipped = intact.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let damaged = [flipped, intact[..intact.len() / 2].to_vec(), intact[..20].to_vec(), vec![]];
    for bytes in damaged {
        fs::write(&entry, bytes).unwrap();
        let module = cached(directory.path()).load(&whole).unwrap();
        assert!(!module.from_cache());
        assert!(run(&mut module.instantiate().unwrap()).is_ok());
        assert_eq!(fs::read(&entry).unwrap(), intact, "the entry was not written again");
    }
}

#[test]
fn a_cache_that_others_can_write_to_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let whole = bytes(&TestModel::scaling(2.0));
    cached(directory.path()).load(&whole).unwrap();
    let cache = directory.path().join("cache");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(!cached(directory.path()).load(&whole).unwrap().from_cache());
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(cached(directory.path()).load(&whole).unwrap().from_cache());
}

#[test]
fn the_watchdogs_hook_runs_on_its_thread_once_and_only_with_a_deadline() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let hook = WatchdogHook::new(move || {
        let _ = sender.send(std::thread::current().name().map(str::to_owned));
    });
    let config = SandboxConfig { on_watchdog_start: Some(hook), ..SandboxConfig::default() };
    let module = Sandbox::new(config).unwrap().load(&bytes(&TestModel::scaling(2.0))).unwrap();
    run(&mut module.instantiate().unwrap()).unwrap();
    let wait = Duration::from_secs(10);
    assert_eq!(receiver.recv_timeout(wait).unwrap().as_deref(), Some("leeway-watchdog"));
    assert!(receiver.try_recv().is_err());
}

#[test]
fn a_component_written_by_hand_has_canonical_nans_and_the_same_limits() {
    let claim = Sandbox::engine_claim_of_hand_written();
    for engine in [EngineKind::Native, EngineKind::Pulley] {
        let sandbox = sandbox(engine);
        let mut scaling = TestModel::scaling(2.0);
        scaling.bound = Bound::Measured;
        let module = sandbox.load(&scaling.component(&claim)).unwrap();
        let payload = TestModel::input([f32::from_bits(0xffc0_1234), 1.0, 2.0, 3.0]);
        let mut instance = module.instantiate().unwrap();
        let execution = instance.run(0..=0, &payload, &Limits::default()).unwrap();
        let numbers = execution.outputs[0].to_f32().unwrap();
        assert_eq!(numbers[0].to_bits(), 0x7fc0_0000);
        assert_eq!((execution.fuel, execution.memory_bytes), (Fuel(130), 65536));

        let spinning = TestModel::behaving(Behaviour::Spin);
        let module = sandbox.load(&spinning.component(&claim)).unwrap();
        let within = Limits::within(Duration::from_millis(50));
        let run = module.instantiate().unwrap().run(0..=0, &payload, &within);
        assert!(matches!(run, Err(RunError::DeadlinePassed { .. })), "{run:?}");
    }
}

#[test]
fn a_run_ends_when_another_thread_interrupts_it() {
    let module = load(&TestModel::behaving(Behaviour::Spin)).unwrap();
    let mut instance = module.instantiate().unwrap();
    let input = TestModel::input([1.0; 4]);
    for deadline in [None, Some(Duration::from_secs(3600))] {
        let interrupt = module.interrupt();
        let other = interrupt.clone();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            other.interrupt();
        });
        let limits = Limits { deadline };
        let result = instance.run_interruptible(0..=0, &input, &limits, Some(&interrupt));
        assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
        ends.join().unwrap();
        // And it keeps one from beginning.
        let result = instance.run_interruptible(0..=0, &input, &limits, Some(&interrupt));
        assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
    }
}

#[test]
fn an_interrupt_ends_no_other_run() {
    let module = load(&TestModel::behaving(Behaviour::Busy(50_000_000))).unwrap();
    let input = TestModel::input([1.0; 4]);
    let (mut instance, other) = (module.instantiate().unwrap(), module.interrupt());
    let interrupts = std::thread::spawn(move || {
        for _ in 0..100 {
            other.interrupt();
            std::thread::yield_now();
        }
    });
    let limits = Limits::within(Duration::from_secs(3600));
    for _ in 0..3 {
        let mine = module.interrupt();
        instance.run_interruptible(0..=0, &input, &limits, Some(&mine)).unwrap();
    }
    interrupts.join().unwrap();
}
