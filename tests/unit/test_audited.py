"""Canaries of a run, and what is said of the audits that guess about them."""

import json
from pathlib import Path

import pytest
import torch

from ehrsynth.bits import unpack
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.private_module import PrivateDataModule
from ehrsynth.errors import FileError, OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.audit import Canary, audit_of_scores, least_epsilon
from ehrsynth.metrics.canaries import CODES, drawn_canaries
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.emr_wgan import EMRWGAN
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.models.medgan import MedGAN
from ehrsynth.models.vae import VAE
from ehrsynth.reporting.audited import Audited, Found
from ehrsynth.reporting.html import write_html
from ehrsynth.reporting.model_card import card_md
from ehrsynth.schema import Column, Schema
from ehrsynth.study.audit import DRAWS, Canaries, audited, scores_of
from ehrsynth.study.privacy import AuditOptions
from ehrsynth.study.run_folder import RunFolder

SCHEMA = Schema(
    (
        *(Column(f"c{i}", "binary", domain="diagnosis") for i in range(100)),
        Column("sex", "categorical", ("F", "M")),
        Column("stays", "count", bounds=(0, 4)),
        Column("lab", "continuous", bounds=(1, 9), missing=True),
    )
)
LAYOUT = Layout.of(SCHEMA)
ROWS = {"train": 70, "holdout": 30, "synthetic": 50}


