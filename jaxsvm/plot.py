"""Arrays in, matplotlib figures out, in one style; nothing is computed here.

Every function returns a `matplotlib.figure.Figure` that belongs to no window, so a script, a
notebook and a test use them alike. Colours tell apart under the common colour blindnesses:
Okabe and Ito's for lines, viridis for a surface, a blue-to-red diverging map for signed weights.
Importing jaxsvm does not import this module; it needs matplotlib.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects, rcsetup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from jaxsvm.files import atomic_file

# Okabe & Ito (2008), in an order whose neighbours differ in lightness as well as in hue; grey is in
# the place of their yellow, which is hardly seen on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#777777")
STYLE: dict[str, Any] = {
    # Neighbours differ in colour and in dashes, so that one that lies on another hides it nowhere.
    "axes.prop_cycle": rcsetup.cycler(color=2 * COLORS)
    + rcsetup.cycler(linestyle=[*4 * ["-", "--"], *4 * ["--", "-"]]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": "medium",
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "font.size": 11.0,
    # Without an edge, and nothing that is drawn shines through it.
    "legend.facecolor": "white",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.9,
    "legend.fontsize": "small",
    "lines.linewidth": 1.6,
    "figure.dpi": 144.0,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 144.0,
    "svg.hashsalt": "jaxsvm",  # the same names inside for the same figure
    "image.cmap": "viridis",
}
SIZE = (5.2, 3.7)  # inches
# Names that may be beside the curves, inside the axes.
MOST_INSIDE = 4
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# At the ends of paths, and of points of a kind.
MARKERS = "osD^vP*X"
# Of a heat map: names on an axis at most, letters of a name, and rows or columns of which each cell
# is labelled.
MOST_NAMES, LONGEST_NAME, MOST_CELLS = 40, 30, 25


@contextmanager
def style() -> Iterator[None]:
    """Apply the style inside the block, whatever the reader's own matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure as SVG or PNG, atomically and without a date in it; return the path.

    Args:
        figure: of this module.
        path: whose suffix is .svg, or else the file is PNG.

    Raises:
        OSError: the folder is not there or cannot be written.
    """
    path = Path(path)
    kind, undated = ("svg", "Date") if path.suffix == ".svg" else ("png", "Software")
    with style(), atomic_file(path) as file, _laid_out(figure, kind):
        figure.savefig(file, format=kind, metadata={undated: None})
    return path


@contextmanager
def _laid_out(figure: Figure, kind: str) -> Iterator[None]:
    """Lay a figure out, and leave it so inside the block.

    matplotlib would draw all of it once only to lay it out, and again to save it.
    """
    engine, canvas = figure.get_layout_engine(), figure.canvas
    # The widths of texts are those of the kind of file.
    (FigureCanvasSVG if kind == "svg" else FigureCanvasAgg)(figure)
    if engine is not None:
        engine.execute(figure)
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.set_canvas(canvas)


def lines(
    series: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    xscale: str = "linear",
    yscale: str = "linear",
    marker: str = "",
    horizontal: Mapping[str, float] | None = None,
    vertical: Mapping[str, float] | None = None,
    step: bool = False,
    points: Mapping[str, tuple[Any, Any]] | None = None,
    dashed: Mapping[str, tuple[Any, Any]] | None = None,
    ylim: tuple[float, float] | None = None,
) -> Figure:
    """Draw named curves ``(x, y)``, each with an optional band ``(low, high)`` around it.

    Args:
        series: label to (x, y), both (num,).
        xlabel: with its unit.
        ylabel: with its unit.
        title: one line, or nothing.
        bands: label of a series to (low, high), both (num,); such as its quartiles over seeds.
        xscale: "linear", "log" or "symlog".
        yscale: the same.
        marker: matplotlib's name of a marker at each point; none by default.
        horizontal: label to the height of a dotted line.
        vertical: label to the place of a dotted line.
        step: draw stairs, each value holding until the next x.
        points: label to (x, y) of marks on their own, such as the few that a table has.
        dashed: label to (x, y) of a thin black curve, such as an asymptote or a chord.
        ylim: the lowest and the highest y that are drawn; by default all.

    Returns:
        The figure; its only axes are ``figure.axes[0]``.
    """
    with style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_subplot()
        for label, (x, y) in series.items():
            (line,) = ax.plot(
                x, y, marker=marker, markersize=4, label=label,
                drawstyle="steps-post" if step else "default",
            )  # fmt: skip
            # Dashes lie on top: what they cover is seen between them.
            line.set_zorder(2.0 + 0.1 * line.is_dashed())
            if bands and label in bands:
                low, high = bands[label]
                ax.fill_between(
                    x, low, high, color=line.get_color(), alpha=0.2, linewidth=0,
                    step="post" if step else None,
                )  # fmt: skip
        for k, (label, (x, y)) in enumerate((dashed or {}).items()):
            dashes = ((4, 2), (1, 1.5))[k % 2]
            ax.plot(x, y, color="#000000", linestyle=(0, dashes), linewidth=1.2, label=label)
        for marked, (label, (x, y)) in zip(cycle(MARKERS), (points or {}).items(), strict=False):
            # Black, because a colour would be that of one of the curves.
            look: dict[str, Any] = {"color": "#000000", "markersize": 6, "zorder": 3}
            ax.plot(x, y, marker=marked, linestyle="", label=label, **look)
        _mark(ax, horizontal or {}, vertical or {})
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xscale=xscale, yscale=yscale, ylim=ylim)
        _label_decades(ax)
        if (named := len(ax.get_legend_handles_labels()[1])) > MOST_INSIDE:
            # Below the axes, where they cover nothing.
            figure.set_size_inches(SIZE[0], SIZE[1] + 0.12 * named)
            figure.legend(loc="outside lower center", ncols=2)
        elif named > 1:
            ax.legend()
        return figure


def _label_decades(ax: Any) -> None:
    """On a logarithmic axis say 10⁻¹, 10⁰, 10¹, ...; of two decades or less 1, 2, 5, 10, ..."""
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() != "log":
            continue
        if high < 100 * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        else:
            axis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(value)))


def _power_of_ten(value: float) -> str:
    """Return a decade as text, which is drawn in a tenth of the time of a formula."""
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS) if value > 0 else ""


def histogram(
    values: Mapping[str, Any],
    *,
    xlabel: str,
    title: str = "",
    bins: int = 40,
    curves: Mapping[str, tuple[Any, Any]] | None = None,
    vertical: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the densities of named samples, with theory's curves ``(x, density)`` and marks on top.

    Args:
        values: label to a sample (num,).
        xlabel: with its unit.
        title: one line, or nothing.
        bins: how many, shared by all samples.
        curves: label to (x, density).
        vertical: label to the place of a dotted line, such as an expectation.

    Returns:
        The figure.
    """
    with style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_subplot()
        # In float64: between float32 numbers that differ in the last digits no bin would fit.
        every = np.concatenate([np.ravel(sample) for sample in values.values()]).astype(float)
        edges = np.histogram_bin_edges(every, bins=bins).tolist()
        for k, (label, sample) in enumerate(values.items()):
            # The first is filled and the others are outlines, which hide nothing.
            look: dict[str, Any] = {"alpha": 0.45, "color": COLORS[0]}
            if k:
                look = {"histtype": "step", "linewidth": 1.8, "color": COLORS[k % len(COLORS)]}
            ax.hist(np.ravel(sample), bins=edges, density=True, label=label, **look)
        for label, (x, density) in (curves or {}).items():
            ax.plot(x, density, color="#000000", label=label)
        _mark(ax, {}, vertical or {})
        ax.locator_params(axis="x", nbins=6)  # wide numbers must not meet
        ax.set(xlabel=xlabel, ylabel="density", title=title)
        ax.legend()
        return figure


