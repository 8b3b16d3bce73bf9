"""Downloads, against a server on this machine that truncates, stalls, redirects, corrupts and refuses."""

import gzip
import hashlib
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lerl.envs.download import http as module
from lerl.envs.download import sources
from lerl.envs.download.archives import unpack
from lerl.envs.download.http import DownloadError, RetryPolicy, download
from lerl.envs.download.sources import fetch
from lerl.envs.prepare import read
from lerl.envs.schema import DataError

QUICK = RetryPolicy(seconds=10.0, tries=3, pause=0.01)  # a busy machine may be slow to answer
CONTENT = bytes(range(256)) * 1000
ETAG = '"one"'


class Answer:
    """What the server says to one request, written out."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        say: int | None = None,
        stall: bool = False,
        drip: float = 0,
        **headers: str,
    ):
        self.status, self.body, self.stall, self.drip = status, body, stall, drip
        self.headers = {"Content-Length": str(len(body) if say is None else say)} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }


class Server(ThreadingHTTPServer):
    """Answers requests of a path with what a list of functions of the request's headers says, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Callable[[dict[str, str]], Answer]]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def say(self, path: str, *answers: Answer | Callable[[dict[str, str]], Answer]) -> str:
        """The address of a path that is answered so."""
        self.answers[path] = [a if callable(a) else (lambda headers, a=a: a) for a in answers]
        return self.at(path)

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        headers = dict(self.headers)
        self.server.requests.append((self.path, headers))
        left = self.server.answers[self.path]
        answer = (left.pop(0) if len(left) > 1 else left[0])(headers)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in [answer.body[n : n + 1] for n in range(len(answer.body))] if answer.drip else [answer.body]:
            time.sleep(answer.drip)
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                return  # the other side had enough of it
        if answer.stall:
            self.rfile.read(1)  # until the other side gives up

    def log_message(self, format: str, *given: object) -> None:
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def whole(headers: dict[str, str]) -> Answer:
    """A well-behaved server: the file, or the part of it that is requested."""
    if "Range" in headers and headers.get("If-Range") == ETAG:
        first = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return Answer(206, CONTENT[first:], Content_Range=span, ETag=ETAG)
    return Answer(200, CONTENT, ETag=ETAG)


def cut(at: int, **more: object) -> Answer:
    """The beginning of the file, announced as the whole."""
    return Answer(200, CONTENT[:at], say=len(CONTENT), ETag=ETAG, **more)  # type: ignore[arg-type]


def fetched(address: str, folder: Path, most: int = 1 << 20, retry: RetryPolicy = QUICK) -> bytes:
    return download(address, folder / "file", most=most, retry=retry).read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_and_its_progress_told(server: Server, tmp_path: Path):
    reported: list[tuple[int, int | None]] = []
    place = tmp_path / "deep" / "file"
    address = server.say("/f", whole)
    download(address, place, most=1 << 20, retry=QUICK, report=lambda *now: reported.append(now))
    assert place.read_bytes() == CONTENT
    assert names(place.parent) == ["file"]
    assert (reported[0], reported[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))


def test_what_is_cut_off_is_asked_for_again_from_there(server: Server, tmp_path: Path):
    assert fetched(server.say("/f", cut(1000), whole), tmp_path) == CONTENT
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_server_that_stalls_is_left_and_asked_for_the_rest(server: Server, tmp_path: Path):
    address = server.say("/f", cut(5000, stall=True), whole)
    assert fetched(address, tmp_path, retry=replace(QUICK, seconds=1.0)) == CONTENT
    assert server.ranges() == [None, "bytes=5000-"]


def test_a_server_that_always_cuts_off_is_given_up_and_the_next_run_goes_on(server: Server, tmp_path: Path):
    address = server.say("/f", cut(1000), Answer(503))
    with pytest.raises(DownloadError, match=r"503 .*, 3 times; 1,000 bytes are kept in .*file.partial, and the same"):
        fetched(address, tmp_path)
    assert names(tmp_path) == ["file.partial", "file.partial.json"]
    server.requests.clear()
    server.say("/f", whole)
    assert fetched(address, tmp_path) == CONTENT
    assert server.ranges() == ["bytes=1000-"]
    assert names(tmp_path) == ["file"]


