"""The benchmark across scales from end to end, with everything tiny."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.accuracy.pages import headline, write_scales_accuracy, write_scales_page
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import SCALE_METHODS, SmallScales

from pixnet.demo.predictions import SQUARE_UM, additivity_error
from pixnet.demo.regions import SIDES
from pixnet.errors import DataError
from pixnet.evaluation.report.parts import DASH, duration, number, percent
from pixnet.regions import Squares
from pixnet.scoring.table import Scores

NAMES = (*SCALE_METHODS, "pixnet:mean-head", "ceiling")
TARGETS = ("truth counts", "truth log", "measured counts", "measured log")
LOG = {"fold": SIDES[1], "target": "truth log"}


@pytest.fixture(scope="module")
def results(done_scales: SmallScales) -> Results:
    return Results(done_scales.store.folder.parent / "results")


@pytest.fixture(scope="module")
def scores(results: Results, done_scales: SmallScales) -> Scores:
    return results.of(done_scales)


def keys(name: str) -> dict[str, str]:
    method, _, variant = name.partition(":")
    return {"method": method, "variant": variant}


def test_every_method_is_scored_on_both_sides_at_all_sizes(scores: Scores) -> None:
    for side in SIDES:
        for target in TARGETS:
            regions = scores.values("regions", fold=side, target=target)
            assert len(regions) == 6
            for size in regions:
                where = {"fold": side, "target": target, "regions": size}
                assert len(scores.values("sample", **where)) == (2 if side == SIDES[0] else 1)
                for name in NAMES:
                    assert -1 <= scores.entry(metric="pcc_m", **where, **keys(name))[0] <= 1
                    # The ceiling is not a bound where a method has seen counts.
                    known = scores.frame["metric"].eq("share") & scores.frame["fold"].eq(side)
                    assert known.any() == (side == SIDES[1])


def test_seeds_choices_and_genes_are_in_the_tables(results: Results, done_scales: SmallScales) -> None:
    facts = results.facts(done_scales)
    assert {name: len(runs) for name, runs in facts.items()} == {
        "pixnet": 2, "colour-ridge": 1, "mean": 1, "pixnet:mean-head": 2
    }  # fmt: skip
    assert facts["colour-ridge"][0]["chosen"]["penalty"] > 0
    assert facts["pixnet:mean-head"][0]["settings"]["network"]["head"] == "mean"
    assert len(done_scales.genes) == 6


def test_bins_of_a_field_add_up_to_squares(results: Results, done_scales: SmallScales) -> None:
    facts = results.facts(done_scales)
    assert all(0 <= run["chosen"]["additivity_error"] <= 1e-5 for run in facts["pixnet"])
    assert {run["chosen"]["additivity_error"] for run in facts["pixnet:mean-head"]} == {None}


def test_a_field_that_does_not_add_up_is_seen() -> None:
    class Field:
        """Has in each region its share of a square, and in one bin half a square more."""

        head = SimpleNamespace(kind="rate")

        def query(self, regions: Squares) -> SimpleNamespace:
            values = np.ones((len(regions), 2), np.float32) * regions.areas_um2[:, None] / SQUARE_UM**2
            values[0, 0] += 0.5 * (len(regions) > 4)
            return SimpleNamespace(X=values)

    assert additivity_error(Field(), 210.0, 230.0) == pytest.approx(0.5, rel=1e-5)  # type: ignore[arg-type]
    assert additivity_error(Field(), 210.0, 103.0) is None  # type: ignore[arg-type]


def test_complete_tables_need_no_slide(
    done_scales: SmallScales, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixnet.demo.regions.ScaleSettings.draw", lambda *_: pytest.fail("a slide was drawn"))
    plan = SmallScales(tmp_path / "runs")
    Results(done_scales.store.folder.parent / "results").complete(plan)
    assert plan.computed == []


def test_predictions_are_of_the_same_places_whatever_the_method(done_scales: SmallScales) -> None:
    densities = set()
    for variant, run in done_scales.runs:
        arrays = done_scales.store.read(run).arrays
        logs = {name: table.shape for name, table in arrays.items() if name.endswith("|log")}
        assert {name.split("|")[0] for name in logs} == {"breast-3", "breast-5", "breast-4"}
        assert set(logs.values()) == {(25, 6)}, (variant, run.title)
        if any(name.endswith("|density") for name in arrays):
            densities.add(run.method)
    assert densities == {"colour-ridge", "mean"}


@pytest.fixture(scope="module")
def page(
    scores: Scores, results: Results, done_scales: SmallScales, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, set[str]]:
    """The page as Markdown and as HTML, and the names of the files."""
    out = tmp_path_factory.mktemp("pages")
    path = write_scales_page(out, done_scales, results.facts(done_scales), scores, "make it")
    assert path.name == "breast-100um.html"
    markdown = path.with_suffix(".md").read_text(encoding="utf-8")
    return markdown, path.read_text(encoding="utf-8"), {file.name for file in out.iterdir()}


def test_a_page_has_scores_ratios_and_shares(page: tuple[str, str, set[str]], scores: Scores) -> None:
    markdown, _, files = page
    for part in (
        "## Other donors: expected counts per region, against noise-free truth",
        *(
            f"{name}"
            for name in (*NAMES, "pixnet, over the best crop method", "pixnet:mean-head, share of the ceiling")
        ),
        "## Additivity",
        "with `make it`",
    ):
        assert part in markdown
    first, last = (
        markdown.index("## Training slides"),
        markdown.index("## Other donors: log(1 + counts per 10,000), ag"),
    )
    assert markdown.index("## Other donors") < first
    assert "share of the ceiling" not in markdown[first : markdown.index("PCC@M by slide")].split("## Other donors")[0]
    assert last < first
    sides, kinds = ("training-slides", "other-donors"), ("counts", "log")
    pictures = {f"breast-100um-{side}-{kind}.png" for side in sides for kind in kinds}
    assert files == {"breast-100um.md", "breast-100um.html", *pictures}
    row = next(line for line in markdown.splitlines() if line.startswith("| colour-ridge |"))
    where = {"fold": SIDES[1], "target": "truth counts"}
    for size in scores.values("regions", **where):
        value, low, high = scores.entry(method="colour-ridge", metric="pcc_m", regions=size, **where)
        assert f"{number(value)} ({number(low)} to {number(high)})" in row


def test_the_html_has_every_table_and_picture_and_needs_no_other_file(
    page: tuple[str, str, set[str]], scores: Scores, results: Results, done_scales: SmallScales
) -> None:
    html = page[1]
    assert html.count('src="data:image/png;base64,') == 2 * len(TARGETS)
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    for name in NAMES:
        assert html.count(f'<td class="words">{name}</td>') >= 8
    size = scores.values("regions", **LOG)[0]
    mse = scores.value("pixnet", "mse", regions=size, **LOG)
    assert f'<td class="words">pixnet</td><td>{number(mse)}</td>' in html
    assert html.count('<th class="words">MSE</th>') == 4
    share = scores.value("pixnet", "share", regions=size, **LOG)
    assert f"log-normalised, {size}: {percent(share)} of the ceiling" in html
    full = html[html.index("100-µm disk</h") :] if "100-µm disk</h" in html else html
    slide = scores.entry(method="colour-ridge", metric="pcc_m", regions="100-µm disk", sample="breast-4", **LOG)[0]
    assert f'<td class="words">colour-ridge</td><td>{number(slide)}</td>' in full
    runs = results.facts(done_scales)["pixnet"]
    cold = np.mean([run["seconds"] + run["features"]["found"] for run in runs])
    assert f'<td class="words">pixnet</td><td>{duration(cold)}</td>' in html


def test_one_page_has_the_accuracy_of_all(
    scores: Scores, results: Results, done_scales: SmallScales, tmp_path: Path
) -> None:
    finished = (done_scales, results.facts(done_scales), scores)
    write_scales_accuracy(tmp_path / "accuracy.md", [finished, finished], "make it")
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert page.count("# Virtual breast, trained on regions of 100 µm\n") == 2
    where = {"regions": "100-µm disk", **LOG}
    pcc_m, pcc_s, pcc_f, mse = (
        scores.value("colour-ridge", key, **where) for key in ("pcc_m", "pcc_s", "pcc_f", "mse")
    )
    figures = " | ".join([number(pcc_s), number(pcc_f), number(mse)])
    assert re.search(rf"\| colour-ridge \| {re.escape(number(pcc_m))} .* \| {re.escape(figures)} \|", page)
    difference = scores.value("pixnet", "difference vs colour-ridge", **where)
    assert difference == pytest.approx(scores.value("pixnet", "pcc_m", **where) - pcc_m)
    assert page.count("## pixnet against the others, 100-µm disk") == 2
    additivity = page[page.index("## Additivity") :]
    assert f"| pixnet:mean-head | {DASH} |" in additivity
    assert float(re.search(r"\| pixnet \| ([\d.e-]+) \|", additivity)[1]) <= 1e-5  # type: ignore[index]


def test_the_headline_is_of_other_donors(scores: Scores, done_scales: SmallScales) -> None:
    where = {"fold": SIDES[1], "target": "truth counts", "regions": "2-µm square"}
    words = headline(done_scales, scores)
    assert f"breast-100um, other donors: 2-µm square {scores.value('pixnet', 'pcc_m', **where):.3f}" in words
    ratio = scores.value("pixnet", "ratio vs best crop", **where)
    assert (f"{ratio:.2f} times colour-ridge" in words) == math.isfinite(ratio)


def test_unknown_methods_and_no_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="method 'magic' is not known"):
        SmallScales(tmp_path, ("magic",))
    with pytest.raises(DataError, match="no seed"):
        SmallScales(tmp_path, ("mean",), seeds=())
