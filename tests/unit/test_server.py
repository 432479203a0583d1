"""A model behind a server: what is asked, what is made of the replies, good ones and bad ones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from server_stub import Answer, Body, Stub, as_vllm, chat, refused, serving

from mmupt.asking.answerer import Draw, SamplingParams, greedy
from mmupt.asking.prompt import Prompt
from mmupt.config_server import ServerConfig
from mmupt.errors import ConfigError, InputError, ServerError
from mmupt.server.address import base_url
from mmupt.server.answerer import GIVE_UP_AFTER, ServerAnswerer
from mmupt.server.cache import Replies
from mmupt.server.replies import BrokenReplyError, packed, read_reply, unpacked
from mmupt.types import Completion, Finish

PATIENCE = 300
"""Seconds until a test that hangs fails, on however busy a machine."""

PARAMS = SamplingParams(temperature=1.0, max_completion_length=16)


@pytest.fixture(scope="module")
def running() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


@pytest.fixture
def stub(running: Stub) -> Stub:
    return running.reset()


def draw(prompts: int, count: int, params: SamplingParams = PARAMS, first: int = 100) -> Draw:
    """Seeds whose upper 31 bits are first * 1000, and so on for each completion."""
    numbers = (first + np.arange(prompts * count)) * 1000
    return Draw(params, numbers.astype(np.uint64) << np.uint64(33), count)


def ask(
    stub: Stub, prompts: Sequence[Prompt], *draws: Draw, replies: Replies | None = None,
    **settings: Any,
) -> tuple[list[list[list[Completion | None]]], ServerAnswerer]:  # fmt: skip
    config = ServerConfig(**{"max_retries": 1, **settings})
    with ServerAnswerer(stub.url, "tiny", config, replies=replies) as answerer:
        return answerer.complete(prompts, draws), answerer


def texts(results: list[list[list[Completion | None]]]) -> list[list[list[str | None]]]:
    return [[[c and c.text for c in group] for group in draw] for draw in results]


def words(count: int) -> list[Prompt]:
    return [Prompt(f"question {i}", (), f"data.jsonl:{i + 1}") for i in range(count)]


def question(body: Body) -> str:
    return str(body["messages"][0]["content"][-1]["text"])


def test_results_stand_in_their_places_whatever_comes_first(stub: Stub) -> None:
    def answer(body: Body) -> Answer:
        # the first questions are answered last
        threading.Event().wait(0.02 * (3 - int(question(body)[-1])))
        return as_vllm(body)

    stub.answer = answer
    results, answerer = ask(stub, words(3), draw(3, 2), greedy(3, PARAMS))
    # vLLM's completion i of a request with seed s draws with s + i.
    assert texts(results) == [
        [["100000", "100001"], ["102000", "102001"], ["104000", "104001"]],
        [["greedy"]] * 3,
    ]
    assert answerer.tally.replies == 9
    assert answerer.tally.requests == len(stub.bodies) == 6
    assert not answerer.failures


def test_a_request_says_what_was_meant(stub: Stub) -> None:
    params = SamplingParams(0.7, 0.9, 20, 32, 0.05, ("</answer>",))
    ask(stub, words(1), draw(1, 3, params), extra_body={"chat_template_kwargs": {"think": False}})
    (body,) = stub.bodies
    assert body.pop("messages") == [
        {"role": "user", "content": [{"type": "text", "text": "question 0"}]}
    ]
    assert body == {
        "model": "tiny", "n": 3, "seed": 100_000, "temperature": 0.7, "top_p": 0.9, "top_k": 20,
        "min_p": 0.05, "max_tokens": 32, "stop": ["</answer>"],
        "chat_template_kwargs": {"think": False},
    }  # fmt: skip


def test_fields_that_openai_does_not_know_are_left_out_where_they_do_nothing(stub: Stub) -> None:
    ask(stub, words(1), draw(1, 1), greedy(1, SamplingParams(1.0, 0.5, 7, 16, 0.1)),
        length_parameter="max_completion_tokens", send_seed=False)  # fmt: skip
    for body in stub.bodies:
        del body["messages"], body["model"]
    sampled, likeliest = sorted(stub.bodies, key=lambda body: -body["temperature"])
    assert sampled == {"temperature": 1.0, "max_completion_tokens": 16}
    assert likeliest == {"temperature": 0.0, "max_completion_tokens": 16}


def test_pictures_arrive_pixel_by_pixel_in_the_places_of_their_marks(stub: Stub) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images = tuple(Image.fromarray(one) for one in pixels)
    ask(stub, [Prompt("First <image> then <image> what?", images)], greedy(1, PARAMS))
    content = stub.bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"] * 2 + ["text"]
    assert [part["text"] for part in content[::2]] == ["First", "then", "what?"]
    for part, expected in zip(content[1::2], pixels, strict=True):
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        decoded = Image.open(io.BytesIO(base64.b64decode(data)))
        assert np.array_equal(np.asarray(decoded), expected)


def test_a_prompt_with_too_few_pictures_is_not_asked(stub: Stub) -> None:
    with pytest.raises(InputError, match=r"x:3: 1 <image> marks and 0 images"):
        ask(stub, [Prompt("see <image>", (), "x:3")], greedy(1, PARAMS))
    assert not stub.bodies


def test_many_samples_are_spread_over_requests(stub: Stub) -> None:
    results, _ = ask(stub, words(1), draw(1, 5), samples_per_request=2)
    assert Counter(body.get("n", 1) for body in stub.bodies) == {2: 2, 1: 1}
    assert texts(results) == [[["100000", "100001", "102000", "102001", "104000"]]]


def test_greedy_copies_are_asked_for_once(stub: Stub) -> None:
    params = SamplingParams(0.0, max_completion_length=16)
    results, answerer = ask(stub, words(1), draw(1, 4, params))
    assert texts(results) == [[["greedy"] * 4]]
    assert len(stub.bodies) == 1
    assert "seed" not in stub.bodies[0]
    assert answerer.tally.completion_tokens == len("greedy")


@pytest.mark.parametrize("ignores", [False, True])
def test_a_server_that_knows_no_n_is_asked_singly(stub: Stub, ignores: bool) -> None:
    def answer(body: Body) -> Answer:
        if body.get("n", 1) > 1 and not ignores:
            return refused(400, "n must be 1")
        return chat(str(body["seed"]))

    stub.answer = answer
    results, answerer = ask(stub, words(4), draw(4, 3), concurrency=1)
    assert texts(results) == [[[str((100 + 3 * p + i) * 1000) for i in range(3)] for p in range(4)]]
    assert sum(body.get("n", 1) > 1 for body in stub.bodies) == 1  # once was enough to learn
    assert len(stub.bodies) == 12 + (not ignores)
    assert not answerer.failures


def test_another_prompt_s_failure_is_no_verdict_on_single_requests(stub: Stub) -> None:
    """Prompt 0 is asked singly while prompt 1 fails for good, as the request of prompt 2 shows."""
    others_failed = threading.Event()

    def answer(body: Body) -> Answer:
        match question(body), body.get("n", 1):
            case "question 0", 1:
                assert others_failed.wait(PATIENCE)
                return chat(str(body["seed"]))
            case "question 2", _:
                others_failed.set()
                return as_vllm(body)
        return refused(400, "not so")

    stub.answer = answer
    results, answerer = ask(stub, words(3), draw(3, 2), concurrency=2)
    assert texts(results)[0][:2] == [["100000", "101000"], [None, None]]
    assert {one.origin for one in answerer.failures} == {"data.jsonl:2"}


def test_truncation_and_token_counts(stub: Stub) -> None:
    stub.answer = lambda body: chat("cut", finish="length", tokens=16)
    (((cut,),),), _ = ask(stub, words(1), draw(1, 1))
    assert cut is not None
    assert (cut.finish, cut.length, cut.token_ids) == (Finish.LENGTH, 16, ())
    stub.answer = lambda body: chat("a", "b", tokens=6)
    (((one, two),),), answerer = ask(stub, words(1), draw(1, 2))
    assert one is not None
    assert two is not None
    assert one.length is two.length is None  # only their sum is known
    assert answerer.tally.completion_tokens == 6


def test_log_probabilities_where_they_are_asked_for(stub: Stub) -> None:
    entries = [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -1}]
    body = {
        "choices": [
            {"index": 0, "message": {"content": "ab"}, "finish_reason": "stop",
             "logprobs": {"content": entries}}
        ]
    }  # fmt: skip
    stub.answer = lambda _: Answer(json.dumps(body).encode())
    (((one,),),), answerer = ask(stub, words(1), draw(1, 1), logprobs=True)
    assert stub.bodies[0]["logprobs"] is True
    assert one is not None
    assert (one.logprobs, one.length) == ((-0.5, -1.0), 2)
    assert answerer.tally.uncounted == 1  # no usage


def test_concurrency_is_bounded_and_used(stub: Stub) -> None:
    stub.slow = 0.05
    ask(stub, words(12), draw(12, 1), concurrency=3)
    assert stub.peak == 3
    assert len(stub.bodies) == 12


def test_requests_per_minute_hold_for_repeated_ones_too(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[float, float]] = []
    taken: list[int] = []

    class Limiter:
        def __init__(self, most: float, seconds: float) -> None:
            limits.append((most, seconds))

        async def acquire(self) -> None:
            taken.append(len(stub.bodies))

    def answer(body: Body) -> Answer:
        busy = len(stub.bodies) == 2
        return refused(500, "busy", retry_after="0.001") if busy else as_vllm(body)

    monkeypatch.setattr("aiolimiter.AsyncLimiter", Limiter)
    stub.answer = answer
    ask(stub, words(3), draw(3, 1), requests_per_minute=30, concurrency=1)
    assert limits == [(1, 2.0)]  # one in two seconds: never a minute's worth at once
    assert taken == [0, 1, 2, 3]  # before each of four, of which one was repeated


def test_busy_servers_are_asked_again_after_the_pause_they_ask_for(stub: Stub) -> None:
    states = iter([429, 503, 200])

    def answer(body: Body) -> Answer:
        status = next(states)
        return as_vllm(body) if status == 200 else refused(status, "later", retry_after="0.001")

    stub.answer = answer
    results, answerer = ask(stub, words(1), draw(1, 1), max_retries=2)
    assert texts(results) == [[["100000"]]]
    assert answerer.tally.requests == len(stub.bodies) == 3


BROKEN = {
    "no JSON": Answer(b'{"choices": [{"mess'),
    "no choices (it begins": Answer(b'{"choices": []}'),
    "no JSON ": Answer(b"[" * 100_000),
    "no message": Answer(b'{"choices": ["hello"]}'),
    "not text": Answer(
        b'{"choices": [{"message": {"content": 7}, "finish_reason": "stop", "index": 0}]}'
    ),
    "2 choices, 1 were asked for": chat("a", "b"),
    "9000 characters for 16 tokens": chat("x" * 9000),
    "finish_reason content_filter": chat("no", finish="content_filter"),
    "finish_reason None": Answer(b'{"choices": [{"message": {"content": "x"}}]}'),
    "connection failed": Answer(b"{}", declared=10),
    "more than": Answer(b'{"choices": "' + b"x" * (2 << 20) + b'"}'),
    "a packed reply": Answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    "HTTP 307": Answer(b"", 307, {"Location": "http://127.0.0.1:9/v1/chat/completions"}),
    "HTTP 400, too long": refused(400, "too long"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_bad_reply_is_missing_and_reported_never_wrong(stub: Stub, reason: str) -> None:
    def answer(body: Body) -> Answer:
        return BROKEN[reason] if question(body) == "question 1" else chat("fine")

    stub.answer = answer
    results, answerer = ask(stub, words(3), draw(3, 1), max_retries=0)
    assert texts(results) == [[["fine"], [None], ["fine"]]]
    (failure,) = answerer.failures
    assert failure.origin == "data.jsonl:2"
    assert reason.strip() in failure.reason
    assert failure.replies == answerer.tally.failed == 1
    assert answerer.tally.replies == 2
    with pytest.raises(ServerError, match=r"1 of 3 replies did not come.*max_failed=0\.334"):
        answerer.check_failures()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "finish_reason", "index", "logprobs",
                         "logprob", "usage", "completion_tokens"]) | st.text(max_size=4),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.binary(max_size=64) | JSON.map(lambda tree: json.dumps({"choices": [tree]}).encode())
       | JSON.map(lambda tree: json.dumps(tree).encode()))  # fmt: skip
def test_no_reply_breaks_the_reader(body: bytes) -> None:
    try:
        answered = read_reply(body, 2, 16)
    except BrokenReplyError as error:
        reason = str(error)
    else:
        reason = ""
        assert 1 <= len(answered.completions) <= 2
        assert unpacked(packed(answered)).completions == answered.completions
        for one in answered.completions:
            assert one is None or one.text.encode("utf-8").decode("utf-8") == one.text
    assert reason.isprintable()


@given(st.text(), st.booleans(), st.lists(st.floats(-99, 0), min_size=1, max_size=5))
def test_a_good_reply_is_read_whole(text: str, cut: bool, logprobs: list[float]) -> None:
    choice = {
        "index": 0, "message": {"content": text}, "finish_reason": "length" if cut else "stop",
        "logprobs": {"content": [{"token": "x", "logprob": one} for one in logprobs]},
    }  # fmt: skip
    (one,) = read_reply(json.dumps({"choices": [choice]}).encode(), 1, 16).completions
    assert one is not None
    assert one.text == text
    assert one.finish is (Finish.LENGTH if cut else Finish.STOP)
    assert (list(one.logprobs), one.length) == (logprobs, len(logprobs))


def test_a_number_that_no_float_holds_is_no_log_probability() -> None:
    choice = {
        "message": {"content": "x"}, "finish_reason": "stop",
        "logprobs": {"content": [{"logprob": -(10**400)}]},
    }  # fmt: skip
    with pytest.raises(BrokenReplyError, match="are no numbers"):
        read_reply(json.dumps({"choices": [choice]}).encode(), 1, 16)


def test_it_works_inside_a_running_loop(stub: Stub) -> None:
    async def notebook() -> Any:
        return texts(ask(stub, words(1), greedy(1, PARAMS))[0])

    assert asyncio.run(notebook()) == [[["greedy"]]]


def test_a_broken_reply_is_asked_for_again(stub: Stub) -> None:
    replies = iter([Answer(b"oops"), chat("fine")])
    stub.answer = lambda _: next(replies)
    results, _ = ask(stub, words(1), draw(1, 1))
    assert texts(results) == [[["fine"]]]


def test_a_server_that_hangs_is_given_up(stub: Stub) -> None:
    release = threading.Event()

    def answer(body: Body) -> Answer:
        release.wait(PATIENCE)
        return as_vllm(body)

    stub.answer = answer
    results, answerer = ask(stub, words(1), draw(1, 1), timeout=0.2, max_retries=0)
    release.set()
    assert texts(results) == [[[None]]]
    assert "no reply within 0.2 seconds" in answerer.failures[0].reason


def test_a_server_that_is_gone_ends_it_instead_of_failing_a_million_times(stub: Stub) -> None:
    stub.answer = lambda _: refused(500, "out of memory\x1b[31m")
    with pytest.raises(ServerError, match="does not answer any more") as caught:
        ask(stub, words(100), draw(100, 1), max_retries=0, concurrency=1)
    assert len(stub.bodies) == GIVE_UP_AFTER
    assert "\x1b" not in str(caught.value)


def test_refused_prompts_do_not_end_it_once_one_has_worked(stub: Stub) -> None:
    def answer(body: Body) -> Answer:
        return as_vllm(body) if question(body) == "question 0" else refused(400, "too long")

    stub.answer = answer
    results, _ = ask(stub, words(12), draw(12, 1), concurrency=1)
    assert [one for ((one,),) in zip(texts(results)[0], strict=True)] == ["100000", *[None] * 11]


def test_text_is_made_writable(stub: Stub) -> None:
    stub.answer = lambda _: Answer(
        b'{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'
    )
    assert texts(ask(stub, words(1), draw(1, 1))[0]) == [[["a?b"]]]


def test_the_key_goes_to_the_server_and_nowhere_else(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SITE_KEY", "sk-secret-123")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    stub.answer = lambda _: refused(400, "no good: Bearer sk-secret-123")
    _, answerer = ask(stub, words(1), draw(1, 1), api_key_env="SITE_KEY",
                      replies=Replies(tmp_path))  # fmt: skip
    assert stub.headers[-1]["authorization"] == "Bearer sk-secret-123"
    assert answerer.failures[0].reason == "HTTP 400, no good: Bearer [key]"
    assert "secret" not in str(answerer.figures())
    stub.answer = lambda _: refused(401, "Bearer sk-secret-123 is unknown")
    with pytest.raises(ServerError, match=r"does not let us in: .*\[key\] is unknown"):
        ask(stub, words(1), draw(1, 1), api_key_env="SITE_KEY")
    ask(stub.reset(), words(1), draw(1, 1))
    for name in ("authorization", "openai-organization"):
        assert name not in stub.headers[-1]
    monkeypatch.delenv("SITE_KEY")
    with pytest.raises(ConfigError, match="SITE_KEY is to hold the server's key, but is not set"):
        ask(stub, words(1), draw(1, 1), api_key_env="SITE_KEY")


def test_which_model(stub: Stub) -> None:
    with ServerAnswerer(stub.url) as answerer:
        assert answerer.connect() == "tiny"
        assert answerer.name == f"tiny at {stub.url}"
    with (
        ServerAnswerer(stub.url, "big") as answerer,
        pytest.raises(ServerError, match='does not serve "big", but tiny'),
    ):
        answerer.connect()
    stub.models = Answer(json.dumps({"data": [{"id": "a\x1b"}, {"id": "b"}]}).encode())
    with (
        ServerAnswerer(stub.url) as answerer,
        pytest.raises(ServerError, match=r"serves a\\x1b, b; name one with --server-model"),
    ):
        answerer.connect()
    stub.models = Answer(b"<html>hello</html>")
    with (
        ServerAnswerer(stub.url) as answerer,
        pytest.raises(ServerError, match="does not answer as an OpenAI-compatible server"),
    ):
        answerer.connect()


def test_nobody_there() -> None:
    with (
        ServerAnswerer("http://127.0.0.1:9", "tiny") as answerer,
        pytest.raises(
            ServerError, match=r"http://127.0.0.1:9/v1 does not answer: connection failed"
        ),
    ):
        answerer.connect()


def test_what_came_is_remembered(stub: Stub, tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4), (1, 2, 3))
    prompts = [Prompt("<image> what?", (picture,)), *words(2)]
    draws = (draw(3, 5), greedy(3, PARAMS))

    def again(**settings: Any) -> tuple[Any, int]:
        before = len(stub.bodies)
        results, _ = ask(stub, prompts, *draws, replies=Replies(tmp_path),
                         samples_per_request=2, **settings)  # fmt: skip
        return texts(results), len(stub.bodies) - before

    first, asked = again()
    assert asked == 12
    assert again() == (first, 0)
    assert again(concurrency=1, timeout=5.0, max_retries=0) == (first, 0)
    # Everything that a reply depends on makes it another one.
    assert again(revision="2")[1] == 12
    assert again(extra_body={"repetition_penalty": 1.1})[1] == 12
    prompts[0] = Prompt("<image> what?", (Image.new("RGB", (4, 4), (1, 2, 4)),))
    assert again()[1] == 4
    draws = (draw(3, 5, first=200), draws[1])
    assert again()[1] == 9


def test_failures_are_not_remembered(stub: Stub, tmp_path: Path) -> None:
    stub.answer = lambda body: (
        refused(400, "no") if question(body) == "question 0" else as_vllm(body)
    )
    ask(stub, words(2), draw(2, 1), replies=Replies(tmp_path))
    stub.reset()
    results, answerer = ask(stub, words(2), draw(2, 1), replies=Replies(tmp_path))
    assert texts(results) == [[["100000"], ["101000"]]]
    assert len(stub.bodies) == 1
    assert answerer.tally.remembered == 1


def test_a_memory_that_is_none(tmp_path: Path, stub: Stub) -> None:
    from mmupt.errors import RunFolderError

    (tmp_path / "replies.sqlite").write_text("no database " * 100)
    with pytest.raises(RunFolderError, match="not usable as the memory of replies"):
        ask(stub, words(1), draw(1, 1), replies=Replies(tmp_path))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://10.1.2.3:8000/v1/", "http://10.1.2.3:8000/v1"),
        ("http://[::1]:80/api", "http://[::1]:80/api"),
        ("https://api.example.com/v1", "https://api.example.com/v1"),
    ],
)
def test_addresses(given: str, meant: str) -> None:
    assert base_url(given) == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("localhost:8000", "no http"),
        ("ftp://localhost/", "no http"),
        ("file:///etc/passwd", "no http"),
        ("http://", "no http"),
        ("http://localhost:99999", "no address"),
        ("http://me:word@localhost/v1", "holds a user or password"),
        ("https://h/v1?key=word", r'"https://h/v1" is followed by'),
        ("http://8.8.8.8/v1", "readable for everyone"),
    ],
)
def test_addresses_that_are_refused(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        base_url(given)
    assert "word@" not in str(caught.value)
    assert "key=word" not in str(caught.value)


def test_plain_http_where_it_is_wanted() -> None:
    assert base_url("http://8.8.8.8/v1", plain_http=True) == "http://8.8.8.8/v1"
