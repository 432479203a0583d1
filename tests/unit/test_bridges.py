"""Our questions and rules in lmms-eval's task folder and in inspect-ai."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import made_benchmarks
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from test_evaluation_cli import call

from mmupt.bridges.lmms import METRIC, write_task
from mmupt.config import Config
from mmupt.errors import ConfigError, RunFolderError
from mmupt.evaluate.reading import benchmark_items, own_items

CONFIG = Config()


def load(folder: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """As lmms-eval does: the YAML with its functions out of utils.py, the rows as plain dicts."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        module, _, wanted = str(loader.construct_scalar(node)).partition(".")
        spec = importlib.util.spec_from_file_location(module, folder / f"{module}.py")
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return getattr(found, wanted)

    Loader.add_constructor("!function", function)
    config = yaml.load((folder / f"{name}.yaml").read_text(), Loader=Loader)  # noqa: S506
    assert config["dataset_path"] == "parquet"
    return config, pq.read_table(config["dataset_kwargs"]["data_files"]["test"]).to_pylist()


@pytest.mark.parametrize("name", made_benchmarks.NAMES)
def test_lmms_eval_scores_as_we_do(name: str, tmp_path: Path) -> None:
    data = made_benchmarks.make(name, tmp_path / "data")
    items, _ = benchmark_items(name, data, tmp_path, CONFIG, None)
    write_task(tmp_path / "task", f"ours_{name}", items, 64)
    config, docs = load(tmp_path / "task", f"ours_{name}")
    assert [doc["id"] for doc in docs] == [item.sample.id for item in items]
    assert config["task"] == f"ours_{name}"
    (metric,) = config["metric_list"]
    assert metric["metric"] == METRIC
    said = [made_benchmarks.right(name), *["no idea"] * (len(docs) - 1)]
    values = [
        config["process_results"](doc, [text])[METRIC] for doc, text in zip(docs, said, strict=True)
    ]
    assert values == [1.0, *[0.0] * (len(docs) - 1)]
    assert metric["aggregation"](values) == pytest.approx(1 / len(docs))
    for doc, item in zip(docs, items, strict=True):
        (picture,) = config["doc_to_visual"](doc)
        with Image.open(item.sample.images[0]) as original:
            assert picture.tobytes() == original.convert("RGB").tobytes()
        assert "<image>" not in config["doc_to_text"](doc)
        assert config["doc_to_target"](doc) == item.rule.answer
        (message,) = config["doc_to_messages"](doc)
        assert [part["type"] for part in message["content"]] == ["image", "text"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    for shade in (0, 200):
        Image.new("RGB", (9, 9), (shade, 3, 4)).save(tmp_path / f"{shade}.png")
    lines = [
        {"id": "a", "images": ["0.png", "200.png"], "problem": "From <image> to <image>?", "answer": "1/2"},
        {"id": "b", "images": ["0.png"], "problem": "<image>How many?", "answer": "7"},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_own_rows_for_lmms_eval(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "task"
    code, said, err = call(capsys, "eval-task", "--data", rows, "--name", "site", "--out", out)
    assert code == 0, err
    assert f"--include_path {out} --tasks site" in said
    config, docs = load(out, "site")
    assert config["process_results"](docs[0], ["\\boxed{0.5}"]) == {METRIC: 1.0}
    assert config["process_results"](docs[0], ["0.4"]) == {METRIC: 0.0}
    assert config["process_results"](docs[0], []) == {METRIC: None}
    mean = config["metric_list"][0]["aggregation"]
    assert mean([1.0, None, 0.0]) == 0.5
    assert math.isnan(mean([None]))
    content = config["doc_to_messages"](docs[0])[0]["content"]
    assert [part["type"] for part in content] == ["text", "image", "text", "image", "text"]
    assert content[3]["url"].getpixel((0, 0)) == (200, 3, 4)
    code, _, err = call(capsys, "eval-task", "--data", rows, "--name", "site", "--out", out)
    assert code == 2
    assert "not empty" in err
    items, _ = own_items(rows, CONFIG)
    with pytest.raises(ConfigError, match="letters, digits"):
        write_task(tmp_path / "x", "../x", items, 8)
    with pytest.raises(RunFolderError, match="not empty"):
        write_task(tmp_path, "x", items, 8)


@pytest.mark.filterwarnings("ignore")  # inspect-ai has its own
def test_inspect_ai_asks_and_scores(rows: Path, tmp_path: Path) -> None:
    inspect_ai = pytest.importorskip("inspect_ai", reason="needs mmupt[inspect]")
    from inspect_ai.model import ModelAPI, ModelOutput, get_model, modelapi

    from mmupt.bridges import inspect as bridge

    answers: list[ModelOutput] = []

    @modelapi(name="told")  # inspect-ai's own mock counts tokens with a table from the network
    class Told(ModelAPI):  # type: ignore[misc]
        async def generate(self, *_: Any, **__: Any) -> ModelOutput:
            return answers.pop(0)

    def run(task: Any, *said: str, stop: str = "stop") -> Any:
        answers.extend(ModelOutput.from_content("told/x", text, stop_reason=stop) for text in said)
        (log,) = inspect_ai.eval(
            task, model=get_model("told/x"), log_dir=str(tmp_path / "logs"), display="none",
            max_samples=1,
        )  # fmt: skip
        assert log.status == "success", log.error
        return log

    log = run(bridge.rows(str(rows)), "\\boxed{0.5}", "8")
    assert log.results.scores[0].metrics["accuracy"].value == 0.5
    assert [sample.scores["mmupt"].answer for sample in log.samples] == ["0.5", "8"]
    content = log.samples[0].input[0].content
    assert [part.type for part in content] == ["text", "image", "text", "image", "text"]
    log = run(bridge.rows(str(rows), limit=1), "\\boxed{0.5}", stop="max_tokens")
    assert log.results.scores[0].metrics["accuracy"].value == 0.0
    data = made_benchmarks.make("chartqa", tmp_path / "ChartQA")
    log = run(bridge.benchmark("chartqa", str(data), str(tmp_path / "work")), "4", "4.1", "5")
    assert log.results.scores[0].metrics["accuracy"].value == pytest.approx(2 / 3)
    assert len({sample.metadata["pictures"] for sample in log.samples}) == 2
