"""The configuration: one schema for every command, the demo included.

A run is this model written as YAML. Unknown keys are refused, every field says what it does, and
names are those of TRL and transformers where they mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from mmupt.config_server import ServerConfig
from mmupt.config_supervision import (
    AuditConfig,
    GateConfig,
    PilotConfig,
    PromotionConfig,
    RoiConfig,
    RulesConfig,
)
from mmupt.config_synthesis import SynthesisConfig
from mmupt.config_trackers import TrackersConfig
from mmupt.config_votes import DualVote, MajorityVote, Section, Strategy
from mmupt.data.views import ViewsConfig
from mmupt.errors import ConfigError

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.0, le=5.0)]


class ModelConfig(Section):
    """Which model, and how it is held."""

    path: Path | None = None
    """Local Hugging Face folder of the starting model; `--model` on the command line."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights. With bfloat16 the optimizer keeps a float32 copy of what it trains;
    float16 is for evaluation, training refuses it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `mps`, ..."""
    max_prompt_length: Positive | None = None
    """Longest prompt in tokens, images included; None: what the model has positions for."""
    max_pixels: Positive = 16_777_216
    """Largest image in pixels; a larger one is refused before it is decoded."""


class LoraConfig(Section):
    """One adapter per stage, merged at its end (`mmupt[lora]`); without it all weights train."""

    r: Positive = 16
    """Rank of the update of each weight."""
    lora_alpha: Positive = 32
    """The update is scaled by `lora_alpha / r`."""
    lora_dropout: float = 0.0
    """Only 0: the ratio of two probabilities under different dropout is no policy ratio."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """`all-linear`: the linear layers of the language model, not those of the vision tower.
    Or as in peft: a list of names, each meets every layer whose name ends so, in the vision tower
    as well; or a regular expression for whole names."""
    use_dora: bool = False
    """DoRA (arXiv 2402.09353): direction and magnitude of each weight are trained apart."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases that are trained beside: none, all of the model, or those of the adapted layers."""

    @model_validator(mode="after")
    def _can_be_trained(self) -> LoraConfig:
        if self.lora_dropout != 0:
            raise ValueError(
                f"lora_dropout is {self.lora_dropout}, but has to be 0: with dropout the ratio of "
                "the new to the sampled probability is noise"
            )
        if not self.target_modules or not all(self.target_modules):
            raise ValueError("target_modules names nothing; expected 'all-linear' or layers")
        return self


class DataConfig(Section):
    """Data sets, see docs/data.md; image paths are relative to the file and stay below it."""

    labelled: Path | None = None
    """Rows with answers for SFT."""
    unlabelled: Path | None = None
    """Rows for the label-free rounds; answers in them are not read."""
    test: Path | None = None
    """Held-out rows with answers for evaluation."""
    audited: Path | None = None
    """Rows whose answers people have checked: with them the guard chooses the best checkpoint.
    Nothing is trained on them."""
    root: Path | None = None
    """Folder that image paths are relative to; None: that of each file."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and list them, instead of stopping."""


