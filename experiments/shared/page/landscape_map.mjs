// The live landscape from above: colours, contour lines, kink lines, paths and the bottom, at any zoom.

import { axes, fit, make, pathOf, role } from "./dom.mjs";
import { colourIn, linesIn, markBottom, markStart, under } from "./map.mjs";
import { exactOnView, interpolated, kinkLines, onView, within } from "./plane.mjs";

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
    return under(event, this.svg, this.frame, [this.view.p, this.view.q]);
  }

  /** `shown` is "loss", "accuracy" or "exact"; the paths are drawn up to their point `step`. */
  draw({ shown, withKinks, step }) {
    fit(this.svg, 1);
    const { p, q } = this.view;
    this.frame = axes(this.svg, { x: p, y: q, xlabel: "first direction", ylabel: "second direction" });
    const plane = within(this.plane, this.view);
    this.drawColours(shown, plane);
    this.lines = withKinks ? kinkLines(plane, this.view) : [];
    this.drawKinks();
    this.drawPaths(step);
  }

  valuesOf(shown, plane) {
    if (shown === "exact") return exactOnView(plane, this.view, NODES);
    const { t, [shown]: grid } = this.plane, factor = shown === "accuracy" ? 100 : 1;
    return onView((p, q) => factor * interpolated(grid, t, p, q), this.view, NODES);
  }

  drawColours(shown, plane) {
    // A change of step needs no new values of what has not changed.
    const { width: size } = this.svg.viewBox.baseVal;
    const key = JSON.stringify([this.view, shown, size]), { frame, svg, canvas } = this;
    if (key !== this.drawn) {
      this.drawn = key;
      Object.assign(this, colourIn(canvas, svg, frame, this.valuesOf(shown, plane), shown !== "accuracy"));
    }
    make(svg, "path", { d: this.contours, class: "contours" });
  }

  drawKinks() {
    // The more lines, the fainter.
    const opacity = Math.min(0.9, Math.max(0.12, 60 / (this.lines.length + 1)));
    const d = linesIn(this.frame, this.lines);
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
      markStart(inner, points[0]);
      const dot = make(inner, "circle", { cx: x, cy: y, r: 6, class: "here", style: `--c: ${colour}` });
      make(dot, "title", {}, name);
    }
  }

  drawBottom(inner, at) {
    const { bottom } = this, [x, y] = at(bottom.coordinates);
    const radius = this.frame.x(bottom.radius) - this.frame.x(0);
    make(inner, "circle", { cx: x, cy: y, r: radius, class: "region" });
    markBottom(inner, [x, y]);
  }
}
