"""The oracle: plain NumPy loops straight off the notes, in float64, sharing nothing with jaxsvm.

Slow on purpose. Where the library has a mask, a product or a sort, this has a loop and an if.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


def score(W, X):
    """scores[i, j] = Σ_d W[j, d] X[i, d]."""
    W, X = np.asarray(W, float), np.asarray(X, float)
    N, C = len(X), len(W)
    scores = np.zeros((N, C))
    for i in range(N):
        for j in range(C):
            for d in range(X.shape[1]):
                scores[i, j] += W[j, d] * X[i, d]
    return scores


def hinge_loss_one(s, y, delta=1.0):
    """The notes' L_i: loop over the wrong classes."""
    loss = 0.0
    for j in range(len(s)):
        if j == y:
            continue
        loss += max(0.0, s[j] - s[y] + delta)
    return loss


def squared_hinge_loss_one(s, y, delta=1.0):
    loss = 0.0
    for j in range(len(s)):
        if j == y:
            continue
        loss += max(0.0, s[j] - s[y] + delta) ** 2
    return loss


def crammer_singer_loss_one(s, y, delta=1.0):
    worst = 0.0
    for j in range(len(s)):
        if j != y and s[j] - s[y] + delta > worst:
            worst = s[j] - s[y] + delta
    return worst


def one_vs_rest_loss_one(s, y, delta=1.0):
    loss = 0.0
    for j in range(len(s)):
        sign = 1.0 if j == y else -1.0
        loss += max(0.0, delta - sign * s[j])
    return loss


LOSSES: dict[str, Callable[..., float]] = {
    "hinge_loss": hinge_loss_one,
    "squared_hinge_loss": squared_hinge_loss_one,
    "crammer_singer_loss": crammer_singer_loss_one,
    "one_vs_rest_loss": one_vs_rest_loss_one,
}


def losses(name, scores, y, delta=1.0):
    """(N,) losses of one of LOSSES, example by example."""
    scores, y = np.asarray(scores, float), np.asarray(y)
    return np.array([LOSSES[name](s, int(k), delta) for s, k in zip(scores, y, strict=True)])


def penalty(name, W):
    """ΣΣ W² ("l2_penalty") or ΣΣ |W| ("l1_penalty"), entry by entry."""
    total = 0.0
    for w in np.asarray(W, float).ravel():
        total += w * w if name == "l2_penalty" else abs(w)
    return total


def objective(W, X, y, *, loss="hinge_loss", penalty_name="l2_penalty", reg=0.0, delta=1.0):
    """(1/N) Σ_i loss_i + reg · R(W)."""
    data_loss = sum(losses(loss, score(W, X), y, delta)) / len(X)
    return data_loss + reg * penalty(penalty_name, W)


def hinge_gradient(W, X, y, *, reg=0.0, delta=1.0):
    """The notes' gradient rows: −(count) x_i on row y_i, x_i on each violated row; then 2·reg·W."""
    W, X, y = np.asarray(W, float), np.asarray(X, float), np.asarray(y)
    gradient = np.zeros_like(W)
    for i in range(len(X)):
        s = W @ X[i]
        for j in range(len(W)):
            if j != y[i] and s[j] - s[y[i]] + delta > 0:
                gradient[j] += X[i]
                gradient[y[i]] -= X[i]
    return gradient / len(X) + 2 * reg * W


def eval_numerical_gradient(f, W, h=1e-5, method="forward"):
    """The notes' listing: perturb an entry in place, evaluate, restore. f: array -> float."""
    W = np.array(W, dtype=float)
    base = f(W) if method == "forward" else None
    gradient = np.zeros_like(W)
    it = np.nditer(W, flags=["multi_index"])
    while not it.finished:
        index = it.multi_index
        old = W[index]
        W[index] = old + h
        right = f(W)
        if method == "forward":
            gradient[index] = (right - base) / h
        else:
            W[index] = old - h
            gradient[index] = (right - f(W)) / (2 * h)
        W[index] = old
        it.iternext()
    return gradient


