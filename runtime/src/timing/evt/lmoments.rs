//! L-moments of a sample, and the GEV distribution that has them: J. R. M.
//! Hosking, "L-moments: analysis and estimation of distributions using linear
//! combinations of order statistics", JRSS B 52, 1990; J. R. M. Hosking, J. R.
//! Wallis, E. F. Wood, "Estimation of the generalized extreme-value distribution
//! by the method of probability-weighted moments", Technometrics 27, 1985.

use statrs::function::gamma::gamma;

use super::gev::Gev;

/// The first three L-moments of a sorted sample, by unbiased estimators.
pub fn of_sorted(sorted: &[f64]) -> [f64; 3] {
    let n = sorted.len() as f64;
    let mut weighted = [0.0; 3];
    for (i, x) in sorted.iter().enumerate() {
        let i = i as f64;
        weighted[0] += x;
        weighted[1] += x * i / (n - 1.0);
        weighted[2] += x * i * (i - 1.0) / ((n - 1.0) * (n - 2.0));
    }
    let [b0, b1, b2] = weighted.map(|sum| sum / n);
    [b0, 2.0 * b1 - b0, 6.0 * b2 - 6.0 * b1 + b0]
}

/// The GEV distribution with these L-moments.
pub fn gev([l1, l2, l3]: [f64; 3]) -> Gev {
    // The shape here is -k of the papers; the approximation is good to 9e-4.
    let c = 2.0 / (3.0 + l3 / l2) - std::f64::consts::LN_2 / 3.0_f64.ln();
    let k = 7.8590 * c + 2.9554 * c * c;
    if k.abs() < 1e-6 {
        const EULER: f64 = 0.577_215_664_901_532_9;
        let scale = l2 / std::f64::consts::LN_2;
        return Gev { location: l1 - EULER * scale, scale, shape: 0.0 };
    }
    let g = gamma(1.0 + k);
    let scale = l2 * k / ((1.0 - 2.0_f64.powf(-k)) * g);
    Gev { location: l1 - scale * (1.0 - g) / k, scale, shape: -k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_l_moments_of_a_small_sample_are_those_by_definition() {
        // l2 is half the mean difference of two, l3 a third of the mean second
        // difference of three.
        let x = [1.0, 2.0, 4.0, 8.0];
        let [l1, l2, l3] = of_sorted(&x);
        assert!((l1 - 3.75).abs() < 1e-12);
        assert!((l2 - (1.0 + 3.0 + 7.0 + 2.0 + 6.0 + 4.0) / 12.0).abs() < 1e-12);
        let triples = [[1.0, 2.0, 4.0], [1.0, 2.0, 8.0], [1.0, 4.0, 8.0], [2.0, 4.0, 8.0]];
        let mean: f64 = triples.iter().map(|[a, b, c]| c - 2.0 * b + a).sum::<f64>() / 4.0;
        assert!((l3 - mean / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_l_moments_of_a_gev_distribution_give_it_back() {
        for shape in [-0.3, 0.0, 0.2] {
            let gev = Gev { location: 10.0, scale: 2.0, shape };
            let n = 200_000;
            let sample: Vec<f64> = (0..n)
                .map(|i| gev.quantile_of(-((f64::from(i) + 0.5) / f64::from(n)).ln()))
                .collect();
            let found = super::gev(of_sorted(&sample));
            assert!((found.shape - shape).abs() < 5e-3, "{found:?}");
            assert!((found.location - 10.0).abs() < 1e-2 && (found.scale - 2.0).abs() < 1e-2);
        }
    }
}
