"""KuaiRand and KuaiRec: their layouts, what is taken for what, what is refused, and real views."""

import os
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import polars as pl
import pytest

import lerl  # noqa: F401 - registers the environments
from lerl.cli.main import main
from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.prepare import prepare, read
from lerl.envs.schema import DataError, sample_order
from lerl.envs.store import format_of, load_population, read_about

KUAIRAND = Path(os.environ.get("LERL_DATA", Path(__file__).parents[3] / "../shared/data")) / "kuairand_pure"

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
VIDEOS = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,"
    "music_id,music_type,tag"
)


def view(user: object, video: object, time: object, long_view: object = 0, like: int = 0) -> str:
    """A row of KuaiRand's log."""
    return f"{user},{video},20220408,400,{time},1,{like},0,0,0,0,{long_view},900,1000,0,0,0,0,1"


def video(number: object, tag: str) -> str:
    return f"{number},441,NORMAL,2022-04-08,ShortImport,1.0,17200.0,720,1280,989206467,4.0,{tag}"


def csv(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


EARLY = [view(7, 2, 3_000, 1), view(7, 1, 1_999, 0), view(8, 1, 2_000, 1)]
LATE = [view(7, 1, 9_000, 1), view(8, 4, 8_000)]
LISTED = [video(1, "39"), video(2, '"39,68"'), video(3, "5"), video(4, "")]


def kuairand(
    folder: Path, suffix: str = "pure", early: list[str] = EARLY, late: list[str] = LATE, listed: list[str] = LISTED
) -> Path:
    """KuaiRand as its README draws it, the data a folder further in."""
    data = folder / "data"
    csv(data / f"log_standard_4_08_to_4_21_{suffix}.csv", LOG, *early)
    csv(data / f"log_standard_4_22_to_5_08_{suffix}.csv", LOG, *late)
    csv(data / f"log_random_4_22_to_5_08_{suffix}.csv", LOG, view(9, 3, 9_000, 1))
    csv(data / f"video_features_basic_{suffix}.csv", VIDEOS, *listed)
    return folder


@pytest.mark.parametrize("suffix", ["pure", "1k"])
@pytest.mark.parametrize("inner", [".", "data"])
def test_kuairand_is_read_first_views_in_order_of_time(tmp_path: Path, suffix: str, inner: str):
    """User 7 met video 1 twice: at 1.999 s without a long view, which stays, and later with one."""
    data = read("kuairand", kuairand(tmp_path, suffix) / inner)
    assert data.catalog.item_ids == ("1", "2", "4")
    assert data.catalog.titles == ("item 1", "item 2", "item 4")
    assert data.catalog.categories.names == ("tag 39", "tag 68", "other")
    assert data.catalog.categories.membership.tolist() == [
        [True, False, False],
        [True, True, False],
        [False, False, True],
    ]
    columns = ["user", "item", "click", "rating", "time", "position"]
    assert data.log.select(columns).rows() == [
        (7, 1, False, None, 1, 0),
        (7, 2, True, None, 3, 1),
        (8, 1, True, None, 2, 0),
        (8, 4, False, None, 8, 1),
    ]
    assert (data.dropped_items, data.merged) == (1, 1)
    assert data.notes == (
        f"logs: log_standard_4_08_to_4_21_{suffix}.csv, log_standard_4_22_to_5_08_{suffix}.csv",
        f"left out, as items were picked at random: log_random_4_22_to_5_08_{suffix}.csv",
        "a click is a long_view",
        "1 rows repeat a user and a video: kept was the first view of each",
    )


def test_a_folder_around_one_data_set_is_enough_and_around_two_is_refused(tmp_path: Path):
    kuairand(tmp_path / "KuaiRand-Pure")
    assert len(read("kuairand", tmp_path).log) == 4
    kuairand(tmp_path / "KuaiRand-1K", "1k")
    with pytest.raises(DataError, match=r"several data sets, .*KuaiRand-1K/data and .*KuaiRand-Pure/data; give one"):
        read("kuairand", tmp_path)


def test_the_parts_of_kuairand_27k_are_one_log(tmp_path: Path):
    for number, row in enumerate([view(7, 2, 3_000, 1), view(7, 1, 1_000)], start=1):
        csv(tmp_path / f"log_standard_4_08_to_4_21_27k_part{number}.csv", LOG, row)
    csv(tmp_path / "video_features_basic_27k.csv", VIDEOS, *LISTED)
    data = read("kuairand", tmp_path)
    assert data.log.select("item", "position").rows() == [(1, 0), (2, 1)]
    assert data.notes[0] == "logs: log_standard_4_08_to_4_21_27k_part1.csv, log_standard_4_08_to_4_21_27k_part2.csv"


def test_times_of_views_may_be_dates(tmp_path: Path):
    dates = [view(7, 1, "2022-04-08 18:30:01"), view(7, 2, "2022-04-08 18:30:00")]
    data = read("kuairand", kuairand(tmp_path, early=dates, late=[view(7, 3, "2022-04-08 18:29:59.5")]))
    assert data.log.select("item", "position").rows() == [(1, 2), (2, 1), (3, 0)]


def test_views_within_a_second_keep_the_order_of_their_milliseconds(tmp_path: Path):
    data = read("kuairand", kuairand(tmp_path, early=[view(7, 1, 1_900), view(7, 2, 1_100)], late=[view(7, 3, 1_500)]))
    assert data.log.select("item", "time", "position").rows() == [(1, 1, 2), (2, 1, 0), (3, 1, 1)]


def test_a_video_that_is_not_listed_is_other_and_counted(tmp_path: Path):
    data = read("kuairand", kuairand(tmp_path, late=[view(8, 77, 8_000)]))
    assert data.catalog.item_ids[-1] == "77"
    assert data.catalog.categories.names[np.argmax(data.catalog.categories.membership[-1])] == "other"
    assert data.notes[-1] == "1 videos are not in video_features_basic_pure.csv: their category is 'other'"


def tables(folder: Path) -> Path:
    """The Parquet layout: three views before the log, the newest last, and three in it."""
    history = {"user_id": [7, 7, 7], "video_id": [3, 1, 3], "long_view": [1, 0, 0], "pos_from_end": [0, 1, 2]}
    log = {"user_id": [7, 7, 8], "video_id": [1, 2, 2], "long_view": [1, 1, 0], "time_ms": [5_000, 4_000, 1_000]}
    videos = {"video_id": [1, 2, 3], "tag": ["5", None, "unknown"]}
    small = {"user_id": pl.Int16, "video_id": pl.Int16, "long_view": pl.Int8}
    pl.DataFrame(history).cast({**small, "pos_from_end": pl.Int8}).write_parquet(folder / "history.parquet")
    pl.DataFrame(log).cast(small).write_parquet(folder / "log.parquet")
    pl.DataFrame(videos).write_parquet(folder / "videos.parquet")
    return folder


def test_history_comes_before_the_log_oldest_view_first(tmp_path: Path):
    """User 7 saw 3 (oldest), 1, 3 again, and in the log 2 and then 1 again."""
    data = read("kuairand", tables(tmp_path))
    assert data.log.select("user", "item", "click", "time", "position").rows() == [
        (7, 1, False, None, 1),
        (7, 2, True, 4, 2),
        (7, 3, False, None, 0),
        (8, 2, False, 1, 0),
    ]
    assert data.merged == 2
    assert data.catalog.categories.names == ("tag 5", "other")


def test_the_parquet_log_is_enough(tmp_path: Path):
    (tables(tmp_path) / "history.parquet").unlink()
    assert len(read("kuairand", tmp_path).log) == 3


def made(**changed: list[str]) -> Callable[[Path], Path]:
    return lambda folder: kuairand(folder, **changed)  # type: ignore[arg-type]


def without(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (kuairand(folder) / "data" / name).unlink()
        return folder

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (made(early=[view(7, 1, 1), view(7, 2, 1, 2)]), r"row 3, column long_view: given '2', allowed is 0 or 1"),
        (made(early=[view("x", 1, 1)]), r"4_21_pure.csv, row 2, column user_id: given 'x', allowed is a whole number"),
        (made(late=[view(7, "", 1)]), r"5_08_pure.csv, row 2, column video_id: given nothing"),
        (made(late=[view(7, 1, "noon")]), r"column time_ms: given 'noon', allowed is a number of milliseconds"),
        (made(late=[view(7, 1, 16 * 10**17)]), r"column time_ms: given '1600000000000000000', allowed is"),
        (made(listed=[video(1, "a|b")]), r"basic_pure.csv, row 2, column tag: given 'a|b', allowed is whole numbers"),
        (made(listed=[*LISTED, video(2, "")]), r"row 6, column video_id: given '2'.*row 3 has video_id 2 already"),
        (made(late=[]), r"log_standard_4_22_to_5_08_pure.csv is empty"),
        (without("video_features_basic_pure.csv"), r"basic_pure.csv is missing; KuaiRand needs it beside log_standard"),
        (lambda folder: folder, r"holds no KuaiRand data; a folder must hold log_standard_4_08_to_4_21_pure.csv"),
        (lambda folder: folder / "nowhere", r"nowhere is not a folder; give the folder that holds log_standard"),
    ],
)
def test_bad_kuairand_files_are_one_clear_error(tmp_path: Path, make: Callable[[Path], Path], message: str):
    with pytest.raises(DataError, match=message):
        read("kuairand", make(tmp_path))


