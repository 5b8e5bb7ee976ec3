//! The `conv` kernel: direct 1-D and 2-D convolution over NCHW, four pixels to a
//! vector, a register tile of output channels times vectors.
//!
//! The image is padded and split by the phases of the stride first (see
//! [`crate::kernels::planes`]), unless that changes nothing; then every tap of the
//! window is a constant offset, and the kernel a matrix product without an
//! im2col. The tile's form is the one that takes the least time by an estimate.

use std::any::Any;

use super::by_pixels::ByPixels;
use super::depthwise::Depthwise;
use super::planes::{Axis, Planes};
use super::product::{self, Form, MOST_FORMS, Numbers, Sums};
use super::rows;
use super::tile::{self, Band, Vector, Walker};
use super::winograd::Winograd;
use crate::emit::code::{Code, Local};
use crate::expr::{Expr, Fusion};
use crate::schedule::{Kernel, Places};

/// The most taps of a window that one loop over the channels takes.
const TAPS_PER_LOOP: usize = 32;

/// The most bytes of weights that stay in the innermost cache beside a tile's pixels.
const SMALL_WEIGHTS: usize = 20 << 10;

/// The most bytes of an image that may stay in that cache.
const SMALL_IMAGE: usize = 64 << 10;

/// The most bytes of gathered pixels that stay there beside weights that pass by.
const LARGEST_PANEL: usize = 24 << 10;

/// So few channels that their pixels are read as fast from where they are.
const FEW_CHANNELS: usize = 16;

/// Bytes of pixels that are worth gathering, as they do not stay there as they are.
const LARGE_PIXELS: usize = 24 << 10;

/// One spatial dimension of a convolution or pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels of the input.
    pub input: usize,
    /// Pixels of the output.
    pub output: usize,
    /// Taps.
    pub taps: usize,
    /// From one pixel of the output to the next, in pixels of the input.
    pub stride: usize,
    /// From one tap to the next, in pixels of the input.
    pub dilation: usize,
    /// Pixels of padding before the input.
    pub before: usize,
}

impl Window {
    /// Of the rows where a window is 1-D.
    pub const SINGLE: Self =
        Self { input: 1, output: 1, taps: 1, stride: 1, dilation: 1, before: 0 };

    /// Pixels of the padded input that the window reaches.
    pub fn reach(&self) -> usize {
        (self.output - 1) * self.stride + (self.taps - 1) * self.dilation + 1
    }

    /// Whether it reaches outside the input.
    pub fn is_padded(&self) -> bool {
        self.before > 0 || self.reach() > self.before + self.input
    }

    /// Whether each pixel of the output is of the input's at the same place, and of no other.
    pub fn is_pointwise(&self) -> bool {
        self.taps == 1 && self.stride == 1 && !self.is_padded() && self.input == self.output
    }

    /// The dimension padded, and split into phases of `stride`.
    pub fn axis(&self, stride: usize) -> Axis {
        let phase_size = self.reach().div_ceil(stride);
        Axis { size: self.input, before: self.before, stride, phase_size }
    }
}

/// Windows over rows and columns with as few rows as possible: where the rows of an
/// image follow each other without a gap, it is one long row.
pub(super) fn joined(y: Window, x: Window) -> (Window, Window) {
    if !y.is_pointwise() || !x.is_pointwise() {
        return (y, x);
    }
    let pixels = y.input * x.input;
    (Window { input: 1, output: 1, ..y }, Window { input: pixels, output: pixels, ..x })
}

