//! Loop nests over strided operands: dimensions that all operands walk through
//! in one stride are merged, and pointers advance instead of being recomputed.

use super::code::{Code, Local};

/// One dimension of a nest: its size, and for each operand the distance in
/// elements from one index to the next (0: broadcast).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dim {
    /// The number of indices.
    pub size: usize,
    /// For each operand, in elements.
    pub strides: Vec<usize>,
}

/// The dimensions, outermost first, with those of size 1 dropped and those
/// merged that every operand passes through evenly.
pub fn collapse(shape: &[usize], strides: &[&[usize]]) -> Vec<Dim> {
    let mut dims: Vec<Dim> = Vec::new();
    for (axis, &size) in shape.iter().enumerate() {
        if size == 1 {
            continue;
        }
        let strides: Vec<usize> = strides.iter().map(|s| s[axis]).collect();
        if let Some(outer) = dims.last_mut()
            && outer.strides.iter().zip(&strides).all(|(&o, &i)| o == i * size)
        {
            outer.size *= size;
            outer.strides = strides;
            continue;
        }
        dims.push(Dim { size, strides });
    }
    if dims.is_empty() {
        dims.push(Dim { size: 1, strides: vec![0; strides.len()] });
    }
    dims
}

/// The strides of a dense row-major tensor, in elements.
pub fn dense_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Whether these strides walk through a dense tensor of this shape. The stride
/// of an axis with one index does not matter.
pub fn is_dense(strides: &[usize], shape: &[usize]) -> bool {
    let dense = dense_strides(shape);
    (0..shape.len()).all(|axis| shape[axis] == 1 || strides[axis] == dense[axis])
}

/// The strides of a dense tensor of shape `from` as it is read when broadcast to
/// `to`, which has the same rank: 0 along the axes where `from` has one index.
pub fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let dense = dense_strides(from);
    (0..to.len()).map(|axis| if from[axis] == 1 { 0 } else { dense[axis] }).collect()
}

/// Emits loops over `dims`, around `inner`. `pointers` has one address for each
/// operand, `element_bytes` the size of its elements. `inner` must leave the
/// pointers as they are. So does this function, but for a constant distance,
/// which it returns for each pointer, in bytes.
pub fn emit_loops(
    code: &mut Code,
    dims: &[Dim],
    pointers: &[Local],
    element_bytes: &[usize],
    inner: &mut dyn FnMut(&mut Code),
) -> Vec<i64> {
    let Some((outermost, rest)) = dims.split_first() else {
        inner(code);
        return vec![0; pointers.len()];
    };
    let step = |operand: usize| (outermost.strides[operand] * element_bytes[operand]) as i64;
    if outermost.size == 1 {
        return emit_loops(code, rest, pointers, element_bytes, inner);
    }
    code.repeat(outermost.size, |code| {
        let moved = emit_loops(code, rest, pointers, element_bytes, inner);
        for (operand, &pointer) in pointers.iter().enumerate() {
            code.advance(pointer, step(operand) - moved[operand]);
        }
    });
    (0..pointers.len()).map(|operand| step(operand) * outermost.size as i64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_operands_collapse_to_one_dimension() {
        let shape = [2, 3, 1, 4];
        let dense = dense_strides(&shape);
        assert_eq!(dense, [12, 4, 4, 1]);
        assert_eq!(collapse(&shape, &[&dense, &dense]), [Dim { size: 24, strides: vec![1, 1] }]);
    }

    #[test]
    fn a_broadcast_axis_stays_apart() {
        let shape = [2, 3, 4];
        let dense = dense_strides(&shape);
        let channel = broadcast_strides(&[1, 3, 1], &shape);
        let dims = collapse(&shape, &[&dense, &channel]);
        assert_eq!(
            dims,
            [
                Dim { size: 2, strides: vec![12, 0] },
                Dim { size: 3, strides: vec![4, 1] },
                Dim { size: 4, strides: vec![1, 0] }
            ]
        );
    }
}
