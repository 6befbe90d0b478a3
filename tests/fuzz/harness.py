"""Damaged inputs, each read in its own process under limits.

A server imports all readers but opens no file, and forks for each case. So a case takes only milliseconds, and a crash
ends only its own process.
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
WAIT_SECONDS = 300  # of time on the clock, on a machine that also does other work
MEMORY = 2 << 30
_SPACE = 6 << 30  # address space, beyond that of the server
_LIBRARIES = (
    "anndata",
    "h5py",
    "imagecodecs",
    "openslide",
    "pandas",
    "PIL.Image",
    "pyarrow.parquet",
    "scipy.io",
    "shapely",
    "spatialdata",
    "tifffile",
    "torch",
    "timm",
    "zarr",
)
_READERS = (
    "pixnet.slide.slide",
    "pixnet.field.field",
    "pixnet.model.pixnet",
    "pixnet.network.network",
    "pixnet.network.shapes",
    "pixnet.readers.anndata.reader",
    "pixnet.readers.hest",
    "pixnet.readers.legacy_st",
    "pixnet.readers.manifest",
    "pixnet.readers.spatialdata.reader",
    "pixnet.readers.visium",
    "pixnet.readers.visium_hd.bins",
    "pixnet.readers.visium_hd.cells",
    "pixnet.readers.xenium.reader",
)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case.

    Attributes
    ----------
    target, seed, file
        The case, and the damaged file.
    kind
        "sample", the name of a `PixNetError`, or "bug".
    message
        Message of the error, or what happened for a bug.
    seconds
        Processor time.
    memory
        Peak memory, in bytes.
    """

    target: str
    seed: int
    file: str
    kind: str
    message: str
    seconds: float
    memory: int


def available() -> dict[str, Target]:
    """Return the targets whose input can be made on this computer, by name."""
    return {target.name: target for target in TARGETS if target.made_by is not None}


def make_inputs(folder: Path, targets: dict[str, Target]) -> None:
    """Write the intact inputs and check that they can be read.

    A child process does so, so that this process opens no file.
    """
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
        except BaseException:  # noqa: BLE001 - the child must not return
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the intact inputs cannot be made or read")


def import_all() -> None:
    """Import everything that the readers need, so that no case has to."""
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):  # some are optional
            importlib.import_module(name)
    for name in _READERS:
        importlib.import_module(name)


def run_cases(inputs: Path, cases: list[tuple[Target, int]], scratch: Path, jobs: int = 1) -> Iterator[Outcome]:
    """Run cases in several processes, and yield their outcomes in any order."""
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
    """Start a process that runs cases one by one; return the pipe that it writes outcomes to, and its id."""
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
    except BaseException:  # noqa: BLE001 - the child must not return
        traceback.print_exc()
    finally:
        os._exit(status)


def damaged_copy(inputs: Path, target: Target, seed: int, place: Path) -> str:
    """Copy the input of a case to a folder, with one file damaged; return the name of that file."""
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
    # The process group, because the child may have started other processes.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL) if answer is None else None
    _, status, usage = os.wait4(pid, 0)
    seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if answer is None:
        kind, message = "bug", f"no answer after {time.monotonic() - started:.0f} s"
    elif os.WIFSIGNALED(status):
        kind, message = "bug", f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    else:
        kind, message = json.loads(answer)
    if kind != "bug" and (seconds > SECONDS or memory > MEMORY):
        kind, message = "bug", f"{seconds:.1f} s, {memory >> 20} MB, then: {message}"
    return Outcome(target.name, seed, file, kind, message, seconds, memory)


def _answer(reading: int, seconds: float) -> bytes | None:
    """Read a pipe to its end; return None if the end does not come in time."""
    content, until = b"", time.monotonic() + seconds
    while select.select([reading], [], [], max(until - time.monotonic(), 0))[0]:
        part = os.read(reading, 1 << 16)
        if not part:
            return content
        content += part
    return None


def _child(target: Target, place: Path, writing: int) -> None:
    """Read the input, write kind and message to the pipe, and exit."""
    try:
        os.setsid()
        # The process that reads HDF5 has its own limits, and uses no more than is left of these.
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
    except BaseException as error:  # noqa: BLE001 - any other error is a bug
        return "bug", "".join(traceback.format_exception(error))[-3000:]
    return "sample", ""


def totals(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return a summary of the outcomes of each target."""
    summaries = []
    for name in dict.fromkeys(outcome.target for outcome in outcomes):
        of_target = [outcome for outcome in outcomes if outcome.target == name]
        kinds = sorted({outcome.kind for outcome in of_target})
        slowest = max(of_target, key=lambda outcome: outcome.seconds)
        largest = max(of_target, key=lambda outcome: outcome.memory)
        summaries.append(
            {
                "target": name,
                "cases": len(of_target),
                "kinds": {kind: sum(outcome.kind == kind for outcome in of_target) for kind in kinds},
                "slowest": (slowest.seconds, slowest.seed),
                "memory": (largest.memory, largest.seed),
            }
        )
    return summaries
