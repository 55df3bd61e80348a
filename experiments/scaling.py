"""What would more devices bring? Measured on this machine, and predicted for one to be rented.

    python -m experiments.scaling
    python -m experiments.scaling --device-flops 19.5e12 --device-memory 2e12   # other hardware

The objective with its gradient, a mini-batch step and a block of local search are timed on 1, 2,
4 and 8 virtual CPU devices, in turns: with a fixed number of rows in all (strong scaling), and with
a fixed number for each device (weak scaling). The devices share this machine's cores, so more
devices than cores cannot make anything faster; the question is what sharing costs. A model
(`experiments.shared.cost_model`) is fitted to these times and tried on twice as many rows. The same
model with a data sheet's rates then predicts what one GPU, eight, and hundreds of hosts with eight
each would do: seconds and examples a second for every strategy, where it stops scaling, and why.
Hardware figures are assumed, and each is an option. The inputs are random bytes, so --dataset, --X
and --seeds change nothing.

Expected: on two cores nothing is twice as fast as on one device. A gradient loses little to
sharing, a mini-batch step on n devices is n times the work of one, and a local search is between.
Predicted: a full-batch gradient scales until the all-reduce of C·D floats takes as long as its
products; a random search scales nearly without end; what keeps every score on every device (local
search, `solve`) stops at the first network link.
Not part of the main job. A minute on two cores, compilation included. --devices changes nothing
here: --num-devices says which are timed.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from experiments.shared import options, runner
from experiments.shared.cost_model import Machine, Measured, fitted, modelled
from experiments.shared.device_crew import ONE_BLOCK, Case, measure
from experiments.shared.device_times import STEPS, Size
from experiments.shared.figures import LOG_LOG, Figures, Picture
from experiments.shared.forecast import end_of_scaling, predict
from experiments.shared.record import write_text
from experiments.shared.rented import STRATEGIES, SUMS, TODAY, Problem
from experiments.shared.report import Story
from experiments.shared.text import table
from jaxsvm import plot as draw
from jaxsvm.core.rows import layout
from jaxsvm.optimizers.identity import cores

# What the fields of a `Machine` are, in a report.
ASSUMED = {
    "flops": "operations a second that programs reach",
    "memory": "bytes a second of its memory that they reach",
    "capacity": "bytes of its memory for data",
    "host": "devices of a host",
    "link_bytes": "bytes a second to another device of the host",
    "link_latency": "seconds of a message to it",
    "network_bytes": "bytes a second to another host",
    "network_latency": "seconds of a message to it",
    "storage": "bytes a second from storage, its share of the host's",
    "call": "seconds of a call that does nothing",
}
Predicted = Annotated[int, options.power_of_two(2**20)]  # a number of devices
STORY = Story(
    "What would more devices bring?",
    r"""W is small and the data grow, so the rows of $X$ are laid over devices: each takes the
product with its own, and sums are exchanged in pairs. More devices divide the products. They do not
divide what every device has to receive, nor the seconds that a message takes. A sum of $C \cdot D$
floats is exchanged once for each doubling of the devices, so

$$\text{seconds} = \frac{\text{work}}{\text{devices}} + \log_2(\text{devices}) \left(\text{latency}
+ \frac{4\, C D}{\text{bandwidth}}\right) + \dots$$

