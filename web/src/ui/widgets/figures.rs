//! Numbers and names, for people to read.

use ternary::config::QuantMode;
use ternary::session::DeviceInfo;

/// "14.2 MB"
pub fn bytes(count: u64) -> String {
    scaled(count as f64, &["bytes", "kB", "MB", "GB", "TB"])
}

/// "3.1 MB of 14.2 MB"
pub fn bytes_of(part: u64, whole: u64) -> String {
    format!("{} of {}", bytes(part), bytes(whole))
}

/// "8.4 million"; below a million every digit.
pub fn count(count: usize) -> String {
    if count < 1_000_000 {
        return grouped(count);
    }
    scaled(count as f64 / 1e6, &["million", "billion", "trillion"])
}

/// "3,072"
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "0.35 s", or "35 ms" below a tenth of a second.
pub fn milliseconds(time: f64) -> String {
    if time < 100.0 {
        format!("{time:.0} ms")
    } else {
        format!("{:.2} s", time / 1000.0)
    }
}

/// "1 min 20 s", "45 s"
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// "8 s", or "3 min" from a minute and a half on.
pub fn seconds(time: f64) -> String {
    if time < 90.0 {
        format!("{:.0} s", time.ceil())
    } else {
        format!("{:.0} min", time / 60.0)
    }
}

/// "31 tokens/s", with a decimal where it matters.
pub fn speed(tokens_per_second: f64) -> String {
    let decimals = usize::from(tokens_per_second < 10.0);
    format!("{tokens_per_second:.decimals$} tokens/s")
}

fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value.fract() > 0.0 && value < 99.95);
    format!("{value:.decimals$}\u{a0}{}", units[unit])
}

/// "1 layer", "6 layers".
pub fn of_them(count: usize, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(count))
}

/// "CPU", "GPU"
pub fn device_kind(device: &DeviceInfo) -> String {
    device.kind.to_string().to_uppercase()
}

/// "8-bit", "ternary"
pub fn quant_mode(mode: QuantMode) -> &'static str {
    match mode {
        QuantMode::F32 => "32-bit float",
        QuantMode::F16 => "16-bit float",
        QuantMode::EightBit => "8-bit",
        QuantMode::Ternary => "ternary",
        QuantMode::Binary => "binary",
    }
}

/// With a capital letter and a full stop.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let mut sentence: String = first.to_uppercase().chain(letters).collect();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}
