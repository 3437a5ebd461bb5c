/* SPDX-License-Identifier: GPL-2.0-only */
/* The live page: asks for the status each second, derives rates from counters, and tells them. Whatever comes from outside
 * (names, users, reasons, words) goes into the document as text, never as markup. */
"use strict";
(() => {

const KEPT = 600;            // samples of each service: ten minutes
const SPARK = 120;           // of them in a row's small graph
const ROWS = 40;             // services shown before "show all"
const USERS = 12;
const EVENTS = 200;
const EVENTS_BEFORE = 100;     // asked for of those before the page was opened
const TICK_MS = 1000;
const LOST_AFTER_MS = 4000;

const EVENT_WORDS = {
  hotspot_begin: ["Hot spot", "hot"], hotspot_end: ["Hot spot over", "good"], level: ["Level", "bound"], capacity: ["Capacity", "bound"],
  fault: ["Fault", "hot"], recovery: ["Recovery", "good"], drill: ["Drill", "hot"], handover: ["Handover", "plain"],
  reload: ["Reload", "plain"], interface: ["Interface", "plain"], override: ["Override", "plain"], lost: ["Events lost", "hot"],
};
const REASON_WORDS = {
  user_limit: "users over their level", user_bytes: "users over their bytes", user_connections: "users over their new connections",
  capacity: "the service over its capacity", denied: "denied sources", malformed: "malformed packets", drill: "a drill",
  not_owner: "users of another region",
};
const RESOURCE_WORDS = {cpu: "CPU", memory: "Memory", io: "Disk", softirq: "Softirq", backlog: "Backlog", squeeze: "Squeezed"};

const $ = (id) => document.getElementById(id);

// --- Words ---------------------------------------------------------------------------------------------------------------

/* element("li", {class: "x"}, "text", child): attributes and text, never markup. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {}))
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/* Three digits and a prefix, as the verbs write them: 162 k, 18.1 k, 1.30 M. */
function human(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const steps = ["", " k", " M", " G", " T"];
  let at = 0;
  while (value >= 999.5 && at < steps.length - 1) {
    value /= 1000;
    at++;
  }
  if (at === 0) return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : String(+value.toPrecision(3));
  return value.toPrecision(3) + steps[at];
}

const whole = (value) => Number.isFinite(value) ? value.toLocaleString("en-US") : "–";
const percent = (ratio) => ratio >= 0.995 ? "100 %" : ratio >= 0.0995 ? (100 * ratio).toFixed(0) + " %" : (100 * ratio).toFixed(1) + " %";

function milliseconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value >= 999.5) return (value / 1000).toPrecision(3) + " s";
  return value >= 0.9995 ? value.toPrecision(3) + " ms" : (1000 * value).toPrecision(3) + " µs";
}

/* What a service has in packets a second, or else in bytes. */
function pace(now, what) {
  const bytes = now[what + "_bytes_per_second"];
  return now[what + "_packets_per_second"] === null && bytes ? human(bytes) + "B" : human(now[what + "_packets_per_second"]);
}

function duration(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = units.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [size, unit] = units[at];
  const rest = units[at + 1];
  const small = rest ? Math.floor(seconds % size / rest[0]) : 0;
  return Math.floor(seconds / size) + " " + unit + (small && at < 2 ? " " + small + " " + rest[1] : "");
}

const clockTime = (when) => when.toLocaleTimeString("en-GB");

// --- What was seen -------------------------------------------------------------------------------------------------------

const COLUMNS = ["received", "passed", "spilled", "shadow", "clean", "level", "capacity", "p50", "p99"];
const times = [];              // milliseconds of each sample, the newest last; all services' columns go with it
const services = new Map();    // by name
let last = null;               // {at, services} of the sample before
let status = null;
let users = [];                // the heaviest of all
let selectedUsers = [];
let selected = null;
let events = [];
let showAll = false;
let paused = false;
let arrivedAt = 0;

function newService(name) {
  const series = {};
  for (const column of COLUMNS) series[column] = new Array(times.length).fill(NaN);
  return {name, series, heat: 0, now: null, rates: null, row: null};
}

/* Rates between two samples, `seconds` apart; null where a counter went back, as after 'unload'. */
function ratesBetween(before, after, seconds) {
  const rates = {reasons: {}};
  for (const name of ["received", "passed", "spilled", "shadow"]) {
    const delta = after[name + "_packets"] - before[name + "_packets"];
    if (delta < 0) return null;
    rates[name] = delta / seconds;
  }
  for (const [reason, packets] of Object.entries(after.spilled_by_reason))
    rates.reasons[reason] = Math.max(0, packets - (before.spilled_by_reason[reason] || 0)) / seconds;
  return rates;
}