def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path):
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    address = server.say("/f", whole)
    with pytest.raises(KeyboardInterrupt):
        download(address, tmp_path / "file", most=1 << 20, retry=QUICK, report=interrupt)
    kept = (tmp_path / "file.partial").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert fetched(address, tmp_path) == CONTENT
    assert server.ranges() == [None, f"bytes={kept}-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path):
    new = Answer(200, b"another file", ETag='"two"')
    assert fetched(server.say("/f", cut(1000), new), tmp_path) == b"another file"
    assert [headers.get("If-Range") for _, headers in server.requests] == [None, ETAG]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_version_to_ask_for_it_begins_anew(server: Server, tmp_path: Path, headers: dict[str, str]):
    first = Answer(200, CONTENT[:1000], say=len(CONTENT), **headers)
    assert fetched(server.say("/f", first, Answer(200, CONTENT)), tmp_path) == CONTENT
    assert server.ranges() == [None, None]


def test_a_date_is_a_version_too(server: Server, tmp_path: Path):
    day = "Tue, 26 Feb 2019 20:00:00 GMT"
    first = Answer(200, CONTENT[:1000], say=len(CONTENT), Last_Modified=day)
    fetched(server.say("/f", first, Answer(200, CONTENT)), tmp_path)
    assert server.requests[1][1]["If-Range"] == day


def test_another_part_than_asked_for_is_not_glued_on(server: Server, tmp_path: Path):
    wrong = Answer(206, CONTENT[7:], Content_Range=f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}", ETag=ETAG)
    assert fetched(server.say("/f", cut(1000), wrong, whole), tmp_path) == CONTENT


def part(first: int, last: int, whole: object = len(CONTENT), **headers: str) -> Answer:
    """A part of the file as a server names it."""
    return Answer(
        206, CONTENT[first : last + 1], Content_Range=f"bytes {first}-{last}/{whole}", **{"ETag": ETAG} | headers
    )


END = len(CONTENT) - 1


@pytest.mark.parametrize(
    "wrong",
    [
        part(7, END),
        part(1000, END, "*"),
        part(1000, END, END),
        part(1000, END, ETag='"two"'),
        Answer(206, CONTENT[1000:], ETag=ETAG),
        Answer(206, CONTENT[1000:], ETag=ETAG, Content_Range=f"items 1000-{END}/{END + 1}"),
        Answer(206, CONTENT[1000:], ETag=ETAG, Content_Range="bytes \u00b2-\u00b2/\u00b2"),
        Answer(206, CONTENT[1000:2000], ETag=ETAG, Content_Range=f"bytes 1000-{END}/{END + 1}"),
        Answer(416),
    ],
)
def test_a_server_that_always_gives_a_wrong_part_is_given_up(server: Server, tmp_path: Path, wrong: Answer):
    def turns(headers: dict[str, str]) -> Answer:
        return wrong if "Range" in headers else cut(1000)

    with pytest.raises(DownloadError, match=r", 3 times; "):
        fetched(server.say("/f", turns), tmp_path)
    # further with the first, and then not with three: a wrong part, the same bytes again, a wrong part
    assert server.ranges() == [None, "bytes=1000-", None, "bytes=1000-"]
    assert not (tmp_path / "file").exists()


def test_a_part_that_nobody_asked_for_is_not_taken(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match=r"another part than was requested, 3 times; nothing came"):
        fetched(server.say("/f", part(0, END)), tmp_path)


def test_a_server_that_gives_a_piece_at_a_time_is_asked_for_the_next(server: Server, tmp_path: Path):
    def piece(headers: dict[str, str]) -> Answer:
        first = int(headers["Range"].removeprefix("bytes=").removesuffix("-")) if "Range" in headers else 0
        return part(first, min(first + 99_999, END)) if first else cut(100_000)

    assert fetched(server.say("/f", piece), tmp_path) == CONTENT  # 256,000 bytes
    assert server.ranges() == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_that_drips_is_given_up(server: Server, tmp_path: Path):
    slow = Answer(200, CONTENT[:40], say=len(CONTENT), drip=0.01, ETag=ETAG)
    with pytest.raises(DownloadError, match=r"the server sent \d+ bytes in 0\.05 seconds, 3 times; "):
        fetched(server.say("/f", slow), tmp_path, retry=replace(QUICK, seconds=0.05))
    server.say("/ml.zip.md5", Answer(200, b"0" * 40, drip=0.01))
    with pytest.raises(DownloadError, match=r"\.md5: the server sent \d+ bytes in 0\.05 seconds, 3 times"):
        module.text_at(server.at("/ml.zip.md5"), retry=replace(QUICK, seconds=0.05))


def test_a_server_that_breaks_off_after_every_byte_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def byte(headers: dict[str, str]) -> Answer:
        first = int(headers["Range"].removeprefix("bytes=").removesuffix("-")) if "Range" in headers else 0
        return part(first, first) if first else cut(1)

    monkeypatch.setattr(module, "MOST_TRIES", 6)
    with pytest.raises(DownloadError, match=r"ended after 6 of 256,000 bytes, 6 times; 6 bytes are kept"):
        fetched(server.say("/f", byte), tmp_path)


@pytest.mark.parametrize("length", ["\u00b2", "-5", "9" * 5000, "many", ""])
def test_a_length_that_is_no_number_is_no_length(server: Server, tmp_path: Path, length: str):
    assert fetched(server.say("/f", Answer(200, b"whole", Content_Length=length)), tmp_path) == b"whole"


def test_an_answer_without_a_file_is_refused(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match=r"answered 204, where 200 or 206 comes with a file"):
        fetched(server.say("/f", Answer(204)), tmp_path)


def test_a_partial_file_longer_than_the_file_is_dropped(server: Server, tmp_path: Path):
    (tmp_path / "file.partial").write_bytes(CONTENT + b"more")
    address = server.say("/f", Answer(416), whole)
    (tmp_path / "file.partial.json").write_text(f'{{"address": "{address}", "version": "\\"one\\""}}')
    assert fetched(address, tmp_path) == CONTENT
    assert server.ranges() == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_download_goes_on_behind_no_link(server: Server, tmp_path: Path):
    victim, address = tmp_path / "victim", server.say("/file", whole)
    victim.write_bytes(CONTENT[:100])
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "file.partial").symlink_to(victim)
    (folder / "file.partial.json").write_text(json.dumps({"address": address, "version": ETAG}))
    assert fetched(address, folder) == CONTENT
    assert victim.read_bytes() == CONTENT[:100]


