"""What a check found, as values and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it should be.
        value: the figure found, if it is one.
        tolerance: what the figure may be at most (for `picture`: must be at least).
        message: in plain words.
    """

    name: str
    ok: bool
    value: float | None = None
    tolerance: float | None = None
    message: str = ""


@dataclass
class Report:
    """All that was found about a model.

    Attributes:
        model_type: as config.json says; empty where it does not.
        checks: in the order in which they were made; the first that is broken is the last.
        fallbacks: what is done instead of what the model lacks or does otherwise.
        memory_mb: predicted peak of a training step in 10^6 bytes; None: not measured.
        seconds_per_step: predicted from a small run; None: not measured.
        seconds_per_step_max: the same for a step that draws all the batches that
            `train.dynamic_sampling` allows.
        broken: the model cannot be used at all.
    """

    model_type: str = ""
    checks: list[Check] = field(default_factory=list)
    fallbacks: list[str] = field(default_factory=list)
    memory_mb: float | None = None
    seconds_per_step: float | None = None
    seconds_per_step_max: float | None = None
    broken: bool = False

    def fail(self, name: str, message: str) -> Report:
        """Note what is broken; nothing is looked at after it."""
        self.checks.append(Check(name, False, message=message))
        self.broken = True
        return self

    @property
    def ok(self) -> bool:
        """Whether everything that was looked at is as it should be."""
        return all(check.ok for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0: right. 1: it works, but with a fallback, or a check is not ok. 2: broken."""
        if self.broken:
            return 2
        return 0 if self.ok and not self.fallbacks else 1

    def json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "model_type": self.model_type,
            "checks": [asdict(check) for check in self.checks],
            "fallbacks": self.fallbacks,
            "memory_mb": self.memory_mb,
            "seconds_per_step": self.seconds_per_step,
            "seconds_per_step_max": self.seconds_per_step_max,
        }

    def table(self) -> Table:
        """The checks, one a line."""
        table = Table(title=self.model_type or None, title_justify="left", box=None, expand=False)
        for column in ("", "check", "found", "limit", ""):
            table.add_column(column, overflow="fold")
        for check in self.checks:
            table.add_row(
                "[green]ok[/green]" if check.ok else "[red]no[/red]",
                check.name,
                _figure(check.value),
                _figure(check.tolerance),
                check.message.replace("[", r"\["),
            )
        return table

    def lines(self) -> list[str]:
        """What stands below the table: replacements, cost, verdict."""
        found = list(self.fallbacks)
        if self.memory_mb is not None and self.seconds_per_step is not None:
            most = self.seconds_per_step_max or self.seconds_per_step
            dynamic = (
                f", up to {most:,.1f} s where dynamic sampling draws all its batches"
                if most > self.seconds_per_step
                else ""
            )
            found.append(
                f"a training step: {self.memory_mb:,.0f} MB at its peak, about "
                f"{self.seconds_per_step:,.1f} s{dynamic}"
            )
        return [*found, self.verdict()]

    def verdict(self) -> str:
        """One line for people."""
        wrong = ", ".join(check.name for check in self.checks if not check.ok)
        match self.exit_code:
            case 0:
                return "works: results with the shared prompt are those of plain rows"
            case 1 if wrong:
                return f"loads, but is not right: {wrong}; do not train before that is mended"
            case 1:
                return "works, with what stands above: results are those of plain rows"
            case _:
                return f"broken: {wrong}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1e}"
