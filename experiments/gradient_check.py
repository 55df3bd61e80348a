"""Is the gradient right, and what does a finite difference get wrong?

    python -m experiments.gradient_check --dataset cifar10

First the U-curve: the error of a central difference against its step h, in float32 and float64,
with its two causes apart: crossed kinks (the exact difference, summed termwise, against the slope)
and rounding (the computed difference against the exact one), and beside them what `error_budget`
predicts. Then the verdict on every coordinate and every example against h, for raw, centred and
scaled pixels, beside the alarms of the naive check (relative error above 1e-2, "probably wrong").
Then what each checker says of correct gradients and of three mistakes, of the SVM and of random
programs (``--programs`` of them; the README's 60 take minutes); and with ``--library`` what
`check_gradient` says of every loss of optax and every activation of JAX, at their kinks too.

Expected: rounding falls as 1/h and crossings rise with h, so float64 is at its best with a smaller
h than float32 and by many orders of magnitude better; the naive check calls correct coordinates
wrong, the more the larger h, `check_gradient` none. A tenth of a minute on digits; CIFAR-10 takes
minutes on two cores.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from jax.flatten_util import ravel_pytree
from tqdm import tqdm

import jaxsvm
from experiments.shared import compiled, library, options, programs, recipes, runner, settings
from experiments.shared.figures import LOG_LOG, Figures, Picture
from experiments.shared.report import Claim, Story
from experiments.shared.text import table, table_of
from jaxsvm import Data, Objective, check_gradient
from jaxsvm import plot as draw
from jaxsvm.core import features
from jaxsvm.gradients import FunctionCheck
from jaxsvm.gradients.piecewise import inspected

# What compare_checkers does to a correct gradient.
MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "correct": lambda g: g,
    "wrong sign": lambda g: -g,
    "shifted": lambda g: np.roll(g, 1),
    "3 % off": lambda g: 1.03 * g,
}

STORY = Story(
    "How is the slope had, and is it right?",
    r"""There are two ways. The *numerical* gradient nudges one weight at a time and evaluates the
loss again, best on both sides:

$$\frac{\partial L}{\partial W_{kd}} \approx
\frac{L(W + h\, e_{kd}) - L(W - h\, e_{kd})}{2h}.$$

It needs no calculus and as many evaluations as there are weights. The *analytic* gradient is a
formula: exact, fast, and easy to get wrong. So one is checked by the other.

