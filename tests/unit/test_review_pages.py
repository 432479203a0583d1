"""The review app without JavaScript: queue, verdicts, undo, filters, second reviews, figures."""

from __future__ import annotations

import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_site import Browser, Site, make_project, payload

from mmupt.audit.agreement import krippendorff
from mmupt.audit.records import KINDS, Kind, Verdict
from mmupt.audit.seen import Seen
from mmupt.audit.verdicts import chosen, judges, standing
from mmupt.pipeline.auditing import standing_of
from mmupt.review.desk import Filter
from mmupt.review.figures import Board
from mmupt.words import texts

ITEM = "/item?audit=round-1&item="


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(make_project(tmp_path / "project", 6), ("aiko", "ben"))


def shown(browser: Browser, path: str = "/") -> int:
    """Which sample a page shows, from 0; -1: none."""
    text = browser.get(path).text
    at = text.find('name="item" value="')
    return int(text[at + 19 :].split('"')[0]) if 'id="verdict"' in text else -1


def test_the_queue_goes_in_order_and_never_gives_one_sample_to_two(site: Site) -> None:
    aiko, ben = site.browser("aiko"), site.browser("ben")
    assert [shown(aiko), shown(ben), shown(aiko), shown(ben)] == [0, 1, 0, 1]
    reply = aiko.judge(0, "accept")
    assert (reply.status_code, reply.headers["location"]) == (303, ITEM + "0")
    assert [shown(aiko), shown(ben)] == [2, 1]
    ben.judge(1, "reject")
    assert shown(ben) == 3


def test_a_claim_is_renewed_and_refused_once_it_is_anothers(tmp_path: Path) -> None:
    site = Site(make_project(tmp_path / "project", 6), ("aiko", "ben"), lease=0.4)
    aiko, ben = site.browser("aiko"), site.browser("ben")

    def hold(browser: Browser, item: int) -> Any:
        fields = {"csrf": browser.form, "audit": "round-1", "item": str(item)}
        return browser.post("/hold", data=fields, headers={"accept": "application/json"})

    text = aiko.get("/").text
    assert 'data-renew="0.08"' in text
    assert 'name="claimed" value="1"' in text
    assert hold(aiko, 0).json() == {"held": True}
    assert hold(ben, 0).status_code == 409
    time.sleep(0.5)  # aiko is away
    assert shown(ben) == 0
    lost = hold(aiko, 0)
    assert lost.status_code == 409
    assert lost.json() == {"error": texts("mmupt.review", "en")["taken"], "taken": True}
    late = aiko.judge(0, "accept", claimed="1")
    assert late.status_code == 409
    assert "was not stored" in late.text
    assert not site.desk.store.verdicts("round-1")
    assert ben.judge(0, "reject", claimed="1").status_code == 303
    assert shown(aiko) == 1
    assert hold(aiko, 77).status_code == 400
    page = aiko.get(ITEM + "0").text  # whoever opens it all the same is told, and may judge it
    assert "a verdict from you is one more" in page
    assert 'name="claimed"' not in page
    assert aiko.judge(0, "accept").status_code == 303


def test_votes_wait_for_the_verdict(site: Site) -> None:
    browser = site.browser()
    for words in ("secret-second", "75.0%", "close vote"):
        assert words not in browser.get("/").text
    browser.judge(0, "skip")
    assert "secret-second" not in browser.get(ITEM + "0").text
    browser.judge(0, "unsure")
    text = browser.get(ITEM + "0").text
    assert "secret-second" in text
    assert "8 votes, 75.0% for the label" in text
    browser.judge(0, "undo")
    browser.judge(0, "undo")
    assert "secret-second" not in browser.get(ITEM + "0").text


def test_votes_at_once_where_that_is_wanted(tmp_path: Path) -> None:
    site = Site(make_project(tmp_path / "project", 3), blind=False)
    browser = site.browser()
    assert "secret-second" in browser.get("/").text
    assert browser.judge(0, "accept").headers["location"] == "/?audit=round-1"


def test_other_verdicts_are_not_shown_before_ones_own(tmp_path: Path) -> None:
    site = Site(
        make_project(tmp_path / "project", 3, settings=("audit.reviewers=2",)), ("aiko", "ben")
    )
    aiko, ben = site.browser("aiko"), site.browser("ben")
    aiko.judge(0, "correct", answer="13", comment="glare at the left")
    assert "glare" not in ben.get(ITEM + "0").text
    ben.judge(0, "accept")
    assert "glare at the left" in ben.get(ITEM + "0").text
    assert "Disagreements: <b>1</b>" in ben.get("/progress").text


