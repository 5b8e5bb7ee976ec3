//! Instances that are kept for the next run of their module.

use leeway_contract::Digest;
use leeway_runtime::sandbox::Instance;

/// A few instances; the least recently used goes first.
pub(super) struct Instances {
    /// The most recently used last.
    kept: Vec<Instance>,
    most: usize,
}

impl Instances {
    /// Room for so many.
    pub(super) fn of(most: usize) -> Self {
        Self { kept: Vec::new(), most }
    }

    /// An instance of a module, if one is kept.
    pub(super) fn take(&mut self, digest: Digest) -> Option<Instance> {
        let place = self.kept.iter().rposition(|kept| kept.module().digest() == digest)?;
        Some(self.kept.remove(place))
    }

    /// Keeps one, if there is one.
    pub(super) fn keep(&mut self, instance: Option<Instance>) {
        if self.kept.len() >= self.most && instance.is_some() {
            self.kept.remove(0);
        }
        self.kept.extend(instance);
    }

    /// Drops those of modules that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Digest) -> bool) {
        self.kept.retain(|kept| keep(&kept.module().digest()));
    }
}
