"""What the tests of the Python package share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Hypothesis judges what a test says, not how fast a loaded machine says it.
settings.register_profile("haz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("haz")
