"""How a run's numbers were made, in words, for who wants to make them again."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from experiments.shared.folder import HOW_NOT_WHAT, Kept
from experiments.shared.options import Config
from experiments.shared.record import plain
from experiments.shared.text import as_text, code, table
from jaxsvm.optimizers.identity import differences

# What the report's last chapter repeats of the run as a whole.
ABOUT = (
    "commit", "device", "dtype", "platform", "processor", "cores", "sections_at_a_time",
    "xla_flags",
)  # fmt: skip
# What a section's bits may depend on beside its options: where it differs, the report says so.
BITS = ("versions", "commit", "device", "dtype", "x64", "processor", "cores", "xla_flags")


def command(module: str, config: Config) -> str:
    """Return, as code, a command line that makes the same numbers: what is no default, and more."""
    words = ["python", "-m", module]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        is_data = field.name == "seeds" or (field.name == "dataset" and config.X is None)
        if field.name in HOW_NOT_WHAT or (value == field.default and not is_data):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return code(shlex.join(words))


def described(dataset: Mapping[str, Any]) -> str:
    """Return what a dataset is, in a line."""
    return (
        f"{as_text(dataset['name'])}: {dataset['train']:,} training, {dataset['validation']:,} "
        f"held-out and {dataset['test']:,} test examples of {dataset['features']:,} features and "
        f"{dataset['classes']} classes"
    )


def made_by(name: str, config: Config, kept: Kept) -> str:
    """Return how a section's numbers came to be, for who wants to make them again."""
    beside = "alone on the machine" if config.measures_seconds else "alone"
    if kept.environment.get("sections_at_a_time", 1) > 1 and not config.measures_seconds:
        beside = "beside another section, so that a time in it is no measure of speed"
    return (
        f"Made by {command(f'experiments.{name}', config)} in {kept.seconds:.1f} s with "
        f"compilation, {beside}. Every number: `metrics.json`, at `sections.{name}`; the arrays: "
        f"`{name}/arrays.npz`."
    )


def about(now: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """Return the report's last chapter: what a reader needs to repeat the run.

    Args:
        now: the environment.
        parts: of the finished sections by name (`run.Part`).
    """
    rows = [(key, now[key]) for key in ABOUT] + list(now["versions"].items())
    seconds, options, others = [], [], []
    for name, part in parts.items():
        seconds.append((name, part.record["seconds"]))
        fields = {k: v for k, v in vars(part.record["config"]).items() if k != "again"}
        if fields["X"]:
            del fields["dataset"]
        shown = {key: as_text(str(value)) for key, value in fields.items() if value is not None}
        given = (f"{key} {value}" for key, value in shown.items())
        options.append(f"- `{name}`: " + ", ".join(given))
        facts = part.environment, plain(now)
        then, here = ({key: known.get(key) for key in BITS} for known in facts)
        if changed := differences(then, here):
            others.append(f"- `{name}`, measured by an earlier run: `{'; '.join(changed)}`")
    times = table("section | seconds, with compilation {:.1f}", seconds)
    texts = [table("what | which", rows), times, "\n".join(options)]
    if others:
        warning = "The bits of these sections may not be those of a run in one go:"
        texts += [warning, "\n".join(others)]
    return "\n\n".join(texts)
