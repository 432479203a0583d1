"""What the clauses of a text assert: what they speak of, and the numbers, sides and denials in it.

No grammar and no dictionary: a clause ends at punctuation and at words such as `and`, `while`, と
or ており; it speaks of its content words (Latin words by their first four letters, katakana words,
single kanji), and a negation reaches the nearest of them: forwards in English, backwards in
Japanese. Coarse, but it only has to say whether two clauses that are worded alike say opposite
things.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mmupt.consensus.antonyms import OPPOSITES
from mmupt.consensus.mentions import END, FOUND, MARK, mentions
from mmupt.consensus.parts import Key


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause.

    Attributes:
        key: all the following, to compare and to hash.
        content: the words that say what it is about.
        numbers: the numbers mentioned, with multiplicity.
        sides: group of `antonyms` (for colours with the word they are said of) -> sides stated;
            a side with False is denied.
        denied: runs of content words under a negation, each in order.
    """

    key: tuple[object, ...]
    content: frozenset[str] = field(compare=False)
    numbers: Counter[Key] = field(compare=False)
    sides: Mapping[str, frozenset[tuple[int, bool]]] = field(compare=False)
    denied: tuple[tuple[str, ...], ...] = field(compare=False)

    @property
    def marked(self) -> bool:
        """Whether it asserts anything that another clause could contradict."""
        return bool(self.numbers or self.sides or self.denied)


_COLOURS = "|".join(latin for latin, _ in OPPOSITES["colour"].sides)
_COLOUR_KANJI = "赤青緑黄紫黒白茶灰"
# `black and white` is one description and not two clauses.
_JOINED = re.compile(
    rf"(?<![a-z])({_COLOURS}) (?:and|&) (?=(?:{_COLOURS})(?![a-z]))"
    rf"|([{_COLOUR_KANJI}]色?)[とや](?=[{_COLOUR_KANJI}])"
)
_CJK = "\u3041-\u3096\u30a1-\u30fc\u4e00-\u9fff々"
_BREAK = re.compile(
    r"[.,;!?。、・()\[\]「」/\n]+"
    r"|(?<![a-z])(?:and|but|while|whereas|with|which|where|plus)(?![a-z])"
    r"|(?=(?<![a-z])without(?![a-z]))"
    rf"|(?<=[{_CJK}{END}]) +(?=[{_CJK}{MARK}])"
    rf"|(?<=[\u30a1-\u30fc\u4e00-\u9fff々つりん{END}])と(?=[\u30a1-\u30fc\u4e00-\u9fff{MARK}])"
    r"|(?<=[てで])(?:おり|いて)|(?<=い)るが|一方|ただし|また(?!は)"
)
_FILLERS = """
a an the this that these those there here it its he she they them his her their is are was were be
been being has have had do does did can could will would may might should of in on at to by for from
into onto near over under as or than then so very some any all both each one ones also just only too
who whose what when image picture photo photograph scene view figure shows show showing shown
depicts depicting seen see visible appears appear seems seem appeared detected observed found
present located
"""
_STOP = frozenset(_FILLERS.split())
_STOP_KANJI = frozenset("画像写真映見確認存在様子部分中有無的示状態事物色")
_FORWARD = "no|not|never|without|neither|nor|none|nobody|nothing|cannot|[a-z]+n't"
_BACKWARD = (
    "(?<![少危切幼])な(?:い|く|かった|し)(?!か)|無(?:い|く|し|(?=\\W*$))|ません|(?<=お)らず"
    "|(?<=[らせえけめれべげてねかがさたなば])ず(?=[にと]|\\W*$)|(?<=[\u4e00-\u9fff]ま)ず|(?<=ら)ぬ"
)
# `maybe`, `surely`, `must`, `only`, `soon` and `No. 3` look like negations.
_NOT_DENIED = re.compile(
    "かもしれ(?:ない|ません)|(?:に|間)違い(?:ない|ありません)|なければなら(?:ない|ず|ません)"
    "|なくては(?:なら|いけ)(?:ない|ません)|(?:しか|だけで)(?:は)?な(?:い|く)|not only"
    "|間もなく|まもなく|何気な[いく]|さりげな[いく]|仕方な[いく]"
    f"|(?<![a-z])no\\.?\\s*(?={MARK})"
)


def _token_pattern() -> re.Pattern[str]:
    sides = [
        f"(?P<{group}_{number}>" + "|".join(filter(None, (_whole(latin), japanese))) + ")"
        for group, opposites in OPPOSITES.items()
        for number, (latin, japanese) in enumerate(opposites.sides)
    ]
    return re.compile(
        f"(?P<number>{FOUND.pattern})|(?P<forward>{_whole(_FORWARD)}|未(?=[\u4e00-\u9fff]))"
        f"|(?P<backward>{_BACKWARD})|{'|'.join(sides)}"
        "|(?P<word>[a-z][a-z0-9]*|[\u30a1-\u30fa\u30fc]{2,}|[\u4e00-\u9fff々])"
    )


