"""Check whether the counts are raw counts, and whether there are enough of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import pdtr

from pixnet.inspection.findings import Finding, Level
from pixnet.sample.counts import Counts

_NEAR_EMPTY = 0.05  # of the median depth
_BY_CHANCE = 0.1  # of the median depth: the lowest expected depth that chance may turn into a near-empty region
_MOST_BY_CHANCE = 0.01  # expected number of regions, in the whole sample, that chance leaves so empty
USUAL_MIN_COUNTS = 500
"""Default of `min_counts` in the settings of training."""
_LARGEST_LOG = 20.0
_SAME_TOTAL = 0.01
_MANY_DUPLICATES = 0.005
_MUCH_MITOCHONDRIAL = 0.3
_RAW = "Give raw counts as the platform's software wrote them: whole numbers from 0 upwards."
_MIN_COUNTS = "Training leaves out regions with fewer than `min_counts` counts (in its settings)."

# What the readers' warnings say.
_ONE_SIDED = re.compile(r"left out, \d+ remain")
_MERGED = re.compile(r"(\d+) columns? added to")
_PIXEL_SIZE = re.compile(r"give the right `mpp`$")
_OUTSIDE = re.compile(r"outside the image|beyond the image")
_OTHER_FEATURES = re.compile(r"features that are (?:no|not) genes|columns? of controls|are left out \(")


def check_raw_counts(matrix: sparse.csr_matrix, genes: Sequence[str], has_layers: bool) -> list[Finding]:
    """Check a table of counts (n, g) that no reader has checked yet.

    `has_layers` is whether the platform's reader has an argument `layer`.
    """
    values = np.asarray(matrix.data, np.float64)
    finite = np.isfinite(values)
    advice = f"{_RAW} To use another layer, set `layer` to its name." if has_layers else _RAW
    findings = []
    if not finite.all():
        infinite = int((~finite).sum())
        text = f"{infinite} {'value is' if infinite == 1 else 'values are'} NaN or infinite instead of a count."
        findings.append(Finding("error", "not-finite", text, advice, {"entries": infinite}))
    negative = int((values[finite] < 0).sum())
    if negative:
        text = (
            f"{negative} {'value is' if negative == 1 else 'values are'} negative; the lowest is "
            f"{values[finite].min():.3g}. The counts may have been scaled or centred."
        )
        findings.append(Finding("error", "negative", text, advice, {"entries": negative}))
    elif (values[finite] != np.floor(values[finite])).any():
        findings.append(_fractional(matrix, values, finite, advice))
    repeats = len(genes) - len(set(genes))
    if repeats:
        name, _ = Counter(genes).most_common(1)[0]
        text = f"{len(genes)} columns have only {len(set(genes))} different gene names; {name} occurs more than once."
        level: Level = "warning" if repeats > _MANY_DUPLICATES * len(genes) else "info"
        advice = "Leave one column for each gene."
        findings.append(Finding(level, "duplicated-genes", text, advice, {"genes": repeats}))
    return findings


def check_sample_counts(counts: Counts) -> list[Finding]:
    """Check for empty regions, little depth and a high share of mitochondrial counts."""
    depth = counts.total
    median = float(np.median(depth))
    genes_of_region = np.diff(counts.matrix.indptr)
    low, high = np.quantile(depth, [0.1, 0.9])
    text = (
        f"The median region has {median:.0f} counts of {np.median(genes_of_region):.0f} genes; 80% of the regions have "
        f"between {low:.0f} and {high:.0f} counts."
    )
    deep = int((depth >= USUAL_MIN_COUNTS).sum())
    value = {"median": median, "low": low, "high": high, "regions": len(depth), "genes": counts.shape[1], "kept": deep}
    advice = ""
    if 2 * deep < len(depth):
        advice = (
            f"Training uses only the {deep} of {len(depth)} regions that have {USUAL_MIN_COUNTS} counts or more. To "
            "use more, lower `min_counts` in its settings or make the regions larger."
        )
    findings = [Finding("info", "depth", text, advice, value)]
    empty = int((depth == 0).sum())
    if empty:
        text = f"{empty} of {len(depth)} regions have no counts at all."
        level: Level = "warning" if _fewer_than_by_chance(0.0, depth) else "info"
        findings.append(Finding(level, "empty", text, _MIN_COUNTS, {"regions": empty}))
    low_depth = (depth > 0) & (depth < _NEAR_EMPTY * median) & _fewer_than_by_chance(depth, depth)
    near_empty = np.flatnonzero(low_depth)
    if len(near_empty):
        examples = ", ".join(f"{counts.name(int(row))} ({depth[row]:.0f} counts)" for row in near_empty[:3])
        text = (
            f"{len(near_empty)} of {len(depth)} regions have less than {_NEAR_EMPTY:.0%} of the median depth, such as "
            f"{examples}."
        )
        findings.append(Finding("warning", "near-empty", text, _MIN_COUNTS, {"regions": len(near_empty)}))
    if not median:
        advice = (
            "Use larger bins by setting `bin_um`, or check that the counts and the positions are from the same section."
        )
        level = "warning" if depth.any() else "error"
        findings.append(Finding(level, "no-depth", "Most regions have no counts.", advice))
    source = counts.notes.get("counts_from", "X")
    if source != "X":
        text = f"The counts were read from {source!r}, because X does not contain raw counts."
        findings.append(Finding("info", "counts-from", text))
    return findings + _mitochondrial(counts, depth)


def _fewer_than_by_chance(counts: Any, depth: NDArray[Any]) -> Any:
    """Return whether counts are lower than chance alone explains in small bins and cells.

    The bound: if every region of the sample had an expected depth of a tenth of the median, Poisson noise would leave
    fewer than 0.01 of them with so few counts.
    """
    return len(depth) * pdtr(counts, _BY_CHANCE * np.median(depth)) < _MOST_BY_CHANCE


def findings_of_warnings(messages: Sequence[str]) -> list[Finding]:
    """Turn a reader's warnings into findings."""
    findings = []
    for message in messages:
        parts = re.sub(r"^sample '[^']*': ", "", message).rstrip(".").split("; ")
        one_sided = [part for part in parts if _ONE_SIDED.search(part)]
        if one_sided:
            advice = "If these are many, check that the counts, positions and outlines are from the same run."
            findings.append(Finding("warning", "one-sided", _sentence("; ".join(one_sided)), advice))
        for part in parts:
            merged = _MERGED.search(part)
            if merged:
                advice = "Their counts were summed, which is right if they are the same gene."
                findings.append(Finding("info", "duplicated-genes", _sentence(part), advice, {"genes": int(merged[1])}))
            elif _OTHER_FEATURES.search(part):
                findings.append(Finding("info", "other-features", _sentence(part)))
            elif _OUTSIDE.search(part):
                advice = "If these are many, check that the image, the alignment and the pixel size belong together."
                findings.append(Finding("warning", "outside", _sentence(part), advice))
            elif _PIXEL_SIZE.search(part):
                findings.append(Finding("warning", "pixel-size", _sentence(part)))
            elif part not in one_sided:
                findings.append(Finding("warning", "reader", _sentence(part)))
    return findings


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def weigh_duplicates(findings: Sequence[Finding], genes: int) -> list[Finding]:
    """Raise merged genes to a warning if they are more than the few of all genes that are usual in a reference."""
    return [
        Finding("warning", finding.code, finding.text, finding.advice, finding.value)
        if finding.code == "duplicated-genes" and finding.value.get("genes", 0) > _MANY_DUPLICATES * genes
        else finding
        for finding in findings
    ]


