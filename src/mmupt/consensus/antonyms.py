"""Words that exclude each other: a small list of what photographs and panels are described with.

A list and not a dictionary, because every entry costs something: a pair that is used loosely
makes texts contradict each other that do not. What is read and what is not:

- `on` and `off` only where they state something (`the lamp is off`, `turned on`, `電源オン`), not
  as prepositions; `close` (near) is not `closed`; 開始 is not 開, 以上 is not 上, 空 as the sky is
  not 空 as empty.
- A negated side of a complementary pair is its other side: `not open` = `closed`, 異常なし = 正常.
  Elsewhere (`not full`) it only excludes the side itself.
- Colours exclude each other for the thing they are said of, never across a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Opposites:
    """Sides of which a thing has one.

    Attributes:
        sides: one regular expression a side, over case-folded text without look-behind for word
            ends: Latin sides are matched as whole words.
        complementary: of two sides, denying one states the other.
        stated: leaving it out where the other text states it is an omission worth a penalty.
        bound: said of the nearest word, not of the clause.
    """

    sides: tuple[tuple[str, str], ...]
    complementary: bool = False
    stated: bool = True
    bound: bool = False


# Group -> sides, each (Latin words, Japanese). 解錠 has to stand before 開, 不合格 before 合格.
OPPOSITES: Mapping[str, Opposites] = {
    "lock": Opposites(
        (("unlock(?:ed|s)?", "解錠|開錠"), ("lock(?:ed|s)?", "施錠")), complementary=True
    ),
    "open": Opposites(
        (
            ("open(?:s|ed|ing)?", "(?<![公展再満切打])開(?![始発催示])"),
            ("clos(?:ed|es|ing)|shut", "閉"),
        ),
        complementary=True,
    ),
    "on": Opposites(
        (
            (
                r"(?:turned|switched|powered) on|on(?=\W*$|\s*(?:です|で|に|の|状態))"
                "|lit|illuminated|glowing",
                "点灯|点い|(?<![ァ-ヶー])オン(?![ァ-ヶー])",
            ),
            (
                r"(?:turned|switched|powered|is|are) off|off(?=\W*$|\s*(?:です|で|に|の|状態))"
                "|unlit",
                "消灯|消え|(?<![ァ-ヶー])オフ(?![ァ-ヶー])",
            ),
        ),
        complementary=True,
    ),
    "pass": Opposites(
        (("fail(?:s|ed)?|ng", "不合格"), ("pass(?:es|ed)|ok", "合格")), complementary=True
    ),
    "normal": Opposites(
        (
            ("normal(?:ly)?", "正常|良好|良品"),
            (
                "abnormal(?:ly|ity|ities)?|anomal(?:y|ies|ous)|faulty|defect(?:s|ive)?",
                "異常|不良|欠陥",
            ),
        ),
        complementary=True,
    ),
    "present": Opposites(
        (("present", "在席|在室"), ("absent|missing", "不在")), complementary=True, stated=False
    ),
    "connected": Opposites(
        (("disconnected|unplugged", "切断"), ("connected|plugged in", "接続")), complementary=True
    ),
    # Dogs run, too: not saying so is no omission.
    "running": Opposites(
        (("running", "運転中|稼働|作動"), ("stopped|halted|idle", "停止")),
        complementary=True,
        stated=False,
    ),
    "full": Opposites(
        (
            ("full", "満杯|満タン|満車|満水|満席|いっぱい"),
            ("empty", r"空っぽ|空車|空席|空(?=です|である|\W*$)"),
        )
    ),
    "side": Opposites((("left(?:most)?", "左"), ("right(?:most)?", "右"))),
    "height": Opposites(
        (
            (
                r"up(?=\W*$)|upwards?|upper|thumbs up|top",
                "(?<![以地])上(?![がげ着昇])",
            ),
            (
                r"down(?=\W*$)|downwards?|lower|thumbs down|bottom",
                "(?<![以地])下(?![がげ着降])",
            ),
        ),
        stated=False,
    ),
    "front": Opposites(
        (("front", "前方|正面|手前"), ("back|behind|rear", "後方|背面|奥")), stated=False
    ),
    "inside": Opposites(
        (("inside|indoors?", "屋内|室内|内側"), ("outside|outdoors?", "屋外|室外|外側")),
        stated=False,
    ),
    "sex": Opposites(
        (("m[ae]n|males?|boys?", "男"), ("wom[ae]n|females?|girls?", "女")), stated=False
    ),
    "posture": Opposites(
        (("stand(?:s|ing)|stood", "立って|立ち"), ("sits?|sitting|sat|seated", "座って|座り")),
        stated=False,
    ),
    "day": Opposites((("day|daytime|daylight", "昼"), ("night|nighttime", "夜")), stated=False),
    "size": Opposites((("large|big", "大き"), ("small|little|tiny", "小さ")), stated=False),
    "level": Opposites((("high(?:er)?", "高い|高く"), ("low", "低い|低く"))),
    "trend": Opposites(
        (
            ("increas(?:es?|ed|ing)|rises?|rising|rose", "増加|増え|上昇|上が"),
            (
                "decreas(?:es?|ed|ing)|falls?|falling|fell|declin(?:es?|ed|ing)",
                "減少|減っ|下降|下が",
            ),
        ),
    ),
    "truth": Opposites((("true", "正しい"), ("false", "誤り"))),
    "order": Opposites(
        (("first", ""), ("second", ""), ("third", ""), ("fourth", ""), ("fifth", "")),
        stated=False,
    ),
    "colour": Opposites(
        (
            ("red", "赤"),
            ("blue", "青"),
            ("green", "緑"),
            ("yellow", "黄"),
            ("orange", "橙|オレンジ"),
            ("purple", "紫"),
            ("pink", "桃色|ピンク"),
            ("brown", "茶"),
            ("black", "黒"),
            ("white", "白"),
            ("gr[ae]y", "灰色|グレー"),
        ),
        stated=False,
        bound=True,
    ),
}