@pytest.mark.parametrize("answer", [Answer(200, say=1 << 30), Answer(200, say=5), Answer(206)])
def test_a_download_of_which_nothing_came_leaves_nothing(server: Server, tmp_path: Path, answer: Answer):
    with pytest.raises(DownloadError):
        fetched(server.say("/file", answer), tmp_path)
    assert names(tmp_path) == []


def test_a_partial_file_of_another_address_is_dropped(server: Server, tmp_path: Path):
    (tmp_path / "file.partial").write_bytes(b"something else")
    (tmp_path / "file.partial.json").write_text('{"address": "http://elsewhere", "version": "x"}')
    assert fetched(server.say("/f", whole), tmp_path) == CONTENT
    assert server.ranges() == [None]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: int):
    assert fetched(server.say("/f", Answer(status), whole), tmp_path) == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_leaves_nothing(server: Server, tmp_path: Path, status: int):
    with pytest.raises(DownloadError, match=rf"/f: the server answered {status} .*look at the address"):
        fetched(server.say("/f", Answer(status)), tmp_path)
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_no_server_at_all(tmp_path: Path):
    with pytest.raises(DownloadError, match=r"no connection .*3 times; nothing came; look at your connection"):
        fetched("http://127.0.0.1:1/f", tmp_path)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://a/b", "no address", "http://[", "http://a b/c"])
def test_addresses_of_another_kind_are_refused(tmp_path: Path, address: str):
    with pytest.raises(DownloadError):
        fetched(address, tmp_path)
    assert names(tmp_path) == []


