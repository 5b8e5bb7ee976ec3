//! Where the tail begins: the threshold of the peaks, by tests of goodness of
//! fit at candidates in ascending order with control of false discoveries (B.
//! Bader, J. Yan, X. Zhang, "Automated threshold selection for extreme value
//! analysis via ordered goodness-of-fit tests with adjustment for false discovery
//! rate", Annals of Applied Statistics 12, 2018; the stopping rule is
//! ForwardStop of M. G'Sell et al., JRSS B 78, 2016).

use super::fitness;
use super::gpd::Gpd;
use crate::timing::hypothesis::TestResult;

/// Candidates.
const CANDIDATES: usize = 8;

/// The false discovery rate: of the thresholds refused, the part that was good.
const FALSE_DISCOVERIES: f64 = 0.05;

/// A threshold and what lies above it.
#[derive(Clone, Debug)]
pub struct Peaks {
    pub threshold: f64,
    /// What the values above the threshold exceed it by, in ascending order.
    pub excesses: Vec<f64>,
    pub fit: Gpd,
    pub fitness: [TestResult; 2],
}

/// The lowest threshold above which the tail is generalised Pareto, with between
/// `fewest` and `most` values above it.
///
/// # Errors
/// The test at the highest threshold, where all of them are refused; `None` where
/// there is no candidate with enough distinct values.
pub fn select(
    sorted: &[f64],
    [fewest, most]: [usize; 2],
    replicas: usize,
    seed: u64,
) -> Result<Peaks, Option<TestResult>> {
    let mut candidates: Vec<Peaks> = counts(fewest, most)
        .into_iter()
        .filter_map(|count| peaks(sorted, count, fewest, replicas, seed))
        .collect();
    candidates.dedup_by(|a, b| a.threshold == b.threshold);
    let mut sum = 0.0;
    let mut refused = 0;
    for (i, candidate) in candidates.iter().enumerate() {
        sum -= (-candidate.fitness[0].p_value).ln_1p();
        if sum / (i + 1) as f64 <= FALSE_DISCOVERIES {
            refused = i + 1;
        }
    }
    let highest = candidates.last().map(|c| c.fitness[0]);
    candidates.into_iter().nth(refused).ok_or(highest)
}

/// How many values lie above each candidate, descending, as geometric steps.
fn counts(fewest: usize, most: usize) -> Vec<usize> {
    let ratio = fewest as f64 / most.max(fewest) as f64;
    let last = (CANDIDATES - 1) as f64;
    (0..CANDIDATES)
        .map(|i| (most.max(fewest) as f64 * ratio.powf(i as f64 / last)) as usize)
        .collect()
}

fn peaks(sorted: &[f64], count: usize, fewest: usize, replicas: usize, seed: u64) -> Option<Peaks> {
    let threshold = *sorted.get(sorted.len().checked_sub(count + 1)?)?;
    let above = sorted.partition_point(|&x| x <= threshold);
    let excesses: Vec<f64> = sorted[above..].iter().map(|x| x - threshold).collect();
    let distinct = excesses.chunk_by(|a, b| a == b).count();
    // With many ties there are fewer above the threshold than asked for.
    if excesses.len() < fewest * 4 / 5 || distinct < super::FEWEST_DISTINCT {
        return None;
    }
    let fit = Gpd::fit(&excesses);
    let fitness = fitness::test(&excesses, &fit, replicas, seed);
    Some(Peaks { threshold, excesses, fit, fitness })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_go_down_from_most_to_fewest() {
        let counts = counts(50, 400);
        assert_eq!((counts[0], counts[CANDIDATES - 1]), (400, 50));
        assert!(counts.is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn values_that_are_all_the_same_have_no_tail() {
        assert!(matches!(select(&[7.0; 2000], [50, 400], 20, 1), Err(None)));
    }
}
