//! The memory limit of one store: all linear memories together stay within the
//! certificate's `memory_bytes`.

use wasmtime::ResourceLimiter;

/// The most elements that all tables of a component may have. Tables hold
/// indirect call targets; the compiler's components have none.
pub(super) const MAX_TABLE_ELEMENTS: usize = 10_000;

/// Counts what a store's memories take.
pub(super) struct MemoryLimit {
    certified_bytes: usize,
    used_bytes: usize,
    table_elements: usize,
}

impl MemoryLimit {
    pub(super) fn new(certified_bytes: u64) -> Self {
        let certified_bytes = usize::try_from(certified_bytes).unwrap_or(usize::MAX);
        Self { certified_bytes, used_bytes: 0, table_elements: 0 }
    }

    /// What the store's memories take now.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes as u64
    }
}

/// Adds `desired - current` to `used` if that stays within `limit`.
fn take(used: &mut usize, limit: usize, current: usize, desired: usize) -> bool {
    let wanted = used.saturating_add(desired.saturating_sub(current));
    let granted = wanted <= limit;
    if granted {
        *used = wanted;
    }
    granted
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(take(&mut self.used_bytes, self.certified_bytes, current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(take(&mut self.table_elements, MAX_TABLE_ELEMENTS, current, desired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_limit() {
        let mut limit = MemoryLimit::new(3 * 65536);
        assert!(limit.memory_growing(0, 2 * 65536, None).unwrap());
        assert!(!limit.memory_growing(0, 2 * 65536, None).unwrap());
        assert!(limit.memory_growing(0, 65536, None).unwrap());
        assert!(!limit.memory_growing(65536, 2 * 65536, None).unwrap());
    }
}
