//! Labelled samples out of an `.npz` file.

use std::io::{Cursor, Read, Seek};

use leeway_contract::Tensor;
use ndarray::{Array1, Array2, ArrayD};
use ndarray_npy::{NpzReader, ReadNpzError, ReadableElement};

/// Labelled samples. The vectors have one element for each sample.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The inputs, each with a batch dimension of 1.
    pub inputs: Vec<Tensor>,
    /// The true classes.
    pub labels: Vec<usize>,
    /// What ONNX Runtime answers to each input, a probability for each class.
    pub probabilities: Option<Vec<Vec<f32>>>,
}

/// Samples that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The archive, or one of its arrays, is broken, missing or of another type.
    #[error("{model}/{file}: {array}: {source}")]
    Array {
        /// The model's name.
        model: String,
        /// The archive.
        file: String,
        /// The array, or `archive` for all of it.
        array: &'static str,
        /// What the reader says.
        source: ReadNpzError,
    },
    /// Arrays of different lengths.
    #[error("{model}/{file}: {inputs} inputs, but {seen} rows in {array}")]
    Count {
        /// The model's name.
        model: String,
        /// The archive.
        file: String,
        /// The array of another length than the inputs.
        array: &'static str,
        /// The number of inputs.
        inputs: usize,
        /// The length of the array.
        seen: usize,
    },
    /// A label that is no class's number.
    #[error("{model}/{file}: label {seen} of sample {sample} is negative")]
    Label {
        /// The model's name.
        model: String,
        /// The archive.
        file: String,
        /// The sample's number.
        sample: usize,
        /// The label.
        seen: i64,
    },
}

impl DataSet {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Reads an archive with `input` (u8 or f32, the batch first), `label` (i64)
    /// and, where present, `probabilities` (f32).
    pub(crate) fn read(model: &str, file: &str, npz: &[u8]) -> Result<Self, DataError> {
        Archive::open(model, file, npz)?.data_set()
    }
}

/// An archive, and its name for the errors.
struct Archive<'a, R: Read + Seek> {
    model: &'a str,
    file: &'a str,
    npz: NpzReader<R>,
}

impl<'a> Archive<'a, Cursor<&'a [u8]>> {
    fn open(model: &'a str, file: &'a str, bytes: &'a [u8]) -> Result<Self, DataError> {
        match NpzReader::new(Cursor::new(bytes)) {
            Ok(npz) => Ok(Self { model, file, npz }),
            Err(source) => Err(array_error(model, file, "archive", source)),
        }
    }

    fn data_set(mut self) -> Result<DataSet, DataError> {
        let inputs = self.inputs()?;
        let labels = self.labels()?;
        self.same_count(inputs.len(), "label", labels.len())?;
        let probabilities = self.probabilities()?;
        if let Some(rows) = &probabilities {
            self.same_count(inputs.len(), "probabilities", rows.len())?;
        }
        Ok(DataSet { inputs, labels, probabilities })
    }

    fn inputs(&mut self) -> Result<Vec<Tensor>, DataError> {
        match self.array::<u8>("input") {
            Ok(bytes) => Ok(samples(&bytes, Tensor::from_u8)),
            // Of another type: f32, or the error that names both.
            Err(_) => Ok(samples(&self.array::<f32>("input")?, Tensor::from_f32)),
        }
    }

    fn labels(&mut self) -> Result<Vec<usize>, DataError> {
        let read: Result<Array1<i64>, _> = self.npz.by_name("label");
        let labels = read.map_err(|e| array_error(self.model, self.file, "label", e))?;
        let class = |(sample, &seen): (usize, &i64)| {
            usize::try_from(seen).map_err(|_| DataError::Label {
                model: self.model.to_owned(),
                file: self.file.to_owned(),
                sample,
                seen,
            })
        };
        labels.iter().enumerate().map(class).collect()
    }

    fn probabilities(&mut self) -> Result<Option<Vec<Vec<f32>>>, DataError> {
        let name = "probabilities";
        let fail = |e| array_error(self.model, self.file, name, e);
        if !self.npz.names().map_err(fail)?.iter().any(|n| n == name) {
            return Ok(None);
        }
        let read: Array2<f32> = self.npz.by_name(name).map_err(fail)?;
        Ok(Some(read.outer_iter().map(|row| row.to_vec()).collect()))
    }

    fn array<T: ReadableElement>(&mut self, name: &'static str) -> Result<ArrayD<T>, DataError> {
        let read = self.npz.by_name(name);
        read.map_err(|e| array_error(self.model, self.file, name, e))
    }

    fn same_count(&self, inputs: usize, array: &'static str, seen: usize) -> Result<(), DataError> {
        if inputs == seen {
            return Ok(());
        }
        let (model, file) = (self.model.to_owned(), self.file.to_owned());
        Err(DataError::Count { model, file, array, inputs, seen })
    }
}

fn array_error(model: &str, file: &str, array: &'static str, source: ReadNpzError) -> DataError {
    DataError::Array { model: model.to_owned(), file: file.to_owned(), array, source }
}

/// The rows of `array`, each as a tensor with a batch dimension of 1.
fn samples<T: Clone>(array: &ArrayD<T>, tensor: impl Fn(&[u32], &[T]) -> Tensor) -> Vec<Tensor> {
    if array.ndim() == 0 {
        return Vec::new();
    }
    let mut shape: Vec<u32> = array.shape().iter().map(|&d| d as u32).collect();
    shape[0] = 1;
    let row = |row: ndarray::ArrayViewD<'_, T>| {
        let values: Vec<T> = row.iter().cloned().collect();
        tensor(&shape, &values)
    };
    array.outer_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr1};
    use ndarray_npy::NpzWriter;

    use super::*;

    fn archive(inputs: &Array2<f32>, labels: &[i64]) -> Vec<u8> {
        let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
        npz.add_array("input", inputs).unwrap();
        npz.add_array("label", &arr1(labels)).unwrap();
        npz.finish().unwrap().into_inner()
    }

    #[test]
    fn rows_become_tensors_of_batch_one_in_row_major_order_even_from_fortran_order() {
        let mut inputs = Array2::from_shape_fn((2, 3), |(i, j)| (10 * i + j) as f32);
        for bytes in [archive(&inputs, &[0, 1]), {
            inputs = inputs.reversed_axes().as_standard_layout().to_owned().reversed_axes();
            archive(&inputs, &[0, 1])
        }] {
            let data = DataSet::read("m", "f.npz", &bytes).unwrap();
            assert_eq!(data.inputs[1], Tensor::from_f32(&[1, 3], &[10.0, 11.0, 12.0]));
            assert_eq!((data.labels.as_slice(), data.probabilities), (&[0, 1][..], None));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let inputs = Array2::zeros((2, 3));
        let error = |bytes: &[u8]| DataSet::read("m", "f.npz", bytes).unwrap_err().to_string();
        assert_eq!(error(&archive(&inputs, &[0])), "m/f.npz: 2 inputs, but 1 rows in label");
        assert_eq!(error(&archive(&inputs, &[0, -1])), "m/f.npz: label -1 of sample 1 is negative");
        assert!(error(b"no archive").starts_with("m/f.npz: archive: "));
        let mut empty = NpzWriter::new(Cursor::new(Vec::new()));
        empty.add_array("other", &arr1(&[0i64])).unwrap();
        assert!(error(&empty.finish().unwrap().into_inner()).starts_with("m/f.npz: input: "));
    }
}
