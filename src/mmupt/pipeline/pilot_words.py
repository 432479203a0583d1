"""The verdicts of a pilot and what it says, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Verdict(StrEnum):
    """What to do, and `NOTE` for findings that argue for nothing."""

    NOTE = "note"
    READY = "ready"
    SFT_FIRST = "sft-first"
    NOT_SUITABLE = "not-suitable"


VERDICTS: Mapping[Verdict, Mapping[str, str]] = {
    Verdict.READY: {
        "en": "ready: a label-free run on these questions is worth trying.",
        "ja": "ready:この質問群でラベルなし学習を試す価値があります。",
    },
    Verdict.SFT_FIRST: {
        "en": "sft-first: fine-tune on some labelled rows, then repeat this pilot.",
        "ja": "sft-first:まずラベル付きの行で教師ありファインチューニングを行い、"
        "その後でもう一度パイロットを実行してください。",
    },
    Verdict.NOT_SUITABLE: {
        "en": "not-suitable: voting would teach this model something else than to read "
        "these pictures.",
        "ja": "not-suitable:投票で学習させても、このモデルは画像の読み取りを学びません。",
    },
}

TEXTS: Mapping[str, Mapping[str, str]] = {
    "unreadable": {
        "en": "{abstained} of the answers cannot be read ({truncated} were cut at the length "
        "limit): teach the form of the answer with labelled rows, or raise "
        "train.max_completion_length.",
        "ja": "回答の {abstained} が読み取れません({truncated} は長さの上限で打ち切り)。"
        "ラベル付きの行で回答形式を教えるか、train.max_completion_length を上げてください。",
    },
    "no_pictures": {
        "en": "The rows have no pictures, so whether the answers depend on pictures could not be "
        "tested.",
        "ja": "画像のない行だけなので、回答が画像に依存するかは検査できませんでした。",
    },
    "no_other_picture": {
        "en": "The rows offer no other picture to swap in (or too few readable answers), so "
        "whether the answers depend on the picture could not be tested.",
        "ja": "入れ替えられる別の画像がない(または読める回答が少なすぎる)ため、"
        "回答が画像に依存するかは検査できませんでした。",
    },
    "blank_suffices": {
        "en": "{blank} of the labels stay the same when the pictures are blank: the questions "
        "alone suggest the answers.",
        "ja": "画像を空白にしてもラベルの {blank} が変わりません。"
        "質問文だけで答えが決まっています。",
    },
    "picture_constant": {
        "en": "Every answer is the same whatever picture is shown: the pictures have no "
        "part in it.",
        "ja": "どの画像を見せても回答がすべて同じで、画像は使われていません。",
    },
    "picture_ignored": {
        "en": "The answers hardly depend on the picture: at temperature 1 two answers about one "
        "picture agree in {own}, answers about two different pictures in {other} (kappa {kappa}, "
        "at least {min} is needed). Either the pictures do not show what is asked, or this model "
        "cannot see it.",
        "ja": "回答は画像にほとんど依存していません。温度1で同じ画像への2つの回答の一致は {own}、"
        "別々の画像への回答の一致は {other} です(カッパ {kappa}、{min} 以上が必要)。"
        "画像に答えが写っていないか、このモデルには見えていません。",
    },
    "picture_unsure": {
        "en": "Too few questions to be sure that the answers depend on the picture: kappa is "
        "{kappa}, but its 95% interval starts at {low} and {min} is needed. Vote on more rows.",
        "ja": "回答が画像に依存すると言い切るには質問が足りません。カッパは {kappa} ですが、"
        "95%区間の下端 {low} が必要な {min} を下回ります。行を増やして投票してください。",
    },
    "picture_weak": {
        "en": "The answers depend on the picture, but loosely: at temperature 1 two answers about "
        "one picture agree in {own}, answers about two different pictures in {other} "
        "(kappa {kappa}; {ready} is wanted).",
        "ja": "回答は画像に依存していますが、弱い依存です。温度1で同じ画像への2つの回答の"
        "一致は {own}、別々の画像への回答の一致は {other} です"
        "(カッパ {kappa}、{ready} 以上が望まれます)。",
    },
    "picture_seen": {
        "en": "The answers depend on the picture: at temperature 1 two answers about one picture "
        "agree in {own}, answers about two different pictures in {other} (kappa {kappa}).",
        "ja": "回答は画像に依存しています。温度1で同じ画像への2つの回答の一致は {own}、"
        "別々の画像への回答の一致は {other} です(カッパ {kappa})。",
    },
    "one_answer": {
        "en": "{top} of all labels are the same answer: training on them would teach to give it "
        "always. Balance the rows, or label the rare cases.",
        "ja": "ラベルの {top} が同じ答えです。このまま学習すると常にその答えを返すようになります。"
        "行の偏りを直すか、少数のケースにラベルを付けてください。",
    },
    "any_picture": {
        "en": "{other} of the labels stay the same with another question's picture: the questions "
        "alone suggest the answers.",
        "ja": "別の質問の画像に入れ替えてもラベルの {other} が変わりません。"
        "質問文だけで答えが決まっています。",
    },
    "no_vote": {
        "en": "The answers to a question are copies of one (a single view, or no pictures, at "
        "temperature 0), so that they agree says nothing: raise consensus.temperature, or ask "
        "more views.",
        "ja": "1つの質問への回答はすべて同じものの写しなので(ビューが1つ、または画像なしで"
        "温度0)、一致に意味がありません。consensus.temperature を上げるか、"
        "ビューを増やしてください。",
    },
    "divided": {
        "en": "The votes are divided: the mean vote share is {share}, {limit} is wanted.",
        "ja": "票が割れています。平均得票率は {share} で、{limit} 以上が望まれます。",
    },
    "few_kept": {
        "en": "Only {kept} of the questions reach the vote share of {min_share} that training asks "
        "for; at least {min_kept} are wanted.",
        "ja": "学習に必要な得票率 {min_share} に達する質問は {kept} だけです"
        "({min_kept} 以上が望まれます)。",
    },
    "agreed": {
        "en": "The votes agree: the mean vote share is {share}, and {kept} of the questions reach "
        "the {min_share} that training asks for.",
        "ja": "票はまとまっています。平均得票率は {share} で、質問の {kept} が"
        "学習に必要な {min_share} に達しています。",
    },
    "audit_kept_useless": {
        "en": "{right} of {n} audited labels at a share of {min_share} or more are right "
        "({accuracy}); answering always the same would give {always}.",
        "ja": "得票率 {min_share} 以上で確認したラベル {n} 件のうち正解は {right} 件"
        "({accuracy})で、常に同じ答えを返した場合の {always} を上回りません。",
    },
    "audit_kept_wrong": {
        "en": "{right} of {n} audited labels at a share of {min_share} or more are right "
        "({accuracy}, 95% interval {low} to {high}; {limit} is wanted): too many of the labels "
        "that training would use are wrong.",
        "ja": "得票率 {min_share} 以上で確認したラベル {n} 件のうち正解は {right} 件"
        "({accuracy}、95%区間 {low}〜{high}、{limit} 以上が望まれます)。"
        "学習に使われるラベルに誤りが多すぎます。",
    },
    "audit_kept_right": {
        "en": "{right} of {n} audited labels at a share of {min_share} or more are right "
        "({accuracy}, 95% interval {low} to {high}): of the labels that training would use, at "
        "worst {wrong} are wrong.",
        "ja": "得票率 {min_share} 以上で確認したラベル {n} 件のうち正解は {right} 件"
        "({accuracy}、95%区間 {low}〜{high})。学習に使われるラベルの誤りは最悪でも {wrong} です。",
    },
    "audit_all_useless": {
        "en": "{right} of {n} audited labels are right ({accuracy}); answering always the same "
        "would give {always}.",
        "ja": "確認したラベル {n} 件のうち正解は {right} 件({accuracy})で、"
        "常に同じ答えを返した場合の {always} を上回りません。",
    },
    "audit_all_wrong": {
        "en": "{right} of {n} audited labels are right ({accuracy}, 95% interval {low} to {high}; "
        "{limit} is wanted); too few of them reach the share of {min_share} to be judged alone.",
        "ja": "確認したラベル {n} 件のうち正解は {right} 件"
        "({accuracy}、95%区間 {low}〜{high}、{limit} 以上が望まれます)。"
        "得票率 {min_share} 以上のものは少なすぎて単独では判断できません。",
    },
    "audit_all_right": {
        "en": "{right} of {n} audited labels are right ({accuracy}, 95% interval {low} to {high}); "
        "too few of them reach the share of {min_share} to be judged alone.",
        "ja": "確認したラベル {n} 件のうち正解は {right} 件({accuracy}、95%区間 {low}〜{high})。"
        "得票率 {min_share} 以上のものは少なすぎて単独では判断できません。",
    },
    "audit_small": {
        "en": "Only {n} audited rows have a label; from {min} on their accuracy counts.",
        "ja": "確認済みの行のうちラベルがあるのは {n} 件だけです。"
        "{min} 件から正解率を判断に使います。",
    },
    "not_audited": {
        "en": "Whether the majority is right was not checked: votes can agree on a mistake. Have "
        "some 50 answers given by people, and repeat the command with --audit.",
        "ja": "多数決が正しいかどうかは確認していません(全員一致でも誤りはあり得ます)。"
        "50件ほど人が答えを付け、--audit を付けて同じコマンドを実行してください。",
    },
    "few_rows": {
        "en": "Only {n} questions: all figures are rough, {min} or more are better.",
        "ja": "質問が {n} 件しかないため、どの数値も大まかです。{min} 件以上が望まれます。",
    },
    "copies": {
        "en": "At temperature 0 the {count} answers to a view are copies of one: only the views "
        "vote. Raise consensus.temperature, or ask more views.",
        "ja": "温度0では1つのビューへの {count} 個の回答は同じものです。"
        "consensus.temperature を上げるか、ビューを増やしてください。",
    },
    "one_view": {
        "en": "All votes come from one view of the picture, so agreement across views is unknown.",
        "ja": "投票に使った画像のビューは1つだけなので、ビュー間の一致は不明です。",
    },
}
"""The sentences. Fractions in them are written as percentages, kappa as it is."""
