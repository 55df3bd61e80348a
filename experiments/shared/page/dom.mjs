// A few lines of help with elements and charts.

const SVG = "http://www.w3.org/2000/svg";

export const role = (root, name) => root.querySelector(`[data-role="${name}"]`);

/** Make an element in a parent, an SVG one where the parent is. */
export function make(parent, name, attributes = {}, text = null) {
  const isSvg = parent.namespaceURI === SVG;
  const element = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  set(element, attributes);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** A number for people with `digits` after the point, and a real minus. */
export function number(x, digits = 3) {
  const text = Math.abs(x) >= 1e5 ? x.toExponential(2).replace("e+", "e") : x.toFixed(digits);
  return text.replace(/^-(?=[0.]*$)/, "").replace(/-/g, "−").replace("Infinity", "∞");
}

/** The same with `digits` digits, however small it is. */
export function precise(x, digits = 3) {
  return Math.abs(x) >= 10 ** -digits || x === 0 ? number(x, digits + 1) : x.toExponential(digits - 1).replace(/-/g, "−");
}

/** About `num` round numbers in [low, high]. */
export function ticks(low, high, num = 5) {
  const raw = Math.max((high - low) / num, 1e-12 * Math.max(Math.abs(low), Math.abs(high)));
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, n) => Number(((first + n) * step).toPrecision(12)));
}

/** Give an SVG the units of the screen, so that its text is as large as the page's; `ratio` is height to width. */
export function fit(svg, ratio) {
  const width = Math.max(240, Math.round(svg.getBoundingClientRect().width));
  const box = `0 0 ${width} ${Math.round(ratio * width)}`;
  if (svg.getAttribute("viewBox") !== box) svg.setAttribute("viewBox", box);
}

/** Axes in an SVG; returns where a value lies: { x, y, left, right, top, bottom }. */
export function axes(svg, { x, y, xlabel, ylabel, isLog = false }) {
  const { width, height } = svg.viewBox.baseVal;
  const box = { left: 52, right: width - 12, top: 24, bottom: height - 40 };
  const at = ([low, high], from, to) => (v) => from + ((v - low) / (high - low || 1)) * (to - from);
  const px = at(x, box.left, box.right), py = at(y, box.bottom, box.top);
  svg.replaceChildren();
  const frame = make(svg, "g", { class: "axes" });
  for (const t of ticks(...x)) {
    make(frame, "line", { x1: px(t), x2: px(t), y1: box.top, y2: box.bottom });
    make(frame, "text", { x: px(t), y: box.bottom + 16, "text-anchor": "middle" }, plain(t));
  }
  for (const t of isLog ? wholeTicks(...y) : ticks(...y)) {
    make(frame, "line", { y1: py(t), y2: py(t), x1: box.left, x2: box.right });
    const text = isLog ? `10${superscript(t)}` : plain(t);
    make(frame, "text", { x: box.left - 6, y: py(t) + 4, "text-anchor": "end" }, text);
  }
  const middle = (box.left + box.right) / 2;
  make(frame, "text", { x: middle, y: height - 6, "text-anchor": "middle" }, xlabel);
  make(frame, "text", { x: 4, y: 14 }, ylabel);
  return { x: px, y: py, ...box };
}

const plain = (t) => String(t).replace("-", "−");
const superscript = (n) => String(n).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻");

function wholeTicks(low, high) {
  const step = Math.max(1, Math.ceil((high - low) / 5));
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.max(0, Math.floor((high - first) / step) + 1) }, (_, n) => first + n * step);
}

export const pathOf = (points) => `M${points.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}`;

/** The part of a convex polygon where a·x + b·y + c ≥ 0. */
export function clip(polygon, [a, b, c]) {
  const height = ([x, y]) => a * x + b * y + c;
  return polygon.flatMap((here, n) => {
    const next = polygon[(n + 1) % polygon.length];
    const [u, v] = [height(here), height(next)];
    const kept = u >= 0 ? [here] : [];
    if (u >= 0 === v >= 0) return kept;
    const s = u / (u - v);
    return [...kept, [here[0] + s * (next[0] - here[0]), here[1] + s * (next[1] - here[1])]];
  });
}

/** Where the line a·x + b·y + c = 0 enters and leaves a rectangle, or null. */
export function segment([a, b, c], [x0, x1], [y0, y1]) {
  const ends = [];
  if (b !== 0) for (const x of [x0, x1]) ends.push([x, -(a * x + c) / b]);
  if (a !== 0) for (const y of [y0, y1]) ends.push([-(b * y + c) / a, y]);
  const [tx, ty] = [1e-9 * (x1 - x0), 1e-9 * (y1 - y0)];
  const inside = ends.filter(([x, y]) => x >= x0 - tx && x <= x1 + tx && y >= y0 - ty && y <= y1 + ty);
  inside.sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  return inside.length >= 2 ? [inside[0], inside.at(-1)] : null;
}

/** Return a function that calls `draw` at the next frame, once, however often it is called. */
export function atNextFrame(draw) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      draw();
    });
  };
}

/**
 * Call `move(event)` while a pointer that went down on an element moves, wherever it is by then.
 * `begin` and `end` are called when it goes down and up, `hover` where one moves that is not down.
 */
export function onDrag(element, { begin, move, end, hover }) {
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    begin?.(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) move(event);
    else hover?.(event);
  });
  for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => end?.());
}

/** Offer a file to be saved. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
