"""A served model answers what the model answers, and nothing that comes in hurts it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tiny import picture, save_idefics3
from typer.testing import CliRunner

from mmupt.asking.answerer import Draw, SamplingParams, greedy, stream_seeds
from mmupt.asking.prompt import Prompt
from mmupt.cli import app as cli
from mmupt.config import load_config
from mmupt.errors import ConfigError
from mmupt.policy.answers import LocalAnswerer
from mmupt.policy.model import load_policy
from mmupt.review.address import bind
from mmupt.serving.app import create_app
from mmupt.serving.model import Served

HOST = {"host": "127.0.0.1:8000"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    policy = load_policy(save_idefics3(tmp_path_factory.mktemp("model") / "tiny"))
    return Served(policy, "tiny", load_config(None, ["eval.max_completion_length=8"]))


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[TestClient]:
    with TestClient(create_app(served), headers=HOST) as made:
        yield made


def png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def chat(text: str = "What?", image: Image.Image | None = None, **more: Any) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if image is not None:
        url = f"data:image/png;base64,{png(image)}"
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}


def test_greedy_replies_are_those_of_the_model(client: TestClient, served: Served) -> None:
    prompt = Prompt("<image>What?", (picture(3),))
    params = SamplingParams(max_completion_length=12)
    ((expected,),) = LocalAnswerer(served.policy, 1).complete([prompt], [greedy(1, params)])[0:1]
    found = client.post(
        "/v1/chat/completions",
        json=chat(image=picture(3), temperature=0, max_tokens=12, logprobs=True),
    ).json()
    (one,) = expected
    assert one is not None
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": one.text}
    assert choice["finish_reason"] == str(one.finish)
    assert [t["logprob"] for t in choice["logprobs"]["content"]] == pytest.approx(one.logprobs)
    assert found["usage"]["completion_tokens"] == len(one.token_ids)
    assert found["usage"]["prompt_tokens"] > 4


def test_a_seed_gives_the_same_choices_and_none_gives_new_ones(
    client: TestClient, served: Served
) -> None:
    def texts(**more: Any) -> list[str]:
        body = chat(image=picture(1), n=4, max_tokens=6, **more)
        choices = client.post("/v1/chat/completions", json=body).json()["choices"]
        return [choice["message"]["content"] for choice in choices]

    one = texts(seed=5)
    assert one == texts(seed=5)
    assert len(set(one)) > 1
    assert texts() != texts()
    draw = Draw(SamplingParams(max_completion_length=6), stream_seeds(5, count=4), 4)
    ((group,),) = LocalAnswerer(served.policy, 1).complete(
        [Prompt("<image>What?", (picture(1),))], [draw]
    )
    assert one == [c.text for c in group if c is not None]


def test_a_stop_string_ends_a_choice(client: TestClient) -> None:
    whole = client.post("/v1/chat/completions", json=chat(temperature=0, max_tokens=12)).json()
    text = whole["choices"][0]["message"]["content"]
    assert len(text) > 2
    cut = client.post(
        "/v1/chat/completions", json=chat(temperature=0, max_tokens=12, stop=text[1])
    ).json()
    assert len(cut["choices"][0]["message"]["content"]) < len(text)


def test_the_openai_client_reads_it(served: Served) -> None:
    openai = pytest.importorskip("openai")
    transport = TestClient(create_app(served), base_url="http://127.0.0.1:8000")
    client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="-", http_client=transport)
    assert [model.id for model in client.models.list()] == ["tiny"]
    found = client.chat.completions.create(**chat(n=2, max_tokens=4, seed=1))
    assert len(found.choices) == 2
    with pytest.raises(openai.NotFoundError, match="is not served here; ask 'tiny'"):
        client.chat.completions.create(**{**chat(), "model": "other"})


def test_the_page_s_vote_is_the_vote_on_its_answers(client: TestClient) -> None:
    from mmupt import vote

    body = {"problem": "What?", "pictures": [png(picture(2))], "samples": 6, "views": 3, "seed": 9}
    found = client.post("/try", json=body).json()
    again = client.post("/try", json=body).json()
    assert {**found, "seconds": 0} == {**again, "seconds": 0}
    answers = [one["answer"] for one in found["answers"]]
    outcome = vote(answers)
    assert (found["label"], found["share"], found["tied"]) == (
        outcome.label, outcome.share, outcome.tied
    )  # fmt: skip
    assert [one["view"] for one in found["answers"]] == [0, 0, 1, 1, 2, 2]
    assert all(one["answer"] is None for one in found["answers"] if one["truncated"])


BOMB = io.BytesIO()
Image.fromarray(np.zeros((5000, 5000), bool)).save(BOMB, "PNG")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "tiny"}, "messages: Field required"),
        ({"model": "tiny", "messages": []}, "messages: "),
        ([1], "the body: "),
        (chat(n=1000), "n: Input should be less than or equal to 64"),
        (chat(stream=True), "stream: true is not offered"),
        (chat(text=" "), "is empty"),
        (chat(text="a <image> b"), "holds an <image> mark"),
        (chat(text="x" * 100_001), "longer than 100000 characters"),
        (chat(stop=["x"] * 17), "stop"),
        (chat(max_tokens=4096), "leave no room for a reply of 4096"),
        ({**chat(), "messages": [{"role": "system", "content": "x"}]}, "role user"),
        ({**chat(), "messages": [*chat()["messages"], *chat()["messages"]]}, "expected one message"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_answered(client: TestClient, body: Any, message: str) -> None:
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://169.254.169.254/latest/meta-data", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("/etc/passwd", "nothing is fetched"),
        ("data:text/html;base64,PGI+", "no picture"),
        ("data:image/png;base64,!!!", "not base64"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(), "picture"),
        ("data:image/png;base64," + base64.b64encode(BOMB.getvalue()).decode(), "pixels"),
    ],
)
def test_pictures_that_are_not_taken(client: TestClient, url: str, message: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    body = {"model": "tiny", "messages": [{"role": "user", "content": [part]}]}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"problem": "", "pictures": []}, "is empty"),
        ({"problem": "a <image>", "pictures": []}, "<image> mark"),
        ({"problem": "x", "pictures": ["?"]}, "not base64"),
        ({"problem": "x", "pictures": ["AAAA"] * 9}, "at most 8"),
        ({"problem": "x", "pictures": [], "samples": 65}, "at most 64 answers"),
        ({"problem": "x", "pictures": [], "samples": 6, "views": 4}, "multiple of the views"),
        ({"problem": "x", "pictures": [], "temperature": "hot"}, "temperature"),
        ({"problem": "x", "pictures": [], "seed": -1}, "seed"),
        ({"problem": "x", "pictures": [base64.b64encode(b"<svg/>").decode()]}, "the picture"),
    ],
)
def test_what_the_page_may_not_ask(client: TestClient, body: Any, message: str) -> None:
    reply = client.post("/try", json=body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(text="a \ud800 b")),
        ("/try", {"problem": "\udfff", "pictures": []}),
    ],
)
def test_half_characters_are_refused(client: TestClient, path: str, body: Any) -> None:
    kind = {"content-type": "application/json"}
    reply = client.post(path, content=json.dumps(body), headers=kind)
    assert reply.status_code == 400
    assert "half a character" in reply.json()["error"]["message"]


def test_other_sites_get_nothing(client: TestClient) -> None:
    body = json.dumps(chat())
    post = client.post
    path = "/v1/chat/completions"
    as_text = post(path, content=body, headers={"content-type": "text/plain"})
    assert as_text.status_code == 415  # what a page elsewhere can send without asking
    json_type = {"content-type": "application/json"}
    foreign = post(path, content=body, headers={**json_type, "origin": "https://evil.example"})
    assert foreign.status_code == 403
    rebound = post(path, content=body, headers={**json_type, "host": "evil.example"})
    assert rebound.status_code == 400
    assert client.options(path).status_code == 405  # no CORS
    assert post(path, content="{", headers=json_type).json()["error"]["message"] == (
        "the body is not JSON"
    )


def test_with_a_key_nobody_is_answered_without_it(served: Served) -> None:
    client = TestClient(create_app(served, key="s3cret", hosts=("box",)), headers={"host": "box"})
    assert client.get("/v1/models").status_code == 401
    assert client.get("/v1/models", headers={"authorization": "Bearer no"}).status_code == 401
    assert client.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
    page = client.get("/")
    assert 'id="key"' in page.text
    assert "s3cret" not in page.text


def test_a_key_may_hold_any_character(served: Served) -> None:
    client = TestClient(create_app(served, key="schlüssel"), headers=HOST)
    right, wrong = ({"authorization": f"Bearer {word}".encode()} for word in ("schlüssel", "ü"))
    assert client.get("/v1/models", headers=right).status_code == 200
    assert client.get("/v1/models", headers=wrong).status_code == 401


def test_the_page_tells_what_every_filter_would_do(served: Served) -> None:
    body = {"problem": "What?", "pictures": [], "samples": 1, "temperature": 0.0}
    config = load_config(None, ["eval.max_completion_length=8", "consensus.min_share=0"])
    for window, kept in (([0, 5], True), ([0.5, 5], False)):  # one answer has the entropy 0
        consensus = config.consensus.model_copy(update={"entropy_window": tuple(window)})
        own = Served(served.policy, "tiny", config.model_copy(update={"consensus": consensus}))
        found = TestClient(create_app(own), headers=HOST).post("/try", json=body).json()
        assert found["kept"] is (kept and found["label"] is not None)
        assert found["min_share"] == 0


def test_a_taken_port_is_told_before_a_model_is_read(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(cli, ["serve", str(tmp_path), "--port", port])
    assert isinstance(result.exception, ConfigError)
    assert f"--port {port}: cannot be bound" in str(result.exception)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_page_loads_nothing_and_lets_no_script_in(served: Served, lang: str) -> None:
    hostile = Served(served.policy, '<script>alert("x")</script>', served.config)
    page = TestClient(create_app(hostile), headers=HOST).get("/", params={"lang": lang})
    assert "<script>alert" not in page.text
    assert "src=" not in page.text
    assert "built-in method" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_texts_are_there_in_both_languages() -> None:
    from mmupt.words import texts

    assert texts("mmupt.serving", "en").keys() == texts("mmupt.serving", "ja").keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "requests need a key"),  # noqa: S104
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY: this variable is empty"),
    ],
)
def test_the_verb_refuses_what_is_open_to_all(
    tmp_path: Path, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(cli, ["serve", str(tmp_path), *options])
    assert message in str(result.exception)
