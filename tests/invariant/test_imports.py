"""Imports point one way, and light parts stay light. Read from the source, then tried."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import mmupt

SOURCE = Path(mmupt.__file__).parent

LAYERS: tuple[tuple[str, ...], ...] = (
    # A part imports itself and the layers above this line, never its neighbours.
    ("version", "types", "errors", "stats"),
    ("plugins", "processes", "clock", "database", "words"),  # functions by name; who trains; tables
    ("expressions",),  # conditions of people's own over rollouts
    ("data", "consensus"),  # files and pictures; answers and votes
    ("config_votes",),  # the strategies' sections of the schema
    ("config_supervision", "config_server", "config_synthesis", "config_trackers"),  # and others'
    ("config", "events"),  # the schema; what happened
    ("ballots",),  # what the schema asks of a vote
    ("runs", "console", "demo", "starter", "report", "launch"),  # folders, presets, pages, torchrun
    ("trackers",),  # figures for TensorBoard, wandb, ...
    ("audit", "gates", "ledger", "registry"),  # people's verdicts, decisions, costs, versions
    ("asking",),  # prompts, views of a question, who answers
    ("server",),  # a model behind an OpenAI-compatible server answers
    ("benchmarks",),  # public questions and their scoring rules
    ("policy",),  # the model: loading, sampling, scoring
    ("datacheck",),  # whether a data set can be used
    ("guard",),  # signals, rules, decisions
    ("train",),  # labels, advantages, losses, updates
    ("trl",),  # rounds by TRL's trainer
    ("verl",),  # votes on batches of verl
    ("evaluate",),  # scores; reads answers as training does (train.labels)
    ("bridges",),  # our questions and rules in other people's evaluation tools
    ("pipeline",),  # stages and rounds
    ("trainer",),  # label-free training from Python
    ("pool",),  # votes over shards, by many workers
    ("export",),  # models for others
    ("review",),  # people look at samples in the browser
    ("serving",),  # a model to try by hand
    ("bias",),  # what training did to a model besides its accuracy
    ("synthesis",),  # new questions for the pictures
    ("check",),  # whether a model works here, and what a step costs
    ("cli", "mmupt"),  # verbs; `mmupt` is the package's own __init__, the public names
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

NEEDS_ONLY: dict[str, set[str]] = {
    # What some parts may know of the others is less than their layer allows.
    "version": set(),
    "types": set(),
    "mmupt": {"version", "types", "consensus", "train", "trainer"},
    "errors": set(),
    "stats": set(),
    "plugins": {"errors"},
    "database": {"errors"},
    "words": {"errors"},
    "expressions": {"errors"},
    "gates": {"errors", "stats", "words", "config_supervision"},
    "ledger": {"errors", "stats", "words", "database", "config_supervision", "events"},
    "registry": {"errors", "database", "config_supervision", "version"},
    "consensus": {"types", "errors"},
    "asking": {"types", "errors", "data", "consensus"},
    "server": {"types", "errors", "data", "config_server", "asking"},
    "benchmarks": {"types", "errors", "stats", "data", "consensus"},
    "report": {"errors", "stats", "types", "words", "data", "config", "events"},
}
HEAVY = {
    "torch",
    "transformers",
    "safetensors",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "pyarrow",
    "pandas",
    "sqlalchemy",
}


@dataclass(frozen=True)
class Import:
    """One imported module: who, what, and whether only a type checker sees it."""

    module: str
    line: int
    target: str
    typing_only: bool


@cache
def modules() -> dict[str, Path]:
    """Dotted name of every module of the package."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("mmupt", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import statement of the package, also those inside functions."""
    return tuple(one for name, path in modules().items() for one in _imports_of(name, path))


