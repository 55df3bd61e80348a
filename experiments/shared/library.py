"""Every loss of optax and every activation of JAX, at generic points and where they may have kinks.

What `check_gradient` says of each of their gradients. At a kink every number between the slopes of
both sides is accepted, so that what is wrong here is outside of them, or no number at all.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from optax import losses
from tqdm import tqdm

from jaxsvm import check_gradient
from jaxsvm.gradients import FunctionCheck, Verdict

# Where activations have kinks, if any, and in between.
PLACES = (-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, -1.7, 0.3, 2.2)
# No functions of floats to floats of one argument.
NOT_ACTIVATIONS = {
    "dot_product_attention", "get_scaled_dot_general_config", "one_hot", "scaled_dot_general",
    "scaled_matmul",
}  # fmt: skip


class Case(NamedTuple):
    """A function, a generic point, and one with ties."""

    f: Callable[[Any], Any]
    generic: Any
    tied: Any


def survey() -> dict[str, list[Any]]:
    """Return what is said of all, in float64, as the columns of a table."""
    rows = []
    with jax.enable_x64(True):
        cases = {f"jax.nn.{name}": case for name, case in activations().items()}
        cases |= {f"optax.losses.{name}": case for name, case in optax_losses().items()}
        for name, case in tqdm(cases.items(), desc="library", disable=None, leave=False, delay=1):
            checks = [check_gradient(case.f, point) for point in (case.generic, case.tied)]
            rows.append((name, *map(counts, checks), findings(checks[0]) or findings(checks[1])))
    names = ("function", "generic", "at ties", "wrong")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def counts(check: FunctionCheck) -> str:
    """Return the numbers of verdicts that occur."""
    numbers = ((verdict, int(np.sum(check.verdict == verdict))) for verdict in Verdict)
    return ", ".join(f"{number} {verdict.name.lower()}" for verdict, number in numbers if number)


def findings(check: FunctionCheck) -> str:
    """Return what is wrong, and what made a number that is not finite."""
    wrong = [one for one in check.worst if one.verdict == Verdict.WRONG][:2]
    said = [
        f"{one.path}: {one.gradient:.3g}, slopes {one.left:.3g} and {one.right:.3g}"
        for one in wrong
    ]
    if check.nonfinite is not None:
        said.append(f"not finite from {check.nonfinite.primitive} on")
    return "; ".join(said)


def activations() -> dict[str, Case]:
    """Return all activations of `jax.nn`."""
    tied = jnp.array(PLACES)
    generic = jnp.array([-1.7, 0.3, 2.2, -0.2])
    found = {}
    for name in dir(jax.nn):
        f = getattr(jax.nn, name)
        if name.startswith("_") or name in NOT_ACTIVATIONS or inspect.ismodule(f):
            continue
        if name == "log1mexp":  # of positive numbers
            found[name] = Case(f, jnp.abs(generic), jnp.array([np.log(2.0), 1.0, 3.0]))
        else:
            found[name] = Case(f, generic, tied)
    # A vector of equal numbers is where its spread has a kink.
    for name in ("standardize", "softmax", "log_softmax", "logsumexp"):
        found[name] = found[name]._replace(tied=jnp.ones(4))
    return found


def optax_losses() -> dict[str, Case]:
    """Return all losses of `optax.losses`, as functions of their predictions."""
    x, one = jnp.array([0.3, -1.2, 2.4]), jnp.ones(3)
    ties = jnp.array([1.0, 0.0, 2.0])  # at the target, and at a distance of 1
    scores, level = jnp.array([[0.3, -1.2, 2.4], [1.5, 0.1, -0.7]]), jnp.zeros((2, 3))
    hinge_tie = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    labels, hot = jnp.array([0, 1]), jnp.eye(3)[:2]
    logs = jax.nn.log_softmax(scores)
    shares = jnp.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    binary = jnp.array([1.0, 0.0, 1.0])
    embeddings = jnp.array([[1.0, 0.2], [0.3, 1.0], [-0.4, 0.6], [0.9, -0.8]])
    pairs, steps = (
        jnp.array([0, 0, 1, 1]),
        jnp.array(np.random.default_rng(0).normal(size=(1, 4, 3))),
    )

    def of(name: str, *rest: Any, **settings: Any) -> Callable[[Array], Any]:
        return lambda p: getattr(losses, name)(p, *rest, **settings)

    def ctc(name: str) -> Case:
        rest = (jnp.zeros((1, 4)), jnp.array([[1, 2]]), jnp.zeros((1, 2)))
        return Case(of(name, *rest), steps, jnp.zeros((1, 4, 3)))

    found = {
        name: Case(of(name, one), x, ties) for name in ("squared_error", "l2_loss", "log_cosh")
    }
    found["huber_loss"] = Case(of("huber_loss", one), x, ties)
    for name in ("hinge_loss", "perceptron_loss", "sparsemax_loss"):
        targets = jnp.array([1.0, 0.0 if name == "sparsemax_loss" else -1.0, 1.0])
        found[name] = Case(of(name, targets), x, jnp.array([1.0, -1.0, 0.0]))
    for name in ("multiclass_hinge_loss", "multiclass_sparsemax_loss"):
        found[name] = Case(of(name, labels), scores, hinge_tie)
    perceptron = "multiclass_perceptron_loss"
    found[perceptron] = Case(of(perceptron, labels), scores, level)
    for name in ("sigmoid_binary_cross_entropy", "sigmoid_focal_loss", "binary_dice_loss"):
        found[name] = Case(of(name, binary), x, jnp.zeros(3))
    for name in (
        "softmax_cross_entropy", "safe_softmax_cross_entropy", "poly_loss_cross_entropy",
        "dice_loss", "multiclass_generalized_dice_loss", "ranking_softmax_loss",
    ):  # fmt: skip
        found[name] = Case(of(name, hot), scores, level)
    integers = "softmax_cross_entropy_with_integer_labels"
    found[integers] = Case(of(integers, labels), scores, level)
    for name in ("kl_divergence", "convex_kl_divergence", "generalized_kl_divergence"):
        found[name] = Case(of(name, shares), logs, jnp.log(jnp.full((2, 3), 1 / 3)))
    found["kl_divergence_with_log_targets"] = Case(
        of("kl_divergence_with_log_targets", logs), logs - 0.3, logs
    )
    for name in ("cosine_similarity", "cosine_distance"):
        found[name] = Case(of(name, hot), scores, level)
    found["triplet_margin_loss"] = Case(
        of("triplet_margin_loss", scores[::-1], scores + 1.0), scores * 0.9, scores[::-1]
    )
    found["ntxent"] = Case(of("ntxent", pairs), embeddings, jnp.ones((4, 2)))
    found["ctc_loss"], found["ctc_loss_with_forward_probs"] = map(
        ctc, ("ctc_loss", "ctc_loss_with_forward_probs")
    )
    young = losses.make_fenchel_young_loss(jax.nn.logsumexp)
    found["make_fenchel_young_loss"] = Case(lambda p: young(p, hot[0]), x, jnp.zeros(3))
    found["smooth_labels"] = Case(of("smooth_labels", 0.1), scores, level)
    return found
