//! Numbers as people read them: three digits that matter, thousands set apart, one dash where there is none.

/// What stands where there is no number.
pub const NONE: &str = "–";

/// A whole number: `1,234`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut told = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

/// Any quantity, to three digits or to the whole: `1,234`, `45.6`, `7.89`, `0.21`, `0.031`.
pub fn quantity(number: f64) -> String {
    if !number.is_finite() {
        return NONE.to_owned();
    }
    let size = number.abs();
    // The bounds are those of the rounded figure: 99.96 is told as 100, not as 100.0.
    if size == 0.0 {
        "0".to_owned()
    } else if size >= 99.95 {
        format!(
            "{}{}",
            if number < 0.0 { "-" } else { "" },
            count(size.round() as u64)
        )
    } else if size >= 9.995 {
        format!("{number:.1}")
    } else if size >= 0.0995 {
        format!("{number:.2}")
    } else if size >= 0.00995 {
        format!("{number:.3}")
    } else if size >= 0.00005 {
        format!("{number:.4}")
    } else {
        "<0.0001".to_owned()
    }
}

/// Milliseconds with their unit, seconds from ten on: `0.21 ms`, `1,234 ms`, `12.3 s`.
pub fn millis(number: f64) -> String {
    if !number.is_finite() {
        NONE.to_owned()
    } else if number >= 10_000.0 {
        format!("{} s", quantity(number / 1000.0))
    } else {
        format!("{} ms", quantity(number))
    }
}

/// Bytes with a binary unit: `512 B`, `1.50 KiB`, `345 MiB`.
pub fn bytes(number: f64) -> String {
    if !number.is_finite() {
        return NONE.to_owned();
    }
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = number;
    let mut unit = 0;
    while size >= 1023.5 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!(
        "{} {}",
        if unit == 0 {
            count(size.round() as u64)
        } else {
            quantity(size)
        },
        units[unit]
    )
}

/// As it stands beside an axis: without zeros that say nothing, `10 ms` for `10.0 ms`.
pub fn tick(told: &str) -> String {
    let (number, unit) = told
        .split_once(' ')
        .map_or((told, String::new()), |(number, unit)| {
            (number, format!(" {unit}"))
        });
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number}{unit}")
}

/// From one told quantity to another, with the unit told once where it is the same: `6.2–6.7 ms`.
pub fn range(from: &str, to: &str) -> String {
    let number = |told: &str| {
        told.find(|character: char| !"0123456789.,-".contains(character))
            .unwrap_or(told.len())
    };
    let (end, unit) = from.split_at(number(from));
    if unit == &to[number(to)..] {
        format!("{end}–{to}")
    } else {
        format!("{from}–{to}")
    }
}

/// How many times as much: `12.3×`.
pub fn times(number: f64) -> String {
    if number.is_finite() {
        format!("{}×", quantity(number))
    } else {
        NONE.to_owned()
    }
}

/// An RFC 3339 time to the minute: `2026-11-25 11:29 UTC`; anything else as it is.
pub fn minute(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..16)) {
        (Some(date), Some("T"), Some(clock)) if time.ends_with('Z') => format!("{date} {clock} UTC"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let told: Vec<_> = [0, 999, 1000, 12_345, 1_234_567].into_iter().map(count).collect();
        assert_eq!(told, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn three_digits_are_told() {
        let told: Vec<_> = [
            1234.4,
            99.96,
            45.64,
            9.996,
            7.891,
            0.21,
            0.0312,
            0.00123,
            0.000001,
            0.0,
            -2034.0,
            f64::NAN,
        ]
        .into_iter()
        .map(quantity)
        .collect();
        let expected = [
            "1,234", "100", "45.6", "10.0", "7.89", "0.21", "0.031", "0.0012", "<0.0001", "0", "-2,034", NONE,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn units_follow_the_size() {
        assert_eq!(millis(0.21), "0.21 ms");
        assert_eq!(millis(1234.0), "1,234 ms");
        assert_eq!(millis(12_345.0), "12.3 s");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1536.0), "1.50 KiB");
        assert_eq!(bytes(1023.9 * 1024.0), "1.00 MiB");
        assert_eq!(times(12.34), "12.3×");
    }

    #[test]
    fn units_are_told_once() {
        assert_eq!(range("6.23 ms", "6.69 ms"), "6.23–6.69 ms");
        assert_eq!(range("512 B", "1.50 KiB"), "512 B–1.50 KiB");
        assert_eq!(range("11.8×", "12.9×"), "11.8–12.9×");
        assert_eq!(range("1,981", "2,127"), "1,981–2,127");
    }

    #[test]
    fn an_axis_has_no_idle_zeros() {
        let told = ["10.0 ms", "1.50", "1,000", "0.010 ms", "0"].map(tick);
        assert_eq!(told, ["10 ms", "1.5", "1,000", "0.01 ms", "0"]);
    }

    #[test]
    fn a_time_is_told_to_the_minute() {
        assert_eq!(minute("2026-11-25T11:29:15Z"), "2026-11-25 11:29 UTC");
        assert_eq!(minute("yesterday"), "yesterday");
        assert_eq!(minute("–––––––––––"), "–––––––––––");
    }
}
