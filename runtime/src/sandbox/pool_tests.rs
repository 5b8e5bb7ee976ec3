//! Instances from a pool: nothing that a component can see or burn is another than on
//! demand, and what has no place in a pool runs all the same.

use leeway_contract::{Bound, Tensor};

use super::*;
use crate::testing::{Behaviour, TestModel};

const POOL: InstancePool =
    InstancePool { instances: 2, memory_bytes: 1 << 30, keep_resident_bytes: 1 << 20 };

fn sandbox(pool: Option<InstancePool>) -> Sandbox {
    Sandbox::new(SandboxConfig { pool, ..SandboxConfig::default() }).unwrap()
}

/// As a component that was written by hand is certified.
fn measured(behaviour: Behaviour) -> Vec<u8> {
    let mut model = TestModel::behaving(behaviour);
    model.bound = Bound::Measured;
    model.memory_bytes = 101 * 65536;
    model.component(&Sandbox::engine_claim_of_hand_written())
}

fn run(instance: &mut Instance, input: &[Tensor]) -> Result<Execution, RunError> {
    instance.run(0..=0, input, &Limits::default())
}

/// How many instances of a module there can be at once, of so many.
fn alive(module: &Module, most: usize) -> usize {
    let instances: Vec<_> = (0..most).map_while(|_| module.instantiate().ok()).collect();
    instances.len()
}

#[test]
fn a_pool_changes_neither_results_nor_fuel_nor_memory() {
    let (pooled, on_demand) = (sandbox(Some(POOL)), sandbox(None));
    for behaviour in [Behaviour::Scale(2.0), Behaviour::Count, Behaviour::Grow] {
        let component = measured(behaviour.clone());
        let input = TestModel::input([1.0, f32::from_bits(0xffc0_1234), -2.0, 0.0]);
        let of = |sandbox: &Sandbox| {
            let module = sandbox.load(&component).unwrap();
            // One after the other, in the same place of the pool.
            let run = |_| run(&mut module.instantiate().unwrap(), &input).unwrap();
            (0..5).map(|number| Execution { elapsed: Default::default(), ..run(number) }).collect()
        };
        let (seen, wanted): (Vec<Execution>, Vec<Execution>) = (of(&pooled), of(&on_demand));
        assert_eq!(seen, wanted, "{behaviour:?}");
        assert!(seen.iter().all(|execution| *execution == seen[0]), "{behaviour:?}");
    }
}

#[test]
fn a_run_finds_nothing_of_another_components_run() {
    let sandbox = sandbox(Some(InstancePool { instances: 1, ..POOL }));
    let (counting, growing) = (measured(Behaviour::Count), measured(Behaviour::Grow));
    let modules = [counting, growing].map(|component| sandbox.load(&component).unwrap());
    let zeros = TestModel::input([0.0; 4]);
    for turn in 0..20 {
        let execution = run(&mut modules[turn % 2].instantiate().unwrap(), &zeros).unwrap();
        if turn % 2 == 0 {
            assert_eq!(execution.outputs, TestModel::input([1.0; 4]), "turn {turn}");
        }
    }
}

#[test]
fn a_pool_has_so_many_places_and_gives_them_back() {
    let module = sandbox(Some(POOL)).load(&measured(Behaviour::Count)).unwrap();
    assert_eq!(alive(&module, 5), 2);
    assert_eq!(alive(&module, 5), 2);
    let mut kept = [module.instantiate().unwrap(), module.instantiate().unwrap()];
    let error = module.instantiate().unwrap_err();
    assert!(matches!(&error, RunError::Engine(reason) if reason.contains("limit of 2")), "{error}");
    // A call leaves no place taken.
    let zeros = TestModel::input([0.0; 4]);
    for instance in &mut kept {
        run(instance, &zeros).unwrap();
    }
    assert_eq!(alive(&module, 5), 2);
}

#[test]
fn what_is_no_part_of_the_pool_runs_all_the_same() {
    let small = sandbox(Some(InstancePool { memory_bytes: 65536, ..POOL }));
    // Its instances are used again: they are kept, and there may be many.
    let ours = TestModel::scaling(2.0).component(&Sandbox::engine_claim());
    // It may have more memory than there is a place for.
    let large = measured(Behaviour::Grow);
    for component in [ours, large] {
        let module = small.load(&component).unwrap();
        assert_eq!(alive(&module, 5), 5);
        run(&mut module.instantiate().unwrap(), &TestModel::input([1.0; 4])).unwrap();
    }
}

#[test]
fn without_room_for_a_pool_instances_are_made_on_demand() {
    // No processor of today has that many addresses.
    let sandbox = sandbox(Some(InstancePool { instances: 100_000, ..POOL }));
    let module = sandbox.load(&measured(Behaviour::Count)).unwrap();
    assert_eq!(alive(&module, 5), 5);
}

#[test]
fn compiled_code_serves_both() {
    let directory = tempfile::tempdir().unwrap();
    let cached = |pool| {
        let cache_dir = Some(directory.path().join("cache"));
        Sandbox::new(SandboxConfig { cache_dir, pool, ..SandboxConfig::default() }).unwrap()
    };
    let component = measured(Behaviour::Count);
    assert!(!cached(None).load(&component).unwrap().from_cache());
    let module = cached(Some(POOL)).load(&component).unwrap();
    assert!(module.from_cache());
    assert_eq!(alive(&module, 5), 2);
}