def _imports_of(name: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            # `from package import module` imports the module
            targets = [
                full if (full := f"{base}.{alias.name}") in modules() else base
                for alias in node.names
            ]
        else:
            continue
        for target in dict.fromkeys(targets):
            yield Import(name, node.lineno, target, id(node) in guarded)


def part(module: str) -> str:
    """The part of the house that a module of ours belongs to."""
    return module.split(".")[1] if "." in module else "mmupt"


def ours(target: str) -> bool:
    return target == "mmupt" or target.startswith("mmupt.")


@cache
def steps() -> dict[str, tuple[str, ...]]:
    """What every module imports where it runs."""
    found: dict[str, list[str]] = {}
    for one in imports():
        if not one.typing_only:
            found.setdefault(one.module, []).append(one.target)
    return {module: tuple(dict.fromkeys(targets)) for module, targets in found.items()}


@cache
def reach(start: str) -> set[str]:
    """Everything that running all of a module can import: ours by name, others by their root."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if ours(module):
            waiting += steps().get(module, ())
    return {name if ours(name) else name.split(".")[0] for name in seen}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_source_was_read() -> None:
    """Control: an empty graph would pass everything."""
    names = modules()
    assert {"mmupt", "mmupt.types", "mmupt.train.grpo", "mmupt.policy.shared", "mmupt.cli"} <= set(
        names
    )
    assert len(imports()) > 200
    edges = {(i.module, i.target) for i in imports()}
    assert ("mmupt.train.grpo", "mmupt.types") in edges
    assert ("mmupt.cli", "mmupt.version") in edges
    assert ("mmupt.cli.learning", "mmupt.config") in edges  # inside a function
    assert ("mmupt.policy.shared", "torch") in edges


def test_every_part_has_its_layer() -> None:
    unknown = {part(name) for name in modules()} - set(LEVEL)
    assert not unknown, f"{sorted(unknown)}: give them a place in LAYERS"


def test_imports_point_one_way() -> None:
    wrong = [
        f"{i.module}:{i.line} imports {i.target}"
        for i in imports()
        if ours(i.target)
        and part(i.target) != part(i.module)
        and LEVEL[part(i.target)] >= LEVEL[part(i.module)]
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("name", NEEDS_ONLY)
def test_parts_that_need_less(name: str) -> None:
    used = {part(i.target) for i in imports() if part(i.module) == name and ours(i.target)}
    assert used <= NEEDS_ONLY[name] | {name}


def test_no_module_imports_itself_in_a_circle() -> None:
    for name in modules():
        for step in steps().get(name, ()):
            assert not (ours(step) and name in reach(step)), f"{name} -> {step} -> ... -> {name}"


WORKER = {"mmupt.consensus.symbolic_worker", "mmupt.consensus.symbolic_keys"}
"""Run in a process of their own, with sympy and math-verify's parser; nothing imports them."""

ENCODER = "mmupt.consensus.embeddings"
"""An encoder for votes on free text, as an option; nothing imports it."""
METRIC = {"sacrebleu"}
"""Imported inside the one function that needs it."""


def test_consensus_is_pure_python() -> None:
    """No torch, no numpy, nothing that has to be installed; also through what it imports."""
    for name in (n for n in modules() if part(n) == "consensus" and n not in WORKER):
        foreign = {root for root in reach(name) if not ours(root)} - METRIC
        if name != ENCODER:
            assert foreign <= set(sys.stdlib_module_names), (name, foreign)


def test_nothing_imports_the_encoder() -> None:
    assert ENCODER in modules()
    assert not [i for i in imports() if i.target == ENCODER]


def test_only_the_worker_knows_sympy() -> None:
    assert set(modules()) >= WORKER
    sympy = {"sympy", "mpmath", "latex2sympy2_extended", "math_verify"}
    assert {i.module for i in imports() if i.target.split(".")[0] in sympy} <= WORKER
    assert {i.module for i in imports() if i.target in WORKER} <= WORKER
    for name in WORKER:
        foreign = {root for root in reach(name) if not ours(root)}
        assert foreign <= set(sys.stdlib_module_names) | sympy, (name, foreign)


@pytest.mark.parametrize(
    "name",
    [
        "types",
        "errors",
        "plugins",
        "config_votes",
        "config_supervision",
        "config_server",
        "database",
        "events",
        "config",
        "runs",
        "report",
        "data",
        "console",
        "starter",
        "audit",
        "gates",
        "ledger",
        "registry",
        "asking",
        "server",
        "benchmarks",
    ],
)
def test_parts_that_never_meet_the_model(name: str) -> None:
    for module in (n for n in modules() if part(n) == name):
        met = {part(m) for m in reach(module) if ours(m)} | {
            m for m in reach(module) if not ours(m)
        }
        assert not met & {"torch", "transformers", "safetensors", "policy", "train", "evaluate"}, (
            module
        )


def test_only_the_model_side_knows_torch() -> None:
    knows = {
        part(i.module)
        for i in imports()
        if i.target.split(".")[0] in ("torch", "transformers") and i.module != ENCODER
    }
    assert {"policy", "train"} <= knows
    assert knows <= {
        "processes", "launch", "policy", "guard", "train", "evaluate", "pipeline", "check", "cli", "export", "trl", "verl",
        "trainer",
    }  # fmt: skip


def test_importing_the_package_is_light() -> None:
    loaded = json.loads(run("import mmupt, sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert "mmupt" in loaded
    assert not {name.split(".")[0] for name in loaded} & (
        HEAVY | {"PIL", "pydantic", "rich", "typer"}
    )


def test_help_is_light() -> None:
    """Of every verb there is. Each is a fork of a process that has loaded what all of them load."""
    code = """
import io, json, os, sys
from contextlib import redirect_stdout
from typer.main import get_command
from mmupt.cli import app, main

def verbs(command, words=()):
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, (*words, name))

for words in list(verbs(get_command(app))):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    page, code, sys.argv = io.StringIO(), None, ["mmupt", *words, "--help"]
    try:
        with redirect_stdout(page):
            main()
    except SystemExit as stop:
        code = stop.code
    told = [" ".join(words), code, "Usage: mmupt" in page.getvalue(), sorted(sys.modules)]
    print(json.dumps(told), flush=True)
    os._exit(0)
"""
    told = [json.loads(line) for line in run(code).splitlines()]
    verbs = {verb for verb, *_ in told}
    assert {"", "demo", "train", "round add", "audit next", "bias"} <= verbs
    assert len(verbs) == len(told) > 30
    for verb, code, page, loaded in told:
        heavy = {name.split(".")[0] for name in loaded} & (HEAVY | {"PIL"})
        assert (code, page, heavy) == (0, True, set()), verb


def test_reports_and_votes_run_without_torch() -> None:
    """As the graph says; tried, because an import can also hide in a string."""
    code = """
import json, sys, pkgutil, importlib
import mmupt.consensus, mmupt.report
def load(package):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
load(mmupt.consensus)
votes = sorted(sys.modules)
load(mmupt.report)
print(json.dumps([votes, sorted(sys.modules)]))
"""
    votes, reports = ({name.split(".")[0] for name in loaded} for loaded in json.loads(run(code)))
    assert not votes & HEAVY
    assert not reports & {"torch", "transformers", "safetensors"}


def test_nothing_runs_text_as_code() -> None:
    """Model output, data files and images are hostile: no eval, no exec, no pickle anywhere."""
    forbidden = {"eval", "exec", "compile", "__import__"}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in forbidden, f"{name}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", f"{name}:{node.value.lineno}"
    roots = {i.target.split(".")[0] for i in imports()}
    assert not roots & {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
