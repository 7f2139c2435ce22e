# SPDX-License-Identifier: Apache-2.0
"""The storage type `s3dlio` as DLIO knows it: a member of its enum `StorageType`."""

from __future__ import annotations

from typing import Any

STORAGE_TYPE = "s3dlio"


def storage_type() -> Any:
    """The member `s3dlio` of DLIO's StorageType, added to the enum unless DLIO has it."""
    from dlio_benchmark.common.enumerations import StorageType

    try:
        return StorageType(STORAGE_TYPE)
    except ValueError:
        pass
    member = object.__new__(StorageType)
    member._name_, member._value_ = STORAGE_TYPE.upper(), STORAGE_TYPE

    def missing(cls: type, value: object) -> Any:  # noqa: ARG001 - the signature that Enum calls
        return member if value == STORAGE_TYPE else None

    StorageType._missing_ = classmethod(missing)
    setattr(StorageType, member._name_, member)
    return member


def in_use() -> bool:
    """Whether the workload of this process uses the storage type."""
    from dlio_benchmark.utils.config import ConfigArguments

    return str(ConfigArguments.get_instance().storage_type) == STORAGE_TYPE
