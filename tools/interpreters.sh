# SPDX-License-Identifier: Apache-2.0
# The supported versions of Python, and how to find an interpreter for each; sourced by other scripts.

VERSIONS="3.10 3.11 3.12 3.13"

# interpreter VERSION: prints the path of a working one: python3.X on the PATH, or the newest below ~/.pyenv/versions.
interpreter() {
    local found
    for found in "$(command -v "python$1" || true)" $(printf '%s\n' "$HOME/.pyenv/versions/$1".*/bin/python | sort -rV); do
        # A shim of pyenv is found, but may not run.
        [ -x "$found" ] && "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null \
            && { echo "$found"; return; }
    done
    return 1
}
