// Draws what a quantity did over time, as SVG: the mean as a line, least and greatest as a band, gaps as gaps, states
// as bars. The points come from /api/devices/<id>/series; docs/dashboard.md says what they are.

const NS = "http://www.w3.org/2000/svg";
const HEIGHTS = { number: 190, boolean: 96, none: 64 };
const EDGE = { top: 8, right: 6, bottom: 22, left: 46 };
const STEPS = [1, 5, 10, 15, 30].map((m) => m * 60_000).concat([1, 2, 3, 6, 12].map((h) => h * 3_600_000));
const DAY = 86_400_000;
const REFRESH_MS = 20_000;

function draw(name, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}

// The zone's clock at an instant, as if it were UTC: so that ticks fall on local hours and days.
function localClock(zone) {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
    second: "2-digit",
  });
  return (ms) => {
    const p = Object.fromEntries(parts.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) + (ms % 1000);
  };
}

function timeTicks(from, to, wanted, clock) {
  const span = to - from;
  const ticks = [];
  const add = (local) => {
    let ms = local - (clock(from) - from);
    ms = local - (clock(ms) - ms);
    if (ms >= from && ms <= to) ticks.push(ms);
  };
  const first = clock(from), last = clock(to) + DAY;
  if (span > 100 * DAY) {
    const start = new Date(first);
    const every = Math.max(1, Math.ceil(span / (30 * DAY) / wanted));
    for (let month = 0; month < 15; month += every) {
      const local = Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1 + month, 1);
      if (local > last) break;
      add(local);
    }
    return { ticks, format: { month: "short" } };
  }
  if (span > 2 * DAY) {
    const every = Math.max(1, Math.ceil(span / DAY / wanted)) * DAY;
    for (let local = Math.ceil(first / DAY) * DAY; local <= last; local += every) add(local);
    return { ticks, format: span > 8 * DAY ? { day: "numeric", month: "short" } : { weekday: "short", day: "numeric" } };
  }
  const every = STEPS.find((step) => span / step <= wanted) ?? DAY;
  for (let local = Math.ceil(first / every) * every; local <= last; local += every) add(local);
  return { ticks, format: { hour: "2-digit", minute: "2-digit" } };
}

