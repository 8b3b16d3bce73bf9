"""Files for workers that do not see this machine's disk: sent once by their content, and what work wrote comes back."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lerl.envs.files import write_whole
from lerl.files import RunError
from lerl.run.locks import LOCK
from lerl.run.work import Work

HELD_BACK = ("checkpoints", LOCK)
"""What does not come back of a folder of work: it serves only to go on with it."""
NOT_READ = ("checkpoints", "evaluated", "logs", "__pycache__", LOCK)
"""What is not sent of a folder that is only read."""
CHUNK = 4 << 20
"""Bytes that are sent at a time."""


class Files(NamedTuple):
    """A file or a folder, as it is here.

    Attributes:
        path: as it is called here. digests: of its files by their path within it, "" for a file itself.
    """

    path: str
    digests: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """Digest of the whole."""
        return hashlib.blake2b(repr(self.digests).encode(), digest_size=16).hexdigest()


class Parcel(NamedTuple):
    """The files of a piece of work: what it reads, and what its folder holds."""

    reads: tuple[Files, ...]
    folder: Files | None

    def digests(self) -> set[str]:
        """Digests of all its files."""
        parts = (*self.reads, *((self.folder,) if self.folder else ()))
        return {digest for part in parts for _, digest in part.digests}


class Sender:
    """Makes parcels, and finds a file by its digest."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}
        self._paths: dict[str, Path] = {}

    def parcel(self, work: Work) -> Parcel:
        """What a worker needs.

        Raises:
            RunError: a file that the work reads is not there.
        """
        reads = (*work.reads, *work.code)
        for path in reads:
            if not path.exists():
                raise RunError(f"{path} is missing, which {work.name} needs")
        own = self._files(work.folder, (LOCK,)) if work.folder else None
        return Parcel(tuple(self._files(path, NOT_READ) for path in reads), own)

    def path(self, digest: str) -> Path:
        """Where a file with that content lies."""
        return self._paths[digest]

    def _files(self, path: Path, without: tuple[str, ...]) -> Files:
        if path.is_file():
            return Files(str(path), (("", self._digest(path)),))
        found = list[tuple[str, str]]()
        for one in sorted(path.rglob("*")):
            name = one.relative_to(path)
            if not one.is_file() or set(name.parts) & set(without) or one.name.endswith(".partial"):
                continue
            with suppress(FileNotFoundError):  # removed in this moment
                found.append((name.as_posix(), self._digest(one)))
        return Files(str(path), tuple(found))

    def _digest(self, path: Path) -> str:
        about = path.stat()
        key = (str(path), about.st_size, about.st_mtime_ns)
        if key not in self._known:
            self._known[key] = _digest_of(path)
        self._paths[self._known[key]] = path
        return self._known[key]


class Store(NamedTuple):
    """What was sent to a machine: files by their digest, and folders made of them."""

    folder: Path

    @staticmethod
    def of(worker: Any) -> "Store":
        """That of a Dask worker, beside its own folder, shared with others on its machine.

        Raises:
            RunError: the folder belongs to somebody else, who could have put code there.
        """
        folder = Path(worker.local_directory).parent / "lerl-shipped"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise RunError(f"{folder} belongs to another user; start the worker with another --local-directory")
        return Store(folder)

    def lacking(self, parcel: Parcel) -> tuple[str, ...]:
        """The digests of files that are not here."""
        return tuple(sorted(digest for digest in parcel.digests() if not self._file(digest).is_file()))

    def put(self, digest: str, position: int, chunk: bytes, last: bool, session: str) -> None:
        """Write a part of a file; it is there once the last part is, if it has this digest.

        Raises:
            OSError: the disk is full, or the file has changed since its digest was taken.
        """
        partial = self.folder / f".{digest}.{session}.{os.getpid()}.partial"
        try:
            with partial.open("r+b" if position else "wb") as stream:
                stream.seek(position)
                stream.write(chunk)
            if last:
                if _digest_of(partial) != digest:
                    raise OSError("a file changed while it was sent")
                self._file(digest).parent.mkdir(exist_ok=True)
                os.replace(partial, self._file(digest))
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def unpacked(self, parcel: Parcel, work: Work, session: str) -> Work:
        """The work on this machine's paths, once its files lie there.

        Args:
            parcel, work: see above. session: whose work it is: what another one left of a folder is not gone on with.

        Raises:
            OSError: the disk is full.
        """
        paths = {part.path: str(self._made(part)) for part in parcel.reads}
        if parcel.folder is not None:
            named = repr((session, parcel.folder.path, work.name)).encode()
            folder = self.folder / "work" / hashlib.blake2b(named, digest_size=16).hexdigest()
            if not folder.exists():  # else it is newer: of a try that was killed here
                partial = folder.with_name(f"{folder.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for name, digest in parcel.folder.digests:
                    write_whole(partial / _within(name), self._file(digest).read_bytes())
                partial.rename(folder)
            paths[parcel.folder.path] = str(folder)
        return work.at(paths)

    def written(self, work: Work, parcel: Parcel) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """What the work's folder holds that its parcel had not, and the names of what it holds no more."""
        if work.folder is None or parcel.folder is None:
            return {}, ()
        before = dict(parcel.folder.digests)
        found, there = dict[str, bytes](), set[str]()
        for path in sorted(one for one in work.folder.rglob("*") if one.is_file()):
            name = path.relative_to(work.folder).as_posix()
            there.add(name)
            back = not set(PurePosixPath(name).parts) & set(HELD_BACK) and not name.endswith(".partial")
            if back and before.get(name) != _digest_of(path):
                found[name] = path.read_bytes()
        return found, tuple(sorted(set(before) - there))

    def clear(self, work: Work) -> None:
        """Remove the folder of work that has ended."""
        if work.folder is not None and work.folder.parent == self.folder / "work":
            shutil.rmtree(work.folder, ignore_errors=True)

    def _file(self, digest: str) -> Path:
        return self.folder / "files" / digest

    def _made(self, part: Files) -> Path:
        """A file or a folder with those contents."""
        target = self.folder / "made" / part.digest / (Path(part.path).name or "files")
        if target.exists():
            return target
        partial = target.parent.with_name(f"{part.digest}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for name, digest in part.digests:
            place = partial / target.name / _within(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._file(digest), place)
        (partial / target.name).mkdir(parents=True, exist_ok=True) if not part.digests else None
        try:
            partial.rename(target.parent)
        except OSError:  # another worker was faster
            shutil.rmtree(partial, ignore_errors=True)
            if not target.exists():
                raise
        return target


def take_in(folder: Path, files: Mapping[str, bytes], gone: Iterable[str]) -> None:
    """Write what came back of a piece of work, and remove what it removed.

    Raises:
        RunError: a path leads out of the folder.
        OSError: the disk is full.
    """
    for name in gone:
        (folder / _within(name)).unlink(missing_ok=True)
    for name, content in files.items():
        write_whole(folder / _within(name), content)


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _within(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"a worker names the file {name!r}, which is outside of its folder")
    return path
