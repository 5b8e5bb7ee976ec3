// The page: asks the host every two seconds what there is to be seen, and draws it.
import { ago, bytes, count, digest, h, millis, replace, span } from "./dom.js";
import { histogram, lines, small, stacked } from "./charts.js";

const INTERVAL_MS = 2000;
const at = (id) => document.getElementById(id);

/** The device whose flow is shown; without one, it is that of all. */
let chosen = null;
/** The model whose latencies are shown, by name and version. */
let latencyModel = null;
let last = null;
let asking = 0;

function state(text, kind) {
  const node = at("state");
  node.className = `state ${kind}`;
  node.textContent = text;
}

async function ask() {
  const query = chosen ? `?${new URLSearchParams(chosen)}` : "";
  const number = ++asking;
  try {
    const response = await fetch(`/v1/overview${query}`, { signal: AbortSignal.timeout(10_000) });
    if (response.status === 401 || response.status === 403) {
      location.assign("/login");
      return;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    const overview = await response.json();
    // Of two that are under way, the later one tells what was chosen last.
    if (number !== asking) return;
    last = overview;
    draw();
    state(last.host.ready ? "live" : "loading models", last.host.ready ? "live" : "");
  } catch (error) {
    state("no connection, retrying", "lost");
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((done) => setTimeout(done, INTERVAL_MS));
  }
}

function choose(device) {
  chosen = device;
  ask();
}

const parts = [about, tiles, flow, times, traffic, devices, latency, models, clients, events];

function draw() {
  for (const part of parts) part(last);
  at("main").setAttribute("aria-busy", "false");
}

function about({ host, viewer, login }) {
  at("about").textContent =
    `${location.host} · version ${host.version} · ${host.engine} · ${host.workers} worker${host.workers === 1 ? "" : "s"} · up ${span(host.uptime_seconds)} · ${viewer}`;
  at("logout").hidden = !login;
}

function tile(name, value, unit, more, bad = false) {
  return h("div", { class: bad ? "tile bad" : "tile" },
    h("div", { class: "name" }, name),
    h("div", { class: "value" }, value, unit ? h("small", {}, unit) : null),
    h("div", { class: "more" }, more));
}

function tiles({ host, recent, totals, devices, models }) {
  const refusals = Object.entries(totals.refusals);
  const refused = refusals.reduce((sum, [, number]) => sum + number, 0);
  const here = devices.filter((device) => device.here).length;
  const named = models.filter((model) => model.name !== null);
  const why = refusals.sort(([, a], [, b]) => b - a).map(([reason, number]) => `${reason} ${count(number)}`);
  const [value, unit] = millis(recent.request.p99_ms).split(" ");
  replace(at("tiles"),
    tile("Inferences", count(recent.answered_per_second), "/s", `${count(totals.answered)} since the start`),
    tile("Request time, p99", value, unit, `p50 ${millis(recent.request.p50_ms)}, 1 min`),
    tile("Queue", String(host.waiting), `of ${host.queue}`, `p99 wait ${millis(recent.queue.p99_ms)}`, host.waiting >= host.queue),
    tile("After the deadline", count(totals.late), "", `of ${count(totals.answered)} answers`, totals.late > 0),
    tile("Refusals", count(refused), "", why.join(", ") || "none", recent.refused_per_second > 0),
    tile("Devices", String(here), devices.length > here ? `of ${devices.length}` : "", `${named.length} model${named.length === 1 ? "" : "s"}, ${count(totals.swaps)} swap${totals.swaps === 1 ? "" : "s"}`));
}

function empty(...children) {
  return h("p", { class: "empty" }, ...children);
}

function flow({ flow: steps, step_seconds: stepSeconds, devices }) {
  at("flow-of").textContent = chosen ? `of ${chosen.device}` : "of all devices";
  at("flow-all").hidden = !chosen;
  if (devices.length === 0) {
    replace(at("flow"), empty("No device has reported yet. In a device's configuration, ", h("code", {}, "report = \"NAME\""),
      " under ", h("code", {}, "[fog]"), " has it tell where its inputs are answered."));
    return;
  }
  stacked(at("flow"), "Decisions", { stepSeconds, series: [
    { name: "on the device", kind: "local", values: steps.local },
    { name: "by the fog host", kind: "fog", values: steps.fog },
    { name: "on the device, the fog failed", kind: "fallback", values: steps.fallback },
    { name: "on the device, which was faster", kind: "compensated", values: steps.compensated },
  ] });
  const missed = steps.missed.reduce((sum, number) => sum + number, 0);
  at("flow").querySelector(".legend .when").before(
    h("li", {}, h("span", { class: "key missed" }), "after the deadline", h("b", { class: missed > 0 ? "late-count" : "" }, count(missed))));
}

function times({ flow: steps, step_seconds: stepSeconds, devices }) {
  if (devices.length === 0) {
    replace(at("times"), empty("Comes with the first report of a device."));
    return;
  }
  lines(at("times"), "Transfer and fog time", { stepSeconds, series: [
    { name: "T_L, transfer", kind: "local", values: steps.transfer_ms },
    { name: "T_F, fog host", kind: "fog", values: steps.fog_ms },
    { name: "worst case on the device", kind: "wcet", values: steps.wcet_ms },
  ] });
}

function traffic({ traffic: steps, step_seconds: stepSeconds }) {
  stacked(at("traffic"), "Requests to this host", { stepSeconds, series: [
    { name: "answered", kind: "fog", values: steps.answered },
    { name: "refused", kind: "fallback", values: steps.refused },
    { name: "failed", kind: "missed", values: steps.failed },
  ] });
}

/** A table: columns are [title, class], rows are lists of cells, with properties of the row. */
function table(columns, rows, kind = "rows") {
  const cell = (content, i) => {
    const [title, shape] = columns[i];
    return h("td", { class: shape, "data-label": title }, h("div", {}, content));
  };
  return h("table", { class: kind },
    h("thead", {}, h("tr", {}, columns.map(([title, shape]) => h("th", { class: shape, scope: "col" }, title)))),
    h("tbody", {}, rows.map(({ properties, cells }) => h("tr", properties, cells.map(cell)))));
}

function nanos(value) {
  return millis(value === undefined || value === null ? null : value / 1e6);
}

function devices({ devices: all }) {
  const here = all.filter((device) => device.here).length;
  at("devices-count").textContent = all.length ? `${here} here, ${all.length} known` : "";
  if (all.length === 0) {
    replace(at("devices"), empty("None yet."));
    return;
  }
  const is = (device) => chosen !== null && chosen.client === device.client && chosen.device === device.name;
  const total = (device) => device.local + device.fog + device.fallback + device.compensated;
  const row = (device) => {
    const target = { client: device.client, device: device.name };
    const each = (text) => device.models.map((model) => h("div", {}, text(model)));
    return {
      properties: { class: [device.here ? "" : "gone", is(device) ? "chosen" : ""].join(" ").trim(), "data-device": device.name },
      cells: [
        [h("button", { class: "link", type: "button", "data-key": `${device.client}/${device.name}`, onclick: () => choose(is(device) ? null : target) }, device.name),
          h("div", { class: "under" }, `${device.client}${device.address && device.address !== device.client ? ` · ${device.address}` : ""} · ${ago(device.seen_seconds)}`)],
        device.models.length ? each((model) => `${model.name} · ${model.policy}`) : "–",
        small(device.small),
        count(total(device)),
        total(device) ? `${Math.round((100 * device.fog) / total(device))} %` : "–",
        h("span", { class: device.missed > 0 ? "late-count" : "" }, count(device.missed)),
        device.models.length ? each((model) => nanos(model.transfer_ns)) : "–",
        device.models.length ? each((model) => nanos(model.fog_ns)) : "–",
        device.models.length ? each((model) => nanos(model.wcet_ns)) : "–",
        device.models.length ? each((model) => `${nanos(model.latency_ns)}${model.deadline_ns ? ` of ${nanos(model.deadline_ns)}` : ""}`) : "–",
      ],
    };
  };
  const columns = [["Device", ""], ["Model, policy", ""], ["Last 3 min", ""], ["Inputs", "number"], ["By fog", "number"], ["Missed", "number"],
    ["T_L", "number"], ["T_F", "number"], ["WCET", "number"], ["Longest, deadline", "number"]];
  replace(at("devices"), table(columns, all.map(row)));
}

function names(models) {
  const known = new Map();
  for (const model of models) {
    for (const { digest: text, certificate } of model.versions) {
      if (certificate) known.set(text, certificate.model);
    }
  }
  return known;
}

function latency({ latency: all, bucket_seconds: bounds, models }) {
  const known = names(models);
  const key = (one) => `${one.model} ${one.version}`;
  const label = (one) => {
    const by = one.model.startsWith("sha256:") ? `${known.get(one.model) ?? "module"} ${one.version} · by digest ${one.model.slice(7, 15)}` : key(one);
    return `${by} (${count(one.request.count)})`;
  };
  const busy = all.filter((one) => one.request.count > 0).sort((a, b) => b.request.count - a.request.count);
  const select = at("latency-model");
  select.hidden = busy.length === 0;
  if (busy.length === 0) {
    replace(at("latency"), empty("No inference has been answered yet."));
    return;
  }
  if (document.activeElement !== select) {
    replace(select, busy.map((one) => h("option", { value: key(one) }, label(one))));
    select.value = busy.some((one) => key(one) === latencyModel) ? latencyModel : key(busy[0]);
  }
  const one = busy.find((candidate) => key(candidate) === latencyModel) ?? busy[0];
  const panels = h("div", { class: "panels" });
  replace(at("latency"), panels);
  for (const [name, kind, shown] of [["Queue", "fallback", one.queue], ["Computation", "fog", one.compute], ["Request", "local", one.request]]) {
    const panel = h("div", { "data-panel": name });
    panels.append(panel);
    histogram(panel, { name, kind, histogram: shown, deadline: one.deadline, bounds });
  }
}

function models({ models: all }) {
  const versions = all.reduce((sum, model) => sum + model.versions.length, 0);
  at("models-count").textContent = all.length ? `${versions} version${versions === 1 ? "" : "s"}` : "";
  if (all.length === 0) {
    replace(at("models"), empty("No model is here yet. ", h("code", {}, `curl -T model.wasm ${location.origin}/v1/modules/sha256:…`),
      " pushes one by its digest; a device with a fog host does so by itself."));
    return;
  }
  const columns = [["Version", ""], ["Digest", ""], ["Certificate", ""], ["Fuel", "number"], ["Memory", "number"], ["Weights", "number"], ["MACs", "number"], ["Stages", ""]];
  const row = (model) => (version) => {
    const { certificate } = version;
    return {
      properties: { "data-version": version.version },
      cells: [
        [version.version, version.version === model.current ? [" ", h("span", { class: "badge accent" }, "current")] : null],
        digest(version.digest),
        certificate ? [h("span", { class: certificate.bound === "static" ? "badge good" : "badge" }, certificate.bound === "static" ? "exact fuel" : "measured fuel"),
          certificate.bit_identical ? null : [" ", h("span", { class: "badge" }, "within a tolerance")],
          h("div", { class: "under" }, `${certificate.compiler}${certificate.golden ? ` · ${certificate.golden} golden` : ""}`)] : h("span", { class: "badge" }, "not loaded"),
        certificate ? count(certificate.fuel) : "–",
        certificate ? bytes(certificate.memory_bytes) : "–",
        certificate ? bytes(certificate.weight_bytes) : "–",
        certificate ? count(certificate.macs) : "–",
        certificate ? stages(version, certificate) : "–",
      ],
    };
  };
  const title = (model) => {
    if (model.name !== null) return [model.name, model.unloaded ? h("span", { class: "badge bad" }, "unloaded") : null];
    return [model.versions[0].certificate?.model ?? "module", h("span", { class: "badge" }, "by digest only")];
  };
  replace(at("models"), all.map((model) => h("div", { class: "model", "data-model": model.name ?? model.versions[0].digest },
    h("h3", {}, title(model)), h("div", { class: "scroll" }, table(columns, model.versions.map(row(model)))))));
}

function stages(version, certificate) {
  const columns = [["Stage", ""], ["Fuel", "number"], ["Weights", "number"], ["Out", ""]];
  const rows = certificate.stages.map((stage) => ({
    properties: {},
    cells: [stage.name, count(stage.fuel), bytes(stage.weight_bytes), stage.outputs.join(", ")],
  }));
  return h("details", { "data-key": version.digest }, h("summary", {}, String(certificate.stages.length)), table(columns, rows, "inner"));
}

function clients({ clients: all }) {
  at("clients-count").textContent = all.length ? `${all.length} known` : "";
  if (all.length === 0) {
    replace(at("clients"), empty("Nobody has asked for anything yet."));
    return;
  }
  const columns = [["Client", ""], ["Seen", ""], ["Answered", "number"], ["Not answered", "number"]];
  const row = (client) => ({
    properties: { "data-client": client.name },
    cells: [
      [client.name, h("div", { class: "under" }, [client.address === client.name ? null : client.address, client.agent].filter(Boolean).join(" · "))],
      ago(client.seen_seconds),
      count(client.answered),
      h("span", { class: client.not_answered > 0 ? "late-count" : "" }, count(client.not_answered)),
    ],
  });
  replace(at("clients"), table(columns, all.map(row)));
}

function events({ events: all }) {
  if (all.length === 0) {
    replace(at("events"), empty("Nothing was pushed, swapped or refused yet."));
    return;
  }
  const short = (text) => text.replace(/sha256:([0-9a-f]{12})[0-9a-f]{52}/g, "$1");
  const entry = (event) => {
    const done = event.outcome === "done";
    const when = new Date(event.time_ms);
    return h("li", { "data-action": event.action },
      h("time", { datetime: when.toISOString(), title: when.toLocaleString() }, when.toLocaleTimeString()),
      h("span", { class: `badge ${done ? (event.action === "alias" ? "accent" : "good") : "bad"}` }, done ? (event.action === "alias" ? "swap" : event.action) : `refused: ${event.action}`),
      h("span", { class: "what", title: event.object }, short(event.object), " · ", event.client),
      done ? null : h("span", { class: "why" }, short(event.outcome), event.left_out ? ` (and ${event.left_out} more before)` : null));
  };
  replace(at("events"), h("ol", { class: "events" }, [...all].reverse().map(entry)));
}

at("flow-all").addEventListener("click", () => choose(null));
at("latency-model").addEventListener("change", (event) => {
  latencyModel = event.target.value;
  event.target.blur();
  if (last) draw();
});
let resizing = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => last && draw());
});
document.addEventListener("visibilitychange", () => document.hidden || ask());
run();
