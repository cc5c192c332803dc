//! Exact numbers beyond 64-bit integers: ratios and decimals.

use super::Value;
use num_bigint::{BigInt, Sign};
use num_integer::Integer as _;
use num_traits::{One as _, ToPrimitive as _, Zero as _};
use std::fmt;

/// A fraction in lowest terms; its denominator is above 1 (else it would be an integer).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: BigInt,
    denominator: BigInt,
}

impl Ratio {
    /// The size up to which the parts of a ratio may be given. Finding lowest terms costs the
    /// square of it, which must not be left to whoever wrote the input.
    pub const MAX_BITS: u64 = 8192;

    /// The part above the line; it carries the sign.
    pub fn numerator(&self) -> &BigInt {
        &self.numerator
    }

    /// The part below the line, above 1.
    pub fn denominator(&self) -> &BigInt {
        &self.denominator
    }
}

/// `numerator/denominator`
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// `unscaled × 10^-scale`, where trailing zeros count: `1.5` and `1.50` are different decimals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    unscaled: BigInt,
    scale: i32,
}

impl Decimal {
    /// The decimal `unscaled × 10^-scale`.
    pub fn new(unscaled: BigInt, scale: i32) -> Self {
        Self { unscaled, scale }
    }

    /// The digits without the point.
    pub fn unscaled(&self) -> &BigInt {
        &self.unscaled
    }

    /// How many of the digits stand behind the point; negative for trailing zeros not written.
    pub fn scale(&self) -> i32 {
        self.scale
    }
}

/// The form of Java's `BigDecimal.toString`, which tells every scale apart: plain when the scale
/// is not negative and the number not tiny, else with one digit before the point and an exponent.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.unscaled.magnitude().to_string();
        if self.unscaled.sign() == Sign::Minus {
            f.write_str("-")?;
        }
        let scale = i64::from(self.scale);
        let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let exponent = count - 1 - scale;
        if scale == 0 {
            return f.write_str(&digits);
        }
        if scale > 0 && exponent >= -6 {
            let behind = self.scale.unsigned_abs() as usize;
            let padded = format!("{digits:0>width$}", width = behind + 1);
            let (whole, fraction) = padded.split_at(padded.len() - behind);
            return write!(f, "{whole}.{fraction}");
        }
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        write!(f, "{first}{point}{rest}E{exponent:+}")
    }
}

impl Value {
    /// The integer in its one form: [`Value::Int`] when it fits 64 bits.
    pub fn integer(n: BigInt) -> Self {
        match n.to_i64() {
            Some(small) => Self::Int(small),
            None => Self::BigInt(Box::new(n)),
        }
    }

    /// The fraction in lowest terms, an integer where it is one; `None` for a denominator of 0 or
    /// parts of more than [`Ratio::MAX_BITS`].
    pub fn ratio(numerator: BigInt, denominator: BigInt) -> Option<Self> {
        if denominator.is_zero() || numerator.bits().max(denominator.bits()) > Ratio::MAX_BITS {
            return None;
        }
        let divisor = numerator.gcd(&denominator);
        let (mut numerator, mut denominator) = (numerator / &divisor, denominator / &divisor);
        if denominator.sign() == Sign::Minus {
            (numerator, denominator) = (-numerator, -denominator);
        }
        Some(if denominator.is_one() {
            Self::integer(numerator)
        } else {
            Self::Ratio(Box::new(Ratio {
                numerator,
                denominator,
            }))
        })
    }

    /// The decimal `unscaled × 10^-scale`.
    pub fn decimal(unscaled: BigInt, scale: i32) -> Self {
        Self::Decimal(Box::new(Decimal::new(unscaled, scale)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    #[test]
    fn a_ratio_is_in_lowest_terms_with_the_sign_above() {
        let ratio = |n: i64, d: i64| Value::ratio(n.into(), d.into());
        assert_eq!(ratio(2, -4), ratio(-1, 2));
        assert_eq!(ratio(-6, -3), Some(Value::Int(2)));
        assert_eq!(ratio(0, -3), Some(Value::Int(0)));
        assert_eq!(ratio(1, 0), None);
        assert_eq!(
            Value::ratio(BigInt::one() << Ratio::MAX_BITS, 3.into()),
            None
        );
    }

    #[test]
    fn an_integer_is_big_only_when_it_must_be() {
        assert!(matches!(
            Value::integer(i64::MIN.into()),
            Value::Int(i64::MIN)
        ));
        assert!(matches!(
            Value::integer(BigInt::from(i64::MAX) + 1),
            Value::BigInt(_)
        ));
    }

    #[test]
    fn every_scale_of_a_decimal_has_its_own_text() {
        let text = |unscaled: i64, scale| Decimal::new(unscaled.into(), scale).to_string();
        for (unscaled, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (0, -2, "0E+2"),
            (0, 10, "0E-10"),
            (-150, 2, "-1.50"),
            (5, 6, "0.000005"),
            (5, 7, "5E-7"),
            (15, -1, "1.5E+2"),
            (123, i32::MIN, "1.23E+2147483650"),
            (123, i32::MAX, "1.23E-2147483645"),
        ] {
            assert_eq!(text(unscaled, scale), expected);
        }
    }
}
