// The hiker: a small problem one can play with. This file holds its state and ties the views to it.

import { Bottom } from "./bound.mjs";
import { checkGradient } from "./check.mjs";
import { download, number, precise, role } from "./dom.mjs";
import { drawHistory, drawLine } from "./hiker_charts.mjs";
import { MapView } from "./hiker_map.mjs";
import { PointsView } from "./hiker_points.mjs";
import { ExamplesTable, WeightsTable } from "./hiker_tables.mjs";
import { LOSSES } from "./losses.mjs";
import { accuracy, argmax, dataLoss, gradient, penalty, scores, value } from "./objective.mjs";
import { CLASSES, DEFAULTS, MOST_POINTS, PRESETS, fromAddress, fromCsv, preset, toAddress, toCsv } from "./settings.mjs";
import { STRATEGIES, advance, begin, propose, randomStart } from "./strategies.mjs";

const ZERO = CLASSES.map(() => [0, 0, 0]);
const MOST_STEPS = 5000, MOST_HIGH = 1e100;
// Of the climb to the lower bound: points times steps a frame, and steps after which it is enough.
const CLIMB = 450, MOST_CLIMBED = 20_000;
const ADDRESS = "#hiker?";

// A slider's position p, and the setting it stands for.
const power = (digits) => ({ from: (x) => Math.log10(x), to: (p) => Number((10 ** p).toPrecision(digits)) });
const SLIDERS = {
  // The left end is none at all.
  reg: { from: (x) => (x > 0 ? Math.log10(x) : -5), to: (p) => (p <= -4.95 ? 0 : Number((10 ** p).toPrecision(2))) },
  delta: { from: (x) => x, to: (p) => p },
  stepSize: power(2),
  h: power(1),
};

class Hiker {
  constructor(root) {
    Object.assign(this, { root, settings: { ...DEFAULTS }, chosen: null, check: null, playing: false });
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.weights = new WeightsTable(root, {
      nudge: (k, d, by) => this.go(this.walk.W.map((row, a) => row.map((w, b) => (a === k && b === d ? w + by : w)))),
    });
    this.examples = new ExamplesTable(root);
    this.map = new MapView(root, { go: (W) => this.go(W) });
    this.points = new PointsView(root, {
      change: (points, chosen) => this.setPoints(points, chosen),
      select: (i) => {
        this.chosen = i;
        this.redraw();
      },
    });
    this.listen();
    if (location.hash.startsWith(ADDRESS)) this.restore();
    else this.usePreset(Object.keys(PRESETS)[0]);
  }

  // --- what the settings mean ---

  get objective() {
    const { loss, delta, reg } = this.settings;
    return { loss: LOSSES[loss], delta, reg };
  }

  get data() {
    const { points } = this.settings;
    return { X: points.map(([a, b]) => [a, b, 1]), y: points.map((point) => point[2]) };
  }

  /** Take over settings; the problem is another one, and the walk goes on from where it is. */
  apply(change) {
    Object.assign(this.settings, change);
    const { objective, data } = this;
    const isBounded = objective.loss.hasHinges && objective.reg > 0;
    this.climber = isBounded ? new Bottom(objective, data, CLASSES.length) : null;
    this.values = [];
    this.check = null;
    this.redraw();
  }

  usePreset(name) {
    this.settings = preset(name);
    role(this.root, "preset").value = name;
    role(this.root, "preset-says").textContent = PRESETS[name].says;
    this.chosen = null;
    this.rewind();
  }

  restore() {
    this.settings = fromAddress(location.hash.slice(ADDRESS.length));
    role(this.root, "preset").value = "";
    role(this.root, "preset-says").textContent = "From the address of this page.";
    this.rewind();
  }

  setPoints(points, chosen) {
    if (points.length > MOST_POINTS) return;
    this.chosen = chosen;
    this.apply({ points });
  }

  // --- the walk ---

  rewind() {
    this.pause();
    this.end = null;
    this.walk = begin(this.settings.start ?? randomStart(this.settings.seed, ZERO));
    this.apply({});
    this.announce();
  }

  reseed() {
    this.settings.seed += 1;
    this.settings.start = null;
    this.rewind();
  }

  /** Put the hiker at a W by hand. */
  go(W) {
    this.walk = { ...this.walk, W, direction: ZERO, path: [...this.walk.path, W] };
    this.check = null;
    this.redraw();
  }

  step() {
    const { objective, data, settings, walk } = this;
    const next = advance(walk, propose(objective, walk, data, settings), data, settings);
    this.end = null;
    if (walk.path.length > MOST_STEPS) this.end = `${MOST_STEPS} steps are all that this page keeps`;
    else if (!(value(objective, next.W, data) < MOST_HIGH)) this.end = "the next step leaves the range of numbers";
    if (this.end) return this.pause();
    this.walk = next;
    this.check = null;
  }

