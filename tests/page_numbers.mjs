// Reads problems from standard input and writes what the page's arithmetic finds: see test_page_numbers.py.

import { argv, stdin } from "node:process";
import { text as readAll } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${argv[2]}/`);
const [{ LOSSES }, objectives, lines, { checkGradient }, { Bottom }] = await Promise.all(
  ["losses", "objective", "line", "check", "bound"].map((name) => import(new URL(`${name}.mjs`, page))),
);

// JSON has no infinities.
const text = (x) => (Number.isFinite(x) ? x : String(x));

function answer({ loss, delta, reg, W, D, X, y, t, h, given, climb }) {
  const objective = { loss: LOSSES[loss], delta, reg }, data = { X, y };
  const ahead = lines.along(objective, W, D, data);
  const { low, high, value } = lines.minimum(ahead);
  const found = {
    scores: objectives.scores(W, X),
    losses: objectives.scores(W, X).map((s, i) => objective.loss.value(s, y[i], delta)),
    value: objectives.value(objective, W, data),
    gradient: objectives.gradient(objective, W, data),
    numerical: objectives.numericalGradient(objective, W, data, 1e-4),
    accuracy: objectives.accuracy(W, data),
    line_values: t.map((at) => ahead.value(at)),
    line_slopes: t.map((at) => ahead.slopes(at)),
    minimum: [low, high, value].map(text),
  };
  if (!objective.loss.hasHinges) return found;
  found.margins = objectives.scores(W, X).map((s, i) => objective.loss.margins(s, y[i], delta));
  found.kinks = ahead.kinks().map((kink) => kink.t);
  if (h) found.check = checkGradient(objective, W, data, given, h);
  if (climb) {
    const bottom = new Bottom(objective, data, W.length);
    bottom.climb(climb);
    const { lower, upper, best, W: lowest } = bottom;
    found.bottom = { lower, upper, slopes: best, W: lowest };
  }
  return found;
}

console.log(JSON.stringify(JSON.parse(await readAll(stdin)).map(answer)));
