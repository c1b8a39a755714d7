"""The codec: what comes back equals what pickle gives, in value and in identity."""

from __future__ import annotations

import array
import gc
import itertools
import math
import pathlib
import pickle
import random
import struct
import sys
import weakref

import pytest
from haz._native import DecodeError, all_scalars, decode, encode
from hypothesis import example, given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

CORPUS = pathlib.Path(__file__).parent / "corpus"
MUTABLE = (list, dict, set)


def round_trip(value):
    return decode(encode(value))


def pickle_round_trip(value):
    return pickle.loads(pickle.dumps(value, 5))


def is_native(value) -> bool:
    """Whether the codec writes `value` without pickle."""
    try:
        decode(encode(value), allow_pickle=False)
    except DecodeError:
        return False
    return True


def structure(value):
    """Describe a graph of built-in values: types, bits, order, and which containers are the same."""
    numbers: dict[int, int] = {}

    def describe(node):
        cls = type(node)
        if cls is float:
            return ("float", struct.pack("<d", node))
        if cls not in (list, tuple, dict) or node == ():
            return (cls.__name__, node)
        if id(node) in numbers:
            return ("same as", numbers[id(node)])
        numbers[id(node)] = len(numbers)
        items = [part for pair in node.items() for part in pair] if cls is dict else node
        return (cls.__name__, tuple(describe(item) for item in items))

    return describe(value)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.text("ab\xe9\u20ac\U0001f600", max_size=5),
    st.binary(),
)
KEYS = st.one_of(
    st.text(max_size=40), st.integers(), st.booleans(), st.tuples(st.text(), st.none())
)
TREES = st.recursive(
    SCALARS,
    lambda children: st.one_of(
        st.lists(children), st.lists(children).map(tuple), st.dictionaries(KEYS, children)
    ),
    max_leaves=40,
)


@st.composite
def graphs(draw):
    """Containers that hold each other in any way Python allows, cycles included."""
    kinds = draw(st.lists(st.sampled_from("ldt"), min_size=1, max_size=8))
    scalars = draw(st.lists(SCALARS, min_size=1, max_size=4))
    nodes = [{"l": [], "d": {}, "t": None}[kind] for kind in kinds]
    picks = st.integers(0, len(nodes) + len(scalars) - 1)

    def pick(before):
        i = draw(picks)
        if i >= len(nodes):
            return scalars[i - len(nodes)]
        return nodes[i] if kinds[i] != "t" or i < before else scalars[0]

    for i, kind in enumerate(kinds):
        if kind == "t":
            nodes[i] = tuple(pick(i) for _ in range(draw(st.integers(0, 3))))
    for i, kind in enumerate(kinds):
        if kind == "l":
            nodes[i].extend(pick(len(nodes)) for _ in range(draw(st.integers(0, 3))))
        elif kind == "d":
            nodes[i].update({j: pick(len(nodes)) for j in range(draw(st.integers(0, 3)))})
    return nodes[draw(st.integers(0, len(nodes) - 1))]


@given(TREES)
def test_trees_come_back_as_from_pickle(value):
    assert structure(round_trip(value)) == structure(pickle_round_trip(value))


@given(graphs())
@settings(max_examples=300)
def test_graphs_come_back_as_from_pickle(value):
    assert structure(round_trip(value)) == structure(pickle_round_trip(value))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        127,
        128,
        -128,
        -129,
        2**30 - 1,
        2**30,
        -(2**30),
        2**31 - 1,
        2**31,
        -(2**31),
        -(2**31) - 1,
        2**60,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        2**64,
        2**2000,
        -(2**2000),
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        5e-324,
        "",
        "a",
        "\x7f",
        "\xe9",
        "\u20ac",
        "\U0001f600",
        "a\0b",
        "x" * 255,
        "x" * 256,
        "\xe9" * 200,
        b"",
        b"\0",
        b"x" * 255,
        b"x" * 256,
        (),
        [],
        {},
        (1,),
        ([],),
        [[]],
        list(range(255)),
        list(range(256)),
        tuple(range(300)),
        {i: str(i) for i in range(300)},
        {(1, "a"): {b"b": None}},
        "x" * 40_000,
        "\u20ac" * 40_000,
        b"y" * 40_000,
        [b"a" * 32_768, "b" * 32_768, 1],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_plain_values_are_native(value):
    assert is_native(value)
    result = round_trip(value)
    assert structure(result) == structure(value)
    assert type(result) is type(value)


