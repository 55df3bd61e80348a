// A surface over a square grid: its colours, its contour lines, its levels.

// Viridis, from dark to light; even to the eye and to the colour-blind.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
];

export function colour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2), rest = place - low;
  return VIRIDIS[low].map((c, n) => c + rest * (VIRIDIS[low + 1][n] - c));
}

/**
 * Return the function that takes a value to its share of the way from low to high. A bowl's is by
 * the root of the height, so that its bottom shows.
 */
export function shareOf([low, high], isBowl) {
  const share = (v) => (v - low) / (high - low || 1);
  return isBowl ? (v) => Math.sqrt(Math.max(0, share(v))) : share;
}

/**
 * Paint values[i][j], i along x and j along y (upwards), on a canvas of as many pixels.
 * `share` takes a value to its place among the colours, in [0, 1]; NaN has no colour.
 */
export function paint(canvas, values, share) {
  const [nx, ny] = [values.length, values[0].length];
  Object.assign(canvas, { width: nx, height: ny });
  const context = canvas.getContext("2d"), image = context.createImageData(nx, ny);
  for (let i = 0; i < nx; i++) {
    for (let j = 0; j < ny; j++) {
      const place = share(values[i][j]);
      if (!Number.isNaN(place)) image.data.set([...colour(place), 255], 4 * ((ny - 1 - j) * nx + i));
    }
  }
  context.putImageData(image, 0, 0);
}

/** The least and the largest number in a grid. */
export function range(values) {
  let low = Infinity, high = -Infinity;
  for (const row of values) {
    for (const v of row) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  return [low, high];
}

/** Where values[i][j] cross a level, as an SVG path (marching squares); x and y map i and j. */
export function contour(values, level, x, y) {
  const parts = [];
  for (let i = 0; i + 1 < values.length; i++) {
    for (let j = 0; j + 1 < values[0].length; j++) {
      // Most cells lie on one side.
      const above = (values[i][j] > level) + (values[i + 1][j] > level) + (values[i + 1][j + 1] > level) + (values[i][j + 1] > level);
      if (above % 4 === 0) continue;
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const heights = corners.map(([a, b]) => values[a][b] - level);
      const cuts = [];
      for (let n = 0; n < 4; n++) {
        const u = heights[n], v = heights[(n + 1) % 4];
        // Outside a grid there is nothing.
        if (u > 0 === v > 0 || Number.isNaN(u + v)) continue;
        const s = u / (u - v), [a, b] = corners[n], [c, d] = corners[(n + 1) % 4];
        cuts.push(`${x(a + s * (c - a)).toFixed(1)} ${y(b + s * (d - b)).toFixed(1)}`);
      }
      for (let n = 0; n + 1 < cuts.length; n += 2) parts.push(`M${cuts[n]}L${cuts[n + 1]}`);
    }
  }
  return parts.join("");
}

/** Levels closer together towards the bottom, as between the contour lines of a bowl. */
export function levels(low, high, num = 12) {
  return Array.from({ length: num }, (_, n) => low + (high - low) * ((n + 0.5) / num) ** 2);
}