class SftConfig(Section):
    """Supervised fine-tuning on the labelled rows."""

    learning_rate: Rate = 1e-5
    num_train_epochs: Annotated[float, Field(gt=0)] = 3.0
    """Passes over the labelled rows."""
    per_device_train_batch_size: Positive = 8
    """Samples per update."""
    warmup_ratio: Fraction = 0.1
    """Fraction of the updates over which the learning rate rises."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate goes on after the warm-up: as it is, or down to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    augment: bool = False
    """Show each picture as a random view instead of as it is."""


class ConsensusConfig(Section):
    """Where pseudo-labels come from and which are good enough."""

    teacher: Literal["online", "frozen", "ema"] = "frozen"
    """Who votes: the policy's own rollouts (as published), its copy from the start of the round,
    or a moving average of it."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Decay per step of the `ema` teacher."""
    views: Positive = 8
    """Views of each picture that the teacher votes over; the first is the picture itself."""
    samples_per_view: Positive = 1
    """Answers of the teacher per view."""
    temperature: Temperature = 0.0
    """Temperature of the teacher; 0 takes its best answer of each view."""
    votes: Path | None = None
    """`votes.parquet` of a `mmupt vote` on the same questions, whose answers take the place of the
    frozen teacher's in every round, such as those of a larger model behind a server."""
    strategy: Strategy = MajorityVote()
    """How votes become a label and rewards: a name, or a section `{name: restrain, sigma: 0.5}`."""
    min_share: Fraction = 0.7
    """Prompts whose winning answer has a smaller share of all votes are not trained on."""
    min_margin: Fraction = 0.0
    """Nor those where its lead over the second answer, as a share, is smaller than this."""
    entropy_window: tuple[float, float] | None = None
    """Nor those whose votes have an entropy (nats) outside this window."""
    easiest_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Of each step's prompts only this part, those with the largest shares."""
    kind: str = "auto"
    """Kind of answer, see `mmupt.extract`."""
    rtol: Annotated[float, Field(ge=0.0)] | None = None
    """Relative tolerance within which numbers count as the same answer."""

    @model_validator(mode="after")
    def _window_is_ordered(self) -> ConsensusConfig:
        low, high = self.entropy_window or (0.0, 1.0)
        if not low <= high:
            raise ValueError(f"entropy_window [{low}, {high}] keeps nothing; expected [low, high]")
        return self

    @model_validator(mode="after")
    def _dual_has_two(self) -> ConsensusConfig:
        if isinstance(self.strategy, DualVote) and self.teacher == "online":
            raise ValueError("strategy dual needs a teacher beside the student: frozen or ema")
        return self


