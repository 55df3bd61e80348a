"""Which class does each new input belong to? The answers of a model file, as CSV.

    python -m experiments.predict runs/my-fit/model.npz X.npy
    python -m experiments.predict runs/my-fit/model.npz new.csv --out predictions.csv

Inputs are raw, as they were when the model was fitted: an .npy file, the array X of an .npz file, a
.csv file with the model's columns by name (others are passed over), or a folder of images. The
answer has a line for each input: its row, or the image's file, its class, and that class's score.

Bad input is one line on stderr and exit status 2; a file that cannot be written, status 5. A signal
ends it with status 130 or 143, and leaves no half of a file.
"""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tyro

import jaxsvm
from experiments.shared import command_line, signals
from experiments.shared.compilation import keep_programs
from experiments.shared.failures import BAD_INPUT, CANNOT_WRITE, fail, is_ours, say
from experiments.shared.record import write_text
from jaxsvm import Model

# What each input is called, and the inputs.
Inputs: TypeAlias = tuple[Sequence[str], np.ndarray]


@dataclass(frozen=True)
class Config:
    """Predict classes.

    Attributes:
        model: The file that `experiments.fit` or `jaxsvm.save` wrote.
        X: The inputs: .npy, .npz, .csv, or a folder of images.
        out: A file for the answers; by default they are printed.
    """

    model: tyro.conf.Positional[Path]
    X: tyro.conf.Positional[Path]
    out: Path | None = None


def main() -> None:
    keep_programs()
    sys.exit(execute(command_line.read(Config, __doc__)))


def execute(config: Config) -> int:
    """Write the answers and return the exit status."""
    try:
        with signals.watched():
            return answer(config)
    except KeyboardInterrupt as error:
        return fail(signals.status(error), "interrupted; nothing was written")


def answer(config: Config) -> int:
    """Read inputs, write answers, and return the exit status; a mistake of ours is an exception."""
    try:
        model = jaxsvm.load(config.model)
        text = answers(model, *read(config.X, model))
    except OSError as error:
        return fail(BAD_INPUT, str(error))
    except ValueError as error:
        if not is_ours(error):
            raise
        return fail(BAD_INPUT, str(error))
    if config.out is None:
        return say(text, end="")
    try:
        write_text(config.out, text)
    except OSError as error:
        return fail(CANNOT_WRITE, str(error))
    return 0


def answers(model: Model, names: Sequence[str], X: np.ndarray) -> str:
    """Return the CSV of the answers: a header, then a line for each input."""
    scores = model.scores(X)
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(("row", "class", "score"))
    best = np.argmax(scores, axis=1)
    for name, k, score in zip(names, best, scores[np.arange(len(best)), best], strict=True):
        lines.writerow((name, model.classes[k], f"{score:.6g}"))
    return buffer.getvalue()


def read(path: Path, model: Model) -> Inputs:
    """Return the inputs in a file or a folder.

    Raises:
        ValueError: it is in no form that is known here, or holds something else than such inputs.
        OSError: it does not exist, or cannot be read.
    """
    if path.is_dir():
        return read_images(path, model)
    if path.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        raise ValueError(f"{path} has the suffix {path.suffix!r}: expected {known}, or a folder")
    X = READERS[path.suffix.lower()](path, model)
    return [str(i) for i in range(len(X))], X


def read_array(path: Path, model: Model) -> np.ndarray:
    """Return the array of an .npy file, or X of an .npz file."""
    with open(path, "rb") as file:
        try:
            content = np.load(file, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else content["X"]
        except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{path} cannot be read ({reason}): expected an array of numbers, in an .npz file "
                "one called X"
            ) from error


def read_csv(path: Path, model: Model) -> np.ndarray:
    """Return the model's columns of a CSV file: by name where it knows names, else all of them."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        try:
            header = [cell.strip() for cell in next(lines, [])]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no CSV file in UTF-8 ({error}): convert it") from error
        skip = lines.line_num
    if missing := [name for name in model.feature_names if name not in header]:
        raise ValueError(
            f"{path} has no column {missing[0]!r}: expected a header row with the model's columns, "
            f"{', '.join(model.feature_names)}"
        )
    columns = [header.index(name) for name in model.feature_names] or None
    try:
        return np.loadtxt(
            path, delimiter=",", quotechar='"', comments=None, encoding="utf-8-sig", ndmin=2,
            skiprows=skip if columns or not _are_numbers(header) else 0, usecols=columns,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected numbers below the header") from error


def _are_numbers(cells: Sequence[str]) -> bool:
    try:
        return len([float(cell) for cell in cells]) > 0
    except ValueError:
        return False


def read_images(folder: Path, model: Model) -> Inputs:
    """Return the images in a folder by their files' names, sorted, as grey or colour as the model.

    Raises:
        ValueError: the model is not of images, there are none, or one has another size.
    """
    from PIL import Image

    if len(model.image_shape) != 3 or model.image_shape[2] not in (1, 3):
        raise ValueError(
            f"{folder} is a folder of images, and the model takes inputs of {model.image_shape}: "
            "expected a file of them"
        )
    height, width, channels = model.image_shape
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    X = np.empty((len(files), *model.image_shape), np.uint8)
    for i, file in enumerate(files):
        try:
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        except Exception as error:  # Pillow raises many kinds for damaged bytes
            raise ValueError(f"{file} cannot be read as an image: remove it") from error
        if pixels.shape[:2] != (height, width):
            raise ValueError(
                f"{file} has {pixels.shape[1]}x{pixels.shape[0]} pixels: expected {width}x{height}"
            )
        X[i] = pixels.reshape(model.image_shape)
    if not files:
        raise ValueError(f"{folder} is empty: expected images")
    return [file.name for file in files], X


READERS: dict[str, Callable[[Path, Model], np.ndarray]] = {
    ".npy": read_array,
    ".npz": read_array,
    ".csv": read_csv,
}


if __name__ == "__main__":
    main()
