"""The schemas that people have, each turned into our own columns, question and label apart.

`Schema.question` looks at no answer: a reader without labels calls nothing else. `Schema.label`
returns the answer alone, and only labelled readers call it. Rows in our own columns go through as
they are; `rows.sample_of` looks at no column of theirs that is named like an answer.

| name | columns |
|---|---|
| mmupt | `problem`, `image` or `images`, `answer`, `response`, `paraphrases`; EasyR1 too |
| verl | `prompt` of messages, `images`, `reward_model.ground_truth`, `extra_info` |
| trl | `prompt` as text or messages, `image` or `images`, `answer` or `solution`, `completion` |
| llava | `conversations` of `{from, value}`, `image` or `images`; also LLaMA-Factory's sharegpt |
| messages | `messages` of `{role, content}`: OpenAI's parts, or LLaMA-Factory's text |
| alpaca | `instruction`, `input`, `output`, `images` |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mmupt.data.answers import is_answer_column
from mmupt.data.images import printable
from mmupt.data.records import Row
from mmupt.data.rows import described, is_text
from mmupt.data.turns import answer_turn, completion_text, problem_of, turns_of
from mmupt.errors import ConfigError, InputError

OWN_NAME: Final = "mmupt"
DATA_SOURCE: Final = "mmupt"
"""`data_source` that is written for verl where the data names none; read, it says nothing."""

_BOX: Final = re.compile(r"\\boxed\s?\{")


@dataclass(frozen=True, slots=True)
class Schema:
    """How the rows of one schema become rows in our own columns.

    Attributes:
        name: as in ``--schema``.
        matches: whether a row looks like it.
        question: id, problem, pictures, paraphrases and further columns; no answer.
        label: ``answer`` and ``response``, as far as the row has them.
    """

    name: str
    matches: Callable[[Row], bool]
    question: Callable[[Row], Row]
    label: Callable[[Row], Row]


def detect(row: Row) -> Schema | None:
    """The schema that a row looks like; None where it looks like none."""
    return next((schema for schema in SCHEMAS.values() if schema.matches(row)), None)


def schema(name: str) -> Schema:
    """A schema by its name, also by what else it is called.

    Raises:
        ConfigError: nobody calls one so.
    """
    found = SCHEMAS.get(_OTHER_NAMES.get(name, name))
    if found is None:
        names = ", ".join([*SCHEMAS, *_OTHER_NAMES])
        raise ConfigError(f"schema {printable(name, 40)!r}: expected one of {names}")
    return found


# --- our own --------------------------------------------------------------------------------------


def _own(row: Row) -> Row:
    return row


# --- messages -------------------------------------------------------------------------------------


def _chat(column: str) -> tuple[Callable[[Row], Row], Callable[[Row], Row]]:
    """Question and label of rows whose `column` holds a conversation."""

    def question(row: Row) -> Row:
        return {**_others(row, column), **_asked(row, column)}

    def label(row: Row) -> Row:
        said = answer_turn(turns_of(row.get(column), column))
        return _label(row, said)

    return question, label


def _asked(row: Row, column: str) -> Row:
    """Problem and pictures of a conversation's one question."""
    problem, pictures, system = problem_of(turns_of(row.get(column), column), column)
    found: dict[str, object] = {"problem": problem}
    if pictures:
        if any(row.get(name) not in (None, []) for name in ("image", "images")):
            raise InputError(
                f'"{column}" holds pictures and the row has "image" or "images" too; keep one'
            )
        found |= {"image": None, "images": pictures}
    if system:
        found["system"] = system
    return found


def _label(row: Row, said: str | None, *names: str) -> Row:
    """What a row says in columns of their own goes before what its conversation says.

    Args:
        said: the assistant's turn.
        names: columns besides ``answer`` that may hold the final answer.
    """
    given = next((row[name] for name in ("answer", *names) if row.get(name) is not None), None)
    answer, response = given, row.get("response")
    if said is not None and given is None:
        boxed = _last_box(said)
        answer = said if boxed is None else boxed
    if said is not None and response is None and said.strip() != str(answer).strip():
        response = said
    return {"answer": answer, "response": response}