class TrainConfig(Section):
    """Label-free GRPO."""

    rounds: Annotated[int, Field(ge=1, le=100)] = 1
    """Rounds; a frozen teacher is renewed at the start of each."""
    max_steps: Positive = 100
    """Updates per round."""
    prompts_per_step: Positive = 32
    """Prompts looked at in a step, before `min_share` filters them."""
    anchor_fraction: Fraction = 0.0
    """Share of a step's prompts that are anchors: questions whose true answers people gave in
    audits. At least one prompt where it is not 0; without such answers all prompts are
    label-free."""
    dynamic_sampling: bool = False
    """Look at further prompts until a step has `prompts_per_step` whose completions differ in
    reward (DAPO, arXiv 2503.14476). Contested prompts are where votes are least reliable, so that
    `consensus.min_share` matters more."""
    max_resample: Positive = 3
    """Further batches of prompts that `dynamic_sampling` looks at in a step, at most; a step that
    is not full by then trains on what it has."""
    num_generations: Annotated[int, Field(ge=2)] = 16
    """Completions per prompt (G), spread evenly over the student's views."""
    views: Positive = 1
    """Views of each picture that the student answers from; divides `num_generations`."""
    temperature: Annotated[float, Field(gt=0.0, le=5.0)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Fraction = 0.0
    """Leave out tokens less likely than this times the likeliest (arXiv 2407.01082)."""
    max_completion_length: Positive = 256
    stop_strings: tuple[str, ...] = ()
    """A completion ends once it holds one of these, beside the model's own end tokens."""
    learning_rate: Rate = 1e-6
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: as it is, or down to 0 over the round."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Updates of each round over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    epsilon: Annotated[float, Field(gt=0)] = 0.2
    """Lower clip of the policy ratio."""
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    """Upper clip of the policy ratio; None: `epsilon`. For `cispo` the largest ratio itself."""
    delta: Annotated[float, Field(gt=1)] | None = None
    """Largest ratio where the advantage is negative, above 1 + `epsilon_high`; None: any."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL to the model of the round's start; 0 keeps no reference model."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """How the KL is estimated from the sampled tokens; `k1` needs `use_bias_correction_kl`."""
    use_bias_correction_kl: bool = False
    """Weigh the KL of each token with the policy ratio, so that its gradient has no bias."""
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo"] = "dapo"
    """How token losses are averaged: `grpo`, `dr_grpo`, `dapo` or `bnpo`, as in TRL; `cispo`
    truncates the policy ratio instead of clipping the loss."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """A policy ratio for each token, or one for each completion: GSPO, with `loss_type: grpo`."""
    adv_estimator: Literal["grpo", "rloo"] = "grpo"
    """A completion's advantage over its whole group or over the others in it (leave one out)."""
    scale_rewards: Literal["group", "batch", "none"] = "none"
    mask_truncated_completions: bool = False
    """Leave completions that were cut at `max_completion_length` out of the loss."""
    num_iterations: Positive = 1
    """Passes over each step's rollouts."""
    num_mini_batches: Positive = 1
    """Updates per pass."""
    gradient_checkpointing: bool = False
    """Keep the inputs of layers only and compute them again in backward: less memory, one more
    forward pass. The prompt stays shared."""
    freeze_vision: bool = False
    """Leave the vision tower as it is."""
    zero_stage: Literal[0, 1] = 0
    """1: the processes of `mmupt launch` share the optimizer's state out instead of holding all of
    it each (ZeRO stage 1, arXiv 1910.02054), in SFT as well. Changes memory, not the result."""
    bf16: bool = False
    """Compute the update's forward passes in bfloat16 where that is safe (autocast)."""
    micro_batch_size: Positive = 64
    """Prompts per forward pass; changes memory, not the result."""
    micro_batch_tokens: Positive | None = None
    """Tokens per forward pass of the update, prompts, completions and padding; a larger group is
    split. It is halved when memory runs out; None: as many as `micro_batch_size` makes. Changes
    memory, not the result."""

    @model_validator(mode="after")
    def _views_divide(self) -> TrainConfig:
        if self.num_generations % self.views:
            raise ValueError(
                f"num_generations ({self.num_generations}) is not a multiple of "
                f"views ({self.views})"
            )
        return self

    @property
    def anchors_per_step(self) -> int:
        """Prompts of a step that are anchors, where there are any."""
        wanted = round(self.anchor_fraction * self.prompts_per_step)
        return max(1, wanted) if self.anchor_fraction else 0

    @model_validator(mode="after")
    def _anchors_leave_room(self) -> TrainConfig:
        if self.anchors_per_step >= self.prompts_per_step:
            raise ValueError(
                f"anchor_fraction ({self.anchor_fraction}) leaves none of the "
                f"{self.prompts_per_step} prompts of a step label-free; lower it, or raise "
                "prompts_per_step"
            )
        return self

    @model_validator(mode="after")
    def _batches_are_whole(self) -> TrainConfig:
        if self.dynamic_sampling and self.scale_rewards == "batch":
            raise ValueError(
                "scale_rewards batch divides by the deviation of a whole batch, which "
                "dynamic_sampling puts together piece by piece; set scale_rewards to group or none"
            )
        return self

    @model_validator(mode="after")
    def _clips_fit(self) -> TrainConfig:
        if self.loss_type == "cispo" and (self.epsilon_high is None or self.epsilon_high < 1.0):
            raise ValueError(
                f"loss_type cispo truncates the policy ratio at epsilon_high, which is "
                f"{self.epsilon_high}; set it to a ratio of at least 1, such as 5.0"
            )
        if self.loss_type == "cispo" and self.delta is not None:
            raise ValueError("loss_type cispo has no delta; epsilon_high bounds every ratio")
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        if self.delta is not None and self.delta <= 1.0 + high:
            raise ValueError(
                f"delta ({self.delta}) is a ratio and must be above 1 + epsilon_high ({1.0 + high})"
            )
        return self

    @model_validator(mode="after")
    def _kl_teaches(self) -> TrainConfig:
        if self.beta and self.kl_estimator == "k1" and not self.use_bias_correction_kl:
            raise ValueError(
                "kl_estimator k1 has a gradient of mean zero as it is; set use_bias_correction_kl "
                "to true, or take k2 or k3"
            )
        return self


class GuardConfig(Section):
    """What watches a label-free round, without labels, and what it does. See docs/guard.md.

    Bounds are relative to the figures of the model that the round starts from.
    """

    action: Literal["none", "warn", "stop", "rollback-to-best"] = "rollback-to-best"
    """What a broken rule does: nothing is watched, it is recorded, the round ends, or the round
    ends with the best checkpoint so far."""
    load_best_model_at_end: bool = True
    """End every round with the checkpoint that the guard ranks best, not with the last one."""
    steps: Positive = 10
    """Updates between two looks. The first eight are looked at more closely, as collapse is fastest
    there."""
    probe_size: Positive = 384
    """Unlabelled prompts that every look asks; the whole pool where it has fewer."""
    probe_views: Annotated[int, Field(ge=2)] = 4
    """Views of each that a look asks, greedily."""
    jury_views: Annotated[int, Field(ge=2)] = 8
    """Further views that the start is asked once: the jury that answers are measured against."""
    max_support_loss: Fraction = 0.01
    """Support among the jury that may surely be lost, where the labels have a surplus; where they
    have none, no sure loss is allowed."""
    max_view_loss: Fraction = 0.05
    """Agreement across views that may be lost."""
    max_top_rise: Fraction = 0.15
    """By how much the share of any one answer over all prompts may rise."""
    min_answer_entropy: Fraction = 0.7
    """Smallest entropy of the answers over all prompts, as a fraction of the start's."""
    max_abstention_rise: Fraction = 0.1
    """By how much the share of unreadable or truncated replies may rise."""
    length_window: tuple[float, float] = (0.5, 2.0)
    """Mean length of replies, as multiples of the start's."""
    max_repetition_rise: Fraction = 0.2
    """By how much the repeated part of replies may rise."""
    max_kl: Annotated[float, Field(gt=0)] = 0.5
    """KL(start || policy) per token in nats."""
    min_policy_entropy: Fraction = 0.1
    """Smallest entropy of the sampled tokens, as a fraction of the start's; only a warning."""


class EvalConfig(Section):
    """Evaluation on held-out rows."""

    num_samples: Annotated[int, Field(ge=1)] = 8
    """Sampled answers per question (k)."""
    temperature: Annotated[float, Field(gt=0.0, le=5.0)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_completion_length: Positive = 256
    limit: Positive | None = None
    """Only the first so many rows."""
    batch_size: Positive = 128
    """Prompts per forward pass."""
    steps: Annotated[int, Field(ge=0)] = 0
    """A quick greedy evaluation for the curves after every so many updates; 0: none."""
    kind: str = "auto"
    """Kind of answer, see `mmupt.extract`."""
    rtol: Annotated[float, Field(ge=0.0)] | None = None
    """Relative tolerance within which numbers count as the same answer."""


class LmsiConfig(Section):
    """Method `lmsi` of `mmupt study`: fine-tuning on the model's own majority responses."""

    learning_rate: Rate | None = None
    """None: `train.learning_rate`."""
    responses_per_prompt: Positive | None = None
    """At most so many responses of a prompt are learned from; None: all that reach the majority's
    answer."""


class SelfRewardConfig(Section):
    """Method `self-reward` of `mmupt study`: DPO on pairs that the model's agreement orders."""

    learning_rate: Rate | None = None
    """None: `train.learning_rate`."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How much a log-ratio counts in the loss: the larger, the closer the policy stays."""
    pairs_per_prompt: Positive = 1
    """At most so many pairs of a prompt."""
    weighted: bool = False
    """Weigh a pair by the difference of its answers' votes (ScPO, arXiv 2411.04109)."""
    nll_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the preferred response's mean negative log-likelihood beside the pair (1 in
    ScPO)."""


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    model: ModelConfig = ModelConfig()
    lora: LoraConfig | None = None
    """None trains the weights themselves."""
    data: DataConfig = DataConfig()
    views: ViewsConfig = ViewsConfig()
    sft: SftConfig | None = SftConfig()
    """None leaves the SFT stage out."""
    consensus: ConsensusConfig = ConsensusConfig()
    train: TrainConfig = TrainConfig()
    lmsi: LmsiConfig = LmsiConfig()
    self_reward: SelfRewardConfig = SelfRewardConfig()
    guard: GuardConfig = GuardConfig()
    eval: EvalConfig = EvalConfig()
    server: ServerConfig = ServerConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    pilot: PilotConfig = PilotConfig()
    audit: AuditConfig = AuditConfig()
    rules: RulesConfig = RulesConfig()
    gate: GateConfig | None = GateConfig()
    """None: nothing is promoted, and rounds follow each other unexamined, as in a study."""
    promotion: PromotionConfig = PromotionConfig()
    roi: RoiConfig = RoiConfig()
    trackers: TrackersConfig = TrackersConfig()
    save_steps: Positive = 20
    """Updates between two points that a killed run resumes from."""
    num_threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads; 0 leaves the choice to PyTorch. The same number gives bit-equal results."""
    out: Path | None = None
    """Run folder of `mmupt run`."""


def load_config(
    path: Path | None, settings: Sequence[str] = (), base: Config | None = None
) -> Config:
    """Defaults, then the file, then `key=value` settings (dots for sections, values as YAML).

    Relative paths in a file are relative to the file.

    Raises:
        ConfigError: not readable, an unknown key, or a value out of range; one line for each.
    """
    tree: dict[str, Any] = base.model_dump(mode="json") if base else {}
    if path is not None:
        _merge(tree, _read_yaml(path))
    for setting in settings:
        _merge(tree, _parse_setting(setting))
    where = str(path) if path else "--set"
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e, where) for e in error.errors())) from None


