from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pixnet.errors import ModelError
from pixnet.training.checkpoint import load_checkpoint, save_checkpoint


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    layer, optimised = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(optimised.parameters())
    optimised(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    history = {"rows": [{"stage": "fit", "loss": 1.5}], "best_step": 3, "best_score": float("-inf")}
    state = {"layer": layer.state_dict(), "optimiser": optimiser.state_dict(), "step": 7, "history": history}
    save_checkpoint(tmp_path / "x.ckpt", state)
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]
    other, again = torch.nn.Linear(3, 2), torch.optim.AdamW(torch.nn.Linear(3, 2).parameters())
    found = load_checkpoint(tmp_path / "x.ckpt", {"layer": other, "optimiser": again})
    assert torch.equal(other.weight, layer.weight)
    for name, value in optimiser.state_dict()["state"][0].items():
        assert torch.equal(again.state_dict()["state"][0][name], value)
    assert found["step"] == 7
    assert found["history"] == history


def test_an_interrupted_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ckpt"
    save_checkpoint(path, {"step": 1})

    def interrupted(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path, {})["step"] == 1


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    # Files of this process's children may not be larger than this, just as on a full disk.
    code = """
import resource, signal, sys
from pathlib import Path
import torch
from pixnet.training.checkpoint import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save_checkpoint(Path("x.ckpt"), {"weights": torch.zeros(100_000)})
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)  # noqa: S603
    assert done.stdout == "File too large\n", done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle", "flip", "other"])
def test_damaged_checkpoints_are_refused_and_run_nothing(tmp_path: Path, damage: str) -> None:
    path, trap = tmp_path / "x.ckpt", tmp_path / "sprung"
    layer = torch.nn.Linear(3, 2)
    save_checkpoint(path, {"layer": layer.state_dict()})
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flip":
        # In the middle of a weight, where torch's own reader notices nothing.
        at = whole.index(layer.weight.detach().numpy().tobytes()) + 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    elif damage == "text":
        path.write_text("no checkpoint")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps({"layer": Trap(trap)}))
    else:
        save_checkpoint(path, {"layer": torch.nn.Linear(5, 2).state_dict()})
    with pytest.raises(ModelError, match=r"x\.ckpt: cannot be resumed from.* Delete it and continue") as caught:
        load_checkpoint(path, {"layer": layer})
    assert "\n" not in str(caught.value)
    assert not trap.exists()


def test_a_trap_inside_a_torch_archive_is_not_sprung(tmp_path: Path) -> None:
    path, trap = tmp_path / "x.ckpt", tmp_path / "sprung"
    torch.save({"layer": Trap(trap)}, path)
    with pytest.raises(ModelError):
        load_checkpoint(path, {})
    assert not trap.exists()
