//! `Attention`, which tract does not read: it is composed of products, a softmax and what
//! says which keys a query may look at.

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{MultiBroadcastTo, TypedConcat};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::logic::{comp_eq, comp_gte, comp_lte};
use tract_onnx::tract_hir::tract_core::ops::math::{Add, Div, Mul, Tanh};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

use crate::composed::wire::Wire;
use crate::composed::{Read, composed};
use crate::quantised::{Slots, refuse, tract_name};

/// The most numbers that a node brings as constants: what is known when compiling of which
/// query may look at which key.
const CONSTANTS_LIMIT: usize = 1 << 22;

/// Puts it into the reader.
pub fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Attention", read);
}

/// The inputs, by their number in ONNX's definition.
mod input {
    pub const QUERIES: usize = 0;
    pub const KEYS: usize = 1;
    pub const VALUES: usize = 2;
    pub const MASK: usize = 3;
    pub const PAST_KEYS: usize = 4;
    pub const PAST_VALUES: usize = 5;
    /// How many keys of each sequence there are; what is after them is padding.
    pub const LENGTHS: usize = 6;
    pub const COUNT: usize = 7;
}

/// What the output of scores shows, by ONNX's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    /// The products of queries and keys.
    Products,
    /// The same, capped.
    Capped,
    /// With what the masks add.
    Masked,
    /// After the softmax.
    Weights,
}

/// The attributes of a node, and which inputs and outputs it has.
#[derive(Clone, Debug)]
struct Attention {
    /// The node's name.
    name: String,
    slots: Slots,
    /// The outputs that there are, by their number in ONNX's definition.
    outputs: Vec<usize>,
    /// Heads of queries, and of keys and values, where these are `[batch, length, all]`.
    heads: [Option<usize>; 2],
    scale: Option<f32>,
    cap: f32,
    scores: Scores,
    precision: Option<DatumType>,
    /// How many keys before a query's place and after it that query may look at: none after
    /// it where attention is causal.
    window: [Option<i64>; 2],
}

fn read(_: &ParsingContext, node: &NodeProto) -> Read {
    let window = |name: &str| -> TractResult<Option<i64>> {
        let keys = node.get_attr_opt::<i64>(name)?.unwrap_or(-1);
        ensure!(keys >= -1, "its attribute {name} is {keys}, wanted at least -1");
        Ok((keys >= 0).then_some(keys))
    };
    let [before, after] = [window("left_window_size")?, window("right_window_size")?];
    let is_causal = node.get_attr_opt::<i64>("is_causal")?.unwrap_or(0) != 0;
    let precision = node.get_attr_opt::<i64>("softmax_precision")?.unwrap_or(0);
    let attention = Attention {
        name: tract_name(node).into(),
        slots: Slots::of(node, input::COUNT).want(node, 3)?,
        outputs: (0..node.output.len()).filter(|&at| !node.output[at].is_empty()).collect(),
        heads: [node.get_attr_opt("q_num_heads")?, node.get_attr_opt("kv_num_heads")?],
        scale: node.get_attr_opt("scale")?,
        cap: node.get_attr_opt("softcap")?.unwrap_or(0.0),
        scores: match node.get_attr_opt::<i64>("qk_matmul_output_mode")?.unwrap_or(0) {
            0 => Scores::Products,
            1 => Scores::Capped,
            2 => Scores::Masked,
            3 => Scores::Weights,
            mode => bail!("its attribute qk_matmul_output_mode is {mode}, wanted 0 to 3"),
        },
        precision: match DataType::try_from(precision as i32)? {
            DataType::Undefined => None,
            DataType::Float => Some(DatumType::F32),
            DataType::Float16 => Some(DatumType::F16),
            DataType::Double => Some(DatumType::F64),
            other => bail!("its attribute softmax_precision is {}", other.as_str_name()),
        },
        window: [before, if is_causal { Some(0) } else { after }],
    };
    let outputs = attention.outputs.len();
    composed("Attention", outputs, move |wire, inputs| attention.wire(wire, inputs))
}