/// An estimate of the time of `outputs` images, of so many rows and columns, in tiles
/// of this form, whose sums are of `steps` products; in the unit of [`Form::time`].
pub(super) fn time_of_tiles(
    form: Form,
    outputs: usize,
    (height, width): (usize, usize),
    steps: usize,
) -> usize {
    let (whole, rest) = (outputs / form.rows, outputs % form.rows);
    let chunk = |vectors: usize| {
        let one = |rows: usize| Form { rows, vectors }.time(steps);
        whole * one(form.rows) + if rest > 0 { one(rest) } else { 0 }
    };
    let of_band = |band: &Band| {
        band.repeat * band.chunks.iter().map(|c| c.repeat * chunk(c.vectors.len())).sum::<usize>()
    };
    tile::bands(height, width, form.vectors).iter().map(of_band).sum()
}

/// That time, and more for more code, as [`product::weighed`] says.
pub(super) fn cost_of_tiles(
    form: Form,
    outputs: usize,
    (height, width): (usize, usize),
    steps: usize,
) -> usize {
    let bands = tile::bands(height, width, form.vectors);
    let chunks = bands.iter().flat_map(|band| &band.chunks);
    let rows = [form.rows.min(outputs), outputs % form.rows];
    let forms =
        chunks.flat_map(|chunk| rows.map(|rows| Form { rows, vectors: chunk.vectors.len() }));
    product::weighed(time_of_tiles(form, outputs, (height, width), steps), forms)
}

/// A convolution of `f32` images with constant weights.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Images.
    pub batch: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Input channels of one group.
    pub inputs: usize,
    /// Output channels of one group.
    pub outputs: usize,
    /// Rows.
    pub y: Window,
    /// Columns.
    pub x: Window,
    /// `[groups * outputs][inputs][y.taps][x.taps]`
    pub weights: Vec<f32>,
    /// `[groups * outputs]`
    pub bias: Vec<f32>,
    /// What is done to each element before it is stored.
    pub then: Expr,
    /// How it is computed, where that was chosen and not estimated.
    pub choice: Option<Choice>,
}

/// A way to compute a convolution with several channels in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Directly, in register tiles of this form.
    Direct(Form),
    /// The same, all channels of a few pixels at a time, which are gathered first.
    Gathered(Form),
    /// Without a window, as a product of pixels and channels in tiles of this form.
    ByPixels(Form),
    /// By Winograd's filtering, with so many pixels of the output in a tile.
    Winograd {
        /// Rows.
        y: usize,
        /// Columns.
        x: usize,
    },
}

/// A tap: its index in the window, and its offset from the tile's first pixel.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    index: usize,
    offset_bytes: u64,
}

/// How the image lies that the windows slide over.
pub(super) struct Layout {
    /// Its planes, if it is padded or split.
    pub(super) planes: Option<Planes>,
    /// Between rows of the plane that is read.
    pub(super) pitch: usize,
    /// Between its channels, in elements.
    channel: usize,
    /// Where the taps are in it.
    pub(super) taps: Vec<Tap>,
}

impl Conv {
    /// The same convolution, with as little padding and as few rows as possible.
    pub fn simplified(mut self) -> Self {
        (self.y, self.x) = joined(self.y, self.x);
        self
    }

    /// The layout of an image of so many channels.
    pub(super) fn layout(&self, channels: usize) -> Layout {
        let split = self.y.stride > 1 || self.x.stride > 1;
        let planes = (split || self.y.is_padded() || self.x.is_padded()).then(|| {
            let reached = |w: &Window| {
                let mut phases: Vec<usize> =
                    (0..w.taps).map(|t| t * w.dilation % w.stride).collect();
                phases.sort_unstable();
                phases.dedup();
                phases
            };
            let columns = reached(&self.x);
            Planes {
                channels,
                y: self.y.axis(self.y.stride),
                x: self.x.axis(self.x.stride),
                phases: reached(&self.y)
                    .into_iter()
                    .flat_map(|y| columns.iter().map(move |&x| (y, x)))
                    .collect(),
                fill: 0,
            }
        });
        let (pitch, channel) = match &planes {
            Some(planes) => (planes.x.phase_size, planes.channel_elements()),
            None => (self.x.input, self.y.input * self.x.input),
        };
        let offset = |ty: usize, tx: usize| {
            let (y, x) = (ty * self.y.dilation, tx * self.x.dilation);
            let plane = planes.as_ref().map_or(0, |planes| {
                let phase = (y % self.y.stride, x % self.x.stride);
                let at = planes.phases.iter().position(|&p| p == phase);
                at.expect("the phase of every tap has a plane") * planes.plane_elements()
            });
            4 * (plane + y / self.y.stride * pitch + x / self.x.stride) as u64
        };
        let taps = (0..self.y.taps * self.x.taps)
            .map(|index| Tap {
                index,
                offset_bytes: offset(index / self.x.taps, index % self.x.taps),
            })
            .collect();
        Layout { planes, pitch, channel, taps }
    }

