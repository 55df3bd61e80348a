"""The options that every experiment has, and how an option says which values it takes.

A section's options are the fields of a frozen dataclass. The type of a field carries its check:

    num_steps: Count = 1000                          # an integer >= 1
    scales: tuple[Positive, ...] = (1e-4, 1e-5)      # each a finite number > 0
    reg: NonNegative | None = None                   # checked unless it is None

A check is a function of the option's name and value that raises ValueError. Every check runs when
the options are made, so that bad input ends a command before it computes anything.
"""

import dataclasses
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

from jaxsvm.core.rows import MOST_SEGMENTS

Check: TypeAlias = Callable[[str, Any], None]

# Well inside what float32 can hold, so that neither a number nor its square is 0 or infinite.
SMALLEST, LARGEST = 1e-18, 1e18


def at_least(least: float) -> Check:
    """Return the check that a value is finite and at least ``least`` (NaN is not)."""

    def check(name: str, value: Any) -> None:
        if not least <= value <= LARGEST:
            raise ValueError(
                f"{name} = {value}: expected a finite number >= {least:g}, at most {LARGEST:g}"
            )

    return check


def one_of(known: Sequence[str]) -> Check:
    """Return the check that a value is one of the known ones."""

    def check(name: str, value: Any) -> None:
        if value not in known:
            raise ValueError(f"{name}: there is no {value!r}; there are {', '.join(known)}")

    return check


def positive(name: str, value: Any) -> None:
    """Check that a value is greater than 0, and that it is in float32 too."""
    if not SMALLEST <= value <= LARGEST:
        raise ValueError(
            f"{name} = {value}: expected a finite number > 0, from {SMALLEST:g} to {LARGEST:g}"
        )


def folder_name(name: str, value: Any) -> None:
    """Check that a value is the plain name of one folder, or empty."""
    if value and not re.fullmatch(r"(?!\.)[A-Za-z0-9._-]{1,64}", value):
        raise ValueError(
            f"{name} = {value!r}: expected one folder name of at most 64 letters, digits, '.', '_' "
            "and '-', not beginning with '.'"
        )


def power_of_two(most: int) -> Check:
    """Return the check that a value is 1, 2, 4, ..., at most ``most``."""

    def check(name: str, value: Any) -> None:
        if value < 1 or value & (value - 1) or value > most:
            raise ValueError(f"{name} = {value}: expected a power of two up to {most}")

    return check


def address(name: str, value: Any) -> None:
    """Check that a value is where a process can be reached, as host:port, or "auto"."""
    if value != "auto" and not re.fullmatch(r"\S+:\d{1,5}", value):
        raise ValueError(
            f"{name} = {value!r}: expected host:port of the first process, such as 10.0.0.1:12345, "
            "or auto on a cluster that JAX knows"
        )


def distinct(name: str, value: Any) -> None:
    """Check that no value is there twice."""
    if twice := [item for i, item in enumerate(value) if item in value[:i]]:
        raise ValueError(f"{name}: {twice[0]!r} is there twice: expected each once")


Count = Annotated[int, at_least(1)]
Positive = Annotated[float, positive]
NonNegative = Annotated[float, at_least(0)]
Devices = Annotated[int, power_of_two(MOST_SEGMENTS)]  # each has a segment of rows


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


class Hardware(NamedTuple):
    """What a command computes on; no number it finds depends on that.

    Attributes:
        devices: of this machine, a power of two.
        coordinator: where the processes of one run find each other; None where there is one.
        process_id: this process's number, from 0; None where the cluster says it.
        num_processes: how many there are; None likewise.
    """

    devices: int = 1
    coordinator: str | None = None
    process_id: int | None = None
    num_processes: int | None = None


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
            time. A run that was ended goes on with the same command and name.
        again: Compute everything anew, in place of what is kept in that folder.
        devices: How many devices of this machine share the examples, a power of two; a CPU is
            divided. No result depends on it, to the bit.
        coordinator: For one run on several machines, the same command on each: host:port of the
            first one, or auto where a cluster says it to JAX (Slurm, Open MPI, Kubernetes, TPU).
        process_id: Which of these processes this one is, from 0.
        num_processes: How many processes there are.
    """

    dataset: str = "digits"
    X: Path | None = None
    y: str | None = None
    X_test: Path | None = None
    y_test: Path | None = None
    seeds: Count = 5
    out: Path = Path("runs")
    name: Annotated[str, folder_name] = ""
    again: bool = False
    devices: Devices = 1
    coordinator: Annotated[str, address] | None = None
    process_id: Annotated[int, at_least(0)] | None = None
    num_processes: Count | None = None

    # Whether seconds are among the results, so that programs must be compiled at their fastest.
    measures_seconds: ClassVar[bool] = False
    # Whether hardly a program runs more than once or twice, so that none is worth compiling well
    # where the data are small.
    is_mostly_compilation: ClassVar[bool] = False
    # Why several processes cannot run it together; nothing where they can.
    is_for_one_process: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.X is not None and self.dataset != Config.dataset:
            raise ValueError(f"dataset = {self.dataset!r} and X = {self.X}: expected one of them")
        if self.X is None:
            for name in ("y", "X_test", "y_test"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} = {getattr(self, name)} without X: expected --X too")
        self._check_processes()

    def _check_processes(self) -> None:
        """Raise ValueError unless the processes of one run are all named, or none is."""
        numbers = {"process_id": self.process_id, "num_processes": self.num_processes}
        wanted = self.coordinator not in (None, "auto")
        for name, value in numbers.items():
            if (value is not None) != wanted:
                raise ValueError(
                    f"{name} = {value} with coordinator = {self.coordinator}: expected "
                    "--coordinator host:port, --process-id and --num-processes together, or "
                    "--coordinator auto alone"
                )
        count = self.num_processes or 0
        if self.process_id is not None and self.process_id >= count:
            raise ValueError(
                f"process_id = {self.process_id} with num_processes = {count}: expected 0 to "
                f"{count - 1}"
            )

    @property
    def hardware(self) -> Hardware:
        """What to compute on."""
        return Hardware(self.devices, self.coordinator, self.process_id, self.num_processes)

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


def check_fields(options: Any) -> None:
    """Raise ValueError unless every field of a dataclass passes the checks in its type."""
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        _check(field.name, getattr(options, field.name), hints[field.name])


def _check(name: str, value: Any, hint: Any) -> None:
    """Apply the checks in an option's type to its value, or to each value of a tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for check in filter(callable, hint.__metadata__):  # tyro's marks are no functions
            check(name, value)
        _check(name, value, arguments[0])
    elif origin is tuple:
        if not value:
            raise ValueError(f"{name} is empty: expected at least one value")
        for item in value:
            _check(name, item, arguments[0])
    elif value is not None:  # a union with None, whose other half has the checks
        for kind in arguments:
            _check(name, value, kind)
