// Charts in SVG, drawn anew with each answer of the host.
import { count, h, millis, replace, s, span } from "./dom.js";

const LEFT = 46;
const RIGHT = 8;
const BOTTOM = 20;
const TOP = 8;

/** Which step the pointer is at, by chart: it stays where it is when the chart is drawn anew. */
const pointed = new Map();

/** A round number that is not below, and a few steps up to it. */
function scale(highest) {
  if (!(highest > 0)) return { top: 1, ticks: [0, 1] };
  const power = 10 ** Math.floor(Math.log10(highest / 3));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => highest / one <= 4);
  const top = Math.ceil(highest / step - 1e-9) * step;
  return { top, ticks: Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step) };
}

/** The axes of a chart over time, and where its values are. */
function frame(node, steps, stepSeconds, highest, height, label) {
  const width = Math.max(260, node.clientWidth);
  const { top, ticks } = scale(highest);
  const x = (index) => LEFT + (index / steps) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);
  const lines = ticks.map((tick) => [
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
    s("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, label(tick)),
  ]);
  const every = width < 500 ? steps / 2 : steps / 5;
  for (let index = 0; index <= steps; index += every) {
    const age = (steps - index) * stepSeconds;
    const anchor = index === 0 ? "start" : index === steps ? "end" : "middle";
    const text = age === 0 ? "now" : `−${span(age)}`;
    lines.push(s("text", { x: x(index), y: height - 4, "text-anchor": anchor }, text));
  }
  return { width, height, x, y, lines };
}

/** The chart with its legend, which tells the values of the step that is pointed at. */
function withLegend(node, name, { steps, stepSeconds, series, axes, marks, label, line }) {
  const values = h("ul", { class: "legend" });
  const cursor = s("line", { class: "cursor", y1: TOP, y2: axes.height - BOTTOM, visibility: "hidden" });
  const show = (index) => {
    const at = index ?? steps - 1;
    const total = (one) =>
      index === undefined && !line ? one.values.reduce((sum, value) => sum + value, 0) : one.values[at];
    const latest = (one) => (index === undefined && line ? one.values.findLast((v) => v !== null) : total(one));
    replace(values, [
      series.map((one) =>
        h("li", {}, h("span", { class: `key ${one.kind}${line ? " line" : ""}` }), one.name, h("b", {}, label(latest(one) ?? null)))),
      h("li", { class: "when" }, index === undefined ? (line ? "latest" : "10 min") : `${span((steps - 1 - at) * stepSeconds)} ago`),
    ]);
    if (index === undefined) cursor.setAttribute("visibility", "hidden");
    else {
      cursor.setAttribute("visibility", "visible");
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, axes.x(index + 0.5));
    }
  };
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const part = ((event.clientX - box.left) * (axes.width / box.width) - LEFT) / (axes.width - LEFT - RIGHT);
    pointed.set(name, Math.min(steps - 1, Math.max(0, Math.floor(part * steps))));
    show(pointed.get(name));
  };
  const leave = () => {
    pointed.delete(name);
    show(undefined);
  };
  const svg = s(
    "svg",
    { class: "chart", viewBox: `0 0 ${axes.width} ${axes.height}`, height: axes.height, role: "img", "aria-label": name, onpointermove: point, onpointerleave: leave },
    axes.lines, marks, cursor,
  );
  replace(node, values, svg);
  show(pointed.get(name));
}

/** Counts by step, one on top of the other. */
export function stacked(node, name, { stepSeconds, series }) {
  const steps = series[0].values.length;
  const sums = series[0].values.map((_, i) => series.reduce((sum, one) => sum + one.values[i], 0));
  const axes = frame(node, steps, stepSeconds, Math.max(...sums), 190, count);
  const wide = Math.max(1, (axes.x(1) - axes.x(0)) * 0.8);
  const marks = [];
  for (let index = 0; index < steps; index += 1) {
    let below = 0;
    for (const one of series) {
      const value = one.values[index];
      if (value > 0) {
        const [upper, lower] = [axes.y(below + value), axes.y(below)];
        marks.push(s("rect", { class: `bar ${one.kind}`, x: axes.x(index), y: upper, width: wide, height: Math.max(0.5, lower - upper) }));
      }
      below += value;
    }
  }
  withLegend(node, name, { steps, stepSeconds, series, axes, marks, label: (value) => count(value ?? 0), line: false });
}

