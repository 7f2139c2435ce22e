# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: real clients on real servers are measured, wrong bytes are noticed, figures are kept and judged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import machine, objects, report, runner, scale, servers
from benchmarks.scenarios import FLOOR, MANY, Bar, Scenario, all_scenarios
from benchmarks.state import State
from tests.required import lacking
from tests.servers.fixtures import require

SMALL = Scenario("GET 4 KiB", (4096,), 20, 4, 20, (MANY, FLOOR), (Bar("cpu_us", FLOOR, 1000),), seconds=0.05)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def nginx_installed() -> None:
    require("nginx")


@pytest.mark.usefixtures("nginx_installed")
def test_each_client_is_measured_in_its_own_process(tmp_path: Path) -> None:
    made = objects.make(tmp_path, SMALL)
    with servers.static(tmp_path, [made]) as world:
        for client in SMALL.clients:
            figures = runner.run_client(client, SMALL, tmp_path, made, world)
            assert figures["objects"] >= 20
            assert figures["bytes"] == figures["objects"] * 4096
            assert figures["seconds"] >= 0.05
            assert 0 < figures["user"] + figures["system"] < 2
            assert 10 < figures["peak_mib"] < 500


@pytest.mark.usefixtures("nginx_installed")
@pytest.mark.parametrize("operation", ["get", "range"])
@pytest.mark.parametrize("client", ["s3dlio, threads", FLOOR])
def test_a_client_that_reads_wrong_bytes_fails(client: str, operation: str, tmp_path: Path) -> None:
    scenario = SMALL._replace(operation=operation, range_size=1000)
    made = objects.make(tmp_path, scenario)
    path = tmp_path / made.bucket / "00007"
    path.unlink()  # a hard link to content that other objects share
    path.write_bytes(bytes(4096))
    with (
        servers.static(tmp_path, [made]) as world,
        pytest.raises(runner.ClientFailed, match=r"wrong bytes in .* the first 00007"),
    ):
        runner.run_client(client, scenario, tmp_path, made, world)


@pytest.mark.parametrize("client", [MANY, FLOOR])
def test_objects_that_a_client_writes_are_compared_on_the_server(client: str, tmp_path: Path) -> None:
    scenario = SMALL._replace(name="PUT 4 KiB", operation="put", server="sink")
    made = objects.make(tmp_path, scenario)
    with servers.sink() as world:
        assert runner.run_client(client, scenario, tmp_path, made, world)["bytes"] > 0
        others = made._replace(checksums={key: checksum ^ 1 for key, checksum in made.checksums.items()})
        with pytest.raises(runner.ClientFailed, match="wrote wrong bytes: 00000"):
            runner.run_client(client, scenario, tmp_path, others, world)


def test_an_interrupted_run_continues_unless_something_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    State(path, {"commit": "a"}, fresh=False).add("GET", "client", 0, {"seconds": 1.0})
    again = State(path, {"commit": "a"}, fresh=False)
    assert again.resumed == 1
    assert again.rounds("GET", "client") == [{"seconds": 1.0}]
    assert State(path, {"commit": "b"}, fresh=False).resumed == 0
    assert State(path, {"commit": "a"}, fresh=True).resumed == 0
    again.complete()
    assert State(path, {"commit": "a"}, fresh=False).resumed == 0
    assert list(tmp_path.iterdir()) == [path]


def test_changed_code_makes_a_checkout_dirty_and_changed_results_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the first figure that a run writes would keep it from being continued."""
    if shutil.which("git") is None:
        lacking("git is not installed")
    assert machine.commit(tmp_path) == "not from a clone"
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.invalid")
    code, results = tmp_path / "code.py", tmp_path / "benchmarks" / "results" / "figures.json"
    results.parent.mkdir(parents=True)
    for path in (code, results):
        path.write_text("1")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    clean = machine.commit(tmp_path)
    assert len(clean) >= 7
    results.write_text("2")
    assert machine.commit(tmp_path) == clean
    code.write_text("2")
    assert machine.commit(tmp_path) == f"{clean}-dirty"


def test_a_bar_compares_medians_and_is_met_or_missed(tmp_path: Path) -> None:
    scenario = SMALL._replace(
        clients=(MANY, "obstore, threads", "opendal, threads"),
        bars=(
            Bar("cpu_us", "peers", 0.35),
            Bar("objects", "peers", 1.6),
            Bar("peak", "", 300),
            Bar("rate", FLOOR, 0.9),
        ),
    )
    state = State(tmp_path / "figures.json", {"machine": {}, "versions": {}, "rounds": 3}, fresh=True)
    for client, cpu in ((MANY, (30, 34, 90)), ("obstore, threads", (100, 110, 120)), ("opendal, threads", (400,))):
        for number, each in enumerate(cpu):
            figures = {"seconds": 2.0, "user": each / 1e4, "system": 0.0, "bytes": 4096e2, "objects": 100, "calls": 100}
            state.add(scenario.name, client, number, {**figures, "peak_mib": 200, "server": 0.1})
    small, rate, memory, floor = report.verdicts(scenario, state, [scenario])
    assert (small.met, round(small.value, 3)) == (True, round(34 / 110, 3))
    assert (rate.met, rate.value) == (False, 1.0)
    assert (memory.met, memory.value) == (True, 200)
    assert not floor.met
    page = report.document([scenario], state)
    assert f"| {scenario.name} | objects/s: 1.00 of the best peer (≥ 1.6) | **missed** |" in page
    assert "| obstore, threads | 0.00 | 0.04 | 50 | 110.0 | 1,000.0 | 200 | ±9% |" in page
    assert "<svg" in report.plot([scenario], state, "GET")


def test_every_bar_refers_to_something_that_is_measured() -> None:
    scenarios = {one.name: one for one in all_scenarios()}
    assert len(scenarios) == len(all_scenarios())
    for one in scenarios.values():
        for bar in one.bars:
            assert bar.scenario in scenarios or not bar.scenario
            assert bar.beside in {"", "peers", *one.clients}
            assert bar.measure in report.MEASURES


def test_scenarios_with_bars_have_at_least_five_rounds() -> None:
    assert [one.name for one in all_scenarios() if one.bars and one.rounds < 5] == []


def test_list_prints_the_scenarios_and_runs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list", "--quick"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "GET 64 KiB: s3dlio get_many, put_many; obstore, threads" in done.stdout
    assert "min in total" in done.stdout


def test_simulated_ranks_share_equal_endpoints_and_prefer_faster_ones() -> None:
    even = {strategy: scale.simulate(64, 4, strategy, slow=False) for strategy in ("round_robin", "least_connections")}
    assert even["least_connections"].longest_queue == even["least_connections"].even
    assert even["round_robin"].longest_queue < 1.2 * even["round_robin"].even
    slow = {strategy: scale.simulate(64, 4, strategy, slow=True) for strategy in ("round_robin", "least_connections")}
    assert slow["least_connections"].p99 < slow["round_robin"].p99
    assert all(0.9 < one.used <= 1.001 for one in (*even.values(), *slow.values()))
    assert json.dumps(even) == json.dumps({strategy: scale.simulate(64, 4, strategy, slow=False) for strategy in even})
