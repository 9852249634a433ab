"""Which parts of the scores a report draws; a figure whose parts no score has is left out."""

from collections.abc import Sequence

from ehrsynth.evaluation.score import Score
from ehrsynth.reporting import part_figures as draw
from ehrsynth.reporting.gallery import NamedFigure
from ehrsynth.reporting.parts import of_kind
from ehrsynth.reporting.reading import family

MOST_SUBGROUP_PANELS = 6
BY_SUBGROUP = {  # drawn first if more scores than panels have subgroups, and what is measured in each subgroup
    "fairness/utility_gap": "AUROC, learned from synthetic rows",
    "fairness/equal_opportunity_gap": "true positive rate",
    "fairness/demographic_parity_gap": "share called positive",
    "fairness/privacy_gap": "membership AUC (0.5: no leak)",
    "fairness/representation": "share, synthetic minus training",
    "utility/hybrid_auroc": "AUROC, learned from both",
}


def part_figures(scores: Sequence[Score]) -> list[NamedFigure]:
    """Draw what the parts of the scores show, in the order of the families.

    Args:
        scores: of one synthetic table, with their parts.
    """
    by_name = {score.metric: score for score in scores}
    return [*_domains(by_name), *_prediction(by_name), *_importance(by_name), *_subgroups(by_name)]


def _domains(scores: dict[str, Score]) -> list[NamedFigure]:
    found = {
        name.split("/")[1].replace("_", " "): parts
        for name in ("fidelity/js_divergence", "fidelity/ks", "fidelity/kl_divergence")
        if (parts := of_kind(scores.get(name), "domain"))
    }
    if not found:
        return []
    return [
        NamedFigure(
            "domains",
            "Divergence by domain",
            "How far the columns of each domain are from the training rows, on average; 0 is the same distribution."
            " A single long bar is a kind of data the model did not learn.",
            f"Bars of {', '.join(found)} for each domain of columns.",
            draw.domain_bars(found),
        )
    ]


def _prediction(scores: dict[str, Score]) -> list[NamedFigure]:
    score = scores.get("fidelity/dimension_wise_prediction")
    real, synthetic = of_kind(score, "f1_real"), of_kind(score, "f1_synthetic")
    if not set(real) & set(synthetic):
        return []
    return [
        NamedFigure(
            "prediction",
            "Dimension-wise prediction",
            "Each dot is one code, predicted from all other columns on held-out real records. On the dashed line a"
            " model learned from synthetic records is as good as one learned from real ones; below it, relations of"
            " that code were lost. The farthest codes are named.",
            f"Scatter plot of F1 for {len(real)} codes, learned from synthetic against learned from training rows.",
            draw.prediction_scatter(real, synthetic),
        )
    ]


def _importance(scores: dict[str, Score]) -> list[NamedFigure]:
    score = scores.get("utility/feature_importance_overlap")
    real, synthetic = of_kind(score, "importance_real"), of_kind(score, "importance_synthetic")
    if not real or not synthetic:
        return []
    return [
        NamedFigure(
            "importance",
            "What the prediction models look at",
            "Mean absolute SHAP value on held-out real records, of the columns that matter most to either model."
            " A synthetic table that keeps the reasons for a prediction has bars of like length.",
            f"Paired bars of the importance of {len({*real, *synthetic})} columns.",
            draw.paired_bars(real, synthetic, "mean absolute SHAP value"),
        )
    ]


def _subgroups(scores: dict[str, Score]) -> list[NamedFigure]:
    having = {name: parts for name, score in scores.items() if (parts := of_kind(score, "subgroup"))}
    first = [name for name in BY_SUBGROUP if name in having]
    chosen = (first + [name for name in having if name not in first])[:MOST_SUBGROUP_PANELS]
    if not chosen:
        return []
    titles = {name: BY_SUBGROUP.get(name, name.replace("_", " ").replace("/", ": ")) for name in chosen}
    trained_on_real = {titles[name]: of_kind(scores[name], "subgroup_real") for name in chosen}
    whole = {titles[name]: None if family(name) == "fairness" else scores[name].value for name in chosen}
    return [
        NamedFigure(
            "subgroups",
            "Subgroups of patients",
            "The same measure on the records of each subgroup, with its 95% interval. Blue: of the model learned from"
            " training rows, whose differences are those of the real data. The grey line, where there is one, is the"
            " value over all records. Subgroups that are too small to measure have no dot.",
            f"Dots with intervals for each subgroup: {', '.join(titles.values())}.",
            draw.subgroup_dots({titles[name]: having[name] for name in chosen}, trained_on_real, whole),
        )
    ]
