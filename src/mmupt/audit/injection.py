"""Text that reads like instructions to a model or to a reviewer, by documented patterns.

Pictures and data files come from outside, and a model may copy what stands in a picture. What is
found here was not necessarily meant as an attack; that nothing is found proves nothing.

Every pattern reads a text in linear time: repetitions are bounded, and no two of them meet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

MAX_TEXT = 20_000
"""Characters of a text that are searched: its beginning and its end, half each."""

# Zero-width and direction marks split words for a machine and not for an eye.
_UNSEEN = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufe00-\ufe0f]"
)
_BLANK = re.compile(r"[^\S\n]+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of suspicious text.

    Attributes:
        about: what it looks for, for docs/rules.md.
        clues: without any of them in a text the search is spared, which most texts are.
        found_by: matched against normalised text.
    """

    about: str
    clues: tuple[str, ...]
    found_by: re.Pattern[str]

    def within(self, normal: str) -> bool:
        """Whether a normalised text holds it."""
        return any(clue in normal for clue in self.clues) and bool(self.found_by.search(normal))


def _pattern(about: str, clues: str, *ways: str) -> Pattern:
    found_by = re.compile("|".join(f"(?:{way})" for way in ways))
    return Pattern(about, tuple(clues.split("|")), found_by)


_EARLIER = r"(?:previous|prior|preceding|earlier|above|former|foregoing|your|all|any|these|the)"
_ORDERS = r"(?:instructions?|prompts?|guidelines|directives)"
_PEOPLE = r"(?:reviewer|grader|annotator|labell?er|evaluator|auditor|rater)s?"
_ORDERS_JA = "(?:指示|命令|プロンプト|指令|インストラクション)"
_PEOPLE_JA = "(?:採点者|審査者|評価者|査読者|監査者|レビュアー|レビュー担当者?)"

