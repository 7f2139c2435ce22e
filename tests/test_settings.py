"""Settings: the environment is obeyed when it changes, configure comes before it, and mistakes change nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

import s3dlio
from s3dlio import settings
from tests.processes import in_forked_child, output
from tests.threads import meanwhile


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    s3dlio.configure(file_sync=None, direct_in_flight=None, window_mb=None)


def test_the_environment_is_read_again_when_it_changes() -> None:
    assert settings.current().direct_in_flight == 4
    for value in ("7", "9", " 3 "):
        os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = value
        assert settings.current().direct_in_flight == int(value)
    del os.environ["S3DLIO_DIRECT_IN_FLIGHT"]
    assert settings.current().direct_in_flight == 4


def test_an_empty_variable_is_none() -> None:
    os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = ""
    assert settings.current().direct_in_flight == 4


def test_what_is_configured_comes_before_the_environment_until_it_is_given_back() -> None:
    os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = "7"
    s3dlio.configure(direct_in_flight=2)
    assert settings.current().direct_in_flight == 2
    os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = "8"
    assert settings.current().direct_in_flight == 2
    s3dlio.configure(direct_in_flight=None)
    assert settings.current().direct_in_flight == 8


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("false", False),
        ("No", False),
        ("off", False),
    ],
)
def test_switches_are_written_in_many_ways(text: str, value: bool) -> None:
    os.environ["S3DLIO_FILE_SYNC"] = text
    assert settings.current().file_sync is value
    s3dlio.configure(file_sync=value)
    assert settings.current().file_sync is value


def test_a_mistake_in_configure_changes_nothing() -> None:
    s3dlio.configure(window_mb=64)
    for wrong in ({"direct_in_flight": 0}, {"file_sync": "perhaps"}, {"nonsense": 1}):
        with pytest.raises(s3dlio.ConfigurationError):
            s3dlio.configure(window_mb=32, **wrong)
        assert settings.current().window_mb == 64
        assert settings.current().direct_in_flight == 4


def test_every_setting_is_in_the_table_with_its_variable_and_meaning() -> None:
    rows = settings.table()
    names = [name for variables, _, _ in rows for name in variables.split(", ")]
    assert len(names) == len(set(names))
    assert {"S3DLIO_BUFFER_IDLE_MB", "S3DLIO_WINDOW_MB", "S3DLIO_FILE_SYNC", "S3DLIO_DIRECT_STRICT"} <= set(names)
    assert all(meaning for _, _, meaning in rows)


def test_a_variable_of_the_program_that_starts_us_is_obeyed() -> None:
    program = "from s3dlio import settings; print(settings.current().direct_in_flight)"
    assert output(program, S3DLIO_DIRECT_IN_FLIGHT="11") == "11\n"


def test_a_fork_while_another_thread_changes_settings_does_not_hang_the_child() -> None:
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            s3dlio.configure(window_mb=64)
            s3dlio.configure(window_mb=None)

    with meanwhile(change):
        try:
            for _ in range(60):
                in_forked_child(lambda: s3dlio.configure(direct_in_flight=3))
        finally:
            stop.set()
