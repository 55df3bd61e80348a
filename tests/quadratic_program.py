"""The optimum of an objective by SciPy or Clarabel, for the tests of the certified solver."""

import numpy as np
import scipy.optimize

from tests import reference


def quadratic_program(name, data, C, reg):
    """The optimum of the dual, knowing nothing but the reference's D."""
    X, y = np.asarray(data.X, np.float64), np.asarray(data.y)
    N = len(X)
    # D is quadratic in the slopes: read its pieces off unit vectors.
    n = N * C
    pulled = np.stack(
        [
            (reference.pulled_back(name, np.eye(n)[k].reshape(N, C), y).T @ X / N).ravel()
            for k in range(n)
        ]
    )
    free = np.ones((N, C), bool)
    if name != "one_vs_rest_loss":
        free[np.arange(N), y] = False
    upper = np.where(free.ravel(), np.inf if name == "squared_hinge_loss" else 1.0, 0.0)
    linear = np.where(free.ravel(), 1.0, 0.0)

    if name == "crammer_singer_loss":
        # The slopes of an example are at most 1 together, which L-BFGS-B cannot be told.
        cvxpy = reference.late_cvxpy()
        a = cvxpy.Variable(n, nonneg=True)
        curved = cvxpy.sum_squares(np.sqrt(N / (2 * reg)) * pulled.T @ a) / 2
        whole = [a <= upper, np.kron(np.eye(N), np.ones((1, C))) @ a <= 1]
        problem = cvxpy.Problem(cvxpy.Minimize(curved - linear @ a), whole)
        reference.solve_problem(problem)
        return -problem.value / N
    # N times D, whose numbers are near 1.
    H = N * pulled @ pulled.T / (2 * reg)
    if name == "squared_hinge_loss":
        H = H + np.eye(n) / 2

    def negative(a):
        Ha = H @ a
        return a @ Ha / 2 - linear @ a, Ha - linear

    bounds = scipy.optimize.Bounds(np.zeros(n), upper)
    found = scipy.optimize.minimize(
        negative, np.zeros(n), jac=True, bounds=bounds, method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000, "maxfun": 50000},
    )  # fmt: skip
    return -found.fun / N
