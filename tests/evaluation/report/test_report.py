from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.evaluation.made import config, fold_of, held_out, make_sample, outcome_of

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.evaluation.held_out import HeldOut, Prediction
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.report import Section, Table, number, richest_window, shrink, write_report
from pixnet.evaluation.report.canvas import Backdrop, Marks
from pixnet.evaluation.report.parts import duration, interval, over_interval
from pixnet.evaluation.runner import evaluate, run
from pixnet.evaluation.splits import make_folds
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.slide import Slide
from pixnet.virtual import VirtualTissue, spots

IMAGE = re.compile(r'src="data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)"')


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    samples = [
        VirtualTissue.generate("breast", seed, donor, 400.0, 300.0).measure(spots(400.0, 300.0, 100.0, 100.0), 0)
        for seed, donor in ((1, 5), (2, 6))
    ]
    settings = Config.from_dict(
        {
            "training": {
                "steps": 4,
                "tiles": 2,
                "views": 1,
                "min_counts": 10,
                "evaluate_every": 2,
                "validation": "block",
            },
            "genes": {"number": 6},
            "network": {"encoder": {"weights": "random"}},
        }
    )
    out = tmp_path_factory.mktemp("evaluation") / "out"
    evaluate(samples, [samples[1].id], out, config=settings)
    return out, samples[1:]


def test_report_is_one_file_with_all_its_sections_and_pictures(evaluated: tuple[Path, list[Sample]]) -> None:
    folder, samples = evaluated
    extra = Section("One more", ["a < b"], [Table(["x", "y"], [["one", "2"]])])
    path = write_report(folder, samples, [extra], "pixnet evaluate samples.toml")
    html = path.read_text(encoding="utf-8")
    assert path == folder / "report.html"
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    for word in ("What was done", "How good it is", "The slide of", "Observed and predicted", "dense map", "Training"):
        assert any(word in title for title in titles), word
    assert titles[-2:] == ["One more", "Every setting and hash"]
    assert "a &lt; b" in html
    assert re.search(r"Written on 20\d\d-\d\d-\d\d with `pixnet evaluate samples.toml`. Computed by pixnet \d", html)
    # The slide, two pictures of all genes, three genes at regions, two dense maps, the training curve.
    images = IMAGE.findall(html)
    assert len(images) == 9 == html.count("<img ")
    for _, content in images:
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|<script|<link', html)
    assert len(html) < 8e6


def test_report_shows_the_scores_of_every_method(evaluated: tuple[Path, list[Sample]]) -> None:
    folder, samples = evaluated
    html = write_report(folder, samples).read_text(encoding="utf-8")
    results = json.loads((folder / "results.json").read_text())
    assert set(results["methods"]) == {"pixnet", "ridge", "mean"}
    for name, scores in results["methods"].items():
        row = " ".join(re.findall(rf'<tr[^>]*><td class="words">{name}</td>(.*?)</tr>', html, re.DOTALL))
        for key in ("pcc_m", "pcc_s", "pcc_f", "mse", "mae"):
            assert number(scores[key]) in row
    assert f'<td class="words">noise estimate</td><td>{number(results["noise_estimate"]["pcc_m"])}</td>' in html
    assert samples[0].id in html


