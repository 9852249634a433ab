"""Compare scores of ehrsynth with those of Anonymeter and SDMetrics on the same rows; see README.md.

python run.py tables MATRIX OUT      with ehrsynth: write the tables and our numbers
python run.py anonymeter OUT         with anonymeter: print its numbers
python run.py sdmetrics OUT          with sdmetrics: print its numbers
"""

import json
import sys
import warnings
from pathlib import Path

import pandas as pd

ATTACKS = 700
ATTEMPTS = 100_000
WIDTH = 16  # columns for singling out: Anonymeter's queries on hundreds of columns take hours
SECRETS = ["age", "sex", "race", "days", "died_within_year"]


def tables(matrix: Path, out: Path) -> None:
    """Write R, H and S (half of R, and as many fresh rows), without the columns that have gaps, and our numbers."""
    from dataclasses import replace

    from ehrsynth.data.encoding import Encoder
    from ehrsynth.evaluation.evaluator import RealData
    from ehrsynth.evaluation.fidelity.distributions import ColumnDistributions
    from ehrsynth.evaluation.privacy.inference import Inference
    from ehrsynth.evaluation.privacy.linkability import Linkability
    from ehrsynth.evaluation.privacy.singling_out import SinglingOut
    from ehrsynth.schema import Schema

    schema = Schema.load(matrix / "schema.json")
    schema = replace(schema, columns=tuple(column for column in schema.columns if not column.missing))
    train = pd.read_parquet(matrix / "train.parquet")[schema.names]
    unseen = pd.read_parquet(matrix / "holdout.parquet")[schema.names]
    fresh, holdout = unseen[: len(unseen) // 2], unseen[len(unseen) // 2 :]
    synthetic = pd.concat([train[: len(fresh)], fresh])
    sides = [schema.names[::2], schema.names[1::2]]
    out.mkdir(parents=True, exist_ok=True)
    for name, frame in (("train", train), ("holdout", holdout), ("synthetic", synthetic)):
        frame.to_csv(out / f"{name}.csv", index=False)
    (out / "sides.json").write_text(json.dumps(sides))
    encode = Encoder(schema).encode
    real = RealData(schema, encode(train), encode(holdout))
    ks = ColumnDistributions().fit(real, 0)(encode(synthetic), 0)["fidelity/ks"].parts
    (out / "ks.json").write_text(
        json.dumps({name: part.value for (kind, name), part in ks.items() if kind == "column"})
    )
    narrow = replace(schema, columns=tuple(schema.by_name[name] for name in _few(train)))
    evaluators = [
        (narrow, SinglingOut(attacks=ATTACKS, absent=True, attempts=ATTEMPTS)),
        (schema, Linkability(attacks=ATTACKS, known=(sides[0], sides[1]))),
        (schema, Inference(attacks=ATTACKS, secrets=SECRETS)),
    ]
    for columns, evaluator in evaluators:
        encode = Encoder(columns).encode
        real = RealData(columns, encode(train[columns.names]), encode(holdout[columns.names]))
        for seed in range(3):
            for name, found in evaluator.fit(real, seed)(encode(synthetic[columns.names]), seed).items():
                print(name, "seed", seed, _text(found.value, found.ci))
                for key, part in found.parts.items():
                    print("   ", *key, _text(part.value, part.ci))


def anonymeter(out: Path) -> None:
    """Print Anonymeter's rates and risks."""
    from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator

    warnings.simplefilter("ignore")
    train, holdout, synthetic = (pd.read_csv(out / f"{name}.csv") for name in ("train", "holdout", "synthetic"))
    common = {"ori": train, "syn": synthetic, "control": holdout, "n_attacks": ATTACKS}
    for mode in ("univariate", "multivariate"):
        few = {name: table[_few(train)] for name, table in (("ori", train), ("syn", synthetic), ("control", holdout))}
        for seed in range(3):
            tried = SinglingOutEvaluator(**few, n_attacks=ATTACKS, max_attempts=ATTEMPTS, seed=seed)
            _report(f"singling out, {mode}", tried, mode=mode)
            print("    queries", len(tried.queries()), "of which succeeded", tried.results().n_success)
    sides = json.loads((out / "sides.json").read_text())
    _report("linkability", LinkabilityEvaluator(**common, aux_cols=sides))
    for secret in SECRETS:
        others = [name for name in train if name != secret]
        attack = InferenceEvaluator(**common, aux_cols=others, secret=secret, regression=secret in ("age", "days"))
        _report(f"inference, {secret}", attack)


def sdmetrics(out: Path) -> None:
    """Print scores of SDMetrics beside our parts of ``fidelity/ks``, and what is no score of ours beside numpy's."""
    from sdmetrics.column_pairs import CorrelationSimilarity
    from sdmetrics.single_column import KSComplement, TVComplement
    from sdmetrics.single_table import NewRowSynthesis

    train, synthetic = (pd.read_csv(out / f"{name}.csv") for name in ("train", "synthetic"))
    ks = json.loads((out / "ks.json").read_text())
    for name in ("age", "days", "admissions"):
        print("KSComplement", name, KSComplement.compute(train[name], synthetic[name]), 1 - ks[name])
    for name in ("sex", "race"):
        print("TVComplement", name, TVComplement.compute(train[name], synthetic[name]), 1 - ks[name])
    pair = ["age", "days"]
    ours = 1 - abs(train[pair].corr().iloc[0, 1] - synthetic[pair].corr().iloc[0, 1]) / 2
    print("CorrelationSimilarity", *pair, CorrelationSimilarity.compute(train[pair], synthetic[pair]), ours)
    kinds = {name: {"sdtype": "numerical" if train[name].dtype != object else "categorical"} for name in train}
    some = train.columns[-40:]  # the queries of SDMetrics do not take hundreds of columns
    metadata = {"columns": {name: kinds[name] for name in some}}
    new = NewRowSynthesis.compute(train[some], synthetic[some], metadata, numerical_match_tolerance=1e-9)
    known = set(map(tuple, train[some].to_numpy()))
    ours = sum(row not in known for row in map(tuple, synthetic[some].to_numpy())) / len(synthetic)
    print("NewRowSynthesis", new, ours)


def _few(train):
    counts = train.nunique().sort_values(ascending=False, kind="stable")
    return list(counts.index[:WIDTH])


def _report(name, evaluator, **options):
    evaluator.evaluate(**options)
    found = evaluator.results()
    rates = {"attack": found.attack_rate, "control": found.control_rate, "baseline": found.baseline_rate}
    print(name, *(f"{key} {rate.value:.4f} +- {rate.error:.4f}" for key, rate in rates.items()), found.risk())


def _text(value, ci):
    return f"{value:.4f}" + (f" [{ci[0]:.4f}, {ci[1]:.4f}]" if ci else "")


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    {"tables": tables, "anonymeter": anonymeter, "sdmetrics": sdmetrics}[verb](*map(Path, paths))
