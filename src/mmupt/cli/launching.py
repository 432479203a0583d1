"""The verb that starts another verb in several processes: launch."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from mmupt.launch import Launch, check_verb, launch


def register(app: typer.Typer) -> None:
    """Add the verb; what follows the other verb's name belongs to that one."""
    app.command("launch", context_settings={"allow_interspersed_args": False})(launch_verb)


def launch_verb(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="VERB ARGS...", help="A verb of mmupt with its options.")
    ],
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes on this node.")],
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command instead of running it.")
    ] = False,
) -> None:
    """A verb in several processes (torchrun): train, run, sft, demo or eval."""
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
