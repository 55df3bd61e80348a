// Where the hiker stands: the objective over a plane through W, with the lines on which a margin is
// 0, the path, and the bottom. The plane is W + a·A + b·B with A and B at right angles.

import { axes, fit, make, number, onDrag, pathOf, role, segment, set } from "./dom.mjs";
import { colourIn, linesIn, markBottom, markStart, under } from "./map.mjs";
import { combine, inner, scaled, scores } from "./objective.mjs";
import { CLASSES } from "./settings.mjs";

const NODES = 33;

/** A plane: its directions, where its coordinates are 0, and their names. */
function planeOf(name, walk, bottom) {
  const W = walk.W, zero = scaled(W, 0);
  if (name === "bottom" && bottom) {
    const start = walk.path[0], way = combine(bottom, -1, start), length = Math.sqrt(inner(way, way));
    const A = length > 0 ? scaled(way, 1 / length) : zero;
    const rest = combine(W, -1, start), aside = combine(rest, -inner(rest, A), A);
    const size = Math.sqrt(inner(aside, aside));
    if (length > 0 && size > 1e-9) {
      return { A, B: scaled(aside, 1 / size), origin: start, labels: ["from the start to the bottom", "aside"] };
    }
  }
  const k = Number(name) || 0;
  const unit = (d) => W.map((row, j) => row.map((_, e) => (j === k && d === e ? 1 : 0)));
  return { A: unit(0), B: unit(1), origin: zero, labels: [`${CLASSES[k]}: weight of x₁`, `${CLASSES[k]}: weight of x₂`] };
}

export class MapView {
  constructor(root, { current, go }) {
    Object.assign(this, { svg: role(root, "map"), canvas: role(root, "map-colours"), current, go });
    const move = (event) => this.moveTo(event);
    onDrag(this.svg, { begin: move, move });
    this.svg.addEventListener("keydown", (event) => {
      const by = event.shiftKey ? 0.01 : 0.1;
      const moves = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] };
      if (!moves[event.key]) return;
      this.moveBy(...moves[event.key]);
      event.preventDefault();
    });
  }

  // Not what was drawn last: keys may come faster than frames.
  get W() {
    return this.current();
  }

  moveBy(a, b) {
    this.go(combine(combine(this.W, a, this.plane.A), b, this.plane.B));
  }

  moveTo(event) {
    const [low, high] = this.ends, [a, b] = under(event, this.svg, this.frame, [this.ends, this.ends]);
    const [here, there] = this.project(this.W);
    if (Math.max(a, b) <= high && Math.min(a, b) >= low) this.moveBy(a - here, b - there);
  }

  project(V) {
    const away = combine(V, -1, this.plane.origin);
    return [inner(away, this.plane.A), inner(away, this.plane.B)];
  }

  draw({ objective, walk, data, bottom, planeName }) {
    this.plane = planeOf(planeName, walk, bottom?.W);
    const path = walk.path.map((V) => this.project(V));
    const lowest = bottom?.W && this.project(bottom.W);
    const seen = [...path, ...(lowest ? [lowest] : [])].flat().map(Math.abs);
    // Round numbers, so that the view does not creep.
    const reach = [1, 2, 3, 5, 10, 20, 50, 100].find((r) => r >= 1.1 * Math.max(...seen)) ?? 1.1 * Math.max(...seen);
    const ends = (this.ends = [-reach, reach]);
    fit(this.svg, 1);
    this.frame = axes(this.svg, { x: ends, y: ends, xlabel: this.plane.labels[0], ylabel: this.plane.labels[1] });
    const terms = this.termsOnPlane(objective, data);
    this.drawSurface(objective, terms, data, reach);
    const kinks = terms.kinks.map((kink) => segment(kink, ends, ends)).filter(Boolean);
    make(this.svg, "path", { d: linesIn(this.frame, kinks), class: "kinks" });
    const onPage = (points) => points.map(([a, b]) => [this.frame.x(a), this.frame.y(b)]);
    make(this.svg, "path", { d: pathOf(onPage(path)), class: "path" });
    markStart(this.svg, onPage(path)[0]);
    if (lowest) markBottom(this.svg, onPage([lowest])[0]);
    const [[x, y]] = onPage([path.at(-1)]);
    make(this.svg, "circle", { cx: x, cy: y, r: 8, class: "hiker-mark" });
    set(this.svg, { "aria-label": `map of the objective; the hiker is at ${path.at(-1).map((v) => number(v, 2)).join(", ")}; arrow keys move it` });
  }

  /** The scores at the plane's zero, and what they grow by along A and B. */
  termsOnPlane({ loss, delta }, { X, y }) {
    const { A, B } = this.plane, [a, b] = this.project(this.W);
    const origin = combine(combine(this.W, -a, A), -b, B);
    const [S, SA, SB] = [origin, A, B].map((V) => scores(V, X));
    const kinks = !loss.hasHinges ? [] : y.flatMap((label, i) => {
      const [m, p, q] = [loss.margins(S[i], label, delta), loss.linear(SA[i], label), loss.linear(SB[i], label)];
      return m.map((_, j) => [p[j], q[j], m[j]]).filter(([u, v]) => u !== 0 || v !== 0);
    });
    return { origin, S, SA, SB, kinks };
  }

  drawSurface({ loss, delta, reg }, { origin, S, SA, SB }, { y }, reach) {
    const { A, B } = this.plane;
    const [oo, oa, ob] = [inner(origin, origin), inner(origin, A), inner(origin, B)];
    const t = Array.from({ length: NODES }, (_, n) => reach * ((2 * n) / (NODES - 1) - 1));
    const C = origin.length, s = Array(C);
    const values = t.map((a) => t.map((b) => {
      let total = 0;
      for (let i = 0; i < y.length; i++) {
        for (let k = 0; k < C; k++) s[k] = S[i][k] + a * SA[i][k] + b * SB[i][k];
        total += loss.value(s, y[i], delta);
      }
      const size = oo + 2 * (a * oa + b * ob) + a * a + b * b; // A and B: unit, at right angles
      return total / y.length + reg * size;
    }));
    const { contours } = colourIn(this.canvas, this.svg, this.frame, values);
    make(this.svg, "path", { d: contours, class: "contours" });
  }
}