/* The daemon's own clock, which no network delays and nobody sets, laid on this machine's. */
let epoch = null;
let uptime = 0;
function momentOf(seconds) {
  if (epoch === null || seconds < uptime) { // the first answer, or another daemon's
    epoch = Date.now() - 1000 * seconds;
    last = null;
  }
  uptime = seconds;
  return epoch + 1000 * seconds;
}

function takeSample(document, at) {
  const before = last;
  if (before && at <= before.at) return;
  times.push(at);
  const over = times.length > KEPT;
  if (over) times.shift(); // and with it the columns' first, below
  const names = new Set();
  for (const now of document.services) {
    names.add(now.name);
    let service = services.get(now.name);
    if (!service) {
      service = newService(now.name);
      for (const column of COLUMNS) service.series[column].length = Math.max(0, times.length - 1);
      services.set(now.name, service);
    }
    const was = before && before.services.get(now.name);
    service.rates = was ? ratesBetween(was, now, (at - before.at) / 1000) : null;
    service.now = now;
    const rates = service.rates;
    const values = {
      received: rates ? rates.received : NaN, passed: rates ? rates.passed : NaN, spilled: rates ? rates.spilled : NaN,
      shadow: rates ? rates.shadow : NaN, clean: rates ? rates.passed - rates.shadow : NaN,
      level: now.level_packets_per_second ?? NaN, capacity: now.capacity_packets_per_second ?? NaN,
      p50: now.response_milliseconds.p50 ?? NaN, p99: now.response_milliseconds.p99 ?? NaN,
    };
    for (const column of COLUMNS) {
      service.series[column].push(values[column]);
      if (over && service.series[column].length > KEPT) service.series[column].shift();
    }
    const weight = (rates ? 20 * rates.spilled + 10 * rates.shadow + rates.received : 0) * (now.adaptive?.fault ? 1000 : 1);
    service.heat += 0.35 * (weight - service.heat);
  }
  for (const name of services.keys())
    if (!names.has(name)) {
      services.get(name).row?.remove();
      services.delete(name);
    }
  last = {at, services: new Map(document.services.map((service) => [service.name, service]))};
}

const spotsOf = (service) => (status.hotspots || []).filter((spot) => spot.service === service.name);

function stateOf(service) {
  if (service.now.adaptive?.fault) return "fault";
  if (!service.rates) return "calm";
  if (service.rates.spilled >= 0.5) return "spilling";
  if (service.rates.shadow >= 0.5) return "shadow";
  return spotsOf(service).length ? "hot" : "calm";
}
const STATE_RANK = {fault: 0, spilling: 1, shadow: 2, hot: 3, calm: 4};

/* The hottest first. Heat counts in steps of a third of a decade, so that rows do not change places for nothing. */
function byHeat() {
  const step = (service) => Math.round(3 * Math.log10(1 + service.heat));
  return [...services.values()].sort((a, b) => step(b) - step(a) || (a.name < b.name ? -1 : 1));
}

// --- The headline --------------------------------------------------------------------------------------------------------

function sentence(...parts) {
  return parts.map((part) => typeof part === "string" ? part : element("b", {class: part.tone}, part.text));
}
const strong = (text, tone) => ({text, tone});

function reasonsInWords(rates) {
  const reasons = Object.entries(rates.reasons).filter(([, rate]) => rate >= 0.5).sort((a, b) => b[1] - a[1]);
  return reasons.map(([reason]) => REASON_WORDS[reason] || reason).join(", ");
}

/* Who makes a service hot: its heaviest users and their part of what it receives. */
function whoOf(service, received) {
  const heavy = (service.name === selected && selectedUsers.length ? selectedUsers : users).filter((user) => user.service === service.name);
  if (!heavy.length) return null;
  const limit = heavy[0].limit_packets_per_second;
  const over = limit ? heavy.filter((user) => user.limit_packets_per_second && user.packets_per_second > user.limit_packets_per_second) : [];
  const chosen = over.length ? over : heavy.slice(0, 1);
  const sum = chosen.reduce((total, user) => total + user.packets_per_second, 0);
  const offered = Math.max(service.now.packets_per_second, received, sum);
  const first = heavy[0];
  const times = limit ? first.packets_per_second / limit : 0;
  const parts = chosen.length === 1
    ? ["It is ", strong(first.user), ", who sends ", strong(human(first.packets_per_second) + "/s")]
    : ["It is ", strong((chosen.length === heavy.length && heavy.length >= USERS ? "more than " : "") + chosen.length + " users"),
       " who send ", strong(human(sum) + "/s"), " together, " + percent(sum / offered) + " of it; the heaviest ", strong(first.user),
       " with ", strong(human(first.packets_per_second) + "/s")];
  if (times > 1) parts.push(", " + human(+times.toPrecision(2)) + " times what one user may send");
  if (chosen.length === 1 && offered > 0) parts.push(", " + percent(Math.min(1, sum / offered)) + " of all");
  return sentence(...parts, ".");
}

