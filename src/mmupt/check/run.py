"""The check as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw

from mmupt.asking.maker import PromptMaker
from mmupt.check.cost import step_cost
from mmupt.check.exact import compare, picture, sampling
from mmupt.check.results import Check, Report
from mmupt.check.structure import fallbacks, image_tokens, vocabulary
from mmupt.config import Config
from mmupt.errors import ConfigError, InputError, ModelError
from mmupt.policy.inputs import encode
from mmupt.policy.model import DTYPES, Policy, check_folder, load_policy
from mmupt.types import Sample


def run_check(path: Path, samples: Sequence[Sample], config: Config) -> Report:
    """Look at a model folder, from what would break first to what a step costs.

    Args:
        path: the folder.
        samples: where two prompts come from; empty: two drawn ones.
        config: how it would be trained, for the cost.
    """
    report = Report()
    try:
        report.model_type = check_folder(path)
        # Exactness is a matter of masks and positions: float32 tells it from rounding.
        policy = load_policy(
            path, device=config.model.device, max_prompt_length=config.model.max_prompt_length
        )
        report.checks.append(Check("load", True, message=f"{_size(policy)}, on {policy.device}"))
    except ModelError as error:
        return report.fail("load", str(error))
    report.checks.append(vocabulary(policy))
    if not report.checks[-1].ok:
        report.broken = True
        return report
    with TemporaryDirectory() as folder:
        two = two_largest(samples) or drawn_samples(Path(folder))
        return _inputs_and_results(report, policy, two, config)


def _inputs_and_results(
    report: Report, policy: Policy, samples: Sequence[Sample], config: Config
) -> Report:
    maker = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)
    try:
        prompts = [maker.prompt(sample) for sample in samples]
        batch = encode(policy, prompts)
    except InputError as error:
        return report.fail("inputs", str(error))
    lengths = batch.lengths.tolist()
    report.checks.append(
        Check("inputs", True, message=f"prompts of {' and '.join(map(str, lengths))} tokens")
    )
    seeing = next((p for p in prompts if p.images), None)
    try:
        if seeing is not None:
            report.checks.append(image_tokens(policy, encode(policy, [seeing])))
            if not report.checks[-1].ok:
                report.broken = True
                return report
            report.checks.append(picture(policy, seeing))
        report.checks += compare(policy, prompts)
        report.checks.append(sampling(policy, prompts))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return report.fail(
            "forward", f"the model fails on its own inputs: {type(error).__name__}: {first}"
        )
    report.fallbacks = fallbacks(policy, max(lengths) + config.train.max_completion_length)
    report.checks.append(_room(policy, max(lengths), config))
    room = policy.max_length - max(lengths)
    if room > 0:
        train = config.train
        shorter = {"max_completion_length": min(train.max_completion_length, room)}
        config = config.model_copy(update={"train": train.model_copy(update=shorter)})
        try:
            policy.model.to(DTYPES[config.model.dtype])
            cost = step_cost(policy, samples, maker, config)
        except ConfigError as error:
            report.checks.append(Check("training", False, message=str(error)))
        else:
            report.memory_mb = round(cost.peak / 1e6, 1)
            report.seconds_per_step = round(cost.seconds, 3)
            report.seconds_per_step_max = round(cost.seconds_most, 3)
    return report


def _room(policy: Policy, prompt: int, config: Config) -> Check:
    reply, limit = config.train.max_completion_length, policy.max_length
    return Check(
        "length", prompt + reply <= limit, float(prompt + reply), float(limit),
        "tokens of the longest prompt and reply"
        if prompt + reply <= limit
        else f"a prompt of {prompt} tokens leaves no room for a reply of {reply}: use smaller "
        "images or lower train.max_completion_length",
    )  # fmt: skip


def two_largest(samples: Sequence[Sample]) -> list[Sample]:
    """The two samples with most pictures, then with the longest problem."""
    return sorted(samples, key=lambda s: (len(s.images), len(s.problem)), reverse=True)[:2]


def drawn_samples(folder: Path) -> list[Sample]:
    """A wide and a tall picture of shapes, with a question each."""
    made = []
    for number, (width, height) in enumerate(((256, 160), (128, 192))):
        image = Image.new("RGB", (width, height), "white")
        draw = ImageDraw.Draw(image)
        draw.ellipse((width // 8, height // 8, width // 2, height // 2), fill="crimson")
        draw.rectangle((width // 2, height // 2, width - 9, height - 9), fill="navy")
        draw.line((0, height, width, 0), fill="green", width=5)
        path = folder / f"drawn-{number}.png"
        image.save(path)
        question = (
            "Which colour is the circle?",
            "How many shapes are filled, and what is the line's colour?",
        )[number]
        made.append(Sample(path.stem, f"<image>{question}", (path,), path.name))
    return made


def _size(policy: Policy) -> str:
    count = sum(p.numel() for p in policy.model.parameters())
    scale, unit = (1e9, "billion") if count >= 1e9 else (1e6, "million")
    return f"{count / scale:.3g} {unit} weights"
