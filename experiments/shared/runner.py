"""Run sections into a folder of their own and say by the exit status how it went.

A section is a module of five names:

    Config           a frozen dataclass (of `options.Config`); its fields are the command's options
    STORY            what is asked and tried, and the next question (`report.Story`)
    run(config)      -> a dict of arrays, numbers and strings: everything measured
    plot(arrays)     -> figures by name, each with a caption and a description (`figures.Picture`)
    report(arrays)   -> markdown with the measured numbers: first a paragraph that says what was
                     found; ``[[name]]`` alone on a line is the place of a figure

so that a notebook can call each by itself. Two keys of the dict have a meaning here: ``"trace"``,
columns of equal length, becomes one row of metrics.jsonl for each step, and ``"dataset"``
(`settings.facts`) is what the report begins with. Every other number is in metrics.json, and the
arrays are in arrays.npz. A section may have more names:

    claims(arrays)   -> sentences of the notes that it can judge, with verdicts (`report.Claim`)
    diverged(arrays) -> what was asked for and has no answer, in a few words each
    files(arrays)    -> by the file's name, a function that writes it to the path it is given
    play(arrays)     -> a part of the page that one can play with, as HTML of ours
    prepare(config)  -> what run(config) does before it measures seconds; a call that does the rest

What a section measured is kept as soon as it is there. So a run that was ended, whatever ended it,
goes on with the same command and the same ``--name``. Where a section fails the others still run,
and the report says which failed and why. `experiments.shared.failures` has the exit statuses.
"""

import contextlib
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.shared import command_line, devices, signals
from experiments.shared import folder as folders
from experiments.shared.compilation import compile_quickly, keep_programs
from experiments.shared.failures import CANNOT_WRITE, MISTAKE, Failure, fail, failure_of, worst
from experiments.shared.garbage import collect_rarely
from experiments.shared.options import Config
from experiments.shared.record import write_text
from experiments.shared.run import ERRORS, Front, Run
from experiments.shared.team import Task, Team, joined
from experiments.shared.workers import Sections, section_name


def main(name: str) -> None:
    """Read a section's options from the command line, run it alone, write its report, exit.

    Args:
        name: of the section's module, as imported or ``"__main__"``.
    """
    collect_rarely()
    keep_programs()
    module = sys.modules[name]
    config: Any = command_line.read(module.Config, module.__doc__)
    compile_quickly(config.source)
    sys.exit(execute(section_name(module), [(module, config)], config))


def execute(
    title: str,
    sections: Sections,
    config: Config,
    workers: int | None = None,
    front: Front | None = None,
) -> int:
    """Claim the run's folder, run the sections that it has no results of, return the exit status.

    Args:
        title: of the report.
        sections: (module, config) of each.
        config: where to, under which name, and whether to compute again what is kept.
        workers: how many sections run at a time, each in a process of its own, and those that
            measure seconds alone; None runs all of them in this one.
        front: how the page begins; by default with the title.
    """
    place = config.out / (config.name or folders.dated_name(title, config))
    try:
        asked = folders.asked_for(title, {section_name(module): c for module, c in sections})
        with signals.watched() as saving, _hardware(sections, config, asked, workers) as team:
            if isinstance(team, Failure):
                return fail(team.status, team.why)
            if team and not team.is_first:
                failures = team.follow()
                for failure in failures:
                    fail(failure.status, failure.why)
                return worst(failures)
            with folders.claimed(place):
                folders.begin(place, asked, again=config.again)
                run = Run(title, place, sections, workers, config, front, team)
                run.go(saving)
                if team:
                    team.end(run.wrong)
    except BlockingIOError as error:
        return fail(CANNOT_WRITE, f"{place} is in use: {error.strerror}")
    except KeyboardInterrupt as error:
        kept = folders.count_kept(place)
        what = f"{kept} of {len(sections)} sections are kept in {place}; go on with"
        if not kept:
            what = "no section had finished; start again with"
        return fail(signals.status(error), f"interrupted: {what}: {_command(config, place.name)}")
    except Exception as error:
        failure = failure_of(error)
        if failure.status == MISTAKE:
            traceback.print_exception(error)
            with contextlib.suppress(OSError):  # the screen has it
                write_text(place / ERRORS, failure.traceback)
        return fail(failure.status, failure.why)
    return run.say_how_it_went()


@contextlib.contextmanager
def _hardware(
    sections: Sections, config: Config, asked: Mapping[str, Any], workers: int | None
) -> Iterator[Team | Failure | None]:
    """Start JAX on the devices of the command; where these are of several processes, join them.

    Raises:
        ValueError: there are no such devices; or a section is for one process.
    """
    if config.coordinator is None:
        devices.use(config.hardware)
        yield None
        return
    for module, _ in sections:
        if why := module.Config.is_for_one_process:
            raise ValueError(
                f"coordinator = {config.coordinator}: {section_name(module)} cannot be run by "
                f"several processes: {why}; leave --coordinator out"
            )
    asked_of = {name: {**fields, **asked["data"]} for name, fields in asked["sections"].items()}
    tasks = [
        Task(module.__name__, of_section, asked_of[section_name(module)], workers is not None)
        for module, of_section in sections
    ]
    with joined(tasks, config.hardware) as team:
        yield team


def _command(config: Config, name: str) -> str:
    """Return the command line that goes on with this one's run."""
    given = [argument for argument in sys.orig_argv if argument != "--again"]
    return shlex.join([*given, *([] if config.name else ["--name", name])])
