"""What a privacy metric is where nothing leaks."""

NULLS = {
    "_auc": 0.5,
    "_tpr_at_1pct_fpr": 0.01,
    "_tpr_at_01pct_fpr": 0.001,
    "_excess": 0.0,
    "/dcr_share": 0.5,
    "/nnaa_risk": 0.0,
    "/singling_out": 0.0,
    "/linkability": 0.0,
    "/inference": 0.0,
    "/isolated_copies": 0.0,
}
"""The value without any leak, by the end of the metric's name; more is a leak, less is chance."""


def null_of(metric: str) -> float | None:
    """Return the value of a privacy metric where nothing leaks, None where the metric has no such value."""
    if not metric.startswith("privacy/"):
        return None
    return next((null for ending, null in NULLS.items() if metric.endswith(ending)), None)
