"""What travels: only codebooks and counts, in as many bytes as there are codes, and nothing else is read."""

from dataclasses import fields

import numpy as np
import pytest

from lerl.agents.federated.messages import Download, MessageError, Upload


def upload(rows: int = 6, width: int = 3) -> Upload:
    draw = np.random.default_rng(0)
    return Upload(draw.normal(size=(rows, width)).astype(np.float32), draw.random(rows).astype(np.float32))


def test_an_upload_has_codebooks_and_counts_and_no_room_for_anything_else() -> None:
    assert [field.name for field in fields(Upload)] == ["codebooks", "counts"]
    sent = upload()
    assert len(sent.to_bytes()) == 12 + 4 * (6 * 3 + 6)
    for wrong in (np.zeros((6, 3)), np.zeros((6, 3), np.int64), np.array([["u1"]])):
        with pytest.raises(MessageError):
            Upload(wrong, sent.counts)  # type: ignore[arg-type]


def test_an_upload_is_read_back_bit_for_bit() -> None:
    sent = upload()
    read = Upload.from_bytes(sent.to_bytes(), (6, 3))
    assert (read.codebooks == sent.codebooks).all()
    assert (read.counts == sent.counts).all()


@pytest.mark.parametrize("shape", [(3, 6), (6, 2), (5, 3)])
def test_an_upload_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(MessageError):
        Upload.from_bytes(upload().to_bytes(), shape)


def test_numbers_that_are_not_finite_are_refused() -> None:
    for value in (np.nan, np.inf, -np.inf):
        books = upload().codebooks.copy()
        books[2, 1] = value
        message = upload().to_bytes()[:12] + books.tobytes() + upload().counts.tobytes()
        with pytest.raises(MessageError, match="not finite"):
            Upload.from_bytes(message, (6, 3))


def test_a_download_is_read_back_and_damage_is_refused() -> None:
    sent = Download(upload().codebooks, 1, (4, 2), np.zeros((5, 2), np.int16))
    read = Download.from_bytes(sent.to_bytes())
    assert (read.codebooks == sent.codebooks).all()
    assert (read.table, read.sizes, read.digits.shape) == (1, (4, 2), (5, 2))
    for message in (b"", sent.to_bytes()[:30], b"what" + sent.to_bytes()[4:]):
        with pytest.raises(MessageError):
            Download.from_bytes(message)
