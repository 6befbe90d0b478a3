"""The compartment test's table, a row for each gene and stain, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pixnet.evaluation.compartments.correlations import Between
from pixnet.evaluation.compartments.markers import markers
from pixnet.evaluation.compartments.pixels import STAINS
from pixnet.evaluation.held_out import Floats
from pixnet.scoring.table import Scores, rows

GROUPS = ("markers", "all genes")
"""Genes that the shares are of: the markers of the literature that are in the panel, and the whole panel."""

REGIONS = "pixels inside regions"
"""Value of `regions` in the long table."""


_WITHIN = "within "


def gene_table(genes: Sequence[str], measured: Between, predicted: Mapping[str, Floats]) -> pd.DataFrame:
    """Return a row for each gene and stain.

    Columns: `gene`, its `compartment` ("" for genes that are not markers), `stain`; `between`, `low`, `high`, the
    measured partial correlation between regions with its interval, and whether it is `clear`; `within METHOD`, the
    predicted correlation inside regions.
    """
    known = markers()
    compartments = [known[gene].compartment if gene in known else "" for gene in genes]
    parts = []
    for number, stain in enumerate(STAINS):
        columns = {
            "gene": list(genes), "compartment": compartments, "stain": stain, "between": measured.r[:, number],
            "low": measured.low[:, number], "high": measured.high[:, number], "clear": measured.clear[:, number],
        }  # fmt: skip
        parts.append(pd.DataFrame(columns | {_WITHIN + name: r[:, number] for name, r in predicted.items()}))
    return pd.concat(parts, ignore_index=True)


def compartment_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the long table that sum a gene table up, of one sample or of several.

    The table has the columns `fold` and `sample` too.

    Of each method, group of genes and stain (`target`): `right_sign`, the share of genes whose correlation inside
    regions has the sign that is clear between them, with its Wilson interval over genes; `genes` of which it is clear,
    and in how many of these it is `right`; `rank_correlation` (Spearman), over all genes, of the correlations inside
    with those between regions. A gene counts once in each sample; the interval is one of the number of different genes.
    """
    parts = []
    for group in GROUPS:
        of_group = table if group == GROUPS[1] else table[table["compartment"] != ""]
        for stain in STAINS:
            own = of_group[of_group["stain"] == stain]
            for method in methods_of(table):
                where = {"method": method, "regions": REGIONS, "target": f"{group}, {stain}"}
                parts.append(rows(_summed_up(own, own[_WITHIN + method]), **where))
    return pd.concat(parts, ignore_index=True)


def methods_of(table: pd.DataFrame) -> list[str]:
    """Return the methods of a gene table."""
    return [name.removeprefix(_WITHIN) for name in table.columns if name.startswith(_WITHIN)]


def compartment_results(scores: Scores) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what `compartment_rows` came to by method, then by target, as it is in `results.json`."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for method in scores.values("method", regions=REGIONS):
        for target in scores.values("target", regions=REGIONS):
            where = {"regions": REGIONS, "target": target}
            found = {name: scores.value(method, name, **where) for name in ("right_sign", "rank_correlation")}
            counts = {name: int(scores.value(method, name, **where)) for name in ("right", "genes")}
            ends = {"interval": scores.interval(method, "right_sign", **where)}
            result.setdefault(method, {})[target] = {**found, **counts, **ends}
    return result


def _summed_up(own: pd.DataFrame, inside: pd.Series) -> dict[str, object]:
    clear = own["clear"].to_numpy(bool)
    right = (np.sign(inside) == np.sign(own["between"])).to_numpy()[clear]
    ranks = [
        float(stats.spearmanr(part["between"], inside.loc[part.index]).statistic)
        for _, part in own.groupby(["fold", "sample"])
        if len(part) > 2 and inside.loc[part.index].nunique() > 1
    ]
    share = float(right.mean()) if len(right) else math.nan
    return {
        "right_sign": (share, *wilson_interval(share, own["gene"][clear].nunique())),
        "right": float(right.sum()),
        "genes": float(clear.sum()),
        "rank_correlation": float(np.mean(ranks)) if ranks else math.nan,
    }


def wilson_interval(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `number` independent cases (Wilson 1927, J Am Stat Assoc 22:209)."""
    if not number:
        return math.nan, math.nan
    z = float(stats.norm.ppf(0.975))
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
