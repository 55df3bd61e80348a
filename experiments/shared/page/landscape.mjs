// The live landscape: a plane of the real objective with the strategies' paths on it.

import { atNextFrame, make, number, onDrag, precise, role } from "./dom.mjs";
import { PlaneMap } from "./landscape_map.mjs";
import { drawSurface } from "./landscape_surface.mjs";
import { columns, decode, exactValue, interpolated } from "./plane.mjs";
import { range, shareOf } from "./surface.mjs";

// Okabe and Ito's, the lighter ones, which show on viridis with a dark edge; their yellow is the bottom's.
const COLOURS = ["#e69f00", "#56b4e9", "#cc79a7", "#d55e00", "#ffffff", "#009e73", "#bbbbbb"];

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
    this.redraw = atNextFrame(() => this.draw());
    this.plane.pieces = columns(this.plane.pieces);
    this.reach = this.plane.t.at(-1);
    this.last = Math.max(...paths.map((path) => path.loss.length)) - 1;
    this.step = this.last;
    this.map = new PlaneMap(root, { plane: this.plane, paths, bottom: told.bottom });
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
      `The grid is of all ${all.toLocaleString("en")} examples; between its ${this.plane.t.length} × ${this.plane.t.length} nodes it is interpolated. ` +
      `Of the first ${examples} examples the page holds the hinges themselves, ${told.pieces.shape[0]} of them in float32: ` +
      "their objective and their kinks are exact at any zoom.";
    role(root, "to-bottom").hidden = role(root, "over-head").hidden = !told.bottom;
    role(root, "step").max = this.last;
  }

  // --- what is shown ---

  get shown() {
    return role(this.root, "show").value;
  }

  draw() {
    const { root, shown, step } = this;
    this.map.draw({ shown, withKinks: role(root, "kinks").checked, step });
    this.fillRows();
    this.drawSpace();
    role(root, "step").value = this.step;
    const { steps } = this.told;
    role(root, "step-value").textContent = `${steps[this.step]} of ${steps[this.last]}`;
    role(root, "step").setAttribute("aria-valuetext", `step ${steps[this.step]}`);
    this.say();
  }

  /** The whole plane in space, whatever the view. */
  drawSpace() {
    const { plane, reach, shown } = this, turn = Number(role(this.root, "turn").value);
    const key = JSON.stringify([turn, this.step, shown]);
    if (key === this.drawnInSpace) return;
    this.drawnInSpace = key;
    const grid = shown === "accuracy" ? plane.accuracy : plane.loss;
    if (this.heightsOf !== grid) {
      this.heightAt = shareOf(range(grid), shown !== "accuracy");
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
    const kinks = role(root, "kinks").checked ? ` ${this.map.lines.length} kink lines of the first ${examples} examples cross the view.` : "";
    const where = bottom
      ? ` Diamond: the shadow of the best W known, ${precise(bottom.off_plane)} off the plane; the lowest value of all lies between ` +
        `${bottom.between[0].toPrecision(6)} and ${bottom.between[1].toPrecision(6)}, and the shadow of the W that has it within the dashed circle.`
      : "";
    const { low, high } = this.map, scale = this.shown === "accuracy" ? " %" : ", by the root of the height";
    role(root, "above-says").textContent = `Colours from ${precise(low)} to ${precise(high)}${scale}.${kinks}${where}`;
  }

  read(event) {
    const [p, q] = this.map.under(event), { plane } = this;
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

  /** Change the view from above, and draw. */
  look(change) {
    change(this.map);
    this.redraw();
  }

  listen() {
    const { root } = this, on = (name, event, act) => role(root, name).addEventListener(event, act);
    for (const name of ["show", "kinks", "turn"]) on(name, "input", () => this.redraw());
    on("in", "click", () => this.look((map) => map.zoom(0.5)));
    on("out", "click", () => this.look((map) => map.zoom(2)));
    on("whole", "click", () => this.look((map) => map.showAll()));
    on("to-bottom", "click", () => this.look((map) => map.showBottom()));
    on("play", "click", () => this.toggle());
    on("step", "input", ({ target }) => {
      this.step = Number(target.value);
      this.redraw();
    });
    new ResizeObserver(() => this.redraw()).observe(root);
    this.listenToMap();
    this.listenToSurface();
  }

  listenToMap() {
    const { map } = this, { svg } = map;
    svg.addEventListener("keydown", (event) => this.press(event));
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.look(() => map.zoom(2 ** (event.deltaY / 240), map.under(event)));
    }, { passive: false });
    let held = null;
    onDrag(svg, {
      begin: (event) => (held = map.under(event)),
      move: (event) => {
        const [p, q] = map.under(event);
        this.look(() => map.pan(held[0] - p, held[1] - q));
      },
      hover: (event) => this.read(event),
    });
  }

  listenToSurface() {
    const surface = role(this.root, "surface"), turn = role(this.root, "turn");
    onDrag(surface, {
      move: ({ movementX }) => {
        turn.value = (Number(turn.value) - movementX + 360) % 360;
        this.redraw();
      },
    });
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = this.map.view.p, tenth = (high - low) / 10;
    const looks = {
      "+": (map) => map.zoom(0.5), "=": (map) => map.zoom(0.5), "-": (map) => map.zoom(2), 0: (map) => map.showAll(),
      a: (map) => map.pan(-tenth, 0), d: (map) => map.pan(tenth, 0),
      w: (map) => map.pan(0, tenth), s: (map) => map.pan(0, -tenth),
    };
    const walks = { ArrowLeft: () => this.walk(-1), ArrowRight: () => this.walk(1), ".": () => this.walk(1), " ": () => this.toggle() };
    if (looks[event.key]) this.look(looks[event.key]);
    else if (walks[event.key]) walks[event.key]();
    else return;
    event.preventDefault();
  }
}

for (const root of document.querySelectorAll(".landscape")) new Landscape(root);
