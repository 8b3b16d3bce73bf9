"""A load test of `lerl serve`: many open sessions, requests at a steady rate, and what people waited.

Run it beside a server:  python tests/lerl/serve/load.py http://127.0.0.1:8080 --sessions 1000 --rate 200 --seconds 30
The token is read from LERL_SERVE_TOKEN. A request is due at its time whether or not the ones before were answered, so
that waiting in line counts (no coordinated omission).
"""

import argparse
import asyncio
import os
import random
import time
from collections import Counter

import httpx
import numpy as np


async def session(client: httpx.AsyncClient, number: int) -> str:
    """A new session of somebody with a short history."""
    history = [(str(random.Random(f"{number}-{n}").randrange(500)), n % 2 == 0) for n in range(5)]
    answer = await client.post("/sessions", json={"history": history})
    answer.raise_for_status()
    return str(answer.json()["session"])


async def load(url: str, sessions: int, rate: float, seconds: float) -> dict[str, float]:
    """What requests took in milliseconds, and how many failed."""
    token = os.environ.get("LERL_SERVE_TOKEN", "")
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=10, headers={"Authorization": f"Bearer {token}"}
    ) as client:
        keys = [await session(client, number) for number in range(sessions)]
        shown: dict[str, list[str]] = {}
        took: list[float] = []
        statuses: Counter[int] = Counter()
        begun = time.perf_counter()

        async def request(number: int) -> None:
            due = begun + number / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            key = keys[number % sessions]
            if number // sessions % 2 == 0:
                answer = await client.post(f"/sessions/{key}/recommend")
                if answer.status_code == 200:
                    shown[key] = answer.json()["ids"]
            else:
                ids = shown.pop(key, None)
                if ids is None:  # its slate is still on its way
                    return
                clicks = [random.Random(f"{number}-{n}").randrange(2) for n in range(len(ids))]
                answer = await client.post(f"/sessions/{key}/feedback", json={"ids": ids, "clicks": clicks})
            took.append(time.perf_counter() - due)
            statuses[answer.status_code] += 1

        await asyncio.gather(*(request(number) for number in range(int(rate * seconds))))
    found = np.array(took) * 1e3
    good = statuses[200] + statuses[204]
    return {
        "requests": len(found), "failed": len(found) - good, "rate": len(found) / (time.perf_counter() - begun),
        **{f"p{part}": float(np.percentile(found, part)) for part in (50, 95, 99)}, "most": float(found.max()),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    for name, value in asyncio.run(load(given.url, given.sessions, given.rate, given.seconds)).items():
        print(f"{name:<9}{value:10.1f}" + (" ms" if name[0] == "p" or name == "most" else ""))
