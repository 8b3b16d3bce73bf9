"""Whatever lies in a publisher's files, a reader gives data or refuses it in one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lerl.envs.prepare import read
from lerl.envs.schema import DataError

CELLS = st.one_of(
    st.sampled_from(["1", "2", "11", "3", "5", "0.5", "", "nan", "inf", "x", '"', "::", "|", "\t", "9" * 25, "-1"]),
    st.text(max_size=5),
)
LAYOUTS = {
    ("movielens", ","): {"movies.csv": "movieId,title,genres", "ratings.csv": "userId,movieId,rating,timestamp"},
    ("movielens", "::"): {"movies.dat": "1::A::War", "ratings.dat": "7::1::5::1"},
    ("movielens", "\t"): {"u.item": "1|A|||" + "|0" * 19, "u.data": "5\t1\t4\t1"},
    ("goodbooks", ","): {
        "books.csv": "book_id,goodreads_book_id,title",
        "ratings.csv": "user_id,book_id,rating",
        "tags.csv": "tag_id,tag_name",
        "book_tags.csv": "goodreads_book_id,tag_id,count",
    },
    ("kuairand", ","): {
        "log_standard_4_08_to_4_21_pure.csv": "user_id,video_id,time_ms,long_view",
        "video_features_basic_pure.csv": "video_id,tag",
    },
    ("kuairec", ","): {
        "big_matrix.csv": "user_id,video_id,timestamp,watch_ratio",
        "item_categories.csv": "video_id,feat",
        "kuairec_caption_category.csv": "video_id,caption,first_level_category_name",
    },
}


def content(head: str, separator: str) -> st.SearchStrategy[bytes]:
    """A file that begins as it should and goes on with anything, or is nothing but bytes."""
    width = head.count(separator) + 1
    row = st.lists(CELLS, min_size=width, max_size=width).map(separator.join)
    rows = st.lists(st.one_of(row, st.text(max_size=20)), max_size=5)
    table = rows.map(lambda lines: "\n".join([head, *lines]).encode(errors="replace"))
    return st.one_of(table, table, table, st.binary(max_size=80))


@pytest.mark.parametrize(("format", "separator"), LAYOUTS)
@settings(max_examples=50)
@given(data=st.data())
def test_no_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, format: str, separator: str, data):
    folder = tmp_path_factory.mktemp("raw")
    for name, head in LAYOUTS[format, separator].items():
        (folder / name).write_bytes(data.draw(content(head, separator), label=name))
    refused = ""
    try:
        assert len(read(format, folder).log) > 0
    except DataError as error:
        refused = str(error)
    assert "\n" not in refused
