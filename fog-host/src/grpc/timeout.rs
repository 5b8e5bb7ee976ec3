//! The header `grpc-timeout` (gRPC over HTTP/2): at most eight digits and a unit.

use std::time::Duration;

use http::HeaderMap;

const HEADER: &str = "grpc-timeout";
const DIGITS: usize = 8;

/// The time that a client gives, if it says so.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let seen =
        || format!("{HEADER} is {value:?}, wanted 1 to {DIGITS} digits and H, M, S, m, u or n");
    parse(text).map(Some).ok_or_else(seen)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits.len() > DIGITS || !are_digits {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("5u"), Some(Duration::from_micros(5)));
        for text in ["", "5", "u", "+5u", "123456789u", "5µ", "5 m", "-1S"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let headers = [(HEADER.parse().unwrap(), "soon".parse().unwrap())].into_iter().collect();
        assert!(of(&headers).unwrap_err().contains("soon"));
        assert_eq!(of(&HeaderMap::new()), Ok(None));
    }
}
