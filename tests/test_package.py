"""The package as a user meets it: a light import, documented names, declared dependencies."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxsvm

pytestmark = pytest.mark.any_precision

ROOT = Path(__file__).parents[1]
PUBLIC = {
    name: value
    for name, value in vars(jaxsvm).items()
    if not name.startswith("_") and getattr(value, "__module__", "").startswith("jaxsvm")
}
ROOMS_NAMES = {
    f"{room}.{name}": value
    for room in ("core", "lines", "gradients", "optimizers", "certificate", "datasets", "streams")
    for name, value in vars(getattr(jaxsvm, room)).items()
    if not name.startswith("_") and getattr(value, "__module__", "").startswith("jaxsvm")
}
# Depended on, but not imported by name: the reason is beside each in pyproject.toml.
INDIRECT = {"jaxlib", "importlib_resources", "array_record"}
# Imported inside a function or by a module that `import jaxsvm` leaves alone.
OPTIONAL = {"sklearn", "matplotlib", "pyarrow", "safetensors"}
# What benchmarks compare with where it is installed.
PEERS = {
    "torch", "evosax", "loss_landscapes", "snapml", "liblinear", "rehline", "dual_fw_svm",
}  # fmt: skip


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_import_is_light_and_changes_nothing():
    heavy = (
        "'matplotlib', 'sklearn', 'tensorflow', 'tensorflow_datasets', 'PIL', 'pyarrow', 'requests'"
    )
    out = run_python(
        "import sys, jax\n"
        "before = dict(jax.config.values)\n"
        "import jaxsvm\n"
        f"print(*[name for name in ({heavy}) if name in sys.modules])\n"
        "print(*[k for k, v in jax.config.values.items() if before[k] != v])\n"
        "from jax._src import xla_bridge\n"
        "print(*['backend'] * xla_bridge.backends_are_initialized())\n"
        "import experiments.__main__\n"  # whose figures are drawn when all is measured
        "print(*[name for name in ('matplotlib', 'sklearn', 'scipy') if name in sys.modules])\n"
    )
    assert out == []


@pytest.mark.parametrize("name", sorted(PUBLIC) + sorted(ROOMS_NAMES))
def test_a_public_name_says_what_it_does(name):
    doc = (PUBLIC | ROOMS_NAMES)[name].__doc__ or ""
    assert re.match(r"\S.*\.\s*\n", doc + "\n"), "begins with a sentence on its first line"
    assert ">>>" in doc or "Source:" in doc or "Attributes:" in doc, "an example or a source"


@pytest.mark.parametrize("file", sorted(ROOT.glob("jaxsvm/**/__init__.py")), ids=str)
def test_a_room_is_one_paragraph_and_its_names(file):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    modules = [str(node.module) for node in imports]
    assert modules == sorted(modules)
    for node in imports:
        assert [alias.asname for alias in node.names] == [alias.name for alias in node.names]


# From the bottom up: a room imports those before it, never one after it.
ROOMS = ["core", "lines", "gradients", "optimizers", "certificate", "datasets", "streams"]
ALLOWED = {
    "core": set(),
    "lines": {"core"},
    "gradients": {"core", "lines"},
    "optimizers": {"core", "lines", "gradients", "checkpoint", "files", "processes"},
    "certificate": {"core", "lines", "gradients", "optimizers", "checkpoint", "files", "processes"},
    "datasets": {"core", "files"},
    "streams": {"core", "optimizers", "datasets", "checkpoint", "files"},
    "devices": {"core"},
    "files": set(),
    "processes": set(),
    "checkpoint": {"files"},
    "plot": {"files"},
    "patches": {"core"},
    "model": {"core", "certificate", "datasets", "files"},
    "estimator": {"core", "certificate", "datasets", "model"},
}


def own_imports(path):
    """The modules of jaxsvm that a file imports, anywhere in it, as lists of names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("jaxsvm"):
            base = str(node.module).split(".")[1:]
            folder = ROOT.joinpath("jaxsvm", *base)
            for alias in node.names:
                is_module = (folder / f"{alias.name}.py").exists()
                found.append([*base, alias.name] if is_module else base)
        elif isinstance(node, ast.Import):
            found += [a.name.split(".")[1:] for a in node.names if a.name.startswith("jaxsvm")]
    return found


