"""Make the embedded base model: `python scripts/pretrain_base.py --out DIR`.

An Idefics3 of about 1.2 M parameters that learns to read panels of digits drawn from fonts, and to
answer questions about them. No handwriting and no handwriting label goes into it. The fonts are
those that matplotlib ships. One run took 17 minutes on two shared cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from drawn_digits import glyph_bank
from mmupt.data.handwriting import CELL, QUESTIONS, Panel, assemble, draw_question, panels

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %} {{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %} {{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
SPECIAL = [
    "<pad>",
    "<bos>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
]
MERGES = 90
"""Few merges: the words of the questions and little else, so that any text stays bytes."""


def build_tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\\boxed\{| ?\d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(SPECIAL) + len(tiles) + MERGES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL + tiles,
        show_progress=False,
    )
    corpus = [f"User: {q.text}\nAssistant: 0 1 2 3 4 5 6 7 8 9 \\boxed{{0}}" for q in QUESTIONS] * 3
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        bos_token="<bos>",  # noqa: S106
        eos_token="<end_of_utterance>",  # noqa: S106
        padding_side="left",
        model_max_length=512,
    )


def build(
    seed: int, patch: int = 12, hidden: int = 128, vision_layers: int = 4, vision_mlp: int = 256
) -> tuple[Any, Any]:
    """The untrained model and its processor."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    tokenizer = build_tokenizer()
    side = 2 * CELL
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": side},
        max_image_size={"longest_edge": side},
        do_image_splitting=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=3,
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHAT_TEMPLATE)
    token = tokenizer.convert_tokens_to_ids
    config = Idefics3Config(
        image_token_id=token("<image>"),
        scale_factor=side // patch // 2,
        tie_word_embeddings=True,
        pad_token_id=token("<pad>"),
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            "pad_token_id": token("<pad>"),
            "bos_token_id": token("<bos>"),
            "eos_token_id": token("<end_of_utterance>"),
        },
        vision_config={
            "hidden_size": hidden,
            "intermediate_size": vision_mlp,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": 4,
            "image_size": side,
            "patch_size": patch,
        },
    )
    torch.manual_seed(seed)
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = token("<end_of_utterance>")
    model.generation_config.pad_token_id = token("<pad>")
    return model, processor


def pixels(images: np.ndarray) -> torch.Tensor:
    """Grey panels (B, 48, 48) as the processor would give them: (B, 1, 3, 48, 48) in [-1, 1]."""
    x = torch.from_numpy(images).float().div(127.5).sub(1.0)
    return x[:, None, None].expand(-1, 1, 3, -1, -1).contiguous()


