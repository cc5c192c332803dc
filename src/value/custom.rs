//! Types of a program's own, as tagged values.

use super::Value;

/// A type of a program's own. A store keeps it as a tagged value, which every other program reads and
/// writes unharmed, whether it knows the tag or not.
///
/// ```
/// use konserve_fs::value::{Custom, Value};
///
/// #[derive(Debug, PartialEq)]
/// struct Metres(i64);
///
/// impl Custom for Metres {
///     const TAG: &str = "my.app/metres";
///
///     fn write(&self) -> Value {
///         Value::Int(self.0)
///     }
///
///     fn read(value: &Value) -> Option<Self> {
///         match value {
///             Value::Int(n) => Some(Self(*n)),
///             _ => None,
///         }
///     }
/// }
///
/// let value = Value::custom(&Metres(5));
/// assert_eq!(value.to_string(), "#my.app/metres 5");
/// assert_eq!(value.to_custom(), Some(Metres(5)));
/// assert_eq!(Value::Int(5).to_custom::<Metres>(), None);
/// ```
pub trait Custom: Sized {
    /// The tag: a symbol with a namespace, so that it is nobody else's.
    const TAG: &str;

    /// What stands behind the tag.
    fn write(&self) -> Value;

    /// Reads what stands behind the tag; `None` if it is not what [`write`](Self::write) gives.
    fn read(value: &Value) -> Option<Self>;
}

impl Value {
    /// The tagged value of a type of a program's own.
    #[must_use]
    pub fn custom<T: Custom>(custom: &T) -> Self {
        Self::Tagged(T::TAG.to_owned(), Box::new(custom.write()))
    }

    /// What a tagged value says, if it has the tag of the type.
    #[must_use]
    pub fn to_custom<T: Custom>(&self) -> Option<T> {
        match self {
            Self::Tagged(tag, value) if tag == T::TAG => T::read(value),
            _ => None,
        }
    }
}
