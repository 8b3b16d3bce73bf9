"""ZIP archives from elsewhere: every member is checked before the first byte is written."""

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lerl.envs.logs import DataError

MOST_BYTES = 2 << 30
MOST_MEMBERS = 10_000
BLOCK = 1 << 20
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def unpack(archive: Path, folder: Path, *, most: int = MOST_BYTES) -> None:
    """Write an archive's files into an existing, empty folder; a folder around all of them is left out.

    Reading a member to its end checks its CRC.

    Args:
        archive: a ZIP file.
        folder: where the files go.
        most: bytes that they may take together.

    Raises:
        DataError: the archive is damaged, too large, or holds a member that would be written elsewhere.
        OSError: a file cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            names = _checked(archive, members, most)
            for member, name in zip(members, names, strict=True):
                _write(opened, member, folder / name)
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{archive} is damaged ({error}); it was not unpacked: fetch it again") from error


def _checked(archive: Path, members: Sequence[zipfile.ZipInfo], most: int) -> list[PurePosixPath]:
    """Where each member goes, below the folder."""
    if not members:
        raise DataError(f"{archive} holds no file; fetch it again")
    size = sum(member.file_size for member in members)
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


def _path(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    path = PurePosixPath(member.filename)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename
    if outside or not path.parts or stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{archive} holds {member.filename!r}, which leads out of its folder; it was not unpacked")
    return path


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, place.open("xb") as target:
        while block := source.read(BLOCK):
            target.write(block)