def random_search(f, draws, start):
    """The notes' listing 1 over given draws, but for its start: a known W and its loss."""
    best_loss, best, losses, kept = f(start), start, [], []
    for W in draws:
        loss = f(W)
        losses.append(loss)
        kept.append(loss < best_loss)
        if loss < best_loss:
            best_loss, best = loss, W
    return best, best_loss, losses, kept


def local_search(f, steps, start):
    """The notes' listing 2 over given steps, but for its start, which is evaluated."""
    best_loss, W, losses, kept = f(start), np.array(start, float), [], []
    for delta in steps:
        trial = W + delta
        loss = f(trial)
        losses.append(loss)
        kept.append(loss < best_loss)
        if loss < best_loss:
            best_loss, W = loss, trial
    return W, best_loss, losses, kept


def gradient_descent(gradient, W, step_sizes, momentum=0.0, nesterov=False):
    """W after each step size: the notes' loop, with the velocity written out."""
    W, velocity, path = np.array(W, float), np.zeros_like(W, float), []
    for step_size in step_sizes:
        g = gradient(W)
        velocity = momentum * velocity + g
        W = W - step_size * (g + momentum * velocity if nesterov else velocity)
        path.append(W)
    return path


def pulled_back(name, dual, y):
    """(N, C) G of the dual variables: +a at a wrong class, minus their sum at the right one."""
    dual = np.asarray(dual, float)
    G = np.zeros_like(dual)
    for i in range(len(dual)):
        for j in range(dual.shape[1]):
            if name == "one_vs_rest_loss":
                G[i, j] = -dual[i, j] if j == y[i] else dual[i, j]
            elif j != y[i]:
                G[i, j] += dual[i, j]
                G[i, y[i]] -= dual[i, j]
    return G


def dual_value(name, dual, X, y, *, reg, delta=1.0):
    """min over W of reg·ΣΣW² plus the supporting lines of all hinges, for feasible slopes."""
    X, dual = np.asarray(X, float), np.asarray(dual, float)
    N, value = len(X), 0.0
    for i in range(N):
        for j in range(dual.shape[1]):
            value += delta * dual[i, j] / N
            if name == "squared_hinge_loss":
                value -= dual[i, j] ** 2 / (4 * N)
    V = pulled_back(name, dual, y).T @ X / N
    return value - float(np.sum(V * V)) / (4 * reg)


# The family of multiclass hinges. `family_loss_one` is the definition; everything after it goes
# through the terms' linear pieces instead, and the tests hold the two against each other.


class Machine(NamedTuple):
    """One multiclass hinge, by the words of its definition; its name is a key of `FAMILY`."""

    margins: str
    terms: str
    join: str = "sum"
    power: int = 1
    own_weight: float | None = None
    costs: tuple[tuple[float, ...], ...] | None = None


NAMED = {
    "Weston-Watkins": Machine("relative", "wrong"),
    "Crammer-Singer": Machine("relative", "wrong", "max"),
    "one-vs-rest": Machine("absolute", "all"),
    "Lee-Lin-Wahba": Machine("centred", "wrong"),
    "ADM": Machine("centred", "wrong", "max"),
    "ATM": Machine("centred", "all", "max"),
    "ATS": Machine("centred", "all"),
    "MMR": Machine("centred", "own"),
}
FAMILY = {
    **NAMED,
    **{f"squared {name}": machine._replace(power=2) for name, machine in NAMED.items()},
    "reinforced": Machine("centred", "all", own_weight=0.5),
    "squared reinforced": Machine("centred", "all", power=2, own_weight=0.5),
}


