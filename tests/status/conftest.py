"""A checkout of the workflow, as tests/workflow has it, for real jobs at scale smoke."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _workflow() -> ModuleType:
    file = Path(__file__).parents[1] / "workflow" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tests_workflow_conftest", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkouts() -> ModuleType:
    """`Checkout` and `Dry`."""
    return _workflow()


@pytest.fixture
def checkout(checkouts: ModuleType, tmp_path_factory: pytest.TempPathFactory):
    """A checkout of one's own."""
    return checkouts.Checkout(tmp_path_factory.mktemp("checkout"))
