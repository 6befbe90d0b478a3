from __future__ import annotations

import json

import numpy as np
from PIL import Image

from pixnet.virtual import VirtualTissue, write_visium_hd


def test_every_sample_of_a_manifest(run, data, tmp_path):
    done = run("inspect", data / "samples.toml", "--out", tmp_path)
    assert done.status in (0, 1), done.out + done.err
    assert done.err == ""
    for name in "ABC":
        assert f"{name}: " in done.out
        folder = tmp_path / name
        assert {path.name for path in folder.iterdir()} == {"inspect.json", "overlay.png", "histograms.png"}
        content = json.loads((folder / "inspect.json").read_text())
        assert (content["id"], content["platform"]) == (name, "legacy-st")
        assert content["status"] <= done.status


def test_the_worst_finding_is_the_exit_status(run, data, tmp_path):
    done = run("inspect", data / "samples.toml", "--sample", "A", "--mpp", "2", "--out", tmp_path)
    assert done.status == 2
    assert "error    pixel-size: The pixel size of 2 um (argument) contradicts" in done.out
    assert (tmp_path / "A/overlay.png").is_file()
    assert not (tmp_path / "A/histograms.png").exists()


def test_unknown_inputs_are_refused(run, data, tmp_path):
    run("inspect", tmp_path / "nothing").assert_refused("there is no such file")
    run("inspect", data).assert_refused("none of the known platforms")
    run("inspect", data / "samples.toml", "--sample", "X").assert_refused("has no sample 'X'")
    run("inspect", data / "samples.toml", "--mpp", "1").assert_refused("lists 3 samples")


def test_keys_of_a_manifest_are_options(run, tmp_path):
    tissue = VirtualTissue.generate("breast", 3, 7, 500, 400)
    folder = tmp_path / str(write_visium_hd(tissue, tmp_path, (8, 16))["path"])
    regions = []
    for size in (8, 16):
        done = run("inspect", folder, "--set", f"bin_um={size}", "--out", tmp_path / "out")
        assert done.status in (0, 1), done.out + done.err
        findings = json.loads((tmp_path / "out/inspect.json").read_text())["findings"]
        regions += [finding["value"]["regions"] for finding in findings if finding["code"] == "depth"]
    assert regions[0] > 3 * regions[1]
    assert run("inspect", folder, "--set", "bin_um = 12").out.count("refused") == 1
    run("inspect", folder, "--set", "bin=16").assert_refused("unknown key 'bin'", "did you mean 'bin_um'?")
    run("inspect", folder, "--swap-xy").assert_refused("unknown key 'swap_xy'", "known keys are id, donor, platform")
    run("inspect", folder, "--set", "bin_um").assert_refused("give a key and its value")
    run("inspect", folder, "--set", "mpp=1").assert_refused("mpp has an argument or option of its own")
    done = run("inspect", folder, "--set", "platform=xenium")
    assert done.status == 2
    assert "(xenium: given as `platform`)" in done.out


def test_keys_apply_to_one_sample_of_a_manifest(run, data):
    done = run("inspect", data / "samples.toml", "--sample", "A", "--set", "spot_pitch_um=90")
    assert done.status == 2
    assert "The pixel size of 1 um (manifest) contradicts the regions: they are 60.0 pixels and 90 um apart" in done.out
    run("inspect", data / "samples.toml", "--set", "spot_pitch_um=90").assert_refused("lists 3 samples")


def test_a_slide_is_compared_with_those_of_a_model(run, data, model, tmp_path):
    done = run("inspect", data / "samples.toml", "--sample", "C", "--model", model)
    assert "info     stain: The stain is like that of the training slides" in done.out
    rgb = np.asarray(Image.open(data / "C.png"))
    Image.fromarray((rgb * [0.45, 0.6, 1.0]).astype(np.uint8)).save(tmp_path / "blue.png")
    done = run("inspect", data / "samples.toml", "--sample", "C", "--image", tmp_path / "blue.png", "--model", model)
    assert done.status == 1
    assert "warning  stain: " in done.out
    done = run("predict", tmp_path / "blue.png", "--model", model, "--mpp", "1", "--out", tmp_path / "field")
    assert done.status == 0
    assert [
        line
        for line in done.messages
        if line.startswith("Warning: ") and "sd away from that of the training slides" in line
    ]
    run("inspect", data / "samples.toml", "--model", data).assert_refused("card.json", "is missing")
