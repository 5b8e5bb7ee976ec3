//! Tensors in NumPy's `.npy` and `.npz` files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use leeway_contract::{DType, Tensor};
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{
    NpzReader, ReadDataError, ReadNpyError, ReadNpyExt, ReadableElement, WritableElement,
    WriteDataError, WriteNpyExt,
};
use py_literal::Value as PyValue;

/// The types that a NumPy file may hold here, for messages.
const TYPES: &str = "float16, float32, float64, int8 to int64, uint8 to uint64 or bool";

/// The types that are tried, in this order.
const KINDS: [DType; 12] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::U8,
    DType::I8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::Bool,
];

/// Reads a tensor from a `.npy` file.
pub fn read(path: &Path) -> anyhow::Result<Tensor> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{}", path.display()))
}

/// Reads all tensors of a `.npz` file, with their names, in the file's order.
pub fn read_npz(path: &Path) -> anyhow::Result<Vec<(String, Tensor)>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    read_npz_from(BufReader::new(file)).with_context(|| format!("{}", path.display()))
}

fn read_npz_from(reader: impl Read + Seek) -> anyhow::Result<Vec<(String, Tensor)>> {
    let mut npz = NpzReader::new(reader).context("not a NumPy .npz file")?;
    let names = npz.names().context("not a NumPy .npz file")?;
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        let tensor = first_that_fits(|kind| {
            match kind {
                DType::F32 => npz.by_name(&name).map(|a| tensor::<f32>(&a)),
                DType::F64 => npz.by_name(&name).map(|a| tensor::<f64>(&a)),
                DType::U8 => npz.by_name(&name).map(|a| tensor::<u8>(&a)),
                DType::I8 => npz.by_name(&name).map(|a| tensor::<i8>(&a)),
                DType::I32 => npz.by_name(&name).map(|a| tensor::<i32>(&a)),
                DType::I64 => npz.by_name(&name).map(|a| tensor::<i64>(&a)),
                DType::U64 => npz.by_name(&name).map(|a| tensor::<u64>(&a)),
                DType::I16 => npz.by_name(&name).map(|a| tensor::<i16>(&a)),
                DType::U16 => npz.by_name(&name).map(|a| tensor::<u16>(&a)),
                DType::U32 => npz.by_name(&name).map(|a| tensor::<u32>(&a)),
                DType::F16 => npz.by_name(&name).map(|a| tensor::<Half>(&a)),
                _ => npz.by_name(&name).map(|a| tensor::<bool>(&a)),
            }
            .map_err(|error| match error {
                ndarray_npy::ReadNpzError::Npy(ReadNpyError::WrongDescriptor(_)) => None,
                other => Some(anyhow!(other)),
            })
        })
        .with_context(|| format!("array {name:?}"))?;
        tensors.push((name.trim_end_matches(".npy").to_owned(), tensor));
    }
    Ok(tensors)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Tensor> {
    fn read<T: Element>(bytes: &[u8]) -> Result<Tensor, ReadNpyError>
    where
        ArrayD<T>: ReadNpyExt,
    {
        ArrayD::<T>::read_npy(bytes).map(|array| tensor(&array))
    }
    first_that_fits(|kind| {
        match kind {
            DType::F32 => read::<f32>(bytes),
            DType::F64 => read::<f64>(bytes),
            DType::U8 => read::<u8>(bytes),
            DType::I8 => read::<i8>(bytes),
            DType::I32 => read::<i32>(bytes),
            DType::I64 => read::<i64>(bytes),
            DType::U64 => read::<u64>(bytes),
            DType::I16 => read::<i16>(bytes),
            DType::U16 => read::<u16>(bytes),
            DType::U32 => read::<u32>(bytes),
            DType::F16 => read::<Half>(bytes),
            _ => read::<bool>(bytes),
        }
        .map_err(|error| match error {
            ReadNpyError::WrongDescriptor(_) => None,
            other => Some(anyhow!(other)),
        })
    })
}

/// Tries the element types one after the other. The error is `None` where the
/// file holds another type.
fn first_that_fits(
    mut read: impl FnMut(DType) -> Result<Tensor, Option<anyhow::Error>>,
) -> anyhow::Result<Tensor> {
    for kind in KINDS {
        match read(kind) {
            Ok(tensor) => return Ok(tensor),
            Err(None) => {}
            Err(Some(error)) => return Err(error.context("not a valid NumPy array")),
        }
    }
    bail!("an array of a type that is not supported; {TYPES} is")
}

