"""A small project with an audit, for tests of the review app and its benchmark."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mmupt.audit.design import Unit, make_plan
from mmupt.audit.records import NewAudit, NewItem
from mmupt.audit.store import AuditStore
from mmupt.config import Config, dump_config, load_config
from mmupt.pipeline.project import Project, find_project
from mmupt.review.access import Access
from mmupt.review.app import create_app
from mmupt.review.desk import Desk
from mmupt.review.pictures import Pictures, data_roots

T0 = "2026-01-01T00:00:00.000000+00:00"
SETTINGS = ("audit.design=random", "audit.max_verdicts=100000")


def picture(folder: Path, name: str, text: str, size: tuple[int, int] = (320, 240)) -> str:
    """A photograph-like picture with a text on it; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(text)).integers(90, 120, (size[1], size[0], 3))
    image = Image.fromarray(noise.astype(np.uint8))
    ImageDraw.Draw(image).text((size[0] // 2 - 20, size[1] // 2 - 20), text, "white", font_size=40)
    image.save(path)
    return str(path)


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (250, 10, 10)).save(out, "PNG")
    return out.getvalue()


def payload(images: Sequence[str], label: str = "12", **values: Any) -> str:
    shown = {
        "problem": "<image>What does the meter show?",
        "images": list(images),
        "answers": [
            {"answer": label, "count": 6, "completion": f"It reads \\boxed{{{label}}}"},
            {"answer": "secret-second", "count": 2, "completion": "Perhaps secret-second"},
        ],
        **values,
    }
    return json.dumps(shown, ensure_ascii=False)


def make_project(
    root: Path, items: int = 30, *, settings: Sequence[str] = (), images: Sequence[str] = (),
    **values: Any,
) -> Project:  # fmt: skip
    """A project with one audit; `values` stand in every item in place of the usual ones.

    A value may be a function of the sample's number.
    """
    root.mkdir(parents=True, exist_ok=True)
    data = root.parent / "data"
    data.mkdir(exist_ok=True)
    config = load_config(
        None,
        [f"data.unlabelled={data / 'rows.jsonl'}", "gate.min_precision=0.7", *SETTINGS, *settings],
    )
    (data / "rows.jsonl").touch()
    (root / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    paths = list(images) or [picture(data, f"images/meter-{n}.png", f"{n}") for n in range(3)]
    project = Project(root)
    store = AuditStore(root / "project.db", project.id())
    fill(store, config, items, paths, **values)
    return find_project(root)


def fill(
    store: AuditStore, config: Config, items: int, paths: Sequence[str], name: str = "round-1",
    **values: Any,
) -> None:  # fmt: skip
    units = [Unit(f"sample-{n:06}", 0.75, slices={"line": "AB"[n % 2]}) for n in range(items)]
    plan = make_plan(units, config.audit, seed=1, threshold=0.7)
    rows = []
    for one in plan.drawn:
        number = int(one.id[-6:])
        row: dict[str, Any] = {
            "position": one.position, "unit": one.id, "sample_id": one.id, "pseudo_label": "12",
            "share": 0.75, "stratum": one.stratum, "probability": one.probability,
            "slices": {"line": "AB"[number % 2]},
            "rules": ("low-margin",) if number % 3 == 0 else (),
            "payload": payload([paths[number % len(paths)]]),
            **{key: value(number) if callable(value) else value for key, value in values.items()},
        }  # fmt: skip
        rows.append(NewItem(**row))
    text = json.dumps(plan.as_json(), ensure_ascii=False)
    store.create(NewAudit(name, "model-a", "frame-a", text, T0), rows)


def desk_of(project: Project, **values: Any) -> Desk:
    config = project.config()
    pictures = Pictures(data_roots(project, config))
    return Desk(project.audits(config), config, pictures, **values)


class Site:
    """The app over a project, and browsers for it."""

    def __init__(
        self, project: Project, reviewers: Sequence[str] = ("aiko",), **values: Any
    ) -> None:
        self.project, self.desk = project, desk_of(project, **values)
        self.access = Access(reviewers)
        self.app = create_app(self.desk, self.access, port=1)

    def browser(self, reviewer: str = "aiko", *, enter: bool = True) -> Browser:
        from starlette.testclient import TestClient

        client = TestClient(self.app, base_url="http://127.0.0.1:8000", follow_redirects=False)
        if enter:
            reply = client.get("/", params={"token": self.access.tokens[reviewer]})
            assert reply.status_code == 200
        return Browser(client, self)


class Browser:
    """One browser without JavaScript."""

    def __init__(self, client: Any, site: Site) -> None:
        self.client, self.site = client, site
        self.get, self.post = client.get, client.post

    @property
    def form(self) -> str:
        """The form token of the session."""
        cookie = self.client.cookies.get("mmupt_review_1")
        session = self.site.access.session(cookie or "")
        assert session is not None
        return session.form

    def judge(self, position: int, kind: str, **fields: str) -> Any:
        return self.post(
            "/verdict",
            data={
                "csrf": self.form, "audit": "round-1", "item": str(position), "kind": kind,
                "key": str(uuid.uuid4()), "seconds": "1.5", **fields,
            },
        )  # fmt: skip