impl Attention {
    fn wire(&self, wire: &mut Wire, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let [queries, keys, values] = [input::QUERIES, input::KEYS, input::VALUES];
        let is_flat = wire.fact(inputs[queries])?.rank() == 3;
        let dtype = wire.fact(inputs[queries])?.datum_type;
        let queries = self.by_heads(wire, inputs[queries], self.heads[0])?;
        let mut keys = self.by_heads(wire, inputs[keys], self.heads[1])?;
        let mut values = self.by_heads(wire, inputs[values], self.heads[1])?;
        let mut past = 0;
        if let Some(before) = self.slots.pick(inputs, input::PAST_KEYS) {
            past = wire.size(before, 2)?;
            keys = wire.op(TypedConcat::new(2), &[before, keys])?;
        }
        if let Some(before) = self.slots.pick(inputs, input::PAST_VALUES) {
            values = wire.op(TypedConcat::new(2), &[before, values])?;
        }
        let present = [keys, values];
        let heads = wire.size(queries, 1)?;
        let [keys, values] = [for_heads(wire, keys, heads)?, for_heads(wire, values, heads)?];

        let scale = self.scale.unwrap_or(1.0 / (wire.size(queries, 3)? as f32).sqrt());
        let scale = wire.number(scale, dtype)?;
        let queries = wire.binary(Box::new(Mul), queries, scale)?;
        let product = |axes: &str| -> TractResult<EinSum> { Ok(EinSum::new(axes.parse()?, dtype)) };
        let mut scores = wire.op(product("bhid,bhjd->bhij")?, &[queries, keys])?;
        let mut shown = scores;
        if self.cap > 0.0 {
            let cap = wire.number(self.cap, dtype)?;
            let share = wire.binary(Box::new(Div), scores, cap)?;
            let share = wire.unary(Box::new(Tanh {}), share)?;
            scores = wire.binary(Box::new(Mul), share, cap)?;
            shown = scores;
        }
        let bias = self.bias(wire, inputs, scores, past)?;
        if let Some(Bias { added, .. }) = bias {
            scores = wire.binary(Box::new(Add), scores, added)?;
        }
        if self.scores == Scores::Masked {
            shown = scores;
        }
        let scores = wire.cast(scores, self.precision.unwrap_or(dtype))?;
        let softmax = Softmax::new(tvec!(3), None, SoftmaxKind::Softmax);
        let weights = wire.op(softmax, &[scores])?;
        let mut weights = wire.cast(weights, dtype)?;
        if let Some(Bias { added, may_hide_all: true }) = bias {
            // A query that may look at no key has no weights, where a softmax has none.
            let most = wire.op(Reduce::new(tvec!(3), Reducer::Max), &[added])?;
            let nothing = wire.number(f32::NEG_INFINITY, dtype)?;
            let hides_all = wire.binary(comp_eq(), most, nothing)?;
            let zero = wire.number(0.0, dtype)?;
            weights = wire.select(hides_all, zero, weights)?;
        }
        if self.scores == Scores::Weights {
            shown = weights;
        }
        let mut output = wire.op(product("bhij,bhjd->bhid")?, &[weights, values])?;
        if is_flat {
            output = wire.op(AxisOp::Move(1, 2), &[output])?;
            let [heads, size] = [wire.size(output, 2)?, wire.size(output, 3)?];
            let (apart, all) =
                (tvec!(heads.to_dim(), size.to_dim()), tvec!((heads * size).to_dim()));
            output = wire.op(AxisOp::Reshape(2, apart, all), &[output])?;
        }
        let all = [output, present[0], present[1], shown];
        self.outputs.iter().map(|&at| all.get(at).copied().context("four outputs")).collect()
    }

