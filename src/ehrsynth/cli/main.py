"""``ehrsynth VERB [overrides]``: the door. Nothing heavy is imported until a verb runs."""

import importlib
import sys

VERBS = {
    "prepare": "raw tables -> a matrix folder (schema, splits, provenance)",
    "train": "matrix -> trained model, judged at checkpoints, best one chosen, synthetic data, report",
    "generate": "a run folder -> a synthetic table",
    "evaluate": "any real and any synthetic table -> report",
    "rank": "several runs -> one ranking for a use case",
}

USAGE = """\
ehrsynth: train, judge, choose and hand over generators of synthetic health records

usage: ehrsynth VERB [option=value ...]

  {verbs}

start here:
  ehrsynth train                                       a VAE on the simulated demo hospital
  ehrsynth train -m model=emr_wgan,vae,ehrdiff experiment=demo
  ehrsynth rank runs='runs/demo-n10000/**' profile=ml_development

ehrsynth VERB --help teaches a verb by example.
"""

HELP = {
    "prepare": """\
ehrsynth prepare: raw tables -> a matrix folder, with cohort.html: who is in it, what was left out, table 1

examples:
  ehrsynth prepare source=demo out=matrices/demo
  ehrsynth prepare source=mimic_iv source.root=mimiciv/3.1 out=matrices/mimic4
  ehrsynth prepare source=omop source.root=cdm.duckdb out=matrices/omop
  ehrsynth prepare source=flat source.path=table.csv source.subject=patient source.outcomes=[died] out=matrices/mine
  ehrsynth prepare source=mimic_iv source.root=DIR vocabulary@features.diagnoses.vocabulary=phecode out=DIR
  ehrsynth prepare experiment=jmir_mimic4 source.root=DIR out=DIR     a published recipe; or ehrdiff_mimic3
  ehrsynth prepare source=demo source.n=300000 source.write_raw=raw out=matrices/big

options:
  source=demo                    mimic_iv, mimic_iii, omop, meds, flat, diabetes130; source.OPTION=... are its own
  out=DIR                        the matrix folder to write
  cohort.stay=last               first, any or null: the stay a patient is seen from
  cohort.index=discharge         or admission, of that stay
  cohort.window=history          or stay, or a number of days before the index
  cohort.rules.NAME=null         leaves a rule out; +cohort.rules.mi='{_target_: ehrsynth.data.cohort.rules.HasCode,
                                 prefixes: [I21]}' adds one; also Age, DischargedAlive, MinimumHistory, StayLength, ...
  cohort.faults=refuse           what is wrong in the data is an error; else it is left out and counted, or as
                                 cohort.faults.NAME=exclude|refuse|keep says
  features.NAME=null             leaves columns out; +features.readmitted='{_target_:
                                 ehrsynth.data.features.outcomes.Readmission, days: 30}' adds one; also Death, HasCode,
                                 LongStay, and the classes that conf/features/hospital.yaml names
  vocabulary@features.NAME.vocabulary=icd3   or phecode, phecode_x, ccs, as_is, drug_names, table (your own map)
  preprocess=jmir                or jmir_as_published, none
  preprocess.outliers=clip       or drop, missing, keep: what becomes of values outside the plausible range
  preprocess.impute=none         or marginal; also relations=["diastolic < systolic"], max_missing=, min_prevalence=,
                                 min_count=
  split=by_subject               or stratified (split.by=[COLUMN]), temporal, given by the source
  split.holdout=0.3              share of subjects no model and no choice ever sees; split.validation=0.07 chooses
  constraints=propose            or none, or FILE.yaml: the constraints.yaml of a matrix, edited
  seed=0                         of the split and of what fills gaps
""",
    "train": """\
ehrsynth train: matrix -> model, scores at checkpoints, chosen checkpoint, synthetic data, report

examples:
  ehrsynth train                                        VAE on the simulated demo hospital
  ehrsynth train -m model=emr_wgan,vae,ehrdiff seed=0,1,2 experiment=demo
  ehrsynth train data.matrix=matrices/diabetes model=ehrdiff trainer.max_epochs=200
  ehrsynth train data.n=100000 model=vae trainer=gpu logger.mode=online
  ehrsynth train experiment=jmir_mimic4 source.root=mimiciv/2.0      a published recipe, from raw tables to the report

options:
  data.matrix=DIR           a folder that prepare wrote; without it the options of prepare say what to make first:
                            source=demo (data.n=10000 patients), or another source with its cohort, features, ...
  model=vae                 emr_wgan, vae, ehrdiff, independent, train_copy; model.OPTION=... are its own
  experiment=demo           budgets and learning rates for two cores and a minute; the papers' own otherwise
  trainer=default           or gpu, ddp; trainer.max_epochs=, trainer.max_time=00:00:10:00
  seed=0                    of weights, batches and samples
  study=NAME                runs go to runs/STUDY/MODEL/RUN_ID
  profile=ml_development    the use case whose weights choose the checkpoint
  evaluation.checkpoints=10 how many times the quick suite looks at the model
  logger.mode=offline       W&B: offline, online or disabled
  -m                        sweep over comma-separated values; repeating a sweep finishes what is missing
""",
    "generate": """\
ehrsynth generate: a run folder -> a synthetic table

examples:
  ehrsynth generate run=runs/demo-n10000/vae/3f2a91c0b7 n=50000 out=synthetic.parquet
  ehrsynth generate run=RUN n=1000 seed=7 out=women.csv condition.sex=F

options:
  run=DIR                  a finished run
  n=N                      records to draw (as many as the training rows by default)
  out=FILE                 .csv, .csv.gz or .parquet
  seed=0
  condition.COLUMN=VALUE   only records with this value
  device=auto              or cpu, cuda
  reintroduce=false        bring back codes that were too rare to train on, at their training prevalence
""",
    "evaluate": """\
ehrsynth evaluate: any real and any synthetic table -> report.json and report.html

examples:
  ehrsynth evaluate train=train.csv holdout=holdout.csv synthetic=synthetic.csv out=report
  ehrsynth evaluate train=M/train.parquet holdout=M/holdout.parquet synthetic=s.parquet schema=M/schema.json out=report

options:
  train=FILE holdout=FILE synthetic=FILE   csv, csv.gz or parquet; the holdout is real rows the generator never saw
  schema=FILE                              schema.json; inferred from the training table without it
  outcomes=[COLUMN] drop=[COLUMN]          what to predict, and what to leave out, where there is no schema
  subject=subject_id                       the column that names the subject of a row
  constraints=FILE                         constraints.json of a matrix folder
  sensitive=[COLUMN]                       subgroups for fairness; sensitive and demographic columns otherwise
  sex_table=FILE population=FILE           codes of one sex; the population that the training table was drawn from
  out=DIR                                  report.html, privacy.html, report.json, report.parquet
  suite=full                               or quick, as_published
  cache=DIR                                keep costly work on the real rows for the next time; as private as they are
  seed=0
""",
    "rank": """\
ehrsynth rank: several runs -> one ranking for a use case

examples:
  ehrsynth rank runs='runs/demo-n10000/**'
  ehrsynth rank runs='runs/diabetes/**' profile=education out=ranking.csv

options:
  runs=GLOB                 folders of finished runs
  profile=ml_development    or education, nc_education, medical_ai_development, system_design,
                            ml_development_published, education_published (the papers' own forms of the scores)
  pareto.utility=METRIC     and pareto.privacy=METRIC: the two axes on which a run may be beaten by another
  out=FILE                  .csv or .parquet; a comparison report of the same name (.html) is written beside it
""",
}


def main() -> None:
    """Entry point of the ``ehrsynth`` command."""
    arguments = sys.argv[1:]
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print(USAGE.format(verbs="\n  ".join(f"{name:<10}{what}" for name, what in VERBS.items())))
        raise SystemExit(0)
    if verb == "--version":
        from ehrsynth import __version__

        print(__version__)
        raise SystemExit(0)
    if verb not in VERBS:
        print(f"ehrsynth: error: unknown verb {verb!r}; use one of {', '.join(VERBS)}", file=sys.stderr)
        raise SystemExit(2)
    run(verb, arguments[1:])


def run(verb: str, arguments: list[str]) -> None:
    """Run a verb with its overrides; ``python -m ehrsynth.cli.VERB`` comes here too."""
    if {"-h", "--help"} & set(arguments):
        print(HELP[verb])
        raise SystemExit(0)
    from ehrsynth.cli.launch import launch

    module = importlib.import_module(f"ehrsynth.cli.{verb}")
    finish = {"finish": module.finish} if verb == "train" else {}  # a sweep ends with a ranking
    raise SystemExit(launch(verb, module.task, arguments, **finish))
