"""A real HTTP server on this machine that answers as vLLM does, or as badly as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = Mapping[str, Any]


@dataclass
class Answer:
    """What the server sends: a status, a body and headers."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    """Content-Length, if it is not the body's."""


def refused(status: int, message: str, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message, "code": status}}).encode()
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def chat(*texts: str, finish: str = "stop", tokens: int | None = None) -> Answer:
    """A chat completion with these choices, the last one first, as the order is not promised."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": finish}
        for i, t in enumerate(texts)
    ]
    used = sum(map(len, texts)) if tokens is None else tokens
    usage = {"prompt_tokens": 7, "completion_tokens": used, "total_tokens": 7 + used}
    return Answer(json.dumps({"choices": choices[::-1], "usage": usage}).encode())


def as_vllm(body: Body) -> Answer:
    """`n` completions that depend on the seed and their number, as vLLM draws them."""
    count = body.get("n", 1)
    if body["temperature"] == 0:
        assert count == 1, "vLLM refuses n > 1 where it is greedy"
        return chat("greedy")
    return chat(*(f"{body.get('seed', 0) + i}" for i in range(count)))


@dataclass
class Stub:
    """The server and what it saw.

    Attributes:
        answer: what to answer to a question; replaced by tests.
        bodies: of the questions so far.
        headers: of all requests.
        peak: most questions at a time.
    """

    url: str = ""
    answer: Callable[[Body], Answer] = as_vllm
    models: Answer | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    peak: int = 0
    slow: float = 0.0
    _now: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def reset(self) -> Stub:
        self.answer, self.models, self.slow, self.peak = as_vllm, None, 0.0, 0
        self.bodies, self.headers = [], []
        return self

    def question(self, body: dict[str, Any]) -> Answer:
        with self._lock:
            self.bodies.append(body)
            self._now += 1
            self.peak = max(self.peak, self._now)
        try:
            time.sleep(self.slow)
            return self.answer(body)
        finally:
            with self._lock:
                self._now -= 1


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # a client that was killed
                super().handle()

        def do_GET(self) -> None:
            stub.headers.append({k.lower(): v for k, v in self.headers.items()})
            models = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
            self._send(stub.models or Answer(json.dumps(models).encode()))

        def do_POST(self) -> None:
            stub.headers.append({k.lower(): v for k, v in self.headers.items()})
            length = int(self.headers["content-length"])
            self._send(stub.question(json.loads(self.rfile.read(length))))

        def _send(self, answer: Answer) -> None:
            size = len(answer.body) if answer.declared is None else answer.declared
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(answer.body)
                self.wfile.flush()
            if size != len(answer.body):
                self.close_connection = True

    return Handler


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # 5 drop connections where many come at once on a busy machine
    daemon_threads = True


@contextmanager
def serving() -> Iterator[Stub]:
    stub = Stub()
    server = _Server(("127.0.0.1", 0), _handler(stub))
    stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
