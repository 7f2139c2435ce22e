# SPDX-License-Identifier: Apache-2.0
"""Playing compositions: a seed makes the objects, the profile of the service, the calls, and the answers to each."""

from __future__ import annotations

import dataclasses
import os
import random as random_module
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from s3dlio import settings
from s3dlio.http import head_patterns
from s3dlio.http.pool import pool
from s3dlio.runtime.engine import Sleep
from s3dlio.transfer import copying
from s3dlio.tuning import HEADS_BEFORE_PATTERN
from tests.chaos import grammar
from tests.chaos.grammar import Reply
from tests.chaos.oracle import BESIDE, KEYS, Author, Call, Seen, judged
from tests.chaos.server import End, Script, Server
from tests.chaos.stores import MODELS, Asked, Model, Profile, content_of

BOUND = 10.0  # seconds that a call may take
_MOST_REQUESTS = 2000  # of a call; after as many all is answered correctly
_MOST_DAMAGED = 12  # answers of a call, where all of them are
_ENVIRONMENT = {
    "S3DLIO_READ_TIMEOUT": "0.25",
    "S3DLIO_CONNECT_TIMEOUT": "1",
    "S3DLIO_REQUEST_TIMEOUT": "3",
    "S3DLIO_RETRIES": "2",
    "S3DLIO_RETRY_SECONDS": "1",
    "S3DLIO_BUFFER_IDLE_MB": "64",
    "GCS_ENDPOINT_URL": "",
    "STORAGE_EMULATOR_HOST": "",
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}
_SMALL: dict[str, Any] = {
    "get_part_mb": 0.0625,
    "put_part_mb": 0.25,
}  # MiB: less than a user may set, so that small objects have parts


class Hang(BaseException):
    """A call did not end."""


@dataclasses.dataclass
class Verdict:
    """What came of a composition.

    Attributes:
        seed: of it.
        text: all that was played, a line each.
        findings: what was wrong.
        calls: how many were made.
        answers: how many answers were not correct ones.
    """

    seed: int
    text: list[str] = dataclasses.field(default_factory=list)
    findings: list[str] = dataclasses.field(default_factory=list)
    calls: int = 0
    answers: int = 0


class _Director:
    """Decides what is played in a composition; used by the server's thread, except between calls."""

    def __init__(self, seed: int, models: Mapping[str, Model]) -> None:
        self._seed = seed
        self.models = models
        self.seen = Seen()
        self.excused: set[str] = set()  # uploads that the client cannot know of, or could not abort
        self.troubles: list[str] = []
        self.answers = 0
        self.turn = 0
        self._ordinal = 0
        self._share = 0.0
        self._left = 0
        self._random = Random(seed)
        self._early: Reply | None = None
        self.deadline = 0.0
        self.hasty = False  # answers before the body of the request are frequent

    def begin(self, share: float, left: int) -> None:
        """A call begins; that share of its answers, at most `left`, is damaged."""
        self.seen = Seen()
        self.turn += 1
        self._ordinal = 0
        self._share, self._left = share, left
        self._random = Random(f"{self._seed} {self.turn}")

    def welcome(self) -> End | bytes | None:
        if self._left and self._random.random() < 0.03 * self._share:
            self._left -= 1
            self.seen.disturbed = True
            how: End | bytes = self._random.choice((End.CLOSE, End.RESET, End.CLOSE, End.RESET, b"", b"220 ready\r\n"))
            self.seen.played.append(f"a new connection: {how!r}")
            return how
        return None

    def _draw(self) -> Random | None:
        """The draws for an answer that is to be damaged; None for a correct one."""
        self._ordinal += 1
        random = Random(f"{self._seed} {self.turn} {self._ordinal}")
        if self._left and self._ordinal <= _MOST_REQUESTS and random.random() < self._share:
            self._left -= 1
            self.answers += 1
            return random
        return None

    def head(self, scheme: str, asked: Asked) -> Script | None:
        if (
            asked.verb not in ("put", "part", "complete")
            or not self._left
            or self._random.random() > (0.4 if self.hasty else 0.08) * self._share
        ):
            return None
        random = self._draw()
        if random is None:
            return None
        self._early = reply = grammar.early(self.models[scheme], asked, random)
        self._note(scheme, asked, reply)
        return grammar.script_of(reply, random, is_early=True)

    def request(self, scheme: str, asked: Asked, answered: bool) -> Script:
        self.seen.requests += 1
        model = self.models[scheme]
        try:
            if answered:
                if self._early is not None and self._early.status < 300:
                    model.perform(asked)
                return Script([])
            random = self._draw()
            if random is None:
                return grammar.script_of(grammar.correct(model, asked), Random(0))
            before = set(model.begun)
            reply, _ = grammar.compose(model, asked, random)
            self.excused |= set(model.begun) - before
            if asked.verb == "abort":
                self.excused.add(asked.query.get("uploadId") or asked.query.get("upload_id", ""))
            self._note(scheme, asked, reply)
            return grammar.script_of(reply, random)
        except Exception:
            self.troubles.append(f"the model failed: {asked._replace(body=asked.body[:300])}\n{traceback.format_exc()}")
            return Script([End.RESET])

    def _note(self, scheme: str, asked: Asked, reply: Reply) -> None:
        self.seen.told |= reply.told
        place = asked.fields.get("range", "")
        what = f"{scheme} {asked.verb} {asked.key} {place}".rstrip()
        self.seen.played.append(f"{self._ordinal}. {what}: {'; '.join(reply.notes)}")

    def disregarded(self, certain: bool) -> None:
        if certain:
            self.troubles.append("unasked-for bytes: a request was sent on a connection on which they had arrived")
        self.seen.unclear = True

    def overdue(self) -> bool:
        """Whether the call has taken too long; once."""
        if self.deadline and time.monotonic() > self.deadline:
            self.deadline = 0.0
            return True
        return False


