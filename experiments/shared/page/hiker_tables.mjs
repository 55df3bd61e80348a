// The numbers: W with its gradient beneath and arrows to nudge it, and each point's scores, margins
// and loss. Cells are made once and filled at every step.

import { make, number, role, set } from "./dom.mjs";
import { CLASSES } from "./settings.mjs";

const FEATURES = ["x₁", "x₂", "bias"];

export class WeightsTable {
  constructor(root, { nudge }) {
    const body = role(root, "weights");
    this.cells = CLASSES.map((name, k) => {
      const row = make(body, "tr");
      make(row, "th", { scope: "row", class: `c${k}` }, name);
      return FEATURES.map((feature, d) => {
        const cell = make(row, "td");
        const button = (sign, mark, word) => {
          const made = make(cell, "button", { type: "button", class: "nudge", "aria-label": `${name} ${feature} ${word}` }, mark);
          made.addEventListener("click", (event) => nudge(k, d, sign * (event.shiftKey ? 0.01 : 0.1)));
        };
        button(1, "▲", "up");
        const weight = make(cell, "b");
        const slope = make(cell, "span", { class: "gradient" });
        const verdict = make(cell, "span", { class: "verdict" });
        button(-1, "▼", "down");
        return { weight, slope, verdict };
      });
    });
  }

  draw(W, gradient, check) {
    this.cells.forEach((row, k) => row.forEach(({ weight, slope, verdict }, d) => {
      weight.textContent = number(W[k][d], 2);
      slope.textContent = number(gradient[k][d], 3);
      const found = check?.[k][d];
      verdict.textContent = found?.verdict ?? "";
      set(verdict, { class: `verdict ${found?.verdict ?? ""}` });
    }));
  }
}

export class ExamplesTable {
  constructor(root) {
    this.body = role(root, "examples");
    this.rows = [];
  }

  draw({ points, scores, margins, losses, predicted }) {
    while (this.rows.length > points.length) this.rows.pop().row.remove();
    while (this.rows.length < points.length) this.rows.push(this.addRow());
    this.rows.forEach(({ row, cells }, i) => {
      const [a, b, k] = points[i];
      const shown = [
        i + 1, CLASSES[k], number(a, 2), number(b, 2),
        ...scores[i].map((s) => number(s, 2)),
        ...CLASSES.map((_, j) => (margins && (j !== k || margins[i][j] !== 0) ? number(margins[i][j], 2) : "–")),
        number(losses[i], 3),
      ];
      cells.forEach((cell, n) => {
        if (cell.textContent !== String(shown[n])) cell.textContent = shown[n];
        const j = n - 7;
        if (j >= 0 && j < 3) cell.className = margins?.[i][j] > 0 ? "violated" : "";
      });
      row.className = predicted[i] === k ? "" : "wrong";
      cells[1].className = `c${k}`;
    });
  }

  addRow() {
    const row = make(this.body, "tr");
    const cells = [make(row, "th", { scope: "row" }), ...Array.from({ length: 10 }, () => make(row, "td"))];
    return { row, cells };
  }
}
