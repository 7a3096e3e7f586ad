//! `strftime_now`: Python's `strftime` of a time without a zone, with glibc's flags and widths.

use minijinja::Error;

use super::guard::Budget;
use crate::platform::{SystemTime, UNIX_EPOCH, utc_offset};

/// A moment, the same for all renderings of a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Local time, in seconds since 1970.
    pub local: i64,
    /// Seconds by which local time is ahead of UTC.
    pub offset: i64,
    pub microseconds: u32,
}

impl Now {
    pub fn read() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = since.as_secs() as i64;
        let offset = utc_offset(seconds);
        Now {
            local: seconds + offset,
            offset,
            microseconds: since.subsec_micros(),
        }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// The day of a count of days since 1970: year, month, day (Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (
        year + 400 * era + i64::from(month <= 2),
        month as usize,
        day,
    )
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// A moment taken apart.
struct Moment {
    now: Now,
    year: i64,
    month: usize,
    day: i64,
    /// From Sunday, 0.
    weekday: i64,
    /// From 0.
    of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

/// What a code gives, and how glibc fills it up to a width.
struct Field {
    text: String,
    fill: char,
    width: usize,
}

impl Moment {
    fn new(now: Now) -> Self {
        let (days, of_day) = (now.local.div_euclid(86_400), now.local.rem_euclid(86_400));
        let (year, month, day) = date(days);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month - 1];
        Moment {
            now,
            year,
            month,
            day,
            weekday: (days + 4).rem_euclid(7),
            of_year: before + day - 1 + i64::from(leap(year) && month > 2),
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
        }
    }

    /// Year and week by ISO 8601.
    fn iso_week(&self) -> (i64, i64) {
        let monday = (self.weekday + 6) % 7;
        let week = (self.of_year - monday + 10) / 7;
        // A year has 53 weeks if it begins, or ends, on a Thursday.
        let weeks = |year: i64| {
            let first = |y: i64| (y + y / 4 - y / 100 + y / 400) % 7;
            52 + i64::from(first(year) == 4 || first(year - 1) == 3)
        };
        match week {
            0 => (self.year - 1, weeks(self.year - 1)),
            53 if weeks(self.year) == 52 => (self.year + 1, 1),
            week => (self.year, week),
        }
    }

    fn field(&self, code: char) -> Option<Field> {
        let number = |n: i64, width: usize, fill: char| {
            Some(Field {
                text: n.to_string(),
                fill,
                width,
            })
        };
        let text = |text: String| {
            Some(Field {
                text,
                fill: ' ',
                width: 0,
            })
        };
        let several = |codes: &str| {
            let mut out = String::new();
            for code in codes.chars() {
                match self.field(code).filter(|_| code.is_ascii_alphabetic()) {
                    Some(field) => out += &field.filled(field.fill, field.width),
                    None => out.push(code),
                }
            }
            text(out)
        };
        let half = if self.hour < 12 { "AM" } else { "PM" };
        let noon = (self.hour + 11) % 12 + 1;
        match code {
            'Y' => number(self.year, 4, '0'),
            'G' => number(self.iso_week().0, 4, '0'),
            'C' => number(self.year.div_euclid(100), 2, '0'),
            'y' => number(self.year.rem_euclid(100), 2, '0'),
            'g' => number(self.iso_week().0.rem_euclid(100), 2, '0'),
            'm' => number(self.month as i64, 2, '0'),
            'd' => number(self.day, 2, '0'),
            'e' => number(self.day, 2, ' '),
            'j' => number(self.of_year + 1, 3, '0'),
            'U' => number((self.of_year + 7 - self.weekday) / 7, 2, '0'),
            'W' => number((self.of_year + 7 - (self.weekday + 6) % 7) / 7, 2, '0'),
            'V' => number(self.iso_week().1, 2, '0'),
            'w' => number(self.weekday, 1, '0'),
            'u' => number((self.weekday + 6) % 7 + 1, 1, '0'),
            'H' => number(self.hour, 2, '0'),
            'k' => number(self.hour, 2, ' '),
            'I' => number(noon, 2, '0'),
            'l' => number(noon, 2, ' '),
            'M' => number(self.minute, 2, '0'),
            'S' => number(self.second, 2, '0'),
            's' => number(self.now.local - self.now.offset, 1, '0'),
            'B' => text(MONTHS[self.month - 1].into()),
            'b' | 'h' => text(MONTHS[self.month - 1][..3].into()),
            'A' => text(DAYS[self.weekday as usize].into()),
            'a' => text(DAYS[self.weekday as usize][..3].into()),
            'p' => text(half.into()),
            'P' => text(half.to_lowercase()),
            // There is no zone.
            'z' | 'Z' => text(String::new()),
            'F' => several("Y-m-d"),
            'T' | 'X' => several("H:M:S"),
            'R' => several("H:M"),
            'r' => several("I:M:S p"),
            'D' | 'x' => several("m/d/y"),
            'c' => several("a b e H:M:S Y"),
            'n' => text("\n".into()),
            't' => text("\t".into()),
            '%' => text("%".into()),
            _ => None,
        }
    }
}

