// The live landscape: a plane of the real objective with the strategies' paths on it.

import { axes, fit, make, number, pathOf, precise, role } from "./dom.mjs";
import { drawSurface } from "./landscape_surface.mjs";
import { columns, decode, exactValue, interpolated, kinkLines, onView } from "./plane.mjs";
import { contour, levels, paint, range } from "./surface.mjs";

// Okabe and Ito's, the lighter ones, which show on viridis with a dark edge; their yellow is the bottom's.
const COLOURS = ["#e69f00", "#56b4e9", "#cc79a7", "#d55e00", "#ffffff", "#009e73", "#bbbbbb"];
const NODES = 49;

class Landscape {
  constructor(root) {
    const told = JSON.parse(role(root, "arrays").textContent);
    const paths = told.names.map((name, n) => ({
      name,
      colour: COLOURS[n % COLOURS.length],
      ...Object.fromEntries(Object.entries(told.paths[name]).map(([key, array]) => [key, decode(array)])),
    }));
    const arrays = ["t", "loss", "accuracy", "pieces", "penalty"].map((key) => [key, decode(told[key])]);
    Object.assign(this, { root, told, paths, plane: { ...told, ...Object.fromEntries(arrays) } });
    this.plane.pieces = columns(this.plane.pieces);
    this.reach = this.plane.t.at(-1);
    this.last = Math.max(...paths.map((path) => path.loss.length)) - 1;
    this.step = this.last;
    this.showAll();
    this.canvas = role(root, "colours");
    this.svg = role(root, "map");
    this.makeRows();
    this.listen();
    this.introduce();
    this.redraw();
  }

  introduce() {
    const { root, told } = this, { examples, all_examples: all, share } = told;
    const part = share ? ` It holds ${Math.round(100 * (share[0] + share[1]))} % of what the paths vary.` : "";
    role(root, "says").textContent =
      `The real objective over a plane through ${told.names.length} strategies' paths.${part} ` +
      `The grid is of all ${all} examples; between its ${this.plane.t.length} × ${this.plane.t.length} nodes it is interpolated. ` +
      `Of the first ${examples} examples the page holds the hinges themselves, ${told.pieces.shape[0]} of them in float32: ` +
      "their objective and their kinks are exact at any zoom.";
    role(root, "to-bottom").hidden = role(root, "over-head").hidden = !told.bottom;
    role(root, "step").max = this.last;
  }

  // --- the view ---

  showAll() {
    const { reach } = this;
    this.view = { p: [-reach, reach], q: [-reach, reach] };
  }

  /** Zoom about a point of the plane; a factor below 1 goes closer. */
  zoom(factor, [p, q] = this.middle()) {
    const about = ([low, high], x) => [x + factor * (low - x), x + factor * (high - x)];
    const view = { p: about(this.view.p, p), q: about(this.view.q, q) };
    const width = view.p[1] - view.p[0];
    // Float32 pieces have no finer detail, and outside the grid there is nothing.
    if (width < 1e-5 * this.reach || width > 2.5 * this.reach) return;
    this.view = view;
    this.redraw();
  }

  pan(dp, dq) {
    const move = ([low, high], by) => [low + by, high + by];
    this.view = { p: move(this.view.p, dp), q: move(this.view.q, dq) };
    this.redraw();
  }

  middle() {
    return [this.view.p, this.view.q].map(([low, high]) => (low + high) / 2);
  }

  /** Where on the plane a pointer is. */
  under(event) {
    const { left, top, width } = this.svg.getBoundingClientRect();
    const size = this.svg.viewBox.baseVal.width / width, { frame, view } = this;
    const share = (x, from, to, [low, high]) => low + ((x - from) / (to - from)) * (high - low);
    return [
      share((event.clientX - left) * size, frame.left, frame.right, view.p),
      share((event.clientY - top) * size, frame.bottom, frame.top, view.q),
    ];
  }

  // --- what is shown ---

  get shown() {
    return role(this.root, "show").value;
  }

  valueAt(p, q) {
    if (this.shown === "exact") return exactValue(this.plane, p, q);
    const grid = this.plane[this.shown];
    return (this.shown === "accuracy" ? 100 : 1) * interpolated(grid, this.plane.t, p, q);
  }

