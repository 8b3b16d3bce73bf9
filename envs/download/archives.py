"""Archives from elsewhere, ZIP or gzipped tar: every member is checked before the first byte is written."""

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from lerl.envs.schema import DataError

MOST_BYTES = 2 << 30
MOST_MEMBERS = 10_000
BLOCK = 1 << 20
GZIP = b"\x1f\x8b"
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip


class _Member(NamedTuple):
    """A file of an archive: its name, its bytes, whether it is a plain file, and how to read it."""

    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, *, most: int = MOST_BYTES) -> None:
    """Write an archive's files into an existing, empty folder; a folder around all of them is left out.

    Reading to the end checks the CRCs: of each member of a ZIP file, and of the whole of a gzipped tar file.

    Args:
        archive: a ZIP file, or a tar file in gzip; its first bytes say which.
        folder: where the files go.
        most: bytes that they may take together.

    Raises:
        DataError: the archive is damaged, too large, or holds a member that would be written elsewhere.
        OSError: a file cannot be written.
    """
    with archive.open("rb") as stream:
        opened = _tar_members if stream.read(2) == GZIP else _zip_members
    try:
        with opened(archive, most) as members:
            names = _checked(archive, members, most)
            for member, name in zip(members, names, strict=True):
                _write(member, folder / name)
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{archive} is damaged ({error}); it was not unpacked: fetch it again") from error


@contextmanager
def _zip_members(archive: Path, most: int) -> Iterator[list[_Member]]:
    with zipfile.ZipFile(archive) as opened:
        held = [member for member in opened.infolist() if not member.is_dir()]
        yield [
            _Member(one.filename, one.file_size, not stat.S_ISLNK(one.external_attr >> 16), partial(opened.open, one))
            for one in held
        ]


@contextmanager
def _tar_members(archive: Path, most: int) -> Iterator[list[_Member]]:
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
        held: list[tarfile.TarInfo] = []
        size = 0
        for member in opened:
            if not member.isdir():
                held.append(member)
                size += member.size
            if size > most or len(held) > MOST_MEMBERS:
                break  # before what is too much is decompressed to find the next member
        yield [_Member(one.name, one.size, one.isreg(), partial(_file_of, opened, one)) for one in held]
        _drain(archive, stream, most)


def _file_of(opened: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = opened.extractfile(member)
    if found is None:
        raise tarfile.TarError(f"{member.name!r} is no file")
    return found


def _drain(archive: Path, stream: gzip.GzipFile, most: int) -> None:
    """Read to the end, so that gzip compares its CRC."""
    left = most
    while block := stream.read(BLOCK):
        left -= len(block)
        if left < 0:
            raise DataError(f"{archive} goes on for more than {most:,} bytes behind its last file; it was not unpacked")


def _checked(archive: Path, members: Sequence[_Member], most: int) -> list[PurePosixPath]:
    """Where each member goes, below the folder."""
    if not members:
        raise DataError(f"{archive} holds no file; fetch it again")
    size = sum(member.size for member in members)
    if size > most or len(members) > MOST_MEMBERS:
        raise DataError(
            f"{archive} would unpack to {len(members):,} files of {size:,} bytes, allowed are {MOST_MEMBERS:,} of "
            f"{most:,}; it was not unpacked"
        )
    paths = [_path(archive, member) for member in members]
    tops = {path.parts[0] for path in paths}
    if len(tops) == 1 and all(len(path.parts) > 1 for path in paths):
        paths = [PurePosixPath(*path.parts[1:]) for path in paths]
    if len({str(path).lower() for path in paths}) < len(paths):
        raise DataError(f"{archive} holds two files of one name; it was not unpacked")
    return paths


def _path(archive: Path, member: _Member) -> PurePosixPath:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name
    if outside or not path.parts or not member.plain:
        raise DataError(f"{archive} holds {member.name!r}, which leads out of its folder; it was not unpacked")
    return path


def _write(member: _Member, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, place.open("xb") as target:
        while block := source.read(BLOCK):
            target.write(block)
