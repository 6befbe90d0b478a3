"""Damaged inputs, each read in a process of its own under limits.

A server imports all readers but opens nothing, and forks for each case. So a case costs milliseconds, and a crash ends
nothing but itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.inputs import TARGETS, Target
from tests.fuzz.mutate import mutate

SECONDS = 10  # of processor time
WAIT_SECONDS = 40  # on a machine that does other things too
MEMORY = 2 << 30
_SPACE = 6 << 30  # of addresses, beyond what the server has
_MODULES = (
    "h5py", "imagecodecs", "openslide", "pandas", "pyarrow.parquet", "scipy.io", "shapely", "spatialdata", "tifffile",
    "anndata", "zarr", "PIL.Image", "pixnet.slide", "pixnet.readers.manifest",
    *(f"pixnet.readers.{name}" for name in ("anndata_table", "hest", "legacy_st", "spatialdata_zarr", "visium")),
    *(f"pixnet.readers.{name}" for name in ("visium_hd", "visium_hd_cells", "xenium")),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes
    ----------
    target, seed, file
        The case, and the file that was damaged.
    kind
        "sample", the name of a `PixNetError`, or "bug".
    told
        The message or, of a bug, what happened.
    seconds, memory
        Processor time, and most memory held, in bytes.
    """

    target: str
    seed: int
    file: str
    kind: str
    told: str
    seconds: float
    memory: int


def available() -> dict[str, Target]:
    """Give the targets whose input can be made here, by name."""
    return {target.name: target for target in TARGETS if target.made_by is not None}


def make_inputs(folder: Path, targets: dict[str, Target]) -> None:
    """Write the sound inputs, in a child, so that this process has opened nothing; check that they are read."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            warnings.simplefilter("ignore")
            for target in targets.values():
                place = folder / target.name
                place.mkdir(parents=True)
                assert target.made_by is not None
                target.made_by(place)
                target.read(place)
            status = 0
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the sound inputs cannot be made or read")


def import_all() -> None:
    """Import what the readers need, that no case has to."""
    for name in _MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert "torch" not in sys.modules


def run_cases(inputs: Path, cases: list[tuple[Target, int]], scratch: Path, jobs: int = 1) -> Iterator[Outcome]:
    """Run cases in several processes, and give their outcomes in no order."""
    import_all()
    sys.stdout.flush()
    workers = [_worker(inputs, cases[number::jobs], scratch / str(number)) for number in range(jobs)]
    streams = {os.fdopen(reading): pid for reading, pid in workers}
    while streams:
        for stream in select.select(list(streams), [], [])[0]:
            line = stream.readline()
            if line:
                yield Outcome(**json.loads(line))
            else:
                stream.close()
                os.waitpid(streams.pop(stream), 0)


def _worker(inputs: Path, cases: list[tuple[Target, int]], scratch: Path) -> tuple[int, int]:
    """Start a process that runs cases one by one; give where it writes their outcomes, and its id."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return reading, pid
    status = 1
    try:
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            for target, seed in cases:
                stream.write(json.dumps(asdict(run_case(inputs, target, seed, scratch))) + "\n")
                stream.flush()
        status = 0
    except BaseException:  # noqa: BLE001 - the child must end here
        traceback.print_exc()
    finally:
        os._exit(status)


def damaged_copy(inputs: Path, target: Target, seed: int, place: Path) -> str:
    """Lay out the input of a case in a folder: one file damaged, the others as they are. Give the damaged one."""
    source = inputs / target.name
    draw = random.Random(zlib.crc32(target.name.encode()) << 32 | seed)
    files = sorted({path for pattern in target.damaged for path in source.glob(pattern) if path.is_file()})
    chosen = draw.choice(files)
    shutil.copytree(source, place, copy_function=os.link)
    victim = place / chosen.relative_to(source)
    victim.unlink()
    victim.write_bytes(mutate(chosen.read_bytes(), draw))
    return str(chosen.relative_to(source))


def run_case(inputs: Path, target: Target, seed: int, scratch: Path) -> Outcome:
    """Damage an input and read it in a child under limits."""
    place = scratch / "case"
    shutil.rmtree(place, ignore_errors=True)
    file = damaged_copy(inputs, target, seed, place)
    reading, writing = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(target, place, writing)
    os.close(writing)
    answer = _answer(reading, WAIT_SECONDS)
    os.close(reading)
    # The whole group: the child may have started others.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL) if answer is None else None
    _, status, usage = os.wait4(pid, 0)
    seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if answer is None:
        kind, told = "bug", f"no answer after {time.monotonic() - started:.0f} s"
    elif os.WIFSIGNALED(status):
        kind, told = "bug", f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    else:
        kind, told = json.loads(answer)
    if kind != "bug" and (seconds > SECONDS or memory > MEMORY):
        kind, told = "bug", f"{seconds:.1f} s, {memory >> 20} MB, then: {told}"
    return Outcome(target.name, seed, file, kind, told, seconds, memory)


def _answer(reading: int, seconds: float) -> bytes | None:
    """Read to the end of a pipe; None if that does not come in time."""
    found, until = b"", time.monotonic() + seconds
    while select.select([reading], [], [], max(until - time.monotonic(), 0))[0]:
        part = os.read(reading, 1 << 16)
        if not part:
            return found
        found += part
    return None


def _child(target: Target, place: Path, writing: int) -> None:
    """Read the input, write kind and message to the pipe, and end."""
    try:
        os.setsid()
        # The process for HDF5 has limits of its own, and does not use more than is left to this one.
        space = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 if sys.platform == "linux" else 0
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 1, SECONDS + 1))
        if space:
            resource.setrlimit(resource.RLIMIT_AS, (space + _SPACE,) * 2)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.write(writing, json.dumps(_kind(target, place)).encode())
    finally:
        os._exit(0)


def _kind(target: Target, place: Path) -> tuple[str, str]:
    from pixnet.errors import PixNetError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(place)
    except PixNetError as error:
        return type(error).__name__, str(error).replace(str(place), "")[:400]
    except BaseException as error:  # noqa: BLE001 - anything else is what is looked for
        return "bug", "".join(traceback.format_exception(error))[-3000:]
    return "sample", ""


def totals(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Add up the outcomes of each target."""
    found = []
    for name in dict.fromkeys(outcome.target for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.target == name]
        kinds = sorted({outcome.kind for outcome in own})
        slowest, largest = max(own, key=lambda o: o.seconds), max(own, key=lambda o: o.memory)
        found.append(
            {
                "target": name,
                "cases": len(own),
                "kinds": {kind: sum(outcome.kind == kind for outcome in own) for kind in kinds},
                "slowest": (slowest.seconds, slowest.seed),
                "memory": (largest.memory, largest.seed),
            }
        )
    return found
