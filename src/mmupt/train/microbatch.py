"""What goes through the model at once, and what happens when that was too much.

A micro-batch is limited by tokens: prompts and completions, their padding counted. Groups are
sorted by size, so that like goes with like, and stay whole where they fit. The largest come first:
if memory runs out, it does so before much has been computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmupt.asking.prompt import Prompt
from mmupt.errors import MmuptError
from mmupt.types import Completion


@dataclass(frozen=True)
class Piece:
    """One prompt with some of its completions, at least one.

    Attributes:
        prompt: the prompt.
        prompt_tokens: its length in tokens, pictures included.
        completions: of this prompt.
        advantages: one per completion.
    """

    prompt: Prompt
    prompt_tokens: int
    completions: tuple[Completion, ...]
    advantages: tuple[float, ...]


@dataclass
class TokenBudget:
    """How many padded tokens a micro-batch may hold; kept by the caller from update to update.

    Attributes:
        tokens: the limit; None: none yet.
    """

    tokens: int | None = None

    def halve(self, failed: Sequence[Piece]) -> tuple[int, int]:
        """Half of what a micro-batch that ran out of memory held, so that its parts are smaller.

        Returns:
            The budget until now (without one, the size of the micro-batch) and the new one.

        Raises:
            MmuptError: the micro-batch was a single completion.
        """
        size = padded_tokens(failed)
        if sum(len(piece.completions) for piece in failed) == 1:
            piece = failed[0]
            raise MmuptError(
                f"{piece.prompt.origin or 'prompt'}: out of memory with one completion of "
                f"{len(piece.completions[0].token_ids)} tokens on a prompt of "
                f"{piece.prompt_tokens}; set train.gradient_checkpointing to true, train an "
                "adapter (section lora), hold the model in bfloat16, use smaller images or lower "
                "train.max_completion_length"
            )
        old, self.tokens = self.tokens or size, size // 2
        return old, self.tokens


def padded_tokens(part: Sequence[Piece]) -> int:
    """Tokens of a micro-batch as it is computed: B prompts of L and N completions of T tokens."""
    longest_prompt = max(piece.prompt_tokens for piece in part)
    lengths = [len(c.token_ids) for piece in part for c in piece.completions]
    return len(part) * longest_prompt + len(lengths) * max(lengths)


def micro_batches(
    groups: Sequence[Sequence[Piece]], tokens: int | None, prompts: int
) -> list[list[Piece]]:
    """Deal groups out to micro-batches.

    A group is split, between its completions, only where it exceeds `tokens` by itself; its prompt
    is then computed in each part. A single completion may exceed `tokens`; a whole group may exceed
    `prompts`.

    Args:
        groups: the pieces of each.
        tokens: most padded tokens of a micro-batch; None: any number.
        prompts: most prompts of a micro-batch.
    """
    parts: list[list[Piece]] = []
    for group in sorted(groups, key=padded_tokens, reverse=True):
        whole = tokens is None or padded_tokens(group) <= tokens
        for unit in [group] if whole else _single(group):
            joined = _join(parts[-1], unit) if parts else []
            if (
                joined
                and len(joined) <= prompts
                and (tokens is None or padded_tokens(joined) <= tokens)
            ):
                parts[-1] = joined
            else:
                parts.append(list(unit))
    return parts


def _single(group: Sequence[Piece]) -> list[list[Piece]]:
    """Every completion by itself, of each prompt the longest first."""
    return [
        [Piece(piece.prompt, piece.prompt_tokens, (completion,), (advantage,))]
        for piece in group
        for completion, advantage in sorted(
            zip(piece.completions, piece.advantages, strict=True),
            key=lambda pair: len(pair[0].token_ids),
            reverse=True,
        )
    ]


def _join(part: Sequence[Piece], unit: Sequence[Piece]) -> list[Piece]:
    """Both together; completions of the same prompt become one piece again."""
    joined = list(part)
    for piece in unit:
        last = joined[-1]
        if last.prompt is piece.prompt:
            joined[-1] = Piece(
                piece.prompt,
                piece.prompt_tokens,
                last.completions + piece.completions,
                last.advantages + piece.advantages,
            )
        else:
            joined.append(piece)
    return joined
