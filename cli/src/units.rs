//! Numbers as people read them.

use std::time::Duration;

/// `1.2 MB`, by powers of 1,000.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, &["B", "kB", "MB", "GB"])
}

/// `2.4 M`, by powers of 1,000.
pub fn count(count: u64) -> String {
    scaled(count as f64, &["", "k", "M", "G", "T"])
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit]).trim_end().to_owned()
}

/// `17.3 ms`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// `3.21 mJ`.
pub fn energy(joules: f64) -> String {
    match joules {
        j if j < 1e-3 => format!("{:.1} µJ", j * 1e6),
        j if j < 1.0 => format!("{:.2} mJ", j * 1e3),
        j => format!("{j:.2} J"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_the_digits_would() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(99_960), "100 kB");
        assert_eq!(bytes(1_234_567), "1.2 MB");
        assert_eq!(count(0), "0");
        assert_eq!(count(2_400_000), "2.4 M");
        assert_eq!(duration(Duration::from_micros(17_300)), "17.30 ms");
        assert_eq!((energy(0.003_21), energy(1.5)), ("3.21 mJ".into(), "1.50 J".into()));
        assert_eq!(energy(12.34e-6), "12.3 µJ");
    }
}