  play() {
    this.playing = true;
    let last = -Infinity;
    const frame = (now) => {
      if (!this.playing) return;
      // Without motion, a picture a second.
      const [steps, every] = role(this.root, "speed").value.split("/").map(Number);
      const wait = this.calm.matches ? 1000 : every;
      if (now - last >= wait) {
        last = now;
        for (let n = 0; n < steps && this.playing; n++) this.step();
        this.redraw();
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    this.markPlaying();
  }

  pause() {
    const was = this.playing;
    this.playing = false;
    this.markPlaying();
    if (was) this.announce();
  }

  markPlaying() {
    const button = role(this.root, "play");
    button.textContent = this.playing ? "Pause" : "Play";
  }

  // --- what is shown ---

  /** Draw at the next frame, once. */
  redraw() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.draw();
    });
  }

  draw() {
    const { root, walk, objective, data, settings, chosen } = this, { W } = walk;
    this.climber?.climb(Math.ceil(CLIMB / data.y.length));
    const bottom = this.climber?.W ? this.climber : null;
    const S = scores(W, data.X), predicted = S.map(argmax);
    const { loss, delta } = objective;
    const losses = S.map((s, i) => loss.value(s, data.y[i], delta));
    const margins = loss.hasHinges ? S.map((s, i) => loss.margins(s, data.y[i], delta)) : null;
    const proposal = propose(objective, walk, data, settings);
    this.points.draw({ points: settings.points, chosen, W, predicted });
    const planeName = role(root, "plane").value;
    this.map.draw({ objective, walk, data, bottom, planeName });
    const ahead = drawLine(root, { objective, walk, data, proposal, bottom });
    drawHistory(root, { objective, walk, data, bottom, values: this.values });
    this.weights.draw(W, gradient(objective, W, data), this.check);
    this.examples.draw({ points: settings.points, scores: S, margins, losses, predicted });
    this.tell({ bottom, ahead, proposal });
    this.showSettings();
    this.climbOn();
  }

  /** Go on with the bound at the next frame, a good deal further before the next picture. */
  climbOn() {
    const { climber, data } = this;
    if (!climber || climber.isClosed || climber.steps > MOST_CLIMBED || this.playing) return;
    requestAnimationFrame(() => {
      if (climber === this.climber) climber.climb(Math.ceil((4 * CLIMB) / data.y.length));
      this.redraw();
    });
  }

  tell({ bottom, ahead, proposal }) {
    const { root, walk, objective, data } = this;
    const f = value(objective, walk.W, data);
    const say = (name, text) => {
      const element = role(root, name);
      if (element.textContent !== text) element.textContent = text;
    };
    say("objective", number(f, 4));
    say("parts", `${number(dataLoss(objective, walk.W, data), 4)} data + ${number(penalty(objective, walk.W), 4)} penalty`);
    say("accuracy", `${Math.round(100 * accuracy(walk.W, data))} %`);
    say("steps", String(walk.step));
    say("cost", `${number(walk.losses, 0)} losses, ${number(walk.gradients, walk.gradients % 1 ? 1 : 0)} gradients`);
    say("bound", bottom ? number(bottom.lower, 4) : "0");
    const far = bottom ? `at most ${precise(Math.max(0, f - bottom.lower))} above the bottom` : this.whyNoBound();
    say("above", far);
    const where = Number.isFinite(ahead.best) ? `the lowest point is ${number(ahead.best, 3)} away` : "the line falls for ever";
    const kinks = ahead.kinks === 1 ? "1 kink" : `${ahead.kinks} kinks`;
    const next = proposal.accepted ? `the next step goes ${number(ahead.step, 3)}` : "the next step is refused: it is no lower";
    say("line-says", `${this.end ? `Stopped: ${this.end}. ` : ""}${kinks} in view; ${where}, ${next}.`);
    say("check-says", this.check ? this.verdicts() : "");
  }

  whyNoBound() {
    return this.objective.reg > 0
      ? "softmax has no hinges, so this page has no bound for it but 0"
      : "without a penalty nothing holds W; the bound known is 0";
  }

  verdicts() {
    const every = this.check.flat(), count = (word) => every.filter((c) => c.verdict === word).length;
    const worst = every.filter((c) => c.verdict !== "smooth" && c.crossed);
    const names = worst.map(({ crossed: { i, j } }) => `point ${i + 1}, ${CLASSES[j]}`);
    const way = names.length ? ` In the way: the hinges of ${[...new Set(names)].join("; ")}.` : "";
    const tail = count("wrong") ? "" : " Every one is a right gradient.";
    return `With h = ${this.settings.h}: ${count("smooth")} smooth, ${count("kink")} at a kink, ${count("wrong")} wrong.${way}${tail}`;
  }

  /** Say where the hiker is to who cannot see it: at rest, not at every step. */
  announce() {
    this.draw();
    const f = value(this.objective, this.walk.W, this.data);
    const end = this.end ? `Stopped: ${this.end}. ` : "";
    role(this.root, "status").textContent =
      `${end}Step ${this.walk.step}: objective ${number(f, 4)}, ${role(this.root, "above").textContent}.`;
  }

  showSettings() {
    const { root, settings } = this;
    for (const [name, { from }] of Object.entries(SLIDERS)) {
      const input = role(root, name);
      if (document.activeElement !== input) input.value = from(settings[name]);
      const text = String(settings[name]);
      role(root, `${name}-value`).textContent = text;
      input.setAttribute("aria-valuetext", text);
    }
    for (const name of ["loss", "strategy"]) role(root, name).value = settings[name];
    role(root, "strategy-says").textContent = STRATEGIES[settings.strategy].says;
    const point = settings.points[this.chosen];
    for (const name of ["point-class", "remove"]) role(root, name).disabled = !point;
    if (point) role(root, "point-class").value = point[2];
    this.remember();
  }

  /** Keep the settings in the address, once a person has touched them; not at every frame. */
  remember() {
    if (!this.touched) return;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      const { W, step } = this.walk;
      const start = this.settings.start ?? (step === 0 && this.walk.path.length > 1 ? W : null);
      history.replaceState(null, "", ADDRESS + toAddress({ ...this.settings, start }));
    }, 400);
  }

  // --- what a person does ---

  listen() {
    const { root } = this, on = (name, event, act) => role(root, name).addEventListener(event, act);
    for (const event of ["input", "click", "keydown"]) {
      root.addEventListener(event, () => (this.touched = true), { capture: true });
    }
    const choices = { preset: PRESETS, loss: LOSSES, strategy: STRATEGIES };
    for (const [name, records] of Object.entries(choices)) {
      for (const key of Object.keys(records)) role(root, name).append(new Option(key, key));
    }
    on("preset", "change", ({ target }) => target.value && this.usePreset(target.value));
    on("loss", "change", ({ target }) => this.apply({ loss: target.value }));
    on("strategy", "change", ({ target }) => this.apply({ strategy: target.value }));
    on("plane", "change", () => this.redraw());
    for (const [name, { to }] of Object.entries(SLIDERS)) {
      on(name, "input", ({ target }) => this.apply({ [name]: to(Number(target.value)) }));
    }
    on("play", "click", () => (this.playing ? this.pause() : this.play()));
    on("step", "click", () => this.stepOnce());
    on("rewind", "click", () => this.rewind());
    on("reseed", "click", () => this.reseed());
    on("start-here", "click", () => {
      this.settings.start = this.walk.W;
      this.rewind();
    });
    on("check", "click", () => {
      const { objective, data, walk: { W } } = this;
      this.check = checkGradient(objective, W, data, gradient(objective, W, data), this.settings.h);
      this.draw();
      role(root, "status").textContent = this.verdicts();
    });
    this.listenToPoints(on);
    root.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.redraw()).observe(root);
    addEventListener("hashchange", () => location.hash.startsWith(ADDRESS) && this.restore());
  }

  listenToPoints(on) {
    const { root } = this;
    on("add", "click", () => {
      const { points } = this.settings, k = this.settings.points[this.chosen]?.[2] ?? 0;
      this.setPoints([...points, [0, 0, k]], points.length);
    });
    on("remove", "click", () => this.points.remove(this.chosen));
    on("point-class", "change", ({ target }) => this.points.recolour(this.chosen, Number(target.value)));
    on("save-points", "click", () => download("points.csv", toCsv(this.settings.points), "text/csv"));
    on("save-walk", "click", () => download("hiker.json", JSON.stringify(this.record(), null, 1), "application/json"));
    const take = (text) => {
      const says = role(root, "import-says");
      try {
        this.setPoints(fromCsv(text), null);
        says.textContent = `${this.settings.points.length} points taken over.`;
      } catch (error) {
        says.textContent = error.message;
      }
    };
    on("take", "click", () => take(role(root, "csv").value));
    on("file", "change", async ({ target }) => take(await target.files[0].text()));
  }

  stepOnce() {
    this.pause();
    this.step();
    this.announce();
  }

  press(event) {
    const name = event.target.localName;
    if (event.ctrlKey || event.metaKey || event.altKey || name === "textarea" || name === "select") return;
    if (event.key === "." ) this.stepOnce();
    else if (event.key === " " && name !== "button" && name !== "summary" && name !== "input") {
      if (this.playing) this.pause();
      else this.play();
      event.preventDefault();
    }
  }

  /** Everything, in full precision. */
  record() {
    const { objective, data, walk, settings } = this;
    return {
      ...settings,
      W: walk.W,
      objective: value(objective, walk.W, data),
      gradient: gradient(objective, walk.W, data),
      scores: scores(walk.W, data.X),
      lower_bound: this.climber?.lower ?? 0,
      steps: walk.step,
      path: walk.path,
    };
  }
}

for (const root of document.querySelectorAll(".hiker")) new Hiker(root);
