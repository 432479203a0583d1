"""Sentence vectors from an encoder on disk, for option `embed` of strategy "mbr".

The one part of `consensus` that needs a model: nothing imports it, and it imports torch and
transformers only when it is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mmupt.errors import ModelError


def sentence_embeddings(
    path: str | Path, device: str = "cpu", batch_size: int = 32, prefix: str = ""
) -> Callable[[list[str]], list[list[float]]]:
    """A function from texts to unit vectors: the mean of an encoder's last hidden states.

        e(text) = h / |h|,   h = mean over the text's tokens t of state_t

    Source: Sentence-BERT (arXiv 1908.10084), mean pooling. Similar is not same: `left valve open`
    and `left valve closed` have a cosine above 0.9 in such encoders, so keep the guards on.

    Args:
        path: a folder with an encoder and its tokenizer in the Hugging Face layout, weights as
            safetensors. Nothing is downloaded and no code of the folder is run.
        device: where it runs.
        batch_size: texts at once.
        prefix: put before every text, where the encoder was trained with one (`query: `).

    Raises:
        ModelError: no such folder, an encoder that cannot be loaded, or one whose
            `1_Pooling/config.json` asks for another pooling than the mean.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json; expected the folder of a Hugging Face encoder")
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file() and not json.loads(pooling.read_text("utf-8")).get(
        "pooling_mode_mean_tokens"
    ):
        raise ModelError(
            f"{pooling}: expected pooling_mode_mean_tokens; only the mean is supported"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        model = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
        # RoBERTa counts positions from 2.
        limit = min(tokenizer.model_max_length, model.config.max_position_embeddings - 2)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{folder}: cannot be loaded as a text encoder: {first}") from error
    model = model.to(device).eval()

    def embed(texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(texts), batch_size):
            batch = tokenizer(
                [prefix + text for text in texts[start : start + batch_size]],
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            ).to(device)
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * mask).sum(1) / mask.sum(1)
            vectors += torch.nn.functional.normalize(means, dim=-1).tolist()
        return vectors

    return embed
