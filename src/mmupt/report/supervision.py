"""A project's facts as the page shows them: decision, return, audits, lineage, ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmupt.report.table import gain_of
from mmupt.report.text import (
    NOTHING,
    clean,
    count,
    duration,
    moment,
    percent,
    percent_range,
    points,
    stage_title,
    words,
)
from mmupt.report.values import Kind, find, interval, mapping, number, stages_of

Facts = Mapping[str, Any]

_WH = 3600.0
"""Joules of a Wh."""

_LONG, _NAME = 2000, 80
_MOST_GROUPS = 40
"""Of slices; all stand in `report.json`."""


def rows_of(facts: Facts, key: str) -> list[Mapping[str, Any]]:
    """A list of a project's facts; empty where the part could not be read."""
    found = facts.get(key)
    return [mapping(one) for one in found] if isinstance(found, list) else []


def project_view(facts: Facts, lang: str) -> dict[str, Any]:
    """Everything of a project that the template shows, as text."""
    decisions, shown = rows_of(facts, "decisions"), current_decision(facts)
    audits = rows_of(facts, "audits")
    return {
        "champion": _champion(facts, lang),
        "decision": _decision(shown, lang) if shown else None,
        "others": [_other(one, lang) for one in reversed(decisions) if one is not shown],
        "roi": _roi(facts, lang),
        "audits": [_audit(one, lang) for one in audits],
        "slices": _slices(audits, lang),
        "versions": [_version(one, lang) for one in rows_of(facts, "versions")],
        "history": [
            _move(one, decisions, lang)
            for one in reversed(rows_of(facts, "history"))
            if _changes_much(one)
        ],
        "ledger": _ledger(facts, lang),
    }


def current_decision(facts: Facts) -> Mapping[str, Any]:
    """The decision on the newest stage that has one; empty before any.

    Not the newest decision: an older version is decided again where its evidence changed.
    """
    decided = {str(one["version"]): one for one in rows_of(facts, "decisions")}
    order = [str(row.get("name")) for row in rows_of(facts, "versions")]
    for name in (str(facts.get("stage")), *reversed(order), *reversed(decided)):
        if name in decided:
            return decided[name]
    return {}


def headline(facts: Facts, metrics: Mapping[str, Any], lang: str) -> str:
    """The one sentence that the page opens with; empty where the run's own says it better."""
    texts = words(lang)
    state, stage = str(facts.get("state")), stage_title(str(facts.get("stage") or ""), lang)
    why = clean(str(mapping(facts.get("why")).get(lang) or ""), _LONG)
    last = current_decision(facts)
    if state in ("refused", "insufficient", "awaiting-audit"):
        return why or texts[f"project_{state.replace('-', '_')}"].format(stage=stage)
    if state == "stopped":
        return why or texts["project_stopped"]
    if not last or last.get("verdict") != "pass":
        return str(mapping(last.get("explained")).get(lang) or "") if last else ""
    version = stage_title(str(last.get("version")), lang)
    serves = last.get("version") == facts.get("champion")
    key = "head_serves" if serves else "head_passed"
    return _with_gain(texts[key].format(version=version), metrics, lang)


def tells_gain(facts: Facts, metrics: Mapping[str, Any]) -> bool:
    """Whether `headline` already says what became of sampled accuracy."""
    last = current_decision(facts)
    quiet = str(facts.get("state")) in ("refused", "insufficient", "awaiting-audit", "stopped")
    return (
        not quiet
        and last.get("verdict") == "pass"
        and not math.isnan(gain_of(metrics, "mean")[1].low)
    )


def _with_gain(head: str, metrics: Mapping[str, Any], lang: str) -> str:
    """A clause about the decision, and what became of sampled accuracy."""
    texts = words(lang)
    stages = stages_of(metrics)
    start, last = find(stages, Kind.SFT) or find(stages, Kind.BASE), find(stages, Kind.LABEL_FREE)
    gain, ends = gain_of(metrics, "mean")
    if start is None or last is None or math.isnan(gain) or math.isnan(ends.low):
        return texts["head_alone"].format(head=head)
    case = "up" if ends.low > 0 else "down" if ends.high < 0 else "flat"
    return texts[f"head_gain_{case}"].format(
        head=head, before=percent(start.estimates["mean"].value),
        after=percent(last.estimates["mean"].value), gain=points(gain),
        low=points(ends.low), high=points(ends.high),
    )  # fmt: skip


