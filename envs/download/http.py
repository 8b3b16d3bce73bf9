"""Downloads over HTTP that can be resumed, and that have their final name only when they are complete.

The bytes go into a file that ends in `.partial`; a second file beside it holds the version that the server gave. Run
again, the download requests only the rest (RFC 9110, Range with If-Range), or all where the server's file has changed.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from lerl.envs.files import FULL
from lerl.envs.store import disk_errors

BLOCK = 1 << 16
MOST_TRIES = 1000
"""Tries of one download, at most, even if each of them brings some bytes."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes after which a new try may succeed."""

Report = Callable[[int, int | None], object]


class DownloadError(OSError):
    """A download that cannot be finished; the message names the address, what happened and what to do."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a download is tried again, and when it is given up.

    Attributes:
        seconds: without a byte, or with fewer than `least` bytes, after which a try counts as stalled.
        tries: in a row without progress after which the download is given up.
        pause: seconds before the second try; each further pause is twice as long, and none longer than a minute.
        least: bytes, in `seconds` seconds, below which a server that sends slowly counts as stalled.
    """

    seconds: float = 30.0
    tries: int = 5
    pause: float = 1.0
    least: int = 4096


class _Refused(Exception):
    """A failure that a new try will not change."""


class _Failed(Exception):
    """A try that failed for a reason that may pass."""


class _Stalled(_Failed):
    """A try that was given up because too few bytes came."""


def download(
    address: str, place: Path, *, most: int, retry: RetryPolicy | None = None, report: Report | None = None
) -> Path:
    """Fetch a file into `place`.partial and give it its name once it is whole.

    Args:
        address: http or https.
        place: where the file goes; its folder is made.
        most: bytes that the file may have.
        retry: when to try again.
        report: called with how many bytes there are and how many there will be, None where the server does not say.

    Returns:
        `place`.

    Raises:
        DownloadError: it cannot be finished. What came stays in the partial file, unless the disk is full.
    """
    partial = _Partial(place.with_name(place.name + ".partial"))
    place.parent.mkdir(parents=True, exist_ok=True)
    partial.drop_links()
    try:
        _fetch_whole(address, partial, most, retry or RetryPolicy(), report or (lambda done, total: None))
        partial.data.replace(place)
    finally:
        if not partial.size:
            partial.drop()
    return place


def _fetch_whole(address: str, partial: "_Partial", most: int, retry: RetryPolicy, report: Report) -> None:
    """Try until all of it is there, or there are no tries left."""
    pause, left, best = retry.pause, retry.tries, partial.size
    for number in range(MOST_TRIES):
        try:
            _fetch(address, partial, most, retry, report)
            return
        except _Refused as error:
            raise DownloadError(f"{address}: {error}") from error
        except _Failed as error:
            further = partial.size > best and not (isinstance(error, _Stalled) and partial.size < best + retry.least)
            pause, left = (retry.pause, retry.tries) if further else (pause * 2, left - 1)
            best = max(best, partial.size)
            if not left or number == MOST_TRIES - 1:
                times = retry.tries if not left else MOST_TRIES
                raise DownloadError(f"{address}: {error}, {times:,} times; {_go_on(partial)}") from error
            time.sleep(min(pause, 60.0))


def text_at(address: str, *, most: int = 4096, retry: RetryPolicy | None = None) -> str:
    """A small text, such as a checksum's file.

    Args:
        address: http or https.
        most: bytes that it may have.
        retry: when to try again.

    Raises:
        DownloadError: it cannot be downloaded, or is larger than `most` bytes.
    """
    retry, error = retry or RetryPolicy(), Exception()
    for attempt in range(retry.tries):
        if attempt:
            time.sleep(min(retry.pause * 2 ** (attempt - 1), 60.0))
        try:
            text = b""
            with _opened(address, _headers(), retry.seconds) as answer:
                for block in _blocks(answer, retry):
                    text += block
                    if len(text) > most:
                        break
            if len(text) > most:
                raise DownloadError(f"{address}: more than {most} bytes, where a line of text was expected")
            return str(text.decode("utf-8", errors="replace"))
        except _Refused as refused:
            raise DownloadError(f"{address}: {refused}") from refused
        except _Failed as failed:
            error = failed
    raise DownloadError(f"{address}: {error}, {retry.tries} times; look at your connection and try again later")


def _go_on(partial: "_Partial") -> str:
    kept = f"{partial.size:,} bytes are kept in {partial.data}, and the same command goes on from there"
    return kept if partial.size else "nothing came; look at your connection and try again later"


@dataclass(frozen=True)
class _Partial:
    """The bytes of a file so far, in `data`; `about` says of which version of the file they are."""

    data: Path

    @property
    def about(self) -> Path:
        return self.data.with_name(self.data.name + ".json")

    @property
    def size(self) -> int:
        return self.data.stat().st_size if self.data.exists() else 0

    def version(self, address: str) -> str | None:
        """The validator of the bytes, if they are of this address and a server can check it."""
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
            return str(about["version"]) if about["address"] == address and about["version"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, address: str, version: str | None) -> None:
        """Remove the bytes so far, and note the version of those to come."""
        self.drop()
        self.about.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")

    def drop_links(self) -> None:
        """Remove links and pipes, so that nothing is written to where they lead."""
        if any(path.is_symlink() or path.is_fifo() for path in (self.data, self.about)):
            self.drop()

    def drop(self) -> None:
        self.data.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


