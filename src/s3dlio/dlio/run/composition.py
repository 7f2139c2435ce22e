# SPDX-License-Identifier: Apache-2.0
"""Composes the workload that some arguments of `dlio_benchmark` make, without running it.

Strategy: DLIO's own code does it. Hydra composes the configuration from DLIO's files and the arguments, and
`LoadConfig` fills DLIO's `ConfigArguments`, exactly as when a run starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from s3dlio.dlio.check import dlio_package
from s3dlio.dlio.check.workload import Workload
from s3dlio.dlio.run import options, registration
from s3dlio.dlio.run.configuration import choose_storage
from s3dlio.dlio.run.storage_type import storage_type
from s3dlio.dlio.run.workload import workload_of

# Flags of Hydra's own command line that change what is composed; their value may follow after `=`.
_SEARCH_FLAGS = ("--config-dir", "-cd")


class ArgumentError(ValueError):
    """Arguments that DLIO would refuse."""


def compose(arguments: Sequence[str]) -> Workload | None:
    """The workload that `dlio_benchmark` would run with these arguments.

    Args:
        arguments: Hydra's overrides, such as `workload=unet3d_h100` and `++workload.<key>=<value>`, and `--config-dir`.

    Returns:
        None without arguments, or if DLIO is not installed.

    Raises:
        ArgumentError: Hydra or DLIO refuses the arguments.
    """
    package = dlio_package.folder()
    if package is None or not arguments:
        return None
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with _without_warnings():
        from dlio_benchmark.utils.config import ConfigArguments, LoadConfig
        from dlio_benchmark.utils.utility import DLIOMPI

        registration.register()
    try:
        with hydra.initialize_config_dir(str(package / "configs"), version_base=None):
            # Without secrets: an error of Hydra's quotes the argument.
            configuration = hydra.compose("config", overrides=_overrides(options.without_secrets(list(arguments))))
        DLIOMPI.reset()
        DLIOMPI.get_instance().set_parent_values(0, 1)  # one rank, without starting MPI
        ConfigArguments.reset()
        filled = ConfigArguments.get_instance()
        workload = configuration["workload"]
        LoadConfig(filled, workload)
        if str(filled.storage_type) == "s3" and dlio_package.has_drop_in(package):
            filled.storage_type = storage_type()
            if "://" not in filled.storage_root:
                filled.storage_root = f"s3://{filled.storage_root}"
        choose_storage(filled, workload.get("storage", {}).get("storage_options") or {})
        return workload_of(filled)
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, KeyError) as error:
        # Hydra appends, line by line, where it has searched.
        message = " ".join(str(error).partition("Config search path")[0].split())
        raise ArgumentError(message) from error
    finally:
        ConfigArguments.reset()
        DLIOMPI.reset()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Within the block, DLIO's modules do not log that SDKs are missing which this workload does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `--config-dir DIR` as the override that Hydra makes of it."""
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, mark, value = argument.partition("=")
        if flag in _SEARCH_FLAGS:
            folder = value if mark else next(rest, "")
            overrides.append(f"hydra.searchpath=[file://{Path(folder).absolute()}]")
        elif argument.startswith("-"):
            raise ArgumentError(f"{argument}: a workload cannot be composed of this flag; give overrides KEY=VALUE")
        else:
            overrides.append(argument)
    return overrides
