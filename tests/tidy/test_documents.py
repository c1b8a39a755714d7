"""What the documents name is there."""

from __future__ import annotations

import re

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# `src/queue/doorbell.h`, `tests/ipc/`: a path of this repository, in backticks, without a wildcard.
NAMED_PATH = re.compile(
    r"`((?:src|include|bindings|python|tests|benchmarks|examples|docs|scripts|cmake|requirements)"
    r"/[\w./-]*)`"
)
MAKE_TARGET = re.compile(r"`make ([a-z][a-z0-9.-]*)")


def _documents(tracked):
    return [source for source in tracked if source.name.endswith(".md")]


def test_readme_names_both_commands(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    for command in ("make demo", "make test"):
        assert command in readme


def test_links_lead_somewhere(tracked, root):
    wrong = []
    for source in _documents(tracked):
        for target in LINK.findall(FENCED.sub("", source.text)):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (root / source.name).parent.joinpath(target).exists():
                wrong.append(f"{source.name}: {target}")
    assert not wrong, "\n".join(wrong)


def test_named_paths_exist(tracked, root):
    # The changelog may name what has gone; a generated file is there after a build only.
    wrong = [
        f"{source.name}: {path}"
        for source in _documents(tracked)
        if source.name != "CHANGELOG.md"
        for path in NAMED_PATH.findall(FENCED.sub("", source.text))
        if "_native" not in path and not (root / path).exists()
    ]
    assert not wrong, "\n".join(wrong)


def test_named_make_targets_exist(tracked, root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*(?: [a-z-]+)*):", makefile, re.MULTILINE))
    names = {name for line in targets for name in line.split()}
    wrong = []
    for source in _documents(tracked):
        for target in MAKE_TARGET.findall(source.text):
            if target not in names and not target.startswith("test-python-"):
                wrong.append(f"{source.name}: make {target}")
    assert not wrong, "\n".join(wrong)
