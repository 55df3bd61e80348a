"""One run: what came of each of its sections so far, and the files that say so.

Figures, text and records of a finished section are made of what is kept of it on disk
(`experiments.shared.folder`), whether that was measured now or by an earlier run of the same
command. So they have the same bits either way, but for clocks (`record.CLOCK`).
"""

import contextlib
import datetime
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from experiments.shared import folder as folders
from experiments.shared import made, page, signals
from experiments.shared.environment import environment
from experiments.shared.failures import MISTAKE, NOT_WHOLE, Failure, fail, failure_of, say, worst
from experiments.shared.figures import save_figures
from experiments.shared.folder import Kept
from experiments.shared.kept_runs import UNFINISHED
from experiments.shared.options import Config
from experiments.shared.record import read_signed, signed_json, trace_rows, write_text
from experiments.shared.report import Chapter, Claim, Story, Top, write_report
from experiments.shared.team import Team
from experiments.shared.text import as_text, plain_text, verbatim
from experiments.shared.workers import Outcome, Sections, outcomes, section_name

ERRORS, ROWS, METRICS = "error.txt", "metrics.jsonl", "metrics.json"


class Part(NamedTuple):
    """What a finished section gives the report and the records, and the files of its own."""

    chapter: Chapter
    claims: Sequence[Claim]
    rows: list[str]
    record: dict[str, Any]
    environment: dict[str, Any]
    files: list[Path]


class Front(NamedTuple):
    """How the page of several sections begins.

    Attributes:
        story: whose question is the title.
        picture: a section and a figure of it that sums up the page, where they are there.
    """

    story: Story
    picture: tuple[str, str]


