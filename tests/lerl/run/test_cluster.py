"""Work on a Dask cluster on loopback: the numbers of one process, whatever happens to workers and scheduler."""

import datetime
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lerl.cli.main import main
from lerl.config.parse import load
from lerl.experiment.schedule import run
from lerl.files import RunError
from lerl.run.executors import Where, executor
from lerl.run.work import Work

from .killed import grow

pytest.importorskip("distributed")

RECIPE = """
agents: [flat+ppo]
data: {synthetic: {users: 60, items: 50, categories: 5, dim: 4}}
env: {slate_size: 2, max_steps: 8}
train: {steps: 256, users: 16, rollout: 8, evaluations: 1, validation: 8}
evaluation: {users: 10, replicates: 1, bootstrap: 100}
experiment:
  seeds: 1
  agents: {random: {kind: floor}, flat+ppo: {}, flat+greedy: {}}
  conditions: {plain: {}}
"""
AGAIN = "give the same command again"


def start(*words: str, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words], stdout=stream, stderr=stream, env=environment, cwd=log.parent,
            start_new_session=True,
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def certificates(folder: Path) -> list[str]:
    """A certificate that vouches for itself, as files and as flags for Dask."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lerl")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    text = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    for file, content in (("ca.pem", text), ("cert.pem", text), ("key.pem", secret)):
        (folder / file).write_bytes(content)
    return [
        f"--tls-{flag}={folder / file}"
        for flag, file in (("ca-file", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem"))
    ]


class Cluster:
    """A scheduler and two workers, with TLS where there are certificates."""

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        self.folder, self.tls = folder, tls
        log = folder / "scheduler.txt"
        protocol = "tls" if tls else "tcp"
        own = ("--protocol", protocol, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *tls)
        self.scheduler = start("scheduler", *own, log=log)
        self.address = wait_for(lambda: address_in(log))
        self.workers = [self.worker(n) for n in range(2)]

    def worker(self, number: int) -> subprocess.Popen[bytes]:
        own = (
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
            "--local-directory",
            str(self.folder / "disk"),
            *self.tls,
        )
        return start("worker", self.address, *own, log=self.folder / f"worker{number}.txt")

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            kill(process)


def address_in(log: Path) -> str:
    words = log.read_text().split() if log.is_file() else []
    return next((word for word in words if word.startswith(("tcp://127.0.0.1", "tls://127.0.0.1"))), "")


def wait_for(found: object) -> str:
    for _ in range(300):
        if value := found():  # type: ignore[operator]
            return str(value)
        time.sleep(0.1)
    raise AssertionError("nothing came")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "mini.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def alone(recipe: Path) -> bytes:
    assert main(["experiment", str(recipe), "--workers", "1", "--out", str(recipe.parent / "alone")]) == 0
    return (recipe.parent / "alone" / "report.csv").read_bytes()


@pytest.mark.parametrize("ship", [False, True])
def test_a_cluster_gives_the_table_of_one_process(
    cluster: Cluster, recipe: Path, alone: bytes, ship: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths are as the user gives them, wherever workers were started
    words = ["experiment", str(recipe), "--cluster", cluster.address, "--out", "out", *(["--ship"] if ship else [])]
    assert main(words) == 0
    assert (tmp_path / "out" / "report.csv").read_bytes() == alone
    assert "flat+ppo" in (tmp_path / "out" / "work" / "plain" / "flat+ppo" / "seed0" / "log.txt").read_text()


def test_work_whose_process_is_killed_is_done_by_another(tmp_path: Path) -> None:
    with executor(Where(2), AGAIN) as pool:
        hit, calm = pool.submit(grow, tmp_path, 3), pool.submit(len, "four")
        assert (hit.result(), calm.result()) == (3, 4)


def test_work_that_is_killed_every_time_is_given_up(tmp_path: Path) -> None:
    with executor(Where(2), AGAIN) as pool:
        hit, calm = pool.submit(grow, tmp_path, 100), pool.submit(len, "four")
        with pytest.raises(RunError, match="it was killed 4 times, perhaps because memory ran out; give the same"):
            hit.result()
        assert calm.result() == 4


def test_a_killed_worker_of_a_cluster_is_replaced_by_another(cluster: Cluster, tmp_path: Path) -> None:
    with executor(Where(cluster=cluster.address), AGAIN) as pool:
        assert pool.submit(Work("grow", grow_there, (tmp_path / "there",), tmp_path / "there")).result() == 2
    killed = next(process for process in cluster.workers if process.poll() is not None)
    cluster.workers[cluster.workers.index(killed)] = cluster.worker(2)


def grow_there(folder: Path) -> int:
    return grow(folder, 2)


def full(folder: Path) -> str:
    """A disk that is full on one worker only."""
    from distributed import get_worker

    here = str(get_worker().address)
    if not (folder / "full.txt").is_file():
        (folder / "full.txt").write_text(here)
    if (folder / "full.txt").read_text() == here:
        raise OSError(28, "No space left on device")
    return here


def test_a_worker_whose_disk_is_full_is_left_out(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_for(lambda: len(workers_of(cluster)) >= 2)
    with executor(Where(cluster=cluster.address), AGAIN) as pool:
        done_by = pool.submit(Work("full", full, (tmp_path,), tmp_path)).result()
    left_out = (tmp_path / "full.txt").read_text()
    assert done_by != left_out
    assert f"{left_out} is left out, since its disk is full" in capsys.readouterr().err


def workers_of(cluster: Cluster) -> list[str]:
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        return list(client.scheduler_info(n_workers=-1)["workers"])


def test_a_lost_scheduler_leaves_what_resume_ends_and_tls_works(recipe: Path, alone: bytes, tmp_path: Path) -> None:
    lost = Cluster(tmp_path, certificates(tmp_path))
    there = Where(cluster=lost.address, tls=tmp_path)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("[1/"):
            kill(lost.scheduler)

    out = tmp_path / "out"
    try:
        with pytest.raises(RunError, match=r"the scheduler .* is lost; give the same command again with --resume"):
            run(load(recipe), out, quick=False, resume=False, say=say, where=there)
    finally:
        lost.stop()
    before = [line.split(": ")[0].split("] ")[1] for line in said if line.startswith("[")]
    assert main(["experiment", str(recipe), "--workers", "1", "--resume", "--out", str(out)]) == 0
    assert (out / "report.csv").read_bytes() == alone
    assert before


def test_what_is_wrong_with_a_cluster_is_said(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--cluster", "10.0.0.1:8786"], "--cluster takes the address of a Dask scheduler, such as tcp://host:8786"),
        (["--cluster", "tls://10.0.0.1:8786"], "a tls:// scheduler needs --cluster-tls FOLDER"),
        (["--ship"], "--ship goes with --cluster; leave it out"),
        (["--cluster", cluster.address, "--workers", "2"], "--cluster has workers of its own; give one of them"),
        (["--workers", "0"], "--workers must be a whole number from 1 to 1,024, given '0'"),
    ):
        assert main(["experiment", "whole_session", *words]) == 2
        assert said in capsys.readouterr().err


def test_workers_with_other_code_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from lerl.run import remote

    monkeypatch.setattr(remote, "code_digest", lambda: "other")
    with (
        pytest.raises(RunError, match="would compute something else: lerl is other code there; install the same"),
        executor(Where(cluster=cluster.address), AGAIN),
    ):
        pass


def test_files_reach_a_worker_once_and_what_it_writes_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "work"
    for path, text in ((data / "a.txt", "one"), (data / "deep" / "b.txt", "two"), (folder / "c.txt", "three")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with executor(Where(cluster=cluster.address, ship=True), AGAIN) as pool:
        work = Work("read", read_and_write, (data, folder), folder, (data,))
        assert [pool.submit(work).result() for _ in range(3)] == ["one two three"] * 3
    assert (folder / "new" / "d.txt").read_text() == "one two three"
    assert not (folder / "checkpoints").exists()


def read_all(data: Path) -> list[str]:
    return [path.read_text() for path in sorted(data.rglob("*.txt"))]


def test_a_file_is_sent_to_a_machine_once(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lerl.run import cluster as clusters

    sent: list[str] = []
    ask = clusters._Cluster._ask

    def counted(self: Any, worker: str, function: Any, *given: Any) -> Any:
        sent.extend([given[0]] if function.__name__ == "put" else [])
        return ask(self, worker, function, *given)

    monkeypatch.setattr(clusters._Cluster, "_ask", counted)
    for name in "abc":
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.txt").write_text(f"{name} of {tmp_path}")
    work = Work("read", read_all, (tmp_path / "data",), reads=(tmp_path / "data",))
    for _ in range(2):  # two commands, each of which gives it three times, one after another
        with executor(Where(cluster=cluster.address, ship=True), AGAIN) as pool:
            for _ in range(3):
                assert pool.submit(work).result() == [f"{name} of {tmp_path}" for name in "abc"]
    assert len(sent) == 3


def read_and_write(data: Path, folder: Path) -> str:
    read = " ".join(path.read_text() for path in (data / "a.txt", data / "deep" / "b.txt", folder / "c.txt"))
    for name in ("new/d.txt", "checkpoints/e.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(read)
    return read


def test_a_folder_that_workers_do_not_share_is_said(cluster: Cluster, recipe: Path, tmp_path: Path) -> None:
    """As if workers saw another disk: what they wrote is not there."""
    from lerl.experiment import schedule

    forget = schedule.trial_ended

    def elsewhere(trial: object, users: str, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        return forget(trial, users, folder)  # type: ignore[arg-type,return-value]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schedule, "trial_ended", elsewhere)
        with pytest.raises(RunError, match="the workers see another folder under that path"):
            run(
                load(recipe), tmp_path / "o", quick=False, resume=False, say=print, where=Where(cluster=cluster.address)
            )
