"""Named data sets from their publishers: downloaded, verified and unpacked, whole or not at all."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lerl.envs.download.archives import MOST_BYTES, unpack
from lerl.envs.download.http import DownloadError, Report, RetryPolicy, download, text_at
from lerl.envs.logs.scan import scan
from lerl.envs.schema import DataError
from lerl.envs.store import new_folder

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
ZENODO = "https://zenodo.org/records"
GOODBOOKS = "https://github.com/zygmuntz/goodbooks-10k/releases/download/v1.0/goodbooks-10k.zip"
BOOKS, USERS = 10_000, 53_424
"""How many books and users goodbooks-10k has, by its publisher's README."""

MIB = 1 << 20


@dataclass(frozen=True)
class Source:
    """Where a data set is published.

    Attributes:
        address: of a ZIP archive, or of a gzipped tar file.
        format: what `lerl.envs.prepare.prepare` calls its layout.
        checksum: whether the publisher keeps the archive's MD5 beside it, in a file that ends in .md5.
        most: bytes that the archive may have.
        check: checks the unpacked files, where no checksum is published, and returns a note on what it checked.
        md5: of the archive, where the publisher states it on a page; mirrors must have the same. Those of the Zenodo
            records are as public loaders of the data sets give them.
        unpacked: bytes that its files may have.
    """

    address: str
    format: str
    checksum: bool
    most: int
    check: Callable[[Path], str] | None = None
    md5: str | None = None
    unpacked: int = MOST_BYTES

    @property
    def suffix(self) -> str:
        """What the archive's name ends in."""
        return ".tar.gz" if self.address.endswith(".tar.gz") else ".zip"


def _check_goodbooks(folder: Path) -> str:
    """Refuse other counts of books and users than the publisher names."""
    for file, column, wanted in (("books.csv", "book_id", BOOKS), ("ratings.csv", "user_id", USERS)):
        if not (folder / file).is_file():
            raise DataError(f"the archive holds no {file}")
        read = scan(folder / file)
        read.need(column)
        number = pl.col(column).cast(pl.Int64, strict=False)
        found = read.collect(
            read.frame.select(number.n_unique().alias("n"), number.min().alias("a"), number.max().alias("z"))
        )
        if found.row(0) != (wanted, 1, wanted):
            raise DataError(f"{file} in the archive has {found['n'][0]:,} different {column}, published are {wanted:,}")
    return f"no checksum is published; the archive's CRCs, {BOOKS:,} books and {USERS:,} users agree"


SOURCES = {
    "movielens-100k": Source(f"{GROUPLENS}/ml-100k.zip", "movielens", True, 64 * MIB),
    "movielens-1m": Source(f"{GROUPLENS}/ml-1m.zip", "movielens", True, 64 * MIB),
    "movielens-latest-small": Source(f"{GROUPLENS}/ml-latest-small.zip", "movielens", True, 64 * MIB),
    "goodbooks-10k": Source(GOODBOOKS, "goodbooks", False, 256 * MIB, _check_goodbooks),
    "kuairand-pure": Source(
        f"{ZENODO}/10439422/files/KuaiRand-Pure.tar.gz", "kuairand", False, 256 * MIB,
        md5="0820331067a3784d9691136f772b35a7",
    ),
    "kuairec": Source(
        f"{ZENODO}/18164998/files/KuaiRec.zip", "kuairec", False, 1024 * MIB,
        md5="261550d472c48eff4990fb13c0e5bcf7", unpacked=8 << 30,
    ),
}  # fmt: skip


def fetch(
    name: str,
    folder: Path,
    *,
    address: str | None = None,
    retry: RetryPolicy | None = None,
    report: Report | None = None,
) -> str:
    """Download a data set, unpack it into a folder, and return a note on how it was verified.

    The archive is removed afterwards, unless it was there before and is the published one: then nothing is downloaded.
    A download that was interrupted is kept beside the folder, as `FOLDER.zip.partial` or `FOLDER.tar.gz.partial`, and
    continues when the same call is made again.

    Args:
        name: one of SOURCES.
        folder: where its files go; absent or empty.
        address: of a mirror of the archive; a checksum is looked for beside it, as the publisher keeps it.
        retry: when to try again.
        report: see `lerl.envs.download.http.download`.

    Raises:
        DataError: what came is not what was published; it was removed.
        DownloadError: it cannot be downloaded.
        FileExistsError: the folder holds something.
        ValueError: there is no such data set.
    """
    if name not in SOURCES:
        raise ValueError(f"the data set must be one of {', '.join(SOURCES)}, given {name!r}")
    source, folder = SOURCES[name], Path(folder)
    _check_empty(folder, source.format)
    address = source.address if address is None else address
    published = _checksum(address, retry) if source.checksum else source.md5
    archive = folder.with_name(folder.name + source.suffix)
    there = archive.exists()
    if there and (published is None or _md5(archive) != published):
        raise FileExistsError(f"{archive} is in the way of the download; move it, or give another folder with --out")
    if not there:
        download(address, archive, most=source.most, retry=retry, report=report)
    try:
        if published is not None:
            _verify(archive, published)
        with new_folder(folder) as partial:
            unpack(archive, partial, most=source.unpacked)
            found = source.check(partial) if source.check else ""
    except DataError as error:
        raise DataError(f"{error}; what came from {address} was removed: run the command again") from error
    finally:
        if not there:
            archive.unlink(missing_ok=True)
    return found or f"MD5 {published}, as published {'beside the archive' if source.checksum else 'with the archive'}"


def _check_empty(folder: Path, format: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, and the data set is a folder; give another path with --out")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} is there already; use it with `lerl data prepare --format {format} {folder} --out PREPARED`, "
            f"remove it, or give another folder with --out"
        )


def _checksum(address: str, retry: RetryPolicy | None) -> str:
    """The MD5 that is published beside an archive, in lower case."""
    beside = f"{address}.md5"
    found = re.findall(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])", text_at(beside, retry=retry))
    if len(found) != 1:
        raise DownloadError(f"{beside}: {len(found)} MD5 checksums in it, wanted is one; nothing was downloaded")
    return str(found[0]).lower()


def _verify(archive: Path, published: str) -> None:
    given = _md5(archive)
    if given != published:
        raise DataError(f"the archive's MD5 is {given}, published is {published}: it was damaged or tampered with")


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
