from __future__ import annotations

from pathlib import Path

import pytest

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.manifest import manifest_entries, read_manifest

ENTRY = """
[[sample]]
id = "{id}"
platform = "legacy-st"
image = "images/{id}.jpg"
counts = "{id}.tsv"
spots = "/far/{id}_spots.tsv"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "samples.toml"
    path.write_text(text)
    return path


def test_paths_start_at_the_manifest_and_top_level_keys_hold_unless_a_sample_says_otherwise(tmp_path: Path) -> None:
    text = (
        "spot_diameter_um = 50\nmpp = 0.5\n" + ENTRY.format(id="a") + ENTRY.format(id="b") + 'mpp = 0.7\ndonor = "d"\n'
    )
    a, b = manifest_entries(write(tmp_path, text))
    assert (a.id, a.donor, a.platform) == ("a", None, "legacy-st")
    assert (a.image, a.counts, a.spots) == (tmp_path / "images/a.jpg", tmp_path / "a.tsv", Path("/far/a_spots.tsv"))
    assert (a.mpp, a.spot_diameter_um, a.spot_pitch_um) == (0.5, 50, None)
    assert (b.mpp, b.spot_diameter_um, b.donor) == (0.7, 50, "d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spot_diameter = 50\n" + ENTRY, "unknown key 'spot_diameter'; did you mean 'spot_diameter_um'"),
        (ENTRY.replace("counts", "count"), "sample 'a': unknown key 'count'; did you mean 'counts'"),
        (ENTRY + 'colour = "red"\n', "sample 'a': unknown key 'colour'"),
        (ENTRY.replace("[[sample]]", "[[samples]]"), "unknown key 'samples'; did you mean 'sample'"),
        (ENTRY.replace('id = "{id}"\n', ""), "sample 1: the key 'id' is missing"),
        (
            ENTRY.replace("legacy-st", "legacy_st"),
            "'a' has the platform 'legacy_st'.*among legacy-st.*mean 'legacy-st'",
        ),
        (ENTRY.replace("legacy-st", "scope"), "'a' has the platform 'scope', which is not among legacy-st"),
        (ENTRY + ENTRY, "two samples have the id 'a'"),
        (ENTRY + "mpp = -1\n", "sample 'a': mpp = -1 is not valid"),
        ("mpp = nan\n" + ENTRY, "mpp = nan is not valid"),
        ("spot_pitch_um = 'wide'\n" + ENTRY, "spot_pitch_um = 'wide' is not valid"),
        ("", "the key 'sample' is missing"),
        ("sample = []\n", "sample = .* is not valid"),
        ("sample = 3\n", "sample = 3 is not valid"),
        ("[[sample]\n", "is not a TOML file"),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"samples\.toml: .*({message})"):
        manifest_entries(write(tmp_path, text.replace("{id}", "a")))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        manifest_entries(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DataError, match=r"binary\.toml: is not a TOML file"):
        manifest_entries(tmp_path / "binary.toml")


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, ENTRY.format(id="a") + ENTRY.format(id="b"))
    with pytest.raises(DataError, match=r"has no sample 'c'; its samples are a, b\."):
        read_manifest(path, ["a", "c"])
    with pytest.raises(DataError, match=r"b_spots\.tsv"):
        read_manifest(path, ["b"])
    assert read_manifest(path, []) == []


def test_her2st(shared: Path) -> None:
    path = shared / "data/her2st/samples.toml"
    assert [(entry.id, entry.donor) for entry in manifest_entries(path)] == [(f"C{i}", "C") for i in range(2, 6)]
    with pytest.warns(PixNetWarning, match="'C3': 2 spots with a position have no counts"):
        c3, c2 = read_manifest(path, ["C3", "C2", "C3"])
    assert (c3.id, c2.id, c3.donor) == ("C3", "C2", "C")
    assert c2.counts.shape == (187, 15706)


def test_mpp_of_a_manifest_is_named(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/fixtures/legacy-st-small"
    text = f'[[sample]]\nid = "s"\nplatform = "legacy-st"\nmpp = 6.9\nimage = "{folder}/image.jpg"\n'
    text += f'counts = "{folder}/counts.tsv"\nspots = "{folder}/spots.tsv"\n'
    (sample,) = read_manifest(write(tmp_path, text))
    assert (sample.slide.mpp, sample.slide.mpp_source) == (6.9, "manifest")
    with pytest.raises(DataError, match=r"0\.69 was given \(manifest\)"):
        read_manifest(write(tmp_path, text.replace("6.9", "0.69")))
