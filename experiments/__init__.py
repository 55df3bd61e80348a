"""The notes' experiments, one script a question; `python -m experiments` runs them all."""

import importlib.util
import sys

from experiments.shared import signals

# This is what `python -m` calls itself while it looks for the module: nothing slow is imported yet.
if sys.argv[:1] == ["-m"]:
    signals.install()


def _loaded_when_used(package: str, name: str) -> None:
    """Have a module of a package imported as soon as it is used, not before."""
    full = f"{package}.{name}"
    spec = importlib.util.find_spec(full)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    setattr(sys.modules[package], name, module)  # or `from package import name` would look at it


# Every section can draw, and of a job's processes one does: the others need no matplotlib.
if "jaxsvm.plot" not in sys.modules:
    _loaded_when_used("jaxsvm", "plot")
