"""A field whose building breaks off: what is left, what can be gone on with, and what is refused."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.field.conftest import MPP, Build, latent, picture

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field import ExpressionField
from pixnet.slide import Slide

BLOCKS = 12  # of 256 px in a slide of 602 x 803 px


class Stop(Exception):  # noqa: N818
    pass


def stopping(after: int) -> Any:
    """Return a network-like function that fails once it has made some blocks."""
    calls = iter(range(10**6))

    def function(rgb: np.ndarray) -> np.ndarray:
        if next(calls) == after:
            raise Stop
        return latent(rgb)

    return function


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def whole(build: Build) -> dict[str, bytes]:
    """Return the files of an unbroken build."""
    return contents(build().path)


@pytest.mark.parametrize("after", [1, 5, BLOCKS - 1])
def test_a_resumed_build_gives_the_same_bytes(
    build: Build, whole: dict[str, bytes], tmp_path: Path, after: int
) -> None:
    out = tmp_path / "broken"
    with pytest.raises(Stop):
        build(latent=stopping(after), out=out)
    assert not out.exists()
    steps: list[tuple[int, int]] = []
    build(out=out, resume=True, progress=lambda *step: steps.append(step))
    # The block that was computed last may not have been written yet.
    assert steps[0] in [(after, BLOCKS), (after - 1, BLOCKS)]
    assert steps[-1] == (BLOCKS, BLOCKS)
    assert contents(out) == whole
    assert list(tmp_path.iterdir()) == [out]


def test_nothing_is_left_where_no_block_was_done(build: Build, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        build(latent=stopping(0), out=tmp_path / "field")
    left = tmp_path / "field.partial"
    assert not left.exists() or len((left / "log.jsonl").read_text().splitlines()) == 1


def test_a_broken_build_leaves_the_field_that_was_there(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "field"
    before = contents(build(out=out).path)
    with pytest.raises(Stop):
        build("mean", latent=stopping(5), out=out, overwrite=True)
    assert contents(out) == before
    assert build("mean", out=out, resume=True).head.kind == "mean"
    assert list(tmp_path.iterdir()) == [out]


def test_an_unfinished_field_is_neither_resumed_nor_thrown_away_unasked(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "field"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    before = contents(tmp_path / "field.partial")
    with pytest.raises(FieldError, match="`resume=True`, or discard it with `overwrite=True`"):
        build(out=out)
    assert contents(tmp_path / "field.partial") == before
    build(out=out, overwrite=True)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"kind": "mean"}, "another model"),
        ({"card": {"encoder": "another"}}, "another model"),
        ({"on": Slide.from_array(picture(600, 803), MPP, name="waves")}, "another slide"),
        ({"core": 512}, "another block"),
        ({"dtype": "float32"}, "another number format"),
        ({"tissue_mask": True}, "another tissue mask"),
    ],
)
def test_another_slide_or_model_is_not_mixed_in(
    build: Build, tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    out = tmp_path / "field"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    before = contents(tmp_path / "field.partial")
    with pytest.raises(FieldError, match=words):
        build(out=out, resume=True, **other)
    assert contents(tmp_path / "field.partial") == before


def test_resuming_a_finished_field_does_nothing(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "field"
    build(out=out)
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    build(out=out, resume=True, latent=stopping(0))
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == times
    with pytest.raises(FieldError, match="exists already"):
        build("mean", out=out, resume=True)


def test_resuming_nothing_begins(build: Build, tmp_path: Path) -> None:
    assert build(out=tmp_path / "field", resume=True).gene_names == build().gene_names


def shards(partial: Path, array: str = "latent") -> list[Path]:
    """Return the files of an array's finest level in an unfinished field, in the order of the blocks."""
    return sorted(path for path in (partial / "store" / array / "0" / "c").rglob("*") if path.is_file())


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def zero_the_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("which", "lost", "damage"),
    [
        *((lambda partial: shards(partial)[1], 1, damage) for damage in (empty, shorten, zero_the_tail, Path.unlink)),
        (lambda partial: shards(partial, "valid")[0], 1, flip_a_bit),
        (lambda partial: partial / "store" / "zarr.json", 0, empty),
        (lambda partial: partial / "store" / "latent" / "0" / "zarr.json", 0, Path.unlink),
        (lambda partial: partial / "store" / "W" / "c" / "0" / "0", 0, zero_the_tail),
    ],
)
def test_what_a_power_cut_damages_is_made_again_and_the_rest_kept(
    build: Build,
    whole: dict[str, bytes],
    tmp_path: Path,
    which: Callable[[Path], Path],
    lost: int,
    damage: Callable[[Path], None],
) -> None:
    out, partial = tmp_path / "field", tmp_path / "field.partial"
    with pytest.raises(Stop):
        build(latent=stopping(7), out=out)
    done = len((partial / "log.jsonl").read_text().splitlines()) - 1
    damage(which(partial))
    steps: list[tuple[int, int]] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(out=out, resume=True, progress=lambda *step: steps.append(step))
    assert steps[0] == (done - lost, BLOCKS)
    assert [f"{lost} of {done} finished blocks are damaged" in str(w.message) for w in caught] == [True] * lost
    assert contents(out) == whole


