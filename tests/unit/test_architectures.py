"""Every architecture: the shared path gives what transformers gives for one row at a time.

The naive side knows the processor and the model's plain forward, and nothing of `mmupt`: no cache,
no padding, no shared prompt, the template's text written out by the processor itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from architectures import ARCHITECTURES
from tiny import Row, picture

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.prompt import Prompt
from mmupt.errors import InputError
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy, load_policy
from mmupt.policy.sampler import sample
from mmupt.policy.score import completion_logprobs, token_batch

ABSOLUTE = 3e-5
"""Of log-probabilities in nats: single precision, logits of about 10. Found: below 8e-6."""
RELATIVE = 2e-5
"""Of gradients, see `tiny.worst_error`. Found: below 4e-6. With the kinds of tokens left out, which
make pictures or prompts bidirectional: 0.6 (Gemma3), 1.4 (PaliGemma)."""

LONG = "a long text, longer than the window of any layer that sees only a few tokens back"
PROMPTS = (
    Prompt("<image>3?", (picture(1),)),
    Prompt("text only, and nothing to see", ()),
    Prompt("<image>left or<image>right", (picture(2), picture(3, 80, 40))),
    Prompt(f"{LONG}:<image>ab c", (picture(4, 34, 58),)),
)
SEEING = (*PROMPTS[:1], Prompt("<image>what?", (picture(5, 64, 32),)), *PROMPTS[2:])
"""For a model that answers no prompt without a picture."""
TEXTS = tuple(Prompt(text, ()) for text in ("a", "four words of text", LONG, "two words"))
REPEATS = (3, 1, 2, 2)
COMPLETIONS = (
    (40, 41, 2),
    (80,),
    (70, 70, 70, 70, 70, 2),
    (33, 30, 31),
    (55, 2),
    (55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66),  # longer than Gemma's window
    (2,),
    (12, 22, 23, 24),
)
LONGEST = max(map(len, COMPLETIONS))
NEEDS_PICTURES = {"paligemma"}
SUFFIX_TYPES = {"paligemma": 1}
"""Token type of a reply, by model: 1 is PaliGemma's causal suffix, 0 text anywhere else."""

# PaliGemma's processor makes labels of a tensor in a way that numpy dislikes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
architecture = pytest.mark.parametrize("name", list(ARCHITECTURES))


@pytest.fixture
def policy(name: str, model_folder: Callable[[str], Path]) -> Policy:
    return load_policy(model_folder(name), device="cpu")


def prompts_for(name: str) -> tuple[Prompt, ...]:
    return SEEING if name in NEEDS_PICTURES else PROMPTS


def row_of(policy: Policy, prompt: Prompt) -> Row:
    """One prompt as transformers encodes a conversation: no padding, no neighbours."""
    content: list[dict[str, object]] = []
    pictures = iter(prompt.images)
    for index, text in enumerate(prompt.problem.split("<image>")):
        content += [{"type": "image", "image": next(pictures)}] if index else []
        content += [{"type": "text", "text": text}] if text else []
    encoded = policy.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"return_mm_token_type_ids": True},
    )
    # InternVL takes the kinds of tokens for nothing; PaliGemma makes labels.
    taken = ("mm_token_type_ids",) if "mm_token_type_ids" in policy.forward_names else ()
    unused = {"labels", "mm_token_type_ids"} - set(taken)
    return {key: value for key, value in encoded.items() if key not in unused}


