//! Inputs for golden vectors and calibration from a `.npz` file: an array for
//! each input of the model, by the input's name.

use anyhow::{Context as _, bail};
use leeway_contract::{Tensor, TensorSpec};

/// Splits the arrays of a data set into single inferences. An array has the
/// shape of the input, or that shape with another, larger first dimension where
/// the input has 1: so many samples. Arrays of other names are passed over. At
/// most `limit` samples are taken.
pub fn samples(
    specs: &[TensorSpec],
    arrays: &[(String, Tensor)],
    limit: usize,
) -> anyhow::Result<Vec<Vec<Tensor>>> {
    let mut columns = Vec::new();
    for spec in specs {
        let found = arrays.iter().find(|(name, _)| *name == spec.name);
        let (_, array) = found.with_context(|| {
            let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
            format!("no array for the input {:?}; there are {names:?}", spec.name)
        })?;
        columns.push(split(spec, array)?);
    }
    let count = columns.first().map_or(0, Vec::len);
    if let Some(odd) = columns.iter().position(|column| column.len() != count) {
        bail!(
            "input {:?} has {count} samples and input {:?} has {}",
            specs[0].name,
            specs[odd].name,
            columns[odd].len()
        );
    }
    let sample = |i: usize| columns.iter().map(|column| column[i].clone()).collect();
    Ok((0..count.min(limit)).map(sample).collect())
}

fn split(spec: &TensorSpec, array: &Tensor) -> anyhow::Result<Vec<Tensor>> {
    if spec.check(array).is_ok() {
        return Ok(vec![array.clone()]);
    }
    let is_batch = array.dtype == spec.dtype
        && spec.shape.first() == Some(&1)
        && array.shape.len() == spec.shape.len()
        && array.shape[1..] == spec.shape[1..];
    if !is_batch {
        bail!(
            "array {:?}: wanted {spec}, or more samples along the first dimension, seen {}{:?}",
            spec.name,
            array.dtype,
            array.shape
        );
    }
    let size = spec.size_bytes().context("the input's size overflows")?;
    Ok(array
        .data
        .chunks_exact(size)
        .map(|data| Tensor { dtype: spec.dtype, shape: spec.shape.clone(), data: data.to_vec() })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leeway_contract::DType;

    fn spec() -> TensorSpec {
        TensorSpec { name: "x".into(), dtype: DType::F32, shape: vec![1, 2] }
    }

    #[test]
    fn a_batch_is_split_into_samples() {
        let arrays = [
            ("x".to_owned(), Tensor::from_f32(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ("label".to_owned(), Tensor::from_u8(&[3], &[0, 1, 2])),
        ];
        let samples = samples(&[spec()], &arrays, 2).unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[1][0], Tensor::from_f32(&[1, 2], &[3.0, 4.0]));
    }

    #[test]
    fn missing_and_odd_arrays_are_named() {
        let arrays = [("y".to_owned(), Tensor::from_f32(&[1, 2], &[1.0, 2.0]))];
        let error = samples(&[spec()], &arrays, 1).unwrap_err().to_string();
        assert!(error.contains("\"x\"") && error.contains("\"y\""), "{error}");
        let arrays = [("x".to_owned(), Tensor::from_f32(&[2, 3], &[0.0; 6]))];
        let error = samples(&[spec()], &arrays, 1).unwrap_err().to_string();
        assert!(error.contains("FP32[1,2]") && error.contains("[2, 3]"), "{error}");
    }
}