and from some number on the second term is all there is. Where is that, for each strategy? It is
better known before machines are rented.""",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Time steps on virtual devices, fit the model, predict. Rates are a second and a device.

    Attributes:
        rows: Examples of strong scaling; weak scaling has as many on most devices.
        features: Weights of a class of what is timed, the bias included.
        classes: Of what is timed.
        num_devices: Virtual ones; powers of two, 1 among them.
        repeats: Timed calls of each.
        examples: Predicted numbers of examples.
        predicted_features: Features of what is predicted, a byte of an example each.
        predicted_classes: Its classes.
        batch: Its rows of a mini-batch on each device.
        trials: Its trials of a search that share a product.
        device_flops: Assumed: float32 operations of one device (H100 SXM, data sheet).
        device_memory: Assumed: bytes of its memory (the same).
        device_capacity: Assumed: bytes of its memory that data may fill (80 GB less a tenth).
        reached: Assumed: share of these two rates that programs reach.
        host: Assumed: devices of one host, a power of two.
        link_bytes: Assumed: bytes between two devices of a host (NVLink 4, data sheet, one way).
        link_latency: Assumed: seconds of a message between them.
        network_bytes: Assumed: bytes between two hosts, for each device (a port of 400 Gb/s).
        network_latency: Assumed: seconds of a message between hosts.
        storage: Assumed: bytes that each host reads from storage (several NVMe drives).
        call: Assumed: seconds of a call that does nothing.
        largest: Most devices that are predicted, a power of two.
    """

    rows: options.Count = 24_576
    features: Annotated[int, options.at_least(2)] = 3_073
    classes: Annotated[int, options.at_least(2)] = 10
    num_devices: Annotated[tuple[options.Devices, ...], options.distinct] = (1, 2, 4, 8)
    repeats: options.Count = 5
    examples: Annotated[tuple[options.Count, ...], options.distinct] = (1_200_000, 1_000_000_000)
    predicted_features: options.Count = 3_073
    predicted_classes: Annotated[int, options.at_least(2)] = 1_000
    batch: options.Count = 256
    trials: options.Count = 50
    device_flops: options.Positive = 67e12
    device_memory: options.Positive = 3.35e12
    device_capacity: options.Positive = 72e9
    reached: options.Positive = 0.5
    host: Predicted = 8
    link_bytes: options.Positive = 450e9
    link_latency: options.Positive = 5e-6
    network_bytes: options.Positive = 50e9
    network_latency: options.Positive = 15e-6
    storage: options.Positive = 10e9
    call: options.Positive = 50e-6
    largest: Predicted = 8_192

    measures_seconds: ClassVar[bool] = True
    is_for_one_process: ClassVar[str] = "it starts processes of its own"

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1 not in self.num_devices:
            raise ValueError(
                f"num_devices = {self.num_devices}: expected 1 among them, to compare with"
            )

    @property
    def problems(self) -> list[Problem]:
        """What is predicted."""
        size = self.predicted_classes, self.predicted_features, self.batch, self.trials
        return [Problem(N, *size) for N in self.examples]

    @property
    def machine(self) -> Machine:
        """The rates of one device to be rented."""
        return Machine(
            flops=self.reached * self.device_flops, memory=self.reached * self.device_memory,
            capacity=self.device_capacity, host=self.host, link_bytes=self.link_bytes,
            link_latency=self.link_latency, network_bytes=self.network_bytes,
            network_latency=self.network_latency, storage=self.storage / self.host, call=self.call,
        )  # fmt: skip


def run(config: Config) -> dict[str, Any]:
    asked = cases(config)
    timings, counted = measure(asked, config.repeats)
    for row in timings:
        row["held_out"] = row["rows"] == 2 * config.rows
    calls = [
        Measured(case.work, case.devices, row["core_seconds"])
        for case, row in zip(asked, timings, strict=True)
    ]
    used = [call for call, row in zip(calls, timings, strict=True) if not row["held_out"]]
    rates = fitted(used)
    for row, call in zip(timings, calls, strict=True):
        row["model"] = modelled(rates, call)
    with_gains(timings)
    return {
        "dataset": {
            "name": "random bytes", "classes": config.classes, "features": config.features - 1,
            "train": config.rows, "validation": 0, "test": 0,
        },
        "cores": cores(),
        "timings": timings,
        "counted": counted,
        "fitted_seconds": rates,
        "machine": config.machine._asdict(),
        "problems": [problem._asdict() for problem in config.problems],
        "predicted": predict(config.problems, config.machine, config.largest),
    }  # fmt: skip


def cases(config: Config) -> list[Case]:
    """Return everything that is timed: the rows of weak and strong scaling, and twice the latter.

    Raises:
        ValueError: there are too few rows to be laid over the devices.
    """
    a_device = config.rows // max(config.num_devices)
    found = []
    for devices in config.num_devices:
        for rows in dict.fromkeys([a_device * devices, config.rows, 2 * config.rows]):
            if layout(rows).segments < devices:
                raise ValueError(
                    f"rows = {config.rows}: {rows} of them cannot be laid over {devices} devices; "
                    "take more, or fewer devices"
                )
            size = Size(rows, config.classes, config.features)
            found += [Case(name, devices, size) for name in STEPS]
    return found


def with_gains(timings: Sequence[dict[str, Any]]) -> None:
    """Add to each row its gains over one device: in examples a second, and a core's second.

    One device has as many rows then; where that was not timed, as many as each of the devices.
    """
    one = {(row["name"], row["rows"]): row for row in timings if row["devices"] == 1}
    for row in timings:
        rows = row["rows"] if (row["name"], row["rows"]) in one else row["rows"] // row["devices"]
        alone = one[row["name"], rows]
        for gain, cost in (("speedup", "seconds"), ("efficiency", "core_seconds")):
            row[gain] = row["examples"] / row[cost] * alone[cost] / alone["examples"]