def _champion(facts: Facts, lang: str) -> list[str]:
    """Which version serves, and which is to."""
    texts, lines = words(lang), []
    if facts.get("champion"):
        version = stage_title(str(facts["champion"]), lang)
        lines.append(texts["project_champion"].format(version=version))
    if facts.get("challenger"):
        version, rollout = stage_title(str(facts["challenger"]), lang), facts.get("rollout")
        key = "status_challenger" if rollout else "status_challenger_asked"
        lines.append(texts[key].format(version=version, rollout=clean(str(rollout), 20)))
    return lines


def _decision(decision: Mapping[str, Any], lang: str) -> dict[str, Any]:
    """The newest decision with all its criteria."""
    texts = words(lang)
    rows = []
    for check in decision["checks"]:
        said = mapping(mapping(check["words"]).get(lang))
        rows.append(
            {
                "look": str(check["verdict"]),
                "measured": bool(said.get("figure")),
                **{
                    key: clean(str(said.get(key) or NOTHING), 300)
                    for key in ("criterion", "figure", "bound", "verdict")
                },
            }
        )
    return {
        "title": texts["decision_title"].format(
            version=stage_title(str(decision["version"]), lang),
            baseline=stage_title(str(decision["baseline"]), lang),
        ),
        "look": str(decision["verdict"]),
        "verdict": texts.get(f"gate_{decision['verdict']}", str(decision["verdict"])),
        "explained": clean(str(mapping(decision["explained"]).get(lang)), _LONG),
        "made": moment(decision.get("made")),
        "rows": rows,
    }


def _other(decision: Mapping[str, Any], lang: str) -> dict[str, str]:
    verdict = str(decision["verdict"])
    return {
        "version": stage_title(str(decision["version"]), lang),
        "look": verdict,
        "verdict": words(lang).get(f"gate_{verdict}", verdict),
        "explained": clean(str(mapping(decision["explained"]).get(lang)), _LONG),
        "made": moment(decision.get("made")),
    }


def _roi(facts: Facts, lang: str) -> dict[str, Any] | None:
    roi = mapping(mapping(facts.get("roi")).get(lang))
    if not roi:
        return None
    return {
        "sentences": [clean(str(one), 600) for one in roi["sentences"]],
        "notes": [clean(str(one), 600) for one in roi["notes"]],
    }


def _ledger(facts: Facts, lang: str) -> dict[str, Any] | None:
    """What was booked by stage, and every figure of the return with its formula."""
    roi = mapping(mapping(facts.get("roi")).get(lang))
    if not roi:
        return None
    texts = words(lang)
    rows = []
    for stage, booked in mapping(roi["booked"]).items():
        amounts = {kind: number(mapping(one).get("quantity")) for kind, one in booked.items()}
        name, _, part = str(stage).partition("/")
        title = stage_title(name, lang)
        joules = amounts.get("energy_joules", math.nan)
        rows.append([
            f"{title} / {texts.get(f'step_{part}', clean(part, 40))}" if part else title,
            duration(amounts.get("compute_seconds", math.nan), lang),
            count(amounts.get("tokens", math.nan)),
            NOTHING if math.isnan(joules) else f"{joules / _WH:,.3g}",
            duration(amounts.get("review_seconds", math.nan), lang),
            count(amounts.get("labels", math.nan)),
            count(amounts.get("audited_labels", math.nan)),
        ])  # fmt: skip
    figures = [
        (
            clean(str(one.get("title") or one["key"]), 200),
            clean(str(one["text"]), 200),
            clean(str(one["formula"]), 400),
        )
        for one in roi["figures"]
    ]
    return {"rows": rows, "figures": figures}


