// The hiker: a small problem one can play with. This file holds its state and ties the views to it.

import { Bottom } from "./bound.mjs";
import { checkGradient } from "./check.mjs";
import { atNextFrame, role } from "./dom.mjs";
import { drawHistory, drawLine } from "./hiker_charts.mjs";
import { listen, showSettings } from "./hiker_controls.mjs";
import { MapView } from "./hiker_map.mjs";
import { PointsView } from "./hiker_points.mjs";
import { ExamplesTable, WeightsTable } from "./hiker_tables.mjs";
import { announce, tell, verdicts } from "./hiker_words.mjs";
import { LOSSES } from "./losses.mjs";
import { argmax, gradient, scores, value } from "./objective.mjs";
import { CLASSES, DEFAULTS, MOST_POINTS, PRESETS, fromAddress, preset, toAddress } from "./settings.mjs";
import { advance, begin, propose, randomStart } from "./strategies.mjs";

const ZERO = CLASSES.map(() => [0, 0, 0]);
const MOST_STEPS = 5000, MOST_HIGH = 1e100;
// Of the climb to the lower bound: points times steps a frame, and steps after which it is enough.
const CLIMB = 450, MOST_CLIMBED = 20_000;
const ADDRESS = "#hiker?";

class Hiker {
  constructor(root) {
    Object.assign(this, { root, settings: { ...DEFAULTS }, chosen: null, check: null, playing: false });
    this.redraw = atNextFrame(() => this.draw());
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.weights = new WeightsTable(root, {
      nudge: (k, d, by) => this.go(this.walk.W.map((row, a) => row.map((w, b) => (a === k && b === d ? w + by : w)))),
    });
    this.examples = new ExamplesTable(root);
    this.map = new MapView(root, { current: () => this.walk.W, go: (W) => this.go(W) });
    this.points = new PointsView(root, {
      current: () => this.settings.points,
      change: (points, chosen) => this.setPoints(points, chosen),
      select: (i) => {
        this.chosen = i;
        this.redraw();
      },
    });
    listen(this);
    new ResizeObserver(() => this.redraw()).observe(root);
    addEventListener("hashchange", () => location.hash.startsWith(ADDRESS) && this.restore());
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
    if (Object.keys(change).length) this.showPreset("", "Settings of your own.");
    const { objective, data } = this;
    const isBounded = objective.loss.hasHinges && objective.reg > 0;
    this.climber = isBounded ? new Bottom(objective, data, CLASSES.length) : null;
    this.values = [];
    this.check = null;
    this.redraw();
  }

  showPreset(name, says) {
    role(this.root, "preset").value = name;
    role(this.root, "preset-says").textContent = says;
  }

  usePreset(name) {
    this.settings = preset(name);
    this.showPreset(name, PRESETS[name].says);
    this.chosen = null;
    this.rewind();
  }

  restore() {
    this.settings = fromAddress(location.hash.slice(ADDRESS.length));
    this.showPreset("", "From the address of this page.");
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

  stepOnce() {
    this.pause();
    this.step();
    this.announce();
  }

  startHere() {
    this.settings.start = this.walk.W;
    this.rewind();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
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

  checkHere() {
    const { objective, data, walk: { W }, settings: { h } } = this;
    this.check = checkGradient(objective, W, data, gradient(objective, W, data), h);
    this.draw();
    role(this.root, "status").textContent = verdicts(this.check, h);
  }

  // --- what is shown ---

  draw() {
    const { root, walk, objective, data, settings, chosen } = this, { W } = walk;
    this.climber?.climb(Math.ceil(CLIMB / data.y.length));
    const bottom = this.climber?.W ? this.climber : null;
    const S = scores(W, data.X), predicted = S.map(argmax);
    const { loss, delta } = objective;
    const losses = S.map((s, i) => loss.value(s, data.y[i], delta));
    const margins = loss.hasHinges ? S.map((s, i) => loss.margins(s, data.y[i], delta)) : null;
    const proposal = propose(objective, walk, data, settings);
    this.points.draw({ chosen, W, predicted });
    const planeName = role(root, "plane").value;
    this.map.draw({ objective, walk, data, bottom, planeName });
    const ahead = drawLine(root, { objective, walk, data, proposal, bottom });
    drawHistory(root, { objective, walk, data, bottom, values: this.values });
    this.weights.draw(W, gradient(objective, W, data), this.check);
    this.examples.draw({ points: settings.points, scores: S, margins, losses, predicted });
    tell(this, { bottom, ahead, proposal });
    showSettings(this);
    this.remember();
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

  /** At rest, not at every step. */
  announce() {
    this.draw();
    announce(this);
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
