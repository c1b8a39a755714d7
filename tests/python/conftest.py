"""Hypothesis judges what a test says, not how fast a loaded machine says it."""

from hypothesis import HealthCheck, settings

settings.register_profile("haz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("haz")
