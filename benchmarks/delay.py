# SPDX-License-Identifier: Apache-2.0
"""A proxy that adds a delay: `python delay.py PORT UNIX_SOCKET SECONDS`, half of the time in each direction.

The proxy passes every piece on when its delay is over, and receives further pieces meanwhile. So it delays a connection
without limiting its rate.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial


async def main(port: int, upstream: str, seconds: float) -> None:
    """Serve until the process is killed."""
    server = await asyncio.start_server(partial(_accept, upstream, seconds / 2), "127.0.0.1", port)
    await server.serve_forever()


async def _accept(upstream: str, delay: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there, back = await asyncio.open_unix_connection(upstream)
    try:
        await asyncio.gather(_pass_on(reader, back, delay), _pass_on(there, writer, delay))
    except OSError:
        pass  # one side has closed the connection
    finally:
        writer.close()
        back.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Read at most 64 pieces ahead, and write each piece when its delay is over."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def read() -> None:
        while piece := await reader.read(1 << 16):
            await pieces.put((clock() + delay, piece))
        await pieces.put((clock() + delay, b""))

    reading = asyncio.create_task(read())
    try:
        while True:
            due, piece = await pieces.get()
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()
    finally:
        reading.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
