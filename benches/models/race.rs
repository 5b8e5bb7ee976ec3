//! Contestants that take turns, and the best CPU time of each.

use std::time::Duration;

use anyhow::Result;
use cpu_time::ThreadTime;
use leeway_runtime::realtime::{self, RealTime};

/// Keeps this thread on a CPU: the last that is allowed, if none is given.
pub fn stay_on(cpu: Option<usize>) -> Option<usize> {
    let cpu = cpu.or_else(|| realtime::allowed_cpus().last().copied());
    RealTime { cpu, ..RealTime::default() }.apply();
    cpu
}

/// What one turn takes at least, so that the clock's own cost does not count.
const TURN: Duration = Duration::from_micros(200);

/// Runs a model several times, and returns the CPU time of all runs.
pub type Contestant<'a> = Box<dyn FnMut(u32) -> Result<Duration> + 'a>;

/// A contestant that runs on this thread. In each turn it runs once before the clock does,
/// as what others did has left nothing of its own in the caches.
pub fn here<'a>(mut run: impl FnMut() -> Result<()> + 'a) -> Contestant<'a> {
    Box::new(move |repeats| {
        clear_upper_halves();
        run()?;
        let start = ThreadTime::now();
        for _ in 0..repeats {
            run()?;
        }
        Ok(start.elapsed())
    })
}

/// The same, with what it runs made anew for each turn: which pages a memory has may cost
/// it some percent, by chance.
pub fn renewed<'a, T>(
    make: impl Fn() -> Result<T> + 'a,
    run: impl Fn(&mut T) -> Result<()> + 'a,
) -> Contestant<'a> {
    Box::new(move |repeats| {
        let mut made = make()?;
        here(|| run(&mut made))(repeats)
    })
}

/// Clears the upper halves of the vector registers. tract's AVX-512 kernels leave
/// something there, and then what runs on the same thread next and mixes the old and
/// the new encoding of instructions, as the engine's code does, takes many times as long.
#[cfg(target_arch = "x86_64")]
fn clear_upper_halves() {
    #[target_feature(enable = "avx")]
    fn clear() {
        std::arch::x86_64::_mm256_zeroupper();
    }
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: this processor has AVX.
        unsafe { clear() };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn clear_upper_halves() {}

/// The least CPU time of one run for each contestant, over `rounds` in each of
/// which all have a turn, in rotated order. The least, as what a machine shared
/// with others adds is never negative.
pub fn race(contestants: &mut [Contestant], rounds: usize) -> Result<Vec<Duration>> {
    let repeats: Vec<u32> = contestants.iter_mut().map(repeats).collect::<Result<_>>()?;
    let mut least = vec![Duration::MAX; contestants.len()];
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let which = (round + turn) % contestants.len();
            let time = contestants[which](repeats[which])? / repeats[which];
            least[which] = least[which].min(time);
        }
    }
    Ok(least)
}

/// How often a contestant runs in one turn.
fn repeats(contestant: &mut Contestant) -> Result<u32> {
    let once = contestant(2)? / 2;
    let wanted = TURN.as_nanos() / once.as_nanos().max(1);
    Ok(wanted.clamp(1, 1000) as u32)
}