# KuaiRec

MATRIX = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"
CAPTIONS = (
    "video_id,manual_cover_text,caption,topic_tag,first_level_category_id,first_level_category_name,"
    "second_level_category_id,second_level_category_name,third_level_category_id,third_level_category_name"
)


def watched(user: object, video: object, timestamp: object, ratio: object) -> str:
    """A row of KuaiRec's matrices."""
    return f"{user},{video},13838,10867,2020-07-05 00:08:23.438,20200705,{timestamp},{ratio}"


BIG = [watched(7, 1, 20.5, 1.99), watched(7, 2, 20.25, 2.0), watched(8, 1, 5, 3.5), watched(8, 1, 4, 0)]
TAGS = ['1,"[27, 9]"', "2,[9]", "3,[1]"]


def kuairec(folder: Path, big: list[str] = BIG, tags: list[str] = TAGS, captions: str | None = None) -> Path:
    csv(folder / "data" / "big_matrix.csv", MATRIX, *big)
    csv(folder / "data" / "item_categories.csv", "video_id,feat", *tags)
    if captions is not None:
        (folder / "data" / "kuairec_caption_category.csv").write_text(f"{CAPTIONS}\n{captions}", encoding="utf-8")
    return folder


def test_seconds_are_no_milliseconds(tmp_path: Path):
    """1,600,000,000 thousandths of a second would be the 19th of January 1970."""
    with pytest.raises(
        DataError, match=r"column time_ms: given numbers .*, which look like seconds since 1970; write mill"
    ):
        read("kuairand", kuairand(tmp_path, early=[view(7, 1, 1_600_000_000, 1)]))


