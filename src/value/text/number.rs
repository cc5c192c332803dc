//! Numbers and instants as text.
//!
//! Converting between binary and decimal costs the square of the length, so beyond a length
//! integers are written in hexadecimal: `0x…`. That is also where a reader refuses decimal digits.

use crate::value::{Decimal, Instant, Value};
use num_bigint::BigInt;

/// The most decimal digits of an exact number that are read.
const MAX_DIGITS: usize = 10_000;

/// The largest size written in decimal: 9 934 digits.
const MAX_DECIMAL_BITS: u64 = 33_000;

/// Whether the integer is written in decimal.
pub(in crate::value) fn has_decimal_digits(n: &BigInt) -> bool {
    n.bits() <= MAX_DECIMAL_BITS
}

/// `-12`, or `-0x1f…` if long.
pub(in crate::value) fn integer_text(n: &BigInt) -> String {
    if has_decimal_digits(n) {
        return n.to_string();
    }
    let sign = if n.sign() == num_bigint::Sign::Minus {
        "-"
    } else {
        ""
    };
    format!("{sign}0x{}", n.magnitude().to_str_radix(16))
}

pub(in crate::value) fn parse_integer_text(text: &str) -> Option<BigInt> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let n = match magnitude.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|c| c.is_ascii_hexdigit()) => {
            BigInt::parse_bytes(digits.as_bytes(), 16)?
        }
        Some(_) => return None,
        None => parse_decimal_digits(magnitude)?,
    };
    Some(if negative { -n } else { n })
}

/// An integer from nothing but decimal digits, at most [`MAX_DIGITS`] of them.
fn parse_decimal_digits(digits: &str) -> Option<BigInt> {
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    BigInt::parse_bytes(digits.as_bytes(), 10)
}

/// `1/2`
pub(in crate::value) fn parse_ratio_text(text: &str) -> Option<Value> {
    let (numerator, denominator) = text.split_once('/')?;
    let denominator = parse_decimal_digits(denominator)?;
    match numerator.strip_prefix('-') {
        Some(digits) => Value::ratio(-parse_decimal_digits(digits)?, denominator),
        None => Value::ratio(parse_decimal_digits(numerator)?, denominator),
    }
}

/// `1.50`, `1E+3`, or digits and scale `0x1f… 2` if long.
pub(in crate::value) fn decimal_text(decimal: &Decimal) -> String {
    if has_decimal_digits(decimal.unscaled()) {
        decimal.to_string()
    } else {
        format!("{} {}", integer_text(decimal.unscaled()), decimal.scale())
    }
}

pub(in crate::value) fn parse_decimal_text(text: &str) -> Option<Value> {
    match text.split_once(' ') {
        Some((unscaled, scale)) => Some(Value::decimal(
            parse_integer_text(unscaled)?,
            scale.parse().ok()?,
        )),
        None => parse_decimal(text),
    }
}

/// `-1.50`, `1E+3`: digits, perhaps with a point among or after them, and perhaps an exponent.
fn parse_decimal(text: &str) -> Option<Value> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() {
        return None;
    }
    let unscaled = parse_decimal_digits(&[whole, fraction].concat())?;
    let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    Some(Value::decimal(
        if negative { -unscaled } else { unscaled },
        i32::try_from(scale).ok()?,
    ))
}

/// RFC 3339, or seconds and nanoseconds `-99999999999999 5` for years it cannot write.
pub(in crate::value) fn instant_text(instant: Instant) -> String {
    instant
        .to_rfc3339()
        .unwrap_or_else(|| format!("{} {}", instant.seconds(), instant.nanos()))
}

pub(in crate::value) fn parse_instant_text(text: &str) -> Option<Value> {
    let instant = match text.split_once(' ') {
        Some((seconds, nanos)) if !nanos.contains(':') => {
            Instant::new(seconds.parse().ok()?, nanos.parse().ok()?)
        }
        _ => Instant::parse(text),
    };
    instant.map(Value::Instant)
}

/// A finite float as Clojure prints it: the fewest digits that read back as the same, always with
/// a point, and with an exponent outside 0.001 to 10 000 000.
pub(in crate::value) fn float_text(float: f64) -> String {
    let shortest = format!("{:e}", float.abs()); // d.ddde±n
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0);
    let sign = if float.is_sign_negative() { "-" } else { "" };
    if (-3..7).contains(&exponent) || float == 0.0 {
        return format!("{sign}{:?}", float.abs()); // plain in this range, and with a point
    }
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{sign}{mantissa}{point}E{exponent}")
}
