from __future__ import annotations

import io

from pixnet.cli.progress import Progress


class Clock:
    """Clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_half_minute_and_at_the_end_of_a_stage():
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, terminal=False, clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 1.0
            progress("fit", step, 100, f"loss {1 / step:.2f}")
        progress("fit", 100, 100, "said before")
        clock.now += 3600.0
        progress("predict", 1, 1)
    assert stream.getvalue().splitlines() == [
        "fit 30/100, loss 0.03, 0:30 elapsed",
        "fit 60/100, loss 0.02, 1:00 elapsed",
        "fit 90/100, loss 0.01, 1:30 elapsed",
        "fit 100/100, loss 0.01, 1:40 elapsed",
        "predict 1/1, 1:01:40 elapsed",
    ]


def test_a_terminal_gets_a_bar():
    stream = io.StringIO()
    with Progress(stream, terminal=True) as progress:
        progress("fit", 3, 10, "loss [0.5]")
    assert "fit" in stream.getvalue()
    assert "3/10" in stream.getvalue()
    assert "loss [0.5]" in stream.getvalue()


def test_a_stream_that_is_not_a_terminal_gets_lines():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress("fit", 1, 1)
    assert stream.getvalue() == "fit 1/1, 0:00 elapsed\n"
