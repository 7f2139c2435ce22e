# SPDX-License-Identifier: Apache-2.0
"""Streams DLIO's PyTorch checkpoints to and from objects.

Strategy: `torch.save` writes to, and `torch.load` reads from, any object with the methods of a file. Saving writes into
a `MultipartUploadWriter`, piece by piece as PyTorch hands out the memory of its tensors. Loading reads ranges of the
object: PyTorch reads each tensor by one call of `readinto`, which fills the tensor's memory one bounded range at a
time. So neither direction holds a second copy of the model.
"""

from __future__ import annotations

import pickle
from typing import Any

import s3dlio
from s3dlio import settings
from s3dlio.dlio.record.records import Record
from s3dlio.dlio.run.files import ObjectFile


def stream_checkpoints(mechanism: Any, storage: Any) -> None:
    """Make a PyTorchCheckpointing save and load objects below the root of a DataStorage, and record their bytes."""
    import torch

    def save_state(suffix: str, state: Any, fsync: bool = False) -> None:
        if fsync:
            s3dlio.configure(file_sync=True)
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        with Record("checkpoint_write", uri) as record:
            with s3dlio.MultipartUploadWriter.from_uri(uri) as target:
                torch.save(state, target)
            record.bytes = target.tell()

    def load_state(suffix: str, state: Any) -> None:  # noqa: ARG001 - DLIO passes the state it saved
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        with Record("checkpoint_read", uri) as record:
            source = ObjectFile(uri)
            loaded = _loaded(source, uri)
            source.verify()
            record.bytes = source.bytes
        if not loaded:
            raise s3dlio.IntegrityError(
                f"{uri}: the checkpoint is empty; check whether the run that wrote it has finished", uri=uri
            )

    mechanism.save_state = save_state
    mechanism.load_state = load_state


def _loaded(source: ObjectFile, uri: str) -> Any:
    """The content of a checkpoint.

    A user who can write the object must not be able to run code here. So only tensors and built-in containers are
    loaded, unless S3DLIO_TORCH_WEIGHTS_ONLY=0.

    Raises:
        S3dlioError: the checkpoint holds something else.
    """
    import torch

    try:
        return torch.load(source, weights_only=settings.current().torch_weights_only)
    except pickle.UnpicklingError as error:
        raise s3dlio.S3dlioError(
            f"{uri}: the checkpoint contains more than tensors and built-in containers, so loading it could run code"
            f" ({str(error).partition(chr(10))[0]}); if you trust everyone who can write this object, set"
            " S3DLIO_TORCH_WEIGHTS_ONLY=0",
            uri=uri,
        ) from None