/// Writes a tensor to a `.npy` file.
pub fn write(path: &Path, tensor: &Tensor) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let file = BufWriter::new(file);
    match tensor.dtype {
        DType::F32 => array::<f32>(tensor)?.write_npy(file),
        DType::F64 => array::<f64>(tensor)?.write_npy(file),
        DType::U8 => array::<u8>(tensor)?.write_npy(file),
        DType::I8 => array::<i8>(tensor)?.write_npy(file),
        DType::I32 => array::<i32>(tensor)?.write_npy(file),
        DType::I64 => array::<i64>(tensor)?.write_npy(file),
        DType::U64 => array::<u64>(tensor)?.write_npy(file),
        DType::I16 => array::<i16>(tensor)?.write_npy(file),
        DType::U16 => array::<u16>(tensor)?.write_npy(file),
        DType::U32 => array::<u32>(tensor)?.write_npy(file),
        DType::F16 => array::<Half>(tensor)?.write_npy(file),
        DType::Bool => array::<bool>(tensor)?.write_npy(file),
        other => bail!("NumPy files have no type for {other}"),
    }
    .with_context(|| format!("cannot write {}", path.display()))
}

/// An element type of both worlds.
trait Element: ReadableElement + WritableElement + Copy {
    const DTYPE: DType;
    fn push(self, bytes: &mut Vec<u8>);
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($type:ty => $dtype:ident),*) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn push(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as an element has"))
            }
        }
    )*};
}
element!(f32 => F32, f64 => F64, u8 => U8, i8 => I8, i16 => I16, u16 => U16, i32 => I32);
element!(u32 => U32, i64 => I64, u64 => U64);

/// The bits of an IEEE 754 binary16: NumPy's `float16`, which `ndarray-npy` lacks.
#[derive(Clone, Copy)]
struct Half(u16);

impl Half {
    const DESCRIPTOR: &str = "<f2";
}

impl Element for Half {
    const DTYPE: DType = DType::F16;
    fn push(self, bytes: &mut Vec<u8>) {
        self.0.push(bytes);
    }
    fn take(bytes: &[u8]) -> Self {
        Self(u16::take(bytes))
    }
}

impl ReadableElement for Half {
    fn read_to_end_exact_vec<R: Read>(
        reader: R,
        descriptor: &PyValue,
        length: usize,
    ) -> Result<Vec<Self>, ReadDataError> {
        if *descriptor != Self::type_descriptor() {
            return Err(ReadDataError::WrongDescriptor(descriptor.clone()));
        }
        let bits = u16::read_to_end_exact_vec(reader, &u16::type_descriptor(), length)?;
        Ok(bits.into_iter().map(Self).collect())
    }
}

impl WritableElement for Half {
    fn type_descriptor() -> PyValue {
        PyValue::String(Self::DESCRIPTOR.into())
    }

    fn write<W: Write>(&self, writer: W) -> Result<(), WriteDataError> {
        self.0.write(writer)
    }

    fn write_slice<W: Write>(slice: &[Self], mut writer: W) -> Result<(), WriteDataError> {
        slice.iter().try_for_each(|element| element.write(&mut writer))
    }
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn push(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self));
    }
    fn take(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
}

fn tensor<T: Element>(array: &ndarray::ArrayBase<OwnedRepr<T>, IxDyn>) -> Tensor {
    let mut data = Vec::with_capacity(array.len() * T::DTYPE.size_bytes());
    array.iter().for_each(|&element| element.push(&mut data));
    let shape = array.shape().iter().map(|&size| size as u32).collect();
    Tensor { dtype: T::DTYPE, shape, data }
}

fn array<T: Element>(tensor: &Tensor) -> anyhow::Result<ArrayD<T>> {
    let elements = tensor.data.chunks_exact(T::DTYPE.size_bytes()).map(T::take).collect();
    let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
    Ok(ArrayD::from_shape_vec(IxDyn(&shape), elements)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_round_trip_and_truncated_files_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        let tensors = [
            Tensor::from_f32(&[2, 3], &[0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40, 7.0]),
            Tensor::from_u8(&[4], &[0, 1, 2, 255]),
            Tensor { dtype: DType::F16, shape: vec![1, 2], data: vec![0, 0x3c, 1, 0x7e] },
            Tensor { dtype: DType::U64, shape: vec![1], data: vec![0xff; 8] },
            Tensor { dtype: DType::I64, shape: vec![], data: (-5i64).to_le_bytes().to_vec() },
        ];
        for tensor in tensors {
            write(&path, &tensor).unwrap();
            assert_eq!(read(&path).unwrap(), tensor);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            assert!(read(&path).is_err());
        }
    }

    #[test]
    fn a_file_that_is_no_array_is_an_error_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        std::fs::write(&path, b"hello").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("x.npy") && error.contains("not a valid NumPy array"), "{error}");
    }
}
