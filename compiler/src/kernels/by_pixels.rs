//! Pointwise convolution with a pixel for each row of a product: the image is transposed,
//! all channels of a few pixels are computed at a time from what then lies side by side,
//! and the result is transposed again. An image of few pixels has no vectors that
//! overlap then, and one of many channels is not read in pieces that lie far apart.

use super::conv::Conv;
use super::copy::{self, Part};
use super::dense::Dense;
use super::product::Form;
use crate::emit::code::Code;
use crate::schedule::{Kernel, Places};

/// What moving an element to its transposed place takes, in the unit of [`Form::time`].
const TIME_OF_MOVE: usize = 8;

/// A convolution without a window.
pub(super) struct ByPixels<'a> {
    conv: &'a Conv,
    /// The form of the register tile: pixels, and vectors of channels.
    form: Form,
}

impl<'a> ByPixels<'a> {
    /// Of this convolution, if it is one.
    pub(super) fn of(conv: &'a Conv) -> Option<Self> {
        let fits = conv.groups == 1 && conv.y.is_pointwise() && conv.x.is_pointwise();
        let (m, k, n) = (pixels(conv), conv.inputs, conv.outputs);
        let forms = Form::candidates_of_product(m, k, n).into_iter();
        let form = forms.min_by_key(|form| form.cost_of_product(m, k, n))?;
        fits.then_some(Self { conv, form })
    }

    /// In tiles of this form.
    pub(super) fn with(self, form: Form) -> Self {
        Self { form, ..self }
    }

    /// The forms that may be the fastest.
    pub(super) fn forms(&self) -> Vec<Form> {
        let Conv { inputs, outputs, .. } = *self.conv;
        Form::candidates_of_product(pixels(self.conv), inputs, outputs)
    }

    /// An estimate of the time of one image, in the unit of [`Form::time`].
    pub(super) fn time(&self) -> usize {
        let Conv { inputs, outputs, .. } = *self.conv;
        let pixels = pixels(self.conv);
        let moves = TIME_OF_MOVE * pixels * (inputs + outputs);
        self.form.time_of_product(pixels, inputs, outputs) + moves
    }

    pub(super) fn describe(&self) -> String {
        format!("conv by pixels {}", self.form.describe())
    }

    fn dense(&self) -> Dense {
        let Conv { inputs, outputs, weights, bias, then, .. } = self.conv;
        let column =
            |input: usize| (0..*outputs).map(move |output| weights[output * inputs + input]);
        Dense {
            m: pixels(self.conv),
            k: *inputs,
            n: *outputs,
            weights: (0..*inputs).flat_map(column).collect(),
            bias: bias.clone(),
            then: then.clone(),
            form: Some(self.form),
        }
    }

    /// The weights as the product reads them, and the bias.
    pub(super) fn weights(&self) -> Vec<Vec<u8>> {
        self.dense().weights()
    }

    /// The image and the result, transposed.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.image_bytes() + 4 * pixels(self.conv) * self.conv.outputs.next_multiple_of(4)
    }

    fn image_bytes(&self) -> usize {
        (4 * pixels(self.conv) * self.conv.inputs).next_multiple_of(16)
    }

    pub(super) fn emit(&self, code: &mut Code, places: &Places) {
        let Conv { batch, inputs, outputs, .. } = *self.conv;
        let pixels = pixels(self.conv);
        let dense = self.dense();
        let result = places.scratch.plus(self.image_bytes() as u32);
        let inner = Places {
            inputs: vec![places.scratch],
            outputs: vec![result],
            weights: places.weights.clone(),
            scratch: places.scratch,
        };
        let (image, output, turned) = (code.i32_local(), code.i32_local(), code.i32_local());
        code.point(image, places.inputs[0]);
        code.point(output, places.outputs[0]);
        code.repeat(batch, |code| {
            code.point(turned, places.scratch);
            let [moved, _] = copy::emit_part(code, 4, &transposed(inputs, pixels), image, turned);
            code.advance(image, (4 * inputs * pixels) as i64 - moved);
            dense.emit(code, &inner);
            code.point(turned, result);
            let [_, moved] = copy::emit_part(code, 4, &transposed(pixels, outputs), turned, output);
            code.advance(output, (4 * outputs * pixels) as i64 - moved);
        });
        code.release([image, output, turned]);
    }
}

fn pixels(conv: &Conv) -> usize {
    conv.y.output * conv.x.output
}

/// A dense matrix of so many rows and columns into its transposed one.
fn transposed(rows: usize, columns: usize) -> Part {
    Part {
        input: 0,
        shape: vec![columns, rows],
        from: 0,
        from_strides: vec![1, columns],
        to: 0,
        to_strides: vec![rows, 1],
    }
}
