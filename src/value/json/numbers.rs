//! Numbers that went through a program which has doubles only.

use num_bigint::BigInt;
use num_traits::{FromPrimitive as _, ToPrimitive as _};

use crate::value::Value;

/// Up to here every integer is a double.
const EXACT: i64 = 1 << 53;

/// The value that JSON text means where `old` was shown: a number that is what a program with doubles
/// makes of the one that stood there is that one. So `jq` writes 1.0 as 1 and 9007199254740993 as
/// 9007199254740992, and neither has been changed by it.
pub fn keep_numbers(mut new: Value, old: &Value) -> Value {
    keep(&mut new, old);
    new
}

fn keep(new: &mut Value, old: &Value) {
    match (new, old) {
        (Value::Map(new), Value::Map(old)) => {
            for (key, value) in new {
                if let Some(old) = old.get(key) {
                    keep(value, old);
                }
            }
        }
        (Value::Vector(new), Value::Vector(old)) | (Value::List(new), Value::List(old)) => {
            for (value, old) in new.iter_mut().zip(old) {
                keep(value, old);
            }
        }
        (Value::Tagged(_, new), Value::Tagged(_, old)) => keep(new, old),
        (new, old) => {
            if let Some(double) = rounded(old)
                && is_printed(new, double)
            {
                *new = old.clone();
            }
        }
    }
}

/// The double that a program has of a number, if it may come back as something else.
fn rounded(old: &Value) -> Option<f64> {
    match old {
        Value::Float(float) if float.is_finite() => Some(*float),
        Value::Int(n) if !(-EXACT..=EXACT).contains(n) => n.to_f64(),
        Value::BigInt(n) => n.to_f64().filter(|double| double.is_finite()),
        _ => None,
    }
}

/// Whether a double may be written like this: as a float, as the integer that it is, or as the
/// fewest digits that tell it from others, and zeros.
fn is_printed(new: &Value, double: f64) -> bool {
    let n = match new {
        Value::Float(float) => return *float == double,
        Value::Int(n) => BigInt::from(*n),
        Value::BigInt(n) => (**n).clone(),
        _ => return false,
    };
    double.fract() == 0.0
        && (BigInt::from_f64(double).as_ref() == Some(&n) || double.to_string() == n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::edn;

    fn kept(new: &str, old: &str) -> String {
        let (new, old) = (edn::parse(new).unwrap(), edn::parse(old).unwrap());
        edn::print(&keep_numbers(new, &old))
    }

    #[test]
    fn what_a_double_makes_of_a_number_is_the_number() {
        for (new, old) in [
            ("1", "1.0"),
            ("0", "-0.0"),
            ("10000000", "1.0E7"),
            ("100000000000000000", "1.0E17"),
            ("9007199254740992", "9007199254740993"),
            ("1700000000123456768", "1700000000123456789"),
            ("1700000000123456800", "1700000000123456789"),
            ("1E22", "10000000000000000000001"),
            ("-1700000000123456800", "-1700000000123456789"),
        ] {
            assert_eq!(kept(new, old), old);
        }
    }

    #[test]
    fn another_number_is_another_one() {
        for (new, old) in [
            ("2", "1.0"),
            ("1.0", "1"),
            ("1.5", "1"),
            ("9007199254740994", "9007199254740993"),
            ("1700000000123456790", "1700000000123456789"),
            ("10000000000000000000002", "10000000000000000000001"),
            ("1", "\"1\""),
            ("\"1\"", "1.0"),
            ("nil", "1.0"),
        ] {
            assert_eq!(kept(new, old), edn::print(&edn::parse(new).unwrap()));
        }
    }

    #[test]
    fn numbers_are_compared_with_those_in_the_same_place() {
        assert_eq!(
            kept(
                "{\"a\" [1 2 3], \"b\" (1), \"c\" #t 1, \"d\" 1}",
                "{\"a\" [1.0 2 2.0], \"b\" (1.0), \"c\" #t 1.0}"
            ),
            "{\"a\" [1.0 2 3], \"b\" (1.0), \"c\" #t 1.0, \"d\" 1}"
        );
    }
}
