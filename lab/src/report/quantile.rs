//! Quantiles by nearest rank: always a value that was observed.

/// The smallest of the sorted values that at least the share `q` of them does
/// not exceed; `None` if there are none.
pub(super) fn nearest_rank(sorted: &[u64], q: f64) -> Option<u64> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The same for values in any order.
pub(super) fn nearest_rank_of(mut values: Vec<u64>, q: f64) -> Option<u64> {
    values.sort_unstable();
    nearest_rank(&values, q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_observed_values() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(nearest_rank(&hundred, 0.5), Some(50));
        assert_eq!(nearest_rank(&hundred, 0.99), Some(99));
        assert_eq!(nearest_rank(&hundred, 1.0), Some(100));
        assert_eq!(nearest_rank(&hundred, 0.0), Some(1));
        assert_eq!(nearest_rank_of(vec![30, 10, 20], 0.5), Some(20));
        assert_eq!(nearest_rank(&[7], 0.99), Some(7));
        assert_eq!(nearest_rank(&[], 0.5), None);
    }
}
