//! Durations as they are written in configuration and in the headers of migrations: a whole number and a unit.

use std::time::Duration;

/// `bare`: the unit of a number without one; `None` refuses it. Units are PostgreSQL's: us, ms, s, min, h, d
/// (PostgreSQL documentation, "Parameter Names and Values").
pub fn parse(text: &str, bare: Option<&str>) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let micros = match Some(unit.trim()).filter(|unit| !unit.is_empty()).or(bare)? {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// A timeout as PostgreSQL has them: 0, which is no limit, or what is at least one of its milliseconds and fits its
/// parameters. (Less than one would become 0.)
pub fn pg_timeout(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    parse(text, None).filter(|timeout| (Duration::from_millis(1)..=LONGEST).contains(timeout))
}

/// As it is written, in the largest unit that is whole.
pub fn words(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let whole = units.iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    whole.map_or_else(|| format!("{ms}ms"), |(size, unit)| format!("{}{unit}", ms / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("250ms", None), Some(Duration::from_millis(250)));
        assert_eq!(parse("2 min", None), Some(Duration::from_mins(2)));
        assert_eq!(parse("30d", None), Some(Duration::from_hours(720)));
        assert_eq!(parse("1500", Some("ms")), Some(Duration::from_millis(1500)));
        for bad in ["", "5", "-1s", "1.5s", "s", "5 weeks", "99999999999999999999d"] {
            assert_eq!(parse(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_timeout_is_never_no_limit_by_mistake_and_fits_postgresqls_parameter() {
        assert_eq!(pg_timeout("0"), Some(Duration::ZERO));
        assert_eq!(pg_timeout("24d"), Some(Duration::from_hours(576)));
        for wrong in ["500us", "0ms", "0s", "25d", "5"] {
            assert_eq!(pg_timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_is_written() {
        for text in ["250ms", "2s", "2min", "1h", "30d", "0ms"] {
            assert_eq!(words(parse(text, None).unwrap()), text);
        }
    }
}
