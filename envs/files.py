"""Files that are written whole or not at all, and folders without links that lead out of them."""

import errno
import os
from pathlib import Path


class LinkError(ValueError):
    """A folder holds a link, or something else that is no file or folder; the message names it and what to do."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file beside its place and move it there, so that half of it is never read; makes its folder.

    A link in its place, or in that of the unfinished file, is replaced and not followed.

    Raises:
        OSError: it could not be written, on a full disk for example; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        partial.touch(exist_ok=False)  # a file of our own, whatever lay there
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def refuse_endless(path: Path, most: int = 1 << 22) -> None:
    """Refuse a file whose reading may never end.

    Raises:
        OSError: it is missing, has more than `most` bytes, or is a pipe or a device.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise OSError("it is no regular file")
    if size > most:
        raise OSError(f"it has {size:,} bytes, at most {most:,} are read")


def refuse_links(folder: Path) -> None:
    """Refuse a folder with anything in it, however deep, but files and folders; it may itself be behind a link.

    Raises:
        LinkError: there is a symbolic link, which could lead anywhere, or a pipe, socket or device.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as held:
        for entry in held:
            if entry.is_dir(follow_symlinks=False):
                refuse_links(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                what = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
                raise LinkError(
                    f"{entry.path} is {what}, which lerl does not follow there; remove it, or put in its place a copy "
                    "of what it leads to"
                )


def full_disk(error: BaseException | None) -> int | None:
    """The system's number for a full disk, where this error, or one that it came from, is one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        # Polars' errors have no number, only the text of the system's error.
        named = [number for number in FULL if f"os error {number})" in str(error) or os.strerror(number) in str(error)]
        if named:
            return named[0]
        error = error.__cause__ or error.__context__
    return None


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors that say that the disk is full."""