function valueTicks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) ticks.push(value);
  return { ticks, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// Neighbours belong to one line unless a gap lies between them.
function runs(points, gaps) {
  const found = [];
  let run = [], gap = 0;
  for (const point of points) {
    let broken = false;
    while (gap < gaps.length && gaps[gap][0] <= point[0] && gaps[gap][1] <= point[0] + 1) { gap += 1; broken = true; }
    if (broken && run.length) { found.push(run); run = []; }
    run.push(point);
  }
  if (run.length) found.push(run);
  return found;
}

class Plot {
  constructor(figure, data) {
    this.data = data;
    this.holder = figure.querySelector(".plot");
    this.summary = figure.querySelector(".summary");
    this.width = Math.max(240, this.holder.clientWidth);
    this.clock = localClock(data.timezone);
    const shown = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: data.timezone, hourCycle: "h23", ...options });
    this.shown = shown;
    this.moment = shown({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
    this.x = (ms) => EDGE.left + ((ms - data.from) / (data.to - data.from)) * (this.width - EDGE.left - EDGE.right);
    this.middle = data.resolution / 2;
    this.height = HEIGHTS[data.points.length ? data.kind : "none"];
    this.render();
  }

  text(value) {
    const { kind, words, decimals, unit } = this.data;
    if (kind === "boolean") return words[String(value >= 0.5)] ?? (value >= 0.5 ? "on" : "off");
    return `${value.toFixed(decimals).replace(/^-(0(?:\.0*)?)$/, "$1")}${unit ? ` ${unit}` : ""}`;
  }

  render() {
    const { data } = this;
    const svg = draw("svg", { viewBox: `0 0 ${this.width} ${this.height}`, height: this.height, role: "img" });
    this.svg = svg;
    const label = this.say();
    svg.setAttribute("aria-label", label);
    if (!data.points.length) {
      draw("text", { x: this.width / 2, y: this.height / 2, "text-anchor": "middle", class: "none" }, svg, "No readings in this time");
      this.holder.style.minHeight = "0";
      this.holder.replaceChildren(svg);
      return;
    }
    const bottom = this.height - EDGE.bottom;
    for (const [from, to] of data.gaps) {
      const left = Math.max(EDGE.left, this.x(from)), right = Math.min(this.width - EDGE.right, this.x(to));
      if (right > left) {
        const hole = draw("rect", { x: left, y: EDGE.top, width: right - left, height: bottom - EDGE.top, class: "hole" }, svg);
        draw("title", {}, hole, `No readings from ${this.moment.format(from)} to ${this.moment.format(to)}`);
      }
    }
    if (data.kind === "boolean") this.lanes(svg);
    else this.lines(svg);
    const { ticks, format } = timeTicks(data.from, data.to, Math.max(2, Math.floor(this.width / 85)), this.clock);
    const formatter = this.shown(format);
    for (const ms of ticks) {
      const x = this.x(ms);
      draw("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "grid" }, svg);
      const anchor = x > this.width - 24 ? "end" : x < EDGE.left + 12 ? "start" : "middle";
      draw("text", { x, y: this.height - 5, "text-anchor": anchor }, svg, formatter.format(ms));
    }
    this.holder.replaceChildren(svg);
    this.follow();
  }

  lines(svg) {
    const { points, gaps, resolution } = this.data;
    let low = Math.min(...points.map((p) => p[1])), high = Math.max(...points.map((p) => p[3]));
    const least = 4 * 10 ** -this.data.decimals;
    const pad = Math.max((high - low) * 0.08, (least - (high - low)) / 2, 1e-9);
    low -= pad; high += pad;
    if (this.data.unit === "%" && low < 0 && Math.min(...points.map((p) => p[1])) >= 0) low = 0;
    const bottom = this.height - EDGE.bottom;
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - EDGE.top);
    const { ticks, decimals } = valueTicks(low, high, 6);
    for (const value of ticks) {
      draw("line", { x1: EDGE.left, x2: this.width - EDGE.right, y1: y(value), y2: y(value), class: "grid" }, svg);
      draw("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, svg, value.toFixed(decimals));
    }
    const at = (ms) => this.x(Math.min(this.data.to, ms + this.middle)).toFixed(1);
    for (const run of runs(points, gaps)) {
      if (run.length === 1) {
        draw("circle", { cx: at(run[0][0]), cy: y(run[0][2]).toFixed(1), r: 2.2, class: "dot" }, svg);
        continue;
      }
      if (resolution) {
        const upper = run.map((p) => `${at(p[0])},${y(p[3]).toFixed(1)}`);
        const lower = run.map((p) => `${at(p[0])},${y(p[1]).toFixed(1)}`).reverse();
        draw("path", { d: `M${upper.concat(lower).join("L")}Z`, class: "band" }, svg);
      }
      draw("path", { d: `M${run.map((p) => `${at(p[0])},${y(p[2]).toFixed(1)}`).join("L")}`, class: "mean" }, svg);
    }
    this.y = y;
  }

  lanes(svg) {
    const { points, to, resolution, words } = this.data;
    const top = EDGE.top + 18, height = this.height - EDGE.bottom - 8 - top;
    draw("rect", { x: EDGE.left, y: top, width: this.width - EDGE.left - EDGE.right, height, class: "lane" }, svg);
    points.forEach((point, index) => {
      const left = this.x(point[0]);
      const right = this.x(Math.min(to, resolution ? point[0] + resolution : points[index + 1]?.[0] ?? to));
      const share = point[2];
      if (share > 0) draw("rect", { x: left, y: top, width: Math.max(1, right - left), height, class: "on", opacity: resolution ? 0.25 + 0.75 * share : 1 }, svg);
    });
    draw("text", { x: EDGE.left, y: top - 6 }, svg, `filled: ${words.true ?? "on"}, else ${words.false ?? "off"}`);
  }

  say() {
    const { points, gaps, kind, title } = this.data;
    if (!points.length) { this.summary.textContent = ""; return `${title}: no readings in this time`; }
    const last = points[points.length - 1];
    const holes = gaps.length ? `, ${gaps.length} ${gaps.length === 1 ? "gap" : "gaps"}` : "";
    let words = `now ${this.text(last[2])}${holes}`;
    if (kind !== "boolean") {
      const low = Math.min(...points.map((p) => p[1])), high = Math.max(...points.map((p) => p[3]));
      words = `${this.text(low)} to ${this.text(high)}${holes}`;
    }
    this.summary.textContent = words;
    this.usual = words;
    return `${title}: ${words}`;
  }

  follow() {
    const line = draw("line", { y1: EDGE.top, y2: this.height - EDGE.bottom, class: "cursor", visibility: "hidden" }, this.svg);
    const dot = draw("circle", { r: 3.5, class: "dot", visibility: "hidden" }, this.svg);
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * this.width;
      const ms = this.data.from + ((x - EDGE.left) / (this.width - EDGE.left - EDGE.right)) * (this.data.to - this.data.from);
      const point = this.nearest(ms - this.middle);
      const at = this.x(point[0] + this.middle);
      line.setAttribute("x1", at); line.setAttribute("x2", at); line.setAttribute("visibility", "visible");
      if (this.y) { dot.setAttribute("cx", at); dot.setAttribute("cy", this.y(point[2])); dot.setAttribute("visibility", "visible"); }
      const range = point[1] !== point[3] && this.data.kind !== "boolean" ? ` (${this.text(point[1])} to ${this.text(point[3])})` : "";
      this.summary.textContent = `${this.moment.format(point[0])}: ${this.text(point[2])}${range}`;
    });
    this.svg.addEventListener("pointerleave", () => {
      line.setAttribute("visibility", "hidden"); dot.setAttribute("visibility", "hidden");
      this.summary.textContent = this.usual;
    });
  }

  nearest(ms) {
    const { points, kind } = this.data;
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (points[middle][0] <= ms) low = middle; else high = middle - 1;
    }
    const next = points[low + 1];
    return kind !== "boolean" && next && next[0] - ms < ms - points[low][0] ? next : points[low];
  }
}

const plots = new Map();

async function load(figure) {
  try {
    const answer = await fetch(figure.dataset.series, { headers: { Accept: "application/json" } });
    const data = await answer.json();
    if (!answer.ok) throw new Error(data.error);
    plots.set(figure, new Plot(figure, data));
    figure.dataset.drawn = "yes";
  } catch (error) {
    if (!plots.has(figure)) figure.querySelector(".summary").textContent = error.message || "The chart could not be loaded.";
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting && !plots.has(target)) load(target);
}, { rootMargin: "200px" });
function begin() {
  plots.clear();
  seen.disconnect();
  document.querySelectorAll(".chart").forEach((figure) => seen.observe(figure));
}
begin();
document.addEventListener("thingroom:page", begin);

let loadedAt = Date.now();
document.addEventListener("thingroom:piece", ({ detail }) => {
  if (!detail.startsWith("now-") || Date.now() - loadedAt < REFRESH_MS || document.hidden) return;
  loadedAt = Date.now();
  [...plots.keys()].forEach(load);
});
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => plots.forEach((plot, figure) => plots.set(figure, new Plot(figure, plot.data))), 150);
});