class Examples:
    """Panels of drawn digits, tokenised as the processor tokenises them."""

    def __init__(
        self, processor: Any, bank: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
    ):
        self.cells, self.digits = bank
        self.rng = rng
        self.processor = processor
        self.prompts: dict[str, list[int]] = {}

    def prompt_ids(self, question: str) -> list[int]:
        if question not in self.prompts:
            text = self.processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": question}],
                    }
                ],
                add_generation_prompt=True,
            )
            blank = np.zeros((48, 48, 3), dtype=np.uint8)
            ids = self.processor(text=[text], images=[[blank]])["input_ids"][0]
            self.prompts[question] = list(ids)
        return self.prompts[question]

    def draw(self, count: int) -> list[Panel]:
        out = []
        for _ in range(count):
            chosen = self.rng.integers(len(self.digits), size=4)
            a, b, c, d = (int(self.digits[i]) for i in chosen)
            image = assemble(self.cells[chosen])
            out.append(Panel(image, (a, b, c, d), (-1, -1, -1, -1), draw_question(self.rng)))
        return out

    def batch(self, drawn: list[Panel]) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        rows = []
        for panel in drawn:
            prompt = self.prompt_ids(panel.question.text)
            reply = [*tokenizer(panel.response)["input_ids"], tokenizer.eos_token_id]
            rows.append((prompt, reply))
        width = max(len(p) + len(r) for p, r in rows)
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), -100)
        for i, (prompt, reply) in enumerate(rows):
            ids[i, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
            labels[i, len(prompt) : len(prompt) + len(reply)] = torch.tensor(reply)
        return {
            "input_ids": ids,
            "attention_mask": (ids != tokenizer.pad_token_id).long(),
            "pixel_values": pixels(np.stack([p.image for p in drawn])),
            "labels": labels,
        }


def teach_reading(model: Any, examples: Examples, steps: int, batch: int) -> None:
    """First the eyes: classify each of the four image tokens as its digit."""
    head = nn.Linear(model.config.text_config.hidden_size, 10)
    parameters = [
        *model.model.vision_model.parameters(),
        *model.model.connector.parameters(),
        *head.parameters(),
    ]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(1, steps + 1):
        drawn = examples.draw(batch)
        features = torch.stack(
            model.model.get_image_features(pixels(np.stack([p.image for p in drawn]))).pooler_output
        )
        logits = head(features.view(batch, 4, -1))
        digits = torch.tensor([p.digits for p in drawn])
        loss = F.cross_entropy(logits.flatten(0, 1), digits.flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            right = (logits.argmax(-1) == digits).float().mean()
            print(f"reading {step}/{steps} loss {loss:.3f} right {right:.3f}", flush=True)


def teach_answering(model: Any, examples: Examples, steps: int, batch: int, lr: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    started = time.perf_counter()
    for step in range(1, steps + 1):
        loss = model(**examples.batch(examples.draw(batch))).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(
                f"answering {step}/{steps} loss {loss:.3f} {time.perf_counter() - started:.0f}s",
                flush=True,
            )


@torch.no_grad()
def accuracy(model: Any, examples: Examples, drawn: list[Panel]) -> tuple[float, float]:
    """Share of tokens-all-right answers (greedy by teacher forcing) and of digits read right."""
    model.eval()
    right, read = [], []
    for i in range(0, len(drawn), 200):
        part = drawn[i : i + 200]
        batch = examples.batch(part)
        labels = batch.pop("labels")
        guess = model(**batch).logits[:, :-1].argmax(-1)
        want = labels[:, 1:]
        ok = (guess == want) | (want == -100)
        right += ok.all(-1).tolist()
        for row, w in zip(ok, want, strict=True):
            first = int((w != -100).nonzero()[0])
            read += row[first : first + 4].tolist()
    model.train()
    return float(np.mean(right)), float(np.mean(read))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--glyphs", type=int, default=40_000)
    parser.add_argument("--reading-steps", type=int, default=500)
    parser.add_argument("--answering-steps", type=int, default=2000)
    parser.add_argument("--patch", type=int, default=12)
    args = parser.parse_args()
    torch.set_num_threads(2)
    model, processor = build(args.seed, patch=args.patch)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    rng = np.random.default_rng(args.seed)
    started = time.perf_counter()
    bank = glyph_bank(args.glyphs, rng)
    print(f"{args.glyphs} glyphs in {time.perf_counter() - started:.0f}s", flush=True)
    held = len(bank[1]) // 20
    examples = Examples(processor, (bank[0][held:], bank[1][held:]), rng)
    fresh = Examples(
        processor, (bank[0][:held], bank[1][:held]), np.random.default_rng(args.seed + 1)
    )
    model.train()
    teach_reading(model, examples, args.reading_steps, 128)
    teach_answering(model, examples, args.answering_steps, 128, 1.5e-3)
    args.out.mkdir(parents=True, exist_ok=True)
    model.eval()
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
    fonts, font_digits = accuracy(model, fresh, fresh.draw(1000))
    hand, hand_digits = accuracy(model, examples, list(panels("test", 1000, 0)))
    print(
        json.dumps(
            {
                "drawn": fonts,
                "drawn_digits": font_digits,
                "handwriting": hand,
                "handwriting_digits": hand_digits,
            }
        )
    )


if __name__ == "__main__":
    main()
