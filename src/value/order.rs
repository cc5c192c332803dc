//! Equality, order and hash of values: those of their canonical encodings, found without
//! encoding where that is easy.

use super::{Value, cbor};
use num_bigint::BigInt;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::Int(a), Self::BigInt(b)) | (Self::BigInt(b), Self::Int(a)) => {
                BigInt::from(*a) == **b
            }
            (Self::Float(a), Self::Float(b)) => {
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
            }
            (Self::Text(a), Self::Text(b))
            | (Self::Keyword(a), Self::Keyword(b))
            | (Self::Symbol(a), Self::Symbol(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Char(a), Self::Char(b)) => a == b,
            (Self::Ratio(a), Self::Ratio(b)) => a == b,
            (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::Uuid(a), Self::Uuid(b)) => a == b,
            (Self::Instant(a), Self::Instant(b)) => a == b,
            (Self::Vector(a), Self::Vector(b)) | (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => a == b,
            (Self::Tagged(a, x), Self::Tagged(b, y)) => a == b && x == y,
            _ => false, // the encoding is injective, so different kinds never meet
        }
    }
}

impl Eq for Value {}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // The encoding of a negative integer is that of -1 - n.
            (Self::Int(a), Self::Int(b)) => (*a < 0, a ^ (a >> 63)).cmp(&(*b < 0, b ^ (b >> 63))),
            (Self::Text(a), Self::Text(b)) => (a.len(), a).cmp(&(b.len(), b)),
            (Self::Bytes(a), Self::Bytes(b)) => (a.len(), a).cmp(&(b.len(), b)),
            (Self::Vector(a), Self::Vector(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            _ => cbor::encode(self).cmp(&cbor::encode(other)),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Text(text) => text.hash(state),
            _ => cbor::encode(self).hash(state),
        }
    }
}
