"""Options that several verbs share, as annotated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Lang = Literal["en", "ja"]
ModelOption = Annotated[
    Path, typer.Option("--model", help="Local Hugging Face image-text model folder.")
]
AnyModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="Local Hugging Face image-text model folder; or --server."),
]
ServerOption = Annotated[
    str | None,
    typer.Option("--server", help="Address of an OpenAI-compatible server that answers instead."),
]
ServerModelOption = Annotated[
    str | None, typer.Option("--server-model", help="The model's name there, if it serves several.")
]
ApiKeyEnvOption = Annotated[
    str | None,
    typer.Option("--api-key-env", help="Environment variable with the server's key, if any."),
]
DataOption = Annotated[
    Path, typer.Option("--data", help="Data with images, problem, answer, id (docs/data.md).")
]
OutOption = Annotated[
    Path, typer.Option("--out", help="Run folder; an interrupted run in it goes on.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file, see docs/config.md.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting as key=value, such as train.max_steps=40."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON and nothing else.")
]
LangOption = Annotated[Lang, typer.Option("--lang", help="Language of tables and pages.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used, and list them.")
]
