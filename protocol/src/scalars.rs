//! A tensor's elements in JSON: an array of numbers or booleans, flat or nested.

use std::fmt;

use leeway_contract::{DType, Tensor};
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{ProtocolError, datatype, wrong};

/// One element, before its type is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scalar {
    Bool(bool),
    Whole(i64),
    /// One that only `u64` has.
    Large(u64),
    Float(f64),
}

/// The elements in row-major order.
#[derive(Debug, Default)]
pub(crate) struct Scalars(Vec<Scalar>);

impl<'de> de::Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut scalars = Vec::new();
        deserializer.deserialize_seq(Collect { scalars: &mut scalars })?;
        Ok(Self(scalars))
    }
}

/// Collects one element, or those of one array.
struct Collect<'a> {
    scalars: &'a mut Vec<Scalar>,
}

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or booleans (NaN and infinities can only be sent as binary data)")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalars.push(Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalars.push(Scalar::Whole(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalars.push(i64::try_from(value).map_or(Scalar::Large(value), Scalar::Whole));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalars.push(Scalar::Float(value));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Collect { scalars: self.scalars })?.is_some() {}
        Ok(())
    }
}

impl Scalars {
    /// The elements' bytes as `dtype`. A number that the type does not have is
    /// an error; a fraction is rounded where the type has fractions at all.
    pub(crate) fn to_bytes(&self, name: &str, dtype: DType) -> Result<Vec<u8>, ProtocolError> {
        let mut bytes = Vec::with_capacity(self.0.len() * dtype.size_bytes());
        for (index, scalar) in self.0.iter().enumerate() {
            push(*scalar, dtype, &mut bytes).ok_or_else(|| {
                let seen = match scalar {
                    Scalar::Bool(value) => value.to_string(),
                    Scalar::Whole(value) => value.to_string(),
                    Scalar::Large(value) => value.to_string(),
                    Scalar::Float(value) => value.to_string(),
                };
                let hint = match dtype {
                    DType::F16 | DType::BF16 => ": send this datatype as binary data",
                    _ => "",
                };
                let datatype = datatype::name(dtype);
                wrong(format!("input {name:?}: element {index} is {seen}, no {datatype}{hint}"))
            })?;
        }
        Ok(bytes)
    }
}

/// Appends an element's bytes; `None` if the type does not have the value.
fn push(scalar: Scalar, dtype: DType, bytes: &mut Vec<u8>) -> Option<()> {
    let whole = || match scalar {
        Scalar::Whole(value) => Some(i128::from(value)),
        Scalar::Large(value) => Some(i128::from(value)),
        _ => None,
    };
    let float = || match scalar {
        Scalar::Bool(_) => None,
        Scalar::Whole(value) => Some(value as f64),
        Scalar::Large(value) => Some(value as f64),
        Scalar::Float(value) => Some(value),
    };
    match dtype {
        DType::F32 => {
            let value = float()? as f32;
            bytes.extend_from_slice(&value.is_finite().then_some(value)?.to_le_bytes());
        }
        DType::F64 => bytes.extend_from_slice(&float()?.to_le_bytes()),
        DType::U8 => bytes.push(u8::try_from(whole()?).ok()?),
        DType::I8 => bytes.extend_from_slice(&i8::try_from(whole()?).ok()?.to_le_bytes()),
        DType::I32 => bytes.extend_from_slice(&i32::try_from(whole()?).ok()?.to_le_bytes()),
        DType::I64 => bytes.extend_from_slice(&i64::try_from(whole()?).ok()?.to_le_bytes()),
        DType::I16 => bytes.extend_from_slice(&i16::try_from(whole()?).ok()?.to_le_bytes()),
        DType::U16 => bytes.extend_from_slice(&u16::try_from(whole()?).ok()?.to_le_bytes()),
        DType::U32 => bytes.extend_from_slice(&u32::try_from(whole()?).ok()?.to_le_bytes()),
        DType::U64 => bytes.extend_from_slice(&u64::try_from(whole()?).ok()?.to_le_bytes()),
        DType::Bool => match scalar {
            Scalar::Bool(value) => bytes.push(value.into()),
            _ => return None,
        },
        DType::F16 | DType::BF16 => return None,
    }
    Some(())
}

/// A tensor's elements as a flat JSON array.
pub(crate) struct JsonData<'a>(&'a Tensor);

