"""Items by their words: who is near to whom, what is said of items without words, and what is refused."""

import sys
import types

import numpy as np
import pytest

from lerl.envs.catalog import Axis, Catalog
from lerl.envs.texts import SIZE, catalog_texts, text_vectors

TITLES = ("red nail polish", "blue nail polish", "hair dryer", "", "")
CATEGORIES = ("Nails", "Nails", "Hair", "Hair", "")


def test_items_that_share_words_are_near_and_those_without_a_title_are_known_by_their_category():
    found = text_vectors({"Title": TITLES, "categories": CATEGORIES, "colours": ("dryer",) * 5})
    likeness = found.vectors @ found.vectors.T
    assert found.vectors.dtype == np.float32
    assert np.diag(likeness)[:4] == pytest.approx(1, abs=1e-6)
    assert likeness[0, 1] > 0.5  # nail, polish and Nails
    assert likeness[0, 2] == pytest.approx(0, abs=1e-6)
    assert likeness[3, 2] > 0.3  # by its category alone
    assert not found.vectors[4].any()
    assert found.notes == (
        "items by 7 words of Title, categories", "1 of 5 items have no words: their vectors are zeros",
    )  # fmt: skip


def test_items_without_a_word_elsewhere_are_known_by_their_keywords_and_the_others_are_not():
    keywords = ("dryer", "dryer", "dryer", "dryer", "fast hair dryer")
    found = text_vectors({"title_2018": TITLES, "brand": ("-",) * 5, "keywords": keywords})
    likeness = found.vectors @ found.vectors.T
    assert likeness[4, 2] > 0.5
    assert likeness[3, 2] > 0.3
    assert likeness[4, 0] == pytest.approx(0, abs=1e-6)  # what has a title is read by its title alone
    assert found.notes == ("items by 7 words of title_2018, brand; 2 items without any by keywords",)
    titled = text_vectors({"title": TITLES[:3], "keywords": keywords[:3]})
    assert titled.notes == ("items by 6 words of title",)
    assert titled.vectors.tobytes() == text_vectors({"title": TITLES[:3]}).vectors.tobytes()
    assert text_vectors({"description": TITLES}).notes[0] == "items by 6 words of description"


def test_many_words_are_pressed_to_a_size_with_the_same_bits_each_time():
    draw = np.random.default_rng(0)
    titles = [" ".join(f"w{n}" for n in draw.integers(0, 400, 6)) for _ in range(300)]
    found = text_vectors({"title": titles})
    assert found.vectors.shape == (300, SIZE)
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert text_vectors({"title": titles}).vectors.tobytes() == found.vectors.tobytes()
    assert text_vectors({"title": titles[:20]}).vectors.shape == (20, 20)  # no more directions than items


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "columns of titles, categories or brands are needed, given none; give a file of items with --items"),
        ({"asin": ("B1", "B2")}, "brands are needed, given asin"),
        ({"title": ("", "-")}, "no item has a word in title"),
    ],
)
def test_items_of_which_nothing_is_known_are_refused(texts: dict[str, tuple[str, ...]], message: str):
    with pytest.raises(ValueError, match=message):
        text_vectors(texts)


def catalog(titles: tuple[str, ...], names: tuple[str, ...] = ("type 1", "type 2", "other")) -> Catalog:
    return Catalog(("7", "8", "9"), titles, Axis(names, np.eye(3, dtype=bool)))


def test_a_catalog_says_titles_and_categories_and_what_it_does_not_say():
    found = catalog_texts(catalog(("red shoe", "item 8", "9")))
    assert found.columns == {"title": ("red shoe", "", ""), "categories": ("type 1 _type_1", "type 2 _type_2", "")}
    assert found.notes == (
        "2 of 3 items have no title: they are known by their categories",
        "1 of 3 items have neither title nor category",
    )  # fmt: skip
    near = text_vectors(catalog_texts(catalog(("7", "8", "9"))).columns).vectors
    assert not np.allclose(near[0], near[1])  # though "1" and "2" alone are no words
    bare = catalog_texts(catalog(("7", "8", "9"), ("A", "Sci-Fi", "Drama")))
    assert bare.columns["categories"] == ("A _A", "Sci-Fi _Sci_Fi", "Drama")
    assert bare.notes == ("items have no titles: their categories are all that is read of them",)


def test_a_sentence_model_reads_texts_and_its_code_is_not_run(monkeypatch: pytest.MonkeyPatch):
    asked = {}

    class Model:
        def __init__(self, name: str, **settings: object) -> None:
            asked.update(name=name, **settings)
            if name == "nowhere":
                raise OSError("nowhere is no folder\nand more lines")

        def encode(self, texts: list[str], **_: object) -> np.ndarray:
            return np.array([[len(text), 3.0] for text in texts])

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=Model))
    given = {"title": ("red", "", "blue"), "brand": ("a", "", "")}
    found = text_vectors(given, model="small")
    assert (asked["name"], asked["trust_remote_code"]) == ("small", False)
    assert found.vectors.dtype == np.float32
    assert np.allclose((found.vectors**2).sum(1), [1, 0, 1])
    assert found.notes == (
        "items by the sentence model small, 2 numbers",
        "1 of 3 items have no words: their vectors are zeros",
    )
    with pytest.raises(ValueError, match=r"^text_model 'nowhere' cannot be read: nowhere is no folder; give a folder"):
        text_vectors(given, model="nowhere")


def test_without_the_extra_a_sentence_model_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'lerl-rec\[sentences\]'"):
        text_vectors({"title": ("red", "blue")}, model="small")