def test_kuairec_is_read_with_twice_watched_as_a_click(tmp_path: Path):
    """Half a second decides the order of user 7; of user 8's views of video 1 the one at 4 s is the first."""
    data = read("kuairec", kuairec(tmp_path))
    assert data.log.select("user", "item", "click", "time", "position").rows() == [
        (7, 1, False, 20, 1),
        (7, 2, True, 20, 0),
        (8, 1, False, 4, 0),
    ]
    assert data.log["rating"].to_list() == pytest.approx([1.99, 2.0, 0.0])
    assert data.catalog.titles == ("item 1", "item 2")
    assert data.catalog.categories.names == ("tag 27", "tag 9")
    assert data.catalog.categories.membership.tolist() == [[True, True], [False, True]]
    assert (data.dropped_items, data.merged) == (1, 1)


def test_a_view_at_an_unknown_time_comes_last_and_has_no_position(tmp_path: Path):
    data = read("kuairec", kuairec(tmp_path, [watched(7, 1, "", 3), watched(7, 1, 9, 0), watched(7, 2, "", 3)]))
    assert data.log.select("item", "click", "time", "position").rows() == [(1, False, 9, 0), (2, True, None, None)]


def test_dates_tell_the_time_of_a_view_too(tmp_path: Path):
    """1,593,907,703 seconds after 1970 it was 00:08:23 on 5 July 2020."""
    rows = [watched(7, 1, "2020-07-05 00:08:23", 3), watched(7, 2, "2020-07-05 00:08:22.5", 0), watched(7, 3, "", 3)]
    data = read("kuairec", kuairec(tmp_path, rows))
    assert data.log.select("item", "time", "position").rows() == [
        (1, 1_593_907_703, 1), (2, 1_593_907_702, 0), (3, None, None),
    ]  # fmt: skip