def family_loss_one(
    s, y, margins, terms, join, power, delta=1.0, own_weight=None, costs=None
) -> float:
    """The loss of one example: loop over the classes, skip those that have no term."""
    C = len(s)
    mean = sum(s) / C
    total, worst = 0.0, 0.0
    for j in range(C):
        if terms == "wrong" and j == y:
            continue
        if terms == "own" and j != y:
            continue
        if margins == "relative":
            m = s[j] - s[y]
        elif margins == "absolute":
            m = -s[y] if j == y else s[j]
        else:
            m = mean - s[y] if j == y else s[j] - mean
        target, weight = delta, 1.0
        if costs is not None:
            target = delta * costs[y][j]
        if own_weight is not None and j == y:
            target, weight = delta * (C - 1), own_weight
        elif own_weight is not None:
            weight = 1 - own_weight
        hinge = max(0.0, m + target) ** power
        total += weight * hinge
        worst = max(worst, hinge)
    return total if join == "sum" else worst


def family_losses(machine, scores, y, delta=1.0):
    """(N,) losses, example by example."""
    margins, terms, join, power, own_weight, costs = machine
    return np.array(
        [
            family_loss_one(s, int(k), margins, terms, join, power, delta, own_weight, costs)
            for s, k in zip(np.asarray(scores, float), np.asarray(y), strict=True)
        ]
    )


def family_objective(machine, W, X, y, *, reg=0.0, delta=1.0, penalty_name="l2_penalty"):
    """(1/N) Σ_i loss_i + reg · R(W)."""
    data_loss = sum(family_losses(machine, score(W, X), y, delta)) / len(X)
    return data_loss + reg * penalty(penalty_name, W)


class Term(NamedTuple):
    """weight · max(0, row·s + target)**power, the term of class j."""

    j: int
    row: np.ndarray
    target: float
    weight: float


def family_terms(machine, y, C, delta=1.0):
    """The terms of one example with label y: rows of the margins' matrix B_y, and constants."""
    classes = {"wrong": [j for j in range(C) if j != y], "all": list(range(C)), "own": [y]}
    found = []
    for j in classes[machine.terms]:
        row = np.zeros(C)
        row[j] = -1.0 if j == y else 1.0
        if machine.margins == "relative":
            row[y] -= 1.0
        if machine.margins == "centred":
            row -= np.sum(row) / C
        target = delta * (machine.costs[y][j] if machine.costs else 1.0)
        weight = 1.0
        if machine.own_weight is not None:
            weight = machine.own_weight if j == y else 1 - machine.own_weight
            target = delta * (C - 1) if j == y else delta
        found.append(Term(j, row, target, weight))
    return found


def family_slopes_one(machine, s, y, delta=1.0, *, ties=False):
    """(C,) slopes of the loss in its margins, 0 at kinks, and the first of several largest.

    With ``ties`` a margin of exactly 0 counts as if it were above 0: a mistake to be found.
    """
    slopes = np.zeros(len(s))
    terms = family_terms(machine, y, len(s), delta)
    if machine.join == "max" and terms:
        values = [float(term.row @ s) + term.target for term in terms]
        terms = [terms[values.index(max(values))]]
    for term in terms:
        m = float(term.row @ s) + term.target
        if m > 0 or (ties and m == 0):
            slopes[term.j] = term.weight * (1.0 if machine.power == 1 else 2 * m)
    return slopes


def family_pulled_back(machine, slopes, y):
    """(N, C) slopes in the scores: each example's slopes times its rows."""
    slopes = np.asarray(slopes, float)
    G = np.zeros_like(slopes)
    for i in range(len(slopes)):
        for term in family_terms(machine, int(y[i]), slopes.shape[1]):
            G[i] += slopes[i, term.j] * term.row
    return G


def family_gradient(machine, W, X, y, *, reg=0.0, delta=1.0, ties=False):
    """Each example's slopes in the scores times its features, and 2·reg·W."""
    W, X, y = np.asarray(W, float), np.asarray(X, float), np.asarray(y)
    gradient = np.zeros_like(W)
    scores = score(W, X)
    for i in range(len(X)):
        slopes = family_slopes_one(machine, scores[i], int(y[i]), delta, ties=ties)
        pulled = family_pulled_back(machine, slopes[None], y[i : i + 1])[0]
        for k in range(len(W)):
            gradient[k] += pulled[k] * X[i]
    return gradient / len(X) + 2 * reg * W