def dump_config(config: Config) -> str:
    """The whole configuration as YAML, defaults written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(tree).__name__}")
    _absolute_paths(tree, path.resolve().parent)
    return tree


_PATH_KEYS = {
    ("model", "path"),
    ("data", "labelled"),
    ("data", "unlabelled"),
    ("data", "test"),
    ("data", "audited"),
    ("data", "root"),
    ("server", "cache"),
    ("consensus", "votes"),
}


def _absolute_paths(tree: dict[str, Any], folder: Path) -> None:
    for section, key in _PATH_KEYS:
        values = tree.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            values[key] = str(folder / values[key])
    if isinstance(tree.get("out"), str):
        tree["out"] = str(folder / tree["out"])


def _parse_setting(setting: str) -> dict[str, Any]:
    key, equals, value = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {setting}: expected key=value, such as train.learning_rate=1e-6")
    try:
        parsed: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {setting}: the value is not valid YAML") from None
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def _merge(tree: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        old = tree.get(key)
        if not (isinstance(value, dict) and isinstance(old, dict)):
            tree[key] = value
        elif "name" in old and value.get("name", old["name"]) != old["name"]:
            tree[key] = value  # another strategy: the former one's options mean nothing to it
        else:
            _merge(old, value)


def _explain(error: Any, where: str) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "config"
    if error["type"] == "extra_forbidden":
        known = ", ".join(_section_at(error["loc"][:-1]).model_fields)
        return f"{where}: unknown key {key}; known here: {known}"
    problem = error["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {problem}, found {error['input']!r:.80}"


def _section_at(place: Sequence[Any]) -> Any:
    """The section that a place in the tree is; of a strategy the name stands for its section."""
    section: Any = Config
    for part in place:
        if part not in section.model_fields:
            return section
        annotation = section.model_fields[part].annotation
        kinds = [k for k in getattr(annotation, "__args__", ()) if hasattr(k, "model_fields")]
        named = {k.model_fields["name"].default: k for k in kinds if "name" in k.model_fields}
        section = named.get(place[-1]) or (kinds[0] if kinds else annotation)
    return section
