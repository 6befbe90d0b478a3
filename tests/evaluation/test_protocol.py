from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from tests.evaluation.made import GENES, config, make_sample, with_counts

from pixnet.config import Config
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation import protocol as protocol_module
from pixnet.evaluation import splits as splits_module
from pixnet.evaluation.protocol import Protocol, side_hashes
from pixnet.evaluation.splits import hold_out, make_folds
from pixnet.expression import normalise
from pixnet.regions import Disks
from pixnet.sample.panel import GenePanel, panel_counts
from pixnet.slide import Slide


@pytest.fixture
def samples():
    return [make_sample(name, donor) for name, donor in (("A", "p"), ("B", "q"), ("C", "r"))]


def freeze(samples, split="loso", methods=("ridge", "mean"), number=4, **options):
    return Protocol.freeze(samples, make_folds(samples, split), methods, config(number), split=split, **options)


def one_more(values):
    values[2, 1] += 1


def test_genes_are_chosen_in_each_fold_from_its_training_side(samples):
    def boost(values):
        values[:, 9] += 10_000

    boosted = [samples[0], samples[1], with_counts(samples[2], boost)]
    plain, changed = freeze(samples), freeze(boosted)
    by_test = {fold.test: (fold, other) for fold, other in zip(plain.folds, changed.folds, strict=True)}
    fold, other = by_test["C",]
    assert fold == other
    fold, other = by_test["A",]
    assert "G9" not in fold.genes
    assert other.genes[0] == "G9"


def test_the_variable_genes_are_those_that_vary_most_in_training(samples, monkeypatch):
    monkeypatch.setattr(splits_module, "VARIABLE", 2)
    fold = freeze(samples, number=6).folds[0]
    panel = GenePanel(fold.genes, "list")
    tables = [normalise(panel_counts(sample, panel), sample.depth) for sample in samples[1:]]
    variance = np.concatenate(tables).var(axis=0)
    assert fold.variable == tuple(np.array(fold.genes)[np.argsort(-variance)[:2]])


