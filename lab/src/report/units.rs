//! Numbers as people read them.

/// Three significant digits and the unit that fits: `784 ns`, `12.3 ms`, `41.0 s`.
pub(super) fn duration(ns: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let digits = |unit: f64| significant(ns as f64 / unit);
    // 999.6 µs would read 1000 µs: then the next unit.
    let fits = |&&(_, unit): &&(&str, f64)| (ns as f64 / unit) < 999.5;
    let &(name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    match name {
        "ns" => format!("{ns} ns"),
        _ => format!("{} {name}", digits(unit)),
    }
}

/// As [`duration`], without trailing zeros: `50 ms`, `1.5 s`.
pub(super) fn short_duration(ns: u64) -> String {
    let text = duration(ns);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// As [`duration`]; a dash where there is nothing.
pub(super) fn duration_or_dash(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), duration)
}

fn significant(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// `96.9 %`; whole where it is all or nothing.
pub(super) fn percent(part: usize, whole: usize) -> String {
    match (part, whole) {
        (_, 0) => "-".to_owned(),
        (0, _) => "0 %".to_owned(),
        (p, w) if p == w => "100 %".to_owned(),
        (p, w) => format!("{:.1} %", 100.0 * p as f64 / w as f64),
    }
}

/// How much `value` is above or below `base`: `3.1 % less`, `12 % more`; times
/// where it is several times as much.
pub(super) fn difference(value: u64, base: u64) -> String {
    if base == 0 {
        return "-".to_owned();
    }
    let ratio = value as f64 / base as f64;
    let percent = (ratio - 1.0).abs() * 100.0;
    let digits = if percent >= 9.95 { format!("{percent:.0}") } else { format!("{percent:.1}") };
    match ratio {
        r if r >= 3.0 => format!("{} times", significant(r)),
        _ if digits == "0.0" => "the same".to_owned(),
        r if r < 1.0 => format!("{digits} % less"),
        _ => format!("{digits} % more"),
    }
}

/// `12,345`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `784 B`, `102 kB`, `1.23 MB`.
pub(super) fn bytes(n: u64) -> String {
    match n {
        n if n < 1_000 => format!("{n} B"),
        n if n < 999_500 => format!("{} kB", significant(n as f64 / 1e3)),
        n => format!("{} MB", significant(n as f64 / 1e6)),
    }
}

/// One thing or several: `1 model`, `4 models`.
pub(super) fn plural(n: usize, one: &str) -> String {
    format!("{} {one}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_the_unit_that_fits() {
        let texts = [0, 784, 999, 1_000, 12_340, 999_499, 999_600, 12_345_678, 41_000_000_000];
        assert_eq!(
            texts.map(duration),
            [
                "0 ns", "784 ns", "999 ns", "1.00 µs", "12.3 µs", "999 µs", "1.00 ms", "12.3 ms",
                "41.0 s"
            ]
        );
        assert_eq!([50_000_000, 1_500_000, 300].map(short_duration), ["50 ms", "1.5 ms", "300 ns"]);
        assert_eq!(duration(u64::MAX), "18446744074 s");
        assert_eq!(duration_or_dash(None), "-");
    }

    #[test]
    fn shares_are_whole_only_where_they_are_exact() {
        assert_eq!(percent(0, 9), "0 %");
        assert_eq!(percent(9, 9), "100 %");
        assert_eq!(percent(9_999, 10_000), "100.0 %");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(0, 0), "-");
    }

    #[test]
    fn differences_say_less_more_or_times() {
        assert_eq!(difference(97, 100), "3.0 % less");
        assert_eq!(difference(150, 100), "50 % more");
        assert_eq!(difference(1_250, 100), "12.5 times");
        assert_eq!(difference(10_000, 10_001), "the same");
        assert_eq!(difference(5, 0), "-");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([784, 102_364, 1_234_567].map(bytes), ["784 B", "102 kB", "1.23 MB"]);
        assert_eq!((plural(1, "link"), plural(2, "link")), ("1 link".into(), "2 links".into()));
    }
}