def test_bits_of_floats_are_kept():
    for bits in (0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001, 0x8000000000000000):
        value = struct.unpack("<d", struct.pack("<Q", bits))[0]
        assert struct.pack("<d", round_trip(value)) == struct.pack("<Q", bits)


def test_lone_surrogates_come_back():
    assert round_trip("a\udc80") == "a\udc80"
    assert round_trip(["a\udc80", {"\ud800": 1}]) == ["a\udc80", {"\ud800": 1}]


def test_shared_objects_stay_shared():
    inner, text, blob = [1], "a long enough text", b"bytes"
    pair = (inner, text)
    value = {"a": inner, "b": [inner, pair], "c": pair, "d": text, "e": [blob, blob]}
    assert is_native(value)
    result = round_trip(value)
    assert result["a"] is result["b"][0]
    assert result["b"][1] is result["c"]
    assert result["c"][0] is result["a"]
    assert result["c"][1] is result["d"]
    assert result["e"][0] is result["e"][1]
    result["a"].append(2)
    assert result["b"][0] == [1, 2]


def test_equal_objects_stay_apart():
    result = round_trip([[], [], {}, {}])
    assert result[0] is not result[1]
    assert result[2] is not result[3]


def test_a_shared_large_string_is_written_once():
    text, blob = "x" * 100_000, b"y" * 100_000
    value = [text, blob] * 50
    assert len(encode(value)) < 300_000
    result = round_trip(value)
    assert result == value
    assert result[0] is result[2]
    assert result[1] is result[3]


def test_cycles():
    ring: list = [1]
    ring.append({"ring": ring})
    assert is_native(ring)
    result = round_trip(ring)
    assert result[1]["ring"] is result
    knot: tuple = ([],)
    knot[0].append(knot)
    result = round_trip(knot)
    assert type(result) is tuple
    assert result[0][0] is result


def test_deep_values():
    value: list = []
    for _ in range(120):
        value = [value]
    assert is_native(value)
    assert structure(round_trip(value)) == structure(value)
    for _ in range(200):
        value = [value]
    assert not is_native(value)
    assert structure(round_trip(value)) == structure(value)


class Text(str):
    pass


class Mapping(dict):
    pass


def test_subclasses_keep_their_class():
    for value in (Text("x"), Mapping(a=1), [Text("x")], {Text("k"): 1}):
        result = round_trip(value)
        assert result == value
        assert type(result) is type(value)
    assert type(round_trip([Text("x")])[0]) is Text
    assert type(next(iter(round_trip({Text("k"): 1})))) is Text


def test_other_types_are_pickled():
    for value in ({1, 2}, frozenset("ab"), 1j, range(3), slice(1), bytearray(b"ab"), ...):
        assert not is_native(value)
        result = round_trip(value)
        assert result == value
        assert type(result) is type(value)


def test_order_of_dicts_is_kept():
    value = {key: i for i, key in enumerate("zyxwabc")}
    assert list(round_trip(value)) == list(value)
    del value["y"]
    value["y"] = 1
    assert list(round_trip(value).items()) == list(value.items())


def test_keys_are_interned():
    name = sys.intern("a_parameter_name")
    key = next(iter(round_trip({name: 1})))
    assert key is name


def test_what_is_encoded_may_change_afterwards():
    value = {"a": [1]}
    data = encode(value)
    value["a"].append(2)
    assert decode(data) == {"a": [1]}


# ---- buffers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 5, 127, 128, 1000, 100_000])
def test_arrays_are_read_only(length):
    value = np.arange(length, dtype="f8")
    result = round_trip(value)
    np.testing.assert_array_equal(result, value)
    assert result.dtype == value.dtype
    assert not result.flags.writeable
    assert result.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        result[:1] = 0


def test_large_arrays_are_views_of_the_payload():
    value = np.arange(10_000)
    data = encode(value)
    result = decode(data)
    whole = np.frombuffer(data, "u1")
    assert np.shares_memory(whole, result)


def test_offsets_of_far_buffers_are_aligned():
    value = [np.arange(1000 + i, dtype="i8") for i in range(5)]
    data = encode(value)
    start = np.frombuffer(data, "u1").__array_interface__["data"][0]
    for item in decode(data):
        assert (item.__array_interface__["data"][0] - start) % 64 == 0