def plane(
    a: Any,
    b: Any,
    values: Any,
    *,
    xlabel: str,
    ylabel: str,
    label: str,
    title: str = "",
    levels: int = 12,
    paths: Mapping[str, Any] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    arrow: tuple[tuple[float, float], tuple[float, float]] | None = None,
    segments: Sequence[Any] = (),
    dashes: Sequence[Any] = (),
    cmap: str = "viridis",
    zoom: tuple[float, float, float, float] | None = None,
) -> Figure:
    """Draw a surface over a plane as colours (dark low, light high) with contours.

    Args:
        a: (n,) equally spaced coordinates along the first direction, the horizontal axis; n ≥ 2.
        b: (m,) the same along the second, the vertical axis; m ≥ 2.
        values: (n, m), ``values[i, j]`` at (a[i], b[j]); non-finite cells stay blank.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.
        label: of the colour bar, with its unit.
        title: one line, or nothing.
        levels: how many contours; 0 for none.
        paths: label to (k, 2) points joined by a line, its end marked, such as an optimizer's. All
            begin where the first one does, which is marked too.
        points: label to (a, b) of a marked point.
        arrow: (start, end) in the coordinates of the plane.
        segments: straight lines, each (2, 2): kinks, say.
        dashes: the same, white and dashed: where a line goes on, say.
        cmap: a matplotlib colour map.
        zoom: (left, right, bottom, top) of a part that is drawn once more, larger, in the corner;
            only with ``paths``.

    Returns:
        The figure; its first axes hold the plane.
    """
    with style():
        figure = Figure(figsize=(SIZE[0], 4.1 + 0.8 * bool(paths)))
        ax = figure.add_subplot()
        ax.grid(False)
        surface = np.ma.masked_invalid(np.asarray(values).T)
        # An image, not a mesh: a mesh of a million nodes takes matplotlib many seconds.
        half = 0.5 * (a[-1] - a[0]) / (len(a) - 1), 0.5 * (b[-1] - b[0]) / (len(b) - 1)
        mesh = ax.imshow(
            surface, cmap=cmap, origin="lower", aspect="auto", interpolation="bilinear",
            extent=(a[0] - half[0], a[-1] + half[0], b[0] - half[1], b[-1] + half[1]),
        )  # fmt: skip
        if levels:
            ax.contour(
                a, b, surface, levels=levels,
                colors="white", linestyles="solid", linewidths=0.5, alpha=0.7,
            )  # fmt: skip
        for segment in segments:
            (x0, y0), (x1, y1) = segment
            ax.plot([x0, x1], [y0, y1], "-", color="white", linewidth=0.8)
        for (x0, y0), (x1, y1) in dashes:
            ax.plot([x0, x1], [y0, y1], color="white", linestyle="--", linewidth=1.2)
        if paths:
            _draw_paths(ax, paths, 1.0)
        for name, (x, y) in (points or {}).items():
            look: dict[str, Any] = {"color": "black", "markeredgecolor": "white", "zorder": 3}
            ax.plot([x], [y], marker="o", linestyle="", label=name, **look)
        if arrow is not None:
            ax.annotate(
                "", xy=arrow[1], xytext=arrow[0],
                arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 1.6},
            )  # fmt: skip
        if paths:  # outside, where it covers nothing
            figure.legend(loc="outside lower center", ncols=3)
        elif points:
            ax.legend(facecolor="#333333", labelcolor="white")
        figure.colorbar(mesh, ax=ax, label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
        ax.locator_params(nbins=6)
        ax.set_xlim(np.min(a), np.max(a))
        ax.set_ylim(np.min(b), np.max(b))
        if zoom is not None and paths:
            _draw_zoom(ax, mesh, paths, zoom)
        return figure


def _draw_paths(ax: Any, paths: Mapping[str, Any], size: float) -> None:
    """Draw paths over a plane, each with a mark of its own at its end, and their common start."""
    # A white rim keeps every colour apart from the surface's own.
    rim = [patheffects.withStroke(linewidth=2.4 * size, foreground="white")]
    looks = zip(paths.items(), cycle(COLORS[1:]), cycle(MARKERS), strict=False)
    for (name, path), color, marker in looks:
        ax.plot(*path.T, "-", color=color, linewidth=1.2 * size, path_effects=rim)
        end: dict[str, Any] = {"markeredgecolor": "white", "markersize": 8 * size, "zorder": 3}
        ax.plot(*path[-1:].T, marker, color=color, label=name, **end)
    start = next(iter(paths.values()))[:1].T
    ring = [patheffects.withStroke(linewidth=4 * size, foreground="black")]
    ax.plot(
        *start, "o", markerfacecolor="none", markeredgecolor="white", markersize=11 * size,
        markeredgewidth=2 * size, zorder=4, path_effects=ring, label="start of all",
    )  # fmt: skip


def _draw_zoom(ax: Any, mesh: Any, paths: Mapping[str, Any], zoom: Sequence[float]) -> None:
    """Draw a part of a plane once more in the corner, with lines to where it is from."""
    left, right, bottom, top = zoom
    corner = ax.inset_axes([0.53, 0.62, 0.45, 0.36])
    corner.imshow(
        mesh.get_array(), cmap=mesh.get_cmap(), norm=mesh.norm, origin="lower", aspect="auto",
        interpolation="bilinear", extent=mesh.get_extent(),
    )  # fmt: skip
    _draw_paths(corner, paths, 0.8)
    corner.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    for spine in corner.spines.values():
        spine.set(visible=True, edgecolor="white", linewidth=1.5)
    ax.indicate_inset_zoom(corner, edgecolor="white")


def save_walks(figure: Figure, walks: Mapping[str, Any], path: Path | str) -> Path:
    """Write a GIF in which all walks are walked at once over a `plane`, and return the path.

    Args:
        figure: of `plane`, without paths; what is drawn on it stays.
        walks: label to (k, 2) points, k the same for all; a frame a point.
        path: of the file, which is written atomically.

    Raises:
        OSError: the folder is not there or cannot be written.
    """
    with style():
        ax, canvas = figure.axes[0], FigureCanvasAgg(figure)
        artists = []
        for walk, color, marker in zip(
            walks.values(), cycle(COLORS[1:]), cycle(MARKERS), strict=False
        ):
            end: dict[str, Any] = {"markeredgecolor": "white", "markersize": 9, "animated": True}
            (trail,) = ax.plot([], [], "-", color=color, linewidth=1.2, animated=True)
            (hiker,) = ax.plot([], [], marker, color=color, **end)
            artists.append((trail, hiker, np.asarray(walk)))
        handles = [hiker for _, hiker, _ in artists]
        figure.legend(handles, list(walks), loc="outside lower center", ncols=3)
        canvas.draw()
        land, frames = canvas.copy_from_bbox(figure.bbox), []
        for k in range(len(next(iter(walks.values())))):
            canvas.restore_region(land)
            for trail, hiker, walk in artists:
                trail.set_data(*walk[: k + 1].T)
                hiker.set_data(*walk[k : k + 1].T)
                ax.draw_artist(trail)
                ax.draw_artist(hiker)
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    # One palette for all, which leaves no colour out: the marks are few pixels.
    palette = frames[-1].quantize(method=Image.Quantize.MAXCOVERAGE)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    looks: Any = {"duration": [60] * (len(frames) - 1) + [2000], "loop": 0}  # milliseconds
    with atomic_file(path) as file:
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], **looks)
    return Path(path)


