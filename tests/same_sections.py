"""Do the ten sections of the notes find the same numbers on one device and on two?

    python -m tests.same_sections
    python -m tests.same_sections race claims

Made by hand: ten minutes on two cores. The examples are digits, moved by a pixel here and there
until there are two segments of rows; the sections are run as the main job runs them, each with few
steps. Of ``metrics.json`` all but clocks and the host is compared (`record.reproducible`), and all
of ``metrics.jsonl``. The last line is ``sections N equal M``, and the status is 1 unless all are.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments.__main__ import FRONT, SECTIONS
from experiments.shared import runner
from experiments.shared.options import Config
from experiments.shared.record import reproducible
from jaxsvm import load_dataset
from tests.children import said, started

DEVICES = 2
FEWER = {
    "landscape": {"grid": 17, "num_steps": 20},
    "random_search": {"num_steps": 50, "long_steps": 400},
    "local_search": {"num_steps": 100},
    "gradient_check": {"num": 5},
    "step_size": {"num": 4, "grid": 17},
    "gradient_descent": {"num_steps": 20},
    "minibatch": {"num_steps": 100, "epochs": 1, "repeats": 1},
    "templates": {"num_steps": 100},
    "race": {"search_steps": 50, "full_steps": 20, "batch_steps": 100},
    "claims": {"num_steps": 100},
}


def write_examples(folder):
    """Write digits as images of bytes, in five places each, and their labels."""
    train = load_dataset("digits", validation=0, center=False).train
    images = np.asarray(train.X)[:, :-1].reshape(-1, 8, 8).astype(np.uint8)
    moves = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]
    np.save(folder / "X.npy", np.concatenate([np.roll(images, move, (1, 2)) for move in moves]))
    np.save(folder / "y.npy", np.tile(np.asarray(train.y), len(moves)))


def child(folder, devices, names):
    """Run sections as the main job does, with fewer steps; return its status."""
    options = {
        "X": folder / "X.npy", "y": str(folder / "y.npy"), "seeds": 1, "out": folder,
        "name": str(devices), "devices": devices,
    }  # fmt: skip
    modules = [importlib.import_module(f"experiments.{name}") for name in names]
    sections = [
        (module, module.Config(**options, **FEWER[name]))
        for module, name in zip(modules, names, strict=True)
    ]
    return runner.execute("notes", sections, Config(**options), 1, FRONT)


def records(folder):
    """Return each section's record and what it judges, by its name, and the rows of all."""
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        name: (reproducible(section, f".sections.{name}"), [r for r in rows if name in r.values()])
        for name, section in metrics["sections"].items()
    }


def differing(a, b, place=""):
    """Yield where two records differ."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from differing(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for i, pair in enumerate(zip(a, b, strict=True)):
            yield from differing(*pair, f"{place}[{i}]")
    elif a != b:
        yield f"{place}: {str(a)[:60]} and {str(b)[:60]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=SECTIONS)
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    if given.child:
        folder, devices = given.child
        return child(Path(folder), int(devices), given.sections)
    with tempfile.TemporaryDirectory() as folder:
        write_examples(Path(folder))
        for devices in (1, DEVICES):
            command = ["-m", "tests.same_sections", "--child", folder, devices]
            status, _, err = said(started(*command, "--", *given.sections))
            if status:
                print(err, file=sys.stderr)
                return status
        one, many = (records(Path(folder, str(devices))) for devices in (1, DEVICES))
    equal = 0
    for name in given.sections:
        found = list(differing(one[name], many[name], name))
        equal += not found
        print(f"{name}: {len(found)} differ" if found else f"{name}: equal", flush=True)
        print("\n".join(f"    {line}" for line in found[:20]), end="\n" * bool(found))
    print(f"sections {len(given.sections)} equal {equal}")
    return 0 if equal == len(given.sections) else 1


if __name__ == "__main__":
    sys.exit(main())
