"""More than a hundred bad or odd inputs of the five verbs, one a line: exit status 2 and one line, or the right result.

What broken tables, raw or judged, are answered is in ``test_broken_input.py`` and ``test_bad_raw_tables.py``.
"""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Cli

SUITE = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.fidelity.prevalence.Prevalence
  - _target_: ehrsynth.evaluation.fidelity.dimension_wise_distance.DimensionWiseDistance
  - _target_: ehrsynth.evaluation.validity.plausibility.UnseenLevels
"""

# What the rows below have in common; {tables} holds sound tables, {matrix} and {run} are finished.
SHORT = {
    "{flat}": "source=flat source.path={tables}/train.csv source.subject=patient",
    "{three}": "--config-dir={tables}/conf suite=tiny subject=patient train={tables}/train.csv"
    " holdout={tables}/holdout.csv synthetic={tables}/synthetic.csv",
    "{fit}": "--config-dir={tables}/conf suite@evaluation.full=tiny suite@evaluation.quick=tiny model=independent"
    " data.matrix={matrix} logger.mode=disabled evaluation.checkpoints=1 evaluation.rows=50 trainer.accelerator=cpu",
}

ROWS: list[tuple[str, str, int, str]] = [  # verb, options, status, what the line says or the output has
    ("prepare", "", 2, "out= is required"),
    ("prepare", "out=null", 2, "out=None: a path was expected"),
    ("prepare", "{flat} out=[a]", 2, r"out=\['a'\]: a path was expected"),
    ("prepare", "source=nowhere out=m", 2, "'source/nowhere': no such option; use one of demo,"),
    ("prepare", "source.n=0 out=m", 2, "source.n=0: a whole number of at least 100"),
    ("prepare", "source.n=1e9 out=m", 2, "source.n=1000000000.0: a whole number"),
    ("prepare", "source.seed=1.0 out=m", 2, "source.seed=1.0: a whole number"),
    ("prepare", "source=mimic_iv out=m", 2, "source.root= is required"),
    ("prepare", "source=mimic_iv source.root={tables}/gone out=m", 2, "source.root=.*gone: no such folder"),
    ("prepare", "source=mimic_iv source.root={tables}/3.1 out=m", 2, r"/3\.1: no table 'patients'"),
    ("prepare", "source=flat source.path={tables}/train.csv out=m", 2, "neither of subject and columns"),
    ("prepare", "source=flat source.path={tables}/gone.csv source.subject=patient out=m", 2, "gone.csv: no such file"),
    ("prepare", "source=flat source.path=null source.subject=patient out=m", 2, "source.path=None: a file"),
    ("prepare", "{flat} source.subject=mrn out=m", 2, "no column 'mrn'"),
    ("prepare", "{flat} source.drop=[1.10] out=m", 2, "source.drop: .* no column '1.10'"),
    ("prepare", "{flat} source.drop=[2024_10] out=m", 0, "^matrix  m$"),
    ("prepare", "{flat} source.colunms=1 out=m", 2, "'colunms': no such option; use source.columns$"),
    ("prepare", "{flat} split.holdout=half out=m", 2, "split.holdout=half: a share"),
    ("prepare", "{flat} split=stratified out=m", 2, "split.by= is required"),
    ("prepare", "{flat} preprocess.min_count=x out=m", 2, "preprocess.min_count=x: a whole number"),
    ("prepare", "{flat} seed=null out=m", 2, "seed=None: a whole number"),
    ("prepare", "{flat} cohort.stay=never out=m", 2, "cohort.stay=never: one of last"),
    ("prepare", "{flat} constraints=2024 out=m", 2, "constraints=2024: propose, none or"),
    ("prepare", "{flat} outt=m", 2, "'outt': no such option; use out$"),
    ("prepare", "{flat} --nonsense out=m", 2, "--nonsense: no such flag"),
    ("prepare", "{flat} out=m --config-dir", 2, "--config-dir: a value was expected"),
    ("prepare", "{flat} condition.sex=F out=m", 2, "'condition': no such option"),
    ("prepare", "{flat} out", 2, "out: not readable; OPTION=VALUE was expected"),
    ("prepare", "{flat} =3 out=m", 2, "=3: not readable"),
    ("prepare", "{flat} out=a,b", 2, "out=a,b: several values; -m makes a run of each"),
    ("prepare", "{flat} out=m 'seed=${oc.env:NOT_SET_ANYWHERE}'", 2, "'NOT_SET_ANYWHERE' not found"),
    ("prepare", "{flat} out={tables}/train.csv/m", 2, "out=.*train.csv is a file; a folder was expected"),
    ("prepare", "{flat} out=/proc/m", 2, r"out=/proc/m: cannot be written to \(No such file"),
    ("prepare", "{flat} out={tables}", 2, "something else is there"),
    ("prepare", "{flat} out={long}", 2, r"out=long.*: cannot be written to \(File name too long\)"),
    ("prepare", "{flat} out=2024_10", 0, "^matrix  2024_10$"),
    ("prepare", "{flat} out=1.10", 0, "^matrix  1.10$"),
    ("prepare", "{flat} out=true", 0, "^matrix  true$"),
    ("prepare", "{flat} 'out=größe (1)'", 0, r"""^next    ehrsynth train 'data.matrix="größe \(1\)"'$"""),
    ("prepare", "{flat} out=a=b", 0, "^matrix  a=b$"),
    ("train", "data.matrix=2024_10", 2, "2024_10: no such folder"),
    ("train", "{fit} model=torn", 2, "torn.yaml.*, line 3: not readable as YAML"),
    ("train", "{fit} model=tagged", 2, "tagged.yaml.*, line 1: not readable as YAML"),
    ("train", "{fit} model=gan", 2, "'model/gan': no such option; use one of .*ehrdiff,"),
    ("train", "{fit} model=vae model.hiden=[16]", 2, "'hiden': no such option; use model.hidden"),
    ("train", "{fit} model=vae model.hidden=[]", 2, r"model.hidden=\[\]: a list of whole numbers"),
    ("train", "{fit} model=vae model.learning_rate=fast", 2, "model.learning_rate=fast: a finite number"),
    (
        "train",
        "{fit} model=emr_wgan model.n_critic=9 trainer.max_epochs=1",
        2,
        "model.n_critic=9: at most 1, the batches of",
    ),
    ("train", "{fit} data.batch_size=1e3", 2, "data.batch_size=1000.0: a whole number"),
    ("train", "{fit} seed=null", 2, "seed=None: a whole number"),
    ("train", "{fit} n=0", 2, "n=0: a whole number, at least 1"),
    ("train", "{fit} seed=0,1", 2, "seed=0,1: several values; -m makes a run of each"),
    ("train", "{fit} profile=none_such", 2, "'profile/none_such': no such option"),
    ("train", "{fit} evaluation.rows=all", 2, "evaluation.rows=all: a whole number"),
    ("train", "{fit} logger.mode=loud", 2, "logger.mode=loud: unknown"),
    ("train", "{fit} logger.mode=online", 2, "logger.mode=online: no answer from .*logger.mode=offline"),
    ("train", "{fit} paths.runs={tables}/train.csv", 2, "paths.runs=.*train.csv is a file"),
    ("train", "-m {fit} paths.runs={tables}/train.csv seed=0,1", 2, "paths.runs=.*train.csv is a file"),
    ("train", "{fit} paths.runs=2024", 0, "^report     2024/small/independent/"),
    ("train", "{fit} study=2024_10", 0, "^report     runs/2024_10/independent/"),
    ("train", "{fit} study={long}", 2, "runs/long.*File name too long"),
    ("train", "{fit} seed=0 -m study=1.10,1e5", 0, "^comparison report  runs/1e5/ranking.html"),
    ("train", "{fit} trainer.max_epochs=-1", 2, "trainer.max_epochs=-1: a whole number, at least 1"),
    ("train", "{fit} trainer.precision=foo", 2, "trainer.precision=foo: one of 32-true"),
    ("train", "{fit} trainer.precision=bf16-true", 2, "trainer.precision=bf16-true: one of 32-true"),
    (
        "train",
        "{fit} model=emr_wgan trainer.precision=64-true",
        2,
        "trainer.precision=64-true: one of 32-true, 16-mixed, bf16-mixed for EMRWGAN",
    ),
    ("train", "{fit} model=vae trainer.precision=64-true", 2, "trainer.precision=64-true: one of 32-true"),
    (
        "train",
        "{fit} model=emr_wgan +trainer.gradient_clip_val=1",
        2,
        "trainer.gradient_clip_val=1: EMRWGAN steps its optimizers",
    ),
    (
        "train",
        "{fit} model=emr_wgan +trainer.accumulate_grad_batches=2",
        2,
        "trainer.accumulate_grad_batches=2: EMRWGAN",
    ),
    (
        "train",
        "{fit} model=vae +trainer.accumulate_grad_batches=0",
        2,
        "trainer.accumulate_grad_batches=0: a whole number",
    ),
    (
        "train",
        "{fit} +trainer.val_check_interval=1000",
        2,
        "trainer.val_check_interval=1000: there is no validation loop",
    ),
    ("train", "{fit} +trainer.limit_train_batches=0", 2, "limit_train_batches must leave at least one"),
    ("train", "{fit} +trainer.nonsense=1", 2, "trainer: .*'nonsense'"),
    ("train", "{fit} trainer.max_time=soon", 2, "trainer: .*duration='soon'"),
    ("train", "{fit} trainer.devices=0", 2, "trainer.devices=0: at least one device"),
    ("train", "{fit} trainer.accelerator=foo", 2, "trainer: .*accelerator='foo'"),
    ("train", "{fit} trainer.strategy=ddp", 2, "trainer.strategy=ddp: IndependentMarginals has no weights"),
    ("train", "{fit} rows=5", 2, "rows=5: rows.oversample, rows.reweight or rows.only was expected"),
    ("train", "{fit} rows.oversample=5", 2, "rows.oversample=5: rows.oversample.COLUMN=VALUE was expected"),
    ("train", "{fit} rows.only=sex", 2, "rows.only=sex: rows.only.COLUMN=VALUE was expected"),
    ("train", "{fit} rows.onyl.sex=F", 2, "'onyl': no such option; use rows.only$"),
    ("train", "{fit} rows.reweight=sex", 2, r"rows.reweight=sex: a list of columns"),
    ("train", "{fit} rows.reweight=[age]", 2, "rows.reweight.age: no binary or categorical column"),
    ("train", "{fit} rows.oversample.sex.F=-1", 2, "rows.oversample.sex.F=-1: a factor, zero or above"),
    ("train", "{fit} rows.oversample.sex.X=2", 2, "rows.oversample.sex=X: one of F, M was expected"),
    (
        "train",
        "{fit} rows.oversample.sex.F=2,3",
        2,
        "rows.oversample.sex.F=2,3: several values; -m makes a run of each",
    ),
    ("train", "{fit} rows.oversample.250.01=2", 2, "rows.oversample.250.01: no binary or categorical column"),
    ("train", "{fit} 'rows.only.heart rate (1/min)=70'", 2, r"rows.only.heart rate \(1/min\).70: no binary or"),
    ("train", "{fit} rows.only.sex=true", 2, "rows.only.sex=true: one of F, M was expected"),
    ("train", "{fit} rows.only.sex=F study=cohort", 0, "^report     runs/cohort/independent/"),
    ("train", "{fit} model.condition=[sex]", 2, "'condition': no such option"),
    ("train", "{fit} model=vae model.condition=sex", 2, "model.condition=sex: a list of columns"),
    ("train", "{fit} model=vae model.condition=[age]", 2, "model.condition: 'age' is no binary or categorical"),
    ("train", "{fit} constraints.weight=-1", 2, "constraints.weight=-1: a number, at least 0"),
    ("train", "{fit} constraints.policy=mend", 2, "constraints.policy=mend: one of keep, reject, repair"),
    ("train", "{fit} condition.sex=F", 2, "'condition': no such option"),
    ("train", "{fit} data.matrix=null source.n=50", 2, "source.n=50: a whole number of at least 100"),
    ("generate", "", 2, "out=, run= are required"),
    ("generate", "run=007 out=s.csv", 2, "007: no run there"),
    ("generate", "run=null out=s.csv", 2, "run=None: a path was expected"),
    ("generate", "run={tables} out=s.csv", 2, "no run there"),
    ("generate", "run={run} out=s.xlsx", 2, "out=s.xlsx: unknown table type"),
    ("generate", "run={run} out={tables}/train.csv/s.csv", 2, "out=.*train.csv is a file"),
    ("generate", "run={run} out={tables}/folder.csv", 2, "out=.*folder.csv: it is a folder"),
    ("generate", "run={run} out={long}.csv", 2, "File name too long"),
    ("generate", "run={run} out=2024_10.csv n=5", 0, "^5 records .*  2024_10.csv$"),
    ("generate", "run={run} 'out=größe (1).csv' n=5", 0, r"größe \(1\).csv$"),
    ("generate", "run={run} out=s.csv n=-1", 2, "n=-1: a whole number, at least 1"),
    ("generate", "run={run} out=s.csv n=1e5", 2, "n=100000.0: a whole number"),
    ("generate", "run={run} out=s.csv n=1_0", 0, "^10 records"),
    ("generate", "run={run} out=s.csv n=1,2", 2, "n=1,2: several values"),
    ("generate", "run={run} out=s.csv seed=1.0", 2, "seed=1.0: a whole number"),
    ("generate", "run={run} out=s.csv seed=-1 n=5", 0, "^5 records"),
    ("generate", "run={run} out=s.csv device=tpu", 2, "device=tpu: not on this machine"),
    ("generate", "run={run} out=s.csv condition.colour=red", 2, "condition.colour: no such column"),
    ("generate", "run={run} out=s.csv condition.sex", 2, "condition.sex=: one of F, M was expected"),
    (
        "generate",
        "run={run} out=s.csv 'condition.sex=${oc.env:HOME}'",
        2,
        r"condition.sex=\$\{oc.env:HOME\}: one of F, M",
    ),
    (
        "generate",
        "run={run} out=s.csv condition.age=5000",
        2,
        "condition.age=5000: a whole number from .* to .*, a range",
    ),
    ("generate", "run={run} out=s.csv condition.age=[60,50]", 2, r"condition.age=\[60,50\]: a whole number from"),
    ("generate", "run={run} out=s.csv n=9 condition.age=[50,null]", 0, "^  rejection: 'age'$"),
    ("generate", "run={run} out=s.csv conditions=gone.csv", 2, "gone.csv: no such file"),
    ("generate", "run={run} out=s.csv conditions={tables}/train.csv", 2, "train.csv: extra columns 'patient'"),
    ("generate", "run={run} out=s.csv conditions={tables}/asked.csv n=3", 2, "asked.csv: its rows say .*; leave out n"),
    ("generate", "run={run} out=s.csv conditions={tables}/asked.csv", 0, "^2 records .* s.csv$"),
    ("generate", "run={run} out=s.csv balance=age", 2, "balance=age: no binary or categorical column"),
    ("generate", "run={independent} out=s.csv n=8 balance=sex", 0, "^condition: by the model$"),
    ("generate", "run={run} out=s.csv boost.sex.F=much", 2, "boost.sex.F=much: a number above zero"),
    ("generate", "run={run} out=s.csv boost.sex.X=2", 2, "boost.sex.X: one of F, M was expected"),
    ("generate", "run={independent} out=s.csv n=8 boost.sex.F=2", 0, "^8 records"),
    ("generate", "run={run} out=s.csv post_selection=age", 2, "post_selection=age: no binary or categorical column"),
    ("generate", "run={run} out=s.csv guidance=1", 2, "guidance=1: VAE has none"),
    (
        "generate",
        "run={run} out=s.csv constraints.policy=mend",
        2,
        "constraints.policy=mend: one of keep, reject, repair",
    ),
    ("generate", "run={run} out=s.csv n=20 constraints.policy=repair", 0, "^constraints.policy=repair: "),
    ("generate", "run={run} out=s.csv condition=F", 2, "condition=F: a mapping of columns"),
    ("generate", "run={independent} out=s.csv +condition.sex=F n=5", 0, "^condition: by the model$"),
    ("generate", "run={run} out=s.csv condition.sex=F condition.sex=M", 2, "condition.sex=M: F was asked for already"),
    ("generate", "run={run} out=s.csv boost.sex.F=2 boost.sex.F=3", 2, "boost.sex.F=3: another number was given"),
    ("generate", "run={run} out=s.csv boost.sex=2", 2, "boost.sex=2: no level named; boost.COLUMN.LEVEL=NUMBER"),
    ("generate", "run={run} out=s.csv boost.sex.F=0", 2, "boost.sex.F=0: a number above zero"),
    ("generate", "run={run} out=s.csv balance=sex condition.sex=F", 2, "balance=sex: condition.sex says already"),
    ("generate", "run={run} out=s.csv conditions={tables}/empty.csv", 2, "empty.csv: no column of the model's schema"),
    (
        "generate",
        "run={run} out=s.csv conditions={tables}/odd.csv",
        2,
        "odd.csv: column 'sex', row 1: one of the schema's",
    ),
    ("generate", "run={run} out=s.csv mix=1", 2, "mix=1: a share above 0 and below 1"),
    ("generate", "run={run} out=s.csv mix=0.5 n=999999", 2, "mix=0.5: 500,000 of n=999,999 would be training rows"),
    ("generate", "run={run} out=s.csv mix=0.5 n=10", 0, "^WARNING: mix=0.5: 5 of 10 rows are training patients"),
    ("generate", "run={run} out=s.csv mix=0.5 reintroduce=true", 2, "mix=0.5: training rows have lost the codes"),
    ("generate", "run={run} out=s.csv merge={independent}", 2, "merge=.*: a run that saw a cohort only was expected"),
    ("generate", "run={run} out=s.csv merge=gone", 2, "gone: no run there"),
    ("generate", "run={run} out=s.csv merge=gone balance=sex", 2, "merge=gone: .*; leave out balance"),
    ("generate", "run={independent} out=s.csv n=9 reintroduce=demographics", 0, "^9 records"),
    ("generate", "run={run} out=s.csv reintroduce=maybe", 2, "reintroduce=maybe: true, false or demographics"),
    ("generate", "run={run} out=s.parquet quote_formulas=true", 2, "quote_formulas=true: it is for a CSV"),
    ("generate", "run={run} out=s.csv zzz=5", 2, "'zzz': no such option; use one of run,"),
    ("evaluate", "", 2, "holdout=, out=, synthetic=, train= are required"),
    ("evaluate", "{three}", 2, "out= is required"),
    ("evaluate", "{three} out=2024_10", 0, "^report  2024_10/report.html$"),
    ("evaluate", "{three} out={tables}/train.csv", 2, "out=.*train.csv is a file"),
    ("evaluate", "{three} out=r train=2024", 2, "2024: no such file"),
    ("evaluate", "{three} out=r train={tables}/größe.csv", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r train={tables}/a=b.csv", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r 'train={tables}/with space (1).csv'", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r train={tables}/x~1.csv", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r 'train={tables}/data[1].csv'", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r holdout={tables}/train.csv", 2, "60 rows belong to subjects of"),
    ("evaluate", "{three} out=r drop=[2024_10]", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r drop=[202410]", 2, r"drop=\[202410\]: none of the tables"),
    ("evaluate", "{three} out=r drop=[true]", 2, r"drop=\[true\]: none of the tables"),
    ("evaluate", """{three} out=r 'drop=["race=white"]'""", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r drop=[race=white]", 2, "need quotes, as in"),
    ("evaluate", "{three} out=r drop=sex,age", 2, "drop=sex,age: several values"),
    ("evaluate", "{three} out=r outcomes=[cured]", 2, r"outcomes=\[cured\]: .* no such column"),
    ("evaluate", "{three} out=r outcomes=2024_10", 0, "^report  r/report.html$"),
    ("evaluate", "{three} out=r schema={tables}/train.csv", 2, "not readable as JSON"),
    ("evaluate", "{three} out=r constraints={tables}/gone.json", 2, "gone.json: no such file"),
    ("evaluate", "{three} out=r suite=huge", 2, "'suite/huge': no such option; use one of as_published"),
    ("evaluate", "{three} out=r seed=1.0", 2, "seed=1.0: a whole number"),
    ("evaluate", "{three} out=r cache={tables}/train.csv", 2, "cache=.*train.csv is a file"),
    ("evaluate", "{three} out=r holdut=x", 2, "'holdut': no such option; use one of holdout"),
    ("evaluate", "{three} out=r x.csv", 2, "x.csv: not readable; OPTION=VALUE was expected"),
    ("rank", "", 2, r"runs=runs/\*\*: no finished run"),
    ("rank", "runs={study}/gone", 2, "no finished run among 0 matches"),
    ("rank", "runs=2024", 2, "runs=2024: no finished run"),
    ("rank", "runs={tables}/[", 2, "no finished run among 0"),
    ("rank", "{study}/**", 2, "not readable; OPTION=VALUE was expected"),
    ("rank", "runs={study}/** runs2=1", 2, "'runs2': no such option; use runs$"),
    ("rank", "runs={study}/** profile=none_such", 2, "'profile/none_such': no such option"),
    ("rank", "runs={study}/** 'profile.weights={a: 1}'", 2, "'a': no such option"),
    ("rank", "runs={study}/** seed=1.0", 2, "seed=1.0: a whole number"),
    ("rank", "runs={study}/** out=r.txt", 2, "out=r.txt: unknown table type"),
    ("rank", "runs={study}/** out=", 2, "out=: a path was expected"),
    ("rank", "runs={study}/** out={tables}/train.csv/r.csv", 2, "out=.*train.csv is a file"),
    ("rank", "runs={study}/** out={tables}/folder.csv", 2, "out=.*folder.csv: it is a folder"),
    ("rank", "runs={study}/** out=/proc/r.csv", 2, r"out=/proc/r.csv: cannot be written to \(No such file"),
    ("rank", "runs={study}/** pareto=null", 2, "pareto=None: utility and privacy"),
    ("rank", "runs={study}/** pareto.privacy=[a]", 2, r"pareto.privacy=\['a'\]: a metric"),
    ("rank", "runs={study}/** out=3.1.parquet", 0, "^report   3.1.html$"),
    ("rank", "runs={run}", 0, "ranking for ml_development"),
]


def patients(seed: int, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "patient": np.arange(n) + 1000 * seed,
            "sex": rng.choice(["F", "M"], n),
            "2024_10": rng.integers(0, 2, n),
            "race=white": rng.integers(0, 2, n),
            "age": rng.integers(20, 90, n),
            "died": (np.arange(n) % 3 == 0).astype(int),
        }
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, matrix: Path, study: Path) -> dict[str, str]:
    """Sound tables, some under odd names, and what is finished already."""
    tables = tmp_path_factory.mktemp("tables")
    for seed, role in enumerate(("train", "holdout", "synthetic")):
        patients(seed).to_csv(tables / f"{role}.csv", index=False)
    for name in ("größe.csv", "a=b.csv", "with space (1).csv", "2024", "x~1.csv", "data[1].csv"):
        shutil.copy(tables / "train.csv", tables / name)
    (tables / "empty.csv").write_text("", encoding="utf-8")
    (tables / "odd.csv").write_text("age,sex\n,F\n,X\n", encoding="utf-8")
    (tables / "asked.csv").write_text("age,sex\n,F\n,M\n", encoding="utf-8")
    (tables / "3.1").mkdir()
    (tables / "folder.csv").mkdir()
    (tables / "conf" / "suite").mkdir(parents=True)
    (tables / "conf" / "suite" / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    (tables / "conf" / "model").mkdir()
    (tables / "conf" / "model" / "torn.yaml").write_text("model:\n  _target_: [a\n", encoding="utf-8")
    (tables / "conf" / "model" / "tagged.yaml").write_text("!!python/object:os.system {}\n", encoding="utf-8")
    run, other = (next(study.glob(f"{model}/*")) for model in ("vae", "independent"))
    return {
        "long": 99 * "long",
        "tables": str(tables),
        "matrix": str(matrix),
        "run": str(run),
        "independent": str(other),
        "study": str(study),
    }


@pytest.mark.parametrize(("verb", "options", "status", "said"), ROWS, ids=[f"{row[0]} {row[1]}"[:90] for row in ROWS])
@pytest.mark.usefixtures("no_figures")
def test_input(
    verb: str,
    options: str,
    status: int,
    said: str,
    cli: Cli,
    places: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "none")  # whoever tests this may have one
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody answers, with a network or without
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for short, long in SHORT.items():
        options = options.replace(short, long)
    for name, place in places.items():
        options = options.replace(f"{{{name}}}", place)
    capsys.readouterr()
    assert cli(verb, *shlex.split(options)) == status, capsys.readouterr().err
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line]
    assert len(lines) == (status != 0), captured.err
    shown = captured.err if status else captured.out
    assert re.search(said, shown, re.MULTILINE), shown


def test_there_are_a_hundred_and_every_verb_has_its_share() -> None:
    assert len(ROWS) == len({row[:2] for row in ROWS}) >= 100
    for verb in ("prepare", "train", "generate", "evaluate", "rank"):
        assert sum(row[0] == verb for row in ROWS) >= 12, verb