    /// `[batch, length, all]` as `[batch, heads, length, size]`, which it may be already.
    fn by_heads(
        &self,
        wire: &mut Wire,
        input: OutletId,
        heads: Option<usize>,
    ) -> TractResult<OutletId> {
        match wire.fact(input)?.rank() {
            4 => Ok(input),
            3 => {
                let heads = heads.filter(|&heads| heads > 0);
                let heads =
                    heads.context("inputs of three axes want q_num_heads and kv_num_heads")?;
                let all = wire.size(input, 2)?;
                ensure!(all.is_multiple_of(heads), "{all} numbers are no {heads} heads");
                let apart = tvec!(heads.to_dim(), (all / heads).to_dim());
                let apart = wire.op(AxisOp::Reshape(2, tvec!(all.to_dim()), apart), &[input])?;
                wire.op(AxisOp::Move(2, 1), &[apart])
            }
            rank => bail!("an input has {rank} axes, wanted 3 or 4"),
        }
    }

    /// What is added to the scores, `[batch or 1, heads or 1, queries, keys]`: 0 where a
    /// query may look at a key and no mask adds something else, else negative infinity.
    fn bias(
        &self,
        wire: &mut Wire,
        inputs: &[OutletId],
        scores: OutletId,
        past: usize,
    ) -> TractResult<Option<Bias>> {
        let dtype = wire.fact(scores)?.datum_type;
        let [queries, keys] = [wire.size(scores, 2)?, wire.size(scores, 3)?];
        let mut terms = Vec::new();
        if let Some(mask) = self.slots.pick(inputs, input::MASK) {
            terms.push(self.mask(wire, mask, keys, dtype)?);
        }
        let mut may_hide_all = !terms.is_empty();
        let lengths = self.slots.pick(inputs, input::LENGTHS);
        let by_place = self.window.iter().any(Option::is_some);
        if by_place || lengths.is_some() {
            let pairs = queries.saturating_mul(keys);
            self.want_few(pairs, "pairs of a query and a key whose places count")?;
        }
        if let Some(lengths) = lengths {
            may_hide_all = true;
            let mut lengths = wire.cast(lengths, i64::datum_type())?;
            for axis in 1..4 {
                lengths = wire.op(AxisOp::Add(axis), &[lengths])?;
            }
            // Of each key, the first length that has it.
            let first = positions(queries, keys, |_, key| key + 1);
            let mut allowed = vec![(first, comp_lte())];
            if past == 0 {
                let offset = |query, key| key - query + queries as i64;
                if let Some(before) = self.window[0] {
                    let most = positions(queries, keys, |query, key| {
                        offset(query, key).saturating_add(before)
                    });
                    allowed.push((most, comp_gte()));
                }
                if let Some(after) = self.window[1] {
                    let least = positions(queries, keys, |query, key| {
                        offset(query, key).saturating_sub(after)
                    });
                    allowed.push((least, comp_lte()));
                }
            }
            for (bound, compare) in allowed {
                let bound = wire.constant(bound)?;
                let is_allowed = wire.binary(compare, bound, lengths)?;
                terms.push(zero_where(wire, is_allowed, dtype)?);
            }
        }
        if by_place && (lengths.is_none() || past > 0) {
            // From a query's place to a key's.
            let distance = |query: i64, key: i64| key - query - past as i64;
            let is_allowed = |query, key| {
                let distance = distance(query, key);
                self.window[0].is_none_or(|before| -distance <= before)
                    && self.window[1].is_none_or(|after| distance <= after)
            };
            let allowed = positions(queries, keys, is_allowed);
            let rows = allowed.to_plain_array_view::<bool>()?;
            if rows.iter().any(|allowed| !allowed) {
                may_hide_all |= rows.as_slice().is_none_or(|all| {
                    all.chunks(keys.max(1)).any(|row| row.iter().all(|allowed| !allowed))
                });
                let allowed = wire.constant(allowed)?;
                terms.push(zero_where(wire, allowed, dtype)?);
            }
        }
        let mut terms = terms.into_iter();
        let Some(mut added) = terms.next() else { return Ok(None) };
        for term in terms {
            added = wire.binary(Box::new(Add), added, term)?;
        }
        while wire.fact(added)?.rank() < 4 {
            added = wire.op(AxisOp::Add(0), &[added])?;
        }
        Ok(Some(Bias { added, may_hide_all }))
    }

