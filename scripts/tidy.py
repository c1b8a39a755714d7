"""Run clang-tidy over source files, several at a time, and skip what has not changed.

A file that passed is remembered by a digest of its preprocessed text, its command line, the
configuration and the checker's version, so a second run costs a preprocessing only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def preprocess_command(entry: dict[str, str]) -> list[str]:
    """The compiler's command line of a file, made to print the preprocessed text instead."""
    words = shlex.split(entry["command"])
    result = []
    skip_next = False
    for word in words:
        if skip_next:
            skip_next = False
        elif word in ("-o", "-MF", "-MT"):
            skip_next = True
        elif word not in ("-c", "-MD"):
            result.append(word)
    # -C keeps comments: a NOLINT that goes or comes must be seen.
    return [*result, "-E", "-P", "-C"]


def digest(entry: dict[str, str], salt: bytes) -> str | None:
    done = subprocess.run(
        preprocess_command(entry), cwd=entry["directory"], capture_output=True, check=False
    )
    if done.returncode != 0:
        return None
    return hashlib.sha256(salt + entry["command"].encode() + done.stdout).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="has compile_commands.json")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()

    clang_tidy = Path(sys.executable).parent / "clang-tidy"
    version = subprocess.run([clang_tidy, "--version"], capture_output=True, check=True).stdout
    salt = version + (ROOT / ".clang-tidy").read_bytes()
    commands = {
        Path(entry["file"]).resolve(): entry
        for entry in json.loads((args.build / "compile_commands.json").read_text())
    }
    passed_dir = args.build / "tidy"
    passed_dir.mkdir(exist_ok=True)

    def check(path: Path) -> tuple[Path, bool | None, str]:
        entry = commands.get(path.resolve())
        if entry is None:
            return path, False, f"{path}: not in compile_commands.json; build first\n"
        key = digest(entry, salt)
        if key is not None and (passed_dir / key).exists():
            return path, None, ""
        done = subprocess.run(
            [clang_tidy, "--quiet", "-p", args.build, path],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and key is not None:
            (passed_dir / key).touch()
        return path, done.returncode == 0, done.stdout + (done.stderr if done.returncode else "")

    checked = failed = 0
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        for _path, good, output in pool.map(check, args.files):
            checked += good is not None
            if good is False:
                failed += 1
                print(output, end="", flush=True)
    print(f"clang-tidy: {len(args.files)} files, {checked} checked now, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
