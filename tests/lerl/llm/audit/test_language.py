import numpy as np
import pytest

from lerl.llm.audit.language import COVARIATES, syllables, wording


def _one(text: str) -> dict[str, float]:
    return dict(zip(COVARIATES, wording([text])[:, 0].tolist(), strict=True))


def test_length_is_a_logarithm_so_that_a_word_more_counts_less_in_a_long_text():
    assert _one("The user is called Ann.")["length"] == pytest.approx(np.log2(6))
    assert _one("word " * 127)["length"] == pytest.approx(7)


def test_readability_is_the_grade_of_flesch_and_kincaid():
    # Two sentences, six words, one syllable each: 0.39 x 3 + 11.8 x 1 - 15.59.
    assert _one("The cat sat. The dog ran.")["readability"] == pytest.approx(-2.62)
    hard = _one("Sociodemographic characteristics considerably influence individualised recommendations.")
    assert hard["readability"] > 20


@pytest.mark.parametrize(
    ("word", "count"), [("cat", 1), ("like", 1), ("user", 2), ("the", 1), ("table", 2), ("ethnicity", 4)]
)
def test_syllables(word: str, count: int):
    assert syllables(word) == count


def test_sentiment_counts_good_and_bad_words():
    assert _one("I love it, great fun, a bit boring.")["sentiment"] == pytest.approx(0.5)  # 3 good, 1 bad
    assert _one("The user is Ann.")["sentiment"] == 0.0


def test_informality_counts_contractions_and_the_first_person_but_no_possessive():
    assert _one("The user's name is Ann.")["informality"] == 0.0
    assert _one("I\u2019m Ann, don't worry!")["informality"] == pytest.approx(3 / 4)  # I'm, don't, and the mark
    assert _one("My name is Ann.")["informality"] == pytest.approx(1 / 4)


def test_texts_without_words_are_zero_and_all_is_finite():
    found = wording(["", "...", "Hi", "\U0001f600 ok!!", "3.5 of 10"])
    assert found.shape == (4, 5)
    assert not found[:, :2].any()
    assert np.isfinite(found).all()
    assert wording([]).shape == (4, 0)