def _last_box(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}``, braces nested; None without a closed one."""
    for match in reversed(list(_BOX.finditer(text))):
        depth = 1
        for brace in re.finditer(r"\\.|[{}]", text[match.end() :], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                return text[match.end() : match.end() + brace.start()].strip()
    return None


def _others(row: Row, *used: str) -> dict[str, object]:
    """The columns that mean the same in every schema, or are further ones.

    Raises:
        InputError: the row has videos or sound, without which its question is another.
    """
    for name in ("videos", "video", "audios", "audio"):
        if row.get(name) not in (None, [], ""):
            raise InputError(f'row has "{name}": only images are read; leave the row out')
    return {
        name: value
        for name, value in row.items()
        if name not in used and name != "problem" and not is_answer_column(name)
    }


# --- verl -----------------------------------------------------------------------------------------


def _verl_question(row: Row) -> Row:
    extra = row.get("extra_info")
    inner = extra if isinstance(extra, Mapping) else {}
    kept = {name: value for name, value in inner.items() if not is_answer_column(str(name))}
    others = _others(row, "prompt", "reward_model", "extra_info")
    if others.get("data_source") == DATA_SOURCE:
        del others["data_source"]
    present = {name: value for name, value in others.items() if value is not None}
    return {**kept, **present, **_asked(row, "prompt")}


def _verl_label(row: Row) -> Row:
    rewarded = row.get("reward_model")
    truth = rewarded.get("ground_truth") if isinstance(rewarded, Mapping) else None
    return {
        "answer": row.get("answer") if truth is None else truth,
        "response": row.get("response"),
    }


# --- TRL ------------------------------------------------------------------------------------------


def _trl_question(row: Row) -> Row:
    others = _others(row, "prompt", "completion")
    if is_text(row.get("prompt")):
        return {**others, "problem": row["prompt"]}
    return {**others, **_asked(row, "prompt")}


def _trl_label(row: Row) -> Row:
    said = completion_text(row.get("completion"))
    if said is None and isinstance(row.get("prompt"), list):
        said = answer_turn(turns_of(row["prompt"], "prompt"))
    return _label(row, said, "solution", "ground_truth")


# --- alpaca ---------------------------------------------------------------------------------------


def _alpaca_question(row: Row) -> Row:
    others = _others(row, "instruction", "input", "output", "history")
    if row.get("history") not in (None, []):
        raise InputError(
            '"history" holds earlier turns: a row is one question; write the history into the '
            "instruction, or leave it out"
        )
    parts = [row.get("instruction"), row.get("input")]
    texts = [part for part in parts if part not in (None, "")]
    for name, part in zip(("instruction", "input"), parts, strict=True):
        if part is not None and not is_text(part):
            raise InputError(f'"{name}" must be text, found {described(part)}')
    return {**others, "problem": "\n".join(str(text) for text in texts)}


def _alpaca_label(row: Row) -> Row:
    said = row.get("output")
    if said is not None and not is_text(said):
        raise InputError(f'"output" must be text, found {described(said)}')
    return _label(row, str(said) if said else None)


SCHEMAS: Final[Mapping[str, Schema]] = {
    one.name: one
    for one in (
        Schema(OWN_NAME, lambda row: row.get("problem") is not None, _own, _own),
        Schema(
            "verl",
            lambda row: (
                row.get("prompt") is not None
                and any(row.get(name) is not None for name in ("reward_model", "extra_info"))
            ),
            _verl_question,
            _verl_label,
        ),
        Schema("trl", lambda row: row.get("prompt") is not None, _trl_question, _trl_label),
        Schema("llava", lambda row: row.get("conversations") is not None, *_chat("conversations")),
        Schema("messages", lambda row: row.get("messages") is not None, *_chat("messages")),
        Schema(
            "alpaca",
            lambda row: row.get("instruction") is not None,
            _alpaca_question,
            _alpaca_label,
        ),
    )
}
_OTHER_NAMES: Final = {
    "easyr1": OWN_NAME, "sharegpt": "llava", "llama-factory": "messages", "openai": "messages",
}  # fmt: skip
SCHEMA_NAMES: Final = (*SCHEMAS, *_OTHER_NAMES)
