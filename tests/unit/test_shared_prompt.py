"""A prompt that is computed once scores its completions as G separate rows would."""

from __future__ import annotations

import pytest
import tiny
import torch
from tiny import Row, idefics3_row, naive_distributions, naive_logprobs, picture, qwen_row

from mmupt.asking.prompt import Prompt
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy, inference
from mmupt.policy.score import completion_logprobs, token_batch

ABSOLUTE = 3e-5
"""Of log-probabilities in nats: single precision, logits of about 10. Found: below 1e-5."""
RELATIVE = 1e-5
"""Of gradients, see `tiny.worst_error`. Found: below 3e-6."""

IMAGE_MARK_ID = 4
PROMPTS = (
    Prompt("<image>3?", (picture(1),)),
    Prompt("a text-only question, and the longest of these", ()),
    Prompt("<image>left or<image>right", (picture(2), picture(3, 40, 20))),
    Prompt("<image>ab c", (picture(4, 17, 29),)),
)
REPEATS = (3, 1, 2, 2)
COMPLETIONS = (
    (40, 41, 2),
    (80,),
    (70, 70, 70, 70, 70, 2),
    (33, 30, 31),
    (55, 2),
    (55, 56, 57, 58, 59),
    (2,),
    (12, 22, 23, 24),
)


def qwen_rows() -> list[Row]:
    """One picture, none, two of different size, one that is taller than wide."""
    return [
        qwen_row(1, before=3, grids=[(4, 4)], after=5),
        qwen_row(2, before=20, grids=[], after=0),
        qwen_row(3, before=1, grids=[(4, 8), (2, 6)], after=2),
        qwen_row(4, before=2, grids=[(8, 4)], after=9),
    ]


def compare(policy: Policy, batch: PromptBatch, rows: list[Row], temperature: float = 1.0) -> None:
    """Log-probabilities and entropies of all completions against one plain row each."""
    owners = [row for row, count in zip(rows, REPEATS, strict=True) for _ in range(count)]
    tokens = token_batch(policy, COMPLETIONS)
    with torch.no_grad():
        found, entropy = completion_logprobs(policy, batch, REPEATS, tokens, temperature)
        assert found.shape == entropy.shape == (8, 6)
        for i, (row, completion) in enumerate(zip(owners, COMPLETIONS, strict=True)):
            scores = naive_distributions(policy.model, row, completion, temperature)
            expected = scores[torch.arange(len(completion)), torch.tensor(completion)]
            spread = -(scores.exp() * scores).sum(-1)
            torch.testing.assert_close(found[i, : len(completion)], expected, atol=ABSOLUTE, rtol=0)
            torch.testing.assert_close(entropy[i, : len(completion)], spread, atol=ABSOLUTE, rtol=0)


def shared_gradients(policy: Policy, batch: PromptBatch) -> dict[str, torch.Tensor]:
    """Of the sum of all log-probabilities, each token with a weight of its own."""
    policy.model.zero_grad()
    tokens = token_batch(policy, COMPLETIONS)
    found, _ = completion_logprobs(policy, batch, REPEATS, tokens, 0.7)
    (found * tokens.mask_NT * token_weights()).sum().backward()
    return tiny.gradients(policy.model)


def plain_gradients(policy: Policy, rows: list[Row]) -> dict[str, torch.Tensor]:
    policy.model.zero_grad()
    owners = [row for row, count in zip(rows, REPEATS, strict=True) for _ in range(count)]
    for i, (row, completion) in enumerate(zip(owners, COMPLETIONS, strict=True)):
        found = naive_logprobs(policy.model, row, completion, 0.7)
        (found * token_weights()[i, : len(completion)]).sum().backward()
    return tiny.gradients(policy.model)


