"""One steady GRPO step of ours against TRL's GRPOTrainer: CPU seconds, wall seconds, peak memory.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/step_vs_trl.py --case 256,8,16     # IMAGE_TOKENS,GROUP,NEW_TOKENS
    python benchmarks/step_vs_trl.py --case 256,32,16 --threads 2
    python benchmarks/step_vs_trl.py                     # all cases, about an hour

Both train the same Qwen2.5-VL (`tiny_qwen`: hidden 256, four vision and four text layers) from the
same folder on the same eight prompts and pictures, in one thread each, with the same rewards (every
other completion of a group is right) and no KL. Each runs in a process of its own, and they take
turns: a step of one, a step of the other. Before what counts, ours warms up with a whole step, and
TRL with a small one (one picture of 16 tokens, two new tokens), as a whole one takes minutes. Both
compute the loss of the completions of TRL's first step against the same, disturbed old
log-probabilities: TRL's code on the log-probabilities of that step, ours anew.
`--micro-batch` is ours to choose and changes memory, not the result; TRL gets its batch as one, as
its defaults have it, or in accumulated parts with `--trl-batch`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPTS = 8
QUESTION = "How many are there?"
CASES = [(i, g, n) for i in (16, 256, 1024) for g in (8, 32) for n in (16, 64)]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rewards(group: int) -> list[float]:
    return [float(i % 2) for i in range(group)]


class Ours:
    """One update of ours through `update`, on rollouts through `sample_all`.

    Among several processes each has its share of the prompts, and the update is one.
    """

    def __init__(
        self,
        folder: Path,
        image_tokens: int,
        group: int,
        new: int,
        batch: int,
        processes: Any = None,
    ) -> None:
        import tiny_qwen

        tiny_qwen.operators()
        from mmupt.processes import ALONE

        self.processes = processes or ALONE
        self.mine = range(PROMPTS)[self.processes.share(PROMPTS)]
        from mmupt.asking.prompt import Prompt
        from mmupt.config import TrainConfig
        from mmupt.policy.model import load_policy
        from mmupt.train.optim import make_optimizer

        self.policy = load_policy(folder, device="cpu")
        self.prompts = [
            Prompt(f"<image>{QUESTION}", (tiny_qwen.picture(image_tokens, i),)) for i in self.mine
        ]
        self.group, self.new, self.batch = group, new, batch
        self.config = TrainConfig(
            num_generations=group, max_completion_length=new, learning_rate=1e-6,
            weight_decay=0.0, loss_type="dapo", scale_rewards="group", micro_batch_size=batch,
        )  # fmt: skip
        self.optimizer = make_optimizer(self.policy.model, 1e-6, 0.0)
        self.steps = 0

    def step(self) -> None:
        from mmupt.asking.answerer import SamplingParams, stream_seeds
        from mmupt.policy.inputs import encode
        from mmupt.policy.sampler import sample_all
        from mmupt.train.advantage import group_advantages
        from mmupt.train.rollout import Group
        from mmupt.train.update import ScoredGroup, update
        from mmupt.types import Sample

        parts = [self.prompts[i : i + self.batch] for i in range(0, len(self.prompts), self.batch)]
        lengths: list[int] = []

        def batches() -> Any:
            for part in parts:
                encoded = encode(self.policy, part)
                lengths.extend(encoded.lengths.tolist())
                yield encoded, [self.group] * len(part)

        seeds = stream_seeds(self.steps, count=PROMPTS * self.group)
        seeds = seeds[self.mine.start * self.group : self.mine.stop * self.group]
        groups = sample_all(
            self.policy, batches(), seeds, SamplingParams(1.0, max_completion_length=self.new)
        )
        advantages = group_advantages(rewards(self.group), "group")
        scored = [
            ScoredGroup(
                Group(Sample(str(i), QUESTION), (prompt,), tuple(group), (length,)), advantages
            )
            for i, (prompt, group, length) in enumerate(
                zip(self.prompts, groups, lengths, strict=True)
            )
        ]
        update(self.policy, self.optimizer, scored, self.config, processes=self.processes)
        self.steps += 1

    def loss(self, path: Path) -> float:
        """Of completions and old log-probabilities that the other side has written."""
        import torch

        from mmupt.policy.inputs import encode
        from mmupt.policy.score import TokenBatch, completion_logprobs
        from mmupt.train.loss import loss_denominator, reduce_loss, token_loss

        given = torch.load(path, weights_only=True)
        mask = given["mask"].float()
        with torch.no_grad():
            logps, _ = completion_logprobs(
                self.policy, encode(self.policy, self.prompts), [self.group] * PROMPTS,
                TokenBatch(given["tokens"], mask),
            )  # fmt: skip
            losses = token_loss(logps, given["old"], None, given["advantages"], mask, self.config)
            tokens = int(mask.sum())
            total = loss_denominator(
                "dapo", completions=len(mask), tokens=tokens, tokens_per_update=tokens,
                max_completion_length=self.new,
            )  # fmt: skip
            return float(reduce_loss(losses.loss_NT, mask, "dapo", total))


class Trl:
    """A step of GRPOTrainer. What the step computed is kept, so that its loss can be told after it.

    Attributes:
        whole: the completions of the last step, in the order of the prompts.
        seen: for each forward pass of its update, which of them, and their log-probabilities.
    """

    def __init__(self, folder: Path, image_tokens: int, group: int, new: int, batch: int) -> None:
        import tiny_qwen

        tiny_qwen.operators()
        import torch
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        self.folder, self.group = folder, group
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.processor = AutoProcessor.from_pretrained(folder)
        # Libraries and kernels warm up on a small step that leaves the weights as they are.
        self._trainer(16, 1, 2, 1, 0.0).train()
        self.trainer = self._trainer(image_tokens, PROMPTS, new, batch, 1e-6)
        self._listen()

    def _trainer(self, image_tokens: int, prompts: int, new: int, batch: int, rate: float) -> Any:
        import tiny_qwen
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        rows = [
            {
                "prompt": [{"role": "user", "content": QUESTION}],
                "image": tiny_qwen.picture(image_tokens, i),
            }
            for i in range(prompts)
        ]

        def reward(completions: list[Any], **_: Any) -> list[float]:
            return rewards(self.group) * (len(completions) // self.group)

        config = GRPOConfig(
            output_dir=str(self.folder.parent / "trl"), num_generations=self.group,
            per_device_train_batch_size=batch * self.group,
            gradient_accumulation_steps=prompts // batch,
            max_completion_length=new, max_steps=1, report_to=[], save_strategy="no",
            use_cpu=True, bf16=False, gradient_checkpointing=False, learning_rate=rate,
            beta=0.0, loss_type="dapo", scale_rewards="group", dataloader_pin_memory=False,
            disable_tqdm=True, shuffle_dataset=False, mask_truncated_completions=False,
        )  # fmt: skip
        return GRPOTrainer(
            model=self.model, reward_funcs=reward, args=config,
            train_dataset=Dataset.from_list(rows), processing_class=self.processor,
        )  # fmt: skip

    def _listen(self) -> None:
        """Keep what passes; nothing is computed for it."""
        import torch

        trainer = self.trainer
        generate, loss = trainer._generate_and_score_completions, trainer._compute_loss
        score = trainer._get_per_token_logps_and_entropies
        self.whole: dict[str, Any] = {}
        self.seen: list[tuple[Any, Any, Any]] = []

        def generating(inputs: Any) -> Any:
            output = generate(inputs)
            output["row"] = torch.arange(len(output["completion_ids"]))  # TRL shuffles the rows
            # Without the pictures: TRL lets go of these, and its memory is measured.
            self.whole = {k: v for k, v in output.items() if "pixel" not in k}
            self.seen = []
            return output

        def losing(model: Any, inputs: Any) -> Any:
            self.rows = inputs["row"]
            return loss(model, inputs)

        def scoring(*args: Any, **kwargs: Any) -> Any:
            found = score(*args, **kwargs)
            self.seen.append((self.rows, found[0].detach(), found[1].detach()))
            return found

        trainer._generate_and_score_completions = generating
        trainer._compute_loss = losing
        trainer._get_per_token_logps_and_entropies = scoring
        self.plain_loss = loss

    def step(self) -> None:
        self.trainer.train()

    def loss(self, path: Path) -> float:
        """TRL's loss of the step's completions, on the log-probabilities that the step computed
        before it moved the weights; written for the other side with the disturbed old ones."""
        import torch

        order = torch.cat([rows for rows, _, _ in self.seen]).argsort()
        logps, entropies = (torch.cat([one[i] for one in self.seen])[order] for i in (1, 2))
        whole = dict(self.whole)
        noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(1))
        whole["old_per_token_logps"] = logps + 0.1 * noise
        listening = self.trainer._get_per_token_logps_and_entropies
        self.trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logps, entropies, None)
        # All rows at once, whose mean TRL takes over as many micro-batches as it generates for.
        self.trainer.current_gradient_accumulation_steps = self.trainer.args.steps_per_generation
        with torch.no_grad():
            loss = float(self.plain_loss(self.model, whole))
        self.trainer._get_per_token_logps_and_entropies = listening
        torch.save(
            {
                "tokens": whole["completion_ids"], "mask": whole["completion_mask"],
                "old": whole["old_per_token_logps"], "advantages": whole["advantages"],
            },
            path,
        )  # fmt: skip
        return loss


def work(side: str, folder: str, case: str, batch: int, threads: int) -> None:
    """A process of one side: does what it reads, says what it took."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    image_tokens, group, new = (int(x) for x in case.split(","))
    one = (Ours if side == "ours" else Trl)(Path(folder), image_tokens, group, new, batch)
    for line in sys.stdin:
        order, _, rest = line.strip().partition(" ")
        cpu, wall = time.process_time(), time.perf_counter()
        value = one.loss(Path(rest)) if order == "loss" else one.step()
        took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps({**took, "rss": peak_mb(), "loss": value}), file=answers, flush=True)


