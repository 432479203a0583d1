"""A capable model for tests of `mmupt synthesize`: it writes sensible questions and answers them.

Its answers depend on the question, the picture and nothing else, so that views of one picture agree
on easy questions, mostly agree on others, and not at all on the rest.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmupt.asking.answerer import Draw
from mmupt.asking.prompt import Prompt
from mmupt.types import Completion, Finish

THINGS = ("valves", "gauges", "pumps", "cables", "lamps", "switches", "pipes", "tanks")
PLACES = ("open", "red", "on the wall", "behind the door", "near the floor", "numbered")
JAPANESE = tuple(
    f"{thing}はいくつ写っていますか？" for thing in ("バルブ", "計器", "ポンプ", "配管", "電灯")
)


def writes(text: str) -> bool:
    """Whether a prompt asks for a question."""
    return "question alone" in text or "質問文だけを" in text


def question(seed: int, text: str = "") -> str:
    rng = random.Random(seed)
    if "日本語で" in text:
        return rng.choice(JAPANESE)
    asked = f"How many {rng.choice(THINGS)} are {rng.choice(PLACES)}?"
    if "A. B. C. D." in text:
        return f"{asked}\nA. two\nB. three\nC. four\nD. five"
    return asked


def answer(text: str, view: int) -> str:
    """What is answered to a question in one view of a picture, told by its pixels."""
    kind = zlib.crc32(text.encode()) % 3
    right = str(20 + zlib.crc32(text.encode()) % 50)
    wrong = str(100 + view % 700)
    certain = (True, view % 10 < 7, view % 10 < 2)[kind]
    choice = "B" if certain else "ACD"[view % 3]
    return f"So it is \\boxed{{{choice if 'D. five' in text else right if certain else wrong}}}"


@dataclass
class Writer:
    """The model as an answerer.

    Attributes:
        write: text for a request, by its seed and prompt.
        ends_at: the call that is interrupted; None: none is.
        returned: what was asked in calls that were answered: text, pixels, seed.
        sizes: prompts of each call.
    """

    write: Callable[[int, str], str] = question
    ends_at: int | None = None
    calls: int = 0
    returned: list[tuple[str, int, int]] = field(default_factory=list)
    name: str = "writer"

    def complete(
        self, prompts: Sequence[Prompt], draws: Sequence[Draw]
    ) -> list[list[list[Completion | None]]]:
        if self.calls == self.ends_at:
            raise KeyboardInterrupt
        self.calls += 1
        return [[self._group(p, i, draw) for i, p in enumerate(prompts)] for draw in draws]

    def _group(self, prompt: Prompt, place: int, draw: Draw) -> list[Completion | None]:
        pixels = zlib.crc32(b"".join(image.tobytes() for image in prompt.images))
        found: list[Completion | None] = []
        for number in range(draw.count):
            seed = int(draw.seeds[place * draw.count + number])
            self.returned.append((prompt.problem, pixels, seed))
            asked = writes(prompt.problem)
            text = self.write(seed, prompt.problem) if asked else answer(prompt.problem, pixels)
            found.append(Completion(text, (), (), Finish.STOP))
        return found
