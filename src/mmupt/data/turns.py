"""Conversations: the one question of a list of messages, and apart from it what was answered.

Two spellings are read: ``{"role": "user", "content": ...}``, ``{"from": "human", "value": ...}``.
The content is text, with one ``<image>`` mark per picture, or a list of parts, where a picture is
a part of its own. What the assistant says is not looked at on the way to the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mmupt.data.images import printable
from mmupt.data.rows import MARK, described, is_text
from mmupt.errors import InputError

_ROLES: Final = {
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant",
    "chatgpt": "assistant", "bard": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
_TEXTS: Final = ("text", "input_text", "output_text")
_PICTURES: Final = ("image", "image_url", "input_image")

Turn = tuple[str, object]
"""Role (user, assistant or system) and content, which is not looked into yet."""


def turns_of(value: object, column: str) -> list[Turn]:
    """The turns of a conversation.

    Raises:
        InputError: no list of messages, or a role that is none of these three.
    """
    if not isinstance(value, list) or not value:
        raise InputError(
            f'"{column}" must be a list of messages, found {described(value)}; write '
            '[{"role": "user", "content": "..."}]'
        )
    found = []
    for number, turn in enumerate(value):
        name = f"{column}[{number}]"
        if not isinstance(turn, Mapping):
            raise InputError(f'"{name}" must be a message, found {described(turn)}')
        role = turn.get("role") if turn.get("role") is not None else turn.get("from")
        if not isinstance(role, str) or role.strip().lower() not in _ROLES:
            shown = f'"{printable(role, 40)}"' if isinstance(role, str) else described(role)
            raise InputError(
                f'"{name}" is by {shown}, expected user, assistant or system; leave the row out'
            )
        content = turn.get("content") if "content" in turn else turn.get("value")
        found.append((_ROLES[role.strip().lower()], content))
    return found


def problem_of(turns: Sequence[Turn], column: str) -> tuple[str, list[object], str]:
    """The question of a conversation.

    Returns:
        The text with a mark for every picture; the pictures that parts hold (empty where the row
        has them in a column); the system's text.

    Raises:
        InputError: not exactly one question, or a content that cannot be read.
    """
    asked = [number for number, (role, _) in enumerate(turns) if role == "user"]
    if len(asked) != 1:
        raise InputError(
            f'"{column}" has {len(asked)} turns of the user, a row is one question; write one row '
            "per question"
        )
    if any(role == "assistant" for role, _ in turns[: asked[0]]):
        raise InputError(f'"{column}" begins with the assistant; a row is one question')
    text, pictures = _content(turns[asked[0]][1], f"{column}[{asked[0]}]")
    system = [
        _content(content, f"{column}[{number}]")[0]
        for number, (role, content) in enumerate(turns)
        if role == "system"
    ]
    return text, pictures, "\n".join(part for part in system if part.strip())


def answer_turn(turns: Sequence[Turn]) -> str | None:
    """What the assistant says; None where it says nothing. An answer: for labelled readers only.

    Raises:
        InputError: more than one turn, or one that is not text.
    """
    said = [content for role, content in turns if role == "assistant" and content is not None]
    if len(said) > 1:
        raise InputError(f"{len(said)} turns of the assistant, expected one")
    return _said(said[0]) if said else None


def completion_text(value: object) -> str | None:
    """TRL's ``completion``: text or messages. An answer: for labelled readers only.

    Raises:
        InputError: neither.
    """
    if value is None or is_text(value):
        return str(value) if value else None
    return answer_turn(turns_of(value, "completion"))


def _said(content: object) -> str | None:
    text, pictures = _content(content, "the assistant's turn")
    if pictures or MARK in text:
        raise InputError("the assistant's turn holds a picture, expected text")
    return text if text.strip() else None


def _content(content: object, name: str) -> tuple[str, list[object]]:
    """Text with marks, and the pictures of its parts in order."""
    if is_text(content):
        return str(content), []
    if not isinstance(content, list):
        raise InputError(f'"{name}" holds {described(content)}, expected text or a list of parts')
    text, pictures, empty = "", list[object](), 0
    for number, part in enumerate(content):
        place = f"{name}[{number}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if is_text(part):
            text += str(part)
        elif isinstance(part, Mapping) and kind in _TEXTS:
            piece = part.get("text")
            if not is_text(piece):
                raise InputError(f'"{place}" must hold text, found {described(piece)}')
            text += str(piece)
        elif isinstance(part, Mapping) and kind in _PICTURES:
            text += MARK
            picture = _picture(part, place)
            empty += picture is None
            pictures.append(picture)
        else:
            shown = f'"{printable(kind, 40)}"' if isinstance(kind, str) else described(part)
            raise InputError(f'"{place}" is {shown}, expected a part of type text or image')
    if empty and empty != len(pictures):
        raise InputError(f'"{name}" has {empty} image parts without a picture; name all or none')
    return text, [] if empty else pictures


def _picture(part: Mapping[str, object], name: str) -> object:
    """What a part says its picture is; None: it is in the row's own column."""
    for key in ("image_url", "image", "url", "path", "bytes"):
        value = part.get(key)
        if isinstance(value, Mapping) and key == "image_url":
            value = value.get("url")
            if value is None:
                raise InputError(f'"{name}" has an image_url without url')
        if value is not None and value != "":
            return value
    return None