def test_a_view_in_a_year_that_no_log_has_is_one_at_an_unknown_time(tmp_path: Path):
    """-62135625943 seconds since 1970 are in the year 0; public notebooks drop such rows of the matrices."""
    rows = [watched(7, 1, -62135625943, 3), watched(7, 2, 1_600_000_000.5, 0), watched(7, 3, 0, 3)]
    data = read("kuairec", kuairec(tmp_path, rows))
    assert data.log.select("item", "time", "position").rows() == [
        (1, None, None),
        (2, 1_600_000_000, 0),
        (3, None, None),
    ]
    note = "2 views have no time from 1995 to 2037: they come after their user's others, in an order that is not known"
    assert note in data.notes


def test_captions_give_titles_and_names_and_broken_rows_are_counted(tmp_path: Path):
    """Row 2 is broken over two lines without quotation marks; video 1 has a comma, a line break and quotation marks."""
    captions = (
        '1,UNKNOWN,"Noodles, ""fast""\nand hot",[],27,Food,124,Sub,9,Leaf\n'
        "2,UNKNOWN,half a\rcaption\nand the rest,[],8,Face,673,Sub,-124,UNKNOWN\n"
        "3,UNKNOWN,,[],8,UNKNOWN,673,Sub,-124,UNKNOWN\n"
    )
    views = [watched(7, 1, 1, 3), watched(7, 2, 2, 0), watched(7, 3, 3, 0)]
    data = read("kuairec", kuairec(tmp_path, views, captions=captions))
    assert data.catalog.titles == ('Noodles, "fast" and hot', "item 2", "item 3")
    assert data.catalog.categories.names == ("Food", "other")
    assert data.catalog.categories.membership.tolist() == [[True, False], [False, True], [False, True]]
    assert "2 broken rows of kuairec_caption_category.csv skipped" in data.notes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: kuairec(f, [watched(7, 1, 1, "nan")]), r"column watch_ratio: given 'nan', allowed is a number"),
        (lambda f: kuairec(f, [watched(7.5, 1, 1, 1)]), r"row 2, column user_id: given '7.5', allowed is a whole num"),
        (
            lambda f: kuairec(f, tags=["1,27"]),
            r"item_categories.csv, row 2, column feat: given '27', allowed is a list",
        ),
        (lambda f: kuairec(f, tags=["1,[1]", "1,[2]"]), r"row 3, column video_id: given '1'.*row 2 has video_id 1"),
        (lambda f: (csv(f / "small_matrix.csv", MATRIX), f)[1], r"big_matrix.csv is missing; KuaiRec needs big_matrix"),
        (lambda f: f, r"holds no KuaiRec data; a folder must hold big_matrix.csv and item_categories.csv"),
        (lambda f: f / "nowhere", r"nowhere is not a folder; give the folder that holds big_matrix.csv"),
    ],
)
def test_bad_kuairec_files_are_one_clear_error(tmp_path: Path, make: Callable[[Path], Path], message: str):
    with pytest.raises(DataError, match=message):
        read("kuairec", make(tmp_path))


def test_captions_without_their_columns_are_refused(tmp_path: Path):
    kuairec(tmp_path, captions="")
    (tmp_path / "data" / "kuairec_caption_category.csv").write_text("video_id,title\n1,A\n")
    with pytest.raises(DataError, match=r"category.csv: column caption is missing, given \['video_id', 'title'\]"):
        read("kuairec", tmp_path)


# the dense matrix


def ratio(user: int, video: int, draw: np.random.Generator) -> float:
    """How much is watched: users like the videos that are even or odd as they are, four times in five."""
    return 2.5 if (draw.random() < 0.8) == ((user + video) % 2 == 0) else 0.5


def matrices(folder: Path, small: int = 0, big: int = 1, shared: int = 0) -> Path:
    """Users 0 to 59 and videos 0 to 29 in the small matrix, all but one pair; 150 users and 90 videos in the big one.

    Args:
        folder: to write into.
        small: seed of the one.
        big: seed of the other.
        shared: how many pairs of the small one the big one has too.
    """
    draw = np.random.default_rng(small)
    cells = [(user, video) for user in range(60) for video in range(30)][1:]
    inner = [watched(user, video, video + 1, ratio(user, video, draw)) for user, video in cells]
    draw = np.random.default_rng(big)
    rest = [(user, video) for user in range(150) for video in range(90) if user >= 60 or video >= 30]
    outer = [watched(user, video, video + 1, ratio(user, video, draw)) for user, video in rest]
    outer += [watched(user, video, 5, 9) for user, video in cells[:shared]]
    csv(folder / "small_matrix.csv", MATRIX, *inner)
    csv(folder / "big_matrix.csv", MATRIX, *outer)
    csv(folder / "item_categories.csv", "video_id,feat", *(f"{video},[{video % 2}]" for video in range(95)))
    return folder


