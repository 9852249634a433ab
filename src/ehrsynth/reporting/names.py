"""What metrics are called where people read them."""

WORDS = {
    "01pct": "0.1 %",
    "1pct": "1 %",
    **{word: word.upper() for word in ("auc", "auprc", "auroc", "dcr", "f1", "fpr", "kl", "ks", "mlp", "nnaa", "rmse")},
    **{word: word.upper() for word in ("tpr", "trtr", "trts", "tstr", "apd")},
    "js": "Jensen-Shannon",
    "k20": "K 20",
}


def plain(metric: str) -> str:
    """Return a metric's name without its family, in words: ``privacy/membership_auc`` is "membership AUC"."""
    return " ".join(WORDS.get(word, word) for word in metric.split("/", 1)[-1].split("_"))
