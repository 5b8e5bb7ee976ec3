//! Convolution of each channel with a window of its own: a few channels are padded
//! at a time, so that they stay in the cache. A tile is a row of sums: each tap is
//! loaded once for its vectors.

use super::conv::{self, Conv, Cursor, Layout, Source};
use super::product::Form;
use crate::emit::code::Code;
use crate::schedule::Places;

/// Planes that are made at a time, in bytes.
const PLANES_BYTES: usize = 16 << 10;

/// A convolution with one channel in each group.
pub struct Depthwise<'a> {
    conv: &'a Conv,
    layout: Layout,
    /// Channels that are padded at a time.
    channels: usize,
    /// The form of a tile, which has one row.
    form: Form,
}

impl<'a> Depthwise<'a> {
    /// The convolution in this way, if it is of this kind.
    pub fn of(conv: &'a Conv) -> Option<Self> {
        if conv.inputs != 1 || conv.outputs != 1 {
            return None;
        }
        let bytes =
            |channels: usize| conv.layout(channels).planes.map_or(0, |planes| planes.size_bytes());
        // All of them as often, and more than one: to read across the ends of what
        // was just stored is slow.
        let divides = |channels: &usize| conv.groups.is_multiple_of(*channels);
        let counts = (1..=conv.groups).filter(divides);
        let channels = counts.take_while(|&channels| bytes(channels) <= PLANES_BYTES).last();
        let channels = channels.unwrap_or(1);
        let layout = conv.layout(channels);
        let image = (conv.y.output, conv.x.output);
        let cost = |&form: &Form| conv::cost_of_tiles(form, 1, image, layout.taps.len());
        let form = Form::all().filter(|form| form.rows == 1).min_by_key(cost)?;
        Some(Self { conv, layout, channels, form })
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        format!("depthwise {}", self.form.describe())
    }

    /// The bytes of scratch space: of a few channels.
    pub fn scratch_bytes(&self) -> usize {
        self.layout.planes.as_ref().map_or(0, |planes| planes.size_bytes())
    }

    /// The weights, one window after the other.
    pub fn weights(&self) -> Vec<u8> {
        self.conv.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
    }

    /// Emits the convolution.
    pub fn emit(&self, code: &mut Code, places: &Places) {
        let Conv { batch, groups, y, x, .. } = self.conv;
        let [image, output, weights, bias, plane] = std::array::from_fn(|_| code.i32_local());
        let cursor = Cursor { pixel: plane, output, weights, bias };
        code.point(image, places.inputs[0]);
        code.point(output, places.outputs[0]);
        code.repeat(*batch, |code| {
            code.point(weights, places.weights[0]);
            code.point(bias, places.weights[1]);
            code.repeat(groups / self.channels, |code| {
                let mut channel = 4 * y.input * x.input;
                code.copy(plane, image);
                if let Some(planes) = &self.layout.planes {
                    planes.emit_at(code, image, places.scratch);
                    code.point(plane, places.scratch);
                    channel = 4 * planes.channel_elements();
                }
                code.repeat(self.channels, |code| {
                    let most = self.form.vectors;
                    self.conv.tiles(code, &self.layout, cursor, most, &mut |code, vectors| {
                        let source = Source::of_image(&self.layout, plane, vectors);
                        self.conv.emit_tile(code, &source, cursor, 1, vectors);
                    });
                    code.advance(plane, channel as i64);
                    code.advance(output, (4 * y.output * x.output) as i64);
                    code.advance(weights, 4 * self.layout.taps.len() as i64);
                    code.advance(bias, 4);
                });
                code.advance(image, (4 * self.channels * y.input * x.input) as i64);
            });
        });
        code.release([image, output, weights, bias, plane]);
    }
}