class Side:
    """The other end of `work`."""

    def __init__(self, name: str, folder: Path, case: str, batch: int, threads: int) -> None:
        # A thread that waits for the others sleeps: its waiting is no CPU time.
        environment = {
            **os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--work", name, "--folder", str(folder),
             "--case", case, "--micro-batch", str(batch), "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            stderr=(folder.parent / f"{name}.log").open("w"),
        )  # fmt: skip
        self.log = folder.parent / f"{name}.log"

    def do(self, order: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{' '.join(self.process.args[4:])} ended:\n{self.log.read_text()[-3000:]}"
            )  # type: ignore[arg-type]
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(
    case: tuple[int, int, int], steps: int, batch: int, trl_batch: int, threads: int
) -> dict[str, Any]:
    import tiny_qwen

    text = ",".join(map(str, case))
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_qwen.save_model(Path(scratch) / "model")
        sides = {
            "ours": Side("ours", folder, text, batch, threads),
            "trl": Side("trl", folder, text, trl_batch, threads),
        }
        shared = Path(scratch) / "completions.pt"
        trl = [sides["trl"].do("step")]
        # Of the log-probabilities from before the first update; so ours come before ours.
        trl_loss = sides["trl"].do(f"loss {shared}")["loss"]
        our_loss = sides["ours"].do(f"loss {shared}")["loss"]
        sides["ours"].do("step")  # warms up
        ours = [sides["ours"].do("step")]
        for _ in range(steps - 1):
            trl.append(sides["trl"].do("step"))
            ours.append(sides["ours"].do("step"))
        for side in sides.values():
            side.process.terminate()
    found = {
        "image_tokens": case[0], "group": case[1], "new_tokens": case[2],
        "ours_cpu_s": round(min(s["cpu"] for s in ours), 2),
        "trl_cpu_s": round(min(s["cpu"] for s in trl), 2),
        "ours_wall_s": round(min(s["wall"] for s in ours), 2),
        "trl_wall_s": round(min(s["wall"] for s in trl), 2),
        "ours_steps_cpu_s": [round(s["cpu"], 2) for s in ours],
        "trl_steps_cpu_s": [round(s["cpu"], 2) for s in trl],
        "ours_rss_mb": round(ours[-1]["rss"]), "trl_rss_mb": round(trl[-1]["rss"]),
        "loss_rel_diff": abs(our_loss - trl_loss) / abs(trl_loss),
    }  # fmt: skip
    ratio = found["trl_cpu_s"] / found["ours_cpu_s"]
    memory = found["trl_rss_mb"] / found["ours_rss_mb"]
    print(f"{text}: {ratio:.1f}x the CPU time, {memory:.1f}x the memory  {found}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help="IMAGE_TOKENS,GROUP,NEW_TOKENS; all without it")
    parser.add_argument("--steps", type=int, default=1, help="steps that count")
    parser.add_argument("--micro-batch", type=int, default=2, help="prompts of ours at a time")
    parser.add_argument("--trl-batch", type=int, default=PROMPTS, help="prompts of TRL at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each side")
    parser.add_argument("--work", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.folder, given.case, given.micro_batch, given.threads)
        return
    cases = CASES
    if given.case:
        image_tokens, group, new = (int(x) for x in given.case.split(","))
        cases = [(image_tokens, group, new)]
    found = [
        compare(c, given.steps, given.micro_batch, given.trl_batch, given.threads) for c in cases
    ]
    print(json.dumps({"bench": "step_vs_trl", "cases": found}))


if __name__ == "__main__":
    main()
