// Charts are drawn from their own table twins, so that both always say the same.
import { byUnit } from "./format.js";

const drawn = new WeakMap();

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function read(table) {
  const heads = [...table.querySelectorAll("thead th")].slice(1);
  const rows = [...table.querySelectorAll("tbody tr")];
  const data = [rows.map((row) => Number(row.dataset.t))];
  heads.forEach((_, index) => {
    data.push(rows.map((row) => {
      const value = row.cells[index + 1].dataset.v;
      return value === undefined || value === "" ? null : Number(value);
    }));
  });
  return { heads, data };
}

function series(head, kind) {
  const color = style(`--${head.dataset.color}`);
  const shared = { label: head.textContent, stroke: color, width: 1.75, points: { show: false } };
  if (kind === "bars") {
    return { ...shared, width: 0, fill: color, paths: window.uPlot.paths.bars({ size: [0.72, 40], radius: 0.18 }) };
  }
  return {
    ...shared,
    spanGaps: head.dataset.gaps !== "keep",
    points: { show: true, size: 4, width: 0, fill: color, filter: lonely },
    fill: head.dataset.fill ? `color-mix(in srgb, ${color} 13%, transparent)` : undefined,
    dash: head.dataset.dash ? [4, 4] : undefined,
  };
}

// A point without neighbours has no line to be seen by.
function lonely(plot, index) {
  const values = plot.data[index];
  return values.flatMap((value, at) =>
    value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []);
}

function options(figure, plot, heads) {
  const unit = byUnit[figure.dataset.unit] || byUnit.count;
  const axis = {
    stroke: style("--ink-3"),
    font: `11px ${style("--sans")}`,
    grid: { stroke: style("--line"), width: 1 },
    ticks: { show: false },
    gap: 6,
  };
  return {
    tzDate: (moment) => window.uPlot.tzDate(new Date(moment * 1000), "Etc/UTC"),
    width: Math.max(200, plot.clientWidth - 16),
    height: plot.clientHeight - 6,
    padding: [10, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, sync: { key: "omninode" }, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.12 : 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 28, space: 72, values: moments },
      { ...axis, size: 62, space: 34, values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "0" : unit(tick))) },
    ],
    series: [{}, ...heads.map((head) => series(head, figure.dataset.chart))],
    hooks: { setCursor: [(made) => legend(figure, made, unit)] },
  };
}

// Moments are in UTC, as everywhere on these pages; a new day says its date.
function moments(_, ticks, axis, space, step) {
  return ticks.map((tick) => {
    const text = new Date(tick * 1000).toISOString();
    return step >= 86400 || text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
  });
}

function legend(figure, made, unit) {
  figure.querySelectorAll(".legend b").forEach((place, index) => {
    const values = made.data[index + 1];
    let at = made.cursor.idx ?? null;
    if (at === null) {
      at = values.length - 1;
      while (at > 0 && values[at] === null) at -= 1;
    }
    place.textContent = unit(values[at] ?? null);
  });
}

function draw(figure) {
  const plot = figure.querySelector(".plot");
  const table = figure.querySelector("table");
  drawn.get(figure)?.destroy();
  if (!window.uPlot || !plot || !table || plot.querySelector(".plot-missing")) return;
  const { heads, data } = read(table);
  if (!data[0].length) return;
  plot.replaceChildren();
  drawn.set(figure, new window.uPlot(options(figure, plot, heads), data, plot));
}

const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const made = drawn.get(target.closest("figure"));
    if (made && target.clientWidth > 200) made.setSize({ width: target.clientWidth - 16, height: target.clientHeight - 6 });
  }
});

export function drawAll(root = document) {
  root.querySelectorAll("figure[data-chart]").forEach((figure) => {
    draw(figure);
    const plot = figure.querySelector(".plot");
    if (plot) watch.observe(plot);
  });
}

document.addEventListener("omninode:theme", () => drawAll());