class Run:
    """The sections of a run in its folder, which this process owns.

    Attributes:
        parts: of the finished sections by name.
        failures: of the others that ended, by name.
        diverged: what was asked of sections, by name, and has no answer.
        was_finished: whether an earlier run had done everything.
    """

    def __init__(
        self,
        title: str,
        place: Path,
        sections: Sections,
        workers: int | None,
        config: Config,
        front: Front | None,
        team: Team | None = None,
    ) -> None:
        self.title, self.place, self.sections, self.workers = title, place, sections, workers
        self.team = team
        self.config, self.front = config, front
        self.names = list(dict.fromkeys(section_name(module) for module, _ in sections))
        today = datetime.date.today().isoformat()
        about = team.environment if team else environment()
        self.now = about | {"date": today, "sections_at_a_time": (not team and workers) or 1}
        self.parts: dict[str, Part] = {}
        self.failures: dict[str, Failure] = {}
        self.diverged: dict[str, list[str]] = {}
        self.was_finished = False

    def go(self, saving: signals.Saving) -> None:
        """Run the sections of which nothing is kept, and write what they found as it comes."""
        found = [folders.kept(self.place, section_name(module)) for module, _ in self.sections]
        if None not in found:
            wrong = self._wrong_file()
            self.was_finished = not wrong
            if self.was_finished:
                self._forget()
                return
            what = f"{self.place / wrong} is incomplete, damaged or of another run"
            print(f"{what}: report and records are written again", file=sys.stderr)
        (self.place / ERRORS).unlink(missing_ok=True)
        waiting = []
        for section, kept in zip(self.sections, found, strict=True):
            if kept is None:
                waiting.append(section)
            else:
                self._finish(*section, kept)
        self._write()
        self._run(waiting, saving)
        if not self.failures:
            self._forget()

    def _forget(self) -> None:
        """Remove what sections shared (`once`): all of them are kept."""
        shutil.rmtree(self.place / UNFINISHED, ignore_errors=True)

    def _wrong_file(self) -> str:
        """Return a file of the report or the records that is not as a finished run leaves it.

        The name is empty where all are; then it is known what had diverged.
        """
        name = METRICS
        try:
            metrics = read_signed(self.place / name)
            diverged = metrics["diverged"]
            if list(metrics["sections"]) != self.names or metrics["failed"]:
                return name
            for name, digest in metrics["files"].items():
                if folders.digest(self.place / name) != digest:
                    return name
        except (OSError, ValueError, KeyError):
            return name
        self.diverged = diverged
        return ""

    def _run(self, waiting: Sections, saving: signals.Saving) -> None:
        """Run sections and take what comes of each."""
        bar = tqdm(desc=self.title, total=len(self.sections), disable=None)
        if self.team:
            coming = self.team.outcomes([self.sections.index(s) for s in waiting], self.place)
        else:
            coming = outcomes(waiting, self.workers, self.place)
        with bar, contextlib.closing(coming) as found:
            bar.update(len(self.sections) - len(waiting))
            for i, outcome in found:
                module, config = waiting[i]
                bar.set_postfix_str(section_name(module))
                self._take(module, config, outcome, saving)
                self._write()
                bar.update()
                if isinstance(outcome, Failure) and outcome.is_final:
                    break

    def _take(self, module: Any, config: Any, outcome: Outcome, saving: signals.Saving) -> None:
        """Keep what a section measured, or note that it failed."""
        name = section_name(module)
        if isinstance(outcome, Failure):
            self._fail(name, outcome)
            return
        try:
            with saving():
                kept = folders.keep(self.place, name, *outcome, self.now)
        except TypeError as error:  # what it returned cannot be kept
            self._fail(name, failure_of(error))
        else:
            self._finish(module, config, kept)

    def _finish(self, module: Any, config: Any, kept: Kept) -> None:
        """Draw the figures of a finished section, and write its text and its files."""
        name, arrays = section_name(module), dict(kept.result)
        try:
            rows = trace_rows(name, arrays.pop("trace", {}))
            files = module.files(arrays) if hasattr(module, "files") else {}
            for file, write in files.items():
                write(self.place / file)
            figures = save_figures(module.plot(arrays), self.place / name)
            chapter = Chapter(
                module.STORY.question, module.report(arrays), figures, name, module.STORY,
                made.made_by(name, config, kept),
                module.play(arrays) if hasattr(module, "play") else "",
            )  # fmt: skip
            claims = module.claims(arrays) if hasattr(module, "claims") else ()
            diverged = module.diverged(arrays) if hasattr(module, "diverged") else []
        except OSError:
            raise
        except Exception as error:  # the others are still to be written
            self._fail(name, failure_of(error))
        else:
            record = {"config": config, "seconds": kept.seconds, "results": arrays}
            paths = [self.place / name / folders.ARRAYS, *(self.place / file for file in files)]
            paths += [shown.path for shown in figures.values()]
            self.parts[name] = Part(chapter, claims, rows, record, kept.environment, paths)
            if diverged:
                self.diverged[name] = diverged

    def _fail(self, name: str, failure: Failure) -> None:
        """Note that a section failed; a traceback is shown at once, and kept."""
        self.failures[name] = failure
        if failure.status == MISTAKE:
            tqdm.write(failure.traceback, file=sys.stderr)
        texts = [f"{name}\n\n{f.traceback}" for name, f in self.failures.items() if f.traceback]
        if texts:
            write_text(self.place / ERRORS, "\n".join(texts))

    @property
    def is_worth_a_report(self) -> bool:
        """Whether anything happened but refusals of what was given."""
        return bool(self.parts) or not all(f.is_refusal for f in self.failures.values())

    def _write(self) -> None:
        """Write report and records of what is there: a run that is ended now has them."""
        if not self.is_worth_a_report:
            return
        parts = {name: self.parts[name] for name in self.names if name in self.parts}
        chapters = [part.chapter for part in parts.values()]
        if self.failures:
            chapters.append(Chapter("Sections that failed", _failed(self.failures)))
        chapters.append(Chapter("How this page was made", made.about(self.now, parts)))
        paths = [path for part in parts.values() for path in part.files]
        paths += [*write_report(self.place, self._top(parts), chapters), self.place / ROWS]
        rows = [f"{row}\n" for part in parts.values() for row in part.rows]
        write_text(self.place / ROWS, "".join(rows))
        metrics = {
            "title": self.title,
            **self.now,
            "sections": {name: part.record for name, part in parts.items()},
            "failed": {name: failure.why for name, failure in self.failures.items()},
            "diverged": self.diverged,
            "verdicts": {name: part.claims for name, part in parts.items() if part.claims},
            "files": {str(path.relative_to(self.place)): folders.digest(path) for path in paths},
        }
        write_text(self.place / METRICS, signed_json(metrics))

    def _top(self, parts: Mapping[str, Part]) -> Top:
        """Return how the report begins."""
        date = datetime.date.fromisoformat(self.now["date"])
        results = [part.record["results"] for part in parts.values()]
        known = [found["dataset"] for found in results if "dataset" in found]
        data = made.described(known[0]) if known else as_text(self.config.data_name)
        command = made.command("experiments" + f".{self.title}" * (not self.front), self.config)
        about = [f"{data}; {date.day} {date:%B %Y}", f"Made by {command}"]
        claims = {part.chapter.heading: part.claims for part in parts.values() if part.claims}
        if self.front is None:
            return Top(Story(self.title.replace("_", " ")), about, claims=claims)
        section, figure = self.front.picture
        figures = parts[section].chapter.figures if section in parts else {}
        return Top(self.front.story, about, figures.get(figure), claims, page.hiker())

    @property
    def wrong(self) -> list[Failure]:
        """What went wrong, each as it is printed."""
        found = []
        for name, failure in self.failures.items():
            of_all = failure.is_final or (len(self.sections) == 1 and not failure.traceback)
            about = "" if of_all else f"{name}: "
            seen = f"; see {self.place / ERRORS}" if failure.traceback else ""
            found.append(Failure(failure.status, f"{about}{failure.why}{seen}"))
        for name, lost in self.diverged.items():
            why = f"{name}: {'; '.join(lost)}; see {self.place / 'report.html'}"
            found.append(Failure(NOT_WHOLE, why))
        return found

    def say_how_it_went(self) -> int:
        """Print what was found, where the report is and what failed; return the exit status."""
        for failure in self.wrong:
            fail(failure.status, failure.why)
        status, report = 0, self.place / "report.html"
        if self.was_finished:
            status = say(f"{report} was there from an earlier run: nothing was left to compute")
        elif self.is_worth_a_report:
            status = say("\n".join([*self._summary(), f"wrote {report}"]))
        return worst(self.wrong) or status

    def _summary(self) -> list[str]:
        """Return what each of several sections found, as lines for a terminal."""
        lines = []
        width = max(map(len, self.names), default=0) + 2
        columns = min(shutil.get_terminal_size().columns, 100)
        for name in self.names if len(self.names) > 1 else ():
            if name in self.parts:
                found = plain_text(self.parts[name].chapter.found)
                label, indent = name.replace("_", " ").ljust(width), " " * width
                lines += textwrap.wrap(
                    found, columns, initial_indent=label, subsequent_indent=indent
                )
        return lines


def _failed(failures: Mapping[str, Failure]) -> str:
    """Return the report's chapter on the sections that have no result."""
    texts = [f"### {name.replace('_', ' ')}\n\n{verbatim(f.why)}" for name, f in failures.items()]
    return "\n\n".join(["The same command runs them again, and no others.", *texts])
