//! Slots, and the state on a disk that fails and loses power.

use super::*;
use crate::files::simulated::{Disk, Fault, Loss};

const ROOT: &str = "/state";

fn release(version: &str) -> Release {
    let digest = Digest::of(version.as_bytes());
    Release { digest, version: version.into(), counter: None, signed_by: vec![] }
}

fn activate(slots: &mut Slots, version: &str) {
    slots.propose(release(version)).unwrap();
    slots.activate(0, release(version).digest, "asked for").unwrap();
}

fn version(release: &Option<Release>) -> Option<&str> {
    release.as_ref().map(|release| &*release.version)
}

#[test]
fn only_what_has_proven_itself_is_fallen_back_to() {
    let mut slots = Slots::default();
    activate(&mut slots, "1");
    assert_eq!(slots.roll_back(0, ""), Err(SlotError::NothingBefore));
    slots.prove(0, "ten inferences").unwrap();
    activate(&mut slots, "2");
    activate(&mut slots, "3");
    assert_eq!(version(&slots.previous), Some("1"));
    slots.roll_back(0, "a trap").unwrap();
    assert_eq!((version(&slots.active), version(&slots.previous)), (Some("1"), None));
    assert_eq!(slots.history.last().unwrap().digest, release("3").digest);
}

#[test]
fn a_proven_release_can_be_returned_to() {
    let mut slots = Slots::default();
    for name in ["1", "2"] {
        activate(&mut slots, name);
        slots.prove(0, "").unwrap();
    }
    slots.roll_back(0, "asked for").unwrap();
    assert_eq!((version(&slots.active), version(&slots.previous)), (Some("1"), Some("2")));
    slots.roll_back(0, "asked for").unwrap();
    assert_eq!(version(&slots.active), Some("2"));
}

#[test]
fn what_is_pinned_stays() {
    let mut slots = Slots::default();
    assert_eq!(slots.pin(0, true, ""), Err(SlotError::NothingActive));
    activate(&mut slots, "1");
    slots.propose(release("2")).unwrap();
    slots.pin(0, true, "").unwrap();
    let pinned = SlotError::Pinned(release("1").digest);
    assert_eq!(slots.activate(0, release("2").digest, ""), Err(pinned.clone()));
    assert_eq!(slots.propose(release("3")), Err(pinned));
    slots.pin(0, false, "").unwrap();
    slots.activate(0, release("2").digest, "").unwrap();
}

#[test]
fn a_candidate_that_was_superseded_does_not_become_active() {
    let mut slots = Slots::default();
    slots.propose(release("1")).unwrap();
    slots.propose(release("2")).unwrap();
    let superseded = SlotError::Superseded(release("1").digest);
    assert_eq!(slots.activate(0, release("1").digest, ""), Err(superseded));
    slots.refuse(0, release("1").digest, "too slow");
    slots.refuse(0, release("1").digest, "too slow");
    assert_eq!((version(&slots.candidate), slots.history.len()), (Some("2"), 1));
}

#[test]
fn the_history_is_bounded() {
    let mut slots = Slots::default();
    for at in 0..100 {
        slots.refuse(at, release(&at.to_string()).digest, "no");
    }
    assert_eq!(slots.history.len(), 32);
    assert_eq!(slots.history.last().unwrap().at, 99);
}

fn open(disk: &Disk) -> Result<StateFile, StateError> {
    StateFile::open(Arc::new(disk.clone()), Path::new(ROOT))
}

fn deploy(file: &StateFile, name: &str) -> Result<(), StateError> {
    file.change(|state| state.slots("m").propose(release(name)))?;
    file.change(|state| state.slots("m").activate(1, release(name).digest, "asked for"))?;
    file.change(|state| state.slots("m").prove(2, "ten inferences"))
}

#[test]
fn what_was_changed_is_read_again() {
    let disk = Disk::new(Path::new(ROOT));
    let file = open(&disk).unwrap();
    deploy(&file, "1").unwrap();
    let state = file.inspect(State::clone);
    assert_eq!(state.generation, 3);
    assert_eq!(open(&disk).unwrap().inspect(State::clone), state);
    // Nothing changes: nothing is written.
    disk.plan(Fault::None);
    file.change(|state| state.slots("m").prove(9, "again")).unwrap();
    assert_eq!(disk.operations(), 0);
}

#[test]
fn a_decayed_file_is_not_believed_and_the_other_is() {
    let disk = Disk::new(Path::new(ROOT));
    let file = open(&disk).unwrap();
    deploy(&file, "1").unwrap();
    disk.decay(&Path::new(ROOT).join("state.1"));
    assert_eq!(open(&disk).unwrap().inspect(|state| state.generation), 2);
    disk.decay(&Path::new(ROOT).join("state.0"));
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, StateError::Corrupt { .. }), "{error}");
}

/// Whatever operation fails or is the last one before a power cut, one of the
/// states from before the change to after it is there, in order, and work goes on.
#[test]
fn a_fault_at_any_operation_leaves_the_old_state_or_a_newer_one() {
    let before = Disk::new(Path::new(ROOT));
    deploy(&open(&before).unwrap(), "1").unwrap();
    before.power_cut(Loss::All);
    let work = |disk: &Disk| -> Result<(), StateError> {
        let file = open(disk)?;
        deploy(&file, "2")?;
        file.change(|state| state.slots("m").roll_back(3, "asked for").map(|_| ()))
    };
    let whole = before.copy();
    whole.plan(Fault::None);
    work(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 15, "{operations}");

    let valid = [(Some("1"), None), (Some("2"), Some("1")), (Some("1"), Some("2"))];
    for at in 0..operations {
        for fault in [Fault::Fail(at), Fault::Stop(at)] {
            for loss in [Loss::All, Loss::Nothing].into_iter().chain((0..20).map(Loss::Some)) {
                let disk = before.copy();
                disk.plan(fault);
                work(&disk).unwrap_err();
                disk.power_cut(loss);
                let file = open(&disk).unwrap();
                let slots = file.inspect(|state| state.models["m"].clone());
                let seen = (version(&slots.active), version(&slots.previous));
                assert!(valid.contains(&seen), "{fault:?} {loss:?}: {seen:?}");
                assert!(slots.keep().any(|digest| digest == release("1").digest));
                deploy(&file, "3").unwrap();
                let active = open(&disk).unwrap().inspect(|s| s.models["m"].active.clone());
                assert_eq!(version(&active), Some("3"));
            }
        }
    }
}