def _audit(audit: Mapping[str, Any], lang: str) -> dict[str, Any]:
    told = number(audit.get("right")) + number(audit.get("wrong")) > 0
    alpha = number(audit.get("alpha"))
    return {
        "stage": stage_title(str(audit["name"]), lang),
        "judged": f"{count(number(audit.get('judged')))} / {count(number(audit.get('asked')))}",
        "population": count(number(audit.get("population"))),
        "verdicts": " / ".join(
            count(number(audit.get(key))) for key in ("right", "wrong", "unsure")
        ),
        "precision": percent(number(audit.get("precision"))) if told else NOTHING,
        "ends": percent_range(interval(audit.get("precision_ci"))) if told else "",
        "needed": count(number(audit.get("still_needed"))),
        "alpha": NOTHING if math.isnan(alpha) else f"{alpha:.2f}",
        "people": ", ".join(
            f"{clean(str(one['reviewer']), 40)} ({duration(number(one['seconds']), lang)})"
            for one in rows_of(audit, "reviewers")
        )
        or NOTHING,
        "last": moment(audit.get("last_verdict")) if audit.get("last_verdict") else NOTHING,
    }


def _slices(audits: Sequence[Mapping[str, Any]], lang: str) -> list[dict[str, str]]:
    """Precision by groups of the newest audit that has any."""
    for audit in reversed(audits):
        found = [
            {
                "column": clean(str(column), _NAME), "group": clean(str(group["name"]), _NAME),
                "n": count(number(group.get("n"))),
                "value": percent(number(group.get("estimate"))),
                "ends": percent_range(interval([group.get("low"), group.get("high")])),
                "stage": stage_title(str(audit["name"]), lang),
            }
            for column, groups in mapping(audit.get("slices")).items()
            for group in groups
            if number(group.get("n")) > 0
        ]  # fmt: skip
        if found:
            return found[:_MOST_GROUPS]
    return []


def _version(row: Mapping[str, Any], lang: str) -> dict[str, str]:
    texts = words(lang)
    gate = row.get("gate")
    return {
        "name": clean(str(row["name"]), _NAME),
        "aliases": ", ".join(str(one) for one in row.get("aliases") or ()) or NOTHING,
        "parent": clean(str(row.get("parent") or NOTHING), _NAME),
        "gate": texts.get(f"gate_{gate}", clean(str(gate or NOTHING), 40)),
        "greedy": percent(number(row.get("greedy"))),
        "ends": percent_range(interval(row.get("greedy_ci"))),
        "data": ", ".join(
            f"{clean(str(name), 40)} {clean(str(digest)[:12], 12)}"
            for name, digest in mapping(row.get("data")).items()
        )
        or NOTHING,
        "audits": ", ".join(stage_title(str(one), lang) for one in row.get("audits") or ())
        or NOTHING,
        "digest": clean(str(row.get("digest"))[:12], 12),
        "created": moment(row.get("created")),
    }


def _changes_much(move: Mapping[str, Any]) -> bool:
    """Whether a move is more than that a gate was asked about a version, or asked no more."""
    introduced = mapping(move.get("before")).get("rollout") is not None
    return move.get("kind") != "challenger" and (move.get("kind") != "withdraw" or introduced)


_REASONS = {
    "the starting model": "reason_start",
    "its gate is being asked": "reason_asked",
    "its gate refused it": "reason_refused",
}
"""What `mmupt run` writes into the history, which has one language."""


def _reason(move: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], lang: str) -> str:
    """A move's reason in the reader's language where the system gave it; a person's own words."""
    texts, reason = words(lang), str(move.get("reason") or NOTHING)
    if move.get("by") != "mmupt run":
        return reason
    for one in decisions:
        explained = mapping(one.get("explained"))
        if explained.get("en") == reason:
            return str(explained.get(lang) or reason)
    head, _, stage = reason.rpartition(" ")
    if head == "the model of":
        return texts["reason_model"].format(stage=stage_title(stage, lang))
    return texts[_REASONS[reason]] if reason in _REASONS else reason


def _move(
    move: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], lang: str
) -> dict[str, str]:
    texts = words(lang)
    kind = str(move["kind"])
    return {
        "made": moment(move.get("made")),
        "kind": texts.get(f"move_{kind}", clean(kind, 40)),
        "version": clean(str(move["version"]), _NAME),
        "rollout": clean(str(move.get("rollout") or NOTHING), 20),
        "by": clean(str(move.get("by") or NOTHING), 60),
        "reason": clean(_reason(move, decisions, lang), 180),
    }
