"""A server that speaks OpenAI's chat completions, behind it the scripted expert."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lerl.planners.llm.scripted import expert


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # a client that went away


class ChatServer:
    """Answers on a free port of this machine until it is closed.

    Args:
        answer: from the messages to the text of the reply.
        fault: called with the handler and the number of the request before an answer; true when it dealt with the
            request itself.

    Attributes:
        requests: bodies, in the order of their arrival. headers: of each, by their names in small letters.
    """

    def __init__(
        self,
        answer: Callable[[list[dict[str, str]]], str] = expert,
        fault: Callable[[Any, int], bool] | None = None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer goes out in one piece
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with lock:
                    outer._open.add(self.connection)

            def finish(self) -> None:
                with suppress(OSError):
                    super().finish()
                with lock:
                    outer._open.discard(self.connection)

            def do_POST(self) -> None:
                self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append(self.body)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    number = len(outer.requests)
                try:
                    if fault is not None and fault(self, number):
                        return
                    self.reply(answer(self.body["messages"]))
                except OSError:  # nobody listens any more
                    self.close_connection = True

            def reply(self, text: str, finish: str = "stop") -> None:
                """A completion whose text is this."""
                words = sum(len(message["content"].split()) for message in self.body["messages"])
                self.send(200, json.dumps(completion(text, words, finish)).encode())

            def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                usual = {"Content-Type": "application/json", "Content-Length": str(len(body))}
                for name, value in (usual | (headers or {})).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._open: set[socket.socket] = set()
        self._lock, self._handler, self._address = lock, Handler, ("127.0.0.1", 0)
        self.listen()

    def listen(self) -> None:
        """Take requests, again at the same port where it was closed before."""
        self._server = _Server(self._address, self._handler)
        self._address = self._server.server_address[:2]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What planner.base_url must be."""
        return f"http://127.0.0.1:{self._address[1]}/v1"

    def close(self) -> None:
        """Refuse connections, and break off those that are open."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "ChatServer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def completion(text: str, prompt_tokens: int, finish: str = "stop") -> dict[str, Any]:
    """The body of an answer; words stand for tokens."""
    count = len(text.split())
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": count, "total_tokens": prompt_tokens + count}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
