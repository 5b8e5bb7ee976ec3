//! A small writer of SVG elements. Colours are classes of the page's style.

use std::fmt::Write;

/// The text with the characters of XML's own replaced.
pub(in super::super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no place for these.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Where a text lies with respect to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

/// A drawing of a fixed size in its own units, scaled by the page.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// A coordinate: one decimal, and zero for what is not a number.
fn n(x: f64) -> String {
    let x = if x.is_finite() { x } else { 0.0 };
    let text = format!("{x:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    fn element(&mut self, name: &str, attributes: &[(&str, &str)], content: &str) {
        let _ = write!(self.body, "<{name}");
        for (key, value) in attributes.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(self.body, " {key}=\"{}\"", escape(value));
        }
        let _ = match content {
            "" => write!(self.body, "/>"),
            content => write!(self.body, ">{content}</{name}>"),
        };
        self.body.push('\n');
    }

    /// `tip` is what a pointer over it shows; empty for nothing.
    pub(super) fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, tip: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(n);
        let attributes =
            [("x", &*x), ("y", &y), ("width", &width), ("height", &height), ("class", class)];
        self.element("rect", &attributes, &title(tip));
    }

    pub(super) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str, tip: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(n);
        let attributes = [("x1", &*x1), ("y1", &y1), ("x2", &x2), ("y2", &y2), ("class", class)];
        self.element("line", &attributes, &title(tip));
    }

    pub(super) fn circle(&mut self, [x, y, r]: [f64; 3], class: &str, tip: &str) {
        let [x, y, r] = [x, y, r].map(n);
        self.element(
            "circle",
            &[("cx", &*x), ("cy", &y), ("r", &r), ("class", class)],
            &title(tip),
        );
    }

    /// A closed shape through these points.
    pub(super) fn polygon(&mut self, points: &[[f64; 2]], class: &str, tip: &str) {
        let points: Vec<String> =
            points.iter().map(|&[x, y]| format!("{},{}", n(x), n(y))).collect();
        self.element("polygon", &[("points", &points.join(" ")), ("class", class)], &title(tip));
    }

    /// An open line through these points.
    pub(super) fn polyline(&mut self, points: &[[f64; 2]], class: &str, tip: &str) {
        let points: Vec<String> =
            points.iter().map(|&[x, y]| format!("{},{}", n(x), n(y))).collect();
        self.element("polyline", &[("points", &points.join(" ")), ("class", class)], &title(tip));
    }

    pub(super) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, class: &str, text: &str) {
        let [x, y] = [x, y].map(n);
        let attributes = [("x", &*x), ("y", &y), ("text-anchor", anchor.name()), ("class", class)];
        self.element("text", &attributes, &escape(text));
    }

    /// A text in the middle of its point, with each `_X` as a lowered X.
    pub(super) fn formula(&mut self, [x, y]: [f64; 2], class: &str, text: &str) {
        let [x, y] = [x, y].map(n);
        let attributes = [("x", &*x), ("y", &y), ("text-anchor", "middle"), ("class", class)];
        self.element("text", &attributes, &with_subscripts(text));
    }

    /// A text that reads upwards, centred on its point.
    pub(super) fn text_upwards(&mut self, [x, y]: [f64; 2], class: &str, text: &str) {
        let turn = format!("translate({} {}) rotate(-90)", n(x), n(y));
        let attributes = [("transform", &*turn), ("text-anchor", "middle"), ("class", class)];
        self.element("text", &attributes, &escape(text));
    }

    /// Puts what `draw` draws into one group of this opacity, 0 to 1.
    pub(super) fn faded(&mut self, opacity: f64, draw: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.body, "<g opacity=\"{opacity:.2}\">");
        draw(self);
        self.body.push_str("</g>\n");
    }

    /// The element; `label` says what it shows to those who do not see it.
    pub(super) fn finish(self, label: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            n(self.width),
            n(self.height),
            escape(label),
            self.body
        )
    }

    /// The element as a file of its own, with its style in it.
    pub(super) fn finish_alone(self, label: &str, style: &str) -> String {
        let (width, height) = (n(self.width), n(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n\
             <style>\n{style}</style>\n{}</svg>\n",
            escape(label),
            self.body
        )
    }
}

/// The text, escaped, with each `_X` as a lowered X: T_L.
fn with_subscripts(text: &str) -> String {
    let mut parts = text.split('_');
    let mut out = escape(parts.next().unwrap_or_default());
    for part in parts {
        let split = part.chars().next().map_or(0, char::len_utf8);
        let [lowered, rest] = [&part[..split], &part[split..]].map(escape);
        out += &format!("<tspan class=\"sub\" dy=\"3\">{lowered}</tspan>");
        out += &format!("<tspan dy=\"-3\">{rest}</tspan>");
    }
    out
}

fn title(tip: &str) -> String {
    match tip {
        "" => String::new(),
        tip => format!("<title>{}</title>", escape(tip)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_coordinates_are_finite() {
        let mut svg = Svg::new(10.0, 20.0);
        svg.rect([f64::NAN, f64::INFINITY, -5.0, 1.25], "a", "x < y");
        svg.text([1.0, 2.0], Anchor::End, "", "a & \"b\"\u{1}");
        assert_eq!(
            svg.finish("l"),
            "<svg viewBox=\"0 0 10 20\" role=\"img\" aria-label=\"l\">\n\
             <rect x=\"0\" y=\"0\" width=\"0\" height=\"1.2\" class=\"a\"><title>x &lt; y</title></rect>\n\
             <text x=\"1\" y=\"2\" text-anchor=\"end\">a &amp; &quot;b&quot;\u{fffd}</text>\n</svg>\n"
        );
    }
}
