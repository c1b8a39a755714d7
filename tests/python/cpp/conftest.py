"""Kernels of these tests are compiled into a cache of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def _own_cache(kernel_cache, monkeypatch):
    kernel_cache.chmod(0o700)
    monkeypatch.setenv("HAZ_CPP_CACHE", str(kernel_cache))