def test_a_protocol_that_was_written_is_read_again(samples, tmp_path):
    (tmp_path / "data").mkdir()
    manifest = tmp_path / "data" / "samples.toml"
    frozen = freeze(samples, "blocks:2:20", seeds=[3, 1, 3], manifests=[manifest])
    assert (frozen.seeds, frozen.config.training.seed) == ((3, 1), 3)
    path = frozen.write(tmp_path / "deep" / "protocol.json")
    assert json.loads(path.read_text())["manifests"] == ["../data/samples.toml"]
    again = Protocol.read(path)
    assert again == frozen
    again.check(samples)
    assert again.manifests == (str(manifest),)
    assert [item.name for item in path.parent.iterdir()] == ["protocol.json"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_protocol_that_is_cut_off_is_refused(samples, tmp_path, share):
    path = freeze(samples).write(tmp_path / "p.json")
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(DataError, match=r"p\.json: is not a protocol of pixnet"):
        Protocol.read(path)


def test_a_protocol_of_an_earlier_version_is_refused(samples, tmp_path):
    path = freeze(samples).write(tmp_path / "p.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(DataError, match="was frozen by an earlier version of pixnet"):
        Protocol.read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 3}, "format"),
        ({"extra": 1}, "extra"),
        ({"folds": []}, "folds"),
        ({"seeds": ["one"]}, "seeds"),
    ],
)
def test_another_kind_of_file_is_refused(samples, tmp_path, change, words):
    path = freeze(samples).write(tmp_path / "p.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=f"is not a protocol of pixnet .*{words}"):
        Protocol.read(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        Protocol.read(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not a protocol"):
        Protocol.read(tmp_path / "binary.json")


def test_changed_inputs_are_reported_by_hash_and_sample(samples):
    frozen = freeze(samples)
    regions = Disks(samples[0].regions.centers_um, 44.0)
    slide = Slide.from_array(np.zeros((200, 240, 3), np.uint8), 1.0)
    old = frozen.samples["B"].counts_sha256[:12]
    for index, other, words in (
        (1, with_counts(samples[1], one_more), rf"counts of 'B' \(counts_sha256 {old} is now [0-9a-f]{{12}}\)\. Give"),
        (0, dataclasses.replace(samples[0], regions=regions), "positions of 'A'"),
        (2, dataclasses.replace(samples[2], slide=slide), "slide of 'C'"),
        (2, dataclasses.replace(samples[2], donor="p"), r"donor of 'C' \(r is now p\)"),
    ):
        changed = [*samples[:index], other, *samples[index + 1 :]]
        with pytest.raises(DataError, match=f"inputs have changed since the protocol was frozen: {words}"):
            frozen.check(changed)
    facts = frozen.samples["A"]

    def frozen_at(mpp: float) -> Protocol:
        return frozen.model_copy(update={"samples": {**frozen.samples, "A": facts.model_copy(update={"mpp": mpp})}})

    frozen_at(facts.mpp * (1 + 1e-14)).check(samples)
    with pytest.raises(DataError, match=r"pixel size of 'A' \(1\.001 is now 1\.0\)\. Give"):
        frozen_at(1.001).check(samples)
    all_changed = [with_counts(sample, one_more) for sample in samples]
    with pytest.raises(DataError, match=r"'A'.*'B'.*'C'"):
        frozen.check(all_changed)
    with pytest.raises(DataError, match="needs the sample 'B'; the samples are A, C"):
        frozen.check([samples[0], samples[2]])


def test_settings_that_were_edited_in_one_place_are_refused(samples, tmp_path):
    path = freeze(samples).write(tmp_path / "protocol.json")
    content = json.loads(path.read_text())
    content["min_counts"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="states the settings of ridge twice, and the two differ: it was edited"):
        Protocol.read(path).check(samples)


@pytest.mark.parametrize("samples", [[("all", "p"), ("B", "q")], [("A", "all"), ("B", "q")]])
def test_a_sample_or_fold_may_not_be_named_as_all_of_them_are_in_tables(samples):
    given = [make_sample(name, donor) for name, donor in samples]
    with pytest.raises(DataError, match="a sample or a fold is named 'all', which means all of them"):
        freeze(given, "lodo").check(given)


def test_another_version_of_a_method_is_warned_of(samples):
    frozen = freeze(samples)
    frozen.check(samples)
    newer = frozen.methods["ridge"].model_copy(update={"version": 99})
    with pytest.warns(PixNetWarning, match=r"ridge: the method's version is not that .* computed again"):
        frozen.model_copy(update={"methods": frozen.methods | {"ridge": newer}}).check(samples)


def test_an_early_file_with_hashes_of_the_code_is_still_read(samples, tmp_path):
    frozen = freeze(samples)
    path = frozen.write(tmp_path / "protocol.json")
    content = json.loads(path.read_text())
    for facts in content["methods"].values():
        del facts["version"]
        facts["code_sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    early = Protocol.read(path)
    assert {facts.version for facts in early.methods.values()} == {1}
    assert {name: facts.settings for name, facts in early.methods.items()} == {
        name: facts.settings for name, facts in frozen.methods.items()
    }
    assert early.folds == frozen.folds


def test_a_run_depends_on_all_but_the_counts_of_the_test(samples):
    def keys(given, **options):
        frozen = freeze(given, "blocks:2:10" if options.pop("blocks", False) else "loso", **options)
        splits = [fold.split(given) for fold in frozen.folds]
        hashes = side_hashes(given, splits)
        return {
            (method, fold.name): frozen.run(method, fold, 0, of_fold).key
            for fold, of_fold in zip(frozen.folds, hashes, strict=True)
            for method in frozen.methods
        }

    plain = keys(samples)
    assert len(set(plain.values())) == 6
    assert keys([make_sample(sample.id, sample.donor) for sample in samples]) == plain
    changed = keys([with_counts(samples[0], one_more), *samples[1:]])
    assert {name for name, key in changed.items() if key == plain[name]} == {("ridge", "A"), ("mean", "A")}
    regions = Disks(samples[0].regions.centers_um, 44.0)
    moved = keys([dataclasses.replace(samples[0], regions=regions), *samples[1:]])
    assert not set(moved.values()) & set(plain.values())
    assert not set(keys(samples, number=5).values()) & set(plain.values())

    blocks = keys(samples, blocks=True)
    changed = keys([with_counts(samples[0], one_more), *samples[1:]], blocks=True)
    # The region whose count changed is in one block's test, and in the training of the other.
    assert sum(changed[name] == key for name, key in blocks.items()) == 2


def test_a_run_depends_on_the_version_of_its_method_and_not_on_that_of_others(samples, monkeypatch):
    frozen = freeze(samples)
    fold = frozen.folds[0]
    before = {name: frozen.run(name, fold, 0).key for name in frozen.methods}
    now = protocol_module.method_version
    monkeypatch.setattr(protocol_module, "method_version", lambda name: now(name) + (name == "ridge"))
    after = {name: frozen.run(name, fold, 0).key for name in frozen.methods}
    assert after["mean"] == before["mean"]
    assert after["ridge"] != before["ridge"]
    assert frozen.run("ridge", fold, 0).depends_on["version"] == now("ridge") + 1


def test_the_hashes_of_the_protocol_are_enough_where_whole_samples_are_held_out(samples):
    frozen = freeze(samples)
    hashes = side_hashes(samples, [fold.split(samples) for fold in frozen.folds])
    for fold, of_fold in zip(frozen.folds, hashes, strict=True):
        assert frozen.run("ridge", fold, 0).key == frozen.run("ridge", fold, 0, of_fold).key
    blocks = freeze(samples, "blocks:2:10")
    with pytest.raises(ValueError, match="a fold of blocks needs the hashes of the parts of its samples"):
        blocks.run("ridge", blocks.folds[0], 0)


def test_a_run_depends_on_the_surroundings_and_on_nothing_else_of_the_target(samples):
    def key(method, target, around_um=None):
        plain = config(4)
        network = plain.network.model_copy(update={"surroundings_um": around_um})
        settings = Config(target=target, network=network, training=plain.training, genes=plain.genes)
        frozen = Protocol.freeze(samples, hold_out(samples, ["C"]), (method,), settings, split="hold-out")
        return frozen.run(method, frozen.folds[0], 0, {}).key

    assert key("pixnet", "same-donor") == key("pixnet", "new-donor", (300.0, 600.0, 1200.0))
    assert key("pixnet", "new-donor") == key("pixnet", "same-donor", ()) != key("pixnet", "same-donor")
    assert key("ridge", "new-donor") == key("ridge", "same-donor")


def test_samples_that_cannot_be_evaluated_are_not_frozen(samples):
    with pytest.raises(DataError, match="0 held-out regions have 1000000 counts or more; at least 2"):
        Protocol.freeze(samples, hold_out(samples, ["C"]), ["mean"], config(min_counts=1_000_000))
    single = [*samples[:2], samples[2].take([3])]
    with pytest.raises(DataError, match="1 held-out regions have 50 counts or more; at least 2"):
        freeze(single)
    with pytest.raises(DataError, match="'magic' is not known"):
        freeze(samples, methods=["magic"])
    with pytest.raises(DataError, match=f"from 1 to {len(GENES)}"):
        freeze(samples, number=99)


# The record in the results


def record(samples, folds):
    return Protocol.freeze(samples, folds, ["ridge", "mean"], config()).record(samples)


def test_results_record_what_was_done(samples):
    by_section = record(samples, make_folds(samples, "loso"))
    assert "no donor is on both sides of a fold" in by_section["donor_note"]
    assert len(by_section["folds"]) == 3
    assert "train" not in by_section
    single = record(samples, hold_out(samples, ["C"]))
    assert (single["train"], single["test"]) == (["A", "B"], ["C"])
    blocks = record(samples, make_folds(samples, "blocks:2:10"))
    assert blocks["donors_on_both_sides"] == ["p", "q", "r"]
    json.dumps(blocks)


def test_results_record_the_version_that_was_run(samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso"), ["mean"], config())
    newer = frozen.methods["mean"].model_copy(update={"version": 99})
    done = frozen.model_copy(update={"methods": {"mean": newer}}).record(samples)
    assert done["methods"]["mean"]["version"] == frozen.methods["mean"].version
