"""Questions as rows of the schemas that other tools read: what `schemas` reads, written.

Every writer is the inverse of its reader: id, problem, pictures, answer, response, paraphrases and
further columns come back as they were. Where a schema has no place for one of them it goes into a
column of its own, which the other tool ignores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mmupt.data.images import printable
from mmupt.data.rows import MARK
from mmupt.data.schemas import DATA_SOURCE
from mmupt.errors import InputError
from mmupt.types import Sample

_OWN: Final = frozenset({"id", "problem", "image", "images", "answer", "response", "paraphrases"})
_MEDIA: Final = frozenset({"video", "videos", "audio", "audios"})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is written of a question.

    Attributes:
        sample: the question.
        pictures: one value per image: a path, an address with data, or ``{bytes, path}``.
        answer: None without labels.
        response: None where there is none.
    """

    sample: Sample
    pictures: Sequence[object]
    answer: str | None = None
    response: str | None = None

    @property
    def said(self) -> str | None:
        """What an assistant would say."""
        return self.answer if self.response is None else self.response

    @property
    def system(self) -> str:
        """A system prompt that the row came with."""
        text = self.sample.meta.get("system", "")
        return text if text.strip() else ""


@dataclass(frozen=True, slots=True)
class Target:
    """A schema to write.

    Attributes:
        row: makes the row.
        taken: names of columns that mean something in it, which no further column may have.
        system: whether a system prompt is a message, and no column.
        nested: column that holds the further ones, or none.
    """

    row: Callable[[Outgoing], dict[str, Any]]
    taken: frozenset[str]
    system: bool = False
    nested: str | None = None


def written(one: Outgoing, target: Target) -> dict[str, Any]:
    """The row of a question.

    Raises:
        InputError: a further column is named like one of the schema's.
    """
    meta = dict(one.sample.meta)
    if target.system and one.system:
        del meta["system"]
    clash = sorted(set(meta) & (target.taken | _OWN | _MEDIA))
    if clash:
        raise InputError(
            f'column "{printable(clash[0], 60)}" means something else in this schema; rename it'
        )
    row = {"id": one.sample.id, **target.row(one)}
    if one.sample.paraphrases:
        row["paraphrases"] = list(one.sample.paraphrases)
    if one.response is not None:
        row["response"] = one.response
    if target.nested is None:
        return row | meta
    return row | {target.nested: {**row.get(target.nested, {}), **meta}}


def _pictures(one: Outgoing) -> dict[str, Any]:
    return {"images": list(one.pictures)} if one.pictures else {}


def _answer(one: Outgoing) -> dict[str, Any]:
    return {} if one.answer is None else {"answer": one.answer}


def _own(one: Outgoing) -> dict[str, Any]:
    return {"problem": one.sample.problem, **_pictures(one), **_answer(one)}


def _verl(one: Outgoing) -> dict[str, Any]:
    truth = {"style": "rule", "ground_truth": one.answer}
    return {
        "data_source": DATA_SOURCE,
        "prompt": _messages(one, one.sample.problem),
        **_pictures(one),
        **({} if one.answer is None else {"reward_model": truth}),
        "extra_info": {"id": one.sample.id},
    }


def _trl(one: Outgoing) -> dict[str, Any]:
    parts = _parts(one.sample.problem, [{"type": "image"} for _ in one.pictures])
    system = [{"role": "system", "content": [{"type": "text", "text": one.system}]}]
    prompt = [*(system if one.system else []), {"role": "user", "content": parts}]
    return {"prompt": prompt, **_pictures(one), **_answer(one)}


def _llava(one: Outgoing) -> dict[str, Any]:
    turns = [{"from": "human", "value": one.sample.problem}]
    if one.said is not None:
        turns.append({"from": "gpt", "value": one.said})
    single = {"image": one.pictures[0]} if len(one.pictures) == 1 else _pictures(one)
    return {"conversations": turns, **single, **_answer(one)}


def _sharegpt(one: Outgoing) -> dict[str, Any]:
    row = _llava(one)
    return {"conversations": row["conversations"], **_pictures(one), **_answer(one)}


def _llama_factory(one: Outgoing) -> dict[str, Any]:
    said = [] if one.said is None else [{"role": "assistant", "content": one.said}]
    messages = [*_messages(one, one.sample.problem), *said]
    return {"messages": messages, **_pictures(one), **_answer(one)}


def _openai(one: Outgoing) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": value}} for value in one.pictures]
    content: object = _parts(one.sample.problem, shown) if shown else one.sample.problem
    said = [] if one.said is None else [{"role": "assistant", "content": one.said}]
    return {"messages": [*_messages(one, content), *said], **_answer(one)}


def _alpaca(one: Outgoing) -> dict[str, Any]:
    output = {} if one.said is None else {"output": one.said}
    return {
        "instruction": one.sample.problem,
        "input": "",
        **output,
        **_pictures(one),
        **_answer(one),
    }


def _messages(one: Outgoing, content: object) -> list[dict[str, object]]:
    system: list[dict[str, object]] = []
    if one.system:
        system.append({"role": "system", "content": one.system})
    return [*system, {"role": "user", "content": content}]


def _parts(problem: str, pictures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The text between the marks, and a picture for every mark."""
    parts: list[dict[str, Any]] = []
    for number, text in enumerate(problem.split(MARK)):
        if number:
            parts.append(dict(pictures[number - 1]))
        if text:
            parts.append({"type": "text", "text": text})
    return parts


_CHAT: Final = frozenset({"messages", "conversations", "prompt", "instruction"})
"""Columns by which schemas are told; those that are looked for first must not be further ones."""

TARGETS: Final[Mapping[str, Target]] = {
    "mmupt": Target(_own, frozenset()),
    "easyr1": Target(_own, frozenset()),
    "verl": Target(
        _verl, frozenset({"prompt", "reward_model", "extra_info"}), system=True, nested="extra_info"
    ),
    "trl": Target(
        _trl, frozenset({"prompt", "completion", "reward_model", "extra_info", "solution"}), True
    ),
    "llava": Target(_llava, frozenset({"conversations", "prompt"})),
    "sharegpt": Target(_sharegpt, frozenset({"conversations", "prompt"})),
    "llama-factory": Target(_llama_factory, _CHAT, True),
    "openai": Target(_openai, _CHAT, True),
    "alpaca": Target(_alpaca, _CHAT | {"input", "output", "history"}),
}
"""Schemas that are written, by name."""