/** Durations by step. Where nothing is known, the line is interrupted, unless for a moment only. */
export function lines(node, name, { stepSeconds, series }) {
  const steps = series[0].values.length;
  const highest = Math.max(...series.flatMap((one) => one.values.map((value) => value ?? 0)));
  const axes = frame(node, steps, stepSeconds, highest, 190, (tick) => (tick === 0 ? "0" : millis(tick)));
  const marks = series.map((one) => {
    let path = "";
    let last = -Infinity;
    const dots = [];
    one.values.forEach((value, index) => {
      if (value === null) return;
      const joined = index - last <= 4;
      path += `${joined ? "L" : "M"}${axes.x(index + 0.5).toFixed(1)} ${axes.y(value).toFixed(1)}`;
      if (!joined) dots.push(s("circle", { class: "dot", cx: axes.x(index + 0.5), cy: axes.y(value), r: 1.8 }));
      last = index;
    });
    return s("g", { class: one.kind }, s("path", { class: "lines", d: path }), dots);
  });
  withLegend(node, name, { steps, stepSeconds, series, axes, marks, label: millis, line: true });
}

/** A device's small picture. */
export function small(steps) {
  const highest = Math.max(1, ...steps.on_device.map((value, i) => value + steps.on_fog[i]));
  const [width, height, length] = [108, 26, steps.on_device.length];
  const bars = steps.on_device.flatMap((value, i) => {
    const [device, fog] = [(value / highest) * height, (steps.on_fog[i] / highest) * height];
    const bar = (kind, tall, y) =>
      tall > 0 ? s("rect", { class: `bar ${kind}`, x: (i * width) / length, y, width: width / length - 0.6, height: tall }) : null;
    return [bar("local", device, height - device), bar("fog", fog, height - device - fog)];
  });
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "decisions in the last 3 minutes" }, bars);
}

/** A quantile of counts by bucket, in seconds. */
export function quantile(histogram, bounds, level) {
  if (histogram.count === 0) return null;
  const rank = level * histogram.count;
  let below = 0;
  let lower = 0;
  for (let i = 0; i < bounds.length; i += 1) {
    const inside = histogram.counts[i];
    if (inside > 0 && below + inside >= rank) return lower + ((rank - below) / inside) * (bounds[i] - lower);
    below += inside;
    lower = bounds[i];
  }
  return lower;
}

/** A histogram of durations, with the deadlines that requests gave. */
export function histogram(node, { name, kind, histogram: all, deadline, bounds }) {
  const over = all.count - all.counts.reduce((sum, one) => sum + one, 0);
  const counts = [...all.counts, over];
  const width = Math.max(240, node.clientWidth);
  const height = 150;
  const highest = Math.max(1, ...counts);
  const x = (index) => 2 + (index / counts.length) * (width - 4);
  const y = (value) => 18 + (1 - value / highest) * (height - 18 - BOTTOM);
  const wide = (x(1) - x(0)) * 0.82;
  const place = (seconds) => {
    const index = bounds.findIndex((bound) => seconds <= bound);
    if (index < 0) return counts.length - 1;
    const lower = index === 0 ? 0 : bounds[index - 1];
    return index + (seconds - lower) / (bounds[index] - lower);
  };
  const marks = [s("line", { class: "grid", x1: 2, x2: width - 2, y1: y(0), y2: y(0) })];
  if (deadline.count > 0) {
    const at = x(place(quantile(deadline, bounds, 0.5)));
    const right = at > width * 0.6;
    marks.push(
      s("rect", { class: "late", x: at, y: 14, width: Math.max(0, width - 2 - at), height: y(0) - 14 }),
      s("line", { class: "deadline", x1: at, x2: at, y1: 4, y2: y(0) }),
      s("text", { class: "deadline-text", x: right ? at - 5 : at + 5, y: 12, "text-anchor": right ? "end" : "start" },
        `deadline ${millis(quantile(deadline, bounds, 0.5) * 1e3)}`),
    );
  }
  counts.forEach((value, index) => {
    const bound = index < bounds.length ? `up to ${millis(bounds[index] * 1e3)}` : `above ${millis(bounds.at(-1) * 1e3)}`;
    const upper = value > 0 ? Math.min(y(value), y(0) - 1.5) : y(0);
    marks.push(s("rect", { class: `bar ${kind}`, x: x(index) + (x(1) - x(0)) * 0.09, y: upper, width: wide, height: y(0) - upper, rx: 1.5 },
      s("title", {}, `${bound}: ${value}`)));
  });
  for (const bound of [0.000_1, 0.001, 0.01, 0.1, 1, 10]) {
    const index = bounds.indexOf(bound);
    if (index >= 0) marks.push(s("text", { x: x(index + 1), y: height - 5, "text-anchor": "middle" }, millis(bound * 1e3).replace(".00", "").replace(".0", "")));
  }
  const [p50, p99] = [0.5, 0.99].map((level) => quantile(all, bounds, level));
  const told = all.count > 0 ? `p50 ${millis(p50 * 1e3)}, p99 ${millis(p99 * 1e3)}` : "nothing yet";
  node.append(
    h("h3", {}, name, h("span", {}, told)),
    s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `${name}: ${told}` }, marks),
  );
}
