#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the sdist and the wheel into dist/, and checks them: the content of the wheel, and, on each supported Python, that
# the wheel installs into an empty environment and that the library and the command work from there.
#
#   tools/release.sh
#
# A version of Python that is not found (see interpreters.sh) is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/interpreters.sh
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "release: FAILED: $*" >&2; exit 1; }

echo "release: building"
rm -rf dist
"$(interpreter 3.11)" -m venv "$work/build"
"$work/build/bin/python" -m pip install -q "hatchling>=1.27"
"$work/build/bin/python" -m hatchling build -d dist >"$work/log" 2>&1 || { cat "$work/log"; fail "the build failed; see above"; }
wheel=$(echo dist/*.whl)

echo "release: checking $wheel"
"$work/build/bin/python" - "$wheel" <<'END'
import sys
import zipfile

names = set(zipfile.ZipFile(sys.argv[1]).namelist())
needed = {"s3dlio/py.typed", "s3dlio/dlio/report/page.css", "s3dlio/dlio/install/installable/s3dlio_storage.py"}
if missing := needed - names:
    sys.exit(f"release: FAILED: the wheel lacks {', '.join(sorted(missing))}")
if other := {name for name in names if not name.startswith("s3dlio")}:
    sys.exit(f"release: FAILED: the wheel has files that do not belong in it: {', '.join(sorted(other))}")
END

for version in $VERSIONS; do
    python=$(interpreter "$version") || fail "Python $version was not found: install it, or add it to the PATH"
    echo "release: installing on Python $version"
    "$python" -m venv "$work/$version"
    "$work/$version/bin/python" -m pip install -q "$wheel"
    (
        cd "$work"
        "$work/$version/bin/python" - "$work/objects-$version" <<'END'
import sys

import s3dlio

uri = f"file://{sys.argv[1]}/a/hello.txt"
s3dlio.put_bytes(uri, b"hello, world")
assert s3dlio.get(uri) == b"hello, world"
assert s3dlio.list(f"file://{sys.argv[1]}", recursive=True) == [uri]
END
        [ "$("$work/$version/bin/s3dlio" cat "file://$work/objects-$version/a/hello.txt")" = "hello, world" ] \
            || fail "the command does not work on Python $version"
        "$work/$version/bin/s3dlio" version
    )
done
echo "release: ready:" dist/*
