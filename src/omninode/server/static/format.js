// How numbers are written; the same words as the server's.
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10 && !Number.isInteger(ms)) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const rest = minutes < 60 ? seconds % 60 : minutes % 60;
  const [whole, unit, part] = minutes < 60 ? [minutes, "min", "s"] : [Math.floor(minutes / 60), "h", "min"];
  return rest ? `${whole} ${unit} ${String(rest).padStart(2, "0")} ${part}` : `${whole} ${unit}`;
}

export function count(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) < 10000) return Number.isInteger(value) ? value.toLocaleString("en-US") : value.toFixed(1);
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))} ${letter}`;
  }
  return String(value);
}

export function usd(micro) {
  if (micro === null || micro === undefined) return "–";
  const dollars = micro / 1e6;
  if (dollars === 0) return "$0";
  if (dollars >= 1) return `$${dollars.toFixed(2)}`;
  return `$${dollars.toFixed(dollars >= 0.001 ? 4 : 6)}`;
}

export function percent(share) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)} %`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  return value < 1024 ** 3 ? `${Math.round(value / 1024 ** 2)} MiB` : `${(value / 1024 ** 3).toFixed(2)} GiB`;
}

export const byUnit = { ms: duration, count, usd, percent, bytes };

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
