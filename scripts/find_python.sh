#!/usr/bin/env bash
# Prints the path of an interpreter of the version given (such as 3.12), from PATH or pyenv;
# prints nothing where there is none.
set -euo pipefail

version="$1"
candidates=("${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python)
found="$(command -v "python$version" || true)"
for candidate in "$found" "${candidates[@]}" "$(command -v python3 || true)"; do
    [ -x "$candidate" ] || continue
    # A pyenv shim exists for versions that are not switched on; only a real run tells.
    "$candidate" -c "import sys; assert '%d.%d' % sys.version_info[:2] == '$version'
print(sys.executable)" 2>/dev/null && exit 0
done
