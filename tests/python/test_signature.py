"""Signatures as plain data say of every call what ``inspect`` says."""

from __future__ import annotations

import inspect

import pytest
from haz._core.signature import CallDescriptor, parameters_of
from hypothesis import given, settings
from hypothesis import strategies as st


def f0(self): ...
def f1(self, a): ...
def f2(self, a, b=1): ...
def f3(self, a, /, b, *, c): ...
def f4(self, a=1, *, c=2, d): ...
def f5(self, *args): ...
def f6(self, a, *args, b, **kwargs): ...
def f7(self, a, b=1, /, **kwargs): ...
def f8(self, a, /, *, b=1): ...
def f9(self, a, b, c=3, d=4, *args): ...
def f10(*args, a): ...
def f11(self, /, a, b=2): ...


FUNCTIONS = [
    value for name, value in sorted(globals().items()) if name[0] == "f" and name[1:].isdigit()
]
NAMES = ["a", "b", "c", "d", "self", "args", "other"]


def accepts(function, args, kwargs):
    try:
        function(None, *args, **kwargs)
    except TypeError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(FUNCTIONS),
    st.integers(0, 5),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=4),
)
def test_agrees_with_inspect(function, count, names):
    args, kwargs = (None,) * count, dict.fromkeys(names)
    signature = inspect.signature(function)
    if "self" in signature.parameters:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    descriptor = CallDescriptor("f", b"", parameters_of(function, bound=True))
    try:
        signature.bind(*args, **kwargs)
        expected = None
    except TypeError as error:
        expected = str(error)
        # inspect of some Pythons does not know that **kwargs takes names of positional-only ones.
        if "positional only" in expected and accepts(function, args, kwargs):
            expected = None
    if not kwargs:
        quick = count >= descriptor.min_args and (
            count <= descriptor.max_args or descriptor.max_args == -1
        )
        assert quick == (expected is None)
    for _ in range(2):  # the second time from what it remembers
        if expected is None:
            descriptor.check_call(args, kwargs)
        else:
            with pytest.raises(TypeError) as caught:
                descriptor.check_call(args, kwargs)
            assert str(caught.value) == f"f(): {expected}"