/* Why, in Spillway's own words: what its controller decided, what stands out, and what it said last while that is news. */
function whysOf(service) {
  const {adaptive} = service.now;
  const whys = [];
  if (adaptive && (adaptive.fault || adaptive.overloaded)) whys.push(["Its controller: ", adaptive.why]);
  const order = ["prefix", "service", "user"];
  const spots = spotsOf(service).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || b.packets_per_second - a.packets_per_second);
  for (const spot of spots.slice(0, 2)) whys.push(["Hot spot" + (spot.user ? " " + spot.user : "") + ": ", spot.why]);
  const event = whys.length ? null : events.find((one) => one.service === service.name && one.why && Date.now() - one.when < 60000);
  if (event) whys.push(["", event.why]);
  return whys;
}

function whatOf(service) {
  const {rates, now} = service;
  const level = now.level_packets_per_second;
  if (!rates || stateOf(service) === "hot" || rates.spilled + rates.shadow < 0.5) return sentence("Nothing is spilled: all pass.");
  if (rates.spilled < 0.5)
    return sentence("Spillway only observes: it would spill ", strong(human(rates.shadow) + "/s", "n-shadow"), level ? "; a user may send " + human(level) + "/s." : ".");
  const words = ["Spillway spills ", strong(human(rates.spilled) + "/s", "n-spilled"), ": " + reasonsInWords(rates)];
  if (level && rates.reasons.user_limit >= 0.5) words.push(" (" + human(level) + "/s for each)");
  if (now.capacity_packets_per_second && rates.reasons.capacity >= 0.5) words.push(" (" + human(now.capacity_packets_per_second) + "/s)");
  return sentence(...words, ". ", strong(human(rates.passed) + "/s", "n-passed"), " pass.");
}

function drawHeadline() {
  const box = $("headline");
  const hot = byHeat().filter((service) => stateOf(service) !== "calm").sort((a, b) => STATE_RANK[stateOf(a)] - STATE_RANK[stateOf(b)]);
  const spilling = hot.filter((service) => stateOf(service) === "spilling");
  const first = hot[0];
  const down = status.interfaces.filter((link) => !link.attached);
  const paragraphs = [];
  box.dataset.state = down.length ? "fault" : first ? stateOf(first) : "calm";
  if (down.length)
    paragraphs.push(element("p", {class: "what"}, "Not attached: ", element("b", {}, down.map((link) => link.name).join(", ")), ". Its packets are not judged."));
  if (first) {
    const received = first.rates ? first.rates.received : first.now.packets_per_second;
    paragraphs.push(element("p", {class: "what"}, element("b", {}, first.name), stateOf(first) === "fault" ? " does not answer: " : " is hot: ",
                            element("b", {}, human(received) + " packets/s"), " arrive."));
    const who = whoOf(first, received);
    if (who) paragraphs.push(element("p", {class: "who"}, ...who));
    paragraphs.push(element("p", {class: "who"}, ...whatOf(first)));
    for (const [what, why] of whysOf(first)) paragraphs.push(element("p", {class: "why"}, element("b", {}, what), why));
    const others = hot.filter((service) => service !== first);
    const word = {
      fault: () => "does not answer", spilling: (rates) => human(rates.spilled) + "/s spilled",
      shadow: (rates) => human(rates.shadow) + "/s would be spilled", hot: (rates) => "hot at " + human(rates.received) + "/s",
    };
    if (others.length)
      paragraphs.push(element("p", {class: "also"}, "Also: " + others.slice(0, 4).map((service) => service.name + " " + word[stateOf(service)](service.rates))
        .join(", ") + (others.length > 4 ? " and " + (others.length - 4) + " more" : "")));
  } else if (!down.length) {
    let received = 0;
    for (const service of services.values()) received += service.now.packets_per_second;
    paragraphs.push(element("p", {class: "what"}, "All is calm: nothing is spilled."));
    paragraphs.push(element("p", {class: "who"}, human(received) + " packets/s arrive for " + services.size + " services, and all pass."));
  }
  box.replaceChildren(...paragraphs);
  document.title = (spilling[0] ? "● " + spilling[0].name + " spills " + human(spilling[0].rates.spilled) + "/s – " : "") + "Spillway" + (status.host ? " on " + status.host : "");
}

