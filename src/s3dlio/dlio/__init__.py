# SPDX-License-Identifier: Apache-2.0
"""The DLIO benchmark on s3dlio. Users import `s3dlio.integrations.dlio`, which has the public names.

The code is in five packages. Each may import the packages named after its arrow, and no other
(`tests/test_dlio_rooms.py` asserts it):

    record  → nothing        writes one line per operation, and adds the lines up
    check   → nothing        finds what would fail or be slow: DLIO's files, storage, environment, settings
    run     → record, check  starts DLIO with the storage type s3dlio
    install → run, check     writes the files that make DLIO's own command use s3dlio
    report  → record         makes an HTML page of a finished run

Outside of `dlio`, the five packages use the public API of s3dlio, and the few modules that `SHARED` in
`tests/test_layers.py` lists, such as `diagnostics` and `settings`.
"""