def dense(folder: Path, out: Path) -> Population:
    prepare("kuairec", folder, out, dim=2, dense=True)
    return load_population(out)


def test_the_dense_matrix_is_the_truth_and_the_big_one_what_is_known(tmp_path: Path):
    lines: list[str] = []
    report = prepare("kuairec", matrices(tmp_path / "raw"), tmp_path / "out", dim=2, dense=True, note=lines.append)
    assert (report.users, report.items, report.interactions, report.dropped_items) == (60, 30, 1_799, 5)
    assert "truth: small_matrix.csv, 60 users x 30 videos, 99.9% of all pairs" in lines
    assert "knowledge: 11,700 pairs of big_matrix.csv; 0 others are in the truth" in lines
    assert min(report.truth_auc, report.knowledge_auc) > 0.7
    people = load_population(tmp_path / "out")
    assert people.dense is not None
    draw = np.random.default_rng(0)
    wanted = [-1] + [int(ratio(user, video, draw) >= 2) for user in range(60) for video in range(30) if user or video]
    assert people.dense.ravel().tolist() == wanted
    assert len(people.history) == 0
    assert people.knowledge.popularity.sum() == pytest.approx(1)
    assert set(pl.read_parquet(tmp_path / "out" / "interactions.parquet")["half"]) == {"truth"}


def test_neither_side_sees_the_other_s_data(tmp_path: Path):
    """Another small matrix leaves the knowledge as it is to the bit, another big one the truth."""
    one = dense(matrices(tmp_path / "one"), tmp_path / "a")
    other_truth = dense(matrices(tmp_path / "two", small=5), tmp_path / "b")
    other_known = dense(matrices(tmp_path / "three", big=5), tmp_path / "c")
    overlap = dense(matrices(tmp_path / "four", shared=200), tmp_path / "d")
    for name, array in vars(one.knowledge).items():
        np.testing.assert_array_equal(getattr(other_truth.knowledge, name), array)
    for name, array in vars(one.truth).items():
        np.testing.assert_array_equal(getattr(other_known.truth, name), array)
    assert (one.truth.user_vectors != other_truth.truth.user_vectors).any()
    assert (one.knowledge.tastes != other_known.knowledge.tastes).any()
    assert overlap.digest() == one.digest()


def test_users_of_the_matrix_live_whole_sessions(tmp_path: Path):
    dense(matrices(tmp_path / "raw"), tmp_path / "out")
    env = gymnasium.make_vec(
        "lerl/KuaiRec-v0", num_envs=8, path=str(tmp_path / "out"), response="lookup", slate_size=3, topic_count=4
    )
    env.reset(seed=3)
    rewards = [env.step(env.action_space.sample())[1] for _ in range(12)]
    assert 0 < np.mean(rewards) < 1


def test_a_format_without_such_a_matrix_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="--dense is only for kuairec, given --format kuairand; leave it out"):
        prepare("kuairand", kuairand(tmp_path / "raw"), tmp_path / "out", dense=True)
    with pytest.raises(DataError, match=r"small_matrix.csv is missing; KuaiRec needs small_matrix.csv, big_matrix.csv"):
        prepare("kuairec", kuairec(tmp_path / "rec"), tmp_path / "out", dense=True)


def test_the_command_makes_users_of_the_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    raw, out = matrices(tmp_path / "raw"), tmp_path / "out"
    assert main(["data", "prepare", "--format", "kuairec", "--dense", str(raw), "--out", str(out), "--dim", "2"]) == 0
    assert "truth: small_matrix.csv" in capsys.readouterr().out
    assert load_population(out).dense is not None
    (out / "arrays.npz").unlink()
    with pytest.raises(DataError, match="make it again with `lerl data prepare --format kuairec --dense FOLDER --out"):
        load_population(out)


def test_a_sample_of_the_dense_matrix_has_its_users_rows(tmp_path: Path):
    raw = matrices(tmp_path / "raw")
    every = dense(raw, tmp_path / "out")
    report = prepare("kuairec", raw, tmp_path / "some", dim=2, dense=True, users=20)
    assert (report.users, report.interactions) == (20, int((load_population(tmp_path / "some").dense >= 0).sum()))
    places = np.sort(sample_order(np.arange(60))[:20])
    assert np.array_equal(load_population(tmp_path / "some").dense, every.dense[places])


