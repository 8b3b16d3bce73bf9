"""An experiment and a search on a cluster that is mistreated, again and again: nothing is lost, and the table stays.

Not part of the tests, since it needs to be root on Linux, with `ip` and `nft`:

    sudo python tests/lerl/run/cluster_rounds.py --rounds 20

A scheduler and four workers are in network namespaces of their own, so that each has an address. One worker does not
see the folder that the others share, one has a disk that is soon full, and of all packets one in a hundred is lost.
Rounds take turns: an experiment, the published one in its quick form, a search. Workers are killed at random all the
time, and once a round the scheduler. The command is given again with --resume until it ends; its table must be that of
one process, byte for byte, and no trial may be done twice.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

BRIDGE, NET = "lerl0", "10.77.0."
SCHEDULER = f"tcp://{NET}10:8786"
WORKERS = range(1, 5)
HIDDEN, FULL = 4, 3  # the worker without the shared folder, and the one without a disk
DONE = re.compile(r"^\[\d+/\d+\] (.+?): T_int", re.MULTILINE)
RECIPE = """
agents: [flat+ppo]
data: {path: DATA}
env: {slate_size: 3, max_steps: 20}
train: {steps: 2048, users: 32, rollout: 16, evaluations: 2, validation: 16}
planner: {sessions: 40}
evaluation: {users: 20, replicates: 1, bootstrap: 200}
experiment:
  seeds: 2
  agents: {random: {kind: floor}, popularity: {kind: floor}, flat+ppo: {}, boredom+ppo: {}, privileged: {kind: ceiling}}
  conditions: {plain: {}, longer: {env.max_steps: 30}}
"""


SEARCH = """
tune:
  agent: flat+ppo
  trials: 16
  batch: 4
  users: 30
  space: {train.learning_rate: {low: 0.0001, high: 0.01, log: true}}
