"""Other packages that minimize one of our objectives, each as a function that returns W.

`PEERS` says which objectives a package has, by their names in `jaxsvm.core.FAMILY`, and with which
options. scikit-learn is always there; the others take part where they are installed:

    pip install liblinear-multicore snapml dual-fw-svm rehline

All have ½‖w‖² + C·Σ, or that divided by C·N; ours, reg·‖W‖² + mean, is the same up to a factor at
C = 1/(2·reg·N). None fits an intercept: the bias is a column of ones in X. Each takes at most
``effort`` passes and stops earlier where it knows how, at its own tolerance of 1/effort. liblinear
takes no number of passes, only a tolerance; its dual solver of hinges ends after 300 whatever that
is. Of these only dual-fw-svm has Weston-Watkins, so scikit-learn gets it as binary rows.

`Apart` runs them in a process of its own, since compiled code cannot be told to stop.
"""

import importlib
import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.svm import LinearSVC

from experiments.shared.settings import SMALL_SIZE
from experiments.shared.timing import timed
from jaxsvm.optimizers.identity import cores

THREADS = cores() or 1


class Peer(NamedTuple):
    """A solver of another package.

    Attributes:
        name: what its row says.
        package: what pip installs.
        module: what is imported.
        fit: ``(X, y, reg, effort, **options) -> W``, (C, D), for C > 2 classes.
        options: for each objective it minimizes, how it says so.
        dtype: of its arithmetic; it is given X in that.
        bytes: ``(N, D, C) -> bytes`` of what it makes of X, where that is many times X.
    """

    name: str
    package: str
    module: str
    fit: Callable[..., np.ndarray]
    options: Mapping[str, Mapping[str, Any]]
    dtype: str = "float64"
    bytes: Callable[[int, int, int], float] = lambda N, D, C: 0.0

    def call(self, loss: str, X: np.ndarray, y: np.ndarray, reg: float, effort: int) -> np.ndarray:
        """Return W; that it ended before it converged is no news."""
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            return self.fit(X, y, reg, effort, **self.options[loss])


def cost(reg: float, y: np.ndarray) -> float:
    """Return the C of ½‖w‖² + C·Σ at which it is ours."""
    return 1 / (2 * reg * len(y))


def linear_svc(X: Any, y: np.ndarray, reg: float, effort: int, **options: Any) -> np.ndarray:
    model = LinearSVC(
        C=cost(reg, y), tol=1 / effort, max_iter=effort, dual="auto", fit_intercept=False,
        random_state=0, **options,
    )  # fmt: skip
    return model.fit(X, y).coef_


def pairs(X: np.ndarray, y: np.ndarray, reg: float, effort: int) -> np.ndarray:
    """Minimize Weston-Watkins as a binary machine, a row for each example and wrong class.

    The row has x in the block of the right class and −x in that of the wrong one, so that its score
    is s_y − s_j. Every other row is turned round, since liblinear wants two classes.
    """
    D, C = X.shape[1], int(y.max()) + 1
    example, wrong = np.nonzero(np.arange(C) != y[:, None])
    signs = np.where(np.arange(len(example)) % 2, 1.0, -1.0)
    blocks = np.stack([y[example], wrong], axis=1)
    columns = blocks[:, :, None] * D + np.arange(D)
    values = (signs[:, None] * [1.0, -1.0])[:, :, None] * X[example][:, None, :]
    starts = np.arange(len(example) + 1) * 2 * D
    rows = csr_matrix((values.ravel(), columns.ravel(), starts), shape=(len(example), C * D))
    rows.sort_indices()
    # Its mean is over the rows, C − 1 of them for each example.
    return linear_svc(rows, signs, reg / (C - 1), effort, loss="hinge").reshape(C, D)


def pairs_bytes(N: int, D: int, C: int) -> float:
    """Return the bytes of those rows: each has 2·D numbers in float64, each with its column."""
    return float(N * (C - 1) * 2 * D * (8 + 4))


def liblinear(
    X: np.ndarray, y: np.ndarray, reg: float, effort: int, *, solver: int, parallel: bool = True
) -> np.ndarray:
    from liblinear.liblinearutil import train

    # It has no limit of passes, so that the first tolerances are loose.
    options = f"-s {solver} -c {cost(reg, y):.17g} -e {100 / effort:.17g} -B -1 -q"
    # On few rows its threads wait for each other most of the time.
    if parallel and X.size > SMALL_SIZE:
        options += f" -m {THREADS}"
    model = train(y.astype(float), csr_matrix(X), options)
    shape = model.nr_feature, model.nr_class
    W = np.ctypeslib.as_array(model.w, shape).T  # of the model's memory
    return W[np.argsort(model.get_labels())]


def snap(X: np.ndarray, y: np.ndarray, reg: float, effort: int, *, loss: str) -> np.ndarray:
    import snapml

    model = snapml.SupportVectorMachine(
        loss=loss, regularizer=1 / cost(reg, y), max_iter=effort, tol=0.0, n_jobs=THREADS,
        fit_intercept=False, random_state=0,
    )  # fmt: skip
    return model.fit(X, y).coef_


