"""Whether the counts are counts, and enough of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import pdtr

from pixnet.inspection.findings import Finding, Level
from pixnet.sample.counts import Counts

_NEAR_EMPTY = 0.05  # of the median depth
_BY_CHANCE = 0.1  # of the median depth: what a region might have and still be drawn near-empty
_HARDLY = 0.01  # regions of a sample that chance may leave so empty
USUAL_MIN_COUNTS = 500
"""What training asks of a region where its settings say nothing else."""
_LARGEST_LOG = 20.0
_SAME_TOTAL = 0.01
_MANY_DUPLICATES = 0.005
_MUCH_MITOCHONDRIAL = 0.3
_RAW = "Give raw counts, as the pipeline wrote them: whole numbers from 0 upwards"


def check_raw_counts(matrix: sparse.csr_matrix, genes: Sequence[str], has_layers: bool, merges: bool) -> list[Finding]:
    """Look at a table before a reader judges it.

    Parameters
    ----------
    matrix
        (n, g), whatever it holds.
    genes
        Its g gene names.
    has_layers
        Whether the platform's reader has an option `layer`.
    merges
        Whether it sums genes of one name, instead of refusing them.
    """
    values = np.asarray(matrix.data, np.float64)
    finite = np.isfinite(values)
    advice = _RAW + (". Another layer is taken by `layer` (--set layer=NAME)." if has_layers else ".")
    findings = []
    if not finite.all():
        text = f"{int((~finite).sum())} counts are not numbers (NaN or infinite)."
        findings.append(Finding("error", "not-finite", text, advice, {"entries": int((~finite).sum())}))
    negative = int((values[finite] < 0).sum())
    if negative:
        text = f"{negative} counts are negative, the lowest {values[finite].min():.3g}; they may be scaled or centred."
        findings.append(Finding("error", "negative", text, advice, {"entries": negative}))
    elif (values[finite] != np.floor(values[finite])).any():
        findings.append(_fractional(matrix, values, finite, advice))
    repeated = len(genes) - len(set(genes))
    if repeated:
        text = f"{repeated} gene names come more than once, such as {_first_twice(genes)}."
        level: Level = "info" if merges else "error"
        if merges and repeated > _MANY_DUPLICATES * len(genes):
            level = "warning"
        findings.append(
            Finding(level, "duplicated-genes", text, "Leave one column for each gene.", {"genes": repeated})
        )
    return findings


def check_sample_counts(counts: Counts) -> list[Finding]:
    """Look at empty regions, depth and the share of mitochondrial counts."""
    depth = counts.total
    median = float(np.median(depth))
    found = np.diff(counts.matrix.indptr)
    low, high = np.quantile(depth, [0.1, 0.9])
    text = (
        f"a region has {median:.0f} counts of {np.median(found):.0f} genes in the median; four in five have between "
        f"{low:.0f} and {high:.0f} counts."
    )
    kept = int((depth >= USUAL_MIN_COUNTS).sum())
    value = {"median": median, "low": low, "high": high, "regions": len(depth), "genes": counts.shape[1], "kept": kept}
    advice = ""
    if 2 * kept < len(depth):
        advice = (
            f"Training keeps {kept} of {len(depth)}, those with {USUAL_MIN_COUNTS} counts or more, unless `min_counts` "
            "(in the settings, --config) is lower or the regions are larger."
        )
    findings = [Finding("info", "depth", text[0].upper() + text[1:], advice, value)]
    empty = int((depth == 0).sum())
    if empty:
        text = f"{empty} of {len(depth)} regions have no counts at all."
        advice = "Training leaves them out (`min_counts` in the settings, --config)."
        findings.append(
            Finding("warning" if _telling(0.0, depth) else "info", "empty", text, advice, {"regions": empty})
        )
    few = np.flatnonzero((depth > 0) & (depth < _NEAR_EMPTY * median) & _telling(depth, depth))
    if len(few):
        first = ", ".join(f"{counts.name(int(row))} ({depth[row]:.0f})" for row in few[:3])
        text = f"{len(few)} of {len(depth)} regions have under {_NEAR_EMPTY:.0%} of the median depth, such as {first}."
        advice = "Training leaves out regions below `min_counts` (in the settings, --config)."
        findings.append(Finding("warning", "near-empty", text, advice, {"regions": len(few)}))
    if not median:
        advice = (
            "Pool bins into larger ones by `bin_um` (--set bin_um=UM), or check that counts and positions are of one "
            "section."
        )
        level: Level = "warning" if depth.any() else "error"
        findings.append(Finding(level, "no-depth", "Most regions have no counts.", advice))
    source = counts.notes.get("counts_from", "X")
    if source != "X":
        findings.append(Finding("info", "counts-from", f"The counts are from {source!r}, as X holds none."))
    return findings + _mitochondrial(counts, depth)


def _telling(counted: Any, depth: np.ndarray) -> Any:
    """Say whether so few counts tell something of a region, and are not what small bins and cells have by chance.

    They do if, of as many regions as the sample has with a tenth of its median depth, Poisson noise would leave so few
    counts to less than one in a hundred samples.
    """
    return len(depth) * pdtr(counted, _BY_CHANCE * np.median(depth)) < _HARDLY


def findings_of_warnings(messages: Sequence[str]) -> list[Finding]:
    """Turn what a reader put right or left out into findings."""
    findings = []
    for message in messages:
        parts = re.sub(r"^sample '[^']*': ", "", message).rstrip(".").split("; ")
        alone = [part for part in parts if _ONE_SIDED.search(part)]
        if alone:
            advice = "If these are many, check that counts, positions and outlines are of one run."
            findings.append(Finding("warning", "one-sided", f"{'; '.join(alone)}.", advice))
        for part in parts:
            merged = _MERGED.search(part)
            if merged:
                advice = "Their counts are summed; nothing needs to be done if they are one gene."
                findings.append(Finding("info", "duplicated-genes", f"{part}.", advice, {"genes": int(merged[1])}))
            elif _OTHER_FEATURES.search(part):
                findings.append(Finding("info", "other-features", f"{part}."))
            elif _OUTSIDE.search(part):
                advice = "If these are many, check that image, alignment and pixel size belong together."
                findings.append(Finding("warning", "outside", f"{part}.", advice))
            elif part not in alone:
                findings.append(Finding("warning", "reader", f"{part}."))
    return findings


def weigh_duplicates(findings: Sequence[Finding], genes: int) -> list[Finding]:
    """Make a warning of merged genes where they are more than a reference's usual few."""
    return [
        Finding("warning", found.code, found.text, found.advice, found.value)
        if found.code == "duplicated-genes" and found.value.get("genes", 0) > _MANY_DUPLICATES * genes
        else found
        for found in findings
    ]


