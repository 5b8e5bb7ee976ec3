//! The allocator: the standard library's, which clears what is freed while the
//! model is read. What reading leaves behind would else stay in the component.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

struct Clearing;

#[global_allocator]
static ALLOCATOR: Clearing = Clearing;

static READING: AtomicBool = AtomicBool::new(true);

/// From now on freed memory is left as it is: nobody sees it any more.
pub fn keep() {
    READING.store(false, Ordering::Relaxed);
}

// SAFETY: each method hands its arguments on to `System`, or does what the trait
// says that the method does by default.
unsafe impl GlobalAlloc for Clearing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if READING.load(Ordering::Relaxed) {
            // SAFETY: the caller gives this block back: it is its own until then.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !READING.load(Ordering::Relaxed) {
            // SAFETY: as above.
            return unsafe { System.realloc(memory, layout, size) };
        }
        // SAFETY: the caller promises that `size` is a valid size for this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: both blocks are at least as long as what is copied, and apart.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(memory, size.min(layout.size()));
                self.dealloc(memory, layout);
            }
            moved
        }
    }
}
