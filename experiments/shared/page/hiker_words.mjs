// What the hiker's page says in words and numbers: where the hiker is, and how far from the bottom.

import { number, precise, role } from "./dom.mjs";
import { accuracy, dataLoss, penalty, value } from "./objective.mjs";
import { CLASSES } from "./settings.mjs";

/** Fill the facts; `bottom` is a climbed bound or null, `ahead` what `drawLine` found. */
export function tell(hiker, { bottom, ahead, proposal }) {
  const { root, walk, objective, data } = hiker, { W } = walk;
  const f = value(objective, W, data);
  const say = (name, text) => {
    const element = role(root, name);
    if (element.textContent !== text) element.textContent = text;
  };
  say("objective", number(f, 4));
  say("parts", `${number(dataLoss(objective, W, data), 4)} data + ${number(penalty(objective, W), 4)} penalty`);
  say("accuracy", `${Math.round(100 * accuracy(W, data))} %`);
  say("steps", String(walk.step));
  say("cost", `${number(walk.losses, 0)} losses, ${number(walk.gradients, walk.gradients % 1 ? 1 : 0)} gradients`);
  say("bound", bottom ? number(bottom.lower, 4) : "0");
  const far = bottom ? `at most ${precise(Math.max(0, f - bottom.lower))} above the bottom` : whyNoBound(objective);
  say("above", far);
  const where = Number.isFinite(ahead.best) ? `the lowest point is ${number(ahead.best, 3)} away` : "the line falls for ever";
  const kinks = ahead.kinks === 1 ? "1 kink" : `${ahead.kinks} kinks`;
  const next = proposal.accepted ? `the next step goes ${number(ahead.step, 3)}` : "the next step is refused: it is no lower";
  say("line-says", `${stopped(hiker)}${kinks} in view; ${where}, ${next}.`);
  say("check-says", hiker.check ? verdicts(hiker.check, hiker.settings.h) : "");
}

/** Say where the hiker is to who cannot see it. */
export function announce(hiker) {
  const { root, walk, objective, data } = hiker;
  const f = value(objective, walk.W, data);
  role(root, "status").textContent =
    `${stopped(hiker)}Step ${walk.step}: objective ${number(f, 4)}, ${role(root, "above").textContent}.`;
}

const stopped = ({ end }) => (end ? `Stopped: ${end}. ` : "");

function whyNoBound({ reg }) {
  return reg > 0
    ? "softmax has no hinges, so this page has no bound for it but 0"
    : "without a penalty nothing holds W; the bound known is 0";
}

/** What a gradient check found, and which hinges are in the way. */
export function verdicts(check, h) {
  const every = check.flat(), count = (word) => every.filter((c) => c.verdict === word).length;
  const crossed = every.filter((c) => c.verdict !== "smooth" && c.crossed);
  const names = crossed.map(({ crossed: { i, j } }) => `point ${i + 1}, ${CLASSES[j]}`);
  const way = names.length ? ` In the way: the hinges of ${[...new Set(names)].join("; ")}.` : "";
  const tail = count("wrong") ? "" : " Every one is a right gradient.";
  return `With h = ${h}: ${count("smooth")} smooth, ${count("kink")} at a kink, ${count("wrong")} wrong.${way}${tail}`;
}
