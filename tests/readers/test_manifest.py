from __future__ import annotations

import unicodedata
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
        ("mpp = nan\n" + ENTRY, "a number that is not finite"),
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
    with pytest.raises(DataError, match=r"none\.toml: there is no such file"):
        manifest_entries(tmp_path / "none.toml")
    for data in (b"\xff\xfe\0", b"\x89PNG\r\n\x1a\n\xff\xd8"):
        (tmp_path / "binary.toml").write_bytes(data)
        with pytest.raises(DataError, match=r"binary\.toml: is not a text file"):
            manifest_entries(tmp_path / "binary.toml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_that_name_themselves(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "samples.toml"
    path.write_bytes(ENTRY.format(id="Größe").replace("\n", end).encode(encoding))
    assert [entry.id for entry in manifest_entries(path)] == ["Größe"]


def test_an_older_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.toml"
    path.write_bytes(ENTRY.format(id="Größe").encode("latin-1"))
    with pytest.raises(DataError, match=r"line 3 has the byte 0xF6, .*Windows-1252 .Latin-1.*as UTF-8"):
        manifest_entries(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.replace("[[sample]]", "[sample]"), r"\[sample\] in single brackets. Write \[\[sample\]\]"),
        (ENTRY.replace("images/", r"C:\Users\anna" + "\\"), "single quotes, .*or with /"),
        (ENTRY.replace("images/", r"D:\temp\new" + "\\t"), r"image is .*backslash has a meaning of its own"),
        (
            ENTRY.replace('"images/{id}.jpg"', r"'C:\data\he.jpg'"),
            "image is .*a path of Windows. Give the path on this",
        ),
        (
            ENTRY.replace('"images/{id}.jpg"', r"'sub\he.jpg'"),
            "image is .*does not exist. Here folders are separated by /",
        ),
        (ENTRY.replace("images/{id}.jpg", "https://host/he.jpg"), "image is .*an address and not a file"),
        (ENTRY.replace('"images/{id}.jpg"', "he.jpg"), "paths stand in quotes"),
        ('{"sample": []}', "looks like JSON or YAML"),
        ("sample:\n  - id: a\n", "looks like JSON or YAML"),
    ],
)
def test_other_dialects_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"samples\.toml.*{message}"):
        manifest_entries(write(tmp_path, text.replace("{id}", "a")))


def test_paths_are_found_with_backslashes_and_accents_in_another_form(tmp_path: Path) -> None:
    folder = tmp_path / unicodedata.normalize("NFD", "Größe")
    folder.mkdir()
    (folder / "é 1.jpg").touch()
    text = ENTRY.format(id="a").replace('"images/a.jpg"', "'Größe\\é 1.jpg'")
    (entry,) = manifest_entries(write(tmp_path, text))
    assert entry.image is not None
    assert entry.image.is_file()


def test_files_of_another_sample_are_warned_of(tmp_path: Path) -> None:
    ids = ("C2", "C3", "C4")
    good = "".join(ENTRY.format(id=f"s{id}").replace(f"/s{id}", f"/{id}").replace(f'"s{id}.', f'"{id}.') for id in ids)
    assert len(manifest_entries(write(tmp_path, good))) == 3
    mixed = good.replace("/far/C3_spots", "/far/C4_spots")
    with pytest.warns(PixNetWarning, match="sample 'sC3' has counts of 'C3' but spots of 'C4'. Check the paths"):
        manifest_entries(write(tmp_path, mixed))
    with pytest.warns(PixNetWarning, match="sample 'sC2' has counts of 'C2' but image of 'C3'"):
        manifest_entries(write(tmp_path, good.replace("images/C2", "images/C3/1")))
    twice = ENTRY.format(id="a") + ENTRY.format(id="a").replace('id = "a"', 'id = "b"')
    with pytest.warns(PixNetWarning, match="samples 'a' and 'b' have the same files"):
        manifest_entries(write(tmp_path, twice))


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
    with pytest.warns(PixNetWarning, match="'C3': 2 spots with a position but without counts"):
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
