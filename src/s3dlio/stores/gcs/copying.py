# SPDX-License-Identifier: Apache-2.0
"""Let Cloud Storage copy objects: Objects: rewrite."""

from __future__ import annotations

from s3dlio.errors import StoreUnavailableError
from s3dlio.objects.request import Request
from s3dlio.settings import MIB
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.gcs.answers import lacks_step, parsed
from s3dlio.stores.gcs.service import GcsService, object_path, query_of
from s3dlio.stores.refusals import error_at
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI

_IDLE_STEPS = 10  # of a copy, one after the other, that may copy nothing


async def copy(store: CloudStore[GcsService], source: URI, target: URI, size: int) -> bool:
    """Let the service copy an object, in as many steps as it needs. The service always can."""
    path = f"{object_path(source)}/rewriteTo{object_path(target).removeprefix('/storage/v1')}"
    query = {"fields": "done,rewriteToken,totalBytesRewritten"}
    idle, written = 0, 0
    # A step copies at least 1 MiB. If the service does not tell how far it is, that bounds the number of steps.
    while idle <= _IDLE_STEPS + (0 if written else size // MIB):
        request = Request(source.text, "POST", source.container, path, query=query_of(**query))
        response = await send_for_proof(store.service(), request, lacks_step)
        answer = parsed(response, source.text)
        if answer.get("done"):
            return True
        query["rewriteToken"] = str(answer["rewriteToken"])
        now = str(answer.get("totalBytesRewritten", ""))
        idle = 0 if now.isdecimal() and len(now) < 20 and int(now) > written else idle + 1
        written = written if idle else int(now)
    why = f"the copy to {target.text} makes no progress after {written} of {size} bytes"
    raise error_at(StoreUnavailableError, source.text, response.address, why, "try again later")
