import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import f_oneway, tukey_hsd

from lerl.llm.audit.effects import (
    ALPHA,
    Agreement,
    agreements,
    analyse,
    effects,
    group_tests,
    holm,
    least_effect,
)
from lerl.llm.audit.measured import Measured
from tests.lerl.llm.audit.made_audits import GENDER, GROUPS, KINDS, NAMES, OUTSIDE, SIZE, audit, no_push, text_pushes

AUDITS = 1000
SOME = [0, 1, 10, *range(20, 25)]  # outcomes: two categories allowed, one avoided, and all others
EXPLICIT = [KINDS.index("explicit-system"), KINDS.index("explicit-user")]
WHOLE = 450
"""Tests of a whole audit: three attributes, six kinds of cue, 25 outcomes."""


def test_a_group_is_judged_by_its_texts_where_they_differ_as_in_a_plain_analysis_of_their_means():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 4)) + 0.01 * rng.normal(size=(40, 3, 4))  # (S, G, K): texts differ, states do not
    texts = values.mean(axis=0)
    made = analyse(values)
    expected = f_oneway(*texts)
    assert made.f == pytest.approx(expected.statistic, rel=1e-3)
    assert made.p == pytest.approx(expected.pvalue, rel=1e-2)
    assert made.degrees == pytest.approx(9, abs=0.1)


def test_an_analysis_worked_out_by_hand():
    # One text effect of 0, no reaction of single states: cells (state, group) are +-1 around their texts' mean.
    values = np.array([[[1.0, 3.0], [5.0, 7.0]], [[3.0, 1.0], [7.0, 5.0]]])  # (S, G, K)
    made = analyse(values)
    # Groups' means 2 and 6, squares between 4 answers x (2^2 + 2^2) = 32 on 1 degree; the rest 8 x 1 on 2 degrees.
    np.testing.assert_allclose(made.means, [2, 6])
    assert (float(made.f), float(made.degrees)) == (8.0, 2.0)
    assert made.error == 4.0


def test_nothing_to_test_is_no_test_and_a_difference_without_noise_is_certain():
    constant = np.ones((2, 4, 3, 5))
    constant[1, :, 2] = 2.0
    made = analyse(constant)
    np.testing.assert_array_equal(made.p, [1.0, 0.0])
    constant[0, 1:, 0, 0] = np.nan
    assert np.isnan(analyse(constant).p[0]), "one answer to a text is too few"


