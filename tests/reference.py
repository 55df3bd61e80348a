"""The oracle: plain NumPy loops straight off the notes, in float64, sharing nothing with jaxsvm.

Slow on purpose. Where the library has a mask, a product or a sort, this has a loop and an if.
"""

from collections.abc import Callable

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