// --- The host ------------------------------------------------------------------------------------------------------------

function drawHost() {
  $("mode").hidden = false;
  $("mode").dataset.kind = status.mode;
  setText($("mode"), status.mode === "observe" ? "observing" : "enforcing");
  const off = status.features.filter((feature) => !feature.on).map((feature) => "without " + feature.name);
  setText($("facts"), [status.host, "version " + status.version, "Linux " + status.kernel, "up " + duration(status.uptime_seconds), ...off].filter(Boolean).join(" · "));
  const table = status.table;
  $("interfaces").replaceChildren(
    ...status.interfaces.map((link) => element("li", {"data-state": link.attached ? "on" : "off"}, element("b", {}, link.name), " " + (link.attached ? link.mode : "not attached"))),
    element("li", {title: whole(table.cells) + " cells, " + whole(table.bytes) + " bytes; " + whole(table.overflowed) + " packets in shared cells"},
            "table ", element("b", {}, percent(table.cells ? table.used / table.cells : 0)), " full"));
  const pressure = status.pressure || {};
  $("pressure").replaceChildren(...Object.entries(pressure).filter(([, ratio]) => typeof ratio === "number").map(([resource, ratio]) =>
    element("li", {title: "pressure of the host's " + resource}, RESOURCE_WORDS[resource] || resource,
            element("meter", {min: 0, max: 1, low: 0.5, high: 0.8, optimum: 0, value: ratio}), element("b", {}, percent(ratio)))));
}

// --- Services ------------------------------------------------------------------------------------------------------------

const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.inSight = entry.isIntersecting;
});

function newRow(service) {
  const part = (className, label) => element("span", {class: "n " + className, "data-label": label});
  const row = element("li", {tabindex: 0, role: "button", "data-service": service.name});
  const spark = shape("svg", {class: "spark", viewBox: "0 0 " + (SPARK - 1) + " 32", preserveAspectRatio: "none", "aria-hidden": "true"});
  row.parts = {
    under: element("span", {class: "under"}), s: shape("path", {class: "s"}), w: shape("path", {class: "w"}), p: shape("path", {class: "p"}),
    received: part("received", "received/s"), passed: part("passed", "passed/s"), spilled: part("spilled", "spilled/s"), level: part("level", "level"),
  };
  spark.append(row.parts.s, row.parts.w, row.parts.p);
  row.append(element("span", {class: "name", title: service.name}, element("b", {}, service.name), row.parts.under),
             element("span", {class: "graph"}, spark), row.parts.received, row.parts.passed, row.parts.spilled, row.parts.level);
  const choose = () => {
    $("follow").checked = false;
    select(service.name);
    draw();
    askUsers();
  };
  row.addEventListener("click", choose);
  row.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose();
    }
  });
  row.inSight = true;
  inSight.observe(row);
  return row;
}

/* The area under a column's newest samples, `most` high. */
function area(values, most) {
  const from = Math.max(0, values.length - SPARK);
  const shift = SPARK - (values.length - from);
  let path = "";
  let first = -1;
  let at = 0;
  for (let i = from; i < values.length; i++) {
    if (!Number.isFinite(values[i])) continue;
    at = i - from + shift;
    if (first < 0) first = at;
    path += "L" + at + " " + (32 - 31 * Math.min(1, values[i] / most)).toFixed(1);
  }
  return first < 0 ? "" : "M" + first + " 32" + path + "L" + at + " 32Z";
}

function drawRow(service) {
  const {row, rates, now, series} = service;
  const state = stateOf(service);
  row.dataset.state = state;
  row.setAttribute("aria-current", String(service.name === selected));
  if (!row.inSight) return;
  const {parts} = row;
  const words = [whole(now.active_users) + (now.active_users === 1 ? " user" : " users")];
  if (now.mode === "observe" && service.name !== "other") words.push("observed");
  if (now.class !== "normal") words.push(now.class);
  setText(parts.under, words.join(" · "));
  setText(parts.received, rates ? human(rates.received) : "–");
  setText(parts.passed, rates ? human(rates.passed) : "–");
  setText(parts.spilled, rates ? human(state === "shadow" ? rates.shadow : rates.spilled) : "–");
  setText(parts.level, pace(now, "level"));
  let most = 1;
  for (let i = Math.max(0, series.received.length - SPARK); i < series.received.length; i++)
    if (series.received[i] > most) most = series.received[i];
  parts.s.setAttribute("d", area(series.received, most));
  parts.w.setAttribute("d", area(series.passed, most));
  parts.p.setAttribute("d", area(series.clean, most));
}

