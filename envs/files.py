"""Files that are there whole or not at all, and never behind a link that somebody else laid."""

import errno
import os
from pathlib import Path


class LinkError(ValueError):
    """A folder that holds what leads out of it; the message names it and says what to do."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file beside its place and move it there, so that nobody ever reads half of it; makes its folder.

    A link in its place, or in that of the unfinished file, is replaced and not followed.

    Raises:
        OSError: it could not be written (a full disk, say); what was there before stays, nothing else is left behind.
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
    """Refuse to read what somebody else may have made so that reading it never ends.

    Raises:
        OSError: it is not there, has more than so many bytes, or is a pipe or a device.
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


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
