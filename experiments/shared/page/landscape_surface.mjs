// A grid as a surface in space, with paths on it: parallel projection, painted from back to front.

import { colour } from "./surface.mjs";

// How much of the depth is seen, and of the height.
const TILT = 0.4, RISE = 0.9;
const SIDE = 40; // facets along each side

/**
 * Draw heights (values scaled to [0, 1]) over [-1, 1]², seen from `turn` degrees.
 * `trails` are { colour, points: [[x, y, height], ...] } with x and y in [-1, 1].
 */
export function drawSurface(canvas, heights, turn, trails) {
  const context = canvas.getContext("2d"), { width, height } = canvas;
  const angle = (turn * Math.PI) / 180, [c, s] = [Math.cos(angle), Math.sin(angle)];
  const scale = width / 2.9;
  const depth = (x, y) => x * s + y * c;
  const project = (x, y, z) => [
    width / 2 + scale * (x * c - y * s),
    height * 0.53 - scale * (TILT * depth(x, y) + RISE * (z - 0.5)),
  ];
  context.clearRect(0, 0, width, height);
  const step = (heights.length - 1) / SIDE, at = (n) => Math.min(Math.round(n * step), heights.length - 1);
  const facets = [];
  for (let i = 0; i < SIDE; i++) {
    for (let j = 0; j < SIDE; j++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]].map(([a, b]) => {
        const [n, m] = [at(a), at(b)];
        return [(2 * a) / SIDE - 1, (2 * b) / SIDE - 1, heights[n][m]];
      });
      const mean = corners.reduce((total, corner) => total + corner[2] / 4, 0);
      facets.push({ corners, mean, far: depth(corners[0][0] + 1 / SIDE, corners[0][1] + 1 / SIDE) });
    }
  }
  facets.sort((a, b) => b.far - a.far);
  context.lineJoin = "round";
  for (const { corners, mean } of facets) {
    context.beginPath();
    corners.forEach(([x, y, z], n) => context[n ? "lineTo" : "moveTo"](...project(x, y, z)));
    context.closePath();
    context.fillStyle = `rgb(${colour(mean).map(Math.round).join(" ")})`;
    context.strokeStyle = "rgb(0 0 0 / 18%)";
    context.lineWidth = 0.6;
    context.fill();
    context.stroke();
  }
  for (const { colour: ink, points } of trails) {
    for (const [style, thick] of [["rgb(0 0 0 / 70%)", 5], [ink, 2.6]]) {
      context.beginPath();
      points.forEach((point, n) => context[n ? "lineTo" : "moveTo"](...project(...point)));
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.stroke();
    }
    const [x, y] = project(...points.at(-1));
    context.beginPath();
    context.arc(x, y, 6, 0, 2 * Math.PI);
    context.fillStyle = ink;
    context.fill();
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.stroke();
  }
}
