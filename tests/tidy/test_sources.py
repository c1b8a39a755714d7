"""Rules for single lines: ordered atomics name their partner, and nothing stays half done."""

from __future__ import annotations

import re
from pathlib import Path

ORDERED = re.compile(r"memory_order(_|::)(acquire|release|acq_rel|seq_cst|consume)")
PARTNER = re.compile(r"pairs with", re.IGNORECASE)
LINES_ABOVE = 6

# Put together here, so that this file does not find itself.
UNFINISHED = re.compile("|".join([r"TODO\(" + r"now\)", r"\bXX" + r"X\b", r"\bFIX" + r"ME\b"]))
# Folders that exist on one machine only: homes, and where a checkout happened to lie.
MACHINE_PATH = re.compile(r"(?<![\w.~$}])/(?:home|root|Users|work)/\w")


def test_ordered_atomics_name_their_partner(cpp_sources):
    wrong = []
    for source in cpp_sources:
        lines = source.lines
        for index, line in enumerate(lines):
            code = line.split("//", 1)[0]
            if not ORDERED.search(code):
                continue
            near = lines[max(0, index - LINES_ABOVE) : index + 1]
            if not any(PARTNER.search(text) for text in near):
                wrong.append(f"{source.name}:{index + 1}: {line.strip()}")
    assert not wrong, "say `// pairs with <function>` at each of:\n" + "\n".join(wrong)


def _lines_with(sources, pattern):
    return [
        f"{source.name}:{number}: {line.strip()[:100]}"
        for source in sources
        for number, line in enumerate(source.lines, 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_for_now(tracked):
    code = [source for source in tracked if not source.name.endswith(".md")]
    wrong = _lines_with(code, UNFINISHED)
    assert not wrong, "\n".join(wrong)


def test_no_path_of_one_machine(tracked):
    wrong = _lines_with(tracked, MACHINE_PATH)
    assert not wrong, "\n".join(wrong)


def test_tests_for_one_python_exist():
    from tests import conftest

    folder = Path(conftest.__file__).parent
    assert [path for path in conftest.ONE_PYTHON if not (folder / path).exists()] == []