def links(text: str) -> list[str]:
    return [part.split('"')[0].replace("&amp;", "&") for part in text.split('href="')[1:]]


def test_disagreements_are_a_queue(tmp_path: Path) -> None:
    """Two differ on three samples: a third settles one, the two talk one over, one is left."""
    people = ("aiko", "ben", "cleo")
    site = Site(make_project(tmp_path / "project", 8, settings=("audit.reviewers=2",)), people)
    aiko, ben, cleo = (site.browser(who) for who in people)
    assert "Nobody differs" in aiko.get("/disagreements").text
    for position in (1, 3, 4, 6):
        aiko.judge(position, "accept", comment=f"clear {position}")
        ben.judge(position, "accept" if position == 4 else "reject", comment=f"glare {position}")
    where = [site.desk.place("round-1", unit) for unit in site.desk.disputed("round-1")]
    assert where == [1, 3, 6]
    text = cleo.get("/disagreements").text
    assert "For you to settle: 3" in text
    assert "glare" not in text
    assert "clear 1" not in text
    queue = "/?audit=round-1&queue=disputed"
    assert queue in links(text)
    assert shown(cleo, queue) == 1
    assert "glare" not in cleo.get(queue).text
    cleo.judge(1, "reject", queue="disputed", claimed="1")
    text = cleo.get(ITEM + "1&queue=disputed").text
    assert "glare 1" in text
    assert "clear 1" in text
    assert "Settled: wrong" in text
    assert queue in links(text)
    assert shown(cleo, queue) == 3

    text = aiko.get(queue).text  # nothing is left that she has not judged: a list to talk over
    assert "You have judged: 2" in text
    assert "glare 3" in text
    assert ITEM + "3&queue=disputed" in links(text)
    text = aiko.get(ITEM + "3&queue=disputed").text
    assert "After talking it over" in text
    assert "glare 3" in text
    assert 'name="claimed"' not in text
    assert ITEM + "6&queue=disputed" in links(text)  # the next one
    assert ITEM + "3&queue=disputed" in links(aiko.get(ITEM + "6&queue=disputed").text)
    aiko.judge(3, "correct", answer="13", queue="disputed")
    text = aiko.get(ITEM + "3&queue=disputed").text
    assert "Settled: wrong" in text
    assert ITEM + "6&queue=disputed" in links(text)
    assert shown(cleo, queue) == 6  # what she had claimed is settled by now
    config = site.project.config()
    found = standing_of(site.desk.store, "round-1", config)
    assert found is not None
    assert found.judged == 4
    figures = Board(site.desk.store, config).figures("round-1", 0)
    # By hand, first verdicts alone: rrw, rw, rr, rw as units of 3, 2, 2, 2.
    said = [{"a": "right", "b": "wrong", "c": "wrong"}, {"a": "right", "b": "wrong"}]
    said += [{"a": "right", "b": "right"}, {"a": "right", "b": "wrong"}]
    assert figures.alpha == krippendorff(said).alpha
    aiko.judge(3, "undo")  # and what was changed can be taken back
    assert [site.desk.place("round-1", u) for u in site.desk.disputed("round-1")] == [3, 6]


