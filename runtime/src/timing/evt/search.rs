//! Searching for a maximum, and for where a profile of the likelihood falls
//! below it: golden section in one dimension, the simplex of J. A. Nelder and
//! R. Mead (Computer Journal 7, 1965) in few, bisection for the ends of an
//! interval.

/// Half of the quantile of chi-squared with one degree of freedom at 95 %: what
/// the log-likelihood falls by at the ends of a 95 % interval (S. Coles, "An
/// Introduction to Statistical Modeling of Extreme Values", 2001, section 2.6.6).
pub const DROP_95: f64 = 3.841_458_820_694_124 / 2.0;

/// Where `f` is greatest in `from..to`, and its value there: the best of evenly
/// spaced points, refined around it. `f` may be minus infinity where it is not
/// defined.
pub fn maximise(f: impl Fn(f64) -> f64, from: f64, to: f64, points: usize) -> (f64, f64) {
    let step = (to - from) / points as f64;
    let at = |i: usize| from + step * i as f64;
    let best = (0..=points)
        .map(|i| (i, f(at(i))))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |(i, _)| i);
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(points)));
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut fa, mut fb) = (f(a), f(b));
    for _ in 0..28 {
        if fa >= fb {
            (high, b, fb) = (b, a, fa);
            a = high - golden * (high - low);
            fa = f(a);
        } else {
            (low, a, fa) = (a, b, fb);
            b = low + golden * (high - low);
            fb = f(b);
        }
    }
    if fa >= fb { (a, fa) } else { (b, fb) }
}

/// Where `f` is greatest near `start`, and its value there, beginning with a
/// simplex of size `step`. `f` may be minus infinity where it is not defined.
pub fn climb<const N: usize>(
    f: impl Fn(&[f64; N]) -> f64,
    start: [f64; N],
    step: f64,
) -> ([f64; N], f64) {
    let mut simplex = vec![(start, f(&start))];
    for i in 0..N {
        let mut corner = start;
        corner[i] += step;
        simplex.push((corner, f(&corner)));
    }
    for _ in 0..200 * N {
        simplex.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (best, worst) = (simplex[0].1, simplex[N].1);
        let size = (0..N).map(|i| (simplex[0].0[i] - simplex[N].0[i]).abs()).fold(0.0, f64::max);
        if best - worst < 1e-9 && size < 1e-6 {
            break;
        }
        let mut centre = [0.0; N];
        for (corner, _) in &simplex[..N] {
            (0..N).for_each(|i| centre[i] += corner[i] / N as f64);
        }
        let beyond = |by: f64| {
            let mut x = centre;
            (0..N).for_each(|i| x[i] += by * (centre[i] - simplex[N].0[i]));
            (x, f(&x))
        };
        let reflected = beyond(1.0);
        let moved = if reflected.1 > best {
            let expanded = beyond(2.0);
            if expanded.1 > reflected.1 { expanded } else { reflected }
        } else if reflected.1 > simplex[N - 1].1 {
            reflected
        } else {
            let contracted = if reflected.1 > worst { beyond(0.5) } else { beyond(-0.5) };
            if contracted.1 > worst.max(reflected.1) {
                contracted
            } else {
                shrink(&mut simplex, &f);
                continue;
            }
        };
        simplex[N] = moved;
    }
    simplex.sort_by(|a, b| b.1.total_cmp(&a.1));
    simplex[0]
}

/// Moves all corners half way to the best one.
fn shrink<const N: usize>(simplex: &mut [([f64; N], f64)], f: impl Fn(&[f64; N]) -> f64) {
    let best = simplex[0].0;
    for (corner, value) in &mut simplex[1..] {
        (0..N).for_each(|i| corner[i] = (corner[i] + best[i]) / 2.0);
        *value = f(corner);
    }
}

/// How near to zero the excess of a log-likelihood counts as zero: a millionth of what
/// [`DROP_95`] is.
const ZERO: f64 = 2e-6;

