from pathlib import Path

import pytest

from ehrsynth.accounting import Gaussian, SampledGaussian, Unlikely, ZeroConcentrated
from ehrsynth.evaluation.card import catalogue
from ehrsynth.evaluation.evaluator import Value
from ehrsynth.ledger import Ledger, Look
from ehrsynth.metrics.intervals import together
from ehrsynth.reporting.guarantee import Guarantee
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.model_card import card_md
from ehrsynth.reporting.privacy_statement import Line, statement
from tests.scores import score_of

ROWS = {"train": 7000, "holdout": 3000, "synthetic": 5000}
ANCHORS = {"fresh_real": 0.5, "train_copy": 1.0}
STRENGTH = {("strength", "attacked_records"): Value(2000.0), ("attacks", "rate"): Value(300.0)}
ATTACKS = {card.attack.name for card in catalogue().values() if card.attack}
SCORES = [
    score_of("fidelity/apd", 0.1, "lower"),
    score_of("privacy/membership_auc", 0.51, "lower", (0.505, 0.515), anchors=ANCHORS),
    score_of("privacy/membership_tpr_at_1pct_fpr", 0.01, "lower", (0.005, 0.02), anchors={"fresh_real": 0.01}),
    score_of(
        "privacy/attribute_f1_excess", 0.0, "lower", (-0.01, 0.01), anchors={"fresh_real": 0.0, "train_copy": 0.8}
    ),
    score_of("privacy/attribute_known_codes", 41.0, "lower"),
    score_of("privacy/singling_out", 0.0, "lower", (-0.1, 0.1), parts=STRENGTH),
    score_of("privacy/linkability", None, "lower", status="skipped", reason="one domain only"),
]


def test_every_attack_is_either_shown_with_its_results_or_named_as_not_run() -> None:
    said = statement(SCORES, ROWS)
    shown = [line.attack.name for line in said.lines]
    assert shown == ["Membership by distance", "Attribute inference", "Singling out"]
    assert "linkability (one domain only)" in said.absent
    assert "copies" in said.absent
    assert any("shadow models" in text for text in said.absent)
    assert len(shown) + len(said.absent) >= len(ATTACKS) + 3


def test_the_worst_result_decides_and_nulls_stand_beside() -> None:
    line = statement(SCORES, ROWS).lines[0]
    assert line.verdict.word == "small but beyond chance"
    assert [score.card.null for score in line.results] == [0.5, 0.01]


def test_an_inconclusive_result_is_not_hidden_by_a_clean_one() -> None:
    wide = score_of(
        "privacy/membership_tpr_at_1pct_fpr", 0.13, "lower", (0.0, 0.15), anchors=ANCHORS | {"fresh_real": 0.01}
    )
    clean = score_of("privacy/membership_auc", 0.5, "lower", (0.49, 0.51), anchors=ANCHORS)
    assert statement([clean, wide], ROWS).lines[0].verdict.word == "not beyond chance"
    assert statement([clean], ROWS).lines[0].verdict.word == "no leak seen"


def test_intervals_count_how_many_results_were_looked_at(tmp_path: Path) -> None:
    assert together((0.5, (0.4, 0.7)), 1) == pytest.approx((0.4, 0.7))
    low, high = together((0.5, (0.4, 0.7)), 2)  # the 98.75 % point of the normal distribution is 2.2414
    assert (low, high) == pytest.approx((0.5 - 0.1 * 2.2414 / 1.95996, 0.5 + 0.2 * 2.2414 / 1.95996), abs=1e-5)
    assert together((0.02, (0.01, 0.98)), 10, 0.0, 1.0) == (
        pytest.approx(0.02 - 0.01 * 2.80703 / 1.95996, abs=1e-6),
        1.0,
    )

    def line(low: float) -> Line:
        auc = score_of("privacy/membership_auc", 0.51, "lower", (low, 0.515), anchors=ANCHORS)
        said = statement([auc, *SCORES[2:]], ROWS)
        assert said.results == 4
        return said.lines[0]

    assert not line(0.505).may_be_luck
    assert line(0.505).together[0].ci == pytest.approx((0.51 - 0.005 * 1.27434, 0.51 + 0.005 * 1.27434), abs=1e-5)
    assert line(0.501).may_be_luck, "0.51 - 0.009 * 1.274 is below a half"
    assert line(0.501).verdict.word == line(0.505).verdict.word
    assert not line(0.49).may_be_luck, "by itself it is not beyond chance either"
    parts = {("side", "excess"): Value(0.02, (0.001, 0.03))}
    own = score_of("privacy/identity_disclosure", 0.09, "lower", (0.08, 0.1), anchors=ANCHORS, parts=parts)
    alone, among = (next(iter(statement(scores, ROWS).lines[-1:])) for scores in ([own], [*SCORES, own]))
    assert alone.excesses_together[0] is not None
    assert alone.excesses_together[0][1] == pytest.approx((0.001, 0.03))
    assert not alone.may_be_luck
    assert among.excesses_together[0] is not None
    ends = (0.02 - 0.019 * 2.57583 / 1.95996, 0.02 + 0.01 * 2.57583 / 1.95996)
    assert among.excesses_together[0][1] == pytest.approx(ends, abs=1e-6)
    assert among.may_be_luck
    write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=[*SCORES, own], figures=())
    page = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert page.count("may be luck: not beyond chance for all 5 results at once") == 1


