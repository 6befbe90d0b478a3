from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixnet.errors import ModelError
from pixnet.features.blocks import Area, BlockFile, Level
from pixnet.grid import Box

SIDE = 8  # image pixels along a block
LEVELS = (Level(4, 3, "float16"), Level(2, 5, "float16"), Level(8, 1, "uint8"))


def maps() -> list[np.ndarray]:
    """Return maps of 6 x 7 blocks, whose values tell where they are."""
    found = []
    for number, level in enumerate(LEVELS):
        shape = (6 * level.side, 7 * level.side, level.channels)
        found.append((np.arange(np.prod(shape)).reshape(shape) % 251 + number).astype(level.dtype))
    return found


def blocks_at(places: list[tuple[int, int]]) -> list[dict[tuple[int, int], np.ndarray]]:
    """Return the blocks of all levels at some places; the maps begin at block (-2, -1)."""
    result = []
    for level, values in zip(LEVELS, maps(), strict=True):
        side = level.side
        cut = {(r, c): values[(r + 2) * side : (r + 3) * side, (c + 1) * side : (c + 2) * side] for r, c in places}
        result.append(cut)
    return result


@pytest.fixture
def written(tmp_path: Path) -> BlockFile:
    file = BlockFile(tmp_path, LEVELS)
    file.append(blocks_at([(-2, -1), (-2, 0), (0, 3)]))
    file.append(blocks_at([(3, 5), (-1, -1), (-1, 0), (-1, 1)]))
    file.reload()
    return file


def test_blocks_are_read_where_they_belong_and_zeros_elsewhere(written: BlockFile) -> None:
    chosen = written.area.chosen
    assert chosen.shape == (3, 6, 7)
    assert chosen.sum() == 3 * 7
    expected = maps()
    for level, values, held in zip(LEVELS, expected, chosen, strict=True):
        values *= np.repeat(np.repeat(held, level.side, 0), level.side, 1)[:, :, None].astype(level.dtype)
    for box in (Box(-2, -1, 6, 7), Box(-1, 0, 1, 1), Box(0, 1, 2, 4)):
        boxes = {n: Box(*(v * level.side for v in vars(box).values())) for n, level in enumerate(LEVELS)}
        boxes[1] = Box(boxes[1].row + 1, boxes[1].col - 1, boxes[1].height, boxes[1].width + 1)
        for number, values in zip(boxes, written.read(boxes), strict=True):
            at, side = boxes[number], LEVELS[number].side
            padded = np.pad(expected[number], ((9, 9), (9, 9), (0, 0)))
            row, col = at.row + 2 * side + 9, at.col + side + 9
            assert np.array_equal(values, padded[row : row + at.height, col : col + at.width])


def test_what_a_killed_process_left_is_written_over(written: BlockFile, tmp_path: Path) -> None:
    whole = {name: (tmp_path / name).read_bytes() for name in ("blocks", "index")}
    for cut in (1, 15, 16 * 3):  # a record, or some, was not written, but its block was
        (tmp_path / "index").write_bytes(whole["index"][:-cut])
        (tmp_path / "blocks").write_bytes(whole["blocks"] + b"more")
        file = BlockFile(tmp_path, LEVELS)
        needed = Area(-2, -1, written.area.chosen)
        missing = needed.without(file.area)
        assert 1 <= missing.chosen.sum() <= 3
        again = [dict.fromkeys([], np.empty(0)) for _ in LEVELS]
        for level, row, col in np.argwhere(missing.chosen):
            place = int(row) - 2, int(col) - 1
            again[level][place] = blocks_at([place])[level][place]
        file.append(again)
        file.reload()
        assert not needed.without(file.area).chosen.any()
        assert sorted((tmp_path / "index").read_bytes()) == sorted(whole["index"])
        assert len((tmp_path / "blocks").read_bytes()) == len(whole["blocks"])


def test_a_changed_byte_is_noticed_when_its_block_is_read(written: BlockFile, tmp_path: Path) -> None:
    data = bytearray((tmp_path / "blocks").read_bytes())
    data[5] ^= 1
    (tmp_path / "blocks").write_bytes(data)
    file = BlockFile(tmp_path, LEVELS)
    file.read({0: Box(12, 20, 4, 4)})  # another block
    with pytest.raises(ModelError, match=r"blocks: is damaged: a block differs from its checksum. Delete the folder"):
        file.read({0: Box(-8, -4, 4, 4)})


def test_a_record_that_names_another_place_is_noticed(written: BlockFile, tmp_path: Path) -> None:
    index = bytearray((tmp_path / "index").read_bytes())
    index[4:8] = np.array([1], "<i4").tobytes()  # the row of the first record
    (tmp_path / "index").write_bytes(index)
    with pytest.raises(ModelError, match="differs from its checksum"):
        BlockFile(tmp_path, LEVELS).read({0: Box(4, -4, 4, 4)})


@pytest.mark.parametrize("record", [[9, 0, 0, 0], [-1, 0, 0, 0], [0, 2**31 - 1, 0, 0]])
def test_an_index_that_cannot_be_is_refused_without_much_memory(
    written: BlockFile, tmp_path: Path, record: list[int]
) -> None:
    with (tmp_path / "index").open("ab") as file:
        file.write(np.array(record, "<i4").tobytes())
    with (tmp_path / "blocks").open("ab") as file:
        file.write(bytes(96))
    with pytest.raises(ModelError, match=r"index: is damaged\. Delete the folder"):
        BlockFile(tmp_path, LEVELS)


def test_a_file_that_was_not_copied_completely_is_refused(written: BlockFile, tmp_path: Path) -> None:
    data = (tmp_path / "blocks").read_bytes()
    (tmp_path / "blocks").write_bytes(data[:-1])
    with pytest.raises(ModelError, match="is shorter than its index says"):
        BlockFile(tmp_path, LEVELS)


corners = st.integers(-40, 40)
boxes = st.lists(st.tuples(corners, corners, st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(boxes, st.lists(st.integers(0, 20), min_size=1, max_size=3))
def test_an_area_holds_the_blocks_that_boxes_touch(found: list[tuple[int, ...]], margins: list[int]) -> None:
    ends = np.array([(r, c, r + h, c + w) for r, c, h, w in found])
    area = Area.around(ends, margins, SIDE)
    for level, margin in enumerate(margins):
        rows, cols = (np.arange(-12, 14) * SIDE for _ in range(2))
        touched = np.zeros((26, 26), bool)
        for top, left, bottom, right in ends:
            down = (rows < bottom + margin) & (rows + SIDE > top - margin)
            across = (cols < right + margin) & (cols + SIDE > left - margin)
            touched |= np.outer(down, across)
        assert np.array_equal(area.window(-12, -12, (26, 26))[level], touched)
