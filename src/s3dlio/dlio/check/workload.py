# SPDX-License-Identifier: Apache-2.0
"""What a workload of DLIO is going to do, as far as its storage is concerned.

Strategy: DLIO's own code reads the configuration: Hydra composes it from DLIO's files and the arguments, and
`LoadConfig` fills DLIO's `ConfigArguments`. What follows from that for the storage is put into a `Workload` here, once
for the run that is about to start and for the one that is only looked at.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s3dlio.dlio.check.probe import Place

# Flags of Hydra's own command line that change what is composed; `=` may stand before the value.
_SEARCH_FLAGS = ("--config-dir", "-cd")


class ArgumentError(ValueError):
    """Arguments that DLIO would refuse."""


@dataclass(frozen=True)
class Workload:
    """A workload's storage and the settings that decide how fast it can be.

    Attributes:
        storage_type: DLIO's name of it; `s3dlio` for `s3` too, where Option 2 is installed.
        places: the folders it uses, each with what it does there; empty if DLIO's own storage serves them.
        trains, generates, checkpoints: what it does.
        framework, format: DLIO's names of them.
        read_threads: worker processes that read, per rank; 0: the training process reads.
        start_method: how they are started: fork, spawn or forkserver.
        samples: in the training data set.
        batch_size: samples per step and rank.
        file_bytes: size of a file of the data set, on average.
    """

    storage_type: str
    places: tuple[Place, ...]
    trains: bool
    generates: bool
    checkpoints: bool
    framework: str
    format: str
    read_threads: int
    start_method: str
    samples: int
    batch_size: int
    file_bytes: int

    @property
    def writes(self) -> bool:
        """Whether it writes anything."""
        return any(place.written for place in self.places)

    @property
    def schemes(self) -> set[str]:
        """The schemes of its places."""
        return {place.uri.partition("://")[0] for place in self.places}


def package() -> Path | None:
    """The folder of the DLIO that this process would import, None if there is none."""
    spec = importlib.util.find_spec("dlio_benchmark")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def compose(arguments: Sequence[str], s3_is_ours: bool = False) -> Workload:
    """The workload that `dlio_benchmark` would run with these arguments, without running anything of it.

    Args:
        arguments: Hydra's overrides, such as `workload=unet3d_h100` and `++workload.<key>=<value>`, and `--config-dir`.
        s3_is_ours: DLIO's storage type `s3` goes through s3dlio as well: Option 2 is installed.

    Raises:
        ArgumentError: Hydra, or DLIO, refuses them.
        ModuleNotFoundError: DLIO is not installed.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from s3dlio.dlio.run import options, registration

    with _without_warnings():
        from dlio_benchmark.utils.config import ConfigArguments, LoadConfig
        from dlio_benchmark.utils.utility import DLIOMPI

        registration.register()
    configs = package()
    assert configs is not None
    try:
        with hydra.initialize_config_dir(str(configs / "configs"), version_base=None):
            # Without secrets: what Hydra says of an argument quotes it.
            configuration = hydra.compose("config", overrides=_overrides(options.without_secrets(list(arguments))))
        DLIOMPI.reset()
        DLIOMPI.get_instance().set_parent_values(0, 1)  # one rank, without starting MPI
        ConfigArguments.reset()
        filled = ConfigArguments.get_instance()
        workload = configuration["workload"]
        LoadConfig(filled, workload)
        if s3_is_ours and str(filled.storage_type) == "s3":
            filled.storage_type = registration.storage_type()
            if "://" not in filled.storage_root:
                filled.storage_root = f"s3://{filled.storage_root}"
        registration.choose_storage(filled, workload.get("storage", {}).get("storage_options") or {})
        return workload_of(filled)
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, KeyError) as error:
        # Hydra adds where it has looked, line by line.
        message = " ".join(str(error).partition("Config search path")[0].split())
        raise ArgumentError(message) from error
    finally:
        ConfigArguments.reset()
        DLIOMPI.reset()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Lets DLIO's modules be imported without what they log of SDKs that this workload does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config-dir DIR` as the override that it stands for."""
    overrides: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, mark, value = argument.partition("=")
        if flag in _SEARCH_FLAGS:
            folder = value if mark else next(waiting, "")
            overrides.append(f"hydra.searchpath=[file://{Path(folder).absolute()}]")
        elif argument.startswith("-"):
            raise ArgumentError(f"{argument} is no argument that a workload can be composed of")
        else:
            overrides.append(argument)
    return overrides


def workload_of(arguments: Any, elsewhere: Callable[[str], str] | None = None) -> Workload:
    """The workload that DLIO's configuration describes.

    Args:
        arguments: a ConfigArguments that LoadConfig has filled, with its storage type chosen.
        elsewhere: given a folder, names another one in which its objects may lie.
    """
    # 2.0.0 trains unless it only generates, and has no runs of checkpoints alone.
    trains = bool(getattr(arguments, "do_train", not arguments.generate_only))
    generates = bool(arguments.generate_data)
    checkpoints = bool(arguments.do_checkpoint) and not arguments.generate_only
    places: tuple[Place, ...] = ()
    if str(arguments.storage_type) == "s3dlio":
        places = tuple(_places(arguments, trains, generates, checkpoints))
        if elsewhere is not None:
            places = tuple(dataclasses.replace(place, elsewhere=elsewhere(place.uri)) for place in places)
    return Workload(
        storage_type=str(arguments.storage_type),
        places=places,
        trains=trains,
        generates=generates,
        checkpoints=checkpoints,
        framework=str(arguments.framework),
        format=str(arguments.format),
        read_threads=int(arguments.read_threads),
        start_method=str(arguments.multiprocessing_context),
        samples=int(arguments.num_files_train) * int(arguments.num_samples_per_file),
        batch_size=int(arguments.batch_size),
        file_bytes=int(arguments.record_length) * int(arguments.num_samples_per_file),
    )


def _places(arguments: Any, trains: bool, generates: bool, checkpoints: bool) -> list[Place]:
    from s3dlio.dlio.run.storage import S3dlioStorage

    data = S3dlioStorage(arguments.storage_root).get_uri(arguments.data_folder).rstrip("/")
    places = []
    if generates:
        places.append(Place(data, written=True))
    elif trains:
        places.append(Place(f"{data}/train", filled=True))
        if arguments.do_eval:
            places.append(Place(f"{data}/valid", filled=True))
    if checkpoints:
        only_read = getattr(arguments, "checkpoint_only", False) and arguments.num_checkpoints_write <= 0
        folder = S3dlioStorage(arguments.checkpoint_folder).get_namespace()
        places.append(Place(folder, filled=only_read, written=not only_read))
    return places
