from __future__ import annotations

import json


def test_every_sample_of_a_manifest(run, data, tmp_path):
    done = run("inspect", data / "samples.toml", "--out", tmp_path)
    assert done.status in (0, 1), done.out + done.err
    assert done.err == ""
    for name in "ABC":
        assert f"{name}: " in done.out
        folder = tmp_path / name
        assert {path.name for path in folder.iterdir()} == {"inspect.json", "overlay.png", "histograms.png"}
        found = json.loads((folder / "inspect.json").read_text())
        assert (found["id"], found["platform"]) == (name, "legacy-st")
        assert found["status"] <= done.status


def test_the_worst_finding_is_the_exit_status(run, data, tmp_path):
    done = run("inspect", data / "samples.toml", "--sample", "A", "--mpp", "2", "--out", tmp_path)
    assert done.status == 2
    assert "error    pixel-size: 2 um per pixel (argument) contradicts" in done.out
    assert (tmp_path / "A/overlay.png").is_file()
    assert not (tmp_path / "A/histograms.png").exists()


def test_what_is_not_known_is_refused(run, data, tmp_path):
    run("inspect", tmp_path / "nothing").assert_refused("there is no such file")
    run("inspect", data).assert_refused("none of the known platforms")
    run("inspect", data / "samples.toml", "--sample", "X").assert_refused("has no sample 'X'")
    run("inspect", data / "samples.toml", "--mpp", "1").assert_refused("lists 3 samples")
