"""Fixtures for pytest: ``pytest_plugins = ["haz.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from haz._core.context import HazContext
from haz.testing import clean_runtime

__all__ = ["haz_inline", "haz_runtime"]


@pytest.fixture
def haz_runtime() -> Iterator[HazContext]:
    """Haz with two CPU slots for one test; afterwards nothing of it may be left."""
    with clean_runtime(num_cpus=2) as context:
        yield context


@pytest.fixture
def haz_inline() -> Iterator[HazContext]:
    """Haz with the inline engine for one test: tasks run in the test's own thread."""
    with clean_runtime(engine="inline") as context:
        yield context
