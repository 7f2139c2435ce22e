# SPDX-License-Identifier: Apache-2.0
"""Fuzz target for the HTTP framing: a stream of bytes from a server, read as a client reads it.

Run by hand with atheris, for ten minutes:

    pip install atheris && PYTHONPATH=src python tests/fuzz/fuzz_framing.py -max_total_time=600 -max_len=4096 \
        tests/fuzz/corpus

`test_corpus.py` replays the corpus in every run of the tests. An input is one byte that picks the request's method, one
that says how many bytes arrive at a time, and the stream.
"""

import importlib
import sys

from s3dlio.http.framing import (
    BodyKind,
    ChunkedDecoder,
    FramingError,
    ResponseHead,
    find_head_end,
    parse_head,
)

METHODS = ["GET", "HEAD", "PUT", "CONNECT"]


def check(data: bytes) -> str:
    """How the stream ends: "answer", "more" (cut short) or "error".

    Raises:
        AssertionError: the answer depends on how the stream was cut, or more was read than there is.
        Exception: anything but FramingError came out of the framing.
    """
    method = METHODS[data[0] % len(METHODS)] if data else "GET"
    step = data[1] % 64 + 1 if len(data) > 1 else 1
    stream = data[2:]
    whole = read(stream, method, len(stream) + 1)
    assert read(stream, method, step) == whole
    return whole[0]


def read(stream: bytes, method: str, step: int) -> tuple[str, ResponseHead | None, bytes, int]:
    """Read one answer that arrives `step` bytes at a time: outcome, head, body, bytes used."""
    try:
        return _read(stream, method, step)
    except FramingError as error:
        message = str(error)
    assert len(message) < 500
    assert message.isprintable()
    return "error", None, b"", 0


def _read(stream: bytes, method: str, step: int) -> tuple[str, ResponseHead | None, bytes, int]:
    position = received = 0
    while True:
        end = -1
        while end < 0:
            end = find_head_end(stream, position, received)
            if end < 0:
                if received >= len(stream):
                    return "more", None, b"", 0
                received = min(received + step, len(stream))
        assert position < end <= len(stream)
        head = parse_head(stream[position:end], method)
        assert not set("\r\n\0") & set(head.reason.join(head.headers.values()))
        position = end
        if not head.is_informational:
            break

    rest = stream[position:]
    if head.body is BodyKind.NONE:
        return "answer", head, b"", position
    if head.body is BodyKind.LENGTH:
        assert head.length is not None
        body = rest[: head.length]
        return ("answer" if len(body) == head.length else "more"), head, body, position + len(body)
    if head.body is BodyKind.UNTIL_CLOSE:
        assert not head.keep_alive
        return "answer", head, rest, len(stream)
    decoder, payload, used = ChunkedDecoder(), bytearray(), 0
    while used < len(rest):
        piece = rest[used : used + step]
        slices = decoder.feed(piece)
        assert sum(map(len, slices)) <= decoder.consumed <= len(piece)
        for part in slices:
            payload += part
        used += decoder.consumed
        if decoder.done:
            break
        assert decoder.consumed == len(piece)
    head.headers.update(decoder.trailers)
    return ("answer" if decoder.done else "more"), head, bytes(payload), position + used


if __name__ == "__main__":
    atheris = importlib.import_module("atheris")

    def one_input(data: bytes) -> None:
        check(data)

    # Everything, not the imports that follow: the framing was imported before atheris was there.
    atheris.enabled_hooks.add("RegEx")
    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