# kinds of feedback


def test_further_kinds_are_columns_of_the_log(tmp_path: Path):
    rows = [view(7, 1, 1_000, 1, like=0), view(7, 2, 2_000, 0, like=1), view(7, 1, 3_000, 0, like=1)]
    data = read("kuairand", kuairand(tmp_path, early=rows), feedback={"is_like": 3, "long_view": 1})
    assert data.log.filter(pl.col("user") == 7).select("item", "click", "feedback.long_view").rows() == [
        (1, False, True),
        (2, True, False),
    ]
    assert "a click is a is_like; with env.feedback weighted, feedback is 0.75 is_like + 0.25 long_view" in data.notes
    assert dict(data.weights) == {"is_like": 3, "long_view": 1}


def test_a_single_kind_is_the_click(tmp_path: Path):
    data = read("kuairand", kuairand(tmp_path), feedback={"is_click": 1})
    assert data.log["click"].all()
    assert data.weights == {}
    assert "a click is a is_click" in data.notes


def test_kinds_are_fitted_as_they_were_made(tmp_path: Path):
    """Likes, of odd videos 60 %, of even ones 10 %, whatever else; long views as tastes go."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(300):
        for number, item in enumerate(draw.choice(60, size=30, replace=False)):
            long = int((draw.random() < 0.8) == ((user + item // 2) % 2 == 0))
            rows.append(view(user, item, number * 1_000, long, like=int(draw.random() < (0.6 if item % 2 else 0.1))))
    raw = kuairand(tmp_path / "raw", early=rows, late=rows[:1], listed=[video(item, "1") for item in range(60)])
    weights = {"long_view": 1.0, "is_like": 0.5}
    report = prepare("kuairand", raw, tmp_path / "out", dim=2, feedback=weights)
    assert report.kinds["is_like"] > 0.7
    people = load_population(tmp_path / "out")
    assert people.kinds is not None
    assert people.kinds.names == ("long_view", "is_like")
    assert people.kinds.weights.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert abs(people.kinds.slopes[0]) < 0.3  # a like has nothing to do with a long view
    chance = 1 / (1 + np.exp(-people.kinds.item_offsets[0]))
    odd = np.array([int(number) % 2 == 1 for number in people.catalog.item_ids])
    assert chance[odd].mean() == pytest.approx(0.6, abs=0.08)
    assert chance[~odd].mean() == pytest.approx(0.1, abs=0.05)
    assert format_of(read_about(tmp_path / "out"), "") == "kuairand --feedback long_view=1.0,is_like=0.5"
    prepare("kuairand", raw, tmp_path / "plain", dim=2)
    plain = load_population(tmp_path / "plain")
    assert plain.kinds is None
    for name, array in vars(plain.truth).items():
        np.testing.assert_array_equal(getattr(people.truth, name), array)
    lasting = {"feedback": "weighted", "topic_count": 4, "leave": Leave("never")}
    env = gymnasium.make("lerl/KuaiRand-v0", path=str(tmp_path / "out"), **lasting)
    env.reset(seed=0)
    rewards = {round(env.step(item)[1], 3) for item in range(8)}
    assert rewards <= {0.0, 0.333, 0.667, 1.0}
    prepare("kuairand", raw, tmp_path / "some", dim=2, feedback=weights, users=100)
    few = load_population(tmp_path / "some")
    assert few.kinds is not None
    assert np.array_equal(few.kinds.item_offsets, people.kinds.item_offsets)
    assert len(few.training) == 100


@pytest.mark.parametrize(
    ("format", "feedback", "message"),
    [
        ("kuairand", {"like": 1}, r"a kind of feedback must be one of long_view, is_click.*, given 'like'"),
        ("kuairand", {"long_view": 1, "is_like": 0}, r"a weight of --feedback must be a number above 0, given 0"),
        ("kuairec", {"long_view": 1}, r"--feedback is only for kuairand, given --format kuairec; leave it out"),
    ],
)
def test_kinds_that_are_none_are_refused(tmp_path: Path, format: str, feedback: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        read(format, kuairand(tmp_path), feedback=feedback)


def test_a_kind_that_a_file_lacks_is_named(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"history.parquet: column is_like is missing, its kinds of feedback are long_view"
    ):
        read("kuairand", tables(tmp_path), feedback={"long_view": 1, "is_like": 1})


def test_a_kind_that_hardly_occurs_cannot_be_fitted(tmp_path: Path):
    rows = [view(user, item, item * 1_000, (user + item) % 2) for user in range(80) for item in range(30)]
    raw = kuairand(tmp_path / "raw", early=rows, listed=[video(item, "1") for item in range(30)])
    with pytest.raises(DataError, match=r"too few interactions to calibrate .* 0 are is_like and \d+ are not"):
        prepare("kuairand", raw, tmp_path / "out", dim=2, feedback={"long_view": 1, "is_like": 1})


@pytest.mark.parametrize("given", ["long_view", "long_view=", "long_view=0", "=1", "a=1,a=2", "long_view=nan", "a=1,"])
def test_weights_that_cannot_be_read_are_one_line(given: str, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "prepare", "--format", "kuairand", "raw", "--out", "out", "--feedback", given]) == 2
    assert "as in long_view=1,is_like=0.5; given" in capsys.readouterr().err


# real views


def real() -> Path:
    if not (KUAIRAND / "history.parquet").is_file():
        pytest.skip(f"no KuaiRand in {KUAIRAND}; set LERL_DATA to the folder that holds kuairand_pure/history.parquet")
    return KUAIRAND


def few(folder: Path, users: int = 4_000) -> Path:
    """The views of the users with the lowest numbers."""
    folder.mkdir()
    for name in ("history", "log"):
        frame = pl.read_parquet(real() / f"{name}.parquet")
        frame.filter(pl.col("user_id") < users).write_parquet(folder / f"{name}.parquet")
    (folder / "videos.parquet").write_bytes((KUAIRAND / "videos.parquet").read_bytes())
    return folder


def test_real_views_are_read_and_predicted(tmp_path: Path):
    raw = few(tmp_path / "raw")
    report = prepare("kuairand", raw, tmp_path / "out")
    people = load_population(tmp_path / "out")
    pairs = pl.concat(
        pl.read_parquet(raw / f"{n}.parquet", columns=["user_id", "video_id"]) for n in ("history", "log")
    )
    assert report.interactions == pairs.n_unique()
    assert report.merged == len(pairs) - pairs.n_unique()
    assert report.base_rate == pytest.approx(0.35, abs=0.03)
    assert min(report.truth_auc, report.knowledge_auc) > 0.68
    assert "tag 39" in people.catalog.categories.names
    assert 0.45 < len(people.history) / report.interactions < 0.55
    log = pl.read_parquet(tmp_path / "out" / "interactions.parquet")
    seen = log.sort("user", "position").with_columns(before=pl.col("time").shift().over("user"))
    assert seen.filter(pl.col("time").is_null() & pl.col("before").is_not_null()).is_empty()
    assert seen.filter(pl.col("time") < pl.col("before")).is_empty()
    assert seen.filter(pl.col("position") != pl.int_range(pl.len()).over("user")).is_empty()


def test_known_views_without_a_time_come_before_those_with_one(tmp_path: Path):
    """The known history lies in order of each user's place, though most views have no time."""
    prepare("kuairand", few(tmp_path / "raw"), tmp_path / "out", dim=2)
    people = load_population(tmp_path / "out")
    log = pl.read_parquet(tmp_path / "out" / "interactions.parquet").filter(pl.col("half") == "knowledge")
    users = log["user"].unique().sort().to_numpy()
    everybody = pl.read_parquet(tmp_path / "out" / "interactions.parquet")["user"].unique().sort().to_numpy()
    for user in users[:5]:
        known = people.history[people.history[:, 0] == np.searchsorted(everybody, user)]
        wanted = log.filter(pl.col("user") == user).sort("position")["item"].cast(pl.String).to_list()
        assert [people.catalog.item_ids[item] for item in known[:, 1]] == wanted


def test_real_likes_are_predicted(tmp_path: Path):
    raw, out = few(tmp_path / "raw", users=12_000), tmp_path / "out"
    command = ["data", "prepare", "--format", "kuairand", str(raw), "--out", str(out)]
    assert main([*command, "--feedback", "long_view=1,is_like=0.5"]) == 0
    people = load_population(out)
    assert people.kinds is not None
    assert people.kinds.slopes[0] > 0  # who views long likes more often
    assert read_about(out)["report"]["kinds"]["is_like"] > 0.6
    assert "feedback.is_like" in pl.read_parquet(out / "interactions.parquet").columns
