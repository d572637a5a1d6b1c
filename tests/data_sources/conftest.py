"""A cache of the test's own: nothing of the user's is read or written."""

import pytest


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The cache folder that `amd.data.assets` uses in this test."""
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
