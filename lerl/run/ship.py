"""Files for workers that do not see this machine's disk: sent once by their content, and what work wrote comes back."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lerl.envs.files import write_whole
from lerl.files import RunError
from lerl.run.locks import LOCK
from lerl.run.work import Work

HELD_BACK = ("checkpoints", LOCK)
"""What does not come back of a folder of work: it serves only to go on with it."""
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
        """Of all of it."""
        return hashlib.blake2b(repr(self.digests).encode(), digest_size=16).hexdigest()


class Parcel(NamedTuple):
    """The files of a piece of work: what it reads, and what its folder holds."""

    reads: tuple[Files, ...]
    folder: Files | None

    def digests(self) -> set[str]:
        """Of all its files."""
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
        return Parcel(tuple(map(self._files, reads)), self._files(work.folder) if work.folder else None)

    def path(self, digest: str) -> Path:
        """Where a file with that content lies."""
        return self._paths[digest]

    def _files(self, path: Path) -> Files:
        inner = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
        kept = [one for one in inner if one.name != LOCK and "__pycache__" not in one.parts]
        named = {"" if one == path else one.relative_to(path).as_posix(): one for one in kept}
        return Files(str(path), tuple((name, self._digest(one)) for name, one in named.items()))

    def _digest(self, path: Path) -> str:
        about = path.stat()
        key = (str(path), about.st_size, about.st_mtime_ns)
        if key not in self._known:
            with path.open("rb") as stream:
                self._known[key] = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        self._paths[self._known[key]] = path
        return self._known[key]


class Store(NamedTuple):
    """What was sent to a machine: files by their digest, and folders made of them."""

    folder: Path

    @staticmethod
    def of(worker: Any) -> "Store":
        """That of a Dask worker, beside its own folder, shared with others on its machine."""
        return Store(Path(worker.local_directory).parent / "lerl-shipped")

    def lacking(self, parcel: Parcel) -> tuple[str, ...]:
        """The digests of files that are not here."""
        return tuple(sorted(digest for digest in parcel.digests() if not self._file(digest).is_file()))

    def put(self, digest: str, position: int, chunk: bytes, last: bool) -> None:
        """Write a part of a file; it is there once the last part is.

        Raises:
            OSError: the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{digest}.{os.getpid()}.partial"
        try:
            with partial.open("r+b" if position else "wb") as stream:
                stream.seek(position)
                stream.write(chunk)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        if last:
            self._file(digest).parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, self._file(digest))

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
            for name, digest in parcel.folder.digests:
                if not (folder / _within(name)).is_file():  # else it is newer: of a try that was killed here
                    write_whole(folder / _within(name), self._file(digest).read_bytes())
            paths[parcel.folder.path] = str(folder)
        return work.at(paths)

    def written(self, work: Work, parcel: Parcel) -> dict[str, bytes]:
        """What the work's folder holds that its parcel had not."""
        if work.folder is None or parcel.folder is None:
            return {}
        before = dict(parcel.folder.digests)
        found: dict[str, bytes] = {}
        for path in sorted(one for one in work.folder.rglob("*") if one.is_file()):
            name, content = path.relative_to(work.folder).as_posix(), path.read_bytes()
            back = not set(PurePosixPath(name).parts) & set(HELD_BACK) and not name.endswith(".partial")
            if back and before.get(name) != hashlib.blake2b(content, digest_size=16).hexdigest():
                found[name] = content
        return found

    def clear(self, work: Work) -> None:
        """Remove the folder of work that has ended."""
        if work.folder is not None and work.folder.parent == self.folder / "work":
            shutil.rmtree(work.folder, ignore_errors=True)

    def _file(self, digest: str) -> Path:
        return self.folder / "files" / digest

    def _made(self, part: Files) -> Path:
        """A file, or a folder of links to files."""
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


def take_in(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write what came back of a piece of work.

    Raises:
        RunError: a path leads out of the folder.
        OSError: the disk is full.
    """
    for name, content in files.items():
        write_whole(folder / _within(name), content)


def _within(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"a worker names the file {name!r}, which is outside of its folder")
    return path
