//! Element-wise work as an expression over four `f32` lanes at a time, or two of
//! `f64`: the body of the `map` kernels, and the epilogue of kernels that took such
//! work over.

use wasm_encoder::Instruction;

use crate::emit::code::{Code, Local};
use crate::emit::{double, math, wide};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// The square root.
    Sqrt,
    /// `1 / x`
    Recip,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// `x * x`
    Square,
    /// The largest integer that is not larger.
    Floor,
    /// The smallest integer that is not smaller.
    Ceil,
    /// The nearest integer, the even one of two.
    RoundEven,
    /// `e^x`
    Exp,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-x)`
    Silu,
    /// `x * clamp(x/6 + 1/2, 0, 1)`
    HardSwish,
    /// `x` where it is positive, else `x` times the factor.
    LeakyRelu(f32),
    /// -1, 0 or 1; NaN of a NaN.
    Sign,
    /// The nearest integer, of two the one farther from zero.
    RoundAway,
    /// The error function.
    Erf,
    /// The natural logarithm.
    Ln,
    /// The sine of an angle in radians.
    Sin,
    /// The cosine of an angle in radians.
    Cos,
    /// The tangent of an angle in radians.
    Tan,
    /// The inverse of the sine.
    Asin,
    /// The inverse of the cosine.
    Acos,
    /// The inverse of the tangent.
    Atan,
    /// The hyperbolic sine.
    Sinh,
    /// The hyperbolic cosine.
    Cosh,
    /// The inverse of the hyperbolic sine.
    Asinh,
    /// The inverse of the hyperbolic cosine.
    Acosh,
    /// The inverse of the hyperbolic tangent.
    Atanh,
    /// `x` to a constant power.
    Power(f32),
    /// 1 where it is 0, else 0.
    Not,
    /// 1 of a NaN, else 0.
    IsNan,
    /// 1 of an infinity of a wanted sign, else 0.
    IsInf {
        /// Of the positive one.
        positive: bool,
        /// Of the negative one.
        negative: bool,
    },
}

impl Unary {
    /// How many times as long as an exponential its code is, about.
    fn length(self) -> usize {
        use Unary::*;
        match self {
            Exp | Sigmoid | Silu | Tanh | Erf => 1,
            Ln | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh => 4,
            Power(exponent) if !math::is_short_power(exponent) => 4,
            _ => 0,
        }
    }
}

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The smaller one; NaN if either is.
    Min,
    /// The larger one; NaN if either is.
    Max,
    /// `a` to the power of `b`.
    Pow,
    /// What remains of `a` after its division by `b`, with the sign of `a`.
    Rem,
    /// 1 where they are equal, else 0.
    Eq,
    /// 0 where they are equal, else 1.
    Ne,
    /// 1 where `a < b`, else 0.
    Lt,
    /// 1 where `a <= b`, else 0.
    Le,
    /// 1 where `a > b`, else 0.
    Gt,
    /// 1 where `a >= b`, else 0.
    Ge,
    /// 1 where neither is 0, else 0.
    And,
    /// 1 where not both are 0, else 0.
    Or,
    /// 1 where just one of them is 0, else 0.
    Xor,
}

/// A node of an expression. Arguments are indices of nodes before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// The operand with this index.
    Operand(usize),
    /// The same number for every element.
    Constant(f32),
    /// A function of one node.
    Unary(Unary, usize),
    /// A function of two nodes.
    Binary(Binary, usize, usize),
    /// The second node where the first is not 0, else the third.
    Select(usize, usize, usize),
}

/// An expression: its last node is its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    nodes: Vec<Node>,
}

impl Expr {
    /// Its first operand, unchanged.
    pub fn identity() -> Self {
        Self { nodes: vec![Node::Operand(0)] }
    }

    /// An expression of these nodes, of which there must be one.
    pub fn of(nodes: Vec<Node>) -> Self {
        assert!(!nodes.is_empty(), "an expression has a result");
        Self { nodes }
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many times as long as an exponential its code is, about: long code is
    /// not repeated to save a loop's overhead.
    pub fn length(&self) -> usize {
        let length = |node: &Node| match node {
            Node::Unary(f, _) => f.length(),
            Node::Binary(Binary::Pow | Binary::Rem, ..) => 4,
            _ => 0,
        };
        self.nodes.iter().map(length).sum()
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.nodes == [Node::Operand(0)]
    }

    /// `self` with `inner` in the place of its operand `slot`. The operands of
    /// the result are those of `self` without that one, and then those of
    /// `inner`, as `renumber` maps them.
    pub fn compose(
        &self,
        slot: usize,
        inner: &Expr,
        outer_operand: impl Fn(usize) -> usize,
        inner_operand: impl Fn(usize) -> usize,
    ) -> Expr {
        let mut nodes: Vec<Node> = inner
            .nodes
            .iter()
            .map(|&node| match node {
                Node::Operand(i) => Node::Operand(inner_operand(i)),
                other => other,
            })
            .collect();
        let result = nodes.len() - 1;
        let mut placed = Vec::with_capacity(self.nodes.len());
        for &node in &self.nodes {
            let moved = match node {
                Node::Operand(i) if i == slot => {
                    placed.push(result);
                    continue;
                }
                Node::Operand(i) => Node::Operand(outer_operand(i)),
                Node::Constant(value) => Node::Constant(value),
                Node::Unary(f, a) => Node::Unary(f, placed[a]),
                Node::Binary(f, a, b) => Node::Binary(f, placed[a], placed[b]),
                Node::Select(c, a, b) => Node::Select(placed[c], placed[a], placed[b]),
            };
            nodes.push(moved);
            placed.push(nodes.len() - 1);
        }
        Expr { nodes }
    }

    /// `then` applied to the result; `then`'s only operand is operand 0.
    pub fn followed_by(&self, then: &Expr) -> Expr {
        then.compose(0, self, |i| i, |i| i)
    }

    /// Emits code that replaces four elements in a local, the only operand, by
    /// the result. Nothing where it changes nothing.
    pub fn apply(&self, code: &mut Code, local: Local) {
        if !self.is_identity() {
            self.emit(code, |code, _| {
                code.get(local);
            });
            code.set(local);
        }
    }

    /// Emits code that leaves the result for four elements on the stack.
    /// `operand` must leave the operand of an index there; it is called once for
    /// each node that names one.
    pub fn emit(&self, code: &mut Code, operand: impl FnMut(&mut Code, usize)) {
        self.emit_in(Lanes::Single, code, operand);
    }

    /// The same in lanes of a certain type.
    pub fn emit_in(
        &self,
        lanes: Lanes,
        code: &mut Code,
        mut operand: impl FnMut(&mut Code, usize),
    ) {
        let mut uses = vec![0usize; self.nodes.len()];
        for node in &self.nodes {
            match *node {
                Node::Unary(_, a) => uses[a] += 1,
                Node::Binary(_, a, b) => {
                    uses[a] += 1;
                    uses[b] += 1;
                }
                Node::Select(c, a, b) => [c, a, b].iter().for_each(|&node| uses[node] += 1),
                Node::Operand(_) | Node::Constant(_) => {}
            }
        }
        let mut kept: Vec<Option<Local>> = vec![None; self.nodes.len()];
        // What is used twice is computed first and kept in a local; all else is
        // computed where it is used.
        for at in 0..self.nodes.len() {
            if uses[at] > 1 && !matches!(self.nodes[at], Node::Constant(_)) {
                self.emit_node(lanes, code, at, &kept, &mut operand);
                let local = code.v128_local();
                code.set(local);
                kept[at] = Some(local);
            }
        }
        self.emit_node(lanes, code, self.nodes.len() - 1, &kept, &mut operand);
        code.release(kept.into_iter().flatten());
    }

    fn emit_node(
        &self,
        lanes: Lanes,
        code: &mut Code,
        at: usize,
        kept: &[Option<Local>],
        operand: &mut impl FnMut(&mut Code, usize),
    ) {
        if let Some(local) = kept[at] {
            code.get(local);
            return;
        }
        match self.nodes[at] {
            Node::Operand(i) => operand(code, i),
            Node::Constant(value) => lanes.constant(code, value),
            Node::Unary(f, a) => {
                self.emit_node(lanes, code, a, kept, operand);
                lanes.unary(code, f);
            }
            Node::Binary(f, a, b) => {
                self.emit_node(lanes, code, a, kept, operand);
                self.emit_node(lanes, code, b, kept, operand);
                // With a number for its right side, the one-instruction forms
                // give what `min` and `max` give: a NaN on the left stays.
                let number = matches!(self.nodes[b], Node::Constant(c) if !c.is_nan());
                lanes.binary(code, f, number);
            }
            Node::Select(c, a, b) => {
                self.emit_node(lanes, code, a, kept, operand);
                self.emit_node(lanes, code, b, kept, operand);
                self.emit_node(lanes, code, c, kept, operand);
                lanes.is_not_zero(code);
                code.op(Instruction::V128Bitselect);
            }
        }
    }
}

/// The numbers that an expression is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// Four `f32`.
    Single,
    /// Two `f64`.
    Double,
}

impl Lanes {
    fn constant(self, code: &mut Code, value: f32) {
        match self {
            Lanes::Single => code.splat(value),
            Lanes::Double => wide::number(code, value.into()),
        };
    }

    fn unary(self, code: &mut Code, f: Unary) {
        match self {
            Lanes::Single => math::unary(code, f),
            Lanes::Double => double::unary(code, f),
        }
    }

    fn binary(self, code: &mut Code, f: Binary, right_is_number: bool) {
        match self {
            Lanes::Single => math::binary(code, f, right_is_number),
            Lanes::Double => double::binary(code, f),
        }
    }

    fn is_not_zero(self, code: &mut Code) {
        match self {
            Lanes::Single => math::is_not_zero(code),
            Lanes::Double => double::is_not_zero(code),
        }
    }
}

/// Element-wise work on the output of a kernel, offered to it.
#[derive(Clone, Debug)]
pub enum Fusion {
    /// An expression whose only operand is the kernel's output.
    Then(Expr),
    /// `out = out * scale + shift`, with a number for each index of one axis, the
    /// same along all others.
    PerChannel {
        /// The product of the sizes of the output's axes after that axis.
        inner: usize,
        /// What is multiplied.
        scale: Vec<f32>,
        /// What is added.
        shift: Vec<f32>,
    },
}
