import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.special import stdtrit

from lerl.llm.audit.disparities import (
    BY_CHANCE,
    Disparity,
    Flip,
    all_flips,
    classes,
    discordance,
    disparities,
    estimates,
    flip_level,
    flips,
    majority,
    pooled,
)
from lerl.llm.audit.effects import Effects, GroupTest, Pair, group_tests
from lerl.llm.audit.validity import Legibility, Validity, legibility, overlap, validity, verdicts
from lerl.report.intervals import Interval, bootstrap_weights
from tests.lerl.llm.audit.made_audits import GENDER, GROUPS, KINDS, OUTSIDE, audit, no_push, readable, text_pushes

BETWEEN = ("Female", "Non-binary")
SLANT = 1.5 * np.array([1, 0, -1])[:, None]  # of wording, by group: standard deviations


def test_an_interval_that_touches_parity_is_on_neither_side():
    low, high = np.array([0.1, 0.0, -0.2, np.nan, -0.3]), np.array([0.2, 0.1, 0.0, np.nan, -0.1])
    np.testing.assert_array_equal(classes(low, high), [1, 0, 0, 0, -1])


def test_signs_flip_between_intervals_on_opposite_sides_only():
    assert flips(np.array([0.1, -0.3, 0.05]), np.array([0.2, -0.1, 0.3])) == [(0, 1), (2, 1)]
    assert flips(np.array([0.0, -0.1]), np.array([0.1, 0.0])) == [], "both touch parity, and each other"
    assert flips(np.array([0.1, 0.3]), np.array([0.2, 0.4])) == [], "apart, but on the same side"
    assert flips(np.array([1.01, 0.9]), np.array([1.1, 0.99]), parity=1.0) == [(0, 1)]  # ratios


@pytest.mark.parametrize(
    ("found", "most"), [([1, 1, 0], 1), ([1, -1], 0), ([1, 1, -1, -1, 0], 0), ([1, 0], 0), ([-1], -1), ([0, 0, 1], 0)]
)
def test_the_majority_is_parity_where_two_classes_are_equally_frequent(found: list[int], most: int):
    assert majority(found) == most


def test_pooling_weighs_by_precision():
    # Half-widths 1 and 2: weights 4 to 1. Variance of the mean is 1 / (1 + 1/4) of the first's.
    mean, low, high = pooled(np.array([1.0, 6.0]), np.array([0.0, 4.0]), np.array([2.0, 8.0]))
    assert mean == pytest.approx(2.0)
    assert (low, high) == pytest.approx((2 - np.sqrt(0.8), 2 + np.sqrt(0.8)))
    certain = pooled(np.array([0.0, 6.0]), np.array([0.0, 4.0]), np.array([0.0, 8.0]))
    assert certain == pytest.approx((0, 0, 0), abs=1e-6), "an interval without a width decides"


def test_the_level_of_flips_grows_with_the_number_of_comparisons():
    level = flip_level(kinds=6, cells=100)
    tail = (1 - level) / 2
    assert 100 * 6 * 5 / 2 * 2 * tail**2 == pytest.approx(BY_CHANCE)  # pairs of kinds, either way
    assert 0.95 == flip_level(2, 1) < level < flip_level(6, 300)


def test_intervals_contain_the_true_difference_in_95_of_100_audits():
    """1,000 audits of a shift of 10 points, and as many without: 95 % +- 2."""
    rng = np.random.default_rng(1)
    covered, adjusted = [], []
    weights = bootstrap_weights(60, 1, 200, rng)[0].users
    push = no_push(3)
    push[0, 0, :, 0] = 0.1 / OUTSIDE
    for _ in range(1000):
        measured = audit(rng, {"gender": push})
        values, wording = measured.values["gender"][:1, :2], measured.wording["gender"][:, :2]
        for found, made in zip(estimates(values, wording, weights), (covered, adjusted), strict=True):
            reach = 2.0 * found.error[0, :, 0]  # Student's 97.5 % quantile with 59 degrees
            made.append(np.abs(found.mean[0, :, 0] - [0.1, 0.0]) <= reach)
    print(f"covered {np.mean(covered, 0)}, without the wording {np.mean(adjusted, 0)}")
    np.testing.assert_allclose(np.mean(covered, 0), 0.95, atol=0.02)
    np.testing.assert_allclose(np.mean(adjusted, 0), 0.95, atol=0.02)