def chosen(rows: Sequence[dict[str, Any]], /, **of: Any) -> list[dict[str, Any]]:
    """Return the rows that are of all of these."""
    return [row for row in rows if of.items() <= row.items()]


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names in the rows, each once."""
    return list(dict.fromkeys(row["name"] for row in rows))


def plot(arrays: dict[str, Any]) -> Figures:
    figures: Figures = {"measured": Picture(
        measured_figure(arrays["timings"]),
        "Seconds of all cores together, for as many rows in all. Marks are measured, lines are the "
        "model. A line that stays level loses nothing to sharing; what rises is computed by every "
        "device again, or exchanged.",
        "Line chart on logarithmic axes: core seconds of a call against the number of virtual "
        "devices for three steps, measured marks near the model's lines.",
    )}  # fmt: skip
    for k, problem in enumerate(arrays["problems"], 1):
        rows = chosen(arrays["predicted"], N=problem["N"], how=TODAY)
        figures[f"predicted_{k}"] = Picture(
            predicted_figure(rows, f"{problem['N']:,} examples, {TODAY}"),
            f"Predicted, not measured: examples a second for {problem['N']:,} examples; higher is "
            "better. A mark is where twice the devices bring less than 1.4 times as much, and says "
            "what takes the time that devices do not divide. A curve begins where memory is large "
            "enough.",
            "Line chart on logarithmic axes: predicted examples a second against the number of "
            f"devices, one curve for each of {', '.join(names(rows))}, marked where it stops "
            "scaling.",
        )  # fmt: skip
    return figures


def measured_figure(timings: Sequence[dict[str, Any]]) -> Any:
    """Draw what was measured with the rows of strong scaling, and what the model says of it."""
    rows = max(row["rows"] for row in chosen(timings, held_out=False))
    series, points = {}, {}
    for name in names(timings):
        found = chosen(timings, name=name, rows=rows)
        x = np.array([row["devices"] for row in found])
        series[f"{name}, the model"] = x, np.array([row["model"] for row in found])
        points[f"{name}, measured"] = x, np.array([row["core_seconds"] for row in found])
    return draw.lines(
        series, points=points, xlabel="virtual devices", ylabel="seconds of all cores, of a call",
        title=f"Measured on {rows:,} rows, and the model", **LOG_LOG,
    )  # fmt: skip


def predicted_figure(rows: Sequence[dict[str, Any]], title: str) -> Any:
    """Draw the predicted examples a second of every strategy, and where each stops scaling."""
    series = {}
    ends: dict[str, tuple[list[float], list[float]]] = {}
    for name in names(rows):
        found = chosen(rows, name=name)
        x, y = ([row[key] for row in found] for key in ("devices", "examples_a_second"))
        series[name] = np.array(x), np.array(y)
        if end := end_of_scaling(found):
            at = ends.setdefault(f"stops: {end['cause']}", ([], []))
            at[0].append(end["devices"])
            at[1].append(end["examples_a_second"])
    return draw.lines(
        series, points=ends, xlabel="devices", ylabel="examples a second", title=title, **LOG_LOG
    )


def report(arrays: dict[str, Any]) -> str:
    timings, count = arrays["timings"], arrays["cores"]
    fastest = max(timings, key=lambda row: row["speedup"])
    within, beyond = (
        100 * max(abs(row["model"] / row["core_seconds"] - 1) for row in found)
        for found in (chosen(timings, held_out=held) for held in (False, True))
    )
    return (
        f"On {count} cores the most that virtual devices gain over one is a factor of "
        f"{fastest['speedup']:.2f} ({fastest['name']}, {fastest['devices']} devices). The model "
        f"misses the core seconds that it was fitted to by {within:.0f} % at most, and those of "
        f"twice as many rows by {beyond:.0f} %.\n\n[[measured]]\n\n"
        f"Virtual devices share the {count} cores of this machine, so more of them than cores "
        "cannot make anything faster. Speed-up is in examples a second over one device, with as "
        "many rows, or, where the rows grow with the devices, with as many rows a device. "
        "Efficiency is the same in examples for a second of a core: what is lost to sharing, "
        "however many cores there are. A mini-batch's rows are summed to every device, and each "
        "takes all of them; the trials of a search likewise.\n\n"
        f"{measured_table(timings)}\n\n### What is counted\n\n"
        "The model's operations and bytes are arithmetic, of products and scores. The compiler's "
        f"count is near it on {ONE_BLOCK} rows, which are one block; what it has beyond is not of "
        "a product. On more rows it counts the body of the loop over blocks once, however often "
        f"it runs, and is of no use.\n\n{counted_table(arrays['counted'])}\n\n"
        "The fit: squares of relative errors are least, nothing is below 0. A 0 says that the "
        "other parts explain the times as well without it.\n\n"
        + table("one | seconds of a core {:.3g}", arrays["fitted_seconds"].items())
        + f"\n\n{predictions(arrays)}"
    )


def measured_table(timings: Sequence[dict[str, Any]]) -> str:
    """Return what was measured, and what the model says of it."""

    def ms(row: dict[str, Any], key: str) -> float:
        return 1e3 * row[key] / row["steps"]

    rows = [
        (
            row["name"], f"{row['rows']:,}" + ", held out" * row["held_out"], row["devices"],
            ms(row, "seconds"), f"{ms(row, 'lower'):.3g} .. {ms(row, 'upper'):.3g}",
            row["speedup"], row["core_seconds"] / row["seconds"],
            ms(row, "core_seconds"), ms(row, "model"),
            100 * (row["model"] / row["core_seconds"] - 1), 100 * row["efficiency"],
        )
        for row in timings
    ]  # fmt: skip
    return table(
        "step | rows | devices {:d} | ms {:.3g} | quartiles | speed-up {:.2f} | cores busy {:.2f} "
        "| core ms {:.3g} | model, core ms {:.3g} | model is off by, % {:+.0f} "
        "| efficiency, % {:.0f}",
        rows,
    )


def counted_table(counted: Sequence[dict[str, Any]]) -> str:
    """Return the operations and bytes of a step beside the compiler's count."""
    rows = [
        (row["name"], f"{row['rows']:,}", row["flops"], row["compiled_flops"] / row["flops"],
         row["read"], row["compiled_read"] / row["read"])
        for row in counted
    ]  # fmt: skip
    return table(
        "step | rows | operations {:.3g} | XLA's count over that {:.3f} | bytes {:.3g} | "
        "XLA's over that {:.3f}",
        rows,
    )