def test_report_warns_when_a_donor_is_on_both_sides(evaluated: tuple[Path, list[Sample]], tmp_path: Path) -> None:
    folder, _ = evaluated
    results = json.loads((folder / "results.json").read_text())
    results["protocol"] |= {"donors_on_both_sides": ["P7"], "donor_note": "donor P7 is on both sides."}
    (tmp_path / "results.json").write_text(json.dumps(results))
    for name in ("predictions.h5ad", "scores.parquet"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    # Model, field and slide are missing: the rest is shown.
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<p class="warning">Donor P7 is on both sides.</p>' in html
    assert "Observed and predicted" in html
    assert len(IMAGE.findall(html)) == 5


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (("fit",), "The network was trained on all training samples, for 4 steps."),
        (("search",), "the validation part; then training ended."),
        (
            ("search", "refit"),
            "the validation part; then the network was trained again on all of them, for that many steps.",
        ),
    ],
)
def test_report_says_what_was_learned_from(
    evaluated: tuple[Path, list[Sample]], tmp_path: Path, stages: tuple[str, ...], words: str
) -> None:
    folder, _ = evaluated
    for name in ("results.json", "scores.parquet", "predictions.h5ad"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    card = json.loads((folder / "model/card.json").read_text())
    card |= {"steps": 4, "metrics": [row for row in card["metrics"] if row["stage"] == "search"]}
    card["metrics"] = [row | {"stage": stage} for stage in stages for row in card["metrics"]]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/card.json").write_text(json.dumps(card))
    assert words in write_report(tmp_path).read_text(encoding="utf-8")


def test_each_of_many_folds_has_a_row(tmp_path: Path) -> None:
    samples = [make_sample(name, name.lower()) for name in "ABCDE"]
    frozen = Protocol.freeze(samples, make_folds(samples, "loso"), ["mean"], config(), split="loso")
    outcome = run(frozen, samples, tmp_path)
    html = write_report(tmp_path, samples).read_text(encoding="utf-8")
    assert "<h1>Mean on 5 samples</h1>" in html
    assert "each section held out in turn; 5 folds, seed 0" in html
    assert "Also held out, but not drawn here: E; predictions.h5ad holds" in html
    for fold in outcome.results["folds"]:
        assert f"{fold['name']} 20" in html[html.index("Regions: ") :]
        row = re.search(rf'<td class="words">{fold["name"]}</td><td>([^<]*)</td>', html[html.index("PCC@M by fold") :])
        assert row
        score, _, between = row[1].partition("\n")
        assert score == number(fold["methods"]["mean"]["pcc_m"])
        assert between == f"({interval(fold['methods']['mean']['interval_blocks'])})"
    folded = html[html.index("<details>") : html.index("</details>")]
    for sample in samples:
        facts = outcome.results["protocol"]["data"][sample.id]
        for kind in ("slide_sha256", "counts_sha256", "positions_sha256"):
            assert facts[kind] in folded
            assert f'<td class="words">{facts[kind][:16]}</td>' in folded
    for facts in outcome.results["protocol"]["runs"]["mean"]:
        assert facts["key"][:16] in folded
    version = outcome.results["protocol"]["methods"]["mean"]["version"]
    assert re.search(rf'<td class="words">mean</td><td class="words">{version}</td>', folded)
    assert folded.count("&#34;seed&#34;: 0") == 2  # the protocol's, and the configuration's


def test_shared_time_is_shown_beside_the_time_of_the_run(tmp_path: Path) -> None:
    held = held_out("AB")
    fold = fold_of(held, {"net": held.observed, "flat": np.zeros_like(held.observed)})
    shared = Prediction(fold.predictions["net"][0].values, 30.0, 2000.0, 60.0)
    fold = replace(fold, predictions={**fold.predictions, "net": {0: shared}})
    facts = {"key": "k", "fold": "fold", "seed": 0, "device": "cpu", "threads": 3, "seconds": 30.0,
             "peak_rss_mb": 2000.0, "features": {"made": 0.0, "found": 60.0}}  # fmt: skip
    outcome_of([fold], {"runs": {"net": [facts]}}).write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    costs = html[html.index("What it costs") :]
    entries = [f"<td>{text}</td>" for text in ("90 s", "60 s", "30 s", "2.00 GB", "cpu", "3")]
    assert f'<td class="words">net</td>{"".join(entries)}' in costs
    dashes = "<td>\N{EN DASH}</td>" * 6
    assert f'<td class="words">flat</td>{dashes}' in costs


def test_folds_are_columns_where_there_are_more_methods(tmp_path: Path) -> None:
    held = {name: held_out(name) for name in "AB"}
    rng = np.random.default_rng(0)
    folds = []
    for name, part in held.items():
        tables = {method: part.observed + rng.normal(size=part.observed.shape) for method in ("net", "other", "third")}
        folds.append(fold_of(part, tables, name=name))
    outcome = outcome_of(folds)
    outcome.write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    table = html[html.index("PCC@M by fold") :]
    head = "".join(f"<th>{fold['name']}</th>" for fold in outcome.results["folds"])
    assert f'<th class="words">method</th>{head}' in table
    others = [fold["methods"]["other"] for fold in outcome.results["folds"]]
    scores = [over_interval(other["pcc_m"], other["interval_blocks"]) for other in others]
    assert '<td class="words">other</td>' + "".join(f"<td>{score}</td>" for score in scores) in table


def test_single_genes_are_named_and_notes_explain_the_numbers(tmp_path: Path) -> None:
    genes = ("G3", "ERBB2", *(f"G{number}" for number in range(4, 12)), "CD74")
    held = HeldOut([make_sample(name, genes=genes) for name in "AB"], GenePanel(genes, "list"), 50)
    noise = np.random.default_rng(0).normal(size=held.observed.shape) * np.linspace(0.0, 5.0, len(genes))
    tables = {"net": held.observed + noise, "istar": held.observed + 1.0, "mean": np.zeros_like(held.observed)}
    outcome = outcome_of([fold_of(held, tables)])
    outcome.write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    table = html[html.index("Correlation of single genes") : html.index("What it costs")]
    frame = pd.read_csv(tmp_path / "per_gene.csv", index_col="gene")
    named = re.findall(r'<td class="words">(.*?)</td>', table)
    order = frame["pcc_net"].sort_values(ascending=False).index
    assert named[:5] == list(order[:5])
    assert named[-1] == order[-1]
    assert {"ERBB2", "CD74"} <= set(named)
    texts = [number(frame.loc["ERBB2", key]) for key in ("mean_counts", "noise_estimate", "pcc_net", "pcc_istar")]
    assert '<td class="words">ERBB2</td>' + "".join(f"<td>{text}</td>" for text in texts) in table
    assert "istar: this package's own versions of published methods" in unescape(html)
    given = outcome.results["methods"]["net"]["pcc_m_given_depth"]
    assert f"<td>{number(given)}</td>" in html[html.index("given depth") : html.index("MAE")]


def test_a_time_has_no_sixty_seconds() -> None:
    assert [duration(seconds) for seconds in (59.6, 119.7, 119.4, 3661)] == [
        "60 s",
        "2 min 0 s",
        "1 min 59 s",
        "61 min 1 s",
    ]


def test_seeds_and_samples_have_tables_of_their_own(tmp_path: Path) -> None:
    held = held_out("AB")
    rng = np.random.default_rng(0)
    tables = {seed: held.observed + rng.normal(size=held.observed.shape) for seed in (4, 9)}
    outcome = outcome_of([fold_of(held, {"net": tables, "flat": np.zeros_like(held.observed)})])
    outcome.write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    net = outcome.results["methods"]["net"]
    seeds = html[html.index("PCC@M by seed") : html.index("PCC@M by held-out sample")]
    for seed in ("4", "9"):
        assert f'<td class="words">{seed}</td><td>{number(net["per_seed"][seed]["pcc_m"])}\n(' in seeds
    assert f'<td class="words">sd</td><td>{number(net["sd_over_seeds"]["pcc_m"])}</td>' in seeds
    samples = html[html.index("PCC@M by held-out sample") :]
    for name, scores in net["per_sample"].items():
        assert f'<td class="words">{name}</td><td>{number(scores["pcc_m"])}</td><td>0.000</td>' in samples


def test_a_gene_that_does_not_vary_is_mentioned(tmp_path: Path) -> None:
    held = held_out("A")
    held.observed[:, 1] = 1.0
    noisy = held.observed + np.random.default_rng(0).normal(size=held.observed.shape)
    outcome_of([fold_of(held, {"net": noisy})]).write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Genes that do not vary in a fold (1) have no correlation there" in html
    held.observed[:] = 1.0
    outcome_of([fold_of(held, {"net": noisy})]).write(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<td class="words">net</td><td>\N{EN DASH}</td>' in html


def test_a_folder_without_an_evaluation_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.json: is missing; give a folder that"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{")
    for name in ("predictions.h5ad", "scores.parquet"):
        with pytest.raises(DataError, match=r"(scores\.parquet|predictions\.h5ad): is missing"):
            write_report(tmp_path)
        (tmp_path / name).write_text("not a table")
    with pytest.raises(DataError, match="cannot be read"):
        write_report(tmp_path)


def test_number_is_a_dash_where_there_is_none() -> None:
    assert number(None) == number(float("nan")) == "\N{EN DASH}"
    assert number(-0.1234) == "\N{MINUS SIGN}0.123"


def test_shrink_averages_whole_blocks() -> None:
    values = np.arange(24.0).reshape(4, 6)
    assert np.array_equal(shrink(values, 6), values)
    assert np.array_equal(shrink(values, 3), values.reshape(2, 2, 3, 2).mean(axis=(1, 3)))


def test_richest_window_is_where_the_map_varies() -> None:
    values = np.zeros((40, 60))
    values[30:38:2, 44:52:2] = 1.0
    left, top, width, height = richest_window(values, 2.0, 20.0, (0.0, 0.0, 120.0, 80.0))
    assert (width, height) == (20.0, 20.0)
    assert left <= 2 * 44 < left + width
    assert top <= 2 * 30 < top + height
    left, top, width, height = richest_window(values, 2.0, 20.0, (10.0, 10.0, 60.0, 60.0))
    assert 10.0 <= left <= left + width <= 70.0
    assert 10.0 <= top <= top + height <= 70.0
    assert richest_window(values, 2.0, 1000.0, (10.0, 10.0, 60.0, 60.0)) == (10.0, 0.0, 80.0, 80.0)


def test_outlines_have_the_size_of_the_regions() -> None:
    centers, size = np.array([[10.0, 20.0], [50.0, 60.0]]), np.array([8.0, 4.0])
    for square in (False, True):
        outlines = Marks(centers, size, square).outlines()
        assert np.allclose(np.ptp(outlines, axis=1), size[:, None], rtol=0.01)
        assert np.allclose((outlines.min(axis=1) + outlines.max(axis=1)) / 2, centers)


def test_backdrop_shows_the_requested_window() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = 200
    slide = Slide.from_array(rgb, 2.0)
    whole = Backdrop.read(slide, pixels=30)
    assert whole.window == (0.0, 0.0, 120.0, 80.0)
    assert whole.rgb is not None
    assert whole.rgb.shape == (20, 30, 3)
    right = Backdrop.read(slide, (60.0, 0.0, 60.0, 80.0))
    assert right.rgb is not None
    assert (right.rgb == 200).all()
    grey = right.grey().rgb
    assert grey is not None
    assert (grey > 200).all()