def test_disagreements_at_once_where_that_is_wanted(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", 3, settings=("audit.reviewers=2",))
    site = Site(project, ("aiko", "ben", "cleo"), blind=False)
    site.browser("aiko").judge(0, "accept")
    site.browser("ben").judge(0, "reject", comment="glare at the left")
    cleo = site.browser("cleo")
    assert "glare at the left" in cleo.get("/disagreements").text
    assert "glare at the left" in cleo.get("/?audit=round-1&queue=disputed").text


def test_agreement_across_views_in_words_and_as_a_bar(tmp_path: Path) -> None:
    values = (0.25, 0.6, 0.95, None, "x", 2, float("nan"))
    words = ("often changes", "at times", "hardly depends")
    project = make_project(
        tmp_path / "project", len(values), payload=lambda n: payload([], agreement=values[n])
    )
    site = Site(project, blind=False)
    browser = site.browser()
    for item in site.desk.store.items("round-1"):
        number = int(item.unit[-6:])
        text = browser.get(ITEM + str(item.position)).text.partition("Agreement across views")[2]
        assert bool(text) == (number < 3)
        if number < 3:
            assert words[number] in text
            assert f'class="fill" width="{100 * values[number]}"' in text
            assert f"{100 * values[number]:.1f}%" in text


def test_a_verdict_sent_twice_is_stored_once_and_a_key_is_good_for_one(site: Site) -> None:
    browser = site.browser()
    key = str(uuid.uuid4())
    replies = [browser.judge(0, "reject", key=key, comment="blurred") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [303] * 3
    stored = site.desk.store.verdicts("round-1")
    assert [(one.kind, one.comment, one.seconds) for one in stored] == [("reject", "blurred", 1.5)]
    assert browser.judge(0, "accept", key=key).status_code == 409
    assert browser.judge(1, "reject", key=key).status_code == 409
    assert len(site.desk.store.verdicts("round-1")) == 1


def test_json_for_the_page_and_a_line_for_what_is_wrong(site: Site) -> None:
    browser = site.browser()
    browser.client.headers["accept"] = "application/json"
    assert browser.judge(0, "accept").json() == {"added": True, "next": ITEM + "0"}
    assert browser.judge(1, "accept", then="next").json()["next"] == "/?audit=round-1"
    for fields, words in (
        ({"kind": "correct"}, "needs the right answer"),
        ({"kind": "correct", "answer": "12"}, 'say "accept"'),
        ({"kind": "perhaps"}, '"kind" is'),
        ({"kind": "accept", "key": "1"}, "expected a UUID"),
        ({"kind": "accept", "item": "77"}, "no sample 77"),
    ):
        kind = fields.pop("kind")
        reply = browser.judge(int(fields.pop("item", "2")), kind, **fields)
        assert reply.status_code == 400
        assert words in reply.json()["error"]


@pytest.mark.parametrize(
    ("given", "stored"), [("2.25", 2.2), ("nan", 0.0), ("-3", 0.0), ("1e9", 86400.0), ("x", 0.0)]
)
def test_seconds_are_bounded(site: Site, given: str, stored: float) -> None:
    site.browser().judge(0, "accept", seconds=given)
    assert [one.seconds for one in site.desk.store.verdicts("round-1")] == [stored]


def test_undo_takes_back_the_last_one_and_shows_it_again(site: Site) -> None:
    browser = site.browser()
    for position in range(3):
        browser.judge(position, "accept")
    assert 'id="undo"' in (page := browser.get("/").text)
    assert 'name="item" value="2"' in page.partition('id="undo"')[2]
    assert browser.judge(2, "undo").headers["location"] == ITEM + "2"
    assert shown(browser, ITEM + "2") == 2
    assert shown(browser) == 2
    assert 'name="item" value="1"' in browser.get("/").text.partition('id="undo"')[2]
    assert shown(site.browser("ben")) == 4  # 2 is being looked at again, and 3 was


def test_back_and_forth_through_what_was_judged(site: Site) -> None:
    browser = site.browser()
    for position in (0, 1, 2):
        browser.judge(position, "accept")

    def links(path: str) -> tuple[str, str]:
        text = browser.get(path).text.replace("&amp;", "&")
        found = [part.split('"')[0] for part in text.split('<a href="')[1:] if "data-do" in part]
        go = [part.split('"')[0] for part in text.split('class="go" href="')[1:]]
        back = [one for one in found if one.startswith("/item")]
        return (back or [""])[0], (go or [""])[0]

    assert links(ITEM + "1") == (ITEM + "0", ITEM + "2")
    assert links(ITEM + "0") == ("", ITEM + "1")
    assert links(ITEM + "2") == (ITEM + "1", "/?audit=round-1")
    assert links("/")[0] == ITEM + "2"


def test_filters_stay_through_a_review(site: Site) -> None:
    browser = site.browser()
    wanted = {
        one.position for one in site.desk.board.outline("round-1") if "low-margin" in one.rules
    }
    assert len(wanted) == 2
    found = []
    while (position := shown(browser, "/?audit=round-1&rule=low-margin")) >= 0:
        found.append(position)
        reply = browser.judge(position, "accept", rule="low-margin", then="next")
        assert reply.headers["location"] == "/?audit=round-1&rule=low-margin"
    assert found == sorted(wanted)
    text = browser.get("/?audit=round-1&rule=low-margin").text
    assert "No more samples match the filter" in text
    assert shown(browser, "/?audit=round-1&group=line%3DA") in range(6)
    assert shown(browser, "/?audit=round-1&stratum=nothing") == -1


def test_skipped_ones_are_told_of_at_the_end(site: Site) -> None:
    browser = site.browser()
    for position in range(6):
        browser.judge(position, "skip" if position == 1 else "accept")
    text = browser.get("/").text
    assert "You have skipped 1." in text
    assert "4 verdicts wait" in text
    assert shown(browser, ITEM + "1") == 1


def test_second_reviews_of_a_share(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", 20, settings=("audit.second_review=0.3",))
    site = Site(project, ("aiko", "ben", "cleo"))
    people = {who: site.browser(who) for who in ("aiko", "ben", "cleo")}
    while (position := shown(people["aiko"])) >= 0:
        people["aiko"].judge(position, "accept")
    twice = [
        one.position
        for one in site.desk.board.outline("round-1")
        if chosen("round-1", one.unit, 0.3)
    ]
    assert 2 < len(twice) < 12
    found = []
    while (position := shown(people["ben"])) >= 0:
        found.append(position)
        people["ben"].judge(position, "reject" if position == twice[0] else "accept")
    assert found == twice
    assert shown(people["cleo"]) == twice[0]  # people differ: one more is asked
    figures = Board(site.desk.store, project.config()).figures("round-1", 0)
    assert [site.desk.place("round-1", u) for u in site.desk.disputed("round-1")] == [twice[0]]
    assert figures.alpha_units == len(twice)
    people["cleo"].judge(twice[0], "accept")
    assert shown(people["cleo"]) == -1


def test_the_share_ends_up_twice_reviewed(tmp_path: Path) -> None:
    """Four people at random, some slow, some skipping, until the gate can decide."""
    share = 0.4
    settings = (f"audit.second_review={share}",)
    project = make_project(tmp_path / "project", 80, settings=settings)
    desk = Site(project).desk
    store, config, chance = desk.store, project.config(), random.Random(5)
    rights = {one.unit: chance.random() < 0.95 for one in store.outline("round-1")}
    while (found := standing_of(store, "round-1", config)) is not None and found.open:
        for _ in range(12):
            who = chance.choices(("aiko", "ben", "cleo", "dai"), (5, 3, 2, 1))[0]
            item = desk.claim("round-1", who, Filter())
            if item is None or chance.random() < 0.2:
                continue  # looks at it for a while longer
            kind: Kind = "accept" if rights[item.unit] ^ (chance.random() < 0.05) else "reject"
            if chance.random() < 0.02:
                kind = "skip"
            given = Verdict(str(uuid.uuid4()), "round-1", item.unit, who, kind)
            desk.add(given, claimed=True)
    assert found is not None
    by_unit = standing(store.verdicts("round-1"))
    said = {u: [one.kind for one in by.values() if judges(one)] for u, by in by_unit.items()}
    used = [one.id for one in found.plan.drawn[: found.precision.n]]
    twice = [unit for unit in used if chosen("round-1", unit, share)]
    assert 15 < len(used) < 80
    assert abs(len(twice) / len(used) - share) < 0.2
    assert {len(said[unit]) for unit in set(used) - set(twice)} == {1}
    assert {len(said[unit]) for unit in twice if len(set(said[unit])) == 1} == {2}
    assert {len(said[unit]) for unit in twice if len(set(said[unit])) > 1} <= {2, 3, 4}


def test_the_figures_are_those_of_the_gate(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", 40, settings=("audit.slices=[line]",))
    site = Site(project, ("aiko", "ben"))
    aiko, ben = site.browser("aiko"), site.browser("ben")
    for position in range(25):
        aiko.judge(position, ("accept", "accept", "reject", "accept", "unsure")[position % 5])
        if position % 4 == 0:
            ben.judge(position, "accept")
    config = project.config()
    expected = standing_of(site.desk.store, "round-1", config)
    assert expected is not None
    found = Board(site.desk.store, config).figures("round-1", 0)
    assert found.precision == expected.precision
    assert found.needed == expected.needed
    assert found.settled == expected.judged
    assert (found.alpha, found.alpha_units) == (expected.agreement.alpha, expected.agreement.units)
    assert found.judged == {"aiko": 25, "ben": 7}
    text = aiko.get("/progress").text
    assert f"{100 * expected.precision.estimate:.1f}%" in text
    assert f"≈ {expected.needed}" in text or "the gate can decide" in text


def test_no_audit_yet_and_one_that_is_not_there(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", 1)
    browser = Site(project).browser()
    assert browser.get("/", params={"audit": "round-9"}).status_code == 400
    (project.root / "project.id").write_text("another\n")
    assert "No audit yet" in Site(project).browser().get("/").text


def test_a_payload_of_any_shape_is_shown(tmp_path: Path) -> None:
    for number, text in enumerate(
        ("{}", '{"images": 3, "answers": "x", "problem": null}', payload([], problem=""),
         '{"answers": [1, null, {"count": "many"}, {"answer": 3, "count": 1}]}')
    ):  # fmt: skip
        browser = Site(make_project(tmp_path / str(number), 1, payload=text), blind=False).browser()
        assert browser.get("/").status_code == 200


def test_both_languages_have_all_words(site: Site) -> None:
    english, japanese = (texts("mmupt.review", lang) for lang in ("en", "ja"))
    assert english.keys() == japanese.keys()
    for key in english:
        fields = [
            sorted(part.split("}")[0] for part in words[key].split("{")[1:])
            for words in (english, japanese)
        ]
        assert fields[0] == fields[1], key
    browser = site.browser()
    reply = browser.post("/lang", data={"csrf": browser.form, "lang": "ja", "back": "/progress"})
    assert reply.headers["location"] == "/progress"
    text = browser.get("/").text
    assert '<html lang="ja">' in text
    assert "擬似ラベル" in text
    assert "Pseudo-label" not in text
    browser.post("/lang", data={"csrf": browser.form, "lang": "en"})
    assert "Pseudo-label" in browser.get("/").text


@given(
    st.lists(
        st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), st.sampled_from(KINDS)),
        max_size=30,
    ),
    st.data(),
)
def test_reading_on_is_reading_everything(steps: list[tuple[str, str, Kind]], data: Any) -> None:
    verdicts = [Verdict(str(n), "x", unit, who, kind) for n, (unit, who, kind) in enumerate(steps)]
    seen = Seen()
    rest = list(enumerate(verdicts, start=1))
    while rest:
        some = data.draw(st.integers(1, len(rest)))
        seen.take(rest[:some])
        rest = rest[some:]
    everything = standing(verdicts)
    assert {unit: by for unit, by in seen.by_unit.items() if by} == {
        unit: by for unit, by in everything.items() if by
    }
    says = {"accept": "right", "reject": "wrong", "correct": "wrong", "unsure": "unsure"}
    assert set(seen.differing) == {
        unit
        for unit, by in everything.items()
        if len({says[one.kind] for one in by.values() if one.kind in says}) > 1
    }
    assert seen.judged == sum(any(map(judges, by.values())) for by in everything.values())
    for who, units in seen.history.items():
        assert set(units) == {unit for unit, by in everything.items() if who in by}
    seen.forget()
    assert (seen.turn, seen.judged, seen.by_unit, seen.history) == (0, 0, {}, {})


def test_the_share_that_is_judged_twice() -> None:
    units = [f"u{n}" for n in range(4000)]
    assert not any(chosen("a", unit, 0.0) for unit in units)
    assert all(chosen("a", unit, 1.0) for unit in units)
    assert 900 < sum(chosen("a", unit, 0.25) for unit in units) < 1100


def test_the_verb_says_what_is_missing(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from mmupt.cli import app
    from mmupt.errors import ConfigError, RunFolderError

    for arguments, error in (
        ([str(tmp_path)], RunFolderError), ([str(tmp_path), "--host", "192.168.0.7"], ConfigError)
    ):  # fmt: skip
        result = CliRunner().invoke(app, ["audit", "serve", "--no-browser", *arguments])
        assert isinstance(result.exception, error)


def test_every_rule_has_a_name() -> None:
    from typing import get_args

    from mmupt.config_supervision import BuiltInRule

    for lang in ("en", "ja"):
        words = texts("mmupt.review", lang)
        assert {f"rule_{rule.replace('-', '_')}" for rule in get_args(BuiltInRule)} <= words.keys()
    assert json.dumps(words, ensure_ascii=False)