def panels(
    parts: Sequence[tuple[Mapping[str, tuple[Any, Any]], str]], *, xlabel: str, ylabel: str
) -> Figure:
    """Draw small line plots, two in a row, each with its own axes: the same thing ever nearer.

    Args:
        parts: (label to (x, y), title) of each.
        xlabel: with its unit.
        ylabel: with its unit.

    Returns:
        The figure.
    """
    with style():
        rows = -(-len(parts) // 2)
        figure = Figure(figsize=(SIZE[0], 2.6 * rows))
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for ax in axes[len(parts) :]:
            ax.axis("off")
        for ax, (series, title) in zip(axes, parts, strict=False):
            for label, (x, y) in series.items():
                ax.plot(x, y, label=label)
            ax.ticklabel_format(scilimits=(-2, 3), useMathText=True)
            ax.locator_params(axis="x", nbins=4)
            ax.set(title=title)
        figure.supxlabel(xlabel, fontsize="medium")
        figure.supylabel(ylabel, fontsize="medium")
        return figure


def images(
    pictures: Any,
    names: Sequence[str],
    *,
    columns: int = 5,
    title: str = "",
    cmap: str = "gray",
    limits: tuple[float, float] | None = None,
    label: str = "",
) -> Figure:
    """Draw a grid of pictures with their names.

    Args:
        pictures: (K, H, W) of numbers, or (K, H, W, 3) of colours in [0, 1].
        names: K titles.
        columns: pictures in a row.
        title: one line above all.
        cmap: the colour map of numbers.
        limits: numbers that the ends of the colour map stand for; also draws a colour bar.
        label: of the colour bar.

    Returns:
        The figure.
    """
    rows = -(-len(names) // columns)
    with style():
        figure = Figure(figsize=(1.1 * columns, 1.4 * rows + 0.4 * bool(title)))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        low, high = limits or (None, None)
        for ax, picture, name in zip(axes, pictures, names, strict=False):
            shown = ax.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
            ax.set_title(_verbatim(name), fontsize="small")
        for ax in axes:
            ax.axis("off")
        if limits is not None:
            figure.colorbar(shown, ax=list(axes), label=label, shrink=0.8)
        figure.suptitle(title)
        return figure


def heat_map(
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    label: str,
    title: str = "",
    cmap: str = "viridis",
    limits: tuple[float, float] | None = None,
    cells: Any = None,
) -> Figure:
    """Draw a matrix as colours, with the names of its rows and columns.

    Args:
        values: (n, m).
        rows: n names, from the top, long ones cut; every so many are shown where there are many.
        columns: m names, likewise.
        xlabel: what the columns are.
        ylabel: what the rows are.
        label: of the colour bar, with its unit.
        title: one line, or nothing.
        cmap: a matplotlib colour map.
        limits: numbers that the ends of the colour map stand for.
        cells: (n, m) text to write on the colours; left out where it would not fit.

    Returns:
        The figure; its first axes hold the matrix.
    """
    (n, m), (low, high) = np.shape(values), limits or (None, None)
    longest = min(max(map(len, columns)), LONGEST_NAME)
    turned = longest > 3
    with style():
        below = 0.08 * longest if turned else 0.0
        size = (2.6 + min(max(0.34 * m, 2.4), 9.0), 1.4 + below + min(max(0.34 * n, 1.6), 9.0))
        figure = Figure(figsize=size)
        ax = figure.add_subplot()
        ax.grid(False)
        shown = ax.imshow(
            values, cmap=cmap, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
        )
        for axis, names in ((ax.xaxis, columns), (ax.yaxis, rows)):
            place = range(0, len(names), -(-len(names) // MOST_NAMES))
            axis.set_ticks(place, [_verbatim(_cut(names[i])) for i in place], fontsize="small")
        ax.tick_params(axis="x", rotation=90 if turned else 0)
        if cells is not None and max(n, m) <= MOST_CELLS:
            for (i, j), value in np.ndenumerate(shown.norm(values)):
                # Light on the dark half of the map, dark on the light half.
                color = "white" if value < 0.5 else "black"
                ax.text(j, i, cells[i][j], ha="center", va="center", color=color, fontsize="small")
        figure.colorbar(shown, ax=ax, label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
        return figure


def bars(
    names: Sequence[str],
    heights: Any,
    *,
    xlabel: str,
    ylabel: str = "",
    title: str = "",
    errors: Any = None,
    vertical: Mapping[str, float] | None = None,
    xscale: str = "linear",
    kinds: Sequence[str] = (),
) -> Figure:
    """Draw one horizontal bar a name, the first on top, with optional error bars.

    Args:
        names: K labels.
        heights: (K,) lengths of the bars.
        xlabel: what the length means, with its unit.
        ylabel: what the names are.
        title: one line, or nothing.
        errors: (2, K) distances below and above, ≥ 0.
        vertical: label to the place of a dotted line.
        xscale: "linear" or "log".
        kinds: K names of kinds, each with a colour of its own; by default all are alike.

    Returns:
        The figure.
    """
    with style():
        # What is named beside the bars takes room below them.
        named = len(vertical or {}) + len(set(kinds))
        figure = Figure(figsize=(SIZE[0], 1.0 + 0.36 * len(names) + 0.2 * named))
        ax = figure.add_subplot()
        place = np.arange(len(names))
        colors = dict(zip(dict.fromkeys(kinds), cycle(COLORS), strict=False))
        drawn = ax.barh(
            place, heights, xerr=errors, ecolor="#333333", capsize=3,
            color=[colors[kind] for kind in kinds] or COLORS[0],
        )  # fmt: skip
        for kind in colors:
            drawn.patches[list(kinds).index(kind)].set_label(kind)
        ax.set_yticks(place, [_verbatim(name) for name in names])
        ax.invert_yaxis()
        ax.grid(False, axis="y")
        _mark(ax, {}, vertical or {})
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xscale=xscale)
        if named:
            figure.legend(loc="outside lower center", ncols=2)
        return figure


def roofline(
    points: Mapping[str, tuple[Any, Any]], limit: tuple[Any, Any], *, title: str = ""
) -> Figure:
    """Draw measured rates under the two limits of a machine.

    Args:
        points: who to (operations for each byte moved, GFLOP/s), each (num,).
        limit: (operations for each byte, the GFLOP/s that the machine can reach there).
        title: one line, or nothing.

    Returns:
        The figure.
    """
    with style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_subplot()
        ax.plot(*limit, color="black", label="limit, measured")
        for k, (label, (x, y)) in enumerate(points.items()):
            ax.scatter(x, y, label=label, color=COLORS[k % 6], marker="osD^vP"[k % 6])
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:g}")
        ax.set(xlabel="operations for each byte moved", ylabel="GFLOP/s", title=title)
        ax.legend()
        return figure


def _cut(name: str) -> str:
    """Return a name of at most ``LONGEST_NAME`` letters."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _verbatim(text: str) -> str:
    """Return a name from outside as matplotlib draws it verbatim: a dollar begins no formula."""
    return text.replace("$", r"\$")


def _mark(ax: Any, horizontal: Mapping[str, float], vertical: Mapping[str, float]) -> None:
    """Draw named reference lines, each with a colour from the far end of the palette."""
    colors = iter(COLORS[6:1:-1])
    for (label, y), color in zip(horizontal.items(), colors, strict=False):
        ax.axhline(y, linestyle=":", color=color, label=label)
    for (label, x), color in zip(vertical.items(), colors, strict=False):
        ax.axvline(x, linestyle="--", linewidth=1.2, color=color, label=label)