    /// The channels of all images.
    fn channels(&self) -> usize {
        self.batch * self.groups * self.inputs
    }

    /// The form of the register tile: the one that was chosen, or that takes the least
    /// time.
    fn tile(&self) -> Form {
        if let Some(Choice::Direct(form) | Choice::Gathered(form)) = self.choice {
            return form;
        }
        let cost = |&form: &Form| self.cost_of(form);
        self.forms().min_by_key(cost).expect("one row and one vector are a form")
    }

    fn forms(&self) -> impl Iterator<Item = Form> + use<> {
        let outputs = self.outputs;
        Form::all().filter(move |form| form.rows <= outputs)
    }

    fn cost_of(&self, form: Form) -> usize {
        let steps = self.inputs * self.y.taps * self.x.taps;
        cost_of_tiles(form, self.outputs, (self.y.output, self.x.output), steps)
    }

    /// What may be the fastest, and what it is called.
    fn choices(&self) -> Vec<(Choice, String)> {
        let mut forms: Vec<Form> = self.forms().collect();
        forms.sort_by_key(|&form| self.cost_of(form));
        forms.truncate(MOST_FORMS);
        let gathered = if self.can_gather() { &forms[..] } else { &[] };
        let gathered = gathered.iter().map(|&form| (Choice::Gathered(form), describe(form, true)));
        let direct = forms.iter().map(|&form| (Choice::Direct(form), describe(form, false)));
        let by_pixels = ByPixels::of(self).map_or_else(Vec::new, |by_pixels| by_pixels.forms());
        let by_pixels = by_pixels.into_iter().filter_map(|form| {
            let name = ByPixels::of(self)?.with(form).describe();
            Some((Choice::ByPixels(form), name))
        });
        let winograd = Winograd::all(self).into_iter().map(|winograd| {
            let (y, x) = winograd.outputs();
            (Choice::Winograd { y, x }, winograd.describe())
        });
        direct.chain(gathered).chain(by_pixels).chain(winograd).collect()
    }

    /// An estimate of the time of one group with this tile, in the unit of
    /// [`Form::time`].
    fn time_of(&self, form: Form) -> usize {
        let steps = self.inputs * self.y.taps * self.x.taps;
        time_of_tiles(form, self.outputs, (self.y.output, self.x.output), steps)
    }

    /// An estimate of the time of one group, with the making of its planes.
    fn time(&self) -> usize {
        let planes =
            self.layout(self.channels()).planes.map_or(0, |planes| planes.channel_elements());
        self.time_of(self.tile()) + 4 * planes * self.inputs
    }

    /// The tiles of output channels of one group: first channel and number.
    fn row_tiles(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.outputs).step_by(rows).map(move |first| (first, rows.min(self.outputs - first)))
    }
}

