#!/usr/bin/env bash
# Makes sure that the tools which no virtual environment can hold are there: a C++20 compiler,
# Python's headers and venv, GoogleTest. Root on Debian: installs what is missing. Else: says in
# one line what to install. Quick when nothing is missing. Usage: bootstrap.sh PYTHON
set -euo pipefail

python="${1:-python3}"
missing=()

compiles() { # compiles HEADER...: does the compiler find these headers in C++20 mode?
    printf '#include <%s>\n' "$@" | "${CXX:-c++}" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null
}

command -v "${CXX:-c++}" >/dev/null && compiles concepts atomic span bit || missing+=(g++)
compiles gtest/gtest.h || missing+=(libgtest-dev)

if ! command -v "$python" >/dev/null; then
    missing+=(python3 python3-venv python3-dev)
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        missing+=(python3-dev)
fi

[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "bootstrap: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    exit 0
fi
echo "haz needs, and cannot install without being root on Debian: apt-get install ${missing[*]}" >&2
exit 1
