"""The model card of an export: what it is, what it rests on, what it must not be used for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmupt.export.check import Checked
from mmupt.export.formats import READ_BY_LLAMA_CPP, Format
from mmupt.export.source import Source
from mmupt.version import __version__

_HEAD = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_LICENSE = re.compile(r"^license: *[\"']?([A-Za-z0-9._+-]{1,60})[\"']?\s*$", re.MULTILINE)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|!$~])")


def found_license(folder: Path) -> str | None:
    """The licence that the card of a model's folder names, if it does."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = _HEAD.match(text)
    found = _LICENSE.search(head[1]) if head else None
    return found[1] if found else None


def export_card(
    kind: Format, source: Source, checked: Checked, license_name: str | None, base: str, model: str
) -> str:
    """README.md of the exported folder.

    Args:
        kind: the format.
        source: what was exported.
        checked: how the export compared with it.
        license_name: of the starting model; None: unknown.
        base: what the adapter's base model is called; only "peft" names it.
        model: the model's type, as in config.json.
    """
    parts = [
        _head(kind, license_name, base),
        f"# {_plain(source.name or 'model')}",
        _what(kind, source),
        _gate(source),
        _measured(source.version),
        _lineage(source.version),
        _use(kind, model),
        _checked(checked),
        _limits(license_name),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(kind: Format, license_name: str | None, base: str) -> str:
    lines = ["---", f"library_name: {'peft' if kind == 'peft' else 'transformers'}"]
    if license_name:
        lines.append(f"license: {_yaml(license_name)}")
    if kind == "peft":
        lines.append(f"base_model: {_yaml(base)}")
    return "\n".join([*lines, "pipeline_tag: image-text-to-text", "tags: [mmupt]", "---"])


def _what(kind: Format, source: Source) -> str:
    rounds = len(source.version.get("rounds") or ())
    made = f"An image-text model, written by mmupt {__version__}."
    if rounds:
        made = (
            f"An image-text model that mmupt {__version__} improved by {rounds} label-free "
            f"round{'s' * (rounds != 1)}: GRPO on the majority of its own answers (MM-UPT, arXiv "
            "2505.22453)."
        )
    form = {
        "hf": "a Hugging Face model",
        "merged": "a Hugging Face model, its adapter merged into the weights",
        "peft": "an adapter; it needs its base model",
        "gguf-ready": "a Hugging Face model in 16 bits, ready to be converted to GGUF",
    }[kind]
    return f"{made} This folder holds {form}."


def _gate(source: Source) -> str:
    if not source.version:
        return (
            "## Gate\n\nNone: this was not exported from a project. Nobody has decided that it may "
            "be used."
        )
    verdict = source.version.get("gate")
    head = {
        "pass": "Passed: the quality gate has let exactly these files through.",
        None: "**Not judged.** No gate has looked at this version; it is for trying, not for use.",
    }.get(verdict, f"**Not passed** ({_plain(str(verdict))}). It is for trying, not for use.")
    lines = ["## Gate", "", head]
    for check in (source.decision or {}).get("checks", ()):
        figure, bound = check.get("figure"), check.get("bound")
        against = f": {figure:.4g} against {bound:.4g}" if _both(figure, bound) else ""
        lines.append(
            f"- {_plain(str(check.get('name')))}: {_plain(str(check.get('verdict')))}{against}"
        )
    return "\n".join(lines)


def _both(figure: object, bound: object) -> bool:
    return isinstance(figure, int | float) and isinstance(bound, int | float)


def _measured(version: Mapping[str, Any]) -> str:
    if not isinstance(version.get("greedy"), float):
        return ""
    lines = ["## Measured", "", f"On {version.get('n')} held-out questions with known answers:", ""]
    for name, words in (("greedy", "most likely answer"), ("mean", "sampled answers")):
        value, interval = version.get(name), version.get(f"{name}_ci")
        if isinstance(value, float) and isinstance(interval, list) and len(interval) == 2:
            low, high = interval
            lines.append(f"- {words}: {value:.1%} right (95% interval {low:.1%} to {high:.1%})")
    return "\n".join(lines)


def _lineage(version: Mapping[str, Any]) -> str:
    if not version:
        return ""
    lines = ["## Where it comes from", "", f"- version: {_plain(str(version['name']))}"]
    if version.get("parent"):
        lines.append(f"- trained from: {_plain(str(version['parent']))}")
    lines.append(f"- SHA-256 of its manifest: `{version['digest']}`")
    rounds, audits = version.get("rounds") or [], version.get("audits") or []
    lines.append(f"- label-free rounds: {_listed(rounds) or 'none'}")
    lines.append(f"- audited by people: {_listed(audits) or 'nothing'}")
    for name, digest in (version.get("data") or {}).items():
        lines.append(f"- data {_plain(str(name))}: SHA-256 `{digest}`")
    return "\n".join(lines)


def _listed(names: Any) -> str:
    return ", ".join(_plain(str(name)) for name in names)


def _use(kind: Format, model: str) -> str:
    serve = "    vllm serve . --generation-config vllm --limit-mm-per-prompt '{\"image\": 1}'"
    if kind == "peft":
        how = (
            "    from peft import PeftModel\n"
            '    model = PeftModel.from_pretrained(base_model, ".")\n\n'
            "The processor and its chat template are in this folder."
        )
    elif kind == "gguf-ready":
        known = (
            ""
            if model in READ_BY_LLAMA_CPP
            else f"\n\nWhether llama.cpp converts models of type {model} with their pictures is "
            "not known here; its converter says so at once."
        )
        how = (
            "    python convert_hf_to_gguf.py . --outfile model.gguf\n"
            "    python convert_hf_to_gguf.py . --mmproj --outfile mmproj.gguf\n"
            "    llama-server -m model.gguf --mmproj mmproj.gguf" + known
        )
    else:
        how = (
            "    from transformers import AutoModelForImageTextToText, AutoProcessor\n"
            '    model = AutoModelForImageTextToText.from_pretrained(".")\n'
            '    processor = AutoProcessor.from_pretrained(".")\n\n'
            f"or serve it:\n\n{serve}"
        )
    return f"## Use\n\n{how}"


def _checked(checked: Checked) -> str:
    return (
        "## Checked\n\n"
        f"Loaded anew and compared with {checked.against}: {checked.equal} of {checked.prompts} "
        "greedy answers are the same tokens; the chat template gives the same prompts: "
        f"{'yes' if checked.chat_template else 'NO'}; the same tokens end a turn: "
        f"{'yes' if checked.end_of_turn else 'NO'}."
    )


def _limits(license_name: str | None) -> str:
    kept = (
        f"The starting model's licence ({_plain(license_name)}) and those of the data hold on."
        if license_name
        else "The starting model's licence is not named here; it and those of the data hold on."
    )
    return (
        "## Limits\n\n"
        "The majority of a model's own answers can be wrong, and training on it makes the model "
        "surer of the same mistake. Whatever was measured holds for questions and pictures like "
        "those it was measured on, and for no others.\n\n"
        f"## Licence\n\n{kept}"
    )


def _plain(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))[:200]


def _yaml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
