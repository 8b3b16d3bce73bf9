"""A load test of `lerl serve`: many open sessions, requests at a steady rate, and how long they took.

Run it beside a server:  python tests/lerl/serve/load.py --port 8080 --sessions 1000 --rate 200 --seconds 30
The token is read from LERL_SERVE_TOKEN. A request is due at its time whether or not the ones before were answered, so
that waiting in line counts (no coordinated omission). It speaks HTTP by itself: a library's client would take the
core that the server needs.
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter
from typing import Any

import numpy as np

CONNECTIONS = 32


class Connection:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self.port = port
        token = os.environ.get("LERL_SERVE_TOKEN", "")
        self.headers = "Host: localhost\r\nContent-Type: application/json\r\n"
        self.headers += f"Authorization: Bearer {token}\r\n" if token else ""

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and content of an answer."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\n{self.headers}Content-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        sizes = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
        answer = await self.reader.readexactly(sizes[0]) if sizes else b""
        return int(lines[0].split()[1]), json.loads(answer) if answer else None


async def load(port: int, sessions: int, rate: float, seconds: float) -> dict[str, float]:
    """What requests took in milliseconds, and how many failed: each session is asked for slates and answers in turn."""
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(connection.open() for connection in connections))
    draw, keys = random.Random(0), []
    for _ in range(sessions):
        history = [(str(draw.randrange(500)), draw.random() < 0.5) for _ in range(5)]
        keys.append((await connections[0].post("/sessions", {"history": history}))[1]["session"])
    shown: dict[str, list[str]] = {}
    took: list[float] = []
    statuses: Counter[int] = Counter()
    waiting: asyncio.Queue[tuple[int, float] | None] = asyncio.Queue()
    begun = time.perf_counter()

    async def due() -> None:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(begun + number / rate - time.perf_counter(), 0))
            waiting.put_nowait((number, begun + number / rate))
        for _ in connections:
            waiting.put_nowait(None)

    async def work(connection: Connection) -> None:
        while (found := await waiting.get()) is not None:
            number, at = found
            key = keys[number % sessions]
            if key in shown:
                ids = shown.pop(key)
                body = {"ids": ids, "clicks": [draw.randrange(2) for _ in ids]}
                status, _ = await connection.post(f"/sessions/{key}/feedback", body)
            else:
                status, answer = await connection.post(f"/sessions/{key}/recommend", {})
                if status == 200:
                    shown[key] = answer["ids"]
            took.append(time.perf_counter() - at)
            statuses[status] += 1

    await asyncio.gather(due(), *(work(connection) for connection in connections))
    found = np.array(took) * 1e3
    return {
        "requests": len(found), "failed": len(found) - statuses[200] - statuses[204],
        "rate": len(found) / (time.perf_counter() - begun),
        **{f"p{part}": float(np.percentile(found, part)) for part in (50, 95, 99)}, "most": float(found.max()),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    for name, value in asyncio.run(load(given.port, given.sessions, given.rate, given.seconds)).items():
        print(f"{name:<9}{value:10.1f}" + (" ms" if name[0] == "p" or name == "most" else ""))
