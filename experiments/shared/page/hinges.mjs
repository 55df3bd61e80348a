// A maximum of lines as a sum of hinges, as in jaxsvm/core/hinges.py.

/**
 * max(0, max_k offset_k + t·slope_k)**power as a constant and terms linear·h + square·h² of hinges
 * h = max(0, offset + t·slope).
 *
 * Sort the lines, the line 0 among them, by slope. The maximum has at least the slope r_l from
 *
 *     T_l = max_{a<l} min_{b≥l} (o_a − o_b) / (r_b − r_a)
 *
 * on, so its slope jumps by r_l − r_{l−1} at T_l: a hinge on one side of the flat piece.
 */
export function envelope(lines, power, slack) {
  const sorted = [{ j: null, offset: 0, slope: 0 }, ...lines].sort((a, b) => a.slope - b.slope);
  const crossing = (a, b) => {
    if (b.slope > a.slope) return (a.offset - b.offset) / (b.slope - a.slope);
    // Equal slopes: b is above a everywhere or nowhere.
    return b.offset >= a.offset ? -Infinity : Infinity;
  };
  const highest = (t) => Math.max(...sorted.map((line) => line.offset + t * line.slope));
  const kinks = [];
  for (let l = 1; l < sorted.length; l++) {
    const jump = sorted[l].slope - sorted[l - 1].slope;
    if (!(jump > 0)) continue;
    const above = sorted.slice(l);
    const overtaken = sorted.slice(0, l).map((a) => Math.min(...above.map((b) => crossing(a, b))));
    const falling = sorted[l].slope <= 0;
    const j = falling ? sorted[l - 1].j : sorted[l].j;
    const turn = Math.abs(sorted[l].slope + sorted[l - 1].slope);
    kinks.push({ t: Math.max(...overtaken), jump, turn, falling, j });
  }
  const last = Math.max(...kinks.filter((k) => k.falling).map((k) => k.t));
  const first = Math.min(...kinks.filter((k) => !k.falling).map((k) => k.t));
  // The flat piece, or the lowest point: where t = 0 is not in it, the end that is nearer.
  const lowest = highest(Math.min(Math.max(0, last), Math.max(first, last)));
  const terms = kinks.map(({ t, jump, turn, falling, j }) => {
    const slope = falling ? -1 : 1;
    const [linear, square] = power === 1 ? [jump, 0] : [2 * highest(t) * jump, jump * turn];
    return { j, offset: -slope * t, slope, linear, square, slack: (2 * slack) / jump };
  });
  return { constant: lowest ** power, terms };
}