def token_weights() -> torch.Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_idefics3_logprobs(idefics3: Policy, temperature: float) -> None:
    rows = [idefics3_row(idefics3, p) for p in PROMPTS]
    assert len({row["input_ids"].shape[1] for row in rows}) == len(rows)  # so there is padding
    compare(idefics3, encode(idefics3, PROMPTS), rows, temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_qwen_logprobs(qwen: Policy, temperature: float) -> None:
    rows = qwen_rows()
    compare(qwen, tiny.left_padded(rows), rows, temperature)


def test_idefics3_gradients(idefics3: Policy) -> None:
    batch = encode(idefics3, PROMPTS)
    found = shared_gradients(idefics3, batch)
    expected = plain_gradients(idefics3, [idefics3_row(idefics3, p) for p in PROMPTS])
    assert tiny.worst_error(found, expected) < RELATIVE


def test_qwen_gradients(qwen: Policy) -> None:
    rows = qwen_rows()
    found = shared_gradients(qwen, tiny.left_padded(rows))
    assert tiny.worst_error(found, plain_gradients(qwen, rows)) < RELATIVE


def test_all_text_batch(idefics3: Policy, qwen: Policy) -> None:
    """No picture anywhere: no picture tensors, ordinary positions."""
    prompts = [Prompt(text, ()) for text in ("a", "four words of text", "bc?", "two words")]
    compare(idefics3, encode(idefics3, prompts), [idefics3_row(idefics3, p) for p in prompts])
    rows = [qwen_row(i, before=2 + 3 * i, grids=[], after=0) for i in range(4)]
    compare(qwen, tiny.left_padded(rows), rows)


def test_rope_deltas_of_the_last_batch_do_not_leak(qwen: Policy) -> None:
    """Qwen keeps them on the module; the next batch has other pictures, or none."""
    pictures, text = (
        qwen_rows(),
        [qwen_row(9 + i, before=4 + i, grids=[], after=0) for i in range(4)],
    )
    for rows in (pictures, text, pictures[::-1]):
        compare(qwen, tiny.left_padded(rows), rows)


def test_sampling_in_inference_mode_leaves_a_trainable_model(qwen: Policy) -> None:
    """The deltas that a rollout leaves behind are an inference tensor; training goes on."""
    batch = tiny.left_padded(qwen_rows())
    before = shared_gradients(qwen, batch)
    with inference(qwen):
        completion_logprobs(qwen, batch, REPEATS, token_batch(qwen, COMPLETIONS))
    after = shared_gradients(qwen, batch)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_pictures_matter(idefics3: Policy, qwen: Policy) -> None:
    """Control of the tests above: a model that ignored its pictures would pass them all."""
    completion = (40, 41, 2)
    with torch.no_grad():
        seen = naive_logprobs(idefics3.model, idefics3_row(idefics3, PROMPTS[0]), completion)
        other = Prompt(PROMPTS[0].problem, (picture(77),))
        unlike = naive_logprobs(idefics3.model, idefics3_row(idefics3, other), completion)
        assert float((seen - unlike).abs().max()) > 0.1
        row = qwen_row(1, before=3, grids=[(4, 4)], after=5)
        seen = naive_logprobs(qwen.model, row, completion)
        unlike = naive_logprobs(
            qwen.model, {**row, "pixel_values": -row["pixel_values"]}, completion
        )
        assert float((seen - unlike).abs().max()) > 0.1


def test_a_sampled_image_token_is_a_token_like_any_other(idefics3: Policy) -> None:
    """Nothing stops a model from saying `<image>`; no picture belongs to it.

    The plain forward would look for a picture, so the expected value merges the prompt's picture
    into the embeddings by hand.
    """
    completion = (40, IMAGE_MARK_ID, IMAGE_MARK_ID, 41)
    row = idefics3_row(idefics3, PROMPTS[0])
    inner = idefics3.model.model
    with torch.no_grad():
        ids = torch.cat([row["input_ids"], torch.tensor([completion])], dim=1)
        embedded = inner.get_input_embeddings()(ids)
        features = inner.get_image_features(row["pixel_values"], row["pixel_attention_mask"])
        embedded[:, : row["input_ids"].shape[1]][row["input_ids"] == IMAGE_MARK_ID] = (
            features.pooler_output[0]
        )
        hidden = inner.text_model(inputs_embeds=embedded).last_hidden_state
        scores = idefics3.model.lm_head(hidden)[0, -5:-1].log_softmax(-1)
        expected = scores[torch.arange(4), torch.tensor(completion)]
        found, _ = completion_logprobs(
            idefics3, encode(idefics3, PROMPTS[:1]), [1], token_batch(idefics3, [completion])
        )
    torch.testing.assert_close(found[0], expected, atol=ABSOLUTE, rtol=0)
