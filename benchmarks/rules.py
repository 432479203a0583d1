"""How many of the labels that a rule hits are wrong, against the demo's true answers?

    mmupt demo --out demo && python benchmarks/rules.py demo

For each rule and two conditions over the rollouts of round 1: how many labels it hits of how many
it could judge, and the share of wrong labels among its hits. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import yaml

from mmupt.audit.rule_facts import facts_of
from mmupt.audit.rules import apply_rules
from mmupt.config_supervision import RuleConfig, RulesConfig
from mmupt.consensus.equivalence import equivalent
from mmupt.demo import demo_answers
from mmupt.pipeline.frame import last_rows, rollout_rows

OWN = {
    "other-views": "agreement < 0.5",
    "split-votes": "share < 0.7 and label != none",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what `mmupt demo --out` left")
    folder = parser.parse_args().folder
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    truth = demo_answers(config["seed"])
    facts = [
        facts_of(row) for row in last_rows(rollout_rows(folder / "rollouts", "round-1", 10**9))
    ]
    wrong = {
        one.sample_id: not equivalent(one.pseudo_label, truth[one.sample_id])
        for one in facts
        if one.pseudo_label is not None
    }
    own = tuple(RuleConfig(name=name, when=when) for name, when in OWN.items())
    started = time.perf_counter()
    hits = apply_rules(facts, RulesConfig(number_range=(0, 36), own=own))  # sums of four digits
    seconds = time.perf_counter() - started
    found = {"all labels": (len(wrong), len(wrong), sum(wrong.values()))}
    for hit in hits:
        found[hit.rule] = (hit.count, hit.of, sum(wrong.get(one, False) for one in hit.ids))
    for name, (count, of, bad) in found.items():
        share = f"{bad / count:6.1%} wrong" if count and bad else ""
        print(f"{name:22} {count:5} of {of:5}  {share}")
    print(json.dumps({"seconds": round(seconds, 2), "rules": found}))


if __name__ == "__main__":
    main()
