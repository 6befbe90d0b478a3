"""The accuracy of all methods in one Markdown file, whose tables can be pasted into other pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pixnet.evaluation.report.costs import costs_table
from pixnet.evaluation.report.markdown import noted_table, provenance
from pixnet.evaluation.report.parts import DASH, Table, interval, number, p_value, percent

if TYPE_CHECKING:
    from pixnet.evaluation.report.evaluated import Evaluated


def accuracy_page(done: Evaluated, title: str, command: str, others: Sequence[Table] = ()) -> str:
    """Give the scores, the comparison of the main method with the others, and the costs of an evaluation.

    Parameters
    ----------
    done
        The evaluation.
    title
        What to call it.
    command
        What was typed, for the record.
    others
        More tables, before the costs.
    """
    protocol, results = done.protocol, done.results
    tables = [_scores(results, done.methods.index(done.main)), *comparison(results.get("paired"), results["methods"])]
    donors = str(protocol.get("donor_note", ""))
    lines = [
        f"# {title}",
        "",
        provenance(command, protocol.get("cells", {})),
        "",
        f"{len(done.folds)} folds ({', '.join(fold['name'] for fold in done.folds)}), seeds "
        f"{', '.join(map(str, protocol.get('seeds', [])))}; "
        f"{sum(fold['n_regions'] for fold in done.folds)} regions scored. {donors[:1].upper()}{donors[1:]}",
    ]
    for table in (*tables, *others, costs_table(done)):
        lines += ["", *titled(table)]
    return "\n".join(lines) + "\n"


def titled(table: Table) -> list[str]:
    """Give the lines of a table with its title above and its note below."""
    return [f"## {table.title}", "", *noted_table(table)]


def comparison(paired: Mapping[str, Any] | None, methods: Mapping[str, Any]) -> list[Table]:
    """Compare the main method with each other one, the best of which is emphasised; nothing if there is one alone.

    Parameters
    ----------
    paired
        Of `pixnet.evaluation.results` or `pixnet.demo.scores`.
    methods
        The scores, for knowing the best.
    """
    if not paired or not paired["against"]:
        return []
    names = list(paired["against"])
    scores = [methods[name]["pcc_m"] for name in names]
    best = max(range(len(names)), key=lambda k: -1.0 if number(scores[k]) == DASH else scores[k])
    rows = []
    for name, test in paired["against"].items():
        figures = [number(test["ratio"], 2), number(test["difference"]), interval(test["interval"])]
        better = f"{test['folds_better']} of {test['folds']}"
        rows.append([name, *figures, p_value(test["p_bootstrap"]), better])
    note = (
        f"Ratio and difference of PCC@M; in bold against the best of the others, {names[best]}. 95 % interval and p "
        "(two-sided) from redrawn spatial blocks, both methods on the same draws."
    )
    columns = [f"{paired['method']} against", "ratio", "difference", "95 %", "p", "better in"]
    return [Table(columns, rows, note, best, title=f"{paired['method']} against the others")]


def _scores(results: Mapping[str, Any], main: int) -> Table:
    rows = []
    for name, one in results["methods"].items():
        seeds = one["seeds"]
        spread = f"{number(one['sd_over_seeds']['pcc_m'])} ({len(seeds)})" if len(seeds) > 1 else DASH
        over = one["intervals"]["blocks"]
        triple = [f"{number(one[key])} ({interval(over[key])})" for key in ("pcc_m", "pcc_s", "pcc_f")]
        rows.append([name, triple[0], spread, *triple[1:], number(one["mse"]), percent(one["noise_share"])])
    noise = results["noise_estimate"]
    estimate = [number(noise[key]) for key in ("pcc_m", "pcc_s", "pcc_f")]
    rows.append(["noise estimate", estimate[0], DASH, *estimate[1:], DASH, "100 %"])
    note = (
        "PCC@M, @S, @F: mean, median and first quartile over genes of the correlation over regions, means over folds "
        "and seeds, with 95 % intervals over redrawn spatial blocks, which leave out the variance of seeds."
    )
    columns = ["method", "PCC@M (95 %)", "sd over seeds (number)", "PCC@S (95 %)", "PCC@F (95 %)", "MSE",
               "share of the noise estimate"]  # fmt: skip
    return Table(columns, rows, note, main, title="Scores")