    /// A mask as what is added to scores. It may end before the last key.
    fn mask(
        &self,
        wire: &mut Wire,
        mut mask: OutletId,
        keys: usize,
        dtype: DatumType,
    ) -> TractResult<OutletId> {
        let fact = wire.fact(mask)?.clone();
        let is_bool = fact.datum_type == bool::datum_type();
        ensure!(is_bool || fact.datum_type == dtype, "a mask of {:?}", fact.datum_type);
        ensure!((1..=4).contains(&fact.rank()), "a mask of {} axes", fact.rank());
        let mut shape = fact.shape.as_concrete().context("a known shape")?.to_vec();
        let last = shape.len() - 1;
        if shape[last] < keys {
            shape[last] = keys - shape[last];
            let missing = shape.iter().fold(1usize, |all, &size| all.saturating_mul(size));
            self.want_few(missing, "elements of its mask are missing")?;
            let mut hidden = match is_bool {
                true => tensor0(false),
                false => tensor0(f32::NEG_INFINITY).cast_to_dt(dtype)?.into_owned(),
            };
            hidden.broadcast_to_rank(shape.len())?;
            let hidden = wire.constant(hidden.broadcast_to_shape(&shape)?)?;
            mask = wire.op(TypedConcat::new(last), &[mask, hidden])?;
        }
        if is_bool { zero_where(wire, mask, dtype) } else { Ok(mask) }
    }

    /// An error unless so few numbers become constants.
    fn want_few(&self, seen: usize, what: &str) -> TractResult<()> {
        match seen {
            0..=CONSTANTS_LIMIT => Ok(()),
            _ => refuse(&self.name, format!("{seen} {what}, the limit is {CONSTANTS_LIMIT}")),
        }
    }
}

/// What the masks add.
#[derive(Clone, Copy)]
struct Bias {
    added: OutletId,
    /// Whether there may be queries that are to look at no key at all.
    may_hide_all: bool,
}

/// Keys or values for so many heads of queries, of which each has those of its group.
fn for_heads(wire: &mut Wire, input: OutletId, heads: usize) -> TractResult<OutletId> {
    let given = wire.size(input, 1)?;
    if given == heads {
        return Ok(input);
    }
    ensure!(
        given > 0 && heads.is_multiple_of(given),
        "{heads} heads of queries, {given} of keys or values, wanted a multiple"
    );
    let group = heads / given;
    let mut shape = wire.fact(input)?.shape.to_tvec();
    shape.insert(2, group.to_dim());
    let apart = wire.op(AxisOp::Add(2), &[input])?;
    let repeated = wire.op(MultiBroadcastTo { shape: shape.into() }, &[apart])?;
    let apart = tvec!(given.to_dim(), group.to_dim());
    wire.op(AxisOp::Reshape(1, apart, tvec!(heads.to_dim())), &[repeated])
}

/// 0 where a condition holds, else negative infinity.
fn zero_where(wire: &mut Wire, condition: OutletId, dtype: DatumType) -> TractResult<OutletId> {
    let zero = wire.number(0.0, dtype)?;
    let hidden = wire.number(f32::NEG_INFINITY, dtype)?;
    wire.select(condition, zero, hidden)
}

/// What `of` says of each query and key: `[1, 1, queries, keys]`.
fn positions<T: Datum + Copy>(queries: usize, keys: usize, of: impl Fn(i64, i64) -> T) -> Tensor {
    tract_ndarray::Array4::from_shape_fn((1, 1, queries, keys), |(_, _, query, key)| {
        of(query as i64, key as i64)
    })
    .into_tensor()
}