/// The ways to compute a convolution.
enum Way<'a> {
    Depthwise(Depthwise<'a>),
    Winograd(Winograd<'a>),
    ByPixels(ByPixels<'a>),
    Direct,
}

impl Conv {
    /// The way that takes the least time.
    fn way(&self) -> Way<'_> {
        if let Some(depthwise) = Depthwise::of(self) {
            return Way::Depthwise(depthwise);
        }
        match self.choice {
            Some(Choice::Direct(_) | Choice::Gathered(_)) => return Way::Direct,
            Some(Choice::ByPixels(form)) => {
                let chosen = ByPixels::of(self).map(|by_pixels| by_pixels.with(form));
                return chosen.map_or(Way::Direct, Way::ByPixels);
            }
            Some(Choice::Winograd { y, x }) => {
                let mut all = Winograd::all(self).into_iter();
                let chosen = all.find(|winograd| winograd.outputs() == (y, x));
                return chosen.map_or(Way::Direct, Way::Winograd);
            }
            None => {}
        }
        if let Some(by_pixels) = ByPixels::of(self) {
            let is_faster = by_pixels.time() < self.time();
            return if is_faster { Way::ByPixels(by_pixels) } else { Way::Direct };
        }
        match Winograd::of(self) {
            Some((winograd, time)) if time < self.time() => Way::Winograd(winograd),
            _ => Way::Direct,
        }
    }
}

impl Kernel for Conv {
    fn describe(&self) -> String {
        match self.way() {
            Way::Depthwise(depthwise) => depthwise.describe(),
            Way::Winograd(winograd) => winograd.describe(),
            Way::ByPixels(by_pixels) => by_pixels.describe(),
            Way::Direct => describe(self.tile(), self.gathers()),
        }
    }

    fn macs(&self) -> u64 {
        (self.batch * self.weights.len() * self.y.output * self.x.output) as u64
    }

    /// The weights, as the tiles read them, and the bias.
    fn weights(&self) -> Vec<Vec<u8>> {
        let bias = self.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
        let weights = match self.way() {
            Way::Depthwise(depthwise) => depthwise.weights(),
            Way::Winograd(winograd) => winograd.weights(),
            Way::ByPixels(by_pixels) => return by_pixels.weights(),
            Way::Direct => self.direct_weights(),
        };
        vec![weights, bias]
    }

    fn scratch_bytes(&self) -> usize {
        match self.way() {
            Way::Depthwise(depthwise) => depthwise.scratch_bytes(),
            Way::Winograd(winograd) => winograd.scratch_bytes(),
            Way::ByPixels(by_pixels) => by_pixels.scratch_bytes(),
            Way::Direct if self.gathers() => self.panel_bytes(),
            Way::Direct => {
                self.layout(self.channels()).planes.map_or(0, |planes| planes.size_bytes())
            }
        }
    }

    /// Where the images are padded, split or transposed as a whole.
    fn reads_first(&self) -> bool {
        match self.way() {
            Way::Direct => self.layout(self.channels()).planes.is_some(),
            Way::ByPixels(_) => self.batch == 1,
            Way::Depthwise(_) | Way::Winograd(_) => false,
        }
    }

    fn emit(&self, code: &mut Code, places: &Places) {
        match self.way() {
            Way::Depthwise(depthwise) => depthwise.emit(code, places),
            Way::Winograd(winograd) => winograd.emit(code, places),
            Way::ByPixels(by_pixels) => by_pixels.emit(code, places),
            Way::Direct => self.emit_direct(code, places),
        }
    }

    fn fuse(&mut self, then: &Fusion) -> bool {
        match then {
            Fusion::Then(expr) => {
                self.then = self.then.followed_by(expr);
                true
            }
            Fusion::PerChannel { inner, scale, shift }
                if self.then.is_identity()
                    && *inner == self.y.output * self.x.output
                    && scale.len() == self.bias.len() =>
            {
                let per_output = self.weights.len() / self.bias.len();
                for (i, (scale, shift)) in scale.iter().zip(shift).enumerate() {
                    self.weights[i * per_output..][..per_output]
                        .iter_mut()
                        .for_each(|w| *w *= scale);
                    self.bias[i] = self.bias[i] * scale + shift;
                }
                true
            }
            Fusion::PerChannel { .. } => false,
        }
    }

    fn problem(&self) -> Option<String> {
        if let Way::Depthwise(_) = self.way() {
            return None;
        }
        let Self { batch, groups, inputs, outputs, y, x, .. } = self;
        let axis = |w: &Window| {
            let Window { input, output, taps, stride, dilation, before } = w;
            format!("{input} to {output} by {taps}/{stride}/{dilation} from {before}")
        };
        let images = format!("{batch}x{groups}x{inputs} to {outputs}");
        Some(format!("conv {images}, rows {}, columns {}", axis(y), axis(x)))
    }

    fn candidates(&self) -> Vec<String> {
        let estimated = self.describe();
        let others = self.choices().into_iter().map(|(_, name)| name);
        let others: Vec<String> = others.filter(|name| *name != estimated).collect();
        [vec![estimated], others].concat()
    }

    fn choose(&mut self, kernel: &str) -> bool {
        let chosen = self.choices().into_iter().find(|(_, name)| name == kernel);
        self.choice = chosen.map(|(choice, _)| choice);
        self.choice.is_some()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The direct convolution in such tiles, for people.
fn describe(form: Form, gathers: bool) -> String {
    format!("conv {}{}", if gathers { "gathered " } else { "" }, form.describe())
}

/// Where the emitted loops are.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    pub(super) pixel: Local,
    pub(super) output: Local,
    pub(super) weights: Local,
    pub(super) bias: Local,
}

impl Conv {
    /// The weights, as the tiles of the direct convolution read them.
    fn direct_weights(&self) -> Vec<u8> {
        let layout = self.layout(self.channels());
        let taps = layout.taps.len();
        let mut packed = Vec::with_capacity(4 * self.weights.len());
        for group in 0..self.groups {
            for (first, rows) in self.row_tiles(self.tile().rows) {
                for part in layout.taps.chunks(TAPS_PER_LOOP) {
                    for channel in 0..self.inputs {
                        for tap in part {
                            for row in 0..rows {
                                let output = group * self.outputs + first + row;
                                let at = (output * self.inputs + channel) * taps + tap.index;
                                packed.extend_from_slice(&self.weights[at].to_le_bytes());
                            }
                        }
                    }
                }
            }
        }
        packed
    }

    /// Emits the direct convolution.
    fn emit_direct(&self, code: &mut Code, places: &Places) {
        let layout = self.layout(self.channels());
        let source = match &layout.planes {
            Some(planes) => {
                let image = code.i32_local();
                code.point(image, places.inputs[0]);
                planes.emit(code, image, places.scratch);
                code.release([image]);
                places.scratch
            }
            None => places.inputs[0],
        };
        let cursor = Cursor {
            pixel: code.i32_local(),
            output: code.i32_local(),
            weights: code.i32_local(),
            bias: code.i32_local(),
        };
        let panel = code.i32_local();
        if self.gathers() {
            code.point(panel, places.scratch);
        }
        code.point(cursor.pixel, source);
        code.point(cursor.output, places.outputs[0]);
        let most = self.tile().vectors;
        code.repeat(self.batch, |code| {
            code.point(cursor.weights, places.weights[0]);
            code.point(cursor.bias, places.weights[1]);
            code.repeat(self.groups, |code| {
                if self.gathers() || self.is_pixels_first(&layout) {
                    self.tiles(code, &layout, cursor, most, &mut |code, vectors| {
                        let mut source = Source::of_image(&layout, cursor.pixel, vectors);
                        if self.gathers() {
                            source = source.gathered(code, self.inputs, panel);
                        }
                        self.emit_channels(code, cursor, &mut |code, rows| {
                            self.emit_tile(code, &source, cursor, rows, vectors);
                        });
                        self.advance_channels(code, cursor, -(self.outputs as i64));
                    });
                    self.advance_channels(code, cursor, self.outputs as i64);
                } else {
                    self.emit_channels(code, cursor, &mut |code, rows| {
                        self.tiles(code, &layout, cursor, most, &mut |code, vectors| {
                            let source = Source::of_image(&layout, cursor.pixel, vectors);
                            self.emit_tile(code, &source, cursor, rows, vectors);
                        });
                    });
                }
                code.advance(cursor.pixel, (4 * self.inputs * layout.channel) as i64);
            });
        });
        code.release([cursor.pixel, cursor.output, cursor.weights, cursor.bias, panel]);
    }

    /// Whether the pixels of a tile can be gathered: all taps are one.
    fn can_gather(&self) -> bool {
        self.groups == 1 && self.y.is_pointwise() && self.x.is_pointwise()
    }

    /// Whether they are: where the image does not stay in the innermost cache while
    /// tiles of channels pass by, but a tile's pixels do.
    fn gathers(&self) -> bool {
        match self.choice {
            Some(choice) => matches!(choice, Choice::Gathered(_)),
            None => {
                let image = 4 * self.inputs * self.y.input * self.x.input;
                self.can_gather()
                    && self.inputs > FEW_CHANNELS
                    && image > LARGE_PIXELS
                    && self.panel_bytes() <= LARGEST_PANEL
                    && self.outputs >= 2 * self.tile().rows
            }
        }
    }

    /// The size of a tile's gathered pixels.
    fn panel_bytes(&self) -> usize {
        16 * self.tile().vectors * self.inputs
    }

    /// Whether all channels of a tile of pixels are computed before the next tile: where
    /// the image is large, its pixels far apart, and all weights stay in the cache.
    fn is_pixels_first(&self, layout: &Layout) -> bool {
        let of_group = 4 * self.inputs * self.outputs;
        let image = 4 * self.inputs * layout.channel;
        layout.planes.is_none()
            && layout.taps.len() == 1
            && self.inputs >= self.outputs
            && of_group <= SMALL_WEIGHTS
            && image > SMALL_IMAGE
    }

    /// Emits `body` for each few output channels of a group, and moves on past them.
    fn emit_channels(
        &self,
        code: &mut Code,
        cursor: Cursor,
        body: &mut dyn FnMut(&mut Code, usize),
    ) {
        let rows = self.tile().rows;
        let (whole, rest) = (self.outputs / rows, self.outputs % rows);
        let mut some = |code: &mut Code, rows: usize| {
            body(code, rows);
            self.advance_channels(code, cursor, rows as i64);
        };
        code.repeat(whole, |code| some(code, rows));
        if rest > 0 {
            some(code, rest);
        }
    }

    /// Moves on by so many output channels.
    fn advance_channels(&self, code: &mut Code, cursor: Cursor, channels: i64) {
        let plane = (4 * self.y.output * self.x.output) as i64;
        let weights = (4 * self.inputs * self.y.taps * self.x.taps) as i64;
        code.advance(cursor.output, channels * plane);
        code.advance(cursor.bias, 4 * channels);
        code.advance(cursor.weights, channels * weights);
    }

    /// Emits the loops over the pixels of some output channels around `tile`, which is told
    /// its vectors, up to so many.
    pub(super) fn tiles(
        &self,
        code: &mut Code,
        layout: &Layout,
        cursor: Cursor,
        vectors: usize,
        tile: &mut dyn FnMut(&mut Code, &[Vector]),
    ) {
        let walkers = [
            Walker { pointer: cursor.pixel, pixel_bytes: 4, row_bytes: 4 * layout.pitch as i64 },
            Walker { pointer: cursor.output, pixel_bytes: 4, row_bytes: 4 * self.x.output as i64 },
        ];
        let bands = tile::bands(self.y.output, self.x.output, vectors);
        tile::emit_tiles(code, &bands, &walkers, tile);
    }

    /// Emits a tile of so many output channels and these vectors.
    pub(super) fn emit_tile(
        &self,
        code: &mut Code,
        source: &Source,
        cursor: Cursor,
        rows: usize,
        vectors: &[Vector],
    ) {
        let form = Form { rows, vectors: vectors.len() };
        let mut sums = Sums::of_rows(code, Numbers::Reals, form, |code, row| {
            code.load_splat(cursor.bias, 4 * row as u64);
        });
        self.emit_sums(code, source, cursor.weights, &mut sums);

        let sums = sums.into_rows(code);
        for (row, sums) in sums.iter().enumerate() {
            for (&sum, vector) in sums.iter().zip(vectors) {
                self.then.apply(code, sum);
                let pixel = (row * self.y.output + vector.y) * self.x.output + vector.x;
                code.store_lanes(cursor.output, 4 * pixel as u64, sum, vector.lanes);
            }
        }
        code.release(sums.into_iter().flatten());
    }
    /// Emits the loops over channels and taps that add to `sums`.
    fn emit_sums(&self, code: &mut Code, source: &Source, weights: Local, sums: &mut Sums) {
        let form = sums.form();
        let (pixel, weight) = (code.i32_local(), code.i32_local());
        code.copy(weight, weights);
        for taps in source.taps.chunks(TAPS_PER_LOOP) {
            code.copy(pixel, source.pixel);
            let per_channel = (4 * taps.len() * form.rows) as u64;
            let steps = (self.inputs, taps.len());
            sums.add_steps(code, steps, weight, |code, sums, channels| {
                for c in 0..channels as u64 {
                    for (t, tap) in taps.iter().enumerate() {
                        let pixels = c * source.channel_bytes + tap.offset_bytes;
                        let weights = c * per_channel + (4 * t * form.rows) as u64;
                        sums.add_step(
                            code,
                            |code, row| {
                                code.load_splat(weight, weights + 4 * row as u64);
                            },
                            |code, v| {
                                code.load(pixel, pixels + source.vectors[v]);
                            },
                        );
                    }
                }
                code.advance(pixel, (channels as u64 * source.channel_bytes) as i64);
                code.advance(weight, (channels as u64 * per_channel) as i64);
            });
        }
        code.release([pixel, weight]);
    }
}

/// Where the vectors of a tile come from.
pub(super) struct Source<'a> {
    /// The tile's first pixel.
    pixel: Local,
    taps: &'a [Tap],
    /// From one channel to the next.
    channel_bytes: u64,
    /// From the first pixel to each vector's.
    vectors: Vec<u64>,
}

impl<'a> Source<'a> {
    /// From the image as it lies.
    pub(super) fn of_image(layout: &'a Layout, pixel: Local, vectors: &[Vector]) -> Self {
        let offset = |vector: &Vector| 4 * (vector.y * layout.pitch + vector.x) as u64;
        let vectors = vectors.iter().map(offset).collect();
        Self { pixel, taps: &layout.taps, channel_bytes: 4 * layout.channel as u64, vectors }
    }

    /// Emits the copy of the vectors of so many channels to a panel, where they follow
    /// each other, and returns where they are then.
    fn gathered(self, code: &mut Code, channels: usize, panel: Local) -> Self {
        let (from, to) = (code.i32_local(), code.i32_local());
        code.copy(from, self.pixel);
        code.copy(to, panel);
        let gathered = Self {
            pixel: panel,
            channel_bytes: 16 * self.vectors.len() as u64,
            vectors: (0..self.vectors.len() as u64).map(|v| 16 * v).collect(),
            ..self
        };
        let pointers = [(from, self.channel_bytes), (to, gathered.channel_bytes)];
        rows::unrolled(code, channels, &pointers, |code, channel| {
            for (&vector, &place) in self.vectors.iter().zip(&gathered.vectors) {
                let value = code.v128_local();
                code.load(from, channel * self.channel_bytes + vector).set(value);
                code.store_lanes(to, channel * gathered.channel_bytes + place, value, 4);
                code.release([value]);
            }
        });
        code.release([from, to]);
        gathered
    }
}