def test_missing_answers_change_the_test_a_little_and_do_not_bias_it():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(500, 30, 3, 5))
    values[:, :, 1] += 0.3
    made = analyse(np.where(rng.random(values.shape) < 0.3, np.nan, values))
    assert made.error.mean() == pytest.approx(analyse(values).error.mean(), rel=0.05)
    assert made.answers.mean() == pytest.approx(0.7 * 30 * 5, rel=0.05)
    empty = analyse(np.where(rng.random(values.shape) < 0.3, np.nan, rng.normal(size=values.shape)))
    assert (empty.p < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_never_falls():
    found = holm(np.array([0.04, np.nan, 0.01, 0.03]))
    np.testing.assert_allclose(found, [0.06, np.nan, 0.03, 0.06])  # 3 x 0.01, 2 x 0.03, at least that
    assert len(holm(np.array([]))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("source", ["questions", "texts", "rare", "unusable"])
def test_a_planner_that_ignores_groups_is_found_guilty_as_rarely_as_stated(source: str):
    """Over 1,000 audits of noise in every question, of reactions to texts, of rare noise, and with unusable answers."""
    rng = np.random.default_rng(7)
    settings = {"rare": {"noise": 0.02}, "unusable": {"unusable": 0.1}}.get(source, {})
    raw, any_found = [], []
    for _ in range(AUDITS):
        push = {"gender": text_pushes(3, rng, most=0.3)} if source == "texts" else None
        p = analyse(audit(rng, push, **settings).values["gender"][SOME]).p
        raw.append((p < ALPHA).mean())
        any_found.append((holm(p.ravel()) < ALPHA).any())
    error = np.std(raw) / AUDITS**0.5
    print(f"{source}: {100 * np.mean(raw):.2f} % below 1 %, {100 * np.mean(any_found):.2f} % of audits with a finding")
    assert np.mean(raw) <= ALPHA + 3 * error
    assert np.mean(any_found) <= ALPHA + 3 * (ALPHA / AUDITS) ** 0.5


@pytest.mark.parametrize("spread", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("own", [0.0, 0.3])
def test_texts_and_states_that_differ_a_little_are_not_taken_for_groups(spread: float, own: float):
    """Standard deviations of texts and of states' own reactions to a group, in those of an answer."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(1500, 60, 3, 5))
    values += spread * rng.normal(size=(1500, 1, 3, 5)) + own * rng.normal(size=(1500, 60, 3, 1))
    share = (analyse(values).p < ALPHA).mean()
    print(f"texts {spread}, states {own}: {100 * share:.2f} %")
    assert share <= ALPHA + 3 * (ALPHA / 1500) ** 0.5


@pytest.mark.parametrize(("states", "texts", "points"), [(120, 5, 0.10), (60, 8, 0.10), (60, 5, 0.15)])
def test_a_shift_is_found_in_eight_of_ten_audits(states: int, texts: int, points: float):
    """The first is the default of `lerl audit`. In 12 % of answers noise exchanges a category; the p-value is corrected
    as the smallest one of a whole audit."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(300):
        push = no_push(3, texts)
        push[3, 1, :, 0] = points / OUTSIDE
        values = audit(rng, {"gender": push}, states=states, texts=texts).values["gender"]
        found.append(analyse(values[0, 3]).p < ALPHA / WHOLE)
    print(f"{states} states, {texts} texts, {100 * points:.0f} points: found in {100 * np.mean(found):.0f} %")
    assert np.mean(found) >= 0.8


def test_a_shift_is_put_down_to_its_kind_of_cue_and_its_groups():
    rng = np.random.default_rng(12)
    push = no_push(3)
    push[3, 1, :, 0] = 0.2 / OUTSIDE
    found = [test for _ in range(20) for test in group_tests(audit(rng, {"gender": push})) if test.significant]
    assert {test.kind for test in found} == {"explicit-user"}
    shifted = [pair for test in found if test.outcome == "allowed: 0" for pair in test.pairs]
    assert len(shifted) >= 30, "both other groups, in 20 audits"
    for pair in shifted:
        assert "Male" in (pair.first, pair.second)
        assert abs(pair.difference) == pytest.approx(0.2, abs=0.12)
        assert (pair.difference > 0) == (pair.first == "Male")


def test_tukeys_pairs_are_those_of_scipy_where_only_texts_differ():
    rng = np.random.default_rng(5)
    texts = rng.normal(size=(3, 8)) + 4.0 * np.array([0, 0, 1])[:, None]
    values = np.full((2, 1, 30, 3, 8), np.nan)
    values[0, 0] = texts + 1e-3 * rng.normal(size=(30, 3, 8))
    values[1] = 0.0
    measured = Measured(
        GENDER,
        ("explicit",),
        ("reward", "refusal"),
        np.zeros((2, 30)),
        {"gender": values},
        {"gender": np.zeros((4, 1, 3, 8))},
    )
    (test, refusals) = group_tests(measured)
    expected = tukey_hsd(*texts)
    assert [(pair.first, pair.second) for pair in test.pairs] == [("Female", "Non-binary"), ("Male", "Non-binary")]
    for pair, (one, other) in zip(test.pairs, [(0, 2), (1, 2)], strict=True):
        assert pair.p == pytest.approx(expected.pvalue[one, other], rel=0.02)
        assert pair.difference == pytest.approx(expected.statistic[one, other], rel=0.01)
    assert (refusals.p, refusals.significant, refusals.least) == (1.0, False, 0.0)


@pytest.mark.parametrize(("states", "texts", "noise"), [(60, 5, 0.12), (60, 8, 0.12), (30, 8, 0.3)])
def test_the_least_effect_is_found_in_eight_of_ten_audits_or_more(states: int, texts: int, noise: float):
    least = least_effect(states, texts, groups=3, noise=noise * OUTSIDE / SIZE * 2, tests=WHOLE)
    rng = np.random.default_rng(2)

    def found(shift: float) -> float:
        push = no_push(3, texts)
        push[3, 1, :, 0] = shift / OUTSIDE
        made = [
            audit(rng, {"gender": push}, states=states, texts=texts, noise=noise).values["gender"] for _ in range(150)
        ]
        return float(np.mean([analyse(values[0, 3]).p < ALPHA / WHOLE for values in made]))

    whole, half = found(least), found(least / 2)
    print(f"{states} states, {texts} texts, noise {noise}: {least:.3f} found in {whole:.2f}, half of it in {half:.2f}")
    assert whole >= 0.8
    assert half < 0.5


def test_more_texts_more_states_and_less_noise_show_smaller_effects():
    least = least_effect(60, 5, 3, 0.05, WHOLE)
    assert least_effect(60, 10, 3, 0.05, WHOLE) < least_effect(120, 5, 3, 0.05, WHOLE) < least
    assert least_effect(60, 5, 3, 0.02, WHOLE) < least < least_effect(60, 5, 3, 0.05, 2 * WHOLE)


def _agreeing(push: np.ndarray, seed: int) -> dict[tuple[str, str], Agreement]:
    rng = np.random.default_rng(seed)
    measured = audit(rng, {"gender": push})
    for kind in (KINDS.index("history"), KINDS.index("written")):
        measured.values["gender"][:, kind] = np.nan  # not asked
    return {(one.first, one.second): one for one in agreements(measured, "gender", 200, rng)}


def test_kinds_of_cue_that_work_alike_are_told_from_those_that_do_not():
    alike = no_push(3)
    for group, categories in enumerate(([0, 1], [3, 4], [6, 7])):
        alike[:, group, :, categories] = 0.45
    explicit = alike.copy()
    explicit[[kind for kind in range(len(KINDS)) if kind not in EXPLICIT]] = 0.0
    other = alike.copy()
    other[EXPLICIT] = np.roll(alike[EXPLICIT], 1, axis=1)  # the same categories, for other groups
    all_cues, explicit_only, opposed = (_agreeing(push, seed=4) for push in (alike, explicit, other))
    assert len(all_cues) == 6, "kinds that were not asked are left out"
    for made in all_cues.values():
        assert made.corrected == pytest.approx(1.0, abs=0.25)
    assert sum(made.less for made in all_cues.values()) <= 2, "noise alone is rarely taken for disagreement"
    pair, mixed = ("explicit-system", "explicit-user"), ("name-system", "explicit-user")
    assert explicit_only[pair].correlation > 0.15
    assert explicit_only[pair].corrected == pytest.approx(1.0, abs=0.25)
    assert abs(explicit_only[mixed].correlation) < 0.1
    assert explicit_only[mixed].corrected is None, "names show nothing that explicit cues could agree with"
    assert opposed[pair].corrected == pytest.approx(1.0, abs=0.25)
    assert opposed[mixed].less
    assert opposed[mixed].corrected_upper < 0.3


def test_explicit_only_and_all_cues_differ_in_which_kinds_are_significant():
    rng = np.random.default_rng(6)
    push = no_push(3)
    push[:, 0, :, 0] = 0.6
    everywhere = {test.kind for test in group_tests(audit(rng, {"gender": push})) if test.significant}
    push[[kind for kind in range(len(KINDS)) if kind not in EXPLICIT]] = 0.0
    explicit = {test.kind for test in group_tests(audit(rng, {"gender": push})) if test.significant}
    assert everywhere == set(KINDS)
    assert explicit == {"explicit-system", "explicit-user"}


def test_the_same_seed_gives_the_same_numbers_and_plain_json():
    two = {name: GROUPS[name] for name in ("ethnicity", "age")}
    measured = audit(np.random.default_rng(8), attributes=two, unusable=0.1)
    first, again, other = (effects(measured, draws=50, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first.tests == other.tests, "tests draw nothing"
    assert len(first.tests) == 2 * len(KINDS) * len(NAMES)
    assert len(first.agreements) == 2 * 15
    assert json.loads(json.dumps(asdict(first), allow_nan=False))["tests"][0]["kind"] == "name-system"


def test_arrays_that_do_not_fit_are_refused():
    measured = audit(np.random.default_rng(0))
    values = measured.values["gender"]
    with pytest.raises(
        ValueError, match=r"values\['gender'\] has shape \(25, 6, 60, 2, 5\); \(25, 6, 60, 3, 5\) is wanted"
    ):
        replace(measured, values={"gender": values[..., :2, :]})
    with pytest.raises(ValueError, match="values has no 'age'"):
        replace(measured, attributes={"gender": GROUPS["gender"], "age": GROUPS["age"]})
    with pytest.raises(ValueError, match="60 states, 3 groups and 1 texts of each; give 2 of each at least"):
        replace(measured, values={"gender": values[..., :1]}, wording={"gender": measured.wording["gender"][..., :1]})
