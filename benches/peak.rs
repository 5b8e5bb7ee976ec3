//! The most that 128-bit vectors can do here with multiplications and additions of
//! their own, without a fused one, which deterministic WebAssembly does not have.

use std::time::Instant;

/// Operations of each chain between two looks at the clock.
const STEPS: usize = 20_000;

/// Looks at the clock, of which the fastest counts.
const REPEATS: usize = 4000;

/// In operations on `f32` per second; `None` where this processor has no such vectors.
pub fn peak() -> Option<f64> {
    // Enough chains to hide their latency, and no more than the registers hold.
    [rate::<5>()?, rate::<6>()?, rate::<7>()?].into_iter().reduce(f64::max)
}

/// The same of so many chains of multiplications, and as many of additions.
fn rate<const CHAINS: usize>() -> Option<f64> {
    let times = (0..REPEATS).map(|_| {
        let start = Instant::now();
        let has_run = chains::<CHAINS>();
        has_run.then(|| start.elapsed().as_secs_f64())
    });
    let fastest = times.collect::<Option<Vec<f64>>>()?.into_iter().fold(f64::INFINITY, f64::min);
    Some((2 * CHAINS * STEPS * 4) as f64 / fastest)
}

#[cfg(target_arch = "x86_64")]
fn chains<const CHAINS: usize>() -> bool {
    use std::arch::x86_64::{__m128, _mm_add_ps, _mm_mul_ps, _mm_set1_ps};
    use std::hint::black_box;

    #[target_feature(enable = "sse")]
    fn run<const CHAINS: usize>() {
        let (factor, term): (__m128, __m128) = black_box((_mm_set1_ps(1.0), _mm_set1_ps(0.5)));
        let mut products = black_box([factor; CHAINS]);
        let mut sums = black_box([term; CHAINS]);
        for _ in 0..STEPS {
            for (product, sum) in products.iter_mut().zip(&mut sums) {
                *product = _mm_mul_ps(*product, factor);
                *sum = _mm_add_ps(*sum, term);
            }
        }
        black_box((products, sums));
    }

    // SAFETY: SSE is part of x86-64.
    unsafe { run::<CHAINS>() };
    true
}

#[cfg(not(target_arch = "x86_64"))]
fn chains<const CHAINS: usize>() -> bool {
    false
}
