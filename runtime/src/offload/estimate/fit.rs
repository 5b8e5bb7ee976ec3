//! A robust fit of the time that an exchange takes on a link:
//! `T = r + u * bytes up + d * bytes down`, none of the three negative.
//!
//! The model is Hockney's latency and bandwidth, with a bandwidth for each
//! direction (R. W. Hockney, "The communication challenge for MPP", Parallel
//! Computing 20, 1994, DOI 10.1016/S0167-8191(06)80021-9). The fit is an
//! M-estimator with Cauchy weights, by iteratively reweighted least squares (P.
//! W. Holland, R. E. Welsch, "Robust regression using iteratively reweighted
//! least-squares", 1977, DOI 10.1080/03610927708827533): the further an
//! observation lies off, the less it moves the line, which matters for the few
//! large exchanges that alone determine the slopes. An observation counts the
//! less the older it is, and the three parameters are kept non-negative as in C.
//! L. Lawson, R. J. Hanson, "Solving Least Squares Problems" (1974): with three
//! of them, all sets of positive ones are tried.

use super::weighted::weighted_median;

/// One exchange. Sizes in KiB, time in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub up: f64,
    pub down: f64,
    pub time: f64,
    /// How much it counts: 1 for the newest, less for older ones.
    pub weight: f64,
}

/// The fitted link. Seconds, and seconds per KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Line {
    pub round_trip: f64,
    pub up: f64,
    pub down: f64,
}

impl Line {
    pub fn at(&self, up: f64, down: f64) -> f64 {
        self.round_trip + self.up * up + self.down * down
    }
}

/// A line and how far the points lie from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    pub line: Line,
    /// The typical distance of a point from the line, in seconds: 1.4826 times
    /// the median absolute residual, which is the standard deviation of a
    /// normal distribution.
    pub scale: f64,
}

/// The tuning constant of Cauchy weights: 95 % efficient where the noise is
/// normal.
const CAUCHY: f64 = 2.385;
const ITERATIONS: usize = 4;
/// How much the slopes are held where they were, in KiB of a virtual exchange.
/// Less than one Ethernet frame, so that it decides only where the data cannot:
/// all exchanges of one size, or as many bytes up as down.
const HOLD_KIB: f64 = 0.5;

/// Fits the points, starting from an earlier fit's slopes.
pub(super) fn fit(points: &[Point], before: Line) -> Fit {
    let mut line = Line { round_trip: level(points, before), ..before };
    let mut scale = spread(points, line);
    for _ in 0..ITERATIONS {
        line = least_squares(points, line, scale, before);
        scale = spread(points, line);
    }
    Fit { line, scale }
}

/// The round trip as the median sees it, for given slopes.
fn level(points: &[Point], slopes: Line) -> f64 {
    let residual = |p: &Point| (p.time - slopes.up * p.up - slopes.down * p.down, p.weight);
    weighted_median(points.iter().map(residual)).unwrap_or_default().max(0.0)
}

fn spread(points: &[Point], line: Line) -> f64 {
    let residual = |p: &Point| ((p.time - line.at(p.up, p.down)).abs(), p.weight);
    1.4826 * weighted_median(points.iter().map(residual)).unwrap_or_default()
}

/// The normal equations of three unknowns.
#[derive(Default)]
struct Normal {
    a: [[f64; 3]; 3],
    b: [f64; 3],
}

impl Normal {
    fn add(&mut self, row: [f64; 3], wanted: f64, weight: f64) {
        for i in 0..3 {
            for j in 0..3 {
                self.a[i][j] += weight * row[i] * row[j];
            }
            self.b[i] += weight * row[i] * wanted;
        }
    }

    /// The unknowns of the set `active` by Gauss-Jordan elimination, the others
    /// zero; `None` where the set does not determine them.
    fn solve(&self, active: [bool; 3]) -> Option<[f64; 3]> {
        let (mut a, mut b) = (self.a, self.b);
        for i in (0..3).filter(|&i| !active[i]) {
            a.iter_mut().for_each(|row| row[i] = 0.0);
            (a[i], b[i]) = ([0.0; 3], 0.0);
            a[i][i] = 1.0;
        }
        for i in 0..3 {
            // Positive semi-definite: the diagonal is as good a pivot as any.
            let pivot = a[i][i];
            if pivot <= 1e-12 * self.a[i][i].max(1e-12) || !pivot.is_finite() {
                return None;
            }
            let (row, wanted) = (a[i], b[i]);
            for k in (0..3).filter(|&k| k != i) {
                let factor = a[k][i] / pivot;
                a[k].iter_mut().zip(row).for_each(|(a, r)| *a -= factor * r);
                b[k] -= factor * wanted;
            }
        }
        let x = [b[0] / a[0][0], b[1] / a[1][1], b[2] / a[2][2]];
        x.iter().all(|x| x.is_finite()).then_some(x)
    }

    /// Half the squared error, less a constant.
    fn cost(&self, x: [f64; 3]) -> f64 {
        let mut cost = 0.0;
        for i in 0..3 {
            let ax: f64 = (0..3).map(|j| self.a[i][j] * x[j]).sum();
            cost += x[i] * (0.5 * ax - self.b[i]);
        }
        cost
    }

    fn solve_non_negative(&self) -> Option<[f64; 3]> {
        let sets = (0..8).map(|set: u8| [set & 1 != 0, set & 2 != 0, set & 4 != 0]);
        sets.filter_map(|set| self.solve(set))
            .filter(|x| x.iter().all(|&x| x >= 0.0))
            .min_by(|x, y| self.cost(*x).total_cmp(&self.cost(*y)))
    }
}

fn least_squares(points: &[Point], now: Line, scale: f64, before: Line) -> Line {
    let mut normal = Normal::default();
    for p in points {
        let predicted = now.at(p.up, p.down);
        let residual = (p.time - predicted).abs();
        // Points on the line to within half a percent are on the line.
        let limit = CAUCHY * scale.max(0.005 * predicted).max(1e-7);
        let trust = 1.0 / (1.0 + (residual / limit).powi(2));
        normal.add([1.0, p.up, p.down], p.time, p.weight * trust);
    }
    normal.add([0.0, HOLD_KIB, 0.0], HOLD_KIB * before.up, 1.0);
    normal.add([0.0, 0.0, HOLD_KIB], HOLD_KIB * before.down, 1.0);
    match normal.solve_non_negative() {
        Some([round_trip, up, down]) => Line { round_trip, up, down },
        None => now,
    }
}
