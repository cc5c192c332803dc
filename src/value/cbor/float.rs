//! Half precision floats: the shortest CBOR form of many doubles.

/// The double a half stands for (RFC 8949, appendix D).
pub(super) fn from_half(half: u16) -> f64 {
    let exponent = (half >> 10) & 0x1f;
    let mantissa = f64::from(half & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => return f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(i32::from(exponent) - 25),
    };
    if half & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// The half that stands for exactly this double (which is not NaN), if there is one.
pub(super) fn to_half(float: f64) -> Option<u16> {
    const SPARE_BITS: u64 = (1 << 42) - 1; // mantissa bits that a half has no room for
    let bits = float.to_bits();
    let sign = if bits >> 63 == 0 { 0 } else { 0x8000 };
    let mantissa = bits & ((1 << 52) - 1);
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let magnitude = float.abs();
    if magnitude == 0.0 {
        Some(sign)
    } else if magnitude.is_infinite() {
        Some(sign | 0x7c00)
    } else if (-14..=15).contains(&exponent) && mantissa & SPARE_BITS == 0 {
        Some(sign | ((exponent + 15) as u16) << 10 | (mantissa >> 42) as u16)
    } else {
        let units = magnitude * 2f64.powi(24); // subnormal halves are whole multiples of 2^-24
        (units < 1024.0 && units.fract() == 0.0).then_some(sign | units as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_a_double() {
        for half in 0..=u16::MAX {
            let float = from_half(half);
            if !float.is_nan() {
                assert_eq!(to_half(float), Some(half), "{half:#06x} is {float}");
            }
        }
    }

    #[test]
    fn a_double_between_two_halves_has_no_half() {
        for float in [
            0.1,
            65505.0,
            65536.0,
            1e-8,
            2f64.powi(-25),
            1.0 + 2f64.powi(-11),
            f64::MIN_POSITIVE,
        ] {
            assert_eq!(to_half(float), None, "{float}");
        }
    }
}
