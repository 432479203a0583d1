"""What came back: bytes of a stranger, read strictly into completions.

Nothing is taken on trust: not the shape, not the number of choices, not the length of a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmupt.data.images import printable
from mmupt.types import Completion, Finish

_STOPPED = frozenset({"stop", "eos_token", "stop_sequence"})
_CHARACTERS_PER_TOKEN = 64
_BYTES_PER_TOKEN = 512
"""Of a reply: text and reasoning, escaped in JSON, or a log-probability's entry."""


class BrokenReplyError(Exception):
    """A reply that cannot be read, in a few printable words."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request brought.

    Attributes:
        completions: in the order of the choices; None for one that the server broke off, as its
            content filter does.
        broken: why, for the first of those.
        prompt_tokens, completion_tokens: of all choices together; None where the server tells none.
    """

    completions: tuple[Completion | None, ...]
    broken: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def most_bytes(choices: int, tokens: int) -> int:
    """The longest body that a reply of so many choices and tokens may have."""
    return (1 << 20) + choices * tokens * _BYTES_PER_TOKEN


def read_reply(body: bytes, most: int, tokens: int) -> Answered:
    """The completions in the body of a chat completion.

    Args:
        body: what the server sent.
        most: choices that were asked for; more are refused, fewer are not.
        tokens: length limit of each, in tokens.

    Raises:
        BrokenReplyError: no such reply.
    """
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        raise BrokenReplyError(f"the reply is no JSON ({_start(body)})") from None
    choices = tree.get("choices") if isinstance(tree, dict) else None
    if not isinstance(choices, list) or not choices:
        raise BrokenReplyError(f"the reply has no choices ({_start(body)})")
    if len(choices) > most:
        raise BrokenReplyError(f"the reply has {len(choices)} choices, {most} were asked for")
    raw_usage = tree.get("usage")
    usage: Mapping[str, Any] = raw_usage if isinstance(raw_usage, dict) else {}
    used = _count(usage.get("completion_tokens"))
    ordered = sorted(choices, key=_index)
    broken: list[str] = []
    completions = [
        _completion(choice, tokens, used if len(choices) == 1 else None, broken)
        for choice in ordered
    ]
    return Answered(
        tuple(completions), broken[0] if broken else None, _count(usage.get("prompt_tokens")), used
    )


def _completion(choice: Any, tokens: int, used: int | None, broken: list[str]) -> Completion | None:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise BrokenReplyError("a choice of the reply has no message")
    content = message.get("content")
    if content is None:  # a refusal, or a reasoning that has used up the length
        content = ""
    if not isinstance(content, str):
        raise BrokenReplyError(f"the content of a choice is {type(content).__name__}, not text")
    if len(content) > _CHARACTERS_PER_TOKEN * tokens + 4096:
        raise BrokenReplyError(f"a choice has {len(content)} characters for {tokens} tokens")
    reason = choice.get("finish_reason")
    if reason == "length":
        finish = Finish.LENGTH
    elif reason in _STOPPED if isinstance(reason, str) else False:
        finish = Finish.STOP
    else:
        broken.append(f"the server broke it off (finish_reason {printable(reason, 40)})")
        return None
    logprobs = _logprobs(choice.get("logprobs"))
    return Completion(
        # Half a surrogate pair is no text that could be written to a file.
        text=content.encode("utf-8", "replace").decode("utf-8"),
        token_ids=(),
        logprobs=logprobs,
        finish=finish,
        count=len(logprobs) if logprobs else used,
    )


def _logprobs(value: Any) -> tuple[float, ...]:
    entries = value.get("content") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return ()
    found = [entry.get("logprob") if isinstance(entry, dict) else None for entry in entries]
    numbers = [
        float(one)
        for one in found
        if isinstance(one, int | float) and not isinstance(one, bool) and -1e9 <= one <= 1.0
    ]
    if len(numbers) < len(found):
        raise BrokenReplyError("the log-probabilities of a choice are no numbers")
    return tuple(numbers)


def _index(choice: Any) -> int:
    number = choice.get("index") if isinstance(choice, dict) else None
    return number if isinstance(number, int) else 0


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if usable else None


def _start(body: bytes) -> str:
    return f"it begins {printable(body[:60].decode('utf-8', 'replace'), 60)}" if body else "empty"


def packed(answered: Answered) -> str:
    """For the cache."""
    return json.dumps(
        {
            "completions": [
                None if c is None else [c.text, list(c.logprobs), str(c.finish), c.count]
                for c in answered.completions
            ],
            "tokens": [answered.prompt_tokens, answered.completion_tokens],
        },
        ensure_ascii=False,
    )


def unpacked(text: str) -> Answered:
    """`packed`, back."""
    tree = json.loads(text)
    completions: Sequence[Any] = tree["completions"]
    return Answered(
        tuple(
            None if c is None else Completion(c[0], (), tuple(c[1]), Finish(c[2]), count=c[3])
            for c in completions
        ),
        None,
        *tree["tokens"],
    )