PATTERNS: Mapping[str, Pattern] = {
    "override": _pattern(
        "earlier instructions are to be ignored",
        "ignor|disregard|forget|override|bypass|follow|無視|忘れ|破棄|従わ|取り消",
        r"\b(?:ignor(?:e|ing)|disregard|forget|override|bypass|do not follow|don't follow)\b"
        rf"(?: [a-z]{{1,12}}){{0,3}}? {_EARLIER}(?: [a-z]{{1,12}}){{0,3}}? {_ORDERS}\b",
        r"(?:以前|前|上記|上|これまで|今まで|先|他|すべて|全て|全部)の[^。\n]{0,12}?"
        rf"(?:{_ORDERS_JA}|ルール|規則|制約)[^。\n]{{0,10}}?(?:無視|忘れ|破棄|従わ|取り消)",
        rf"{_ORDERS_JA}(?:を|は|など)?(?:すべて|全て|全部)?(?:無視|忘れ(?:て|ろ|なさい)|破棄)",
    ),
    "system-prompt": _pattern(
        "the system prompt, or hidden instructions, are spoken of",
        "prompt|message|instruction|プロンプト|指示",
        r"\b(?:system|developer|initial|internal) prompt\b",
        r"\byour (?:system|developer|initial|internal) (?:message|instructions?)\b",
        r"\b(?:hidden|secret) (?:prompt|instructions?)\b",
        "(?:システム|初期|内部|隠された|秘密の) ?プロンプト",
        "(?:システム|隠された|秘密の)指示",
    ),
    "role": _pattern(
        "a model is given another role",
        "you are now|pretend|act as if|from now on| mode|あなたは|今後は|これからは",
        r"\byou are now (?:a|an|no longer|dan)\b",
        r"\b(?:pretend|act as if)(?: that)? (?:you are|you're|to be)\b",
        r"\bfrom now on,? you\b",
        r"\b(?:developer|jailbreak|god|dan) mode\b",
        "あなたは(?:今|いま|これ)から",
        r"(?:今後は|これからは)[^。\n]{0,20}?(?:として|のように)(?:振る舞|ふるま|行動|回答|応答)",
    ),
    "marker": _pattern(
        "marks of a chat template, of roles or of tool calls",
        '<|inst]|#|assistant|system|developer|"tool_call|"function_call|"arguments',
        r"<\|[^|<>\n]{1,40}\|>",
        r"\[/?inst\]",
        r"<</?sys>>",
        r"</?(?:system|assistant|developer|tool|tool_call|tool_response|function_calls?|invoke)>",
        r"<(?:start|end)_of_turn>",
        r"(?:^|\n) ?#{1,6} ?(?:system|assistant|instructions?) ?:? ?(?=\n|$)",
        r"(?:^|\n) ?assistant ?:",
        r"(?:^|\n) ?(?:system|developer) ?: ?"
        r"(?:you|ignore|please|do|always|never|from now|あなた)\b",
        r"\"(?:tool_calls?|function_call|arguments)\" ?: ?[\[{\"]",
    ),
    "reviewer": _pattern(
        "a reviewer, or a grader, is told what to decide",
        " as correct| as right| as accepted| as approved| as valid| as true|accept|approve|reviewer"
        "|grader|annotator|labeler|labeller|evaluator|auditor|rater|正解|正しい|合格|承認|問題なし"
        "|採点者|審査者|評価者|査読者|監査者|レビュ",
        r"\b(?:mark|grade|rate|score|label|accept|approve|judge|treat) (?:this|it|the|my|all)"
        r"(?: [a-z]{1,12}){0,3}? as (?:correct|right|accepted|approved|valid|true)\b",
        r"\b(?:accept|approve) (?:this|my) (?:answer|label|response|claim|form)\b",
        rf"\b(?:dear|attention|note to|message to|hey) (?:the |human |all ){{0,2}}{_PEOPLE}\b",
        rf"\b{_PEOPLE} ?(?:[:,] ?(?:please )?|must |should |please )"
        r"(?:accept|approve|mark|give|ignore|confirm)\b",
        "(?:正解|正しい|合格|承認済み|問題なし)(?:として|と|に)(?:採点|判定|評価|記録|マーク|承認)?"
        "(?:してください|して下さい|せよ|しなさい|すること|しろ)",
        rf"{_PEOPLE_JA}(?:の方|の皆様|の皆さん|各位)?(?:へ|は、?必ず)",
        "(?:無条件に|必ず)(?:承認|合格|正解)",
    ),
    "secrecy": _pattern(
        "something is to be kept from people",
        "tell|inform|alert|notify|reveal|mention|伝え|知らせ|教え|言わ|話さ",
        r"\b(?:do not|don't|never) (?:tell|inform|alert|notify|reveal|mention)"
        r"(?: [a-z]{1,12}){0,4}? (?:users?|humans?|reviewers?|operators?|anyone|annotators?)\b",
        r"(?:ユーザー|利用者|人間|担当者|レビュアー|誰)[^。\n]{0,12}?"
        "(?:伝え|知らせ|教え|言わ|話さ)(?:ない|るな|ず)",
    ),
    "link": _pattern(
        "an address that could carry data away: a link with a query, a picture from the web",
        "http|data:text",
        r"https?://[^\s?<>\"']{1,200}\?[^\s=<>\"']{1,64}=",
        r"!\[[^\]\n]{0,80}\]\( ?https?://",
        r"\bdata:text/html\b",
    ),
    "command": _pattern(
        "something to be run",
        "<script|javascript:|curl |wget |rm -r|powershell",
        r"<script\b",
        r"\bjavascript:",
        r"\b(?:curl|wget) (?:-{1,2}[a-z-]{1,20} ){0,5}[\"']?https?://",
        r"\brm -rf? ",
        r"\bpowershell(?:\.exe)? -",
    ),
}
"""All patterns by name."""


def suspicious(text: str) -> tuple[str, ...]:
    """Names of the patterns that a text matches.

    Args:
        text: of any length; the first and the last 10,000 characters are searched. Full-width forms
            are folded (NFKC), zero-width characters removed.
    """
    normal = _normal(text)
    return tuple(name for name, one in PATTERNS.items() if one.within(normal))


def _normal(text: str) -> str:
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFKC", _ends(text)))
    return _ends(_BLANK.sub(" ", _ends(text)).lower())


def _ends(text: str) -> str:
    half = MAX_TEXT // 2
    return text if len(text) <= MAX_TEXT + 1 else f"{text[:half]}\n{text[-half:]}"