def test_redirects_are_followed(server: Server, tmp_path: Path):
    server.say("/g", whole)
    assert fetched(server.say("/f", Answer(302, Location=server.at("/g"))), tmp_path) == CONTENT


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/f", "file:///etc/passwd"])
def test_redirects_elsewhere_are_refused(server: Server, tmp_path: Path, to: str):
    with pytest.raises(DownloadError):
        fetched(server.say("/f", Answer(302, Location=to)), tmp_path)
    assert names(tmp_path) == []


def test_a_redirect_to_plain_http_is_refused():
    request = module.Request("https://example.org/f")
    with pytest.raises(module._Refused, match=r"redirects to http://example.org/g, which was not followed"):
        module._Redirects().redirect_request(
            request, io.BytesIO(), 302, "", module.HTTPMessage(), "http://example.org/g"
        )


def test_redirects_in_a_circle_end(server: Server, tmp_path: Path):
    with pytest.raises(DownloadError, match="302"):
        fetched(server.say("/f", Answer(302, Location=server.at("/f"))), tmp_path)


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_a_data_set_is_not_taken(server: Server, tmp_path: Path, announced: bool):
    answer = Answer(200, CONTENT)
    if not announced:
        del answer.headers["Content-Length"]
    with pytest.raises(DownloadError, match=r"allowed are 1,000|more than 1,000 bytes"):
        fetched(server.say("/f", answer), tmp_path, most=1000)
    assert not (tmp_path / "file").exists()


def test_a_full_disk_is_named_and_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened = Path.open

    class Full(io.BytesIO):
        def write(self, *_: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: Full() if self.name == "file.partial" else opened(self, *a, **k)
    )
    with pytest.raises(OSError, match=r"no room on the disk to write .*file.partial .*make room"):
        fetched(server.say("/f", whole), tmp_path)
    assert names(tmp_path) == []


# data sets

MOVIES = 'movieId,title,genres\n1,"American President, The (1995)",Comedy|Drama\n2,Heat,(no genres listed)\n'
RATINGS = "userId,movieId,rating,timestamp\n7,1,4.5,100\n7,2,0.5,90\n"


