# SPDX-License-Identifier: Apache-2.0
"""PyTorch's DataLoader with four workers, each of which reads batches of whole objects.

Workers return only lengths, so the figures are those of reading, and not of passing tensors to the parent. The workers
of s3dlio are forked, the default of DataLoader on Linux. Clients with a background runtime hang in a forked worker, so
their workers are spawned. s3dlio and obstore read the objects of a batch concurrently (`__getitems__`);
s3torchconnector has its own dataset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from benchmarks.client.work import Item, Job, Runner, Take

_WORKERS = 4

# The store of a worker process, created on first use.
_store: Any = None


class _ByBatch:
    """A dataset that reads a whole batch in one call."""

    def __init__(self, keys: list[str], read: Callable[[list[str]], list[int]]) -> None:
        self._keys = keys
        self._read = read

    def __len__(self) -> int:
        return len(self._keys)

    def __getitems__(self, numbers: list[int]) -> list[int]:
        return self._read([self._keys[number] for number in numbers])


def s3dlio_loader(job: Job) -> Runner:
    """s3dlio: `get_many` for each batch, in forked workers."""
    read = partial(_read_by_s3dlio, f"s3://{job['bucket']}/")
    return _loader(job, lambda keys: _ByBatch(keys, read), "fork")


def _read_by_s3dlio(root: str, keys: list[str]) -> list[int]:
    import s3dlio

    return [len(body) for _, body in s3dlio.get_many([root + key for key in keys])]


def obstore_loader(job: Job) -> Runner:
    """obstore: `get_async` for all objects of a batch, in spawned workers."""
    return _loader(job, lambda keys: _ByBatch(keys, partial(_read_by_obstore, job)), "spawn")


def _read_by_obstore(job: Job, keys: list[str]) -> list[int]:
    global _store
    if _store is None:
        from benchmarks.client.others import obstore_store

        _store = obstore_store(job)

    async def one(key: str) -> int:
        return len(await (await _store.get_async(key)).bytes_async())

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*map(one, keys))

    return asyncio.run(all_of_them())


def s3torchconnector_loader(job: Job) -> Runner:
    """s3torchconnector: its own map dataset, in spawned workers."""
    from s3torchconnector import S3ClientConfig, S3MapDataset

    def dataset(keys: list[str]) -> Any:
        return S3MapDataset.from_objects(
            [f"s3://{job['bucket']}/{key}" for key in keys],
            region="us-east-1",
            endpoint=job["endpoint"],
            transform=_read_whole,
            s3client_config=S3ClientConfig(force_path_style=True),
        )

    return _loader(job, dataset, "spawn")


def _read_whole(reader: Any) -> int:
    return len(reader.read())


def _loader(job: Job, dataset: Any, start: str) -> Runner:
    from torch.utils.data import DataLoader

    keys = list(job["objects"])
    loader = DataLoader(
        dataset(keys),
        batch_size=job["at_once"],
        num_workers=_WORKERS,
        multiprocessing_context=start,
        persistent_workers=True,
        collate_fn=list,
    )

    def run(items: Iterator[Item], take: Take) -> None:
        # One epoch after the other. The first, in the checked pass, starts the workers.
        while epoch := list(islice(items, len(keys))):
            lengths = [length for batch in loader for length in batch]
            for key, length in zip(epoch, lengths, strict=False):
                take(key, length)

    return run
