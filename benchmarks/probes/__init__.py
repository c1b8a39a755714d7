"""Limit probes in Python; those in C++ are in ``benchmarks/micro``."""