def frank_wolfe(
    X: np.ndarray, y: np.ndarray, reg: float, effort: int, *, formulation: str
) -> np.ndarray:
    from dual_fw_svm import MulticlassFrankWolfeSVM

    model = MulticlassFrankWolfeSVM(
        C=cost(reg, y), formulation=formulation, max_iter=effort, tol=0.0
    )
    return model.fit(X, y).coef_


def rehline(X: np.ndarray, y: np.ndarray, reg: float, effort: int, *, loss: str) -> np.ndarray:
    from rehline import plq_Ridge_Classifier

    model = plq_Ridge_Classifier(
        loss={"name": loss}, C=cost(reg, y), max_iter=effort, tol=1 / effort, n_jobs=THREADS,
        fit_intercept=False,
    )  # fmt: skip
    return model.fit(X, y).coef_


def sgd(X: np.ndarray, y: np.ndarray, reg: float, effort: int, *, loss: str) -> np.ndarray:
    model = SGDClassifier(
        loss=loss, alpha=2 * reg, max_iter=effort, tol=None, fit_intercept=False, n_jobs=THREADS,
        random_state=0,
    )  # fmt: skip
    try:
        return model.fit(X, y).coef_
    except ValueError as error:
        if "overflow" not in str(error):
            raise
        return np.full((int(y.max()) + 1, X.shape[1]), np.nan)


WW, CS, OVR, SQUARED = "Weston-Watkins", "Crammer-Singer", "one-vs-rest", "squared one-vs-rest"
HINGES = {OVR: {"loss": "hinge"}, SQUARED: {"loss": "squared_hinge"}}

PEERS = (
    Peer(
        "sklearn LinearSVC", "scikit-learn", "sklearn", linear_svc,
        {**HINGES, CS: {"multi_class": "crammer_singer"}},
    ),
    Peer(
        "sklearn LinearSVC, a row for each wrong class", "scikit-learn", "sklearn", pairs,
        {WW: {}}, bytes=pairs_bytes,
    ),
    Peer("sklearn SGDClassifier", "scikit-learn", "sklearn", sgd, HINGES, dtype="float32"),
    Peer(
        "liblinear, dual", "liblinear-multicore", "liblinear.liblinearutil", liblinear,
        {
            OVR: {"solver": 3},
            SQUARED: {"solver": 1},
            CS: {"solver": 4, "parallel": False},
        },
    ),
    Peer(
        "liblinear, primal", "liblinear-multicore", "liblinear.liblinearutil", liblinear,
        {SQUARED: {"solver": 2}},
    ),
    Peer("SnapML", "snapml", "snapml", snap, HINGES, dtype="float32"),
    Peer(
        "dual-fw-svm", "dual-fw-svm", "dual_fw_svm", frank_wolfe,
        {WW: {"formulation": "ww"}, CS: {"formulation": "cs"}},
    ),
    Peer(
        "ReHLine", "rehline", "rehline", rehline,
        {OVR: {"loss": "hinge"}, SQUARED: {"loss": "squared hinge"}},
    ),
)  # fmt: skip


def installed() -> list[Peer]:
    """Return the peers that can be imported; print how to install the others."""
    found: list[Peer] = []
    missing: set[str] = set()
    for peer in PEERS:
        try:
            with warnings.catch_warnings(action="ignore"):  # of a package's own house
                importlib.import_module(peer.module)
        except ImportError:
            missing.add(peer.package)
        else:
            found.append(peer)
    for package in sorted(missing):
        print(f"{package} is left out: pip install {package}")
    return found


class Apart:
    """Fits in another process, which is ended where a fit takes too long.

    Attributes:
        arrays: X as float32, and y; sent once for each process.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.arrays = X, y
        self._pool: Any = None

    def __call__(
        self, limit: float, peer: str, loss: str, reg: float, effort: int
    ) -> tuple[np.ndarray, float] | None:
        """Return W and the seconds of the fit alone, or None where the limit has passed."""
        if self._pool is None:
            self._pool = multiprocessing.get_context("spawn").Pool(1, _receive, self.arrays)
            self._pool.apply(int)  # there when the process is
        try:
            return self._pool.apply_async(_fit, (peer, loss, reg, effort)).get(limit)
        except multiprocessing.TimeoutError:
            self.close()
            return None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool = None


# What the other process holds: X for each dtype, and y.
_held: dict[str, np.ndarray] = {}


def _receive(X: np.ndarray, y: np.ndarray) -> None:
    _held.update(float32=X, float64=X.astype(np.float64), y=y)


def _fit(name: str, loss: str, reg: float, effort: int) -> tuple[np.ndarray, float]:
    peer = next(peer for peer in PEERS if peer.name == name)
    importlib.import_module(peer.module)
    return timed(peer.call, loss, _held[peer.dtype], _held["y"], reg, effort)