def drawn(kind: Canary, n: int = 300, seed: int = 0) -> Records:
    return drawn_canaries(SCHEMA, kind, n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", CODES)
def test_canaries_are_records_that_the_schema_allows(kind: Canary) -> None:
    made = drawn(kind)
    rows = made.dense()
    assert LAYOUT.harden(rows).equal(rows)
    assert (unpack(made.bits)[:, :100].sum(1) == CODES[kind]).all()
    assert (rows[:, 100] == 0).all(), "no gap"
    assert 0.35 < rows[:, LAYOUT.groups["sex"].start].mean() < 0.65
    stays, lab = made.values.T
    assert set(stays.tolist()) == ({0.0, 1.0} if kind == "all_rare" else {0.0, 0.25, 0.5, 0.75, 1.0})
    assert len(set(lab.tolist())) == (2 if kind == "all_rare" else 300)
    assert drawn(kind).dense().equal(rows)
    assert not drawn(kind, seed=1).dense().equal(rows)


def test_of_few_codes_a_canary_has_half() -> None:
    few = Schema((*SCHEMA.columns[:5], SCHEMA.columns[100]))
    made = drawn_canaries(few, "all_rare", 40, torch.Generator().manual_seed(0))
    assert (unpack(made.bits)[:, :5].sum(1) == 2).all()
    numbers = drawn_canaries(Schema(SCHEMA.columns[100:]), "random", 40, torch.Generator().manual_seed(0))
    assert len(numbers) == 40


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (500, "canaries=500"),
        ({"canaries": 5}, "at least 20"),
        ({"canaries": True}, "at least 20"),
        ({"canaries": 50, "kinds": "random"}, "random, rare_pair, all_rare"),
        ({"canaries": 50, "kinds": []}, "random, rare_pair, all_rare"),
        ({"canaries": 50, "kinds": ["rare"]}, "random, rare_pair, all_rare"),
        ({"canaries": 50, "kinds": ["random", "random"]}, "each kind once"),
        ({"canaries": 50, "guesses": 51}, "from 2 to audit.canaries"),
        ({"canaries": 50, "delta": 0}, "between 0 and 1"),
        ({"canary": 50}, "no such option"),
    ],
)
def test_options_that_cannot_work_are_refused(node: object, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        AuditOptions.of(node)  # type: ignore[arg-type]


def test_nothing_is_audited_unless_asked_for() -> None:
    assert AuditOptions.of(None) is None
    assert AuditOptions.of({"canaries": 0, "kinds": ["random"]}) is None


def test_coins_are_kept_and_never_tossed_again(tmp_path: Path) -> None:
    asked, folder = AuditOptions(40, ("random", "all_rare")), RunFolder(tmp_path)
    first = Canaries.of(asked, SCHEMA, 0, folder, secret=True)
    again = Canaries.of(asked, SCHEMA, 0, folder, secret=True)
    assert first is not None
    assert again is not None
    assert all(first.planted[kind].equal(again.planted[kind]) for kind in asked.kinds)
    assert len(first.rows) == sum(int(coins.sum()) for coins in first.planted.values())
    coins = first.planted["random"]
    assert first.made["random"][coins].dense().equal(first.rows.dense()[: int(coins.sum())])
    other = Canaries.of(asked, SCHEMA, 0, RunFolder(tmp_path / "other"), secret=True)
    assert other is not None
    assert not other.planted["random"].equal(first.planted["random"])
    public = [Canaries.of(asked, SCHEMA, 0, RunFolder(tmp_path / name), secret=False) for name in ("a", "b")]
    assert public[0].planted["random"].equal(public[1].planted["random"])  # type: ignore[union-attr]

    folder.canaries.write_text(json.dumps({"planted": {"random": "01" * 20, "all_rare": "01"}}), encoding="utf-8")
    with pytest.raises(FileError, match="40 coins"):
        Canaries.of(asked, SCHEMA, 0, folder, secret=True)
    folder.canaries.unlink()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch=000001.ckpt").touch()
    with pytest.raises(FileError, match="training has begun"):
        Canaries.of(asked, SCHEMA, 0, folder, secret=True)


@pytest.mark.parametrize("private", [False, True])
def test_planted_canaries_are_rows_for_the_model_alone(matrix: Path, private: bool) -> None:
    opened = Matrix.open(matrix)
    planted = drawn_canaries(opened.schema, "random", 37, torch.Generator().manual_seed(0))
    options = {"matrix": opened, "batch_size": 64, "seed": 0}

    def module(canaries: Records | None) -> EhrDataModule:
        if private:
            made: EhrDataModule = PrivateDataModule(coins=torch.Generator(), planted=canaries, **options)
        else:
            made = EhrDataModule(planted=canaries, **options)  # type: ignore[arg-type]
        made.setup("fit")
        return made

    audited, plain = module(planted), module(None)
    patients = len(opened.train)
    assert audited.patients == plain.patients == len(plain.filled) == patients
    assert len(audited.filled) == patients + 37
    assert audited.filled[slice(0, patients)].digest() == plain.filled.digest()
    assert audited.filled[slice(patients, None)].dense().equal(planted.dense())
    assert all(audited.records[part].digest() == plain.records[part].digest() for part in audited.records)
    if isinstance(audited, PrivateDataModule) and isinstance(plain, PrivateDataModule):
        assert audited.rate == plain.rate == 64 / patients


def test_models_know_records_by_what_they_have() -> None:
    records = drawn("random", 6)
    rows = records.dense()
    tree = ChowLiu(schema=SCHEMA, seed=0)
    tree.observe(drawn("random", 60, seed=3))
    by, known = scores_of(tree, records)  # type: ignore[misc]
    assert by == "likelihood"
    torch.testing.assert_close(known, tree.log_likelihood(records).double())
    for gan in (
        EMRWGAN(schema=SCHEMA, seed=0, width=8, depth=1),
        MedGAN(schema=SCHEMA, seed=0, hidden=[8], latent_width=8, noise_width=8),
    ):
        by, known = scores_of(gan.eval(), records)  # type: ignore[misc]
        assert by == "score of the critic"
        torch.testing.assert_close(known.float(), gan.judged(rows)[:, 0].detach())
    vae = VAE(schema=SCHEMA, seed=0, latent_width=2, hidden=[4]).eval()
    by, known = scores_of(vae, records)  # type: ignore[misc]
    assert by == "loss"
    assert known.shape == (6,)
    twice = Records.joined([records, records])
    assert scores_of(vae, twice)[1][6:].equal(known), "luck of a record's own"  # type: ignore[index]
    many = vae.record_losses(rows, torch.Generator().manual_seed(0), 20 * DRAWS).detach()
    assert torch.corrcoef(torch.stack([many.double(), -known]))[0, 1] > 0.9
    assert scores_of(VAE(schema=SCHEMA, seed=0, condition=["sex"]), records) is None
    assert scores_of(IndependentMarginals(schema=SCHEMA, seed=0), records) is None


def test_a_release_that_has_the_canaries_is_caught_and_what_it_claims_is_wrong() -> None:
    asked = AuditOptions(300, ("random", "all_rare"), delta=1e-6)
    made = {kind: drawn(kind, seed=4) for kind in asked.kinds}
    generator = torch.Generator().manual_seed(0)
    canaries = Canaries(made, {kind: torch.rand(300, generator=generator) < 0.5 for kind in asked.kinds})
    model, table = IndependentMarginals(schema=SCHEMA, seed=0), drawn("random", 200, seed=9)

    def found(synthetic: Records, claimed: float | None) -> Audited:
        return audited(canaries, asked, model, synthetic, patients=70, claimed=claimed)

    leaking, clean = found(Records.joined([table, canaries.rows]), 1.0), found(table, 1.0)
    assert [(each.of, each.audit.guesses) for each in leaking.found] == [("release", 100)] * 2
    assert leaking.confidence == pytest.approx(0.975)
    assert leaking.strongest.audit.epsilon == least_epsilon(300, 100, 100, 1e-6, 0.975) > 3
    assert "THE CLAIM IS WRONG: this run claims epsilon 1.000 at delta 1e-06" in str(leaking.contradiction)
    assert clean.contradiction is None
    assert clean.strongest.audit.epsilon < 0.5
    assert found(Records.joined([table, canaries.rows]), None).contradiction is None
    mechanism, release = leaking.scores()
    assert mechanism.status == "skipped"
    assert "neither a likelihood" in str(mechanism.reason)
    assert release.value == leaking.strongest.audit.epsilon
    assert leaking.to_dict()["planted"] == {kind: int(coins.sum()) for kind, coins in canaries.planted.items()}
    json.dumps(leaking.to_dict())


def test_card_and_page_show_every_audit_and_say_in_red_what_is_wrong(tmp_path: Path) -> None:
    planted = torch.tensor([True] * 100 + [False] * 100)
    right = audit_of_scores(planted.double(), planted, 1e-6, 60, 0.975)
    poor = audit_of_scores(torch.arange(200) % 7, planted, 1e-6, 60, 0.975)
    each = (Found("mechanism", "random", "loss", right), Found("release", "random", "nearness to a record", poor))
    for claimed, wrong in ((0.5, True), (8.0, False), (None, False)):
        told = Audited(each, {"random": 100}, 70, 1e-6, 0.975, claimed)
        write_html(
            tmp_path / "report.html",
            title="t",
            facts={},
            rows=ROWS,
            scores=told.scores(),
            figures=(),
            warnings=[told.contradiction] if told.contradiction else (),
            audited=told,
        )
        page = (tmp_path / "privacy.html").read_text(encoding="utf-8")
        report = (tmp_path / "report.html").read_text(encoding="utf-8")
        card = card_md(
            title="t", facts={}, rows=ROWS, data={}, choice="", scores=told.scores(), command="", audited=told
        )
        for text in (page, card):
            assert "100 of 200 random" in text
            assert "60 of 60" in text
            assert ("THE CLAIM IS WRONG" in text) == wrong
            assert ("it takes more canaries" in text) == (claimed == 8.0)
            assert f"{right.most:.2f}" in text
        assert ('<p class="notice"><strong>THE CLAIM' in page) == wrong
        assert ("THE CLAIM IS WRONG" in report) == wrong
    write_html(tmp_path / "report.html", title="t", facts={}, rows=ROWS, scores=told.scores(), figures=())
    assert "<h2>Audit</h2>" not in (tmp_path / "privacy.html").read_text(encoding="utf-8")
