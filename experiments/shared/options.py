"""The options that every experiment has, and how an option says which values it takes.

A section's options are the fields of a frozen dataclass. The type of a field carries its check:

    num_steps: Count = 1000                          # an integer >= 1
    scales: tuple[Positive, ...] = (1e-4, 1e-5)      # each a finite number > 0
    reg: NonNegative | None = None                   # checked unless it is None

A check is a function of the option's name and value that raises ValueError. Every check runs when
the options are made, so that bad input ends a command before it computes anything.
"""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

Check: TypeAlias = Callable[[str, Any], None]


def at_least(least: float) -> Check:
    """Return the check that a value is finite and at least ``least`` (NaN is not)."""

    def check(name: str, value: Any) -> None:
        if not least <= value < float("inf"):
            raise ValueError(f"{name} = {value}: expected a finite number >= {least:g}")

    return check


def one_of(known: Sequence[str]) -> Check:
    """Return the check that a value is one of the known ones."""

    def check(name: str, value: Any) -> None:
        if value not in known:
            raise ValueError(f"{name}: there is no {value!r}; there are {', '.join(known)}")

    return check


def positive(name: str, value: Any) -> None:
    """Check that a value is finite and greater than 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} = {value}: expected a finite number > 0")


def folder_name(name: str, value: Any) -> None:
    """Check that a value is the name of one folder, or empty."""
    if Path(value).name != value or value == "..":
        raise ValueError(f"{name} = {value!r}: expected one folder name, without a path")


Count = Annotated[int, at_least(1)]
Positive = Annotated[float, positive]
NonNegative = Annotated[float, at_least(0)]


class Source(NamedTuple):
    """Where a dataset comes from: the first arguments of `jaxsvm.load_dataset`, as text.

    Attributes:
        name: of a dataset, or the path of a file or folder.
        labels: the path of a file of labels, or the name of a column; None where neither is needed.
        test: the path of a test part; None where none is given.
        test_labels: the path of its labels.
    """

    name: str
    labels: str | None = None
    test: str | None = None
    test_labels: str | None = None


@dataclass(frozen=True)
class Config:
    """The options that every experiment has.

    Attributes:
        dataset: "digits", "iris", "wine", "breast_cancer", or a tfds image dataset such as
            "cifar10".
        X: Your own data instead: an .npy, .npz, .csv or .parquet file, or a folder of one folder
            of images a class.
        y: Its labels: another .npy file, or the name of a column.
        X_test: A test part in the same form; by default a fifth is held out.
        y_test: The labels of the test part, where they are a file.
        seeds: How many seeds: 0, 1, ... seeds − 1.
        out: The folder that holds the runs.
        name: The run's own folder in it; by default made of the experiment, the dataset and the
            time.
    """

    dataset: str = "digits"
    X: Path | None = None
    y: str | None = None
    X_test: Path | None = None
    y_test: Path | None = None
    seeds: Count = 5
    out: Path = Path("runs")
    name: Annotated[str, folder_name] = ""

    # Whether seconds are among the results, so that programs must be compiled at their fastest.
    measures_seconds: ClassVar[bool] = False

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), hints[field.name])
        if self.X is not None and self.dataset != Config.dataset:
            raise ValueError(f"dataset = {self.dataset!r} and X = {self.X}: expected one of them")
        if self.X is None:
            for name in ("y", "X_test", "y_test"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} = {getattr(self, name)} without X: expected --X too")

    @property
    def source(self) -> Source:
        """Where the dataset comes from."""
        if self.X is None:
            return Source(self.dataset)
        test, labels = (None if p is None else str(p) for p in (self.X_test, self.y_test))
        # A path with a separator is never taken for the name of a dataset.
        return Source(str(self.X.expanduser().absolute()), self.y, test, labels)

    @property
    def data_name(self) -> str:
        """What the data are called in the name of the run's folder."""
        return self.dataset if self.X is None else self.X.absolute().stem


def _check(name: str, value: Any, hint: Any) -> None:
    """Apply the checks in an option's type to its value, or to each value of a tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for check in hint.__metadata__:
            check(name, value)
    elif origin is tuple:
        for item in value:
            _check(name, item, arguments[0])
    elif value is not None:  # a union with None, whose other half has the checks
        for kind in arguments:
            _check(name, value, kind)
