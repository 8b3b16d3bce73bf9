"""Files are written whole, and never through a link that somebody else laid."""

import os
from pathlib import Path

import pytest

from lerl.envs.files import LinkError, refuse_endless, refuse_links, write_whole


def test_links_in_the_place_of_a_file_are_replaced_and_not_followed(tmp_path: Path):
    (tmp_path / "victim").write_text("precious")
    for name in ("file", ".file.partial"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "file", "content")
    assert (tmp_path / "victim").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_symlink()) == ["file", "victim"]
    assert (tmp_path / "file").read_text() == "content"


def test_what_a_killed_process_left_is_replaced(tmp_path: Path):
    (tmp_path / ".file.partial").write_text("half of")
    write_whole(tmp_path / "deep" / "file", b"content")
    write_whole(tmp_path / "file", b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "file"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_has_no_end_is_not_read(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"1234")
    refuse_endless(tmp_path / "file", most=4)
    with pytest.raises(OSError, match="has 4 bytes, at most 3 are read"):
        refuse_endless(tmp_path / "file", most=3)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(OSError, match="it is no regular file"):
            refuse_endless(tmp_path / name)


def test_a_folder_of_files_is_no_danger_and_one_with_a_link_is(tmp_path: Path):
    (tmp_path / "run" / "logs").mkdir(parents=True)
    (tmp_path / "run" / "logs" / "file").touch()
    refuse_links(tmp_path / "run")
    refuse_links(tmp_path / "nothing")
    (tmp_path / "latest").symlink_to(tmp_path / "run")
    refuse_links(tmp_path / "latest")
    (tmp_path / "run" / "logs" / "link").symlink_to("file")
    with pytest.raises(
        LinkError, match=r"latest/logs/link is a symbolic link, which lerl does not follow there; remove"
    ):
        refuse_links(tmp_path / "latest")
