#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs tests on every supported Python except that of .venv, each in its own environment, .venvs/3.X.
#
#   tools/versions.sh quick   unit tests, the behavior of files, and the command
#   tools/versions.sh all     everything but DLIO
#
# A version that is not installed (see interpreters.sh) is skipped, or a failure with S3DLIO_REQUIRE_SERVERS=1. An
# environment is created on first use, and again when pyproject.toml has changed. Tests of a type checker are left out:
# in .venv, they check the types for every version.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/interpreters.sh
QUICK="tests/test_uri.py tests/test_settings.py tests/test_forks.py tests/test_environment.py
    tests/runtime/test_threads.py tests/memory/test_checksums.py tests/test_aio.py tests/test_twins.py
    tests/test_types.py tests/test_import.py tests/transfer tests/stores/files/test_file.py tests/behavior
    tests/cli/test_command_line.py tests/cli/test_verbs.py tests/objects/test_upload.py"

case "${1:-}" in
    quick) tests=$QUICK; only=(-k "not (SeaweedFS or Ceph or Azurite or fake-gcs or type_checker)") ;;
    all) tests="tests --ignore=tests/dlio --ignore=tests/guard"; only=(-m "not matrix" -k "not type_checker") ;;
    *) echo "usage: tools/versions.sh quick|all" >&2; exit 2 ;;
esac

failed=""
for version in $VERSIONS; do
    [ "$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" != "$version" ] || continue
    if ! python=$(interpreter "$version"); then
        echo "versions: Python $version was not found: its tests are skipped" >&2
        [ "${S3DLIO_REQUIRE_SERVERS:-0}" != 1 ] || failed="$failed $version"
        continue
    fi
    export VENV=.venvs/$version
    if [ ! "$VENV/.made" -nt pyproject.toml ]; then
        mkdir -p .venvs
        PYTHON=$python tools/setup.sh venv
        tools/setup.sh tests
        touch "$VENV/.made"
    fi
    echo "versions: Python $version"
    # shellcheck disable=SC2086  # tests is a list of paths
    "$VENV/bin/python" -m pytest -q -n "${WORKERS:-4}" --dist worksteal -p no:cacheprovider $tests "${only[@]}" \
        || failed="$failed $version"
done
[ -z "$failed" ] || { echo "versions: FAILED on Python$failed" >&2; exit 1; }