def test_a_result_with_its_own_control_shows_the_difference(tmp_path: Path) -> None:
    parts = {("side", "excess"): Value(0.002, (-0.02, 0.03))}
    score = score_of("privacy/identity_disclosure", 0.09, "lower", (0.08, 0.1), anchors=ANCHORS, parts=parts)
    write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=[score], figures=())
    assert "above others by 0.00200" in (tmp_path / "privacy.html").read_text(encoding="utf-8")


def test_strengths_come_from_the_scores_else_from_the_rows() -> None:
    membership, inference, singling = (line.strength for line in statement(SCORES, ROWS).lines)
    assert membership.endswith("up to 7,000 training and 3,000 held-out records")
    assert inference.endswith("known codes 41")
    assert singling.endswith("attacked records 2,000, attacks 300")


def test_the_page_tells_what_was_spent_or_that_nothing_bounds_other_attacks(tmp_path: Path) -> None:
    spent = [*SCORES, score_of("privacy/epsilon", 2.5, "lower"), score_of("privacy/delta", 1e-5, "lower")]
    texts = []
    for scores in (SCORES, spent):
        write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=scores, figures=())
        texts.append((tmp_path / "privacy.html").read_text(encoding="utf-8"))
    open_ended, private = texts
    assert "no bound holds for attacks that were not run" in open_ended
    assert "epsilon 2.50, delta 1.00" in private
    assert "There are signs of it." in private
    assert "size: A4" in private
    assert "<script" not in private


def test_a_delta_without_an_epsilon_guarantees_nothing() -> None:
    epsilon, delta = score_of("privacy/epsilon", 2.5), score_of("privacy/delta", 1e-5)
    assert statement([*SCORES, delta], ROWS).spent == ()
    assert statement([delta, *SCORES, epsilon], ROWS).spent == (epsilon, delta)
    nothing = score_of("privacy/epsilon", None, status="skipped", reason="not private")
    assert statement([nothing, delta], ROWS).spent == ()


def test_without_any_attack_the_page_says_so(tmp_path: Path) -> None:
    write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=SCORES[:1], figures=())
    text = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert "Not measured." in text
    assert "<p>None.</p>" in text


def test_every_result_has_a_plain_name() -> None:
    assert all(card.result for card in catalogue().values() if card.attack)


def test_the_page_names_the_table_it_holds_for(tmp_path: Path) -> None:
    known = {"synthetic": "5e" * 32, "ehrsynth version": "9.9"}
    options = {"title": "t", "facts": {}, "rows": ROWS, "scores": SCORES, "figures": ()}
    write_html(tmp_path / "report.html", **options, provenance=known)  # type: ignore[arg-type]
    text = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert "5e" * 32 in text
    assert "ehrsynth 9.9" in text
    assert "found at 1 % false alarms" in text
    write_html(tmp_path / "report.html", **options)  # type: ignore[arg-type]
    assert "SHA-256" not in (tmp_path / "privacy.html").read_text(encoding="utf-8")


def test_a_private_run_says_what_is_guaranteed_and_what_each_look_spent(tmp_path: Path) -> None:
    looks = (
        Look("number of training patients", "public", "taken as known"),
        Look("means of columns", Gaussian(20.0, sensitivity=6.0), "where the training starts"),
        Look("a code of one patient", Unlikely(1e-6)),
        Look("choice of pairs", ZeroConcentrated(0.01)),
        Look("training", SampledGaussian(1.5, 0.01, 100), "DP-SGD"),
    )
    said = Guarantee.of(Ledger(1e-5, looks))
    assert said.facts["epsilon"].startswith(f"{Ledger(1e-5, looks).total.value:.3f} (RDP")
    assert said.facts["sampling"].startswith("Poisson, each patient by a coin: 0.01 in 100 steps")
    assert {"delta", "unit", "neighbours", "accountants", "seeds", "audit", "covers"} < set(said.facts)
    assert [release.alone is None for release in said.releases] == [True, False, True, False, False]
    assert "20 times a sensitivity of 6" in said.releases[1].how
    write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=SCORES[:1], figures=(), guarantee=said)
    page = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    card = card_md(
        title="t", facts={}, rows=ROWS, data={}, choice="", scores=SCORES[:1], command="train", guarantee=said
    )
    for release in said.releases:
        assert release.what in page
        assert release.what in card
    assert "one patient, all visits" in page
    assert "one patient, all visits" in card
    without = Guarantee.of(Ledger(1e-5, (*looks, Look("rare codes", "unaccounted"))))
    assert without.facts["epsilon"].startswith("no total is claimed: learned without noise were rare codes")
    assert without.releases[-1].how == "WITHOUT NOISE"