impl Field {
    fn filled(&self, fill: char, width: usize) -> String {
        let missing = width.saturating_sub(self.text.chars().count());
        let mut out: String = std::iter::repeat_n(fill, missing).collect();
        out += &self.text;
        out
    }
}

pub(super) fn strftime(budget: &Budget, now: Now, format: &str) -> Result<String, Error> {
    let moment = Moment::new(now);
    let (mut out, mut rest) = (String::new(), format);
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at..];
        budget.allow(out.len() + rest.len())?;
        // Python's own code.
        if let Some(after) = rest.strip_prefix("%f") {
            out += &format!("{:06}", now.microseconds);
            rest = after;
            continue;
        }
        let body = &rest[1..];
        let flags = body.len() - body.trim_start_matches(['-', '_', '0', '^', '#']).len();
        let (flags, body) = body.split_at(flags);
        let digits = body.len() - body.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, body) = body.split_at(digits);
        let body = body.strip_prefix(['E', 'O']).unwrap_or(body);
        let code = body.chars().next();
        let Some((code, field)) = code.and_then(|c| Some((c, moment.field(c)?))) else {
            // It stays as it is written.
            let end = rest.len() - body.len() + code.map_or(0, char::len_utf8);
            out += &rest[..end];
            rest = &rest[end..];
            continue;
        };
        rest = &body[code.len_utf8()..];
        let last = flags.chars().rfind(|c| matches!(c, '-' | '_' | '0'));
        let fill = match last {
            Some('0') => '0',
            Some('_') => ' ',
            _ => field.fill,
        };
        let given = digits.parse().unwrap_or(0);
        let width = match last {
            Some('-') if digits.is_empty() => 0,
            Some('-') => given,
            _ => field.width.max(given),
        };
        budget.allow(width.saturating_add(out.len()))?;
        let fill = if last == Some('-') { ' ' } else { fill };
        let text = field.filled(fill, width);
        out += &match (flags.contains('#'), flags.contains('^'), code) {
            (true, _, 'p' | 'Z') => text.to_lowercase(),
            (true, ..) | (_, true, _) => text.to_uppercase(),
            _ => text,
        };
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(local: i64, format: &str) -> String {
        let now = Now {
            local,
            offset: 3600,
            microseconds: 42,
        };
        strftime(&Budget::new(0, 0), now, format).unwrap()
    }

    #[test]
    fn dates_are_pythons() {
        // 2024-02-29 13:05:09, a Thursday.
        let leap_day = 1_709_211_909;
        assert_eq!(at(leap_day, "%Y-%m-%d %H:%M:%S"), "2024-02-29 13:05:09");
        assert_eq!(
            at(leap_day, "%d %B %Y, %A %a %b %y %-d %j %I %p %%"),
            "29 February 2024, Thursday Thu Feb 24 29 060 01 PM %"
        );
        assert_eq!(at(leap_day, "%s %f"), "1709208309 000042");
        assert_eq!(at(0, "%F %T %-m/%e %q"), "1970-01-01 00:00:00 1/ 1 %q");
        assert_eq!(at(-1, "%F %T"), "1969-12-31 23:59:59");
        assert_eq!(at(951_782_400 + 366 * 86_400, "%F %j"), "2001-03-01 060");
    }

    /// Written by Python's `strftime` for the first and the last days of years.
    #[test]
    fn weeks_are_counted_as_python_counts_them() {
        for line in include_str!("tests/weeks.txt").lines() {
            let (day, weeks) = line.split_once(' ').unwrap();
            let seconds = 86_400 * day.parse::<i64>().unwrap();
            assert_eq!(at(seconds, "%F %U %W %V %G %g %u %w"), weeks);
        }
    }
}
