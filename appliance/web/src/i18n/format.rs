//! Numbers, sizes, times and durations as the languages write them.
//!
//! A hub does not know its readers' time zone, so the server writes UTC and says so; the page's script
//! turns it into the reader's own time.

use super::{Count, Key, Language};

const DAY_MS: i64 = 86_400_000;
/// Clocks before 2020 were never set: a board without a battery starts in 1970.
const CLOCK_FLOOR_MS: i64 = 1_577_836_800_000;

const MONTHS: [[&str; 12]; 4] = [
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"],
    ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
    [
        "يناير",
        "فبراير",
        "مارس",
        "أبريل",
        "مايو",
        "يونيو",
        "يوليو",
        "أغسطس",
        "سبتمبر",
        "أكتوبر",
        "نوفمبر",
        "ديسمبر",
    ],
];

/// Year, month (1–12), day of a count of days since 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", civil_from_days).
const fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// The inverse of [`civil`].
const fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let mp = (month as i64 + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day as i64 - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// `2026-11-20`, as `<input type="date">` takes it.
pub(crate) fn date_input(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    format!("{year:04}-{month:02}-{day:02}")
}

/// The start of the day written as `2026-11-20`, in milliseconds since 1970 UTC.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let days = days_from_civil(year, month, day);
    (civil(days) == (year, month, day)).then_some(days * DAY_MS)
}

/// `2026-11-20T14:05:00Z`, for the `datetime` attribute.
pub(crate) fn iso(ms: i64) -> String {
    let seconds = ms.rem_euclid(DAY_MS) / 1000;
    format!("{}T{:02}:{:02}:{:02}Z", date_input(ms), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A day in words: `20 Nov 2026`.
pub(crate) fn date(language: Language, ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let month = MONTHS
        .get(language as usize)
        .and_then(|names| names.get((month as usize).wrapping_sub(1)))
        .copied()
        .unwrap_or_default();
    format!("{day} {month} {year}")
}

impl Language {
    /// A moment in words: `20 Nov 2026, 14:05 UTC`.
    pub(crate) fn moment(self, ms: i64) -> String {
        if ms < CLOCK_FLOOR_MS {
            return self.t(Key::TimeUnset).to_owned();
        }
        let minutes = ms.rem_euclid(DAY_MS) / 60_000;
        let comma = if self == Self::Arabic { "،" } else { "," };
        format!("{}{comma} {:02}:{:02} UTC", date(self, ms), minutes / 60, minutes % 60)
    }

    /// A whole number with its thousands set apart from five digits on.
    pub(crate) fn number(self, n: u64) -> String {
        let digits = n.to_string();
        if digits.len() < 5 {
            return digits;
        }
        let separator = match self {
            Self::English | Self::Arabic => ',',
            // U+202F, as the Académies of both languages have it.
            Self::Spanish | Self::French => '\u{202f}',
        };
        let mut out = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                out.push(separator);
            }
            out.push(digit);
        }
        out
    }

    /// A number with one decimal where that says something.
    fn decimal(self, tenths: u64) -> String {
        let whole = self.number(tenths / 10);
        if tenths >= 100 || tenths.is_multiple_of(10) {
            return whole;
        }
        let point = if matches!(self, Self::Spanish | Self::French) { ',' } else { '.' };
        format!("{whole}{point}{}", tenths % 10)
    }

    /// A size in the unit that fits, powers of 1000.
    pub(crate) fn size(self, bytes: u64) -> String {
        let (key, unit) = match bytes {
            0..1_000 => (Key::SizeBytes, 1),
            1_000..1_000_000 => (Key::SizeKb, 1_000),
            1_000_000..1_000_000_000 => (Key::SizeMb, 1_000_000),
            _ => (Key::SizeGb, 1_000_000_000),
        };
        let tenths = bytes.saturating_mul(10).saturating_add(unit / 2) / unit;
        self.with(key, &[("n", &self.decimal(tenths))])
    }

    /// A duration in its largest sensible unit.
    pub(crate) fn duration(self, seconds: u64) -> String {
        match seconds {
            0..5_400 => self.count(Count::Minutes, seconds.div_ceil(60).max(1)),
            5_400..129_600 => self.count(Count::Hours, seconds.div_ceil(3_600)),
            _ => self.count(Count::Days, seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for text in ["1970-01-01", "2000-02-29", "2026-11-20", "2106-02-07"] {
            assert_eq!(date_input(parse_date(text).unwrap()), text);
        }
        for text in ["2026-02-29", "2026-13-01", "26-1-1", "2026-11-20x", ""] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        assert_eq!(iso(1_795_183_500_000), "2026-11-20T14:05:00Z");
    }

    #[test]
    fn moments_numbers_and_sizes_read_naturally() {
        let ms = parse_date("2026-11-20").unwrap() + 50_700_000;
        assert_eq!(Language::English.moment(ms), "20 Nov 2026, 14:05 UTC");
        assert_eq!(Language::Arabic.moment(ms), "20 نوفمبر 2026، 14:05 UTC");
        assert_eq!(Language::English.moment(5_000), "before the clock was set");
        assert_eq!(Language::English.number(1_234_567), "1,234,567");
        assert_eq!(Language::French.number(12_345), "12\u{202f}345");
        assert_eq!(Language::English.size(1_540_000), "1.5 MB");
        assert_eq!(Language::French.size(1_540_000), "1,5 Mo");
        assert_eq!(Language::English.size(999), "999 B");
        assert_eq!(Language::English.duration(61), "2 minutes");
    }
}
