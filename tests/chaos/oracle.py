# SPDX-License-Identifier: Apache-2.0
"""The oracle: calls of s3dlio, and what may come of each.

A call gives the right bytes or facts, those of one version that existed while it ran, or raises an S3dlioError. A write
that is reported as done is stored; a failed write leaves the old object or the new one. A delete removes what was
named and nothing else. A listing is complete or an error. What the server told (`grammar.Reply.told`) counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import s3dlio
from s3dlio.errors import ObjectNotFoundError, S3dlioError
from tests.chaos.stores import BUCKET, Model, content_of

SIZES = (0, 1, 10, 500, 5_000, 30_000, 70_000, 100_000, 150_000, 200_000)
_SIZE_WEIGHTS = (2, 2, 4, 6, 6, 2, 3, 2, 2, 1)
_LARGE = (300_000, 524_288, 700_000)  # written in parts
_HUGE = 6_000_000  # more than the kernel takes at once
KEYS = ("d/a", "d/b", "d/c", "d/sub/x", "d/sub/y", "d/odd +%&<\u00fc>", "d/e", "d/line\nend\r.")
BESIDE = ("d.bin", "dx/near", "outside/victim", "D/a")


@dataclass
class Seen:
    """What happened on the server during a call.

    Attributes:
        played: a line for each request that was not answered correctly.
        told: what the server said about the state.
        unclear: the client may have taken bytes for an answer that look exactly like one.
        disturbed: connections were refused.
    """

    played: list[str] = field(default_factory=list)
    requests: int = 0
    told: set[str] = field(default_factory=set)
    unclear: bool = False
    disturbed: bool = False


@dataclass
class Call:
    """A call.

    Attributes:
        text: the call as it is written, for people.
        act: makes it.
        judge: given the result and what was seen, returns the findings.
        failed: given the error and what was seen, returns the findings about the state.
        missing: whether ObjectNotFoundError is right even if the server answers correctly.
        data: whether the call reads an object, so that a server without ranges may be refused.
    """

    text: str
    act: Callable[[], Any]
    judge: Callable[[Any, Seen], list[str]]
    failed: Callable[[S3dlioError, Seen], list[str]] = lambda _, __: []
    missing: bool = False
    reads: bool = False


class Author:
    """Writes the calls of a composition."""

    def __init__(
        self, models: Mapping[str, Model], scheme: str, folder: Path, random: Random, *, huge: bool, size: int
    ) -> None:
        """
        Args:
            models: the stores.
            scheme: the one that most calls are about.
            folder: for local files.
            random: the draws.
            huge: large objects are so large that sending one takes several system calls.
            size: of all small objects; 0 for various sizes.
        """
        self._large = (_HUGE,) if huge else _LARGE
        self._size = size
        self._models = models
        self._model = models[scheme]
        self._scheme = scheme
        self._folder = folder
        self._random = random
        self._serial = 100

    # What there is...

    def uri(self, key: str, scheme: str = "") -> str:
        """The URI of a key."""
        return f"{scheme or self._scheme}://{BUCKET}/{key}"

    def size(self) -> int:
        """A size of an object."""
        return self._size or self._random.choices(SIZES, _SIZE_WEIGHTS)[0]

    def data(self, key: str, large: bool = False) -> bytes:
        """New content for a key."""
        self._serial += 1
        return content_of(key, self._serial, self._random.choice(self._large) if large else self.size())

    def _key(self) -> str:
        if self._random.random() < 0.05:
            return "d/missing"
        present = [key for key in KEYS if key in self._model.objects]
        return self._random.choice(present) if present else "d/missing"

    def _versions(self, key: str) -> Callable[[], list[bytes | None]]:
        """Gives, after the call, what the key held during it."""
        past = self._model.past.setdefault(key, [None])
        start = len(past) - 1
        return lambda: past[start:]

    # Judgments...

    def _bytes(self, what: str, got: Any, right: Sequence[bytes | None]) -> list[str]:
        got = bytes(got)
        if any(got == one for one in right):
            return []
        sizes = [None if one is None else len(one) for one in right]
        best = max((_agreement(got, one) for one in right if one is not None), default=0)
        return [f"wrong bytes: {what} gave {len(got)} bytes, right are {sizes}; the first {best} agree"]

    def _stored(self, key: str, data: bytes) -> list[str]:
        found = self._model.content(key)
        if found == data or found in self._model.others.get(key, []):
            return []
        return [f"lost write: {key} holds {None if found is None else len(found)} bytes, {len(data)} were reported"]

    def _whole(self, key: str, old: bytes | None, data: bytes, seen: Seen) -> list[str]:
        found = self._model.content(key)
        if found in (old, data, *self._model.others.get(key, [])) or (found is None and "gone" in seen.told):
            return []
        return [f"torn write: {key} holds {None if found is None else len(found)} bytes, neither the old nor the new"]

    # Reading...

    def get(self) -> Call:
        """`get`, and its twin."""
        key = self._key()
        versions, uri = self._versions(key), self.uri(key)
        is_async = self._random.random() < 0.15
        return Call(
            f"get{'_async' if is_async else ''}({uri})",
            (lambda: asyncio.run(s3dlio.get_async(uri))) if is_async else (lambda: s3dlio.get(uri)),
            lambda got, _: self._bytes("get", got, versions()),
            missing=key not in self._model.objects,
            reads=True,
        )

    def get_range(self) -> Call:
        """`get_range`."""
        key = self._key()
        uri = self.uri(key)
        size = len(self._model.content(key) or b"")
        offset = self._random.choice(
            (0, size // 2, max(0, size - 1), size, size + 10, self._random.randrange(size + 1))
        )
        length = self._random.choice((None, 0, 1, 10, 5_000, 90_000, size))
        versions = self._versions(key)

        def judge(got: Any, _: Seen) -> list[str]:
            stop = None if length is None else offset + length
            return self._bytes("get_range", got, [None if one is None else one[offset:stop] for one in versions()])

        missing = key not in self._model.objects
        return Call(
            f"get_range({uri}, {offset}, {length})",
            lambda: s3dlio.get_range(uri, offset, length),
            judge,
            missing=missing,
            reads=True,
        )

    def _several(self) -> list[str]:
        keys = [self._key() for _ in range(self._random.choice((2, 4, 8, 20, 60)))]
        return [key for key in keys if key in self._model.objects] or keys

    def get_many(self) -> Call:
        """`get_many`, with or without `return_errors`, and its twin."""
        keys = self._several()
        versions = [self._versions(key) for key in keys]
        uris = list(map(self.uri, keys))
        limit = self._random.choice((1, 2, 4, 64))
        errors = self._random.random() < 0.5
        is_async = self._random.random() < 0.15

        def act() -> Any:
            if is_async:
                return asyncio.run(s3dlio.get_many_async(uris, limit, return_errors=errors))
            return s3dlio.get_many(uris, limit, return_errors=True) if errors else s3dlio.get_many(uris, limit)

        def judge(got: Any, _: Seen) -> list[str]:
            wrong = [] if [uri for uri, _ in got] == uris else ["get_many gave other URIs, or in another order"]
            for (uri, data), right in zip(got, versions, strict=False):
                if isinstance(data, S3dlioError) and errors:
                    continue
                if isinstance(data, BaseException):
                    wrong.append(f"foreign exception: {data!r} for {uri}")
                else:
                    wrong += self._bytes(f"get_many {uri}", data, right())
            return wrong

        name = "get_many_async" if is_async else "get_many"
        return Call(
            f"{name}({keys}, {limit}, return_errors={errors})",
            act,
            judge,
            missing=any(key not in self._model.objects for key in keys),
            reads=True,
        )

    def get_many_iter(self) -> Call:
        """`get_many_iter`, to its end or its first error; or dropped before."""
        keys = self._several()
        versions = {self.uri(key): self._versions(key) for key in keys}
        uris = list(map(self.uri, keys))
        limit = self._random.choice((1, 2, 4, 64))
        ordered = self._random.random() < 0.5
        most = self._random.choice((1, 100, 100))
        taken: list[tuple[str, bytes]] = []

        def act() -> Any:
            for number, (uri, data) in enumerate(s3dlio.get_many_iter(uris, limit, ordered), 1):
                taken.append((uri, bytes(data)))
                del data
                if number >= most:
                    break
            return taken

        def judge(_: Any, __: Seen) -> list[str]:
            got = [uri for uri, _ in taken]
            wrong = []
            if (ordered and got != uris[: len(got)]) or (
                sorted(got) != sorted(uris)[: len(got)] and len(got) == len(uris)
            ):
                wrong.append("get_many_iter gave other URIs, or in another order")
            if len(got) < min(most, len(uris)):
                wrong.append(f"get_many_iter ended after {len(got)} of {len(uris)} objects")
            return wrong + bytes_right()

        def bytes_right() -> list[str]:
            return [one for uri, data in taken for one in self._bytes(f"get_many_iter {uri}", data, versions[uri]())]

        return Call(
            f"get_many_iter({keys}, {limit}, {ordered}), at most {most}",
            act,
            judge,
            lambda _, __: bytes_right(),
            missing=any(key not in self._model.objects for key in keys),
            reads=True,
        )

    def download(self) -> Call:
        """`download` of an object to a file that exists or does not."""
        key = self._key()
        uri, path = self.uri(key), self._folder / "downloaded"
        old = b"old" if self._random.random() < 0.5 else None
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
        versions = self._versions(key)

        def kept(_: Any, __: Seen) -> list[str]:
            found = path.read_bytes() if path.exists() else None
            wrong = [] if found == old else [f"torn file: {path.name} after a failed download"]
            return wrong + leftovers()

        def leftovers() -> list[str]:
            extra = [
                one.name
                for one in self._folder.iterdir()
                if one.name not in ("downloaded", "source", "source tree", "tree")
            ]
            return [f"files left behind: {extra}"] if extra else []

        return Call(
            f"download({uri})",
            lambda: s3dlio.download(uri, path),
            lambda _, __: self._bytes("download", path.read_bytes(), versions()) + leftovers(),
            kept,
            missing=key not in self._model.objects,
            reads=True,
        )

    def download_tree(self) -> Call:
        """`download` of a folder."""
        folder = self._folder / "tree"
        uri = self.uri("d/")
        keys = [key for key in self._model.objects if key.startswith("d/")]
        versions = {key: self._versions(key) for key in keys}
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

        def found() -> dict[str, bytes]:
            return {f"d/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}

        def right() -> list[str]:
            wrong = []
            for key, data in found().items():
                if key not in versions:
                    wrong.append(f"files left behind: {key}")
                else:
                    wrong += self._bytes(f"download {key}", data, versions[key]())
            return wrong

        def judge(_: Any, __: Seen) -> list[str]:
            lost = set(keys) - set(found())
            return right() + ([f"incomplete: a tree without {sorted(lost)}"] if lost else [])

        return Call(
            f"download({uri}, recursive=True)",
            lambda: s3dlio.download(uri, folder, recursive=True),
            judge,
            lambda _, __: right(),
            missing=not keys,
            reads=True,
        )

    # Facts...

    def stat(self) -> Call:
        """`stat`, and its twin."""
        key = self._key()
        uri, versions = self.uri(key), self._versions(key)
        is_async = self._random.random() < 0.15

        def judge(got: Any, seen: Seen) -> list[str]:
            sizes = [len(one) for one in versions() if one is not None]
            wrong = [] if got["size"] in sizes else [f"wrong fact: stat says {got['size']} bytes, right are {sizes}"]
            moment = got["last_modified"]  # None if a damaged answer has no date
            if (moment is None and not seen.played) or (moment is not None and moment.tzinfo is None):
                wrong.append(f"wrong fact: last_modified {got['last_modified']!r}")
            return wrong

        return Call(
            f"stat{'_async' if is_async else ''}({uri})",
            (lambda: asyncio.run(s3dlio.stat_async(uri))) if is_async else (lambda: s3dlio.stat(uri)),
            judge,
            missing=key not in self._model.objects,
        )

    def exists(self) -> Call:
        """`exists`."""
        key = self._random.choice((self._key(), "d/missing"))
        uri, versions = self.uri(key), self._versions(key)

        def judge(got: Any, seen: Seen) -> list[str]:
            right = {one is not None for one in versions()} | ({False} if "missing" in seen.told else set())
            return [] if got in right else [f"wrong fact: exists says {got}"]

        return Call(f"exists({uri})", lambda: s3dlio.exists(uri), judge)

    def is_prefix(self) -> Call:
        """`is_prefix`."""
        folder = self._random.choice(("d", "d/sub", "nothing", "d/a"))
        uri = self.uri(folder)
        right = any(key.startswith(f"{folder}/") for key in self._model.objects)
        return Call(
            f"is_prefix({uri})",
            lambda: s3dlio.is_prefix(uri),
            lambda got, _: [] if got == right else [f"wrong fact: is_prefix says {got}"],
        )

    def list(self) -> Call:
        """`list`, `list_iter`, and the twin."""
        folder = self._random.choice(("d/", "d/", "d/sub/", "", "nothing/"))
        recursive = self._random.random() < 0.6
        uri = self.uri(folder)
        names = {key[len(folder) :] for key in self._model.objects if key.startswith(folder)}
        if not recursive:
            names = {name.partition("/")[0] + ("/" if "/" in name else "") for name in names}
        right = sorted(uri + name for name in names if name)
        kind = self._random.choice(("list", "list", "list_iter", "list_async"))

        def act() -> Any:
            if kind == "list_iter":
                return sorted(s3dlio.list_iter(uri, recursive))
            if kind == "list_async":
                return asyncio.run(s3dlio.list_async(uri, recursive))
            return s3dlio.list(uri, recursive)

        def judge(got: Any, _: Seen) -> list[str]:
            if sorted(got) == right:
                return []
            return [f"wrong listing: without {sorted(set(right) - set(got))}, with {sorted(set(got) - set(right))}"]

        return Call(f"{kind}({uri}, {recursive})", act, judge)

    # Writing...

    def put_bytes(self) -> Call:
        """`put_bytes`, in one request or in parts, and its twin."""
        key = self._random.choice((self._key(), "d/new"))
        return self._put(key, self.data(key, self._random.random() < 0.3))

    def _put(self, key: str, data: bytes) -> Call:
        uri, old = self.uri(key), self._model.content(key)
        is_async = self._random.random() < 0.15
        act = (
            (lambda: asyncio.run(s3dlio.put_bytes_async(uri, data)))
            if is_async
            else (lambda: s3dlio.put_bytes(uri, data))
        )
        return Call(
            f"put_bytes{'_async' if is_async else ''}({uri}, {len(data)} bytes)",
            act,
            lambda _, __: self._stored(key, data),
            lambda _, seen: self._whole(key, old, data, seen),
        )

    def put_many(self) -> Call:
        """`put_many`."""
        keys = self._random.sample((*KEYS, "d/new"), self._random.choice((2, 5, 9)))
        pairs = [(key, self.data(key)) for key in keys]
        old = {key: self._model.content(key) for key in keys}
        limit = self._random.choice((1, 4, 64))
        is_async = self._random.random() < 0.15

        def act() -> None:
            new = [(self.uri(key), data) for key, data in pairs]
            if is_async:
                asyncio.run(s3dlio.put_many_async(new, limit))
            else:
                s3dlio.put_many(new, limit)

        return Call(
            f"put_many{'_async' if is_async else ''}({[(key, len(data)) for key, data in pairs]}, {limit})",
            act,
            lambda _, __: [one for key, data in pairs for one in self._stored(key, data)],
            lambda _, seen: [one for key, data in pairs for one in self._whole(key, old[key], data, seen)],
        )

    def writer(self) -> Call:
        """`MultipartUploadWriter`, closed or aborted."""
        key = self._random.choice((self._key(), "d/new"))
        uri, old = self.uri(key), self._model.content(key)
        data = self.data(key, self._random.random() < 0.6)
        step = self._random.choice((100, 70_000, 262_144, 1 << 20)) if len(data) > 5000 else 1000
        step = max(step, len(data) // 20)
        aborts = self._random.random() < 0.15

        def act() -> None:
            writer = s3dlio.MultipartUploadWriter.from_uri(uri)
            try:
                for at in range(0, len(data), step):
                    piece = bytearray(data[at : at + step])
                    writer.write(piece)
                    piece[:] = bytes(len(piece))  # a caller may use its buffer again
            except BaseException:
                writer.abort()
                raise
            if aborts:
                writer.abort()
            else:
                writer.close()

        def judge(_: Any, seen: Seen) -> list[str]:
            return self._whole(key, old, old or b"", seen) if aborts else self._stored(key, data)

        return Call(
            f"MultipartUploadWriter({uri}), {len(data)} bytes in pieces of {step}{', aborted' if aborts else ''}",
            act,
            judge,
            lambda _, seen: self._whole(key, old, data, seen),
        )

    def upload_tree(self) -> Call:
        """`upload` of a folder."""
        folder = self._folder / "source tree"
        data = {name: self.data(name) for name in ("x", "y", "sub/z")}
        for name, content in data.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        keys = {f"u/{name}": content for name, content in data.items()}
        old = {key: self._model.content(key) for key in keys}
        uri = self.uri("u")
        return Call(
            f"upload({[(name, len(content)) for name, content in data.items()]}, {uri}, recursive=True)",
            lambda: s3dlio.upload(folder, uri, recursive=True),
            lambda _, __: [one for key, content in keys.items() for one in self._stored(key, content)],
            lambda _, seen: [one for key, content in keys.items() for one in self._whole(key, old[key], content, seen)],
        )

    def copy_tree(self) -> Call:
        """`copy` of a folder."""
        source, target = self.uri("d/sub"), self.uri("copied")
        keys = [key for key in self._model.objects if key.startswith("d/sub/")]
        versions = {key: self._versions(key) for key in keys}

        def right() -> list[str]:
            wrong = []
            for key in [key for key in self._model.objects if key.startswith("copied/")]:
                origin = f"d/sub/{key.removeprefix('copied/')}"
                known = [*self._model.past.get(origin, []), *self._model.others.get(key, [])]
                wrong += self._bytes(f"copy to {key}", self._model.content(key), known)
            return wrong

        def judge(_: Any, __: Seen) -> list[str]:
            wrong = right()
            for key in keys:
                found = self._model.content(f"copied/{key.removeprefix('d/sub/')}")
                if found is None:
                    wrong.append(f"lost write: no copy of {key}")
                else:
                    others = self._model.others.get(f"copied/{key.removeprefix('d/sub/')}", [])
                    wrong += self._bytes(f"copy of {key}", found, [*versions[key](), *others])
            return wrong

        return Call(
            f"copy({source}, {target}, recursive=True)",
            lambda: s3dlio.copy(source, target, recursive=True),
            judge,
            lambda _, __: right(),
            missing=not keys,
            reads=True,
        )

    def upload(self) -> Call:
        """`upload` of a file."""
        key = self._random.choice((self._key(), "d/new"))
        data = self.data(key, self._random.random() < 0.3)
        path = self._folder / "source"
        path.write_bytes(data)
        uri, old = self.uri(key), self._model.content(key)
        return Call(
            f"upload({len(data)} bytes, {uri})",
            lambda: s3dlio.upload(path, uri),
            lambda _, __: self._stored(key, data),
            lambda _, seen: self._whole(key, old, data, seen),
        )

    def copy(self) -> Call:
        """`copy`, within a service or to another."""
        key = self._key()
        target = self._random.choice(("d/new", "d/b"))
        scheme = self._random.choice((self._scheme, self._scheme, *self._models))
        model = self._models[scheme]
        if scheme == self._scheme and key == target:
            target = "d/copied"
        source_uri, target_uri = self.uri(key), self.uri(target, scheme)
        versions, old = self._versions(key), model.content(target)

        def judge(_: Any, __: Seen) -> list[str]:
            found = model.content(target)
            if found is None:
                return [f"lost write: {target} does not exist after its copy"]
            return self._bytes("copy", found, [*versions(), *model.others.get(target, [])])

        def failed(_: S3dlioError, seen: Seen) -> list[str]:
            found = model.content(target)
            right = [old, *versions(), *model.others.get(target, [])]
            if found in right or (found is None and "gone" in seen.told):
                return []
            return [f"torn write: {target} after a failed copy"]

        return Call(
            f"copy({source_uri}, {target_uri})",
            lambda: s3dlio.copy(source_uri, target_uri),
            judge,
            failed,
            missing=key not in self._model.objects,
            reads=True,
        )

    # Deleting...

    def delete(self) -> Call:
        """`delete` of an object."""
        key = self._random.choice((self._key(), "d/missing"))
        uri, others = self.uri(key), dict(self._model.objects)
        others.pop(key, None)
        is_async = self._random.random() < 0.15

        def judge(_: Any, seen: Seen) -> list[str]:
            there = key in self._model.objects and "missing" not in seen.told
            return ([f"not deleted: {key}"] if there else []) + kept(_, seen)

        def kept(_: Any, __: Seen) -> list[str]:
            lost = [other for other in others if other not in self._model.objects]
            return [f"deleted beyond what was named: {lost}"] if lost else []

        act = (lambda: asyncio.run(s3dlio.delete_async(uri))) if is_async else (lambda: s3dlio.delete(uri))
        return Call(f"delete{'_async' if is_async else ''}({uri})", act, judge, kept)

    def delete_tree(self) -> Call:
        """`delete` of a folder."""
        folder = self._random.choice(("d/sub", "d", "d/"))
        uri, prefix = self.uri(folder), folder.rstrip("/") + "/"
        others = [key for key in self._model.objects if not key.startswith(prefix)]

        def judge(_: Any, seen: Seen) -> list[str]:
            left = [key for key in self._model.objects if key.startswith(prefix)]
            return ([f"not deleted: {left}"] if left and "missing" not in seen.told else []) + kept(_, seen)

        def kept(_: Any, __: Seen) -> list[str]:
            lost = [other for other in others if other not in self._model.objects]
            return [f"deleted beyond what was named: {lost}"] if lost else []

        return Call(f"delete({uri}, recursive=True)", lambda: s3dlio.delete(uri, recursive=True), judge, kept)

    def next(self) -> Call:
        """The next call."""
        weighed: tuple[tuple[int, Callable[[], Call]], ...] = (
            (12, self.get),
            (8, self.get_range),
            (10, self.get_many),
            (5, self.get_many_iter),
            (4, self.download),
            (2, self.download_tree),
            (5, self.stat),
            (4, self.exists),
            (3, self.is_prefix),
            (8, self.list),
            (8, self.put_bytes),
            (5, self.put_many),
            (6, self.writer),
            (3, self.upload),
            (2, self.upload_tree),
            (2, self.copy_tree),
            (6, self.copy),
            (4, self.delete),
            (3, self.delete_tree),
        )
        weights, calls = zip(*weighed, strict=True)
        call: Call = self._random.choices(calls, weights)[0]()
        return call


def _agreement(got: bytes, right: bytes) -> int:
    """Up to where two contents agree."""
    most = min(len(got), len(right))
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        if got[:middle] == right[:middle]:
            low = middle
        else:
            most = middle - 1
    return low


def judged(call: Call, result: Any, error: BaseException | None, seen: Seen, strict: bool) -> list[str]:
    """What is wrong with the outcome of a call.

    Args:
        call: the call.
        result, error: what came of it.
        seen: what the server saw.
        strict: all was answered correctly, so the call must have succeeded.
    """
    if error is None:
        return [] if seen.unclear else call.judge(result, seen)
    if not isinstance(error, S3dlioError):
        return [f"foreign exception: {type(error).__name__}: {error}"]
    wrong = [] if seen.unclear else call.failed(error, seen)
    if strict and not (call.missing and isinstance(error, ObjectNotFoundError)) and "longer than" not in str(error):
        wrong.append(f"refused: all was answered correctly, and {type(error).__name__}: {error}")
    return wrong
