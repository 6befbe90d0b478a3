from __future__ import annotations

import numpy as np
from tests.evaluation.made import fold_of, held_out, outcome_of

from pixnet.cli.scores import score_lines


def lines_of(constant=False, donors="ABC"):
    folds = []
    for number, name in enumerate(donors):
        held = held_out(name, donor=name.lower())
        if constant:
            held.observed[:, 0] = 1.0
        rng = np.random.default_rng(number)
        tables = {seed: held.observed + rng.normal(size=held.observed.shape) for seed in (0, 1)}
        folds.append(fold_of(held, {"net": tables, "flat": np.zeros_like(held.observed)}, name=name))
    protocol = {"folds": [{"name": name} for name in donors], "seeds": [0, 1], "min_counts": 50}
    results = outcome_of(folds, protocol).results
    return results, score_lines(results)


def test_every_score_has_a_column():
    results, lines = lines_of()
    head = lines[0]
    for name in ("PCC@F", "PCC@S", "PCC@M", "95% (blocks)", "95% (donors)", "sd of seeds", "of noise", "50 variable",
                 "Spearman", "MSE", "MAE", "unfiltered", "seconds", "MB"):  # fmt: skip
        assert name in head
    net = results["methods"]["net"]
    row = lines[1]
    for key in ("pcc_f", "pcc_s", "pcc_m", "spearman_m", "mse", "mae"):
        assert f"{net[key]:.3f}" in row
    low, high = net["interval_donors"]
    assert f"{low:.3f} to {high:.3f}" in row
    assert f"{net['sd_over_seeds']['pcc_m']:.3f}" in row
    assert lines[2].split()[:4] == ["flat", "0.000", "0.000", "0.000"]
    assert lines[3].startswith("(noise estimate)")
    assert lines[4].startswith("net / flat: -, difference ")
    assert "better in 3 of 3 folds" in lines[4]
    assert "3 folds (A, B, C), 2 seeds; mean over both: 60 regions, 3 genes." in lines[5]
    assert len(lines) == 6


def test_missing_values_are_dashes_and_are_counted():
    _, lines = lines_of(constant=True)
    assert "Genes whose measured values do not vary: 3 in all folds together." in lines[-1]
    assert "95% (donors)" not in lines_of(donors="AB")[1][0]