  redraw() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.draw();
    });
  }

  draw() {
    const { view, root } = this;
    fit(this.svg, 1);
    const labels = { xlabel: "first direction", ylabel: "second direction" };
    this.frame = axes(this.svg, { x: view.p, y: view.q, ...labels });
    this.drawColours();
    this.drawKinks();
    this.drawPaths();
    this.fillRows();
    this.drawSpace();
    role(root, "step").value = this.step;
    const { steps } = this.told;
    role(root, "step-value").textContent = `${steps[this.step]} of ${steps[this.last]}`;
    role(root, "step").setAttribute("aria-valuetext", `step ${steps[this.step]}`);
    this.say();
  }

  drawColours() {
    // A change of step needs no new values of what has not changed.
    const { width: size } = this.svg.viewBox.baseVal;
    const key = JSON.stringify([this.view, this.shown, size]), { frame, svg, canvas } = this;
    if (key !== this.drawn) {
      this.drawn = key;
      const values = onView((p, q) => this.valueAt(p, q), this.view, NODES);
      const [low, high] = range(values.map((row) => row.filter(Number.isFinite)));
      // A bowl's colours by the root of its height, so that its bottom shows.
      const isBowl = this.shown !== "accuracy";
      const heights = values.map((row) => row.map((v) => {
        const share = (v - low) / (high - low || 1);
        return isBowl ? Math.sqrt(Math.max(share, 0)) : share;
      }));
      paint(canvas, heights.map((row) => row.map((h) => (Number.isFinite(h) ? h : 0))), 0, 1);
      const { width, height } = svg.viewBox.baseVal, percent = (x, all) => `${(100 * x) / all}%`;
      Object.assign(canvas.style, {
        left: percent(frame.left, width), width: percent(frame.right - frame.left, width),
        top: percent(frame.top, height), height: percent(frame.bottom - frame.top, height),
      });
      const place = (from, to) => (n) => from + (n / (NODES - 1)) * (to - from);
      const [x, y] = [place(frame.left, frame.right), place(frame.bottom, frame.top)];
      const heightsOf = isBowl ? levels(low, high) : [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => low + (n * (high - low)) / 10);
      this.contours = heightsOf.map((level) => contour(values, level, x, y)).join("");
      Object.assign(this, { low, high });
    }
    make(svg, "path", { d: this.contours, class: "contours" });
  }

  drawKinks() {
    const wanted = role(this.root, "kinks").checked;
    this.lines = wanted ? kinkLines(this.plane, this.view) : [];
    const { frame } = this;
    const d = this.lines.map((line) => pathOf(line.map(([p, q]) => [frame.x(p), frame.y(q)]))).join("");
    // The more lines, the fainter.
    const opacity = Math.min(0.9, Math.max(0.12, 60 / (this.lines.length + 1)));
    make(this.svg, "path", { d, stroke: "#fff", "stroke-width": 0.8, "stroke-opacity": opacity });
  }

  drawPaths() {
    const { svg, frame, told } = this;
    const inner = make(svg, "svg", {
      x: frame.left, y: frame.top, width: frame.right - frame.left, height: frame.bottom - frame.top,
      viewBox: `${frame.left} ${frame.top} ${frame.right - frame.left} ${frame.bottom - frame.top}`,
    });
    const at = ([p, q]) => [frame.x(p), frame.y(q)];
    if (told.bottom) this.drawBottom(inner, at);
    for (const { colour, coordinates, name } of this.paths) {
      const points = [...coordinates.slice(0, this.step + 1)].map(at), [x, y] = points.at(-1);
      make(inner, "path", { d: pathOf(points), class: "casing" });
      make(inner, "path", { d: pathOf(points), class: "trail", style: `--c: ${colour}` });
      const [sx, sy] = points[0];
      make(inner, "rect", { x: sx - 4, y: sy - 4, width: 8, height: 8, class: "start" });
      const dot = make(inner, "circle", { cx: x, cy: y, r: 6, class: "here", style: `--c: ${colour}` });
      make(dot, "title", {}, name);
    }
  }

  drawBottom(inner, at) {
    const { bottom } = this.told, [x, y] = at(bottom.coordinates);
    const radius = this.frame.x(bottom.radius) - this.frame.x(0);
    make(inner, "circle", { cx: x, cy: y, r: radius, class: "region" });
    make(inner, "path", { d: `M${x} ${y - 10}l8 10l-8 10l-8 -10z`, class: "bottom" });
  }

  /** The whole plane in space, whatever the view. */
  drawSpace() {
    const { plane, reach, shown } = this, turn = Number(role(this.root, "turn").value);
    const key = JSON.stringify([turn, this.step, shown]);
    if (key === this.drawnInSpace) return;
    this.drawnInSpace = key;
    const grid = shown === "accuracy" ? plane.accuracy : plane.loss;
    if (this.heightsOf !== grid) {
      const [low, high] = range(grid), isBowl = shown !== "accuracy";
      const share = (v) => (v - low) / (high - low || 1);
      this.heightAt = (v) => (isBowl ? Math.sqrt(Math.max(0, share(v))) : share(v));
      this.heights = grid.map((row) => row.map(this.heightAt));
      this.heightsOf = grid;
    }
    const trails = this.paths.map(({ colour, coordinates }) => ({
      colour,
      points: [...coordinates.slice(0, this.step + 1)].map(([p, q]) => [
        p / reach, q / reach, this.heightAt(interpolated(grid, plane.t, p, q)),
      ]),
    }));
    drawSurface(role(this.root, "surface"), this.heights, turn, trails);
  }

  makeRows() {
    const body = role(this.root, "paths");
    this.rows = this.paths.map(({ name, colour }) => {
      const row = make(body, "tr"), head = make(row, "th", { scope: "row" });
      make(head, "span", { class: "swatch", style: `--c: ${colour}` });
      head.append(name);
      return [0, 1, 2, 3].map(() => make(row, "td"));
    });
  }

  fillRows() {
    const { bottom } = this.told;
    this.paths.forEach(({ loss, plane_loss, off_plane }, n) => {
      const here = Math.min(this.step, loss.length - 1), cells = this.rows[n];
      cells[0].textContent = number(loss[here], 4);
      cells[1].textContent = number(plane_loss[here], 4);
      cells[2].textContent = precise(off_plane[here]);
      cells[3].hidden = !bottom;
      if (bottom) cells[3].textContent = `≤ ${precise(Math.max(0, loss[here] - bottom.between[0]))}`;
    });
  }

  say() {
    const { root, told: { bottom, examples } } = this;
    const kinks = role(root, "kinks").checked ? ` ${this.lines.length} kink lines of the first ${examples} examples cross the view.` : "";
    const where = bottom
      ? ` Diamond: the shadow of the best W known, ${precise(bottom.off_plane)} off the plane; the lowest value of all lies between ` +
        `${bottom.between[0].toPrecision(6)} and ${bottom.between[1].toPrecision(6)}, and the shadow of the W that has it within the dashed circle.`
      : "";
    role(root, "above-says").textContent = `Colours from ${precise(this.low)} to ${precise(this.high)}${this.shown === "accuracy" ? " %" : ", by the root of the height"}.${kinks}${where}`;
  }

  read(event) {
    const [p, q] = this.under(event), { plane } = this;
    const exact = exactValue(plane, p, q), grid = interpolated(plane.loss, plane.t, p, q);
    if (!Number.isFinite(grid)) return;
    const right = 100 * interpolated(plane.accuracy, plane.t, p, q);
    role(this.root, "readout").textContent =
      `At ${precise(p)}, ${precise(q)}: objective ${number(grid, 4)}, ${number(right, 1)} % right (all examples, from the grid); ` +
      `${number(exact, 6)} for the first ${plane.examples}, exactly.`;
  }

  // --- what a person does ---

  walk(by) {
    this.step = Math.min(Math.max(this.step + by, 0), this.last);
    this.redraw();
  }

  play() {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.step === this.last) this.step = 0;
    this.timer = setInterval(() => (this.step < this.last ? this.walk(1) : this.pause()), calm ? 1000 : 80);
    role(this.root, "play").textContent = "Pause";
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    role(this.root, "play").textContent = "Play";
    const best = this.paths.map(({ name, loss }) => [loss[Math.min(this.step, loss.length - 1)], name]).sort((a, b) => a[0] - b[0])[0];
    role(this.root, "status").textContent = `Step ${this.told.steps[this.step]}: lowest is ${best[1]} with ${number(best[0], 4)}.`;
  }

  toggle() {
    if (this.timer) this.pause();
    else this.play();
  }

  listen() {
    const { root, svg } = this, on = (name, event, act) => role(root, name).addEventListener(event, act);
    on("show", "change", () => this.redraw());
    on("kinks", "change", () => this.redraw());
    on("turn", "input", () => this.redraw());
    on("in", "click", () => this.zoom(0.5));
    on("out", "click", () => this.zoom(2));
    on("whole", "click", () => this.whole());
    on("to-bottom", "click", () => {
      const { coordinates, radius } = this.told.bottom, half = Math.max(4 * radius, 0.02 * this.reach);
      const [p, q] = coordinates;
      this.view = { p: [p - half, p + half], q: [q - half, q + half] };
      this.redraw();
    });
    on("play", "click", () => this.toggle());
    on("step", "input", ({ target }) => {
      this.step = Number(target.value);
      this.redraw();
    });
    svg.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.redraw()).observe(root);
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoom(2 ** (event.deltaY / 240), this.under(event));
    }, { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      svg.setPointerCapture(event.pointerId);
      this.held = this.under(event);
    });
    svg.addEventListener("pointermove", (event) => {
      if (!svg.hasPointerCapture(event.pointerId)) return this.read(event);
      const [p, q] = this.under(event);
      this.pan(this.held[0] - p, this.held[1] - q);
    });
    this.listenToSurface();
  }

  listenToSurface() {
    const surface = role(this.root, "surface"), turn = role(this.root, "turn");
    surface.addEventListener("pointerdown", (event) => surface.setPointerCapture(event.pointerId));
    surface.addEventListener("pointermove", (event) => {
      if (!surface.hasPointerCapture(event.pointerId)) return;
      turn.value = (Number(turn.value) - event.movementX + 360) % 360;
      this.redraw();
    });
  }

  whole() {
    this.showAll();
    this.redraw();
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tenth = (this.view.p[1] - this.view.p[0]) / 10;
    const acts = {
      ArrowLeft: () => this.walk(-1), ArrowRight: () => this.walk(1),
      ".": () => this.walk(1), " ": () => this.toggle(), 0: () => this.whole(),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
      a: () => this.pan(-tenth, 0), d: () => this.pan(tenth, 0), w: () => this.pan(0, tenth), s: () => this.pan(0, -tenth),
    };
    if (!acts[event.key]) return;
    acts[event.key]();
    event.preventDefault();
  }
}

for (const root of document.querySelectorAll(".landscape")) new Landscape(root);
