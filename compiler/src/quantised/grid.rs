//! Scales and zero points: an integer `q` stands for `(q - zero_point) * scale`.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_ndarray::{ArrayD, IxDyn};

use super::{is_8_bit, range, refuse};

/// The scales and zero points of a tensor's elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// A shape that broadcasts to the tensor's, of the same rank: ones where the
    /// whole tensor has one scale, but for one axis where each index of it has its
    /// own.
    pub shape: TVec<usize>,
    /// The scales, row-major.
    pub scale: Vec<f32>,
    /// The zero points, as many.
    pub zero_point: Vec<i32>,
}

impl Eq for Grid {}

/// Which elements share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Along {
    /// The axis along which there is more than one; from the end where negative.
    pub axis: i64,
    /// How many neighbours on that axis share one; 0 where there are no blocks: one
    /// for each index.
    pub block: usize,
}

impl Grid {
    /// One scale and zero point for a whole tensor of this rank.
    pub fn uniform(rank: usize, scale: f32, zero_point: i32) -> Self {
        Self { shape: tvec!(1; rank), scale: vec![scale], zero_point: vec![zero_point] }
    }

    /// Reads the scales and zero points of a tensor of this shape. `node` is the
    /// node that they are inputs of.
    pub fn read(
        node: &str,
        model: &TypedModel,
        scale: OutletId,
        zero_point: Option<OutletId>,
        shape: &[usize],
        along: Along,
    ) -> TractResult<Self> {
        let known = |outlet: OutletId, what: &str| match &model.outlet_fact(outlet)?.konst {
            Some(tensor) => Ok(tensor.clone()),
            None => refuse(node, format!("its {what} is computed; a constant is supported")),
        };
        let scale = known(scale, "scale")?;
        if !matches!(scale.datum_type(), DatumType::F32 | DatumType::F16) {
            let detail =
                format!("its scale is of type {:?}; FP32 is supported", scale.datum_type());
            return refuse(node, detail);
        }
        let zero_point = zero_point.map(|outlet| known(outlet, "zero point")).transpose()?;
        let zero_point = match zero_point {
            Some(zero_point) if zero_point.len() != scale.len() => {
                let detail = format!("{} scales and {} zero points", scale.len(), zero_point.len());
                return refuse(node, detail);
            }
            Some(zero_point) => super::integers(&zero_point)?,
            None => vec![0; scale.len()],
        };
        let scales = scale.cast_to::<f32>()?;
        let scales: Vec<f32> = scales.to_plain_array_view::<f32>()?.iter().copied().collect();
        if scales.len() == 1 {
            return Ok(Self::uniform(shape.len(), scales[0], zero_point[0]));
        }
        let axis = if along.axis < 0 { along.axis + shape.len() as i64 } else { along.axis };
        let Some(&size) = usize::try_from(axis).ok().and_then(|axis| shape.get(axis)) else {
            let detail = format!("its axis {} is none of a tensor of shape {shape:?}", along.axis);
            return refuse(node, detail);
        };
        let axis = axis as usize;
        if along.block > 0 {
            return Self::blocks(
                node,
                scale.shape(),
                &scales,
                &zero_point,
                shape,
                axis,
                along.block,
            );
        }
        if scale.rank() != 1 || scales.len() != size {
            let detail =
                format!("scales of shape {:?} for an axis of {size} indices", scale.shape());
            return refuse(node, detail);
        }
        let mut broadcast: TVec<usize> = tvec!(1; shape.len());
        broadcast[axis] = size;
        Ok(Self { shape: broadcast, scale: scales, zero_point })
    }

    /// Scales of blocks, repeated for each index.
    fn blocks(
        node: &str,
        from: &[usize],
        scale: &[f32],
        zero_point: &[i32],
        shape: &[usize],
        axis: usize,
        block: usize,
    ) -> TractResult<Self> {
        let mut wanted: TVec<usize> = shape.into();
        wanted[axis] = shape[axis].div_ceil(block);
        if from != &*wanted {
            let detail = format!(
                "scales of shape {from:?} for blocks of {block} on axis {axis} of a tensor of shape \
                 {shape:?}; {wanted:?} is wanted"
            );
            return refuse(node, detail);
        }
        let index = |at: &IxDyn| {
            let mut at = at.clone();
            at[axis] /= block;
            (0..shape.len()).fold(0, |index, axis| index * from[axis] + at[axis])
        };
        let indices = ArrayD::from_shape_fn(IxDyn(shape), |at| index(&at));
        Ok(Self {
            shape: shape.into(),
            scale: indices.iter().map(|&i| scale[i]).collect(),
            zero_point: indices.iter().map(|&i| zero_point[i]).collect(),
        })
    }

    /// For each element of a tensor of this shape, the index of its scale.
    fn indices(&self, shape: &[usize]) -> TractResult<Vec<usize>> {
        let all = ArrayD::from_shape_fn(IxDyn(&self.shape), |at| {
            (0..self.shape.len()).fold(0, |index, axis| index * self.shape[axis] + at[axis])
        });
        let broadcast = all.broadcast(IxDyn(shape)).context("scales that do not broadcast")?;
        Ok(broadcast.iter().copied().collect())
    }

    /// The integers nearest to real numbers, of two the even one, saturated.
    pub fn quantize(&self, x: &Tensor, dtype: DatumType) -> TractResult<Tensor> {
        let indices = self.indices(x.shape())?;
        let view = x.to_plain_array_view::<f32>()?;
        let numbers = view
            .iter()
            .zip(indices)
            .map(|(&x, i)| quantized(x / self.scale[i], self.zero_point[i], range(dtype)));
        super::tensor_of(dtype, x.shape(), numbers)
    }

    /// The real numbers of integers.
    pub fn dequantize(&self, q: &Tensor) -> TractResult<Tensor> {
        let indices = self.indices(q.shape())?;
        let reals = super::integers(q)?.into_iter().zip(indices);
        let reals = reals.map(|(q, i)| q.wrapping_sub(self.zero_point[i]) as f32 * self.scale[i]);
        Tensor::from_shape(q.shape(), &reals.collect::<Vec<f32>>())
    }

    /// The one scale and zero point of the whole tensor; `None` if there are more.
    pub fn single(&self) -> Option<(f32, i32)> {
        match (&self.scale[..], &self.zero_point[..]) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }
}

/// `round(x) + zero_point`, saturated. A NaN is the type's 0 or what is nearest.
pub fn quantized(x: f32, zero_point: i32, (low, high): (i32, i32)) -> i32 {
    let rounded = x.round_ties_even() + zero_point as f32;
    (rounded as i32).clamp(low, high)
}

/// An error unless a type is that of quantised numbers.
pub fn want_8_bit(node: &str, dtype: DatumType) -> TractResult<()> {
    match is_8_bit(dtype) {
        true => Ok(()),
        false => {
            refuse(node, format!("quantised numbers of type {dtype:?}; I8 and U8 are supported"))
        }
    }
}