def family_one_sided(machine, W, direction, X, y, *, reg=0.0, delta=1.0):
    """The left and right slope of the objective along W + t·direction at t = 0.

    A maximum moves as the pieces that reach it: to the right as the steepest, to the left as the
    least steep; a constant 0 is one of the pieces.
    """
    W, direction = np.asarray(W, float), np.asarray(direction, float)
    scores, moves, y = score(W, X), score(direction, X), np.asarray(y)
    left = right = 0.0
    for s, ds, k in zip(scores, moves, y, strict=True):
        terms = family_terms(machine, int(k), len(s), delta)
        groups = [[term] for term in terms] if machine.join == "sum" else [terms]
        for group in groups:
            pieces = [(0.0, 0.0)]
            pieces += [(float(t.row @ s) + t.target, float(t.row @ ds)) for t in group]
            top = max(m for m, _ in pieces)
            reaching = [v for m, v in pieces if m == top]
            factor = (group[0].weight if group else 1.0) * (2 * top if machine.power == 2 else 1.0)
            left += factor * min(reaching)
            right += factor * max(reaching)
    smooth = 2 * reg * float(np.sum(W * direction))
    return left / len(y) + smooth, right / len(y) + smooth


def family_kinks(machine, W, direction, X, y, *, delta=1.0):
    """Every t at which one example's loss along W + t·direction is no polynomial, sorted.

    Brute force: all crossings of two pieces (the constant 0 is one), less those of a maximum that
    happen below it.
    """
    scores, moves, found = score(W, X), score(direction, X), []
    for s, ds, k in zip(scores, moves, np.asarray(y), strict=True):
        terms = family_terms(machine, int(k), len(s), delta)
        pieces = [(float(t.row @ s) + t.target, float(t.row @ ds)) for t in terms]
        if machine.join == "sum":
            found += [-u / v for u, v in pieces if v != 0]
            continue
        pieces.append((0.0, 0.0))
        for first in range(len(pieces)):
            for second in range(first):
                (a, p), (b, q) = pieces[first], pieces[second]
                if p == q:
                    continue
                t = (b - a) / (p - q)
                if a + t * p >= max(u + t * v for u, v in pieces) - 1e-12 * (1 + abs(t)):
                    found.append(t)
    return np.sort(np.array(found))


def family_conjugate_one(machine, slopes, y):
    """φ(a), what the supporting lines of one example lose against its margins' sum."""
    if machine.power == 1:
        return 0.0
    if machine.join == "max":
        return sum(slopes) ** 2 / 4
    terms = family_terms(machine, y, len(slopes))
    return sum(slopes[term.j] ** 2 / (4 * term.weight) for term in terms)


def family_is_feasible(machine, slopes, y, tolerance=0.0):
    """Whether all slopes are those of lines below the loss."""
    for a, k in zip(np.asarray(slopes, float), np.asarray(y), strict=True):
        terms = {term.j: term for term in family_terms(machine, int(k), len(a))}
        for j in range(len(a)):
            upper = np.inf if machine.power == 2 else terms[j].weight if j in terms else 0.0
            if j not in terms:
                upper = 0.0
            if not -tolerance <= a[j] <= upper + tolerance:
                return False
        if machine.join == "max" and machine.power == 1 and sum(a) > 1 + tolerance:
            return False
    return True


def family_random_slopes(rng, machine, y, C):
    """(N, C) random feasible slopes, some of them on the edge of the feasible set."""
    slopes = np.zeros((len(y), C))
    for i in range(len(y)):
        terms = family_terms(machine, int(y[i]), C)
        scale = 2.0 if machine.power == 2 else 1.0
        for term in terms:
            slopes[i, term.j] = scale * term.weight * min(1.0, rng.uniform(0, 1.3))
            if rng.uniform() < 0.3:
                slopes[i, term.j] = 0.0
        if machine.join == "max" and machine.power == 1 and sum(slopes[i]) > 1:
            slopes[i] /= sum(slopes[i]) * (1 + 1e-15)
    return slopes