def test_imports_point_down():
    for path in ROOT.glob("jaxsvm/**/*.py"):
        inside = path.relative_to(ROOT / "jaxsvm").parts
        if inside == ("__init__.py",):
            continue
        room = inside[0].removesuffix(".py")
        for module in own_imports(path):
            assert module, f"{path.name} imports from the top level"
            assert module[0] == room or module[0] in ALLOWED[room], f"{path} imports {module}"


def test_no_circle_of_imports():
    graph = {}
    for path in ROOT.glob("jaxsvm/*/*.py"):
        if path.name != "__init__.py":
            graph[f"{path.parent.name}.{path.stem}"] = {
                ".".join(module) for module in own_imports(path) if len(module) == 2
            }
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert sorted(set(graph) - done) == []


def test_only_the_record_knows_which_loss_or_penalty_it_is():
    kinds = {"loss", "penalty", "margins", "terms", "join", "own_weight"}
    for path in ROOT.glob("jaxsvm/**/*.py"):
        if path.name == "losses.py":
            continue
        asked = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Compare)
            and isinstance(
                node.ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn | ast.Eq | ast.NotEq
            )
            for side in (node.left, *node.comparators)
            if isinstance(side, ast.Attribute) and side.attr in kinds
        ]
        assert asked == [], path


def imported(folder):
    """{top-level module: files that import it, anywhere in them} of a folder's Python files."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                found.setdefault(module.split(".")[0], set()).add(path.name)
    own = {"jaxsvm", "experiments", "tests", "__future__"}
    return {k: v for k, v in found.items() if k not in own and k not in sys.stdlib_module_names}


def declared():
    """The declared modules: (of the package, of the extras, of the tests)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"scikit-learn": "sklearn", "pillow": "PIL", "markdown-it-py": "markdown_it"}
    modules["dm-haiku"] = "haiku"

    def names(lines):
        found = {re.split(r"[<>=\[]", line)[0].strip() for line in lines}
        return {modules.get(name, name).replace("-", "_") for name in found} - {"jaxsvm"}

    extras = project["optional-dependencies"]
    needed = ("experiments", "parquet", "safetensors", "docs")
    optional = names(line for extra in needed for line in extras[extra])
    return names(project["dependencies"]), optional, names(extras["test"])


def test_what_is_imported_is_declared():
    core, experiments, test = declared()
    assert set(imported("jaxsvm")) <= core | OPTIONAL
    assert experiments >= OPTIONAL
    assert set(imported("experiments")) <= core | experiments | PEERS
    assert set(imported("tests")) <= core | experiments | test | PEERS


def test_what_is_declared_is_imported():
    core, experiments, _ = declared()
    assert core - INDIRECT <= set(imported("jaxsvm"))
    assert experiments <= set(imported("experiments")) | OPTIONAL


def test_every_dependency_has_an_exact_version_in_the_constraints():
    text = (ROOT / "constraints.txt").read_text()
    pinned = {
        re.sub("[-_.]+", "-", name).lower() for name in re.findall(r"^([\w.-]+)==", text, re.M)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [line for name in ("experiments", "parquet", "safetensors") for line in extras[name]]
    lines += project["dependencies"]
    wanted = {re.sub("[-_.]+", "-", re.split(r"[<>=\[]", line)[0]).lower() for line in lines}
    assert wanted <= pinned


def test_the_version_is_the_installed_one_if_it_is_installed():
    try:
        installed = importlib.metadata.version("jaxsvm")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("runs from the source tree, not installed")
    assert installed == jaxsvm.__version__


def test_no_path_of_one_machine_is_in_the_text():
    pattern = re.compile("/(" + "|".join(["work", "root", "home", "tmp"]) + ")/")
    files = [path for folder in ("jaxsvm", "experiments") for path in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "README.md", ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    assert [path.name for path in files if pattern.search(path.read_text())] == []