def archive(files: dict[str, str | bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return held.getvalue()


SMALL = archive({"ml-latest-small/movies.csv": MOVIES, "ml-latest-small/ratings.csv": RATINGS})


def published(server: Server, content: bytes, checksum: str | None = None) -> str:
    """The address of an archive with its checksum beside it, as GroupLens writes it."""
    digest = hashlib.md5(content).hexdigest() if checksum is None else checksum
    server.say("/ml.zip.md5", Answer(200, f"MD5 (ml.zip) = {digest}\n".encode()))
    return server.say("/ml.zip", Answer(200, content, ETag=ETAG))


def test_a_data_set_is_verified_unpacked_and_readable(server: Server, tmp_path: Path):
    address = published(server, SMALL)
    verified = fetch("movielens-latest-small", tmp_path / "ml", address=address, retry=QUICK)
    assert verified == f"MD5 {hashlib.md5(SMALL).hexdigest()}, as published beside the archive"
    assert names(tmp_path) == ["ml"]
    assert names(tmp_path / "ml") == ["movies.csv", "ratings.csv"]
    data = read("movielens", tmp_path / "ml")
    assert data.catalog.titles == ("American President, The (1995)", "Heat")
    assert data.log.rows() == [(7, 1, True, 4.5, 100, 1), (7, 2, False, 0.5, 90, 0)]


def test_a_tampered_archive_is_refused_and_removed(server: Server, tmp_path: Path):
    address = published(server, SMALL, checksum="0" * 32)
    with pytest.raises(DataError, match=r"MD5 is \w{32}, published is 0{32}.*was removed: run the command again"):
        fetch("movielens-1m", tmp_path / "ml", address=address, retry=QUICK)
    assert names(tmp_path) == []


@pytest.mark.parametrize("answer", [Answer(404), Answer(200, b"<html>not found</html>"), Answer(200, b"x" * 10_000)])
def test_without_a_published_checksum_nothing_is_downloaded(server: Server, tmp_path: Path, answer: Answer):
    address = published(server, SMALL)
    server.say("/ml.zip.md5", answer)
    with pytest.raises(DownloadError, match=r"ml.zip.md5: "):
        fetch("movielens-1m", tmp_path / "ml", address=address, retry=QUICK)
    assert [path for path, _ in server.requests] == ["/ml.zip.md5"]
    assert names(tmp_path) == []


def test_a_folder_that_is_there_is_not_touched(server: Server, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"is there already; use it with `lerl data prepare --format movielens"):
        fetch("movielens-1m", tmp_path, address=published(server, SMALL), retry=QUICK)
    (tmp_path / "ml.zip").write_text("mine too")
    with pytest.raises(FileExistsError, match=r"ml.zip is in the way"):
        fetch("movielens-1m", tmp_path / "ml", address=published(server, SMALL), retry=QUICK)
    assert names(tmp_path) == ["mine.txt", "ml.zip"]


def test_an_archive_that_is_there_and_right_is_used_and_kept(server: Server, tmp_path: Path):
    address = published(server, SMALL)
    (tmp_path / "ml.zip").write_bytes(SMALL)
    fetch("movielens-1m", tmp_path / "ml", address=address, retry=QUICK)
    assert [path for path, _ in server.requests] == ["/ml.zip.md5"]
    assert names(tmp_path) == ["ml", "ml.zip"]


def test_an_unknown_name_lists_the_known(tmp_path: Path):
    with pytest.raises(ValueError, match=r"one of movielens-100k, .*kuairec, given 'netflix'"):
        fetch("netflix", tmp_path / "x")


def books(count: int) -> bytes:
    ids = "\n".join(f"{n},{n},Book {n}" for n in range(1, count + 1))
    ratings = "\n".join(f"{n},1,5" for n in range(1, 4))
    return archive(
        {
            "books.csv": f"book_id,goodreads_book_id,title\n{ids}\n",
            "ratings.csv": f"user_id,book_id,rating\n{ratings}\n",
        }
    )


def test_without_a_checksum_crc_and_counts_are_checked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "BOOKS", 5)
    monkeypatch.setattr(sources, "USERS", 3)
    good = server.say("/good.zip", Answer(200, books(5)))
    verified = fetch("goodbooks-10k", tmp_path / "gb", address=good, retry=QUICK)
    assert verified == "no checksum is published; the archive's CRCs, 5 books and 3 users agree"
    short = server.say("/short.zip", Answer(200, books(4)))
    with pytest.raises(DataError, match=r"books.csv in the archive has 4 different book_id, published are 5"):
        fetch("goodbooks-10k", tmp_path / "gb2", address=short, retry=QUICK)
    assert names(tmp_path) == ["gb"]


def tarball(files: dict[str, bytes], *more: tarfile.TarInfo, behind: int = 0) -> bytes:
    """A gzipped tar file of files, of further members without content, and of zeros behind them all."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        for member in more:
            opened.addfile(member)
    return gzip.compress(held.getvalue() + bytes(behind), mtime=0)  # the same bytes in every process


VIEWS = {
    "KuaiRand-Pure/data/log_standard_4_08_to_4_21_pure.csv": b"user_id,video_id,time_ms,long_view\n7,1,9000,1\n",
    "KuaiRand-Pure/data/video_features_basic_pure.csv": b"video_id,tag\n1,39\n",
    "KuaiRand-Pure/load_data_pure.py": b"print()\n",
}


def test_a_gzipped_tar_file_is_verified_by_the_stated_checksum(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    content = tarball(VIEWS)
    digest = hashlib.md5(content).hexdigest()
    known = replace(sources.SOURCES["kuairand-pure"], md5=digest)
    monkeypatch.setitem(sources.SOURCES, "kuairand-pure", known)
    address = server.say("/mirror.tar.gz", Answer(200, content))
    verified = fetch("kuairand-pure", tmp_path / "kuai", address=address, retry=QUICK)
    assert verified == f"MD5 {digest}, as published with the archive"
    assert names(tmp_path) == ["kuai"]
    assert names(tmp_path / "kuai") == ["data", "load_data_pure.py"]
    assert read("kuairand", tmp_path / "kuai").log.select("user", "item", "click").rows() == [(7, 1, True)]


@pytest.mark.parametrize("name", ["kuairand-pure", "kuairec"])
def test_a_mirror_with_another_file_than_the_stated_is_refused(server: Server, tmp_path: Path, name: str):
    address = server.say("/mirror", Answer(200, tarball(VIEWS)))
    with pytest.raises(DataError, match=rf"published is {sources.SOURCES[name].md5}: .* was removed: run the command"):
        fetch(name, tmp_path / "kuai", address=address, retry=QUICK)
    assert names(tmp_path) == []


# archives


def special(kind: bytes, name: str = "a/special", to: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


ONE = {"a/one": b"1" * 5_000}
TAR_CUT = tarball({"a/one": bytes(range(256)) * 40})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TAR_CUT[: len(TAR_CUT) // 2], "is damaged"),
        (TAR_CUT[:-8] + b"\0\0\0\0" + TAR_CUT[-4:], "is damaged .*CRC"),
        (gzip.compress(b"<html>please log in</html>" * 100, mtime=0), "is damaged"),
        (tarball({}), "holds no file"),
        (tarball({"../evil": b"x"}), "leads out of its folder"),
        (tarball({"/evil": b"x"}), "leads out of its folder"),
        (tarball({"a/../../evil": b"x"}), "leads out of its folder"),
        (tarball(ONE, special(tarfile.SYMTYPE)), "'a/special', which leads out of its folder"),
        (tarball(ONE, special(tarfile.LNKTYPE, to="a/one")), "'a/special', which leads out of its folder"),
        (tarball(ONE, special(tarfile.FIFOTYPE)), "'a/special', which leads out of its folder"),
        (tarball(ONE, special(tarfile.CHRTYPE)), "'a/special', which leads out of its folder"),
        (tarball({"a/b": b"x", "a/B": b"y"}), "two files of one name"),
        (tarball({"bomb": bytes(2_000_000)}), r"unpack to 1 files of 2,000,000 bytes, allowed are .*1,000,000"),
        (tarball({str(n): bytes(600_000) for n in range(9)}), r"unpack to 2 files of 1,200,000 bytes"),
        (tarball({"one": b"1"}, behind=2_000_000), r"goes on for more than 1,000,000 bytes behind its last file"),
    ],
)
def test_a_bad_tar_file_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.tar.gz").write_bytes(content)
    (tmp_path / "to").mkdir()
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / "a.tar.gz", tmp_path / "to", most=1_000_000)
    assert names(tmp_path) == ["a.tar.gz", "to"]
    assert {path.name for path in (tmp_path / "to").iterdir()} <= {"one"}


def broken_crc() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("books.csv", "book_id,title\n1,A\n")
    return held.getvalue().replace(b"1,A", b"1,B")


def link() -> bytes:
    member = zipfile.ZipInfo("a/link")
    member.external_attr = 0o120777 << 16
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        opened.writestr(member, "/etc/passwd")
    return held.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SMALL[: len(SMALL) // 2], "is damaged"),
        (b"<html>please log in</html>", "is damaged"),
        (b"", "is damaged"),
        (broken_crc(), "is damaged .*CRC"),
        (archive({}), "holds no file"),
        (archive({"../evil": "x"}), "leads out of its folder"),
        (archive({"/evil": "x"}), "leads out of its folder"),
        (archive({"a/../../evil": "x"}), "leads out of its folder"),
        (archive({"..\\evil": "x"}), "leads out of its folder"),
        (archive({"C:evil": "x"}), "leads out of its folder"),
        (link(), "leads out of its folder"),
        (archive({"a/b": "x", "a/B": "y"}), "two files of one name"),
        (archive({"bomb": b"0" * 2_000_000}), r"unpack to 1 files of 2,000,000 bytes, allowed are .*1,000,000"),
    ],
)
def test_a_bad_archive_writes_nothing(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.zip").write_bytes(content)
    (tmp_path / "to").mkdir()
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / "a.zip", tmp_path / "to", most=1_000_000)
    assert not (tmp_path / "evil").exists()
    assert [path for path in (tmp_path / "to").iterdir() if path.name != "books.csv"] == []


def test_a_bad_archive_is_not_installed(server: Server, tmp_path: Path):
    address = published(server, broken_crc())
    with pytest.raises(DataError, match="was removed: run the command again"):
        fetch("movielens-1m", tmp_path / "ml", address=address, retry=QUICK)
    assert names(tmp_path) == []