def family_dual_value(machine, slopes, X, y, *, reg, delta=1.0):
    """min over W of the supporting lines with these slopes plus reg·ΣΣW², in closed form."""
    slopes, X, y = np.asarray(slopes, float), np.asarray(X, float), np.asarray(y)
    N, value = len(X), 0.0
    for i in range(N):
        for term in family_terms(machine, int(y[i]), slopes.shape[1], delta):
            value += slopes[i, term.j] * term.target / N
        value -= family_conjugate_one(machine, slopes[i], int(y[i])) / N
    V = family_pulled_back(machine, slopes, y).T @ X / N
    return value - float(np.sum(V * V)) / (4 * reg)


class Optimum(NamedTuple):
    """The minimum of an objective by an interior point method, and where it is."""

    value: float
    W: np.ndarray


def family_optimum(machine, X, y, C, *, reg, delta=1.0, sum_to_zero=False):
    """Solve the primal quadratic program with Clarabel through cvxpy, to about 1e-9.

    With ``sum_to_zero`` the literature's constraint Σ_c W[c] = 0 is added.
    """
    cvxpy = late_cvxpy()
    X, y = np.asarray(X, float), np.asarray(y)
    W = cvxpy.Variable((C, X.shape[1]))
    total: Any = reg * cvxpy.sum_squares(W)
    for i in range(len(X)):
        terms = family_terms(machine, int(y[i]), C, delta)
        if not terms:
            continue
        m = np.stack([t.row for t in terms]) @ (W @ X[i]) + np.array([t.target for t in terms])
        if machine.join == "max":
            m = cvxpy.max(m)
        hinges = cvxpy.pos(m)
        if machine.power == 2:
            hinges = cvxpy.square(hinges)
        weights = np.array([t.weight for t in terms]) if machine.join == "sum" else np.ones(1)
        total += cvxpy.sum(cvxpy.multiply(weights, hinges)) / len(X)
    constraints = [cvxpy.sum(W, axis=0) == 0] if sum_to_zero else []
    solve_problem(cvxpy.Problem(cvxpy.Minimize(total), constraints))
    return Optimum(family_objective(machine, W.value, X, y, reg=reg, delta=delta), W.value)


def family_dual_optimum(machine, X, y, C, *, reg, delta=1.0):
    """The largest `family_dual_value` of all feasible slopes, as a program of its own."""
    cvxpy = late_cvxpy()
    X, y = np.asarray(X, float), np.asarray(y)
    N = len(X)
    a = cvxpy.Variable((N, C), nonneg=True)
    gain: Any = 0
    V: Any = 0
    constraints: list[Any] = []
    for i in range(N):
        terms = {t.j: t for t in family_terms(machine, int(y[i]), C, delta)}
        all_terms = sum(a[i, j] for j in terms)
        for j, term in terms.items():
            gain += a[i, j] * term.target
            V += cvxpy.reshape(a[i, j] * np.outer(term.row, X[i]).ravel(), (C * X.shape[1],), "C")
            if machine.join == "sum" and machine.power == 1:
                constraints.append(a[i, j] <= term.weight)
            if machine.join == "sum" and machine.power == 2:
                gain -= cvxpy.square(a[i, j]) / (4 * term.weight)
        if machine.join == "max" and machine.power == 1:
            constraints.append(all_terms <= 1)
        if machine.join == "max" and machine.power == 2:
            gain -= cvxpy.square(all_terms) / 4
    problem = cvxpy.Problem(
        cvxpy.Maximize(gain - cvxpy.sum_squares(V) / (4 * reg * N)), constraints
    )
    solve_problem(problem)
    return problem.value / N


def late_cvxpy() -> Any:
    """Import it late: that takes seconds, and only the tests of optima need it."""
    return importlib.import_module("cvxpy")


def solve_problem(problem):
    tight = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}
    problem.solve(solver="CLARABEL", **tight)
    assert problem.status == "optimal", problem.status