impl<'a> JsonData<'a> {
    /// Refuses what JSON does not have: NaN, infinities, 16-bit floats.
    pub(crate) fn new(name: &str, tensor: &'a Tensor) -> Result<Self, ProtocolError> {
        let finite = match tensor.dtype {
            DType::F32 => chunks(tensor).all(|b| f32::from_le_bytes(b).is_finite()),
            DType::F64 => chunks(tensor).all(|b| f64::from_le_bytes(b).is_finite()),
            DType::F16 | DType::BF16 => {
                let (dtype, ask) = (datatype::name(tensor.dtype), "ask for it as binary data");
                return Err(wrong(format!("output {name:?} has no JSON form as {dtype}: {ask}")));
            }
            _ => true,
        };
        if !finite {
            let message = "has NaN or infinite elements, which JSON has not: ask for binary data";
            return Err(wrong(format!("output {name:?} {message}")));
        }
        Ok(Self(tensor))
    }
}

impl Serialize for JsonData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tensor = self.0;
        match tensor.dtype {
            DType::F32 => serializer.collect_seq(chunks(tensor).map(f32::from_le_bytes)),
            DType::F64 => serializer.collect_seq(chunks(tensor).map(f64::from_le_bytes)),
            DType::I32 => serializer.collect_seq(chunks(tensor).map(i32::from_le_bytes)),
            DType::I64 => serializer.collect_seq(chunks(tensor).map(i64::from_le_bytes)),
            DType::I8 => serializer.collect_seq(chunks(tensor).map(i8::from_le_bytes)),
            DType::I16 => serializer.collect_seq(chunks(tensor).map(i16::from_le_bytes)),
            DType::U16 => serializer.collect_seq(chunks(tensor).map(u16::from_le_bytes)),
            DType::U32 => serializer.collect_seq(chunks(tensor).map(u32::from_le_bytes)),
            DType::U64 => serializer.collect_seq(chunks(tensor).map(u64::from_le_bytes)),
            DType::Bool => serializer.collect_seq(tensor.data.iter().map(|byte| *byte != 0)),
            // `new` refuses the 16-bit floats.
            DType::U8 | DType::F16 | DType::BF16 => serializer.collect_seq(&tensor.data),
        }
    }
}

fn chunks<const N: usize>(tensor: &Tensor) -> impl Iterator<Item = [u8; N]> {
    tensor.data.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(json: &str, dtype: DType) -> Result<Vec<u8>, String> {
        let scalars: Scalars = serde_json::from_str(json).map_err(|error| error.to_string())?;
        scalars.to_bytes("x", dtype).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_and_flat_arrays_are_the_same() {
        let flat = bytes("[1, 2.5, -3, 4e2]", DType::F32).unwrap();
        assert_eq!(bytes("[[[1, 2.5]], [[-3], [4e2]]]", DType::F32).unwrap(), flat);
        assert_eq!(flat, Tensor::from_f32(&[4], &[1.0, 2.5, -3.0, 400.0]).data);
    }

    #[test]
    fn values_that_the_type_does_not_have_are_refused_by_their_index() {
        let error = bytes("[0, 256]", DType::U8).unwrap_err();
        assert_eq!(error, "input \"x\": element 1 is 256, no UINT8");
        assert!(bytes("[1.5]", DType::I32).is_err());
        assert!(bytes("[true]", DType::F32).is_err());
        assert!(bytes("[1]", DType::Bool).is_err());
        assert!(bytes("[1e39]", DType::F32).is_err());
        assert!(bytes("[9223372036854775808]", DType::I64).is_err());
        assert!(bytes("[1]", DType::F16).unwrap_err().contains("binary data"));
    }

    #[test]
    fn what_is_no_number_is_refused_with_the_way_to_send_it() {
        for json in ["[null]", "[\"NaN\"]", "[{}]"] {
            let error = bytes(json, DType::F32).unwrap_err();
            assert!(error.contains("binary data"), "{json}: {error}");
        }
        assert!(bytes("[NaN]", DType::F32).is_err());
        assert!(bytes("1", DType::F32).is_err());
        assert!(bytes(&format!("{}1{}", "[".repeat(5000), "]".repeat(5000)), DType::F32).is_err());
    }

    #[test]
    fn floats_survive_the_way_through_json() {
        let values = [0.1f32, -0.0, f32::MIN_POSITIVE / 8.0, f32::MAX, 16_777_217.0];
        let tensor = Tensor::from_f32(&[5], &values);
        let json = serde_json::to_string(&JsonData::new("y", &tensor).unwrap()).unwrap();
        assert_eq!(bytes(&json, DType::F32).unwrap(), tensor.data);
    }

    #[test]
    fn outputs_that_json_does_not_have_are_refused() {
        for value in [f32::NAN, f32::INFINITY] {
            assert!(JsonData::new("y", &Tensor::from_f32(&[1], &[value])).is_err());
        }
    }
}