def _fractional(matrix: sparse.csr_matrix, values: NDArray[np.float64], finite: NDArray[Any], advice: str) -> Finding:
    """Distinguish values that were logged or normalised from other fractions."""
    counts = values[finite]
    fractions = counts[counts != np.floor(counts)]
    value: dict[str, float] = {"share": len(fractions) / len(counts), "largest": float(counts.max())}
    table = matrix.copy()
    table.data = np.where(finite, values, 0.0)
    if value["largest"] < _LARGEST_LOG:
        table.data = np.expm1(table.data)
        total = _common_total(table)
        normalised = f" Before that, each region was normalised to a total of {total:.0f}." if total else ""
        text = f"The counts are already logged: they are fractions of at most {value['largest']:.3g}.{normalised}"
        return Finding("error", "logged", text, advice, value)
    total = _common_total(table)
    if total:
        text = f"The counts are already normalised: they are fractions, and each region has a total of {total:.4g}."
        return Finding("error", "normalised", text, advice, value)
    text = f"{len(fractions)} of {len(counts)} counts are fractions, such as {fractions[0]:.6g}."
    return Finding("error", "fractional", text, advice, value)


def _common_total(table: sparse.csr_matrix) -> float | None:
    """Return the total that all rows have, without the empty ones; None if their totals differ."""
    total = np.asarray(table.sum(axis=1), np.float64).ravel()
    total = total[total > 0]
    if len(total) < 3 or np.ptp(total) > _SAME_TOTAL * total.mean():
        return None
    return float(total.mean())


def is_mitochondrial(genes: Iterable[object]) -> NDArray[np.bool_]:
    """Return which genes are mitochondrial by their names, shape (g,)."""
    return np.array([str(gene).upper().startswith("MT-") for gene in genes], bool)


def _mitochondrial(counts: Counts, depth: NDArray[Any]) -> list[Finding]:
    mitochondrial = is_mitochondrial(counts.genes)
    has_counts = depth > 0
    if not mitochondrial.any() or not has_counts.any():
        return []
    # A product: selecting columns would copy a table of ten million rows.
    share = (counts.matrix @ mitochondrial.astype(np.float64))[has_counts] / depth[has_counts]
    median = float(np.median(share))
    text = f"In the median region, {median:.1%} of the counts are mitochondrial ({int(mitochondrial.sum())} genes)."
    if median > _MUCH_MITOCHONDRIAL:
        advice = "The tissue may be damaged; consider leaving these genes out of the panel."
        return [Finding("warning", "mitochondrial", text, advice, {"median": median})]
    return [Finding("info", "mitochondrial", text, value={"median": median})]
