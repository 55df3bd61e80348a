"""Does the check of any function know right gradients of random programs from wrong ones?

    python -m tests.programs --first 0 --count 60

What is said of autodiff's gradient gives false alarms: these gradients are right. What is said of
mutants whose error is at least twice the tolerance that the check states gives misses. A program's
evidence is gathered once and serves for all its mutants.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.programs import POINTS, Program, mutants, program
from jaxsvm.gradients.beside import pieces_beside
from jaxsvm.gradients.claims import claims
from jaxsvm.gradients.judgement import Judged, at_kink, judge
from jaxsvm.gradients.measure import gather
from jaxsvm.gradients.question import question
from jaxsvm.gradients.verdict import Verdict

RIGHT = (Verdict.SMOOTH, Verdict.KINK, Verdict.JUMP)


def gathered(one: Program) -> tuple[Callable[[np.ndarray], Judged], np.ndarray]:
    """Return a program's judge, and autodiff's slopes.

    The judge knows at once of all lines at kinks what lies beside them; the check asks that only
    of lines in doubt.
    """
    asked = question(one.f, one.params, 1, one.mode, 4096, None, jax.random.key(0))
    evidence = gather(asked)
    g, rounding = claims(asked, evidence, one.mode)
    kinks = map(int, np.flatnonzero(at_kink(evidence)))
    beside = pieces_beside(asked, evidence, kinks)
    return lambda slopes: judge(slopes, rounding, evidence, beside), g


def is_large(wrong: np.ndarray, judged: Judged) -> np.ndarray:
    """Return where an error is at least twice the stated resolution, and has to be found."""
    resolved = np.isin(judged.verdict, RIGHT) & np.isfinite(judged.low)
    low, high = judged.low - judged.tolerance, judged.high + judged.tolerance
    return resolved & (np.isnan(wrong) | (wrong < low) | (wrong > high))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    begin, rows, told = time.monotonic(), Counter[tuple[str, str]](), Counter[str]()
    tried, missed = Counter[str](), Counter[str]()
    resolution = []
    for seed in range(options.first, options.first + options.count):
        point, dtype = POINTS[seed % 3], (jnp.float32, jnp.float64)[seed // 3 % 2]
        with jax.enable_x64(dtype == jnp.float64):
            one = program(seed, point, dtype)
            judge_of, g = gathered(one)
        judged = judge_of(g)
        for verdict in Verdict:
            rows[f"{point} {jnp.dtype(dtype).name}", verdict.name] += int(
                np.sum(judged.verdict == verdict)
            )
        if np.any(judged.verdict == Verdict.WRONG):
            told[f"{seed}: {one.name}"] += int(np.sum(judged.verdict == Verdict.WRONG))
        resolved = np.isin(judged.verdict, RIGHT)
        size = np.max(np.abs(g), initial=1e-300)
        resolution.append(float(np.median(judged.tolerance[resolved] / size)))
        rng = np.random.default_rng(seed)
        for _ in range(3):
            for name, wrong in mutants(g, rng).items():
                large = is_large(wrong, judged)
                if large.any():
                    tried[name] += 1
                    given = judge_of(wrong).verdict
                    missed[name] += bool(np.any(given[large] != Verdict.WRONG))
    seconds = time.monotonic() - begin
    print(f"{options.count} programs from {options.first}, {seconds:.0f} s")
    print("| points | " + " | ".join(v.name.lower() for v in Verdict) + " |")
    print("|---|" + "---|" * len(Verdict))
    for kind in sorted({kind for kind, _ in rows}):
        print(f"| {kind} | " + " | ".join(str(rows[kind, v.name]) for v in Verdict) + " |")
    print(f"all: {sum(rows.values())} coordinates; false alarms: {dict(told)}")
    print("| mutants | tried | missed |\n|---|---|---|")
    for name in tried:
        print(f"| {name} | {tried[name]} | {missed[name]} |")
    print(f"all: {sum(tried.values())} mutants, {sum(missed.values())} missed")
    print(f"tolerance / largest entry: median {np.median(resolution):.1e}", end=", ")
    print(f"largest {np.max(resolution):.1e}")


if __name__ == "__main__":
    main()
