"""The benchmark across scales from end to end, with everything tiny."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks.accuracy import scales_run as scale_cells
from benchmarks.accuracy.scale_accuracy import scales_accuracy_page
from benchmarks.accuracy.scale_curves import draw_group
from benchmarks.accuracy.scale_in_full import at_training
from benchmarks.accuracy.scale_report import write_scales
from benchmarks.accuracy.scale_run import run_scales
from benchmarks.accuracy.scales_run import ScaleCells
from benchmarks.accuracy.scales_tables import additivity_table, groups_of, headline, scales_page

from pixnet.config import Config
from pixnet.demo.ask import SQUARE_UM, additivity_error
from pixnet.demo.regions import SIDES, ScaleSettings
from pixnet.errors import DataError
from pixnet.evaluation import methods
from pixnet.evaluation.report import number
from pixnet.evaluation.report.parts import DASH, percent
from pixnet.evaluation.runs import Cells
from pixnet.regions import Squares

SETTINGS = ScaleSettings(
    "breast", (100.0,), training=((3, 7), (5, 6)), test=((4, 8),), side_um=400.0, places=25, genes=6
)
TRAINING = {"steps": 3, "tiles": 2, "views": 1, "validation": "none"}
NETWORK = {
    "mpp": 2.0,
    "surroundings_um": [],
    "encoder": {"name": "test_resnet", "weights": "random"},
    "decoder": {"channels": [4, 4, 4, 4]},
}
CONFIG = Config.of({"network": NETWORK, "training": TRAINING})
VARIANTS = {"mean-head": Config.of({"network": {**NETWORK, "head": "mean"}, "training": TRAINING})}
METHODS = ("pixnet", "colour-ridge", "mean")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def results(cells: Path) -> dict[str, Any]:
    return run_scales(SETTINGS, METHODS, [0, 1], cells, config=CONFIG, variants=VARIANTS, redraws=2)


def test_every_method_is_scored_on_both_sides_at_all_sizes(results: dict[str, Any]) -> None:
    assert len(results["scores"]) == 2 * 2 * 2 * 6
    for row in results["scores"]:
        assert set(row["methods"]) == {*METHODS, "pixnet:mean-head", "ceiling"}
        assert row["best_crop"] == "colour-ridge"
        assert len(row["places"]) == (2 if row["side"] == "training slides" else 1)
        for method in row["methods"].values():
            assert -1 <= method["pcc_m"] <= 1
            # The ceiling is no bound where a method has seen counts.
            assert (method["share"] is None) == (row["side"] == "training slides")
    assert len(results["genes"]) == 6
    assert results["cells"]["colour-ridge"][0]["chosen"]["penalty"] > 0
    assert {name: len(found) for name, found in results["cells"].items()} == {
        "pixnet": 2, "colour-ridge": 1, "mean": 1, "pixnet:mean-head": 2, "ceiling": 1
    }  # fmt: skip


def test_bins_of_a_field_add_up_to_squares(results: dict[str, Any]) -> None:
    for cell in results["cells"]["pixnet"]:
        assert 0 <= cell["chosen"]["additivity_error"] <= 1e-5
    assert {cell["chosen"]["additivity_error"] for cell in results["cells"]["pixnet:mean-head"]} == {None}
    table = additivity_table(results)
    assert [row[0] for row in table.rows] == ["pixnet", "pixnet:mean-head"]
    assert float(table.rows[0][1]) <= 1e-5
    assert table.rows[1][1] == DASH
    assert not additivity_table({"cells": {"mean": results["cells"]["mean"]}}).rows


def test_a_field_that_does_not_add_up_is_seen() -> None:
    class Field:
        """Gives each region its share of a square, and one bin half a square more."""

        head = SimpleNamespace(kind="rate")

        def query(self, regions: Squares) -> SimpleNamespace:
            values = np.ones((len(regions), 2), np.float32) * regions.areas_um2[:, None] / SQUARE_UM**2
            values[0, 0] += 0.5 * (len(regions) > 4)
            return SimpleNamespace(X=values)

    assert additivity_error(Field(), 210.0, 230.0) == pytest.approx(0.5, rel=1e-5)  # type: ignore[arg-type]
    assert additivity_error(Field(), 210.0, 103.0) is None  # type: ignore[arg-type]


def test_what_is_done_is_not_done_again(cells: Path, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*_: object) -> None:
        raise AssertionError("a slide was drawn")

    monkeypatch.setattr(scale_cells, "draw", drawn)
    again = run_scales(SETTINGS, METHODS, [0, 1], cells, config=CONFIG, variants=VARIANTS, redraws=2)
    assert json.dumps(again["scores"]) == json.dumps(results["scores"])
    assert again["cells"] == results["cells"]


def test_kept_scores_stand_for_all_cells(
    cells: Path, tmp_path: Path, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cells / "scores", tmp_path / "scores")
    monkeypatch.setattr(ScaleCells, "targets", lambda _: pytest.fail("targets were asked for"))
    kept = run_scales(SETTINGS, METHODS, [0, 1], tmp_path, config=CONFIG, variants=VARIANTS, redraws=2)
    assert {**kept, "environment": None} == {**results, "environment": None}
    assert {path.name for path in tmp_path.iterdir()} == {"scores", ".lock"}


def test_scores_of_other_methods_seeds_redraws_or_code_are_other_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(seeds: Sequence[int] = (0,), redraws: int = 2, **configs: Config) -> str:
        return ScaleCells(SETTINGS, configs, seeds, Cells(Path()), redraws, "cpu", None).scores_cell().key

    default = Config()
    asked = [{"mean": default}, {"mean": default, "pixnet": default}, {"pixnet": default, "mean": default}]
    keys = [key(**configs) for configs in (*asked, {"mean": default, "pixnet": CONFIG})]
    keys += [key((1,), **asked[0]), key(redraws=3, **asked[0])]
    hashed = scale_cells.code_hash
    for changed in ("pixnet.demo.scores", "pixnet.demo.targets", "pixnet.demo.regions"):
        monkeypatch.setattr(scale_cells, "code_hash", lambda name, of=changed: hashed(name) + "*" * (name == of))
        keys.append(key(**asked[0]))
    monkeypatch.setattr(scale_cells, "code_hash", hashed)
    assert len(set(keys)) == len(keys) == 9
    assert key(**asked[0]) == keys[0]


def test_a_cell_computed_again_is_equal(tmp_path: Path, results: dict[str, Any]) -> None:
    again = run_scales(SETTINGS, ["pixnet"], [1], tmp_path, config=CONFIG, redraws=2)
    assert again["cells"]["pixnet"][0]["key"] == results["cells"]["pixnet"][1]["key"]
    one = run_scales(SETTINGS, ["pixnet"], [1], tmp_path, config=CONFIG, redraws=2)["scores"]
    assert json.dumps(one) == json.dumps(again["scores"])


def test_predictions_are_of_the_same_places_whatever_the_method(cells: Path, results: dict[str, Any]) -> None:
    shapes: dict[str, set[int]] = {}
    densities: set[str] = set()
    for path in cells.glob("*/*/cell.json"):
        facts = json.loads(path.read_text())
        with np.load(path.with_name("predictions.npz")) as stored:
            for number, name in enumerate(facts["arrays"]):
                if name.endswith("|log"):
                    slide, where, _ = name.split("|")
                    shapes.setdefault(slide, set()).add(stored[str(number)].shape[1])
                    assert stored[str(number)].shape[0] == 25, (slide, where)
                if name.endswith("|density"):
                    assert stored[str(number)].shape == (25,)
                    densities.add(facts["method"])
    assert shapes == {"breast-3": {6}, "breast-5": {6}, "breast-4": {6}}
    assert densities == {"colour-ridge", "mean"}


def test_tables_tell_scores_ratios_and_shares(tmp_path: Path, results: dict[str, Any]) -> None:
    page = write_scales(results, tmp_path, "typed")
    assert page.name == "breast-100um.html"
    text = (tmp_path / "breast-100um.md").read_text(encoding="utf-8")
    assert text == scales_page(results)
    parts = [
        "Other donors: expected counts per region, against noise-free truth",
        *(f"| {name} |" for name in (*METHODS, "pixnet:mean-head", "ceiling", "pixnet, over the best crop method")),
        "| pixnet:mean-head, share of the ceiling |",
        "## Additivity",
    ]
    for part in parts:
        assert part in text
    trained, other = text.split("## Other donors", 1)
    assert "share of the ceiling" not in trained
    assert other.count("| pixnet, share of the ceiling |") == 4
    pictures = {path.name for path in tmp_path.glob("*.png")}
    sides, kinds = ("training-slides", "other-donors"), ("counts", "log")
    assert pictures == {f"breast-100um-{side}-{kind}.png" for side in sides for kind in kinds}
    stored = json.loads((tmp_path / "breast-100um.json").read_text())
    assert stored["settings"]["frozen_digest"]
    assert "breast-100um, other donors: 2-µm square" in headline(results)


def test_the_page_holds_every_table_and_curve_and_needs_no_other_file(tmp_path: Path, results: dict[str, Any]) -> None:
    html = write_scales(results, tmp_path, "typed").read_text(encoding="utf-8")
    assert html.count('src="data:image/png;base64,') == len(groups_of(results)) == 8
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    for method in (*METHODS, "pixnet:mean-head", "ceiling"):
        assert html.count(f'<td class="words">{method}</td>') >= 8
    low, high = results["scores"][0]["methods"]["pixnet"]["interval"]
    assert f"\n({number(low)} to {number(high)})</td>" in html
    assert html.index("Other donors: ") < html.index("Training slides: ")
    errors = html[html.index('<th class="words">MSE</th>') :]
    row = groups_of(results)[SIDES[1], "truth", "log"][0]
    assert f'<td class="words">pixnet</td><td>{number(row["methods"]["pixnet"]["mse"])}</td>' in errors
    assert html.count('<th class="words">MSE</th>') == 4
    share = row["methods"]["pixnet"]["share"]["value"]
    assert f"log-normalised, {row['regions']}: {percent(share)} of the ceiling" in html
    assert additivity_table(results).rows[0][1] in html[html.index("Additivity") : html.index("What it costs")]
    full = html[html.index("At the size of training") : html.index("What it costs")]
    at = at_training(groups_of(results)[SIDES[1], "truth", "log"], SETTINGS.sizes_um)["methods"]["colour-ridge"]
    assert "<th>breast-4</th>" in full
    assert f'<td class="words">colour-ridge</td><td>{number(at["per_slide"][0])}</td>' in full
    assert "pixnet against the others, 100-µm disk" in full
    costs = html[html.index("What it costs") :]
    assert "with `typed`" in costs
    cells = results["cells"]["pixnet"]
    cold = [cell["seconds"] + cell["features"]["found"] for cell in cells]
    assert f'<td class="words">pixnet</td><td>{np.mean(cold):.0f} s</td>' in costs


def test_one_file_tells_the_accuracy_of_all(results: dict[str, Any]) -> None:
    page = scales_accuracy_page([results, results], "make it")
    assert page.count("# Virtual breast, trained on regions of 100 µm\n") == 2
    assert "with `make it`" in page
    assert "threads" in page
    rows = [row for row in results["scores"] if (row["side"], row["target"], row["kind"]) == (SIDES[1], "truth", "log")]
    row = at_training(rows, SETTINGS.sizes_um)
    assert row["regions"] == "100-µm disk"
    assert at_training(rows, (10.0,))["regions"] == "8-µm square"
    one = row["methods"]["colour-ridge"]
    figures = f"{number(one['pcc_s'])} | {number(one['pcc_f'])} | {number(one['mse'])} |"
    assert re.search(rf"\| colour-ridge \| {re.escape(number(one['pcc_m']))} .* \| {re.escape(figures)}", page)
    paired = row["paired"]
    assert set(paired["against"]) == {"colour-ridge", "mean"}
    difference = row["methods"]["pixnet"]["pcc_m"] - one["pcc_m"]
    assert paired["against"]["colour-ridge"]["difference"] == pytest.approx(difference)
    assert page.count("## pixnet against the others, 100-µm disk") == 2
    assert page.count("## Additivity") == 2


def test_curves_are_of_all_methods_with_their_intervals(results: dict[str, Any]) -> None:
    rows = groups_of(results)[SIDES[0], "truth", "log"]
    (axes,) = draw_group(results, rows).axes
    lines = {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["pixnet", "colour-ridge", "mean", "pixnet:mean-head", "ceiling"]
    sized = [row for row in rows if row["regions"] != "whole cell"]
    for name, line in lines.items():
        np.testing.assert_allclose(line.get_ydata(), [row["methods"][name]["pcc_m"] for row in sized])
    sizes = np.array([2.0, 8.0, 16.0, 55.0, 100.0])
    assert np.abs(np.asarray(lines["ceiling"].get_xdata()) / sizes - 1).max() < 0.1
    ends = [segment[:, 1].tolist() for bars in axes.collections for segment in bars.get_segments()]
    assert sorted(ends) == sorted(list(one["interval"]) for row in rows for one in row["methods"].values())
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == sorted(legend, key=lambda name: -float(lines[name].get_ydata()[-1]))
    assert len({(line.get_color(), line.get_marker()) for line in lines.values()}) == len(lines)


def test_no_two_methods_have_the_same_colour(results: dict[str, Any]) -> None:
    rows = groups_of(results)[SIDES[0], "truth", "log"]
    every = [{**row, "methods": dict.fromkeys((*methods.METHODS, "ceiling"), row["methods"]["mean"])} for row in rows]
    (axes,) = draw_group(results, every).axes
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    assert len(lines) == len({line.get_color() for line in lines}) == 9


def test_unknown_methods_and_no_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="method 'magic' is not known"):
        run_scales(SETTINGS, ["magic"], [0], tmp_path)
    with pytest.raises(DataError, match="no seed"):
        run_scales(SETTINGS, ["mean"], [], tmp_path)