def distributions(
    policy: Policy, row: Row, completion: tuple[int, ...], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities of all tokens at each place of a completion, (T, V): one plain forward."""
    reply = torch.tensor([completion])
    full = {**row, "input_ids": torch.cat([row["input_ids"], reply], dim=1)}
    full["attention_mask"] = torch.ones_like(full["input_ids"])
    for kinds, of_reply in (
        ("mm_token_type_ids", 0),
        ("token_type_ids", SUFFIX_TYPES.get(policy.model.config.model_type, 0)),
    ):
        if kinds in row:
            more = torch.full_like(reply, of_reply)
            full[kinds] = torch.cat([row[kinds], more], dim=1)
    logits = policy.model(**full, use_cache=False).logits[0, -len(completion) - 1 : -1]
    scores: torch.Tensor = logits / temperature
    return scores - scores.logsumexp(-1, keepdim=True)


def token_weights() -> torch.Tensor:
    """A weight for every token of every completion, so that no two gradients cancel."""
    return torch.randn(8, LONGEST, generator=torch.Generator().manual_seed(5))


def shared(
    policy: Policy, batch: PromptBatch, temperature: float = 0.7
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities, entropies and gradients of the weighted sum, all from one call."""
    policy.model.zero_grad()
    tokens = token_batch(policy, COMPLETIONS)
    logps, entropies = completion_logprobs(policy, batch, REPEATS, tokens, temperature)
    (logps * tokens.mask_NT * token_weights()).sum().backward()
    return logps.detach(), entropies, tiny.gradients(policy.model)


def compare(policy: Policy, prompts: tuple[Prompt, ...], temperature: float = 0.7) -> None:
    """Log-probabilities, entropies and gradients against one plain row for each completion."""
    logps, entropies, gradients = shared(policy, encode(policy, prompts), temperature)
    policy.model.zero_grad()
    rows = [row_of(policy, p) for p in prompts]
    owners = [row for row, count in zip(rows, REPEATS, strict=True) for _ in range(count)]
    for i, (row, completion) in enumerate(zip(owners, COMPLETIONS, strict=True)):
        scores = distributions(policy, row, completion, temperature)
        expected = scores[torch.arange(len(completion)), torch.tensor(completion)]
        spread = -(scores.exp() * scores).sum(-1)
        found = logps[i, : len(completion)], entropies[i, : len(completion)]
        torch.testing.assert_close(found[0], expected.detach(), atol=ABSOLUTE, rtol=0)
        torch.testing.assert_close(found[1], spread.detach(), atol=ABSOLUTE, rtol=0)
        (expected * token_weights()[i, : len(completion)]).sum().backward()
    assert tiny.worst_error(gradients, tiny.gradients(policy.model)) < RELATIVE


@architecture
@pytest.mark.parametrize("training", [False, True])
def test_pictures_and_text_together(name: str, policy: Policy, training: bool) -> None:
    """In the mode of an update as well: some models build their masks otherwise in it."""
    policy.model.train(training)
    compare(policy, prompts_for(name))


@architecture
def test_text_alone(name: str, policy: Policy) -> None:
    if name in NEEDS_PICTURES:
        with pytest.raises(InputError, match=r"no image.*takes no text without one"):
            encode(policy, TEXTS)
    else:
        compare(policy, TEXTS)


@architecture
def test_one_batch_leaves_nothing_to_the_next(name: str, policy: Policy) -> None:
    """Qwen's models keep the shift of their positions; the next batch has other pictures."""
    prompts = prompts_for(name)
    first = shared(policy, encode(policy, prompts))
    shared(policy, encode(policy, prompts[::-1]))
    again = shared(policy, encode(policy, prompts))
    assert torch.equal(first[0], again[0])


@architecture
def test_the_pictures_matter(name: str, policy: Policy) -> None:
    """Control of the tests above: a model that ignored its pictures would pass them all."""
    for prompt in (p for p in prompts_for(name) if p.images):
        for place in range(len(prompt.images)):
            others = list(prompt.images)
            others[place] = picture(77, *others[place].size)
            with torch.no_grad():
                seen = distributions(policy, row_of(policy, prompt), (40, 41, 2))
                other = row_of(policy, Prompt(prompt.problem, tuple(others)))
                unlike = distributions(policy, other, (40, 41, 2))
            assert float((seen - unlike).abs().max()) > 0.05


@architecture
def test_replies_see_only_what_was_said(name: str, policy: Policy) -> None:
    """Control of the naive side: a reply's later tokens change nothing before them."""
    row = row_of(policy, prompts_for(name)[2])
    with torch.no_grad():
        long, other = (distributions(policy, row, (40, 41, last)) for last in (2, 99))
    torch.testing.assert_close(long, other, atol=ABSOLUTE, rtol=0)


@architecture
def test_greedy_samples_are_those_of_generate(name: str, policy: Policy) -> None:
    params = SamplingParams(temperature=0.0, max_completion_length=14)
    prompts = prompts_for(name)
    found = sample(policy, encode(policy, prompts), [1] * 4, np.arange(4, dtype=np.uint64), params)
    for prompt, (completion,) in zip(prompts, found, strict=True):
        row = row_of(policy, prompt)
        generated = policy.model.generate(**row, do_sample=False, max_new_tokens=14)
        assert completion.token_ids == tuple(generated[0, row["input_ids"].shape[1] :].tolist())


def test_what_makes_an_architecture_special_is_there(
    model_folder: Callable[[str], Path],
) -> None:
    """Control of the builders: tiles, grids, windows and prompts longer than these."""
    features = {}
    for name in ("smolvlm", "internvl", "llava_onevision", "gemma3", "qwen2_5_vl"):
        policy = load_policy(model_folder(name), device="cpu")
        features[name] = encode(policy, PROMPTS).features, policy.model.config
    tiles = features["smolvlm"][0]["pixel_values"].shape
    assert tiles[:2] == (4, 8)  # 2 x 2 tiles and the whole, 2 x 1 tiles and the whole
    assert len(features["internvl"][0]["pixel_values"]) == 8  # 1, 1 and 2 + 1, 2 + 1 patches
    batch, _ = features["llava_onevision"]
    assert batch["batch_num_images"].tolist() == [1, 2, 1]
    assert batch["pixel_values"].shape[:2] == (4, 5)  # itself and four cuts
    batch, config = features["gemma3"]
    assert config.text_config.layer_types == ["sliding_attention", "full_attention"]
    assert config.text_config.sliding_window == 8 < int(batch["attention_mask"].sum(-1).min())
    batch, config = features["qwen2_5_vl"]
    assert config.vision_config.fullatt_block_indexes == [1]
    assert len({tuple(grid) for grid in batch["image_grid_thw"].tolist()}) > 2


def test_a_text_that_holds_image_tokens_is_refused_in_one_line(
    model_folder: Callable[[str], Path],
) -> None:
    policy = load_policy(model_folder("qwen2_5_vl"), device="cpu")
    with pytest.raises(InputError, match=r"rows\.jsonl:7: refused by the processor"):
        encode(policy, [Prompt("what is <|image_pad|>?", (), "rows.jsonl:7")])


def test_a_beginning_that_the_template_wrote_is_not_written_again(
    model_folder: Callable[[str], Path],
) -> None:
    """Gemma's template starts with <bos>, and so would its tokenizer."""
    from tokenizers.processors import TemplateProcessing

    policy = load_policy(model_folder("gemma3"), device="cpu")
    begin = policy.tokenizer.bos_token_id
    policy.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", begin)]
    )
    assert policy.tokenizer("a")["input_ids"][0] == begin
    ids = encode(policy, PROMPTS[:1]).features["input_ids"][0]
    assert (ids == begin).sum() == 1
