# SPDX-License-Identifier: Apache-2.0
"""`make bench`, or `python -m benchmarks`: s3dlio beside its peers, on this machine, in one run.

    python -m benchmarks [--quick] [--only REGEX] [--rounds N] [--list] [--fresh] [--dlio-source DIR]

Each figure is written to a JSON file when it is measured, so that the same command continues an interrupted run. The
table of a scenario is printed when the scenario has ended; all tables and plots are written at the end. A whole run
writes to benchmarks/results, a quick or partial run to .bench/results.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from benchmarks import machine, peers, report
from benchmarks.runner import Runner, expected
from benchmarks.scenarios import QUICK, Scenario, all_scenarios
from benchmarks.state import State
from tests.servers.install import ServerMissing, install

_WHOLE = peers.ROOT / "benchmarks" / "results"
_PARTIAL = peers.FOLDER / "results"
_QUICK_ROUNDS, _QUICK_SECONDS = 2, 0.4

_PLOTS = {
    "get": (
        "GET, plain and verified",
        ("GET 64 KiB", "GET 8 MiB", "GET 146.6 ± 68 MB (unet3d)", "GET 8 MiB, CRC32C verified"),
    ),
    "tls": ("GET over TLS", ("GET 64 KiB, TLS", "GET 8 MiB, TLS", "GET 146 MiB, TLS")),
    "put": ("PUT", ("PUT 64 KiB", "PUT 8 MiB", "PUT 146 MiB")),
    "list": ("LIST", ("LIST 1,000 keys", "LIST 100,000 keys")),
    "dlio": ("DLIO", ("DLIO unet3d, files", "DLIO unet3d, S3", "DLIO resnet50, files", "DLIO resnet50, S3")),
}


def main() -> int:
    """Run what the command line asks for, and return the exit status."""
    arguments = _arguments()
    scenarios = _chosen(arguments)
    rounds = _QUICK_ROUNDS if arguments.quick and not arguments.rounds else arguments.rounds or 5
    if arguments.list:
        for one in scenarios:
            print(f"{expected(one, min(rounds, one.rounds)) / 60:5.1f} min  {one.name}: {'; '.join(one.clients)}")
        print(f"{sum(expected(one, min(rounds, one.rounds)) for one in scenarios) / 60:5.0f} min in total, roughly")
        return 0
    if not scenarios:
        print(f"no scenario matches {arguments.only!r}: see --list", file=sys.stderr)
        return 2
    clients = {client for one in scenarios for client in one.clients}
    if missing := install([one for one in ("nginx", "seaweedfs", "ceph", "fio") if one in _servers(scenarios)]):
        raise ServerMissing("; ".join(missing.values()))
    for client in sorted(clients):
        peers.interpreter(client)
    results = _PARTIAL if arguments.quick or arguments.only else _WHOLE
    what = {
        "machine": machine.describe(),
        "versions": machine.versions(clients),
        "rounds": rounds,
        "quick": arguments.quick,
        "only": arguments.only,
    }
    state = State(results / "figures.json", what, fresh=arguments.fresh)
    if state.resumed:
        print(f"continuing with {results}/figures.json, which has {state.resumed} figures", file=sys.stderr)
    runner = Runner(scenarios, rounds, state, arguments.dlio_source)
    runner.run(lambda one: print(report.table(one, state, scenarios), flush=True))
    state.complete()
    _write(results, scenarios, state)
    for failure in runner.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if runner.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="s3dlio beside its peers.")
    parser.add_argument("--quick", action="store_true", help="the main scenarios and peers only, in three minutes")
    parser.add_argument("--only", default="", metavar="REGEX", help="only scenarios whose names match this")
    parser.add_argument("--rounds", type=int, default=0, help="number of rounds (default: 5; with --quick 2)")
    parser.add_argument("--list", action="store_true", help="list the scenarios and the time they take; run nothing")
    parser.add_argument("--fresh", action="store_true", help="start again instead of continuing an interrupted run")
    parser.add_argument("--dlio-source", type=Path, help="a checkout of DLIO's main branch, to measure its S3 path")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    found = [
        one for one in all_scenarios() if re.search(arguments.only, one.name) and (one.quick or not arguments.quick)
    ]
    if arguments.quick:
        found = [_scaled_down(one) for one in found]
        found = [
            one._replace(
                seconds=_QUICK_SECONDS, clients=(one.clients[0], *(name for name in one.clients[1:] if name in QUICK))
            )
            for one in found
        ]
    return found


def _scaled_down(one: Scenario) -> Scenario:
    name = one.name.replace("4 GiB", "256 MiB")
    return one if name == one.name else one._replace(name=name, sizes=(256 << 20,))


def _servers(scenarios: list[Scenario]) -> set[str]:
    wanted = {"nginx" if one.server == "throttled" else one.server for one in scenarios}
    return wanted | ({"fio"} if any("fio" in one.clients for one in scenarios) else set())


def _write(results: Path, scenarios: list[Scenario], state: State) -> None:
    (results / "tables.md").write_text(report.document(scenarios, state))
    by_name = {one.name: one for one in scenarios}
    for name, (title, wanted) in _PLOTS.items():
        chosen = [by_name[scenario] for scenario in wanted if scenario in by_name]
        if chosen:
            (results / f"{name}.svg").write_text(report.plot(chosen, state, title))
    print(f"{results}: figures.json, tables.md and the plots", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: the same command continues with what is left", file=sys.stderr)
        sys.exit(130)
    except ServerMissing as error:
        print(error, file=sys.stderr)
        sys.exit(1)
