// A run's spans on a canvas. Only the rows in view are drawn, so a run of fifty thousand spans scrolls like one of fifty.
import { count, duration, element, usd } from "./format.js";

const ROW = 26;
const AXIS = 30;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Waterfall {
  constructor(view, run) {
    this.view = view;
    this.run = run;
    this.spans = run.spans;
    this.chosen = -1;
    this.canvas = view.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.tip = document.getElementById("tip");
    const room = element("div");
    room.style.height = `${Math.max(0, AXIS + this.spans.length * ROW + 8)}px`;
    room.style.pointerEvents = "none";
    this.room = room;
    view.append(room);
    new ResizeObserver(() => this.draw()).observe(view);
    view.addEventListener("scroll", () => this.draw(), { passive: true });
    this.canvas.addEventListener("mousemove", (event) => this.point(event));
    this.canvas.addEventListener("mouseleave", () => this.choose(-1));
    view.addEventListener("keydown", (event) => this.key(event));
    view.addEventListener("blur", () => this.choose(-1));
    document.addEventListener("omninode:theme", () => this.draw());
    this.draw();
  }

  get left() {
    return Math.min(300, Math.max(110, this.view.clientWidth * 0.27));
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.view.clientWidth;
    const height = Math.min(620, AXIS + this.spans.length * ROW + 8);
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.room.style.marginTop = `${-height}px`;
    const c = this.context;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = `12px ${style("--sans")}`;
    c.textBaseline = "middle";
    this.colors = Object.fromEntries(
      ["phase", "source", "task", "call", "vote"].map((kind) => [kind, style(`--k-${kind}`)]));
    for (const name of ["line", "ink", "ink-2", "ink-3", "bad", "warn", "surface", "surface-2", "accent-soft"]) this.colors[name] = style(`--${name}`);
    this.width = width;
    const first = Math.max(0, Math.floor(this.view.scrollTop / ROW) - 1);
    const last = Math.min(this.spans.length, first + Math.ceil(height / ROW) + 3);
    this.grid(height);
    c.save();
    c.beginPath();
    c.rect(0, AXIS, width, height - AXIS);
    c.clip();
    for (let index = first; index < last; index += 1) this.row(index);
    c.restore();
  }

  x(ms) {
    return this.left + 10 + (ms / (this.run.length_ms || 1)) * (this.width - this.left - 34);
  }

  y(index) {
    return AXIS + index * ROW - this.view.scrollTop;
  }

  grid(height) {
    const c = this.context;
    const rough = this.run.length_ms / Math.max(2, Math.floor((this.width - this.left) / 110));
    const base = 10 ** Math.floor(Math.log10(rough || 1));
    const step = [1, 2, 5, 10].map((factor) => factor * base).find((size) => size >= rough) || 1;
    c.textAlign = "left";
    for (let ms = 0; ms <= this.run.length_ms; ms += step) {
      const x = Math.round(this.x(ms)) + 0.5;
      c.fillStyle = this.colors.line;
      c.fillRect(x, AXIS - 6, 1, height);
      c.fillStyle = this.colors["ink-3"];
      c.fillText(duration(ms), x + 4, AXIS / 2);
    }
    c.fillStyle = this.colors.line;
    c.fillRect(0, AXIS - 1, this.width, 1);
    c.fillRect(Math.round(this.left), 0, 1, height);
  }

  row(index) {
    const c = this.context;
    const span = this.spans[index];
    const y = this.y(index);
    if (index === this.chosen) {
      c.fillStyle = this.colors["accent-soft"];
      c.fillRect(0, y, this.width, ROW);
    } else if (span.kind === "phase") {
      c.fillStyle = this.colors["surface-2"];
      c.globalAlpha = 0.55;
      c.fillRect(0, y, this.width, ROW);
      c.globalAlpha = 1;
    }
    this.label(span, y);
    this.bar(span, y);
  }

  label(span, y) {
    const c = this.context;
    const indent = 18 + span.depth * 14;
    c.save();
    c.beginPath();
    c.rect(0, y, this.left - 8, ROW);
    c.clip();
    c.font = `${span.kind === "phase" ? 600 : 400} 12px ${style("--sans")}`;
    c.fillStyle = span.state === "failed" ? this.colors.bad : this.colors[span.kind === "phase" ? "ink" : "ink-2"];
    c.fillText(span.name.replaceAll("_", " "), indent, y + ROW / 2 + 0.5);
    c.restore();
  }

  bar(span, y) {
    const c = this.context;
    const start = this.x(span.start_ms);
    const length = Math.max(2.5, this.x(span.start_ms + span.duration_ms) - start);
    const [top, height] = span.kind === "phase" ? [y + 10, 7] : [y + 6, 14];
    if (span.wait_ms > 0) this.waited(this.x(Math.max(0, span.start_ms - span.wait_ms)), start, top, height);
    c.fillStyle = span.state === "failed" ? this.colors.bad : this.colors[span.kind];
    c.globalAlpha = ["skipped", "cancelled", "stopped"].includes(span.state) ? 0.35 : 1;
    c.beginPath();
    c.roundRect(start, top, length, height, Math.min(3.5, height / 2));
    c.fill();
    c.globalAlpha = 1;
    if (span.state === "warning") {
      c.fillStyle = this.colors.warn;
      c.fillRect(start, top, Math.min(length, 3), height);
    }
    if (span.is_critical && span.kind !== "phase") {
      c.fillStyle = this.colors.ink;
      c.fillRect(start, top + height + 1.5, length, 1.5);
    }
    this.note(span, start, length, y);
  }

  waited(from, to, top, height) {
    const c = this.context;
    c.save();
    c.beginPath();
    c.rect(from, top, Math.max(0, to - from), height);
    c.clip();
    c.strokeStyle = this.colors["ink-3"];
    c.globalAlpha = 0.5;
    for (let x = from - height; x < to; x += 5) {
      c.beginPath();
      c.moveTo(x, top + height);
      c.lineTo(x + height, top);
      c.stroke();
    }
    c.restore();
  }

  note(span, start, length, y) {
    const c = this.context;
    const parts = [duration(span.duration_ms)];
    if (span.attempts > 1) parts.push(`×${span.attempts}`);
    if (span.cost_uusd) parts.push(usd(span.cost_uusd));
    const text = parts.join("  ");
    const width = c.measureText(text).width;
    c.font = `11px ${style("--sans")}`;
    c.fillStyle = this.colors["ink-3"];
    const after = start + length + 7;
    if (after + width < this.width - 6) c.fillText(text, after, y + ROW / 2 + 0.5);
    else if (start - width - 7 > this.left) c.fillText(text, start - width - 5, y + ROW / 2 + 0.5);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const index = Math.floor((event.clientY - box.top - AXIS + this.view.scrollTop) / ROW);
    this.choose(event.clientY - box.top > AXIS && index < this.spans.length ? index : -1, event.clientX, event.clientY);
  }

  key(event) {
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -1e9, End: 1e9 };
    if (event.key === "Escape") this.choose(-1);
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = Math.min(this.spans.length - 1, Math.max(0, this.chosen + moves[event.key]));
    const top = next * ROW;
    if (top < this.view.scrollTop) this.view.scrollTop = top;
    const visible = this.view.clientHeight - AXIS - ROW;
    if (top > this.view.scrollTop + visible) this.view.scrollTop = top - visible;
    const box = this.canvas.getBoundingClientRect();
    this.choose(next, box.left + this.left, box.top + this.y(next) + ROW);
  }

  choose(index, x = 0, y = 0) {
    if (index !== this.chosen) {
      this.chosen = index;
      this.draw();
      if (index >= 0) this.fill(this.spans[index]);
    }
    this.tip.classList.toggle("hidden", index < 0);
    if (index < 0) return;
    const { offsetWidth, offsetHeight } = this.tip;
    const left = Math.min(x + 16, window.innerWidth - offsetWidth - 12);
    const top = y + 18 + offsetHeight > window.innerHeight ? y - offsetHeight - 12 : y + 18;
    this.tip.style.transform = `translate(${left}px, ${top}px)`;
  }

  fill(span) {
    const list = element("dl");
    const say = (name, value) => list.append(element("dt", "", name), element("dd", "", value));
    say("from", duration(span.start_ms));
    say("took", duration(span.duration_ms));
    if (span.wait_ms) say("waited", duration(span.wait_ms));
    if (span.attempts > 1) say("attempts", count(span.attempts));
    if (span.tokens) say("tokens", count(span.tokens));
    if (span.cost_uusd !== null) say("cost", usd(span.cost_uusd));
    say("state", span.state + (span.is_critical ? ", on the critical path" : ""));
    const text = span.detail.length > 220 ? `${span.detail.slice(0, 220)}…` : span.detail;
    this.tip.replaceChildren(element("strong", "", span.name.replaceAll("_", " ")), text, list);
  }
}

const view = document.getElementById("waterfall");
if (view) {
  const answer = await fetch(view.dataset.url);
  if (answer.ok) new Waterfall(view, await answer.json());
  else view.replaceChildren(element("p", "empty", "The timeline could not be read; the table below has what is known."));
}
