"""What the tests of the Python package share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis judges what a test says, not how fast a loaded machine says it.
settings.register_profile("haz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("haz")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works():
    """A shell ignores SIGINT in what it starts in the background; then Python takes no Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