def _whole(latin: str) -> str:
    return f"(?<![a-z0-9])(?:{latin})(?![a-z0-9'])"


_TOKEN = _token_pattern()
_DENIABLE = ("word", "side")
_REACH = 8
"""Tokens that a negation reaches at most, so that a text of negations stays cheap."""
_NEAR = 2
"""Characters between a colour and the word behind it: a space, い or の, 色の."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of a clause that counts.

    Attributes:
        kind: word, side, number, forward or backward (negations).
        text: the content word, the group of a side, the index of a number.
        side: which side of its group.
        begin: where it begins in the clause.
        end: where it ends.
        joined: whether nothing but space stands between it and the token before.
    """

    kind: str
    text: str
    side: int
    begin: int
    end: int
    joined: bool


def clauses(text: str) -> tuple[Clause, ...]:
    """The clauses of a text that hold any token.

    Args:
        text: after `mentions.unnumbered` and `writing.plain`.
    """
    marked, numbers = mentions(text)
    folded = _NOT_DENIED.sub(" ", marked.casefold())
    folded = _JOINED.sub(lambda match: f"{match[1] or match[2]}-", folded)
    parts = (list(_tokens(part)) for part in _BREAK.split(folded) if part)
    return tuple(_clause(tokens, numbers) for tokens in parts if tokens)


def _tokens(part: str) -> Iterator[_Token]:
    last = 0
    for match in _TOKEN.finditer(part):
        kind, begin, end = match.lastgroup or "", match.start(), match.end()
        joined = not part[last:begin].strip(" -")
        group, _, side = kind.partition("_")
        if side:
            yield _Token("side", group, int(side), begin, end, joined)
        elif kind != "word":
            yield _Token(kind, match[2] or "", 0, begin, end, joined)  # [2]: index of a number
        elif match[0] not in _STOP and match[0] not in _STOP_KANJI:
            yield _Token("word", _stem(match[0]), 0, begin, end, joined)
        else:
            continue
        last = end


def _stem(word: str) -> str:
    """The first four letters, a plural s off: cars = car, parked = parking."""
    return (word[:-1] if len(word) > 3 and word.endswith("s") else word)[:4]


def _clause(tokens: Sequence[_Token], found: Sequence[Key]) -> Clause:
    denied: list[tuple[str, ...]] = []
    negated: set[int] = set()
    for index, token in enumerate(tokens):
        if token.kind in ("forward", "backward"):
            step = 1 if token.kind == "forward" else -1
            run = _run(tokens, index, step) or _run(tokens, index, -step)
            sides = {number for number in run if tokens[number].kind == "side"}
            # `no red car` denies the red one; only without a side is the thing itself denied.
            negated ^= sides
            if run and not sides:
                denied.append(tuple(tokens[number].text for number in run))
    stated: dict[str, frozenset[tuple[int, bool]]] = {}
    for index, token in enumerate(tokens):
        if token.kind == "side":
            opposites, side, holds = OPPOSITES[token.text], token.side, index not in negated
            if opposites.complementary and not holds:
                side, holds = 1 - side, True
            name = f"{token.text} {_said_of(tokens, index)}" if opposites.bound else token.text
            stated[name] = stated.get(name, frozenset()) | {(side, holds)}
    content = frozenset(token.text for token in tokens if token.kind == "word")
    numbers = Counter(found[int(token.text)] for token in tokens if token.kind == "number")
    key = (content, frozenset(numbers.items()), frozenset(stated.items()), tuple(denied))
    return Clause(key, content, numbers, stated, tuple(denied))


def _run(tokens: Sequence[_Token], index: int, step: int) -> list[int]:
    """The nearest words and sides before or behind a negation, as far as they stand together."""
    run: list[int] = []
    end = len(tokens) if step > 0 else -1
    for position in itertools.islice(range(index + step, end, step), _REACH):
        if run and not tokens[max(position, position - step)].joined:
            break
        if tokens[position].kind in _DENIABLE:
            run.append(position)
        elif run:
            break
    return sorted(run)


def _said_of(tokens: Sequence[_Token], index: int) -> str:
    """The word that a colour is said of: what follows (`red car`, 赤い車), else what precedes."""
    group, last = tokens[index].text, index
    while (
        last + 1 < len(tokens)
        and tokens[last + 1].kind == "side"
        and tokens[last + 1].text == group
    ):
        last += 1
    following = last + 1
    if _is_word(tokens, following) and tokens[following].begin - tokens[last].end <= _NEAR:
        # Kanji compounds have their head at the end: 赤い自動車 is a 車.
        while (
            not tokens[following].text.isascii()
            and _is_word(tokens, following + 1)
            and tokens[following + 1].joined
        ):
            following += 1
        return tokens[following].text
    before = [token.text for token in tokens[:index] if token.kind == "word"]
    return before[-1] if before else ""


def _is_word(tokens: Sequence[_Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].kind == "word"