# How the readers put it.
_ONE_SIDED = re.compile(
    r"no (position|counts|outline|instance|row)\b|are not under tissue|they are left out, \d+ remain"
)
_MERGED = re.compile(r"(\d+) (?:genes|columns) (?:were added to|share a name)")
_OUTSIDE = re.compile(r"outside the image|beyond the image")
_OTHER_FEATURES = re.compile(r"features that are no genes|control probes|are left out \(")


def _fractional(matrix: sparse.csr_matrix, values: np.ndarray, finite: np.ndarray, advice: str) -> Finding:
    """Tell values that were logged or normalised from other fractions."""
    share = float((values[finite] != np.floor(values[finite])).mean())
    value: dict[str, float] = {"share": share, "largest": float(values[finite].max())}
    table = matrix.copy()
    table.data = np.where(finite, values, 0.0)
    if value["largest"] < _LARGEST_LOG:
        table.data = np.expm1(table.data)
        total = _common_total(table)
        told = f", each region's total being {total:.0f} before that" if total else ""
        text = f"The counts are already logged: fractions of at most {value['largest']:.3g}{told}."
        return Finding("error", "logged", text, advice, value)
    total = _common_total(table)
    if total:
        text = f"The counts are already normalised: fractions, and each region's total is {total:.4g}."
        return Finding("error", "normalised", text, advice, value)
    text = f"{share:.1%} of the counts are fractions."
    return Finding("error", "fractional", text, advice, value)


def _common_total(table: sparse.csr_matrix) -> float | None:
    total = np.asarray(table.sum(axis=1), np.float64).ravel()
    total = total[total > 0]
    if len(total) < 3 or np.ptp(total) > _SAME_TOTAL * total.mean():
        return None
    return float(total.mean())


def _first_twice(genes: Sequence[str]) -> str:
    seen: set[str] = set()
    for gene in genes:
        if gene in seen:
            return gene
        seen.add(gene)
    return ""


def _mitochondrial(counts: Counts, depth: np.ndarray) -> list[Finding]:
    mito = np.array([str(gene).upper().startswith("MT-") for gene in counts.genes])
    counted = depth > 0
    if not mito.any() or not counted.any():
        return []
    # As a product, no column of ten million rows has to be cut out.
    share = (counts.matrix @ mito.astype(np.float64))[counted] / depth[counted]
    median = float(np.median(share))
    text = f"{median:.1%} of a region's counts are mitochondrial in the median ({int(mito.sum())} genes)."
    if median > _MUCH_MITOCHONDRIAL:
        advice = "The tissue may be damaged; consider leaving these genes out of the panel."
        return [Finding("warning", "mitochondrial", text, advice, {"median": median})]
    return [Finding("info", "mitochondrial", text, value={"median": median})]