The notes warn of two causes why they may differ although both are right. For a small $h$ two nearly
equal numbers are subtracted, and *rounding* is what is left. For a large $h$ a nudge carries an
example across a *kink* of its hinge, where the slope jumps. Here both causes are measured apart.
A check that knows where the kinks are need not guess: it says of every weight whether the gradient
is right, whether a kink is in the way, or whether it is wrong.""",
    "The direction of steepest descent is known now, and proved to be right. How far to go along "
    "it?",
)


TORCH = importlib.util.find_spec("torch") is not None


@dataclass(frozen=True)
class Config(options.Config):
    """Measure finite differences against exact ones. One W is drawn: seed 0.

    Attributes:
        sampled: Coordinates whose difference is also taken of evaluated objectives, for the
            U-curve.
        num: How many steps h.
        scale: Standard deviation of the scores: W is divided by the root mean square of ‖x‖.
        programs: How many random programs the checkers are compared on.
        library: Whether optax's losses and JAX's activations are checked.
    """

    sampled: options.Count = 32
    num: Annotated[int, options.at_least(2)] = 9
    scale: options.Positive = 1.0
    programs: options.Count = 1
    library: bool = False

    is_mostly_compilation: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.source, "centred")
    shape = recipes.zero_weights(dataset).shape
    direction = config.scale * np.random.default_rng(0).standard_normal(shape)
    W = direction / length(dataset.train)
    curves = {}
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            data = Data(features.astype(dataset.train.X, dtype), dataset.train.y)
            curves[jnp.dtype(dtype).name] = u_curve(jnp.asarray(W, dtype), data, config)
    steps, verdicts = np.geomspace(1e-7, 1e-1, 5), {}
    for kind in tqdm(settings.PIXELS, desc="verdicts", disable=None, leave=False, delay=1):
        part = settings.load(config.source, kind).train
        W_kind = jnp.asarray(direction / length(part), jnp.float32)
        verdicts[kind] = count_verdicts(W_kind, part, steps)
    return {
        "dataset": settings.facts(dataset),
        "coordinates": W.size,
        "examples": dataset.train.y.shape[0],
        "curves": curves,
        "verdict_steps": steps,
        "verdicts": verdicts,
        "checkers": compare_checkers(config.programs),
        "library": library.survey() if config.library else {},
    }


def length(data: Data) -> float:
    """Return the root mean square of ‖x‖."""
    return float(_length(data.X))


@jax.jit
def _length(X: features.Features) -> Any:
    return jnp.sqrt(jnp.mean(features.dense(X) ** 2) * X.shape[1])


def u_curve(W: Any, data: Data, config: Config) -> dict[str, Any]:
    """Return the errors (root mean square) of sampled central differences against h, by cause."""
    objective = Objective(reg=0.01)
    some = np.linspace(0, W.size - 1, min(config.sampled, W.size)).astype(np.int32)
    best = jaxsvm.gradients.suggest_h(objective, W, data)
    h = (best * np.logspace(-3, 3, config.num)).astype(W.dtype)
    exact = np.ravel(compiled.analytic_gradient(objective, W, data))[some]
    errors = []
    for step in tqdm(h, desc=f"U-curve, {W.dtype}", disable=None, leave=False, delay=1):
        sampled = recipes.sampled_differences(objective, W, data, some, step, batch_size=16)
        black_box = np.asarray(sampled)
        termwise = compiled.termwise_numerical_gradient(objective, W, data, h=step)
        termwise = np.ravel(termwise)[some]
        causes = (black_box - exact, termwise - exact, black_box - termwise)
        errors.append([float(np.sqrt(np.mean(error**2))) for error in causes])
    budget = jax.jit(jaxsvm.gradients.error_budget)(objective, W, data, h)
    return dict(zip(("measured", "crossing", "rounding"), np.array(errors).T, strict=True)) | {
        "h": h,
        "predicted_crossing": np.asarray(budget.crossing),
        "predicted_rounding": np.asarray(budget.rounding),
        "suggested": best,
    }


def count_verdicts(W: Any, data: Data, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many coordinates are smooth, kink and wrong, and what the naive check says."""
    counts = []
    for h in steps:
        check = check_gradient(Objective(reg=0.01), W, data, h=float(h))
        naive = np.asarray(compiled.relative_error(check.gradient, check.numerical))
        alarms = [int(np.sum(naive > most)) for most in (1e-2, 1e-4)]
        counts.append((check.num_smooth, check.num_kink, check.num_wrong, *alarms))
    names = ("smooth", "kink", "wrong", "naive_wrong", "naive_doubtful")
    return dict(zip(names, np.array(counts).T, strict=True))


def compare_checkers(num_programs: int) -> dict[str, Any]:
    """Return how often each checker raises an alarm, in float64, at the checkers' own defaults.

    On the SVM with ties, twice, and on random programs, at generic points, near kinks and on them
    in turn.
    """
    alarms: dict[str, list[np.ndarray]] = {}
    with jax.enable_x64(True):
        cases = [svm_with_ties(seed) for seed in range(2)]
        for seed in range(num_programs):
            point = programs.POINTS[seed % len(programs.POINTS)]
            one = programs.program(seed, point, jnp.float64)
            flat, unravel = ravel_pytree(one.params)
            cases.append((f"programs, {point}", _flattened(one.f, unravel), flat, None))
        for name, function, point, svm in tqdm(cases, disable=None, leave=False, delay=1):
            f = jax.jit(function)
            g = np.asarray(jax.jit(jax.jacfwd(f))(point))
            # What `check_gradient` does of a function, its measuring done once for all gradients.
            by_branches = inspected(f, point).check
            told = [
                ask_checkers(f, point, mutate(g), by_branches, svm) for mutate in MUTATIONS.values()
            ]
            for checker in told[0]:
                row = np.array([alarm[checker] for alarm in told])
                alarms.setdefault(f"{name}: {checker}", []).append(row)
    return {
        "columns": list(MUTATIONS),
        "names": list(alarms),
        "trials": np.array([len(rows) for rows in alarms.values()]),
        "alarms": np.array([np.sum(rows, axis=0) for rows in alarms.values()]),
    }


