// The points in the plane of their two features, with the regions of the classes.

import { clip, fit, make, number, onDrag, pathOf, role, segment, set, ticks } from "./dom.mjs";
import { CLASSES } from "./settings.mjs";

const SHAPES = ["M-7 0a7 7 0 1 0 14 0a7 7 0 1 0 -14 0", "M-6.5 -6.5h13v13h-13z", "M0 -8.5L8.5 6.5H-8.5z"];
const NUDGE = 0.05;

/** Draws the points, and tells `change(points)` and `select(index)` what a person does to them. */
export class PointsView {
  constructor(root, { current, change, select }) {
    Object.assign(this, { svg: role(root, "points"), current, change, select });
    this.ground = make(this.svg, "g");
    this.dots = make(this.svg, "g");
    this.svg.addEventListener("dblclick", (event) => {
      const [a, b] = this.toFeatures(event);
      this.change([...this.points, [a, b, this.points[this.chosen]?.[2] ?? 0]], this.points.length);
    });
  }

  // Not what was drawn last: keys may come faster than frames.
  get points() {
    return this.current();
  }

  draw({ chosen, W, predicted }) {
    this.chosen = chosen;
    const furthest = Math.max(...this.points.flatMap(([a, b]) => [Math.abs(a), Math.abs(b)]));
    // While a point is dragged the view stands still.
    if (!this.dragging) this.reach = furthest <= 1.15 ? 1.25 : 1.15 * furthest;
    fit(this.svg, 1);
    const { width } = this.svg.viewBox.baseVal;
    this.at = (x) => (width / 2) * (1 + x / this.reach);
    this.up = (y) => (width / 2) * (1 - y / this.reach);
    this.drawGround(W);
    this.drawDots(predicted);
  }

  drawGround(W) {
    const { reach } = this, ends = [-reach, reach], ground = this.ground;
    ground.replaceChildren();
    const onPage = (line) => line.map(([x, y]) => [this.at(x), this.up(y)]);
    const square = [[-reach, -reach], [reach, -reach], [reach, reach], [-reach, reach]];
    W.forEach((row, k) => {
      const others = W.filter((_, j) => j !== k);
      const region = others.reduce((left, other) => clip(left, row.map((w, d) => w - other[d])), square);
      if (region.length) make(ground, "path", { d: `${pathOf(onPage(region))}Z`, class: `region c${k}` });
    });
    for (const t of ticks(...ends, 4)) {
      make(ground, "text", { x: this.at(t), y: this.up(-reach) - 5, class: "tick" }, number(t, 1));
      if (t !== 0) make(ground, "text", { x: 4, y: this.up(t) + 4, class: "tick side" }, number(t, 1));
    }
    W.forEach((row, k) => {
      const line = segment(row, ends, ends), size = Math.hypot(row[0], row[1]);
      if (!line || size === 0) return;
      make(ground, "path", { d: pathOf(onPage(line)), class: `zero c${k}` });
      // An arrow at the middle, towards higher scores.
      const [x, y] = [0, 1].map((d) => (line[0][d] + line[1][d]) / 2);
      const [u, v] = [row[0] / size, row[1] / size].map((w) => w * 0.16 * reach);
      const [head, left, right] = onPage([
        [x + u, y + v], [x + 0.7 * u - 0.2 * v, y + 0.7 * v + 0.2 * u], [x + 0.7 * u + 0.2 * v, y + 0.7 * v - 0.2 * u],
      ]);
      make(ground, "path", { d: `${pathOf([...onPage([[x, y]]), head])}${pathOf([left, head, right])}`, class: `arrow c${k}` });
    });
  }

  drawDots(predicted) {
    const { points } = this;
    while (this.dots.children.length > points.length) this.dots.lastChild.remove();
    while (this.dots.children.length < points.length) this.addDot(this.dots.children.length);
    points.forEach(([a, b, k], i) => {
      const dot = this.dots.children[i], wrong = predicted[i] !== k;
      const verdict = wrong ? `taken for ${CLASSES[predicted[i]]}` : "right";
      set(dot, {
        transform: `translate(${this.at(a).toFixed(2)} ${this.up(b).toFixed(2)})`,
        class: `dot c${k}${wrong ? " wrong" : ""}${i === this.chosen ? " chosen" : ""}`,
        "aria-label": `point ${i + 1}, ${CLASSES[k]}, at ${number(a, 2)}, ${number(b, 2)}, ${verdict}`,
      });
      set(dot.lastChild, { d: SHAPES[k] });
    });
  }

  addDot(i) {
    const dot = make(this.dots, "g", { tabindex: 0, role: "button" });
    make(dot, "circle", { r: 15, class: "reach" });
    make(dot, "path");
    dot.addEventListener("focus", () => this.select(i));
    onDrag(dot, {
      begin: (event) => {
        this.dragging = true;
        dot.focus();
        event.preventDefault();
      },
      move: (event) => this.move(i, this.toFeatures(event)),
      end: () => {
        this.dragging = false;
        this.change([...this.points], this.chosen);
      },
    });
    dot.addEventListener("dblclick", (event) => event.stopPropagation());
    dot.addEventListener("keydown", (event) => this.press(i, event));
  }

  press(i, event) {
    const [a, b, k] = this.points[i], by = event.shiftKey ? NUDGE / 5 : NUDGE;
    const moves = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] };
    if (moves[event.key]) {
      const [u, v] = moves[event.key];
      this.move(i, [a + u, b + v]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.remove(i);
    } else if (["1", "2", "3"].includes(event.key)) {
      this.recolour(i, Number(event.key) - 1);
    } else if (event.key === "Enter") {
      this.recolour(i, (k + 1) % CLASSES.length);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  move(i, [a, b]) {
    const round = (x) => Math.round(x * 1000) / 1000;
    this.change(this.points.map((point, n) => (n === i ? [round(a), round(b), point[2]] : point)), i);
  }

  recolour(i, k) {
    this.change(this.points.map((point, n) => (n === i ? [point[0], point[1], k] : point)), i);
  }

  remove(i) {
    if (this.points.length === 1) return;
    const next = Math.min(i, this.points.length - 2);
    this.change(this.points.filter((_, n) => n !== i), next);
    this.dots.children[next]?.focus();
  }

  toFeatures(event) {
    const { left, top, width } = this.svg.getBoundingClientRect();
    const [u, v] = [(event.clientX - left) / width, (event.clientY - top) / width];
    const inside = (x) => Math.min(Math.max(x, -1), 1) * this.reach;
    return [inside(2 * u - 1), inside(1 - 2 * v)].map((x) => Math.round(x * 100) / 100);
  }
}