function drawServices() {
  const wanted = $("filter").value.trim().toLowerCase();
  const found = byHeat().filter((service) => service.name.toLowerCase().includes(wanted));
  const shown = showAll || wanted ? found : found.slice(0, ROWS);
  const list = $("services");
  const kept = new Set(shown.map((service) => service.name));
  for (const row of [...list.children])
    if (!kept.has(row.dataset.service)) row.remove();
  shown.forEach((service, i) => {
    if (!service.row) service.row = newRow(service);
    if (list.children[i] !== service.row) list.insertBefore(service.row, list.children[i] || null);
    drawRow(service);
  });
  if (!shown.length) list.replaceChildren(element("li", {class: "empty"}, "No service of that name."));
  setText($("services-count"), String(services.size));
  $("more").hidden = shown.length === found.length && !(showAll && found.length > ROWS);
  setText($("more"), showAll ? "Show the hottest " + ROWS : "Show all " + found.length);
}

// --- One service ---------------------------------------------------------------------------------------------------------

let charts = [];

function select(name) {
  if (name === selected) return;
  selected = name;
  selectedUsers = [];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const finite = (value) => Number.isFinite(value) ? value : null;

/* A chart of dygraphs, with a readout beside its title in place of the library's legend. `lines` are {label, column, colour,
 * fill, dashed, step}. */
function newChart(id, lines, format, options) {
  const readout = $(id + "-readout");
  const chart = {id, lines, graph: null, logscale: false};
  const labels = ["time", ...lines.map((line) => line.label)];

  function read(at) {
    readout.replaceChildren(...lines.map((line) => [line, finite(chart.service.series[line.shown || line.column][at])])
      .filter(([line, value]) => value !== null && !(line.quietAtZero && value < 0.5))
      .map(([line, value]) => element("i", {class: line.tone + (line.fill ? "" : " line")}, line.label + " " + format(value))));
  }
  function rows(service) {
    return times.map((at, i) => [new Date(at), ...lines.map((line) => {
      const value = finite(service.series[line.column][i]);
      return chart.logscale && value !== null && value <= 0 ? null : value;
    })]);
  }
  function make(data) {
    const series = {};
    for (const line of lines)
      series[line.label] = {color: colour(line.colour), fillGraph: !!line.fill, fillAlpha: line.fill ? 1 : 0, strokeWidth: line.fill ? 0.5 : 1.6,
                            strokePattern: line.dashed ? [5, 4] : null, stepPlot: !!line.step};
    chart.graph = new Dygraph($(id + "-chart"), data, {
      labels, series, logscale: chart.logscale, includeZero: !chart.logscale, animatedZooms: false, connectSeparatedPoints: false,
      axisLineColor: colour("--line"), gridLineColor: colour("--line"), gridLineWidth: 0.6, axisLabelFontSize: 11, xAxisHeight: 24, highlightCircleSize: 2.5,
      axes: {y: {axisLabelFormatter: (value) => format(value), axisLabelWidth: 52, pixelsPerLabel: 34}, x: {pixelsPerLabel: 74, drawGrid: false}},
      highlightCallback: (event, x, points, row) => read(row),
      unhighlightCallback: () => read(times.length - 1),
      ...options,
    });
  }
  chart.draw = (service) => {
    const data = rows(service);
    const empty = !data.some((row) => row.slice(1).some((value) => value !== null));
    chart.service = service;
    if (empty || data.length < 2) {
      chart.forget();
      $(id + "-chart").classList.add("none");
      setText($(id + "-chart"), data.length < 3 ? "Gathering." : chart.none);
      readout.replaceChildren();
      return;
    }
    const span = {dateWindow: [Math.min(data[0][0].getTime(), Date.now() - 60000), data[data.length - 1][0].getTime()]};
    if (!chart.graph) {
      $(id + "-chart").classList.remove("none");
      setText($(id + "-chart"), "");
      make(data);
    }
    chart.graph.updateOptions({file: data, logscale: chart.logscale, ...span});
    if (!$(id + "-chart").matches(":hover")) read(data.length - 1);
  };
  chart.forget = () => {
    if (chart.graph) chart.graph.destroy();
    chart.graph = null;
  };
  return chart;
}

function makeCharts() {
  /* The library's legend writes styles into attributes, which the page's policy forbids; and it has the readout. */
  Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);
  /* Areas, one before the other, the first in front: what passed, the part of it that would have been spilled, what was. */
  const traffic = newChart("traffic", [
    {label: "passed", column: "clean", colour: "--passed-fill", tone: "passed", fill: true},
    {label: "would be spilled", column: "passed", shown: "shadow", colour: "--shadow-fill", tone: "shadow", fill: true, quietAtZero: true},
    {label: "spilled", column: "received", shown: "spilled", colour: "--spilled-fill", tone: "spilled", fill: true},
    {label: "capacity", column: "capacity", colour: "--bound", tone: "bound", dashed: true, step: true},
  ], human, {});
  traffic.none = "No packets yet.";
  const level = newChart("level", [{label: "level", column: "level", colour: "--bound", tone: "bound", step: true}], human, {});
  level.none = "This service has no limit for each user.";
  const response = newChart("response", [
    {label: "p99", column: "p99", colour: "--quiet", tone: "quiet"},
    {label: "p50", column: "p50", colour: "--ink", tone: "ink"},
  ], milliseconds, {});
  response.logscale = true; // a p99 is often a hundred times the median
  response.none = "Not measured: no replies were seen.";
  charts = [traffic, level, response];
}