class Player:
    """Plays compositions against one server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def play(self, seed: int, damaged: bool = True) -> Verdict:
        """Play a composition; with `damaged` False all is answered correctly."""
        random = Random(seed)
        verdict = Verdict(seed)
        scheme = random.choice(list(MODELS))
        tls = random.random() < 0.2
        profile = Profile(
            etag=random.choice(("strong", "strong", "strong", "weak", "none")),
            checksums=random.random() < 0.6,
            conditions=random.random() < 0.9,
            ranges=random.random() < 0.95,
            page=random.choice((1, 2, 3, 1000)),
            encrypted=random.random() < 0.2,
            encoding=random.choice(("EncodingType", "EncodingType", "Encoding-Type", "")),
            filler=random.choice((0, 0, 0, 0, 3000, 7900, 8400)),
        )
        models = {name: model(profile) for name, model in MODELS.items()}
        director = _Director(seed, models)
        huge = random.random() < 0.03
        equal = random.random() < 0.25
        unsigned = scheme != "s3" or random.random() < 0.7
        author = Author(
            models if unsigned else {scheme: models[scheme]},
            scheme,
            self._folder,
            random,
            huge=huge,
            size=random.choice((10, 500, 5000, 70_000)) if equal else 0,
        )
        for key in (*KEYS, *BESIDE):
            if random.random() < 0.9:
                models[scheme].put(key, content_of(key, 0, author.size()))
        resumable = random.random() < 0.3
        verdict.text.append(f"{scheme}, {'TLS' if tls else 'plain'}, {profile}{', resumable' if resumable else ''}")
        sizes = {key: len(stored.content) for key, stored in models[scheme].objects.items()}
        verdict.text.append(f"objects: {sizes}")
        self._server.do(lambda: self._take_over(director))
        own = {
            "S3DLIO_MULTIPART_THRESHOLD_MB": "8" if huge else "0.125",
            "S3DLIO_PUT_VERIFY": "1" if profile.etag == "strong" and random.random() < 0.25 else "0",
            "S3DLIO_VERIFY_GET": random.choice("1110"),
            "S3DLIO_NO_SIGN": "1" if unsigned else "0",
        }
        several = random.random() < 0.1
        verdict.text.append(f"{own}{', two endpoints' if several else ''}")
        director.hasty = huge
        self._configure(tls, resumable, several, own)
        random_module.seed(seed)
        try:
            for _ in range(random.choice((2, 3, 4, 5))):
                share, left = random.choice(((0.0, 0), (1.0, 1), (1.0, 2), (0.4, 8), (0.15, 8), (1.0, _MOST_DAMAGED)))
                self._call(author.next(), share, left if damaged else 0, director, profile, verdict)
                if verdict.findings:
                    break
        finally:
            pool.clear()
            verdict.answers = director.answers
        return verdict

    def _take_over(self, director: _Director) -> None:
        self._server.drop_links()
        self._server.director = director

    def _configure(self, tls: bool, resumable: bool, several: bool, own: Mapping[str, str]) -> None:
        ports, kind = self._server.ports, "https" if tls else "http"
        where = {scheme: f"{kind}://127.0.0.1:{ports[scheme, tls]}" for scheme in MODELS}
        other = f"{'http' if tls else 'https'}://127.0.0.1:{ports['s3', not tls]}"
        os.environ.update(
            own,
            AWS_ENDPOINT_URL=f"{where['s3']},{other}" if several else where["s3"],
            AZURE_STORAGE_ENDPOINT=f"{where['az']}/account",
            GCS_ENDPOINT_URL="" if resumable else where["gs"],
            STORAGE_EMULATOR_HOST=where["gs"] if resumable else "",
        )
        settings._current = dataclasses.replace(settings.current(), **_SMALL)

    def _call(
        self, call: Call, share: float, left: int, director: _Director, profile: Profile, verdict: Verdict
    ) -> None:
        verdict.calls += 1
        troubles = len(director.troubles)
        self._server.do(lambda: director.begin(share, left))
        began = time.monotonic()
        director.deadline = began + BOUND + 5
        result: Any = None
        error: BaseException | None = None
        try:
            result = call.act()
        except (Exception, Hang) as failure:
            error = failure
        director.deadline = 0.0
        took = time.monotonic() - began
        findings: list[str] = []

        def judge() -> None:
            seen = director.seen
            strict = not seen.played and not seen.unclear and (profile.ranges or not call.reads)
            if isinstance(error, TimeoutError):
                strict = False  # the machine may be busy
            findings.extend(judged(call, result, error, seen, strict))
            findings.extend(director.troubles[troubles:])
            if seen.requests > _MOST_REQUESTS:
                findings.append(f"no end: {seen.requests} requests")
            uploads = {upload for scheme in ("s3", "gs") for upload in director.models[scheme].uploads}
            if seen.unclear or seen.disturbed or isinstance(error, TimeoutError):
                director.excused |= uploads
            elif left := uploads - director.excused:
                findings.append(f"uploads left behind: {sorted(left)}")

        self._server.do(judge)
        if took > BOUND:
            findings.append(f"too long: {took:.1f} s")
        text = call.text.replace("\n", "\\n").replace("\r", "\\r")
        verdict.text.append(text)
        verdict.text += [f"    {line}" for line in director.seen.played]
        outcome = "done" if error is None else f"{type(error).__name__}: {error}"
        verdict.text.append(f"    = {outcome} ({took:.3f} s, {director.seen.requests} requests)")
        if isinstance(error, Hang) or (error is not None and any(one.startswith("foreign") for one in findings)):
            verdict.text += traceback.format_exception(error)
        verdict.findings += [f"{finding} | {text}" for finding in findings]
        result = error = None


@contextmanager
def playing() -> Iterator[Player]:
    """A player, and a server in a thread whose end is seen."""
    before = dict(os.environ)
    chunk, sleep, heads = copying.CHUNK, Sleep.__init__, HEADS_BEFORE_PATTERN
    handler = signal.signal(signal.SIGUSR1, _raise_hang)
    main = threading.main_thread().ident
    assert main is not None
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as executor:
        work = Path(folder) / "work"
        (work / "tree").mkdir(parents=True)
        server = Server(Path(folder), _Director(0, {}))
        server.overdue = lambda: signal.pthread_kill(main, signal.SIGUSR1)
        os.environ.update(_ENVIRONMENT, AWS_CA_BUNDLE=server.ca_file)
        copying.CHUNK = 65_536
        head_patterns.HEADS_BEFORE_PATTERN = 5  # type: ignore[attr-defined]
        Sleep.__init__ = _sleep_less  # type: ignore[method-assign]
        running = executor.submit(server.run)
        try:
            yield Player(server, work)
        finally:
            server.stop()
            running.result(30)
            pool.clear()
            copying.CHUNK = chunk
            head_patterns.HEADS_BEFORE_PATTERN = heads  # type: ignore[attr-defined]
            Sleep.__init__ = sleep  # type: ignore[method-assign]
            signal.signal(signal.SIGUSR1, handler)
            os.environ.clear()
            os.environ.update(before)


def _sleep_less(self: Sleep, seconds: float) -> None:
    self.seconds = seconds / 20


def _raise_hang(_: int, __: FrameType | None) -> None:
    raise Hang("the call did not end")
