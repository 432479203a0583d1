"""Time the vote on 10,000 groups of 16 mixed answers, and against pairwise math-verify.

    python benchmarks/consensus.py [--groups N] [--pairs N]

One thread, no cache filled beforehand. The answers are written in many ways: integers, decimals,
fractions, LaTeX, units, Japanese, choices, sets, dates, text; a few percent are sums, roots and
functions that only the reader of last resort reads, in its worker process. A group mixes the right
answer in several spellings with wrong ones and abstentions. The first figure is the time of `vote`
from strings to rewards, with the start of the worker in it; CPU time is that of this process and
of the worker, and their sum is what one core needs.

Pairwise math-verify is given its best case: each distinct answer of a group is parsed once, and the
parsed answers are compared pair by pair. It runs on a sample of the groups and is scaled up.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from itertools import combinations

from math_verify import parse, verify

from mmupt.consensus.symbolic import asked, close
from mmupt.consensus.vote import vote

WORDS = ["red", "blue", "open", "closed", "left", "right", "Tokyo", "pump", "valve", "cat", "dog"]


def last_resort(value: int) -> str:
    """LaTeX that no reader of the house knows the value of; few distinct numbers, as in life."""
    number = value % 100 + 2
    return (
        f"\\sum_{{k=1}}^{{{number}}} k",
        f"{number}\\sin 2x",
        f"\\sqrt{{{number}+2\\sqrt{{{number - 1}}}}}",
        f"\\frac{{x^2-{number**2}}}{{x-{number}}}",
    )[value // 100 % 4]


def spellings(value: int, generator: random.Random) -> list[str]:
    """Ways to write one value; the index of the way is the same for every value."""
    return [
        f"{value}",
        f"{value}.0",
        f"{value:,}",
        f"${value}$",
        f"\\frac{{{2 * value}}}{{2}}",
        f"{value}個",
        f"{value} cm",
        f"{value / 100} m",
        f"\\boxed{{{value}}}",
        f"x = {value}",
        f"{value}\\%",
        f"{value}円",
        f"¥{value:,}",
        f"{generator.choice(WORDS)} {generator.choice(WORDS)} {value}",
        f"{value}\\sqrt{{3}}",
        f"({value}, {value + 1})",
        f"\\{{{value}, {value + 1}\\}}",
        f"[{value}, {value + 5})",
        f"{value}.{generator.randrange(1000):03d}",
        f"{generator.randrange(1, 50)}/{value + 1}",
        f"{1990 + value % 30}-{value % 12 + 1:02d}-{value % 28 + 1:02d}",
        f"{1990 + value % 30}年{value % 12 + 1}月{value % 28 + 1}日",
        "ABCDE"[value % 5],
        f"({'ABCDE'[value % 5]})",
        generator.choice(WORDS),
        "yes" if value % 2 else "いいえ",
        f"{value}^\\circ",
        f"2x + {value}",
        last_resort(value),
    ]


def groups(count: int, size: int, seed: int = 0) -> list[list[str | None]]:
    """Groups of answers, abstentions among them."""
    generator = random.Random(seed)
    made: list[list[str | None]] = []
    for _ in range(count):
        right = generator.randrange(2, 5000)
        way = generator.randrange(29)
        group: list[str | None] = []
        for _ in range(size):
            draw = generator.random()
            if draw < 0.05:
                group.append(None)
            elif draw < 0.6:
                group.append(spellings(right, generator)[way])
            elif draw < 0.75:
                group.append(generator.choice(spellings(right, generator)))
            else:
                wrong = generator.randrange(2, 5000)
                group.append(spellings(wrong, generator)[way])
        made.append(group)
    return made


def math_verify_seconds(sample: list[list[str | None]]) -> float:
    """Seconds that pairwise math-verify needs for a sample of groups."""
    start = time.perf_counter()
    for group in sample:
        distinct = dict.fromkeys(answer for answer in group if answer is not None)
        parsed = [parse(f"${answer}$") for answer in distinct]
        for first, second in combinations(parsed, 2):
            verify(first, second)
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--groups", type=int, default=10_000)
    options.add_argument("--size", type=int, default=16)
    options.add_argument("--pairs", type=int, default=100, help="groups given to math-verify")
    chosen = options.parse_args()
    made = groups(chosen.groups, chosen.size)
    start, cpu = time.perf_counter(), time.process_time()
    votes = [vote(group) for group in made]
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    labelled = sum(result.label is not None for result in votes)
    known = {last_resort(value) for value in range(5000)}
    worker_strings = sum(answer in known for group in made for answer in group)
    worker_parsed = asked.cache_info().misses
    close()  # its CPU time is known when it has ended
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker_seconds = ended.ru_utime + ended.ru_stime
    scaled = math_verify_seconds(made[: chosen.pairs]) * chosen.groups / chosen.pairs
    print(f"{chosen.groups} groups x {chosen.size}: {seconds:.2f} s wall, {cpu_seconds:.2f} s CPU")
    print(
        f"to the worker: {worker_strings} strings, {worker_parsed} of them distinct, "
        f"{worker_seconds:.2f} s CPU"
    )
    print(f"pairwise math-verify, scaled from {chosen.pairs} groups: {scaled:.0f} s")
    print(
        json.dumps(
            {
                "groups": chosen.groups,
                "size": chosen.size,
                "strings": chosen.groups * chosen.size,
                "distinct": len({answer for group in made for answer in group}),
                "worker_strings": worker_strings,
                "worker_parsed": worker_parsed,
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu_seconds, 3),
                "worker_cpu_seconds": round(worker_seconds, 3),
                "labelled": labelled,
                "math_verify_seconds": round(scaled, 1),
                "speedup": round(scaled / seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
