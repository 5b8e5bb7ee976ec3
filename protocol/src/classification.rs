//! The classification extension: instead of an output, its largest elements as
//! texts `value:index` or, where the classes have names, `value:index:label`.
//!
//! The first dimension of an output of more than one is the batch's, and each of
//! its parts has its own classes.

use leeway_contract::{DType, Tensor};

use super::response::OutputTensor;
use super::{ProtocolError, datatype, wrong};

/// The protocol's type of a class: a text.
pub const DATATYPE: &str = "BYTES";

/// The `count` best classes of an output, or as many as it has. Of equal elements
/// the first is better; NaN is worse than any number.
pub fn best(
    name: &str,
    tensor: &Tensor,
    count: u32,
    labels: Option<&[String]>,
) -> Result<OutputTensor<'static>, ProtocolError> {
    let elements = elements(tensor).ok_or_else(|| {
        let datatype = datatype::name(tensor.dtype);
        wrong(format!("output {name:?}: there are no classes of {datatype}"))
    })?;
    let batch = if tensor.shape.len() > 1 { tensor.shape[0] } else { 1 };
    let classes = elements.len().checked_div(batch as usize).unwrap_or(0);
    let count = (count as usize).min(classes);
    let mut texts = Vec::with_capacity(count * batch as usize);
    for part in elements.chunks(classes.max(1)) {
        let mut order: Vec<usize> = (0..part.len()).collect();
        order.sort_by(|a, b| part[*b].key().total_cmp(&part[*a].key()).then(a.cmp(b)));
        texts.extend(order.into_iter().take(count).map(|index| {
            let value = part[index].text();
            match labels.and_then(|labels| labels.get(index)) {
                Some(label) => format!("{value}:{index}:{label}"),
                None => format!("{value}:{index}"),
            }
        }));
    }
    let count = count as u32;
    let shape = if tensor.shape.len() > 1 { vec![batch, count] } else { vec![count] };
    Ok(OutputTensor::Classes { shape, texts })
}

/// One element. A score needs no more than a double's digits to be compared.
enum Element {
    Single(f32),
    Double(f64),
    Whole(i128),
}

impl Element {
    fn key(&self) -> f64 {
        let value = match self {
            Element::Single(value) => f64::from(*value),
            Element::Double(value) => *value,
            Element::Whole(value) => *value as f64,
        };
        // -0 is 0, and NaN is least, whatever its sign.
        if value.is_nan() { f64::NEG_INFINITY } else { value + 0.0 }
    }

    fn text(&self) -> String {
        match self {
            Element::Single(value) => value.to_string(),
            Element::Double(value) => value.to_string(),
            Element::Whole(value) => value.to_string(),
        }
    }
}

fn elements(tensor: &Tensor) -> Option<Vec<Element>> {
    fn map<const N: usize>(tensor: &Tensor, read: fn([u8; N]) -> Element) -> Vec<Element> {
        tensor.data.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
    }
    Some(match tensor.dtype {
        DType::F32 => map(tensor, |b| Element::Single(f32::from_le_bytes(b))),
        DType::F64 => map(tensor, |b| Element::Double(f64::from_le_bytes(b))),
        DType::U8 => map(tensor, |b| Element::Whole(u8::from_le_bytes(b).into())),
        DType::I8 => map(tensor, |b| Element::Whole(i8::from_le_bytes(b).into())),
        DType::U16 => map(tensor, |b| Element::Whole(u16::from_le_bytes(b).into())),
        DType::I16 => map(tensor, |b| Element::Whole(i16::from_le_bytes(b).into())),
        DType::U32 => map(tensor, |b| Element::Whole(u32::from_le_bytes(b).into())),
        DType::I32 => map(tensor, |b| Element::Whole(i32::from_le_bytes(b).into())),
        DType::U64 => map(tensor, |b| Element::Whole(u64::from_le_bytes(b).into())),
        DType::I64 => map(tensor, |b| Element::Whole(i64::from_le_bytes(b).into())),
        DType::Bool | DType::F16 | DType::BF16 => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tensor: &Tensor, count: u32, labels: Option<&[String]>) -> (Vec<u32>, Vec<String>) {
        match best("y", tensor, count, labels).unwrap() {
            OutputTensor::Classes { shape, texts } => (shape, texts),
            OutputTensor::Tensor(_) => panic!("no classes"),
        }
    }

    #[test]
    fn the_largest_elements_of_each_part_of_a_batch_come_first() {
        let tensor = Tensor::from_f32(&[2, 3], &[0.25, f32::NAN, 0.5, 1.0, 1.0, -1.0]);
        let labels: Vec<String> = ["cat", "dog"].map(String::from).into();
        let (shape, seen) = texts(&tensor, 2, Some(&labels));
        assert_eq!(shape, [2, 2]);
        assert_eq!(seen, ["0.5:2", "0.25:0:cat", "1:0:cat", "1:1:dog"]);
        let (shape, seen) = texts(&tensor, 9, None);
        assert_eq!((shape, seen[2].as_str()), (vec![2, 3], "NaN:1"));
    }

    #[test]
    fn a_vector_is_one_part_and_whole_numbers_stay_whole() {
        let (shape, seen) = texts(&Tensor::from_u8(&[3], &[7, 255, 0]), 1, None);
        assert_eq!((shape, seen), (vec![1], vec!["255:1".to_owned()]));
        let truth = Tensor { dtype: DType::Bool, shape: vec![1], data: vec![1] };
        assert!(best("y", &truth, 1, None).unwrap_err().to_string().contains("BOOL"));
        let (shape, seen) = texts(&Tensor::from_f32(&[0, 3], &[]), 1, None);
        assert_eq!((shape, seen), (vec![0, 0], vec![]));
    }

    #[test]
    fn binary_texts_have_their_length_first() {
        let output = best("y", &Tensor::from_u8(&[2], &[1, 2]), 1, None).unwrap();
        let mut data = Vec::new();
        output.write(&mut data);
        assert_eq!(data, b"\x03\0\0\x002:1");
    }
}
