"""A dataflow for test_hamilton: the names of parameters say what depends on what."""


def doubled(number: int) -> int:
    return 2 * number


def squared(number: int) -> int:
    return number * number


def total(doubled: int, squared: int) -> int:
    return doubled + squared