function figure(label, value, className, on) {
  const [number, unit] = value.split(" ");
  return element("div", {class: className, "data-on": on === undefined ? null : String(on)}, element("dt", {}, label),
                 element("dd", {}, number, unit ? element("span", {class: "unit"}, " " + unit) : ""));
}

function drawFigures(service) {
  const {now, rates} = service;
  const state = stateOf(service);
  const list = [
    figure("Received/s", rates ? human(rates.received) : "–"), figure("Passed/s", rates ? human(rates.passed) : "–", "passed"),
    figure("Spilled/s", rates ? human(rates.spilled) : "–", "spilled", state === "spilling"),
  ];
  if (now.mode === "observe") list.push(figure("Would spill/s", rates ? human(rates.shadow) : "–", "shadow", state === "shadow"));
  list.push(figure("Level", pace(now, "level"), "bound"), figure("Capacity", pace(now, "capacity"), "bound"),
            figure("Users", human(now.active_users)));
  if (now.response_milliseconds.p50 !== null || now.response_milliseconds.p99 !== null)
    list.push(figure("Response p50", milliseconds(now.response_milliseconds.p50)), figure("p99", milliseconds(now.response_milliseconds.p99)));
  $("figures").replaceChildren(...list);
}

function bar(user, most) {
  const svg = shape("svg", {viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"});
  const limit = user.limit_packets_per_second;
  const end = 100 * user.packets_per_second / most;
  const within = limit ? Math.min(end, 100 * limit / most) : end;
  svg.append(shape("rect", {class: "track", width: 100, height: 10}), shape("rect", {class: "above", width: end, height: 10}),
             shape("rect", {class: "within", width: within, height: 10}));
  return svg;
}

function drawUsers() {
  const list = selectedUsers.slice(0, USERS);
  const most = Math.max(1, ...list.map((user) => user.packets_per_second));
  $("users").replaceChildren(...list.map((user) => {
    const hot = user.limit_packets_per_second && user.packets_per_second > user.limit_packets_per_second;
    const spot = (status.hotspots || []).some((one) => one.service === user.service && one.user === user.user);
    return element("li", {"data-user": user.user}, element("span", {class: spot ? "user spot" : "user", title: user.kind + " " + user.user}, user.user), bar(user, most),
                   element("span", {class: "n" + (hot ? " hot" : "")}, human(user.packets_per_second)),
                   element("span", {class: "n"}, human(user.limit_packets_per_second)), element("span", {class: "n"}, human(user.spilled_packets)));
  }));
  if (!list.length) $("users").append(element("li", {class: "empty"}, "Nobody in the last two seconds."));
}

function drawReasons(service) {
  const {now, rates} = service;
  const rows = Object.entries(now.spilled_by_reason).filter(([, packets]) => packets > 0).sort((a, b) => b[1] - a[1]);
  $("reasons").replaceChildren(...rows.map(([reason, packets]) => {
    const rate = rates ? rates.reasons[reason] : 0;
    return element("li", {}, element("span", {title: reason}, REASON_WORDS[reason] || reason),
                   element("span", {class: "now"}, rate >= 0.5 ? human(rate) + "/s" : ""), element("span", {class: "n", title: whole(packets)}, human(packets)));
  }));
  if (!rows.length) $("reasons").append(element("li", {class: "quiet"}, "Nothing was."));
  const totals = ["received", "passed", "spilled", "shadow"].filter((name) => name !== "shadow" || now.mode === "observe" || now.shadow_packets);
  $("totals").replaceChildren(...totals.flatMap((name) => [
    element("dt", {}, name === "shadow" ? "would be spilled" : name),
    element("dd", {"data-counter": name + "_packets", "data-value": now[name + "_packets"]}, whole(now[name + "_packets"])),
    element("dd", {class: "quiet"}, human(now[name + "_bytes"]) + "B"),
  ]));
}

function drawDetail() {
  const service = services.get(selected);
  if (!service) return;
  const {now} = service;
  setText($("detail-title"), service.name);
  const badges = [element("span", {class: "badge"}, now.class)];
  if (service.name !== "other") badges.push(element("span", {class: "badge", "data-kind": now.mode}, now.mode === "observe" ? "observing" : "enforcing"));
  if (now.adaptive) badges.push(element("span", {class: "badge"}, now.adaptive.level_held || now.adaptive.capacity_held ? "adaptive, held by hand" : "adaptive"));
  const words = {fault: "does not answer", spilling: "spilling", hot: "hot"}[stateOf(service)];
  if (words) badges.push(element("span", {class: "badge", "data-kind": "hot"}, words));
  $("reasoning").hidden = !now.adaptive;
  if (now.adaptive) $("reasoning").replaceChildren(element("b", {}, "Its controller: "), now.adaptive.why);
  $("detail-badges").replaceChildren(...badges);
  $("detail").dataset.service = service.name;
  drawFigures(service);
  for (const chart of charts) chart.draw(service);
  drawUsers();
  drawReasons(service);
}

// --- Events --------------------------------------------------------------------------------------------------------------

const knownEvents = new Set(); // ids: after a pause on the line some are told again

function takeEvent(message) {
  const event = JSON.parse(message.data);
  if (event.event !== "lost" && message.lastEventId) {
    if (knownEvents.has(message.lastEventId)) return;
    knownEvents.add(message.lastEventId);
  }
  event.when = Date.parse(event.time) || Date.now();
  events.unshift(event);
  events.length = Math.min(events.length, EVENTS);
  if (!paused) drawEvents();
}

/* A row of moves of the same thing is told as its newest and how many there were. Level and capacity move together. */
function gathered(list) {
  const groups = [];
  const about = (event) => JSON.stringify([event.event === "level" ? "capacity" : event.event, event.service, event.user]);
  for (const event of list) {
    let group = groups[groups.length - 1];
    if (!group || about(event) !== about(group.event)) {
      group = {event, count: 0, kinds: new Set()};
      groups.push(group);
    }
    group.count++;
    group.first = event;
    group.kinds.add((EVENT_WORDS[event.event] || [String(event.event)])[0]);
  }
  return groups;
}

function drawEvents() {
  const list = events.filter((event) => $("events-all").checked || !event.service || event.service === selected);
  $("events").replaceChildren(...gathered(list).slice(0, 60).map(({event, count, first, kinds}) => {
    const tone = (EVENT_WORDS[event.event] || ["", "plain"])[1];
    const words = [...kinds].sort().join(", ") + (event.event === "lost" ? ": " + event.count : "");
    const of = [event.service, event.user, event.interface].filter((part) => typeof part === "string").join(" ");
    return element("li", {"data-tone": tone, "data-event": event.event},
                   element("time", {datetime: new Date(event.when).toISOString()}, clockTime(new Date(event.when))),
                   element("span", {}, element("span", {class: "kind"}, words), of ? element("span", {class: "of"}, " " + of) : "",
                           count > 1 ? element("span", {class: "count"}, " the last of " + count + " since " + clockTime(new Date(first.when))) : "",
                           event.why ? element("span", {class: "why"}, String(event.why)) : ""));
  }));
  if (!list.length) $("events").append(element("li", {class: "empty quiet"}, "None yet."));
}

function listen() {
  const source = new EventSource("api/v1/events?recent=" + EVENTS_BEFORE);
  source.onmessage = takeEvent;
  source.onopen = () => setText($("events-state"), "");
  source.onerror = () => {
    setText($("events-state"), source.readyState === EventSource.CLOSED ? "not told: too many readers" : "connecting again");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
  };
}

// --- The second hand -----------------------------------------------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path, {cache: "no-store", signal: AbortSignal.timeout(3000)});
  if (!answer.ok) throw new Error(answer.status);
  return answer.json();
}

async function askUsers() {
  const name = selected;
  if (!name) return;
  askPast(services.get(name));
  try {
    const [all, own] = await Promise.all([ask("api/v1/users?limit=50"), ask("api/v1/users?limit=" + 2 * USERS + "&service=" + encodeURIComponent(name))]);
    users = all;
    if (name === selected) selectedUsers = own;
  } catch {
    selectedUsers = []; // a service that a reload took away; the status says which there are
  }
  if (!paused) drawUsers();
}

function setLink(state, words) {
  $("link").dataset.state = state;
  setText($("link"), words);
}

function draw() {
  if (!status || paused) return;
  drawHost();
  if ($("follow").checked || !services.has(selected)) {
    const hottest = byHeat()[0];
    if (hottest) select(hottest.name);
  }
  drawServices();
  drawDetail();
  drawHeadline();
}

function tellLost() {
  const silent = performance.now() - arrivedAt;
  if (silent < LOST_AFTER_MS) return;
  setLink("lost", arrivedAt ? "no answer for " + duration(silent / 1000) : "no answer");
  if (!arrivedAt) return;
  $("headline").dataset.state = "lost";
  $("headline").replaceChildren(element("p", {class: "what"}, "The daemon does not answer; what is below is old."),
    element("p", {class: "who"}, "Shedding goes on in the kernel. 'spillway status' and 'systemctl status spillway' on the host say more."));
}

/* What was before the page was opened, from the daemon's memory: laid before the first sample of the page's own, all
 * services' on the same grid of seconds. */
const PAST = {received: "received_packets_per_second", passed: "passed_packets_per_second", spilled: "spilled_packets_per_second",
              shadow: "shadow_packets_per_second", level: "level_packets_per_second", capacity: "capacity_packets_per_second",
              p50: "response_p50_milliseconds", p99: "response_p99_milliseconds"};
let grid = null; // the moments of the past, before `firstAt`
let firstAt = 0;

async function askPast(service) {
  if (service.past) return;
  service.past = true;
  let past;
  try {
    past = await ask("api/v1/recent?service=" + encodeURIComponent(service.name));
  } catch {
    return; // nothing is known of it
  }
  const moments = past.uptime_seconds.map((seconds) => epoch + 1000 * seconds);
  if (!grid) {
    grid = moments.filter((at) => at < firstAt - 500);
    times.unshift(...grid);
    for (const other of services.values())
      for (const column of COLUMNS) other.series[column].unshift(...grid.map(() => NaN));
  }
  if (!grid.length) return;
  const start = times.indexOf(grid[0]);
  if (start < 0) return; // so long ago that it is forgotten
  const lay = (at, place, within) => {
    const row = moments.findIndex((moment) => Math.abs(moment - at) < within);
    if (row < 0) return;
    for (const [column, key] of Object.entries(PAST)) service.series[column][place] = past[key][row] ?? NaN;
    service.series.clean[place] = service.series.passed[place] - service.series.shadow[place];
  };
  grid.forEach((at, i) => lay(at, start + i, 400));
  lay(firstAt, times.indexOf(firstAt), 1100); // which has no rates of its own
}

async function askPasts() {
  for (const service of byHeat().slice(0, 12)) await askPast(service);
  if (!paused) draw();
}

function take(document) {
  status = document;
  takeSample(document, momentOf(document.uptime_seconds));
  if (!firstAt) {
    firstAt = times[0];
    askPasts();
  }
  arrivedAt = performance.now();
  if (!paused) setLink("live", "live");
  const before = selected;
  draw();
  if (times.length % 2 || before !== selected) askUsers();
}

function tick() {
  const began = performance.now();
  ask("api/v1/status").then(take, tellLost).finally(() => setTimeout(tick, Math.max(100, TICK_MS - (performance.now() - began))));
}

// --- Controls ------------------------------------------------------------------------------------------------------------

function remembered(key, value) {
  try {
    if (value === undefined) return localStorage.getItem("spillway-" + key);
    localStorage.setItem("spillway-" + key, value);
  } catch {
    /* no storage here: nothing is remembered */
  }
  return null;
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : prefersDark.matches;
}

function applyTheme(theme) {
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  setText($("theme"), isDark() ? "Light" : "Dark");
  for (const chart of charts) chart.forget();
  draw();
}

$("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  remembered("theme", theme);
  applyTheme(theme);
});
prefersDark.addEventListener("change", () => applyTheme(document.documentElement.dataset.theme));
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  setText($("pause"), paused ? "Go on" : "Pause");
  if (paused) setLink("waiting", "paused");
  else {
    draw();
    drawEvents();
  }
});
$("scale").addEventListener("click", () => {
  const [traffic] = charts;
  traffic.logscale = !traffic.logscale;
  $("scale").setAttribute("aria-pressed", String(traffic.logscale));
  traffic.forget();
  drawDetail();
});
$("filter").addEventListener("input", () => status && drawServices());
$("more").addEventListener("click", () => {
  showAll = !showAll;
  drawServices();
});
$("follow").addEventListener("change", () => {
  draw();
  askUsers();
});
$("events-all").addEventListener("change", drawEvents);

makeCharts();
applyTheme(remembered("theme"));
drawEvents();
listen();
tick();

})();
