// Reads the live landscape's arrays and points from standard input: see test_page_landscape.py.

import { argv, stdin } from "node:process";
import { text as readAll } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const { columns, decode, exactOnView, exactValue, interpolated, kinkLines, onView, within } = await import(
  pathToFileURL(`${argv[2]}/plane.mjs`)
);
const { told, points, view } = JSON.parse(await readAll(stdin));
const [t, loss, pieces, penalty] = ["t", "loss", "pieces", "penalty"].map((name) => decode(told[name]));
const plane = { pieces: columns(pieces), penalty, examples: told.examples };
const near = within(plane, view);
const found = {
  counts: [plane, near].map(({ pieces }) => pieces.u.length),
  nodes: onView((p, q) => exactValue(plane, p, q), view, 9).map((row) => [...row]),
  near: exactOnView(near, view, 9).map((row) => [...row]),
  exact: points.map(([p, q]) => exactValue(plane, p, q)),
  grid: points.map(([p, q]) => interpolated(loss, t, p, q)),
  lines: kinkLines(near, view),
};
console.log(JSON.stringify(found));
