//! Work that answers nothing gives way to what does: it runs on a thread of a low
//! priority, which ends with it.

use super::Cause;

/// About a tenth of the time of a thread that answers, where both want the same core. A
/// thread may lower its own priority without any right.
const NICE: i32 = 10;

/// The calling thread gives way to all others from now on.
pub(crate) fn give_way() {
    // On Linux, process 0 is the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "what answers nothing competes with inferences");
    }
}

/// Does something on a thread that gives way to all others.
pub(crate) fn quietly<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Cause> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("deploy".into());
        let lowered = || {
            give_way();
            work()
        };
        let thread = thread.spawn_scoped(scope, lowered).map_err(Cause::Thread)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[test]
fn only_the_work_has_a_low_priority() {
    let priority = || rustix::process::getpriority_process(None).unwrap();
    let before = priority();
    assert_eq!(quietly(priority).unwrap(), NICE);
    assert_eq!(priority(), before);
}