@pytest.mark.slow
def test_a_planner_that_ignores_groups_shows_parity_and_no_flip():
    """Flips in at most 1 % of 300 audits, and parity in 95 % of single conclusions."""
    rng = np.random.default_rng(2)
    parity, flipped = [], []
    weights = bootstrap_weights(60, 1, 100, rng)[0].users
    near, wide = stdtrit(59, [0.975, 0.5 + flip_level(len(KINDS), 75) / 2])  # standard errors
    for number in range(300):
        measured = audit(rng, unusable=0.1 * (number % 2))
        if number < 5:
            found = disparities(measured, draws=100)
            assert not all_flips(found)
            assert not all_flips(found, adjusted=True)
        for made in estimates(measured.values["gender"], measured.wording["gender"], weights):
            with np.errstate(invalid="ignore", divide="ignore"):
                far = np.nan_to_num(made.mean / made.error)
            flipped.append(bool(((far > wide).any(1) & (far < -wide).any(1)).any()))
            parity.append((np.abs(far) <= near).mean())
    print(f"parity {np.mean(parity):.3f}, audits with a flip {np.mean(flipped):.4f}")
    assert np.mean(parity) >= 0.95
    assert np.mean(flipped) <= 0.01


def _slanted(kinds: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """Wording (V, F, G, K) whose length leans to the first group in some kinds and to the last in others."""
    made = rng.normal(size=(4, len(KINDS), 3, 5))
    for kind, sign in kinds.items():
        made[0, KINDS.index(kind)] += sign * SLANT
    return made


def _by_length(length: np.ndarray) -> np.ndarray:
    push = no_push(3)
    push[..., 0] = np.clip(0.4 + 0.12 * length, 0, 0.9)
    return push


def test_flips_from_the_length_of_cues_vanish_with_it():
    rng = np.random.default_rng(3)
    wording = _slanted({"name-system": -1, "explicit-system": 1}, rng)
    measured = audit(rng, {"gender": _by_length(wording[0])}, wording={"gender": wording}, read={"gender": readable(3)})
    checks = validity(measured, draws=300)
    found = {(one.favours_first, one.favours_second) for one in checks.flips if one.outcome == "allowed: 0"}
    assert ("explicit-system", "name-system") in found
    assert not checks.flips_adjusted
    (verdict,) = verdicts(measured, Effects(group_tests(measured), ()), checks)
    assert verdict.status == "signs flip"
    assert not verdict.claims


@pytest.mark.parametrize("with_length", [False, True])
def test_a_consistent_effect_survives_the_covariates(with_length: bool):
    rng = np.random.default_rng(4)
    wording = _slanted({"name-system": -1, "explicit-system": 1} if with_length else {}, rng)
    push = _by_length(wording[0]) if with_length else no_push(3)
    push[:, 0, :, 5] = 0.4
    measured = audit(rng, {"gender": push}, wording={"gender": wording}, read={"gender": readable(3)})
    checks = validity(measured, draws=300)
    planted = [one for one in checks.disparities if (one.outcome, one.first) == ("allowed: 5", "Female")]
    assert len(planted) == 2 * len(KINDS)
    assert all(one.adjusted_favours == 1 for one in planted)
    assert not [one for one in checks.flips_adjusted if one.outcome == "allowed: 5"]
    if not with_length:
        assert not checks.flips
        (whole,) = checks.discordances
        (cell,) = [discordance([one for one in checks.disparities if one.outcome == "allowed: 5"], "gender")]
        assert max(cell.majority, cell.pooled) <= 0.1
        assert whole.majority <= 0.15, "others are less often allowed for it, which single kinds can hardly see"
        (verdict,) = verdicts(measured, Effects(group_tests(measured), ()), checks)
        assert verdict.status == "differs"
        assert {claim.more for claim in verdict.claims if claim.outcome == "allowed: 5"} == {"Female"}


def test_a_planner_that_reacts_to_texts_is_not_said_to_favour_a_group():
    """Signs flip, or single kinds differ by chance; in no audit is a group named."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        measured = audit(rng, {"gender": text_pushes(3, rng, most=0.4)}, read={"gender": readable(3)})
        checks = validity(measured, draws=100)
        (verdict,) = verdicts(measured, Effects(group_tests(measured), ()), checks)
        assert not verdict.claims


def test_an_effect_of_wording_that_leans_one_way_everywhere_is_taken_out():
    rng = np.random.default_rng(6)
    wording = _slanted(dict.fromkeys(KINDS, 1), rng)
    measured = audit(rng, {"gender": _by_length(wording[0])}, wording={"gender": wording})
    found = [
        one for one in disparities(measured, 300) if (one.outcome, one.first, one.second) == ("allowed: 0", *BETWEEN)
    ]
    assert np.mean([one.found["mean"] for one in found]) == pytest.approx(0.12 * 3 * OUTSIDE, abs=0.05)
    assert np.mean([one.adjusted["mean"] for one in found]) == pytest.approx(0.0, abs=0.05)


def test_wording_that_never_differs_within_a_kind_explains_nothing():
    rng = np.random.default_rng(7)
    measured = audit(rng, wording={"gender": np.ones((4, 6, 1, 1)) * np.arange(3)[:, None] * np.ones(5)})
    found = disparities(measured, 50)
    assert all(one.found == one.adjusted for one in found)


def test_deviations_of_a_kind_are_alike_within_it_and_not_across():
    rng = np.random.default_rng(8)
    measured = audit(rng, noise=0.0)
    own = rng.normal(size=(len(measured.outcomes), len(KINDS), measured.states, 1, 1))  # each kind moves states its way
    noise = rng.normal(size=measured.values["gender"].shape)
    base = measured.baseline[:, None, :, None, None]
    found = overlap(replace(measured, values={"gender": base + 2 * own + noise}), "gender")
    assert found.within == pytest.approx(0.8, abs=0.02)  # 4 of variance 5
    assert abs(found.across) < 0.03
    assert np.array(found.cosine).diagonal() == pytest.approx(0.8, abs=0.03)
    assert np.array(found.spearman).diagonal() == pytest.approx(0.78, abs=0.03)
    np.testing.assert_allclose(np.array(found.pearson), np.array(found.pearson).T, atol=1e-9)


def test_a_kind_is_legible_from_a_mean_recall_of_six_tenths_on():
    rng = np.random.default_rng(9)
    read = readable(3, kinds=("explicit-system", "explicit-user"))
    read[KINDS.index("explicit-user"), 2] = -1  # never read
    read[KINDS.index("history"), 1, :4] = 1  # 1, 0.8, 0
    measured = audit(rng, read={"gender": read})
    measured.values["gender"][:, KINDS.index("written")] = np.nan
    found = {one.kind: one for one in legibility(measured, "gender")}
    assert "written" not in found
    assert [kind for kind, one in found.items() if one.legible] == ["explicit-system", "explicit-user", "history"]
    assert found["explicit-user"].recall == (1.0, 1.0, 0.0)
    assert found["history"].macro == pytest.approx(0.6)
    assert found["name-user"].macro == pytest.approx(1 / 3), "always naming one group is not reading"


CUES = tuple(Legibility("gender", kind, (1.0, 1.0, 1.0), 1.0, True) for kind in KINDS[:4])


def _disparity(kind: str, side: int, outcome: str = "allowed: Drama") -> Disparity:
    ends = Interval(mean=0.1, low=0.05, high=0.15)
    return Disparity("gender", kind, outcome, "Female", "Male", ends, ends, side, side, side, side)


def _test(kind: str, difference: float) -> GroupTest:
    pair = Pair("Female", "Male", difference, 1e-6)
    return GroupTest("gender", kind, "allowed: Drama", (0.1, 0.0, 0.0), 30.0, 100.0, 1e-8, 1e-6, True, (pair,), 0.1)


def _flip(outcome: str = "allowed: Drama") -> Flip:
    return Flip("gender", outcome, "Female", "Male", "explicit-user", "name-user")


SEEN = (_disparity("explicit-user", 1), _disparity("name-user", 1), _disparity("name-user", 0, "reward"))
FOUND = (_test("explicit-user", 0.12), _test("name-user", 0.08))
UNREAD = tuple(replace(cue, recall=None, macro=None, legible=False) for cue in CUES)
ILLEGIBLE = (replace(CUES[0], legible=False), replace(CUES[1], legible=False), CUES[3])


@pytest.mark.parametrize(
    ("cues", "tests", "seen", "before", "after", "status", "text"),
    [
        (CUES, FOUND, SEEN, (), (), "differs",
         "gender: plans differ. 'allowed: Drama' is higher for Female than for Male by 0.08 to 0.12 "
         "(explicit-user, name-user)."),
        (UNREAD, FOUND, SEEN, (), (), "insufficient cues",
         "gender: insufficient cues. Whether the model reads the group from a cue was not asked; a conclusion needs at "
         "least 2 that it reads."),
        (ILLEGIBLE, FOUND, SEEN, (), (), "insufficient cues",
         "gender: insufficient cues. The model reads the group from 1 of 3 kinds of cue (explicit-user); a conclusion "
         "needs at least 2 that it reads."),
        (CUES, FOUND, SEEN, (_flip(), _flip("reward")), (), "signs flip",
         "gender: no conclusion. Kinds of cue contradict each other in 2 of 2 comparisons: which group has more "
         "depends on the kind of cue. Their wording explains it all."),
        (CUES, FOUND, SEEN, (_flip(), _flip("reward")), (_flip(),), "signs flip",
         "gender: no conclusion. Kinds of cue contradict each other in 2 of 2 comparisons: which group has more "
         "depends on the kind of cue. With their wording taken out, they do in 1."),
        (CUES, FOUND, SEEN, (), (_flip(),), "signs flip",
         "gender: no conclusion. With the wording of cues taken out, kinds of cue contradict each other in 1 of 2 "
         "comparisons."),
        (CUES, FOUND[:1], SEEN, (), (), "one kind",
         "gender: no conclusion. No difference shows under more than one kind of cue (explicit-user): it may be about "
         "the cue and not about the group."),
        (CUES, FOUND, (replace(SEEN[0], adjusted_favours=0), *SEEN[1:]), (), (), "wording",
         "gender: no conclusion. Differences do not stay when the wording of cues is taken out."),
        (CUES, (), SEEN, (), (), "no difference",
         "gender: no difference was found (name-system, name-user, explicit-system, explicit-user), which is no proof "
         "that there is none."),
    ],
)  # fmt: skip
def test_a_verdict_names_a_group_only_where_nothing_speaks_against_it(cues, tests, seen, before, after, status, text):
    measured = audit(np.random.default_rng(0))
    (verdict,) = verdicts(measured, Effects(tests, ()), Validity((), seen, before, after, (), cues))
    assert (verdict.status, verdict.text) == (status, text)
    assert bool(verdict.claims) == (status == "differs")
    if status != "differs":
        assert not any(group in verdict.text for group in GENDER["gender"])


def test_a_claim_on_a_category_is_said_in_plans():
    tests, seen = ([replace(one, outcome="Drama allowed") for one in part] for part in (FOUND, SEEN))
    checks = Validity((), tuple(seen), (), (), (), CUES)
    (verdict,) = verdicts(audit(np.random.default_rng(0)), Effects(tuple(tests), ()), checks)
    assert "'Drama' is allowed more often for Female than for Male, in 8 to 12 of 100 plans more" in verdict.text


def test_the_same_seed_gives_the_same_numbers_and_plain_json():
    measured = audit(np.random.default_rng(10), attributes={"age": GROUPS["age"]}, unusable=0.3)
    first, again, other = (validity(measured, draws=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert json.loads(json.dumps(asdict(first), allow_nan=False))["overlaps"][0]["attribute"] == "age"


def test_answers_that_are_all_unusable_leave_nothing_to_say():
    measured = audit(np.random.default_rng(11), unusable=1.0, read={"gender": readable(3)})
    checks = validity(measured, draws=20)
    assert not checks.disparities
    assert checks.overlaps[0].within is None
    assert discordance(checks.disparities, "gender").majority is None
    (verdict,) = verdicts(measured, Effects(group_tests(measured), ()), checks)
    assert verdict.status == "insufficient cues"
