// One stream per tab. It fills the feed and the pulse at once, and has the page's numbers read again when they are stale.
import { drawAll } from "./charts.js";
import { count, duration, element, usd } from "./format.js";

const FEED_LENGTH = 120;
const REFRESH_MS = 4000;
const known = new Set();
let source = null;
let stale = false;
let lastRefresh = Date.now();
let heard = 0;
// What the first message holds happened before the viewer came; the rest is news.
let isFirst = true;

const pill = document.getElementById("live");

function state(name, text) {
  if (!pill) return;
  pill.dataset.state = name;
  pill.querySelector("span:last-child").textContent = text;
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource("/live");
  source.addEventListener("live", (event) => receive(JSON.parse(event.data)));
  source.onopen = () => state("live", "live");
  source.onerror = () => state("away", "stream lost, trying again");
}

function close() {
  source?.close();
  source = null;
  state("paused", "paused");
}

function receive({ entries, missed, pulse }) {
  heard = Date.now();
  const fresh = entries.filter((entry) => !known.has(entry.key));
  fresh.forEach((entry) => known.add(entry.key));
  if (known.size > 5000) known.clear();
  showPulse(pulse);
  if (fresh.length) {
    showEntries(fresh, !isFirst);
    // Rows reach the store a moment after their events reach us.
    stale = true;
  }
  isFirst = false;
  state("live", missed ? `live, ${count(missed)} missed` : pulse.running ? `live, ${pulse.running} running` : "live");
}

function showPulse(pulse) {
  const said = {
    calls: count(pulse.calls),
    failed: count(pulse.failed),
    p50: duration(pulse.p50_ms),
    p95: duration(pulse.p95_ms),
    cost: usd(pulse.cost_uusd),
    running: count(pulse.running),
  };
  const unpriced = pulse.unpriced ? `${count(pulse.unpriced)} calls of these have no known price` : "";
  for (const place of document.querySelectorAll("[data-pulse=cost]")) {
    place.title = unpriced;
    place.classList.toggle("is-partial", pulse.unpriced > 0);
  }
  for (const place of document.querySelectorAll("[data-pulse]")) place.textContent = said[place.dataset.pulse];
}

function showEntries(entries, isNews) {
  const feed = document.getElementById("feed");
  if (!feed) return;
  feed.querySelector(".empty")?.remove();
  const shown = new Set([...feed.children].map((item) => item.dataset.key));
  for (const entry of entries) {
    if (!shown.has(entry.key)) insert(feed, line(entry, isNews && entries.length < 20));
  }
  while (feed.children.length > FEED_LENGTH) feed.lastElementChild.remove();
}

// Rows of other processes may arrive late; the feed stays in the order of time.
function insert(feed, item) {
  const later = [...feed.children].find((other) => Number(other.dataset.at) <= Number(item.dataset.at));
  feed.insertBefore(item, later ?? null);
}

function line(entry, isFresh) {
  const item = element("li", `s-${entry.state}${isFresh ? " is-fresh" : ""}`);
  item.dataset.key = entry.key;
  item.dataset.at = entry.at_ms;
  const time = element("time", "", new Date(entry.at_ms).toISOString().slice(11, 19));
  time.dateTime = new Date(entry.at_ms).toISOString();
  const what = element("span", "what");
  what.append(element("em", "", `${entry.kind.replaceAll("_", " ")} `));
  const title = entry.run_id ? element("a", "row-link", entry.title) : element("span", "", entry.title);
  if (entry.run_id) title.href = `/runs/${entry.run_id}`;
  what.append(title);
  if (entry.detail) what.append(element("em", "", ` ${entry.detail}`));
  // A run says it once; its calls need not repeat it.
  if (entry.simulated && entry.kind.startsWith("run_")) title.before(element("span", "tag tag-simulated", "SIMULATED"), " ");
  what.title = `${entry.title} ${entry.detail}`.trim();
  const how = [entry.ms === null || entry.ms === undefined ? "" : duration(entry.ms), entry.cost_uusd ? usd(entry.cost_uusd) : ""];
  item.append(time, element("span", "dot"), what, element("span", "how", how.filter(Boolean).join(" · ")));
  const word = element("span", "visually-hidden", entry.state);
  what.prepend(word);
  return item;
}

// The page itself, read again in place. What the viewer has opened, marked or focused stays as it is.
async function refresh() {
  const main = document.getElementById("main");
  const isBusy = document.hidden || !getSelection().isCollapsed || main.contains(document.activeElement);
  if (!stale || isBusy || main.dataset.refresh !== "yes" || Date.now() - lastRefresh < REFRESH_MS) return;
  stale = false;
  lastRefresh = Date.now();
  let answer;
  try {
    answer = await fetch(location.href, { headers: { accept: "text/html" } });
  } catch {
    stale = true;
    return;
  }
  if (!answer.ok) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of next.querySelectorAll("[data-part]")) {
    const place = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!place || place.querySelector("details[open]") || place.isEqualNode(part)) continue;
    place.replaceWith(part);
    drawAll(part);
  }
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", open);
document.querySelectorAll("#feed li[data-key]").forEach((item) => known.add(item.dataset.key));
open();
setInterval(refresh, 1000);
setInterval(() => {
  if (source && heard && Date.now() - heard > 15000) state("away", `silent for ${Math.round((Date.now() - heard) / 1000)} s`);
}, 5000);
drawAll();
