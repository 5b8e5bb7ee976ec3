//! Every operation on the disk of deploying, swapping, returning and removing
//! fails once, and is once the last before a power cut.

use super::*;
use crate::desired::{DesiredModel, DesiredState, Kept};
use crate::files::simulated::Fault;

/// What the device goes through.
fn work(bench: &Bench, disk: &Disk) -> Option<()> {
    let deployer = open(Arc::new(disk.clone()), bench.config()).ok()?;
    let (second, third) = (component(&scaling(3.0)), component(&scaling(4.0)));
    bench.deploy(&deployer, &second).ok();
    deployer.conclude(&outcome(&second, "fine"));
    deployer.roll_back("scaling", "asked for").ok();
    // The first has no place any more after this.
    bench.deploy(&deployer, &third).ok();
    deployer.conclude(&outcome(&third, "fine"));
    deployer.collect().ok();
    // Whatever the disk did, something answers.
    assert!([2.0, 3.0, 4.0].contains(&answer(&deployer)));
    Some(())
}

#[test]
fn a_fault_at_any_operation_leaves_a_device_that_serves_and_a_store_that_verifies() {
    let bench = Bench::new();
    let first = component(&scaling(2.0));
    {
        let deployer = bench.open();
        bench.deploy(&deployer, &first).unwrap();
        deployer.conclude(&outcome(&first, "fine"));
    }
    bench.disk.power_cut(Loss::All);
    let whole = bench.disk.copy();
    whole.plan(Fault::None);
    work(&bench, &whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 50, "{operations}");

    for at in 0..operations {
        for (fault, losses) in [
            (Fault::Fail(at), vec![Loss::All]),
            (Fault::Stop(at), vec![Loss::All, Loss::Nothing, Loss::Some(at)]),
        ] {
            let stopped = bench.disk.copy();
            stopped.plan(fault);
            work(&bench, &stopped);
            for loss in losses {
                let disk = stopped.copy();
                disk.power_cut(loss);
                check(&bench, &disk, &format!("{fault:?} {loss:?}"));
            }
        }
    }
}

/// What a device goes through when it shall be something else: its desired state is
/// kept, and a version is brought in for it.
fn become_other(bench: &Bench, disk: &Disk, generation: u64, module: &[u8]) -> Option<()> {
    let deployer = open(Arc::new(disk.clone()), bench.config()).ok()?;
    let digest = Some(Digest::of(module));
    let model = DesiredModel { name: "scaling".into(), digest, ..DesiredModel::default() };
    let state = DesiredState { generation, models: vec![model], ..DesiredState::default() };
    let (before, active) = deployer.inspect(|state| (state.desired.clone(), state.active()));
    let kept = Kept::after(before.as_ref(), state, &active, false).unwrap()?;
    deployer.keep_desired(kept).ok()?;
    let request = Request { goal: Some(generation), ..bench.request(module, 1) };
    deploy(&deployer, &request, module).ok()?;
    Some(())
}

#[test]
fn a_desired_state_and_what_came_of_it_are_the_old_or_the_new_after_a_fault() {
    let bench = Bench::new();
    let (first, second) = (component(&scaling(2.0)), component(&scaling(3.0)));
    become_other(&bench, &bench.disk, 1, &first).unwrap();
    bench.disk.power_cut(Loss::All);
    let whole = bench.disk.copy();
    whole.plan(Fault::None);
    become_other(&bench, &whole, 2, &second).unwrap();
    let operations = whole.operations();
    assert!(operations > 20, "{operations}");
    for at in 0..operations {
        for fault in [Fault::Fail(at), Fault::Stop(at)] {
            for loss in [Loss::All, Loss::Nothing, Loss::Some(at)] {
                let disk = bench.disk.copy();
                disk.plan(fault);
                become_other(&bench, &disk, 2, &second);
                disk.power_cut(loss);
                let case = format!("{fault:?} {loss:?}");
                let deployer = open(Arc::new(disk.clone()), bench.config()).expect(&case);
                let (kept, active) =
                    deployer.inspect(|state| (state.desired.clone().unwrap(), state.active()));
                let mark = &kept.goals["scaling"];
                let wanted = [&first, &second][kept.state.generation as usize - 1];
                assert_eq!(kept.state.models[0].digest, Some(Digest::of(wanted)), "{case}");
                // What is settled for the goal is what was made active for it.
                let reached = active["scaling"] == Digest::of(wanted);
                assert_eq!(mark.settled, reached, "{case}");
                assert_eq!(mark.tried, reached.then_some(Digest::of(wanted)), "{case}");
            }
        }
    }
}

/// The device starts, one of the versions serves as a whole, what the state names
/// is there and intact, and the next deployment works.
fn check(bench: &Bench, disk: &Disk, case: &str) {
    let deployer = open(Arc::new(disk.clone()), bench.config()).expect(case);
    assert_eq!(deployer.store().verify().unwrap(), [], "{case}");
    let active = deployer.inspect(|state| state.models["scaling"].active.clone()).expect(case);
    let versions = [2.0, 3.0, 4.0].map(|f| (Digest::of(&component(&scaling(f))), f));
    let (_, factor) = versions.into_iter().find(|(d, _)| *d == active.digest).expect(case);
    assert_eq!(answer(&deployer), factor, "{case}");
    for digest in deployer.inspect(State::keep) {
        deployer.store().read(digest).expect(case);
    }
    assert!(deployer.broken().is_empty(), "{case}");
    let last = component(&scaling(5.0));
    bench.deploy(&deployer, &last).expect(case);
    assert_eq!(answer(&deployer), 5.0, "{case}");
}