def _flattened(f: Callable[[Any], Any], unravel: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda flat: f(unravel(flat))


def ask_checkers(
    f: Callable[[Any], Any],
    point: Any,
    gradient: Any,
    by_branches: Callable[[Any], FunctionCheck],
    svm: Any,
) -> dict[str, bool]:
    """Return which checkers object to a gradient of f at a point; ours too where f is the SVM."""
    claimed = _claiming(f, gradient)
    told = {
        "jax.test_util.check_grads": _raises(jax.test_util.check_grads, claimed, (point,), 1),
        "chex.assert_numerical_grads": _raises(chex.assert_numerical_grads, claimed, (point,), 1),
        "check_gradient, by branches": not by_branches(gradient).is_right,
    }
    if TORCH:
        told["torch.autograd.gradcheck"] = not torch_agrees(f, point, gradient)
    if svm is not None:
        found = check_gradient(*svm, gradient=gradient.reshape(svm[1].shape))
        told["check_gradient, by hinges"] = found.num_wrong > 0
    return told


def torch_agrees(f: Callable[[Any], Any], point: Any, gradient: Any) -> bool:
    """Return whether torch's gradcheck passes a function of torch's that f and a gradient make."""
    import torch

    class Claimed(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            return torch.tensor(float(f(x.detach().numpy())), dtype=torch.float64)

        @staticmethod
        def backward(context: Any, outer: Any) -> Any:
            return outer * torch.tensor(np.asarray(gradient))

    x = torch.tensor(np.asarray(point), requires_grad=True)
    return torch.autograd.gradcheck(Claimed.apply, (x,), raise_exception=False)


def svm_with_ties(seed: int) -> tuple[str, Callable[[Any], Any], Any, Any]:
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (40, 6)).astype(float)
    X[:, -1] = 1.0
    data = Data(jnp.asarray(X), jnp.asarray(rng.integers(0, 4, 40), jnp.int32))
    W = jnp.asarray(rng.integers(-2, 3, (4, 6)).astype(float))
    objective = Objective(reg=0.1)
    svm = objective, W, data
    return "SVM with ties", lambda w: objective(w.reshape(4, 6), data), W.ravel(), svm


def _claiming(f: Callable[[Any], Any], gradient: Any) -> Callable[[Any], Any]:
    """Return f with ``gradient`` for its derivative, which these checkers ask autodiff for."""
    claimed = jax.custom_jvp(f)
    claimed.defjvp(lambda primals, tangents: (f(primals[0]), jnp.vdot(gradient, tangents[0])))
    return claimed


def _raises(check: Callable[..., Any], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except AssertionError:
        return True
    return False


def plot(arrays: dict[str, Any]) -> Figures:
    figures = {dtype: u_figure(dtype, curve) for dtype, curve in arrays["curves"].items()}
    verdicts = arrays["verdicts"]
    called = {f"naive check, {kind}": v["naive_wrong"] for kind, v in verdicts.items()}
    called["check_gradient, all three"] = np.max([v["wrong"] for v in verdicts.values()], axis=0)
    steps, total = arrays["verdict_steps"], arrays["coordinates"]
    alarms = draw.lines(
        {label: (steps, 100 * count / total) for label, count in called.items()},
        xlabel="step h, in units of W", ylabel="correct, and called wrong, %",
        title="False alarms on a correct gradient", xscale="log", marker="o",
    )  # fmt: skip
    return {f"u_curve_{dtype}": figure for dtype, figure in figures.items()} | {
        "alarms": Picture(
            alarms,
            "The gradient is right, so every alarm is a false one. The naive check (relative error "
            "above 1e-2) calls ever more weights wrong as h grows; the check that knows the kinks "
            "calls none.",
            "Line chart of the share of correct coordinates called wrong against h: it rises for "
            "the naive check and stays at the bottom for check_gradient.",
        )
    }


def u_figure(dtype: str, curve: dict[str, Any]) -> Picture:
    """Draw the error of a difference against h: what was measured on top of its two causes."""
    h, names = curve["h"], ("measured", "crossing", "rounding")
    every = np.concatenate([curve[name] for name in names])
    foot = np.min(every[every > 0]) / 10

    def seen(name: str) -> tuple[Any, Any]:
        return h, np.where(curve[name] > 0, curve[name], np.nan)

    none = h[curve["crossing"] == 0]
    figure = draw.lines(
        {"crossed kinks": seen("crossing"), "rounding": seen("rounding")},
        dashed={
            "crossed kinks, predicted": seen("predicted_crossing"),
            "rounding, predicted": seen("predicted_rounding"),
        },
        points={"the error itself": seen("measured")}
        | ({"no kink crossed: exactly 0": (none, np.full(len(none), foot))} if len(none) else {}),
        vertical={"suggested h": curve["suggested"]}, **LOG_LOG,
        xlabel="step h, in units of W", ylabel="error of a slope (r.m.s.)",
        title=f"Central differences in {dtype}",
    )  # fmt: skip
    return Picture(
        figure,
        f"The error of a central difference in {dtype}, and its two causes. The marks of the error "
        "itself lie on the falling line while rounding rules and on the rising one once kinks are "
        "crossed. Squares at the foot are exact zeros, for which a logarithmic axis has no place.",
        "Line chart on logarithmic axes: rounding falls with h, crossed kinks rise with it, and "
        "the measured error follows the larger of the two.",
    )


def report(arrays: dict[str, Any]) -> str:
    told, steps = arrays["checkers"], arrays["verdict_steps"]
    names = ("smooth", "kink", "wrong", "naive_doubtful", "naive_wrong")
    counts = table(
        "pixels | h {:.1g} | smooth {:,} | kink {:,} | wrong {:,} | naive: error > 1e-4 {:,} | "
        "naive: > 1e-2 {:,}",
        (
            (kind, *row)
            for kind, found in arrays["verdicts"].items()
            for row in zip(steps, *(found[name] for name in names), strict=True)
        ),
    )
    best = []
    for dtype, curve in arrays["curves"].items():
        h, error = curve["h"], curve["measured"]
        least, middle = error.argmin(), len(h) // 2  # the middle of the steps is the suggested one
        best.append((dtype, curve["suggested"], error[least], h[least], error[middle]))
    errors = table(
        "precision | suggested h {:.2g} | least error measured {:.2g} | at h {:.2g} | "
        "error at the suggested h {:.2g}",
        best,
    )
    alarms = (
        [share(int(n), int(trials)) for n in row]
        for row, trials in zip(told["alarms"], told["trials"], strict=True)
    )
    checkers = table(
        " | ".join(["function: checker", *told["columns"]]),
        ((name, *row) for name, row in zip(told["names"], alarms, strict=True)),
    )
    asked = any("torch" in name for name in told["names"])
    without = "" if asked else " torch is not installed: its gradcheck was not asked."
    wrong = sum(int(found["wrong"].sum()) for found in arrays["verdicts"].values())
    naive = max(int(found["naive_wrong"].max()) for found in arrays["verdicts"].values())
    return (
        f"The formula is right at every one of {arrays['coordinates']:,} weights: `check_gradient` "
        f"calls {wrong or 'none'} wrong at any h, where the naive check calls up to {naive:,} "
        "wrong.\n\n"
        "### Where a difference goes wrong\n\n"
        "The error of a central difference falls with h while rounding rules and rises when kinks "
        "are crossed:\n\n"
        + "\n\n".join(f"[[u_curve_{dtype}]]" for dtype in arrays["curves"])
        + f"\n\n{errors}\n\n"
        "### The verdict on every weight\n\n[[alarms]]\n\n"
        f"Every one of {arrays['coordinates']:,} coordinates, summed over all "
        f"{arrays['examples']:,} training examples. The gradient is the closed form, so every "
        f"alarm is a false one:\n\n{counts}\n\n"
        "### Other checkers\n\n"
        "How often each checker raises an alarm, at its defaults in float64, with the 95 % "
        "interval of its rate (Clopper and Pearson's): on the correct gradient it should never, on "
        f"each mistake always.{without}\n\n{checkers}\n{_library(arrays)}"
    )


def share(count: int, trials: int) -> str:
    """Return a count with the interval of what it is a sample of."""
    # Here, because who only measures need not wait for it; scipy.stats takes longer than jax.
    from scipy.special import betaincinv as quantile

    low = quantile(count, trials - count + 1, 0.025) if count else 0.0
    high = quantile(count + 1, trials - count, 0.975) if count < trials else 1.0
    return f"{count} of {trials} ({100 * low:.0f} to {100 * high:.0f} %)"


def claims(arrays: dict[str, Any]) -> list[Claim]:
    curve = arrays["curves"]["float64"]
    error, middle = curve["measured"], len(curve["h"]) // 2
    return [
        Claim(
            "there is a best h: too large crosses kinks, too small rounds",
            f"in float64 the error is {error[0]:.1e} at h = {curve['h'][0]:.0e}, "
            f"{error.min():.1e} at {curve['h'][error.argmin()]:.0e} and {error[-1]:.1e} at "
            f"{curve['h'][-1]:.0e}; suggested: {curve['h'][middle]:.0e}",
            "reproduced" if error.min() < min(error[0], error[-1]) else "not reproduced",
        )
    ]


def _library(arrays: dict[str, Any]) -> str:
    if not arrays["library"]:
        return ""
    found = table_of(arrays["library"])
    return f"\nThe gradients of optax's losses and JAX's activations, by coordinates:\n\n{found}\n"


if __name__ == "__main__":
    runner.main(__name__)