@pytest.mark.parametrize("number", [1, 3, -1])
def test_a_damaged_line_of_the_log_costs_its_block(
    build: Build, whole: dict[str, bytes], tmp_path: Path, number: int
) -> None:
    out = tmp_path / "field"
    with pytest.raises(Stop):
        build(latent=stopping(7), out=out)
    log = tmp_path / "field.partial" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"failed": 0', b'"failed": 1')
    log.write_bytes(b"".join(lines))
    with pytest.warns(PixNetWarning, match=f"1 of {len(lines) - 1} finished blocks"):
        resumed = build(out=out, resume=True)
    assert contents(resumed.path) == whole


@pytest.mark.parametrize("tail", [b"", b"\0" * 40, b'{"block": 3, "exp'])
def test_a_torn_line_of_the_log_costs_its_block(
    build: Build, whole: dict[str, bytes], tmp_path: Path, tail: bytes
) -> None:
    out = tmp_path / "field"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    log = tmp_path / "field.partial" / "log.jsonl"
    content = log.read_bytes()
    log.write_bytes(content[: content.rfind(b"\n", 0, -1) + 1] + tail)
    assert contents(build(out=out, resume=True).path) == whole


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"null", b"[" * 5000, b"\0" * 30, b"\xff", b'{"facts": {}}'])
def test_a_log_that_does_not_say_what_was_begun_is_refused_and_kept(build: Build, tmp_path: Path, line: bytes) -> None:
    out, partial = tmp_path / "field", tmp_path / "field.partial"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    log = partial / "log.jsonl"
    log.write_bytes(line + b"\n" + log.read_bytes().split(b"\n", 1)[1])
    before = contents(partial)
    with pytest.raises(
        FieldError, match=r"log.jsonl is damaged or of another version. Discard it with `overwrite=True`"
    ):
        build(out=out, resume=True)
    assert contents(partial) == before
    build(out=out, overwrite=True)
    assert list(tmp_path.iterdir()) == [out]