"""
COMMANDS = {
    "experiment": ("experiment", "mini.yaml"),
    "published": ("experiment", "whole_session", "--quick"),
    "search": ("tune", "search.yaml"),
}


def sh(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


def build() -> None:
    """The bridge, and a namespace for each process of the cluster."""
    tear_down()
    sh("ip", "link", "add", BRIDGE, "type", "bridge")
    sh("ip", "addr", "add", f"{NET}1/24", "dev", BRIDGE)
    sh("ip", "link", "set", BRIDGE, "up")
    for number in (10, *(10 + worker for worker in WORKERS)):
        name = f"lerl{number}"
        sh("ip", "netns", "add", name)
        sh("ip", "link", "add", f"o{number}", "type", "veth", "peer", "name", f"i{number}")
        sh("ip", "link", "set", f"o{number}", "master", BRIDGE, "up")
        sh("ip", "link", "set", f"i{number}", "netns", name)
        inside = ("ip", "netns", "exec", name)
        sh(*inside, "ip", "addr", "add", f"{NET}{number}/24", "dev", f"i{number}")
        sh(*inside, "ip", "link", "set", f"i{number}", "up")
        sh(*inside, "ip", "link", "set", "lo", "up")
        lossy = "add table inet loss; add chain inet loss in { type filter hook input priority 0; }; "
        sh(*inside, "nft", f"{lossy}add rule inet loss in iif i{number} numgen random mod 100 < 1 counter drop")


def tear_down() -> None:
    for number in (10, *(10 + worker for worker in WORKERS)):
        sh("ip", "netns", "del", f"lerl{number}", check=False)
        sh("ip", "link", "del", f"o{number}", check=False)
    sh("ip", "link", "del", BRIDGE, check=False)


class Cluster:
    """Keeps a scheduler and four workers alive, and kills them."""

    def __init__(self, folder: Path, shared: Path, draw: random.Random) -> None:
        self.folder, self.shared, self.draw = folder, shared, draw
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.killed = {"worker": 0, "scheduler": 0}
        self.ended = threading.Event()

    def start(self) -> None:
        self.scheduler = self._run(10, "scheduler", "--port", "8786", "--no-dashboard")
        for worker in WORKERS:
            self._worker(worker)
        threading.Thread(target=self._kill_workers, daemon=True).start()
        threading.Thread(target=self._revive, daemon=True).start()

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self._kill(self.scheduler)
        self.killed["scheduler"] += 1

    def stop(self) -> None:
        self.ended.set()
        for process in (self.scheduler, *self.workers.values()):
            if process is not None:
                self._kill(process)

    def _worker(self, worker: int) -> None:
        disk = self.folder / f"disk{worker}"
        disk.mkdir(exist_ok=True)
        prepare = ""
        if worker == FULL:
            prepare = f"mount -t tmpfs -o size=200k tmpfs {disk} && "
        if worker == HIDDEN:
            prepare = f"mount -t tmpfs tmpfs {self.shared} && "
        dask = f"{sys.executable} -m dask worker {SCHEDULER} --nthreads 1 --no-dashboard --local-directory {disk}"
        self.workers[worker] = self._run(10 + worker, "unshare", "-m", "sh", "-c", f"{prepare}exec {dask}")

    def _run(self, number: int, *words: str) -> subprocess.Popen[bytes]:
        if words[0] == "scheduler":
            words = (sys.executable, "-m", "dask", *words)
        log = (self.folder / f"log{number}.txt").open("ab")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
        command = ["ip", "netns", "exec", f"lerl{number}", *words]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd="/", env=environment, start_new_session=True)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _kill_workers(self) -> None:
        while not self.ended.wait(self.draw.uniform(4, 12)):
            self._kill(self.workers[self.draw.choice(list(WORKERS))])
            self.killed["worker"] += 1

    def _revive(self) -> None:
        while not self.ended.wait(1.0):
            if self.scheduler is not None and self.scheduler.poll() is not None:
                self.scheduler = self._run(10, "scheduler", "--port", "8786", "--no-dashboard")
            for worker, process in list(self.workers.items()):
                if process.poll() is not None:
                    self._worker(worker)


def lerl(*words: str, folder: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "lerl", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def one_round(number: int, folder: Path, shared: Path, expected: dict[str, bytes], draw: random.Random) -> str:
    """One command; what happened. Raises AssertionError where something was lost."""
    here = folder / f"round{number}"
    here.mkdir()
    cluster = Cluster(here, shared, draw)
    cluster.start()
    timer = threading.Timer(draw.uniform(8, 30), cluster.kill_scheduler)
    timer.start()
    begun, tries, done = time.monotonic(), 0, list[str]()
    where = ("--cluster", SCHEDULER, "--ship")
    name = list(COMMANDS)[number % len(COMMANDS)]
    words, code, said, out = COMMANDS[name], 1, "", shared / f"{name}{number}"
    try:
        while code != 0:
            tries += 1
            assert tries < 30, said
            again = ("--resume",) if words[0] == "experiment" and out.exists() else ()
            code, said = lerl(*words, *where, "--out", str(out), *again, folder=folder)
            (here / f"try{tries}.txt").write_text(said)
            done += DONE.findall(said)
        found = {f"{name}/{path.name}": path.read_bytes() for path in tables(out)}
        wrong = [path for path, content in found.items() if expected[path] != content]
        assert found, f"round {number}: no table"
        assert not wrong, f"round {number}: {wrong} differ, see {here}"
        shutil.rmtree(out)
    finally:
        timer.cancel()
        cluster.stop()
    twice = sorted({name for name in done if done.count(name) > 1})
    assert not twice, f"round {number}: done twice: {twice}"
    seconds = time.monotonic() - begun
    return f"round {number}: {name}, {tries} commands, {cluster.killed}, {len(done)} trials, {seconds:.0f} s"


def tables(out: Path) -> list[Path]:
    return [path for path in (out / "report.csv", out / "best.yaml") if path.is_file()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--data", type=Path, required=True, help="a small prepared folder")
    parser.add_argument("--folder", type=Path, required=True, help="where to work; it is emptied first")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    shared = folder / "shared"
    shared.mkdir(parents=True)
    recipe = RECIPE.replace("DATA", str(given.data.absolute()))
    (folder / "mini.yaml").write_text(recipe)
    (folder / "search.yaml").write_text(recipe.partition("experiment:")[0] + SEARCH)
    expected: dict[str, bytes] = {}
    for name, words in COMMANDS.items():
        out = folder / f"alone-{name}"
        code, said = lerl(*words, "--workers", "1", "--out", str(out), folder=folder)
        assert code == 0, said
        expected |= {f"{name}/{path.name}": path.read_bytes() for path in tables(out)}
    print("one process:", *(f"{name} {len(content)} bytes" for name, content in expected.items()), flush=True)
    build()
    draw = random.Random(given.seed)
    try:
        for number in range(given.rounds):
            print(one_round(number, folder, shared, expected, draw), flush=True)
    finally:
        tear_down()
    print(f"{given.rounds} rounds: nothing lost, nothing done twice, the same tables")


if __name__ == "__main__":
    main()
