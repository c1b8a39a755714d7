"""The cache of compiled kernels: found again, shared by processes, limited, private."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import haz.cpp
import pytest
from haz.cpp import _cache, _module


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HAZ_CPP_CACHE", str(folder))
    return folder


def libraries(folder):
    return sorted(path.name for path in folder.glob("*.so"))


def forget():
    """What this process has loaded: the next compile asks the disk, as another process would."""
    _module._modules.clear()


def test_the_same_source_is_compiled_once(cache, monkeypatch):
    source = "int cached() { return 1; }"
    assert haz.cpp.compile(source).cached() == 1
    assert len(libraries(cache)) == 1
    forget()
    monkeypatch.setattr(_module.Compiler, "build", None)  # a second run would fail
    assert haz.cpp.compile(source).cached() == 1
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == []


def test_what_is_compiled_decides(cache):
    forget()
    haz.cpp.compile("int f() { return 1; }")
    haz.cpp.compile("int f() { return 2; }")
    haz.cpp.compile("int f() { return 1; }", flags=["-O1"])
    haz.cpp.compile("int f() { return 1; }", check_bounds=True)
    assert len(libraries(cache)) == 4


def test_many_processes_at_a_time(cache):
    program = (
        "import haz.cpp\n"
        "kernels = haz.cpp.compile('int f(int x) { return x + 1; }')\n"
        "print(kernels.f(1))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert [process.communicate()[0] for process in processes] == [b"2\n"] * 4
    assert len(libraries(cache)) == 1
    assert [path for path in cache.iterdir() if path.name.startswith("build-")] == []


def test_the_cache_has_a_limit(cache, monkeypatch):
    monkeypatch.setenv("HAZ_CPP_CACHE_MB", "0")
    kernels = [haz.cpp.compile(f"int f() {{ return {i}; }}") for i in range(3)]
    assert len(libraries(cache)) == 1  # the newest one stays
    assert [kernel.f() for kernel in kernels] == [0, 1, 2]  # what is loaded works on


def test_those_not_used_for_longest_go(cache):
    cache.mkdir(mode=0o700)
    for i in range(3):
        library = cache / f"{i}.so"
        library.write_bytes(bytes(1000))
        os.utime(library, (1000 + i, 1000 + i))
    assert _cache._touched(cache / "0.so")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cache, "_LIMIT_BYTES", 2000)
        _cache._prune(cache, cache / "2.so")
    assert libraries(cache) == ["0.so", "2.so"]


def test_what_a_killed_process_left_goes(cache):
    cache.mkdir(mode=0o700)
    old, new = cache / "build-old", cache / "build-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    _cache._prune(cache, cache / "x.so")
    assert not old.exists()
    assert new.exists()


def test_a_library_that_was_pruned_meanwhile(cache, monkeypatch):
    source = "int pruned() { return 1; }"
    # In another process: of what this one has loaded the dynamic linker would need no file.
    program = f"import haz.cpp; haz.cpp.compile({source!r})"
    subprocess.run([sys.executable, "-c", program], check=True)
    find = _module.find_or_build
    calls = []

    def find_and_lose(key, build):
        library = find(key, build)
        if not calls:
            library.unlink()
        calls.append(key)
        return library

    monkeypatch.setattr(_module, "find_or_build", find_and_lose)
    assert haz.cpp.compile(source).pruned() == 1
    assert len(calls) == 2


def test_a_compile_error_leaves_nothing(cache):
    with pytest.raises(haz.cpp.CompileError):
        haz.cpp.compile("int f() { return x; }")
    assert [path.name for path in cache.iterdir() if not path.name.startswith("lock-")] == []


def test_a_folder_of_others_is_refused(cache):
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(PermissionError, match="others can write there"):
        haz.cpp.compile("int never_compiled() { return 1; }")


def test_clear_cache(cache):
    kernels = haz.cpp.compile("int f() { return 10; }")
    haz.cpp.clear_cache()
    assert libraries(cache) == []
    assert kernels.f() == 10


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("HAZ_CPP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert haz.cpp.cache_folder() == tmp_path / "xdg" / "haz" / "cpp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert haz.cpp.cache_folder() == tmp_path / "home" / ".cache" / "haz" / "cpp"
    # A home that is no folder: in that of temporary files.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert haz.cpp.cache_folder() == tmp_path / f"cpp-kernels-{os.geteuid()}"