@pytest.mark.parametrize(
    "value",
    [
        np.arange(5000).reshape(50, 100),
        np.asfortranarray(np.arange(5000.0).reshape(50, 100)),
        np.arange(5000).reshape(50, 100)[::2, ::3],
        np.arange(5000).reshape(50, 100)[::-1],
        np.broadcast_to(np.arange(50), (40, 50)),
        np.array(3.5),
        np.array([], dtype="i4"),
        np.zeros((0, 3)),
        np.arange(0, 3000).astype("M8[s]"),
        np.arange(3000).astype("m8[ms]").reshape(30, 100)[:, ::2],
        np.array("2020-01-01", dtype="M8[D]"),
        np.array(["ab", "cde"] * 300),
        np.array([b"ab"] * 800),
        np.zeros(500, dtype=[("a", "i4"), ("b", "f8", (2,))]),
        np.arange(3000, dtype=">i4"),
        np.arange(3000, dtype="f2"),
        np.arange(3000, dtype="c16"),
        np.arange(3000, dtype="g"),
        np.arange(3000, dtype="q"),
        np.zeros(3000, dtype="?"),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}",
)
def test_arrays_of_every_layout(value):
    for result in (round_trip(value), round_trip({"key": [value]})["key"][0]):
        np.testing.assert_array_equal(result, value)
        assert result.dtype == value.dtype
        assert result.shape == value.shape
        assert not result.flags.writeable
        if value.flags.c_contiguous or value.flags.f_contiguous:
            assert result.flags.c_contiguous == value.flags.c_contiguous
            assert result.flags.f_contiguous == value.flags.f_contiguous


def test_object_arrays():
    value = np.array([1, "a", None, [2]], dtype=object)
    result = round_trip(value)
    assert result.dtype == object
    assert result.tolist() == value.tolist()


def test_array_subclasses():
    masked = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    result = round_trip(masked)
    assert type(result) is type(masked)
    assert result.tolist() == [1, None, 3]


def test_numpy_scalars():
    for value in (np.float64(0.1), np.int32(7), np.bool_(True), np.datetime64("2020-01-01")):
        result = round_trip(value)
        assert result == value
        assert type(result) is type(value)


def test_memoryviews():
    for view in (
        memoryview(b"abc"),
        memoryview(b""),
        memoryview(bytearray(5000)),
        memoryview(array.array("d", range(1000))),
        memoryview(bytes(range(240))).cast("B", (4, 60)),
        memoryview(bytes(4000))[::2],
    ):
        result = round_trip(view)
        assert type(result) is memoryview
        assert result == view
        assert result.readonly
        assert result.format == view.format
        assert result.shape == view.shape


def test_mutable_buffers_come_back_mutable():
    for value in (bytearray(b"x" * 50_000), array.array("i", range(50_000))):
        result = round_trip(value)
        assert result == value
        result.append(1)
        assert len(result) == 50_001


def test_views_keep_the_payload_alive():
    class Payload(np.ndarray):
        """Bytes whose death can be seen."""

    data = np.frombuffer(encode(np.arange(10_000)), "u1").copy().view(Payload)
    died = weakref.ref(data)
    result = decode(data)
    part = result[10:20]
    del data, result
    gc.collect()
    assert died() is not None
    assert part.tolist() == list(range(10, 20))
    del part
    gc.collect()
    assert died() is None


def test_small_and_native_values_do_not_keep_the_payload():
    class Payload(bytearray):
        pass

    for value in (1, "x" * 100_000, b"y" * 100_000, [1, 2], np.arange(5), {1, 2}):
        data = Payload(encode(value))
        died = weakref.ref(data)
        result = decode(data)
        del data
        assert died() is None
        del result


# ---- failures -----------------------------------------------------------------------------------


def test_encode_names_what_it_cannot_pickle():
    with pytest.raises(TypeError, match=r"item 'gate' of a dict: _thread\.lock"):
        encode({"gate": __import__("threading").Lock()})


def test_decode_takes_one_value():
    with pytest.raises(DecodeError, match="more than one"):
        decode(encode(1) + encode(2))
    with pytest.raises(DecodeError):
        decode(b"")
    with pytest.raises(TypeError):
        decode(1)
    with pytest.raises(BufferError):
        decode(memoryview(encode([1, 2, 3]))[::2])


def test_pickles_can_be_refused():
    data = encode({1, 2})
    assert decode(data) == {1, 2}
    with pytest.raises(DecodeError, match="refused"):
        decode(data, allow_pickle=False)