def _fetch(address: str, partial: _Partial, most: int, retry: RetryPolicy, report: Report) -> None:
    """One try: request what is missing and append it."""
    headers, version = _headers(), partial.version(address)
    resumed = bool(partial.size) and version is not None
    if resumed:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": str(version)}
    with _opened(address, headers, retry.seconds) as answer:
        if answer.status == 416:
            partial.drop()
            raise _Failed("the server has no bytes where the last download stopped")
        if answer.status not in (200, 203, 206):
            raise _Refused(f"the server answered {answer.status}, where 200 or 206 comes with a file")
        begin = partial.size if answer.status == 206 else 0
        total = _length(answer.headers)
        if answer.status == 206:
            part, tag = _part(answer.headers), answer.headers.get("ETag")
            changed = str(version).startswith('"') and tag not in (None, version)
            if not resumed or changed or part is None or part[0] != begin:
                partial.drop()
                raise _Failed("the server answered with another part than was requested")
            total = part[1]
        else:
            with _full_disk(partial):
                partial.begin(address, _version(answer.headers))
        if total is not None and total > most:
            raise _Refused(f"the server announces {total:,} bytes, allowed are {most:,}; it is not the data set")
        _write(answer, partial, begin, total, most, retry, report)


def _write(
    answer: Any, partial: _Partial, begin: int, total: int | None, most: int, retry: RetryPolicy, report: Report
) -> None:
    """Append what comes after the first `begin` bytes of a file of `total` bytes, None where that is not known."""
    done = begin
    with _full_disk(partial), partial.data.open("ab") as stream:
        report(done, total)
        for block in _blocks(answer, retry):
            done += len(block)
            if done > most:
                break
            stream.write(block)
            report(done, total)
    if done > most:
        partial.drop()
        raise _Refused(f"the server sends more than {most:,} bytes; it is not the data set")
    if total is not None and done > total:
        partial.drop()
        raise _Failed(f"the server sent {done:,} bytes of a file of {total:,}")
    if total is not None and done != total:
        raise _Failed(f"the connection ended after {done:,} of {total:,} bytes")


def _blocks(answer: Any, retry: RetryPolicy) -> Iterator[bytes]:
    """The bytes as they come; raises `_Stalled` where too few of them come."""
    since, came = time.monotonic(), 0
    while True:
        with _failures():
            block = bytes(answer.read1(BLOCK))  # not read, which would lose the last bytes before a stall
        if not block:
            return
        yield block
        came += len(block)
        if time.monotonic() - since > retry.seconds:
            if came < retry.least:
                raise _Stalled(f"the server sent {came:,} bytes in {retry.seconds:g} seconds")
            since, came = time.monotonic(), 0


@contextlib.contextmanager
def _full_disk(partial: _Partial) -> Iterator[None]:
    """Removes the partial file where the disk is full: it would keep it full."""
    try:
        with disk_errors(partial.data):
            yield
    except OSError as error:
        if error.errno in FULL:
            partial.drop()
        raise


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turns all ways in which a connection can end early into `_Failed`."""
    try:
        yield
    except TimeoutError as error:
        raise _Stalled("the server stalled") from error
    except (HTTPException, OSError) as error:
        raise _Failed(f"the connection broke ({error})") from error


def _opened(address: str, headers: dict[str, str], seconds: float) -> Any:
    """The server's answer, redirects followed."""
    if not address.startswith(("http://", "https://")):
        raise _Refused("an address must begin with https:// or http://")
    try:
        return build_opener(_Redirects()).open(Request(address, headers=headers), timeout=seconds)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            return _Empty(416, error.headers)
        what = f"the server answered {error.code} {' '.join(str(error.reason).split())}"
        raise _Failed(what) if error.code in AGAIN else _Refused(f"{what}; look at the address") from error
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        what = "the server stalled" if isinstance(reason, TimeoutError) else f"no connection ({reason})"
        raise _Failed(what) from error
    except ValueError as error:
        raise _Refused(f"no address of a server ({error})") from error


class _Empty(contextlib.AbstractContextManager["_Empty", None]):
    """An answer without a body."""

    def __init__(self, status: int, headers: Message) -> None:
        self.status, self.headers = status, headers

    def __exit__(self, *error: object) -> None:
        return None


class _Redirects(HTTPRedirectHandler):
    """Follows redirects only to http and https, and never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (scheme == "http" and urlsplit(req.full_url).scheme == "https"):
            raise _Refused(
                f"the server redirects to {newurl}, which was not followed: only https is allowed, or http from http"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _headers() -> dict[str, str]:
    return {"User-Agent": "lerl", "Accept-Encoding": "identity"}


def _version(headers: Message) -> str | None:
    """A validator that If-Range may carry: a strong entity tag, or else a date."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _part(headers: Message) -> tuple[int, int] | None:
    """The first byte of a part and the length of the whole file; None where the server does not give both."""
    found = re.fullmatch(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18})\s*", headers.get("Content-Range", ""), re.ASCII)
    if found is None:
        return None
    first, last, whole = map(int, found.groups())
    length = _length(headers)
    return (first, whole) if first <= last < whole and length in (None, last - first + 1) else None


def _length(headers: Message) -> int | None:
    """How many bytes an answer has, where the server says so."""
    length = headers.get("Content-Length", "").strip()
    return int(length) if re.fullmatch(r"\d{1,18}", length, re.ASCII) else None
