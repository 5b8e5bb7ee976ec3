//! A decision allocates nothing: neither what is known of an input, nor what each
//! policy makes of it. One test alone, as it counts the allocations of its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use leeway_tests::decision::{Subjects, policies};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's promises are the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller's promises are the system allocator's.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_decision_allocates() {
    let subjects = Subjects::new();
    for mut policy in policies() {
        let before = ALLOCATIONS.with(Cell::get);
        for number in 0..1_000 {
            std::hint::black_box(subjects.decide(&mut *policy, number));
        }
        let after = ALLOCATIONS.with(Cell::get);
        assert_eq!(after - before, 0, "{}", policy.name());
    }
    // And the counter counts.
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![1]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1);
}