def test_ints_of_a_list_are_written_one_after_the_other():
    sizes = (1, 7, 8, 9, 31, 32, 33, 200)
    kinds = (0, -128, 127, 128, -129, 2**29, 2**31 - 1, -(2**31), 2**31, 2**62, -(2**63), 2**70)
    others = (True, None, 1.5, "a", 10**40)
    for size in sizes:
        for last in (*kinds, *others):
            items = [*itertools.islice(itertools.cycle(kinds), size - 1), last]
            items += items[::-1]
            written = encode(items)
            assert written.endswith(b"".join(map(encode, items))), (size, last)
            assert decode(written) == items
            assert list(map(type, decode(written))) == list(map(type, items))
            assert decode(encode(tuple(items))) == tuple(items)
    with pytest.raises(DecodeError):
        decode(encode(list(range(1000, 1100)))[:-1])


def test_all_scalars():
    scalars = [1, 1 << 70, 1.5, "a", b"b", True, None, 2j, bytearray(b"c"), range(3)]
    assert all_scalars(scalars) is all_scalars(tuple(scalars)) is all_scalars([]) is True
    for other in ([], (), {}, abs, int, object(), slice(1), np.int64(1), type("I", (int,), {})(1)):
        assert all_scalars([1, other, 2]) is all_scalars((1, 2, other)) is False
    for nonsense in (range(3), "abc", {1: 2}, None, iter([])):
        with pytest.raises(TypeError, match="a list or a tuple"):
            all_scalars(nonsense)


def test_decode_error_is_a_value_error():
    assert issubclass(DecodeError, ValueError)


def decodes_or_refuses(data: bytes) -> None:
    try:
        decode(data, allow_pickle=False)
    except DecodeError:
        pass


SEEDS = [
    encode(value)
    for value in (
        [
            None,
            True,
            False,
            1,
            1000,
            2**40,
            2**80,
            1.5,
            "abc",
            "h\xe9",
            b"xyz",
            (1, (2,)),
            {"k": []},
        ],
        [["shared"] * 3, {"a": 1}, b"long enough"] * 2,
        (lambda ring: ring.append(ring) or ring)([1]),
        ["x" * 40_000, b"y" * 40_000, ("\xe9" * 40_000,)],
        {f"key{i}": list(range(i)) for i in range(20)},
        [np.arange(4.0), np.arange(300).reshape(3, 100)],
        {"set": {1, 2, 3}},
    )
]


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=500)
def test_changed_payloads_are_refused_or_decoded(seed, data):
    payload = bytearray(seed)
    stream = min(len(payload), 400)
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, stream - 1))
        payload[i] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0x80 | payload[i]])))
    cut = data.draw(st.one_of(st.just(len(payload)), st.integers(0, stream)))
    decodes_or_refuses(bytes(payload[:cut]))


def test_many_changed_payloads():
    generator = random.Random(1)
    for _ in range(20_000):
        payload = bytearray(generator.choice(SEEDS)[:600])
        for _ in range(generator.randint(1, 6)):
            i = generator.randrange(len(payload))
            payload[i] = generator.choice((generator.randrange(256), payload[i] ^ 0x80, 255, 0, 26))
        decodes_or_refuses(bytes(payload))


@given(st.binary(max_size=80))
@example(b"\x10\xff\xff\xff\xff")  # a list of 4 billion items
@example(b"\x0f\x01" * 1000)  # deeper than allowed
@example(b"\x11\x01\x0f\x00\x01")  # a list as a key
@example(b"\x8d\x01\x1a\x00\x00\x00\x00")  # a tuple that contains itself
@example(b"\x81")  # a shared None
@example(b"\x09\x02\xed\xa0")  # not UTF-8
@example(b"\x15" + bytes(16))  # a far buffer that overlaps the stream
def test_any_bytes_are_refused_or_decoded(data):
    decodes_or_refuses(data)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.payload")), ids=lambda path: path.stem)
def test_corpus(path):
    """Payloads kept from older versions (``ok-*``) and from fuzzing (``bad-*``)."""
    data = path.read_bytes()
    if path.stem.startswith("bad-"):
        with pytest.raises(DecodeError):
            decode(data, allow_pickle=False)
    else:
        expected = path.with_suffix(".txt").read_text()
        value = eval(expected, {"np": np})
        assert encode(value) == data
        result = decode(data)
        assert repr(result) == repr(value)
