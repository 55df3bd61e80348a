// The hiker's buttons, sliders, lists and keys.

import { download, role } from "./dom.mjs";
import { LOSSES } from "./losses.mjs";
import { PRESETS, fromCsv, toCsv } from "./settings.mjs";
import { STRATEGIES } from "./strategies.mjs";

// A slider's position p, and the setting it stands for.
const power = (digits) => ({ from: (x) => Math.log10(x), to: (p) => Number((10 ** p).toPrecision(digits)) });
const SLIDERS = {
  // The left end is none at all.
  reg: { from: (x) => (x > 0 ? Math.log10(x) : -5), to: (p) => (p <= -4.95 ? 0 : power(2).to(p)) },
  delta: { from: (x) => x, to: (p) => p },
  stepSize: power(2),
  h: power(1),
};

/** Let a person act on the hiker. */
export function listen(hiker) {
  const { root } = hiker, on = (name, event, act) => role(root, name).addEventListener(event, act);
  for (const event of ["input", "click", "keydown"]) {
    root.addEventListener(event, () => (hiker.touched = true), { capture: true });
  }
  const choices = { preset: PRESETS, loss: LOSSES, strategy: STRATEGIES };
  for (const [name, records] of Object.entries(choices)) {
    for (const key of Object.keys(records)) role(root, name).append(new Option(key, key));
  }
  on("preset", "change", ({ target }) => target.value && hiker.usePreset(target.value));
  on("loss", "change", ({ target }) => hiker.apply({ loss: target.value }));
  on("strategy", "change", ({ target }) => hiker.apply({ strategy: target.value }));
  on("plane", "change", () => hiker.redraw());
  for (const [name, { to }] of Object.entries(SLIDERS)) {
    on(name, "input", ({ target }) => hiker.apply({ [name]: to(Number(target.value)) }));
  }
  on("play", "click", () => hiker.toggle());
  on("step", "click", () => hiker.stepOnce());
  on("rewind", "click", () => hiker.rewind());
  on("reseed", "click", () => hiker.reseed());
  on("start-here", "click", () => hiker.startHere());
  on("check", "click", () => hiker.checkHere());
  listenToPoints(hiker, on);
  root.addEventListener("keydown", (event) => press(hiker, event));
}

function listenToPoints(hiker, on) {
  const { root } = hiker;
  on("add", "click", () => {
    const { points } = hiker.settings, k = points[hiker.chosen]?.[2] ?? 0;
    hiker.setPoints([...points, [0, 0, k]], points.length);
  });
  on("remove", "click", () => hiker.points.remove(hiker.chosen));
  on("point-class", "change", ({ target }) => hiker.points.recolour(hiker.chosen, Number(target.value)));
  on("save-points", "click", () => download("points.csv", toCsv(hiker.settings.points), "text/csv"));
  on("save-walk", "click", () => download("hiker.json", JSON.stringify(hiker.record(), null, 1), "application/json"));
  const take = (text) => {
    const says = role(root, "import-says");
    try {
      hiker.setPoints(fromCsv(text), null);
      says.textContent = `${hiker.settings.points.length} points taken over.`;
    } catch (error) {
      says.textContent = error.message;
    }
  };
  on("take", "click", () => take(role(root, "csv").value));
  on("file", "change", async ({ target }) => {
    if (target.files.length) take(await target.files[0].text());
    target.value = ""; // the same file, once corrected, is a change again
  });
}

function press(hiker, event) {
  const name = event.target.localName;
  if (event.ctrlKey || event.metaKey || event.altKey || name === "textarea" || name === "select") return;
  // On these a space has a meaning already.
  const isTaken = ["button", "summary", "input"].includes(name);
  if (event.key === ".") hiker.stepOnce();
  else if (event.key === " " && !isTaken) {
    hiker.toggle();
    event.preventDefault();
  }
}

/** Show the settings in the controls. */
export function showSettings({ root, settings, chosen }) {
  for (const [name, { from }] of Object.entries(SLIDERS)) {
    const input = role(root, name), text = String(settings[name]);
    if (document.activeElement !== input) input.value = from(settings[name]);
    role(root, `${name}-value`).textContent = text;
    input.setAttribute("aria-valuetext", text);
  }
  for (const name of ["loss", "strategy"]) role(root, name).value = settings[name];
  role(root, "strategy-says").textContent = STRATEGIES[settings.strategy].says;
  const point = settings.points[chosen];
  for (const name of ["point-class", "remove"]) role(root, name).disabled = !point;
  if (point) role(root, "point-class").value = point[2];
}