def test_an_error_of_a_resumed_build_leaves_the_finished_blocks(
    build: Build, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out, partial = tmp_path / "field", tmp_path / "field.partial"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    before = shards(partial)
    with pytest.raises(FieldError, match="not finite"):
        build(latent=lambda images: latent(images) * np.float32(np.nan), out=out, resume=True)
    assert shards(partial)[: len(before)] == before
    assert contents(build(out=out, resume=True).path) == whole


def test_a_file_that_was_being_written_is_swept_away(build: Build, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "field"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    (tmp_path / "field.partial" / "store" / "latent" / "0" / "c" / "0.5f3a.partial").write_bytes(b"torn")
    assert contents(build(out=out, resume=True).path) == whole


def test_killed_before_the_first_line_of_the_log_it_begins_anew(
    build: Build, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "field"
    with pytest.raises(Stop):
        build(latent=stopping(5), out=out)
    (tmp_path / "field.partial" / "log.jsonl").write_bytes(b'{"block"')
    assert contents(build(out=out, resume=True).path) == whole


def test_a_scale_that_was_outgrown_stays_so(build: Build, tmp_path: Path) -> None:
    def growing(rgb: np.ndarray) -> np.ndarray:
        # The further down the picture's noise lies, the larger: told from the pixels, as a network would.
        values = latent(rgb)
        values[0] *= np.float32(10.0) ** (values[2].mean() // 0.02)
        return values

    def breaking(after: int) -> Any:
        calls = iter(range(10**6))

        def function(rgb: np.ndarray) -> np.ndarray:
            if next(calls) == after:
                raise Stop
            return growing(rgb)

        return function

    whole = build(latent=growing)
    for after in (3, 9, 14):
        out = tmp_path / str(after)
        try:
            build(latent=breaking(after), out=out)
        except Stop:
            build(latent=growing, out=out, resume=True)
        assert contents(out) == contents(whole.path)


WORK = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.field.conftest import *
def slowly(images):
    time.sleep(0.15)
    return latent(images)
slide = Slide.from_array(picture(602, 803), MPP, name="waves")
options = BuildOptions(core=256, tissue_mask=False, resume="resume" in sys.argv)
build_field(slide, source_of(slide, latent=slowly), Path(sys.argv[2]), options)
"""


def run(out: Path, *options: str, **how: Any) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", WORK, str(root), str(out), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **how)  # noqa: S603  this very test's program


def wait_for_blocks(out: Path, blocks: int) -> None:
    log = out.with_name(f"{out.name}.partial") / "log.jsonl"
    for _ in range(600):
        if log.is_file() and len(log.read_text().splitlines()) > blocks:
            return
        time.sleep(0.05)
    raise AssertionError("the child wrote no block")


def test_kill_at_any_moment_and_resume_gives_the_same_bytes(
    build: Build, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "field"
    for blocks in (2, 5, 8):
        child = run(out, "resume")
        wait_for_blocks(out, blocks)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not out.exists()
    child = run(out, "resume")
    assert child.wait() == 0, child.stderr.read()  # type: ignore[union-attr]
    assert contents(out) == whole
    assert list(tmp_path.iterdir()) == [out]


def test_a_second_process_is_refused(build: Build, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "field"
    child = run(out)
    wait_for_blocks(out, 1)
    with pytest.raises(FieldError, match=rf"being written by process {child.pid} on "):
        build(out=out, overwrite=True)
    assert child.wait() == 0, child.stderr.read()  # type: ignore[union-attr]
    assert contents(out) == whole


def test_a_full_disk_ends_in_an_error_and_can_be_resumed(build: Build, whole: dict[str, bytes], tmp_path: Path) -> None:
    # A process that may write no file larger than this fails in the middle, just as on a full disk.
    largest = max(len(content) for name, content in whole.items() if name.startswith("latent/0"))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, largest - 1))

    out = tmp_path / "field"
    child = run(out, preexec_fn=limit)
    error = child.communicate()[1]
    assert child.returncode == 1
    last = error.strip().splitlines()[-1]
    assert last.startswith("pixnet.errors.FieldError") and "cannot be written (File too large)" in last  # noqa: PT018
    assert "`resume=True`" in last
    assert not out.exists()
    build(out=out, resume=True)
    assert contents(out) == whole


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_is_named(build: Build, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FieldError, match="cannot be written"):
        build(out=tmp_path / "field")


def test_a_file_in_the_way_is_named(build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FieldError, match="cannot be written"):
        build(out=tmp_path / "file" / "field")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_store_tells_what_it_was_made_from(build: Build) -> None:
    field = build()
    stored = json.loads((field.path / "zarr.json").read_text())["attributes"]["pixnet"]
    assert stored["made_from"] == ExpressionField.open(field.path).attributes.made_from
    assert stored["made_from"] != build("mean").attributes.made_from
    assert stored["made_from"] != build(core=512).attributes.made_from
