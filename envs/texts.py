"""From what data say of items to vectors: words that items share, weighed and pressed together.

TF-IDF and a truncated singular value decomposition (Deerwester et al., "Indexing by latent semantic analysis", JASIS
1990), by scikit-learn on one thread, so that the same texts give the same bits on any machine's number of cores.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.envs.catalog import Catalog
from lerl.envs.logs.custom import NAMES
from lerl.envs.logs.dataset import OTHER
from lerl.envs.topics import unit_rows

SIZE = 128
"""Numbers in a vector, at most."""

READ = (*NAMES["title"], *NAMES["categories"], "brand")
"""Columns that are read, in lower case, letters alone: what an item is called, is, and who makes it."""

READ_OF_REST = ("keywords", "keyword", "description", "features", "feature", "summary")
"""Columns that are read of items without a word in those of `READ`."""

AT_ONCE = 64
"""Texts that a sentence model reads at once."""

WORD = r"(?u)\b\w\w+\b"
"""A word: two letters or digits, or more."""


class Texts(NamedTuple):
    """Items by their words.

    Attributes:
        vectors: (I, d) float32, of length 1; zeros for items without words. notes: what was read, and of how many
            items nothing is known; one line each.
    """

    vectors: NDArray[np.float32]
    notes: tuple[str, ...]


def text_vectors(texts: Mapping[str, Sequence[str]], size: int = SIZE, model: str = "") -> Texts:
    """Vectors of items, nearer to each other the more rare words they share.

    An item is known by its title, categories and brand, or by those of them that it has. One with none of them is known
    by its keywords or description (`READ_OF_REST`).

    Args:
        texts: I texts by column, such as "title" and "categories"; others than `READ` and `READ_OF_REST` are not read.
        size: numbers in a vector, at most; fewer where there are fewer items or words.
        model: a sentence model in place of counted words, see `sentence_vectors`; empty for none.

    Raises:
        ValueError: no column is read, no item has a word, or the model cannot be read.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    whole, read = _whole(texts)
    if model:
        return sentence_vectors(whole, model)
    try:
        weighed = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True).fit_transform(whole)
    except ValueError as error:  # an empty vocabulary
        raise ValueError(f"no item has a word in {read}; give a file of items with --items") from error
    weighed = weighed.astype(np.float64)
    words = weighed.shape[1]
    with threadpool_limits(1):
        if words <= min(size, len(whole)):
            vectors = weighed.toarray()
        else:
            left, strengths, _ = randomized_svd(weighed, min(size, len(whole)), random_state=0)
            vectors = left * strengths
    bare = int((np.diff(weighed.indptr) == 0).sum())
    notes = [f"items by {words:,} words of {read}"]
    if bare:
        notes.append(f"{bare:,} of {len(whole):,} items have no words: their vectors are zeros")
    return Texts(unit_rows(np.ascontiguousarray(vectors, np.float32)), tuple(notes))


def _whole(texts: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """One text an item, and the columns that were read."""
    read = [name for name in texts if _key(name) in READ]
    rest = [name for name in texts if _key(name) in READ_OF_REST]
    if not read and not rest:
        raise ValueError(
            f"nothing says what items are: columns of titles, categories or brands are needed, given "
            f"{', '.join(texts) or 'none'}; give a file of items with --items"
        )
    if not read or not rest:
        return _joined(texts, read or rest), ", ".join(read or rest)
    whole = _joined(texts, read)
    bare = [place for place, text in enumerate(whole) if not re.search(WORD, text)]
    others = _joined(texts, rest)
    for place in bare:
        whole[place] = others[place]
    said = f"; {len(bare):,} items without any by {', '.join(rest)}" if bare else ""
    return whole, ", ".join(read) + said


def _joined(texts: Mapping[str, Sequence[str]], columns: Sequence[str]) -> list[str]:
    return [" ".join(parts) for parts in zip(*(texts[name] for name in columns), strict=True)]


def sentence_vectors(texts: Sequence[str], model: str) -> Texts:
    """Vectors of texts by a sentence model (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019).

    The library fetches a model that is not on this disk from the Hugging Face hub, and sends it no text. What the model
    brings as code is not run, and only safetensors are read.

    Args:
        texts: I of them. model: a folder, or a name on the hub such as sentence-transformers/all-MiniLM-L6-v2.

    Raises:
        ValueError: the extra `sentences` is not installed, or the model cannot be read.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ValueError(
            f"text_model {model!r} needs another library: pip install 'lerl-rec[sentences]', or leave it out"
        ) from error
    try:
        read = SentenceTransformer(model, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        brief = str(error).strip().partition("\n")[0]
        raise ValueError(f"text_model {model!r} cannot be read: {brief}; give a folder or a name on the hub") from error
    vectors = read.encode(list(texts), batch_size=AT_ONCE, show_progress_bar=False, convert_to_numpy=True)
    bare = [place for place, text in enumerate(texts) if not text.strip()]
    vectors = np.ascontiguousarray(vectors, np.float32)
    vectors[bare] = 0.0
    notes = [f"items by the sentence model {model}, {vectors.shape[1]} numbers"]
    if bare:
        notes.append(f"{len(bare):,} of {len(texts):,} items have no words: their vectors are zeros")
    return Texts(unit_rows(vectors), tuple(notes))


class CatalogTexts(NamedTuple):
    """What a catalog says of its items.

    Attributes:
        columns: I texts by column, as `text_vectors` reads them; empty where nothing is said.
        notes: how many items have no title, or nothing at all; one line each.
    """

    columns: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def catalog_texts(catalog: Catalog) -> CatalogTexts:
    """Titles and categories of all items; a title that is only the item's id is none, and "other" is no category.

    A category is its words and, as one more word, its whole name, so that "type 1" and "type 2" are told apart.
    """
    pairs = zip(catalog.item_ids, catalog.titles, strict=True)
    titles = tuple("" if title in (name, f"item {name}") else title for name, title in pairs)
    tags = ["" if name == OTHER else _tagged(name) for name in catalog.categories.names]
    kinds = tuple(" ".join(tags[c] for c in np.flatnonzero(row)) for row in catalog.categories.membership)
    bare = sum(not title for title in titles)
    notes = []
    if bare == len(titles):
        notes.append("items have no titles: their categories are all that is read of them")
    elif bare:
        notes.append(f"{bare:,} of {len(titles):,} items have no title: they are known by their categories")
    empty = sum(not f"{title}{kind}".strip() for title, kind in zip(titles, kinds, strict=True))
    if empty:
        notes.append(f"{empty:,} of {len(titles):,} items have neither title nor category")
    return CatalogTexts({"title": titles, "categories": kinds}, tuple(notes))


def _tagged(name: str) -> str:
    tag = re.sub(r"\W+", "_", name)
    return name if tag == name and len(name) > 1 else f"{name} _{tag}"


def _key(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