def predictions(arrays: dict[str, Any]) -> str:
    """Return what is predicted as tables, with the assumptions above them."""
    problem = arrays["problems"][0]
    assumed = [(ASSUMED[name], value) for name, value in arrays["machine"].items()]
    texts = [
        "### Predicted, not measured\n\n"
        f"{problem['C']:,} classes, {problem['D']:,} bytes an example, mini-batches of "
        f"{problem['batch']} rows on each device, up to {problem['trials']} trials a product. A "
        f"sum of C·D floats has {4 * problem['C'] * problem['D'] / 1e6:.3g} MB. A cell has the "
        "seconds of a step (of a search: of a block of trials), its examples a second, its "
        "efficiency (examples a second and device, of those of one device, or of the fewest that "
        "hold the problem), and the largest part of its seconds. A strategy stops scaling where "
        "twice the devices bring less than 1.4 times the examples a second. Efficiency is above "
        "100 % where fewer devices read storage and more have the data in memory, or hold a "
        "larger block of trials. The parts of a step are added: nothing overlaps.",
        table("assumed, for one device | {:.3g}", assumed),
    ]
    for k, problem in enumerate(arrays["problems"], 1):
        texts.append(f"[[predicted_{k}]]")
        for how in STRATEGIES:
            rows = chosen(arrays["predicted"], N=problem["N"], how=how)
            texts.append(f"{problem['N']:,} examples, {how}:")
            texts.append(predicted_table(rows, arrays["machine"]["host"]))
    texts.append(
        f"“{TODAY}” is this library: what is of each example or score is on every device. “{SUMS}” "
        "is what could be had: it stays where the example's row is."
    )
    return "\n\n".join(texts)


def predicted_table(rows: Sequence[dict[str, Any]], host: int) -> str:
    """Return a line for each strategy: a column for each place, and where it stops scaling."""
    places = {"1 device": 1, f"{host} devices": host, f"64 hosts of {host}": 64 * host,
              f"1,024 hosts of {host}": 1024 * host}  # fmt: skip
    largest = max(row["devices"] for row in rows)
    counts = {name: count for name, count in places.items() if count <= largest}
    lines = []
    for name in names(rows):
        found = chosen(rows, name=name)
        end = end_of_scaling(found)
        cells = [cell(chosen(found, devices=count)[0]) for count in counts.values()]
        stops = "no end in sight"
        if end:
            stops = f"{end['devices']:,}: {end['cause']}"
        elif not math.isfinite(found[-1]["seconds"]):
            stops = "does not begin"
        lines.append([name, *cells, stops])
    return table(" | ".join(["strategy", *counts, "stops scaling at"]), lines)


def cell(row: dict[str, Any]) -> str:
    """Return what a table says of a strategy in a place."""
    if not math.isfinite(row["seconds"]):
        return row["limit"]
    numbers = f"{row['seconds']:.2g} s, {row['examples_a_second']:.1e}/s, {row['efficiency']:.0%}"
    return f"{numbers}, {row['limit']}"


def files(arrays: dict[str, Any]) -> dict[str, Callable[[Path], None]]:
    kept = {"scaling_measured.csv": "timings", "scaling_predicted.csv": "predicted"}
    return {name: partial(write_csv, rows=arrays[key]) for name, key in kept.items()}


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same keys as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


if __name__ == "__main__":
    runner.main(__name__)
