// The live landscape from above: colours, contour lines, kink lines, paths and the bottom, at any zoom.

import { axes, fit, make, pathOf, role } from "./dom.mjs";
import { exactValue, interpolated, kinkLines, onView } from "./plane.mjs";
import { contour, levels, paint, range } from "./surface.mjs";

const NODES = 49;

/** What there is of a plane in a view; `plane`, `paths` and `bottom` as `Landscape` has them. */
export class PlaneMap {
  constructor(root, { plane, paths, bottom }) {
    Object.assign(this, { plane, paths, bottom, svg: role(root, "map"), canvas: role(root, "colours") });
    this.reach = plane.t.at(-1);
    this.showAll();
  }

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
    if (width >= 1e-5 * this.reach && width <= 2.5 * this.reach) this.view = view;
  }

  pan(dp, dq) {
    const move = ([low, high], by) => [low + by, high + by];
    this.view = { p: move(this.view.p, dp), q: move(this.view.q, dq) };
  }

  showBottom() {
    const { coordinates, radius } = this.bottom, half = Math.max(4 * radius, 0.02 * this.reach);
    const [p, q] = coordinates;
    this.view = { p: [p - half, p + half], q: [q - half, q + half] };
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

  /** `shown` is "loss", "accuracy" or "exact"; the paths are drawn up to their point `step`. */
  draw({ shown, withKinks, step }) {
    fit(this.svg, 1);
    const { p, q } = this.view;
    this.frame = axes(this.svg, { x: p, y: q, xlabel: "first direction", ylabel: "second direction" });
    this.drawColours(shown);
    this.lines = withKinks ? kinkLines(this.plane, this.view) : [];
    this.drawKinks();
    this.drawPaths(step);
  }

  valueAt(shown, p, q) {
    if (shown === "exact") return exactValue(this.plane, p, q);
    const grid = this.plane[shown];
    return (shown === "accuracy" ? 100 : 1) * interpolated(grid, this.plane.t, p, q);
  }

  drawColours(shown) {
    // A change of step needs no new values of what has not changed.
    const { width: size } = this.svg.viewBox.baseVal;
    const key = JSON.stringify([this.view, shown, size]), { frame, svg, canvas } = this;
    if (key !== this.drawn) {
      this.drawn = key;
      const values = onView((p, q) => this.valueAt(shown, p, q), this.view, NODES);
      const [low, high] = range(values.map((row) => row.filter(Number.isFinite)));
      // A bowl's colours by the root of its height, so that its bottom shows.
      const isBowl = shown !== "accuracy";
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
    const { frame } = this;
    const d = this.lines.map((line) => pathOf(line.map(([p, q]) => [frame.x(p), frame.y(q)]))).join("");
    // The more lines, the fainter.
    const opacity = Math.min(0.9, Math.max(0.12, 60 / (this.lines.length + 1)));
    make(this.svg, "path", { d, stroke: "#fff", "stroke-width": 0.8, "stroke-opacity": opacity });
  }

  drawPaths(step) {
    const { svg, frame, bottom } = this;
    const inner = make(svg, "svg", {
      x: frame.left, y: frame.top, width: frame.right - frame.left, height: frame.bottom - frame.top,
      viewBox: `${frame.left} ${frame.top} ${frame.right - frame.left} ${frame.bottom - frame.top}`,
    });
    const at = ([p, q]) => [frame.x(p), frame.y(q)];
    if (bottom) this.drawBottom(inner, at);
    for (const { colour, coordinates, name } of this.paths) {
      const points = [...coordinates.slice(0, step + 1)].map(at), [x, y] = points.at(-1);
      make(inner, "path", { d: pathOf(points), class: "casing" });
      make(inner, "path", { d: pathOf(points), class: "trail", style: `--c: ${colour}` });
      const [sx, sy] = points[0];
      make(inner, "rect", { x: sx - 4, y: sy - 4, width: 8, height: 8, class: "start" });
      const dot = make(inner, "circle", { cx: x, cy: y, r: 6, class: "here", style: `--c: ${colour}` });
      make(dot, "title", {}, name);
    }
  }

  drawBottom(inner, at) {
    const { bottom } = this, [x, y] = at(bottom.coordinates);
    const radius = this.frame.x(bottom.radius) - this.frame.x(0);
    make(inner, "circle", { cx: x, cy: y, r: radius, class: "region" });
    make(inner, "path", { d: `M${x} ${y - 10}l8 10l-8 10l-8 -10z`, class: "bottom" });
  }
}
