#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the development environment in .venv, on a machine that may have nothing but Debian.
#
#   tools/setup.sh venv      find an interpreter, create .venv, bring its pip up to date
#   tools/setup.sh package   install s3dlio (editable) with its test and lint tools
#   tools/setup.sh tests     install s3dlio (editable) with its test tools alone
#   tools/setup.sh dlio      install DLIO 2.0.0 and what it needs, several hundred MB
#
# The Makefile calls one step after the other and keeps the stamps; run `make venv` or `make dlio`.
# A step either succeeds, or ends with a line that says what failed and what to do about it.
# PYTHON=/path/to/python3 chooses the interpreter, VENV=folder another environment. Whatever pip prints goes to setup.log in there.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
LOG=$VENV/setup.log
# DLIO 2.0.0 needs pydftracer 1.0.2 exactly, whose wheels end at Python 3.12: such an interpreter is preferred.
CANDIDATES="python3 python3.12 python3.11 python3.10 python3.13 python3.14"
TORCH="torch==2.13.0"
DLIO="dlio-benchmark==2.0.0"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

say() { echo "setup: $*"; }
fail() {
    echo "setup: FAILED: $1" >&2
    shift
    for line in "$@"; do echo "setup:   $line" >&2; done
    exit 1
}

# version PYTHON: prints e.g. "3 11", or fails if this Python does not work.
version() { "$1" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null; }
usable() { local v; v=$(version "$1") && [ "${v% *}" = 3 ] && [ "${v#* }" -ge 10 ]; }
runs_dlio() { local v; v=$(version "$1") && [ "${v% *}" = 3 ] && [ "${v#* }" -ge 10 ] && [ "${v#* }" -le 12 ]; }

find_python() {
    local name
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" && echo "$PYTHON"
        return
    fi
    for name in $CANDIDATES; do runs_dlio "$name" && { command -v "$name"; return; }; done
    for name in $CANDIDATES; do usable "$name" && { command -v "$name"; return; }; done
    return 1
}

# apt PACKAGE...: installs Debian packages when this is root on a Debian; fails quietly otherwise.
apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing $* with apt-get"
    { apt-get install -y --no-install-recommends "$@" \
        || { apt-get update && apt-get install -y --no-install-recommends "$@"; }; } >/dev/null 2>&1
}

# pip WHAT ARGUMENT...: runs pip in the environment; on failure says what could not be installed, and why.
pip() {
    local what=$1 wanted words
    shift
    echo "--- pip $*" >>"$LOG"
    if "$VENV/bin/python" -m pip "$@" >>"$LOG" 2>&1; then return; fi
    words=$(tail -n 40 "$LOG" | sed -n '/^--- pip /h;//!H;$!d;x;p')
    wanted=$(sed -n 's/.*No matching distribution found for \([^ ]*\).*/\1/p' <<<"$words" | tail -n 1)
    if grep -q 'No space left on device' <<<"$words"; then
        fail "$what could not be installed: the disk is full." \
            "$(df -h . | awk 'END {print $4}') are left here. Free some space, and run make again."
    elif grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError' <<<"$words"; then
        fail "$what could not be downloaded: no package index answered; pip's output is in $LOG." \
            "Check the network, or name another index: PIP_INDEX_URL=https://… make" \
            "or a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=/path/to/wheels make"
    elif [ -n "$wanted" ]; then
        fail "$what could not be installed: the index has no $wanted for $("$VENV/bin/python" -V) on $(uname -m)." \
            "Try another interpreter: PYTHON=/path/to/python3.11 make" \
            "or another index: PIP_INDEX_URL=https://… make"
    fi
    tail -n 15 <<<"$words" >&2
    fail "$what could not be installed; pip's whole output is in $LOG." "Fix what it names, and run make again."
}

make_venv() {
    local python why
    if [ -n "${PYTHON:-}" ] && ! usable "$PYTHON"; then
        fail "PYTHON=$PYTHON is not a working Python 3.10 or later." "Name another one, or leave PYTHON unset."
    fi
    python=$(find_python) || {
        apt python3 python3-venv || true
        python=$(find_python)
    } || fail "no Python 3.10 or later was found (looked for: $CANDIDATES)." \
        "Install one, for instance: sudo apt-get install python3 python3-venv" \
        "or name it: PYTHON=/path/to/python3 make venv"
    python=$("$python" -c 'import sys; print(sys.executable)')
    # Debian ships the venv module without ensurepip, which is in a separate package.
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        why=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
        apt "$why" || apt python3-venv || true
        "$python" -c 'import venv, ensurepip' 2>/dev/null \
            || fail "$python cannot create virtual environments: its venv or ensurepip module is missing." \
                "Install it: sudo apt-get install $why" \
                "or name another interpreter: PYTHON=/path/to/python3 make venv"
    fi
    say "creating $VENV with $("$python" -V) ($python)"
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || fail "$python -m venv $VENV failed." "Name another interpreter: PYTHON=/path/to/python3 make venv"
    # Dependency groups came with pip 25.1.
    if ! "$VENV/bin/python" -c 'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))'; then
        pip "pip 25.1 or later" install --upgrade "pip>=25.1"
    fi
}

install_package() {
    say "installing s3dlio, its test and lint tools"
    pip "s3dlio with its test and lint tools" install --editable . --group dev
}

install_tests() {
    say "installing s3dlio and its test tools into $VENV"
    pip "s3dlio with its test tools" install --editable . --group test
}

install_dlio() {
    if ! runs_dlio "$VENV/bin/python"; then
        fail "DLIO 2.0.0 needs Python 3.10 to 3.12, and $VENV has $("$VENV/bin/python" -V): it cannot run without" \
            "pydftracer 1.0.2, which has wheels for no later one (and pydftracer 2 has other modules)." \
            "Install such an interpreter and name it: PYTHON=/path/to/python3.12 make dlio" \
            "Everything except DLIO works without it: make venv"
    fi
    # torch first and alone: a release that satisfies the extra keeps pip from choosing a larger one.
    say "installing $TORCH (0.2 GB as a CPU build; some GB where pip's index has CUDA builds only)"
    pip "PyTorch" install "$TORCH"
    say "installing what DLIO needs"
    pip "what DLIO needs" install --editable ".[dlio]"
    # Its own requirements cannot be met (a placeholder of nvidia-dali), hence --no-deps.
    pip "DLIO" install --no-deps "$DLIO"
    # The tests apply a patch to it.
    command -v patch >/dev/null || apt patch \
        || say "the program patch could not be installed: tests that need it will be skipped"
    "$VENV/bin/python" -c 'import torch, h5py, mpi4py.MPI, dftracer.logger' >>"$LOG" 2>&1 \
        || { tail -n 15 "$LOG" >&2; fail "DLIO is installed, but what it imports does not load; see the lines above." "The whole output is in $LOG."; }
}

case "${1:-}" in
    venv) make_venv ;;
    package) install_package ;;
    tests) install_tests ;;
    dlio) install_dlio ;;
    *) fail "usage: tools/setup.sh venv|package|tests|dlio" ;;
esac
