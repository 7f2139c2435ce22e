# SPDX-License-Identifier: Apache-2.0
"""Plays compositions: `python -m tests.chaos SEED [COUNT]`. A single composition is shown in full."""

from __future__ import annotations

import sys
import time

from tests.chaos.play import playing


def main() -> int:
    begin = int(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began = time.monotonic()
    failed = calls = answers = 0
    with playing() as player:
        for seed in range(begin, begin + count):
            verdict = player.play(seed)
            calls += verdict.calls
            answers += verdict.answers
            if count == 1:
                print(*verdict.text, sep="\n")
            if verdict.findings:
                failed += 1
                first = verdict.findings[0].replace("\n", " ")
                print(f"{seed}: {first}" if count > 1 else "\n".join(verdict.findings), flush=True)
    took = time.monotonic() - began
    print(
        f"{count} compositions, {calls} calls, {answers} damaged answers, {failed} with findings;"
        f" {count / took:.0f} per second"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