/// Where, from `centre` in the direction and unit of `step`, the function `excess` is
/// no longer negative; `None` if that is more than a million steps. It must be negative
/// at the centre, and rise from there.
///
/// By the Illinois method (M. Dowell, P. Jarratt, "A modified regula falsi method for
/// computing the root of an equation", BIT 11, 1971), for each value is a search of its
/// own: a straight line between the two ends says where to look next.
pub fn end_of_interval(centre: f64, step: f64, excess: impl Fn(f64) -> f64) -> Option<f64> {
    let at = |steps: f64| excess(centre + step * steps);
    let (mut inside, mut below) = (0.0, at(0.0));
    let (mut outside, mut above) = (1.0, at(1.0));
    while above < 0.0 {
        (inside, below) = (outside, above);
        outside *= 2.0;
        if outside > 1e6 {
            return None;
        }
        above = at(outside);
    }
    // Whether the inner end was the last one that moved.
    let mut moved = None;
    for _ in 0..60 {
        if outside - inside < 1e-5 * outside {
            break;
        }
        // Where one of them is infinite, a line says nothing.
        let part = match below / (below - above) {
            part if part.is_finite() && above.is_finite() => part.clamp(0.01, 0.99),
            _ => 0.5,
        };
        let next = inside + part * (outside - inside);
        let value = at(next);
        if value.abs() < ZERO {
            return Some(centre + step * next);
        }
        if value < 0.0 {
            (inside, below) = (next, value);
            above = if moved == Some(true) { above / 2.0 } else { above };
            moved = Some(true);
        } else {
            (outside, above) = (next, value);
            below = if moved == Some(false) { below / 2.0 } else { below };
            moved = Some(false);
        }
    }
    Some(centre + step * outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_are_found_in_one_and_in_three_dimensions() {
        let (x, value) = maximise(|x| -(x - 0.3).powi(2) + 2.0, -4.0, 9.0, 20);
        assert!((x - 0.3).abs() < 1e-6 && (value - 2.0).abs() < 1e-12, "{x} {value}");
        let bowl = |x: &[f64; 3]| {
            -(x[0] - 1.0).powi(2) - 10.0 * (x[1] + 2.0 * x[0]).powi(2) - (x[2] - 3.0).powi(4)
        };
        let (x, _) = climb(bowl, [0.0; 3], 0.5);
        assert!((x[0] - 1.0).abs() < 1e-3 && (x[1] + 2.0).abs() < 1e-3, "{x:?}");
        assert!((x[2] - 3.0).abs() < 0.05, "{x:?}");
    }

    #[test]
    fn a_maximum_at_the_edge_of_what_is_defined_is_found() {
        let edge = |x: f64| if x < 1.0 { f64::NEG_INFINITY } else { -x };
        let (x, _) = maximise(edge, 0.0, 10.0, 16);
        assert!((1.0..1.001).contains(&x), "{x}");
    }

    #[test]
    fn the_end_of_an_interval_is_where_the_sign_changes() {
        let end = end_of_interval(5.0, -0.1, |x| (x - 5.0).abs() - 2.0).unwrap();
        assert!((end - 3.0).abs() < 1e-3, "{end}");
        assert_eq!(end_of_interval(0.0, 1.0, |_| -1.0), None);
        let steep = |x: f64| if x < 3.0 { x.exp() - 10.0 } else { f64::INFINITY };
        let end = end_of_interval(0.0, 1.0, steep).unwrap();
        assert!((end - 10.0_f64.ln()).abs() < 1e-4, "{end}");
        // A wall is found as well as a slope.
        let wall = |x: f64| if x < 3.0 { -1.0 } else { f64::INFINITY };
        let end = end_of_interval(0.0, 1.0, wall).unwrap();
        assert!((end - 3.0).abs() < 1e-3, "{end}");
    }
}
