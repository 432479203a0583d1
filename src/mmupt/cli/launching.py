"""The verb that starts others: another verb in several processes, or verl's trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperGroup

from mmupt.errors import ConfigError
from mmupt.launch import Launch, check_verb, launch


def register(app: typer.Typer) -> None:
    """Add the verb; what follows the other verb's name belongs to that one."""
    app.command("launch", context_settings={"allow_interspersed_args": False})(launch_verb)


def launch_verb(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="VERB ARGS... | CONFIG OVERRIDES...",
            help="A verb of mmupt with its options; for verl a settings file, and overrides of "
            "verl's own.",
        ),
    ],
    engine: Annotated[
        Literal["torchrun", "verl"],
        typer.Option("--engine", help="Who starts what; verl is docs/verl.md."),
    ] = "torchrun",
    nproc: Annotated[
        int | None, typer.Option("--nproc", min=1, help="Processes on this node.")
    ] = None,
    nnodes: Annotated[int, typer.Option("--nnodes", min=1, help="As of torchrun.")] = 1,
    node_rank: Annotated[int | None, typer.Option("--node-rank", help="As of torchrun.")] = None,
    rdzv_backend: Annotated[
        str | None, typer.Option("--rdzv-backend", help="As of torchrun.")
    ] = None,
    rdzv_endpoint: Annotated[
        str | None, typer.Option("--rdzv-endpoint", help="As of torchrun.")
    ] = None,
    rdzv_id: Annotated[str | None, typer.Option("--rdzv-id", help="As of torchrun.")] = None,
    master_addr: Annotated[
        str | None, typer.Option("--master-addr", help="As of torchrun.")
    ] = None,
    master_port: Annotated[
        int | None, typer.Option("--master-port", help="As of torchrun.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="verl: model folder; else model.path of CONFIG.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="verl: rows without answers; else data.unlabelled of CONFIG."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="verl: folder of the round.")] = Path(
        "runs/verl"
    ),
    n_gpus_per_node: Annotated[
        int, typer.Option("--n-gpus-per-node", min=1, help="verl: GPUs of each node.")
    ] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="verl: one setting, KEY=VALUE.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command instead of running it.")
    ] = False,
) -> None:
    """A verb in several processes (torchrun): train, run, sft, demo or eval; or a round by verl."""
    if engine == "verl":
        if nproc is not None:
            raise ConfigError("--nproc is for torchrun; verl takes --nnodes and --n-gpus-per-node")
        places = {"model": model, "data": data}
        by_verl(words, places, out, nnodes, n_gpus_per_node, settings or [], dry_run)
        return
    if nproc is None:
        raise ConfigError("launch needs --nproc N: how many processes this node starts")
    check_verb(words)
    given = {
        "--node-rank": node_rank, "--rdzv-backend": rdzv_backend, "--rdzv-endpoint": rdzv_endpoint,
        "--rdzv-id": rdzv_id, "--master-addr": master_addr, "--master-port": master_port,
    }  # fmt: skip
    options = tuple(f"{name}={value}" for name, value in given.items() if value is not None)
    root = context.parent.command if context.parent else None
    assert isinstance(root, TyperGroup)  # noqa: S101
    # A mistyped option ends here, before anything starts.
    root.commands[words[0]].make_context(words[0], list(words[1:]), parent=context.parent)
    plan = Launch(nproc, tuple(words), nnodes, options)
    if dry_run:
        typer.echo(plan.command())
        return
    raise typer.Exit(launch(plan))


def by_verl(
    words: Sequence[str],
    places: dict[str, Path | None],
    out: Path,
    nnodes: int,
    n_gpus_per_node: int,
    settings: Sequence[str],
    dry_run: bool,
) -> None:
    """Write verl's parquet and settings and start its trainer; a dry run only says how."""
    from mmupt.cli.common import samples
    from mmupt.config import load_config
    from mmupt.verl.settings import refuse_what_verl_has_not
    from mmupt.verl.start import plan_round, start

    config = load_config(Path(words[0]), settings)
    refuse_what_verl_has_not(config)
    data, model = places["data"] or config.data.unlabelled, places["model"] or config.model.path
    if data is None:
        raise ConfigError(
            f"{words[0]}: no data; name it by --data, or by data.unlabelled in this file"
        )
    unlabelled = {"labelled": None, "test": None, "unlabelled": data.resolve()}
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"path": model and model.resolve()}),
            "data": config.data.model_copy(update=unlabelled),
        }
    )
    plan = plan_round(
        config, samples(config, data), out,
        nnodes=nnodes, n_gpus_per_node=n_gpus_per_node, further=words[1:],
    )  # fmt: skip
    if dry_run:
        typer.echo(plan.command())
        return
    start(plan)
