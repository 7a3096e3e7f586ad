//! When a conversation was, as one says it.

use js_sys::Date;

const DAY: f64 = 86_400_000.0;

/// "Today", "Yesterday"; of an ISO 8601 time.
pub fn group(time: &str) -> &'static str {
    let now = Date::new_0();
    let midnight = Date::new_with_year_month_day(
        now.get_full_year(),
        now.get_month() as i32,
        now.get_date() as i32,
    );
    let before = midnight.get_time() - Date::parse(time);
    // Nothing is known of a time that can't be read.
    match before {
        before if before <= 0.0 => "Today",
        before if before <= DAY => "Yesterday",
        before if before <= 7.0 * DAY => "The last 7 days",
        before if before <= 30.0 * DAY => "The last 30 days",
        _ => "Earlier",
    }
}
