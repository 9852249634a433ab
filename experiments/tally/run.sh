#!/usr/bin/env bash
# What the study of Tally has so far; each part can be repeated and goes on where it stopped.
#
#   run.sh data DIABETES.csv.gz      codes of diabetes130 alone, the mixed table, and the hard case of the simulated hospital
#   run.sh hospital_data, wide_data  the simulated hospital with 13,000 held out of 20,000; 41,868 x 1,782 simulated codes
#   run.sh codes | mixed | hard | hospital | wide     three seeds on each
#   run.sh targets                   what was aimed at, and what came of it, into README.md
#   run.sh others                    tree and mixture on codes, mixed table and hard case, for the next two
#   run.sh hidden, run.sh conditions nats of hidden columns; means under conditions against true ones
#   run.sh ablation                  what each part buys, one fit each
#   run.sh small MIMIC_IV_DEMO       ten models on 100 and on 2,000 patients, ranked
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/tally}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

seeds() {  # STUDY MATRIX [OPTION ...]
    ehrsynth train -m study="$1" data.matrix="$out/$2" model=tally seed=0,1,2 paths.runs="$out/runs" "${@:3}"
}

NUMBERS=(age time_in_hospital num_lab_procedures num_procedures encounters)
OTHERS=(sex race died readmitted_30d)
SMALL=tally,vae,emr_wgan_tuned,medgan_tuned,ehrdiff_tuned,tabddpm_tuned,tabsyn_tuned,masked_diffusion,chow_liu,mixture,independent

mkdir -p "$out"
case ${1:-} in
data)
    ehrsynth prepare source=diabetes130 source.path="$2" preprocess.min_count=13 out="$out/codes" \
        $(printf 'features.%s=null ' "${NUMBERS[@]}" "${OTHERS[@]}")
    ehrsynth prepare source=diabetes130 source.path="$2" preprocess.min_count=20 out="$out/diabetes130"
    ehrsynth prepare source=demo_hard out="$out/hard"
    ;;
hospital_data)
    ehrsynth prepare source=demo source.n=20000 split.holdout=0.65 split.validation=0.035 out="$out/hospital"
    ;;
wide_data)
    "$python" "$here/../generator-study/simulate.py" "$out/wide.parquet"
    ehrsynth prepare source=flat source.path="$out/wide.parquet" source.subject=subject_id \
        preprocess.min_prevalence=0 preprocess.min_count=0 constraints=none out="$out/wide"
    ;;
codes) seeds codes codes evaluation.checkpoints=2 ;;
mixed) seeds mixed diabetes130 experiment=equal_budget ;;
hard) seeds hard hard model.warmup_steps=50 data.batch_size=128 trainer.max_epochs=12 constraints.policy=repair ;;
hospital) seeds hospital hospital experiment=demo ;;
wide) seeds wide wide experiment=equal_budget_wide ;;
targets)
    for study in codes mixed hard hospital wide; do
        kind=$([[ $study =~ codes|wide ]] && echo codes || echo mixed)
        [ ! -d "$out/runs/$study" ] || "$python" "$here/targets.py" "$out/runs/$study" "$kind" \
            --name "$study" --into "$here/README.md"
    done
    ;;
others)
    for study in codes=codes mixed=diabetes130 hard=hard; do
        ehrsynth train -m study="${study%=*}" data.matrix="$out/${study#*=}" model=chow_liu,mixture paths.runs="$out/runs" \
            evaluation.checkpoints=1
    done
    ;;
hidden)
    for study in codes mixed; do
        "$python" "$here/hidden.py" "$out/runs/$study" --into "$here/README.md" --name "hidden-$study"
    done
    ;;
conditions) "$python" "$here/conditions.py" "$out/runs/hard" --into "$here/README.md" ;;
ablation)
    "$python" "$here/ablation.py" "$out/codes" --into "$here/README.md" --name ablation-codes
    "$python" "$here/ablation.py" "$out/hospital" warmup_steps=50 --batch 128 --into "$here/README.md" --name ablation-hospital
    "$python" "$here/ablation.py" "$out/hard" warmup_steps=50 --batch 128 --epochs 12 --into "$here/README.md" --name ablation-hard
    ;;
small)
    ehrsynth prepare source=mimic_iv source.root="$2" preprocess.min_count=3 split.holdout=0.3 out="$out/mimic_iv_demo"
    ehrsynth prepare source=demo source.n=3200 split.holdout=0.3 out="$out/two_thousand"
    few() {  # STUDY OPTION ...: as many steps as on the demo's 6,300 rows, or 900
        ehrsynth train -m study="$1" data.matrix="$out/$1" model="$SMALL" seed=0,1 experiment=demo \
            paths.runs="$out/runs" evaluation.checkpoints=2 "${@:2}"
    }
    few mimic_iv_demo data.batch_size=16 trainer.max_epochs=300
    few two_thousand data.batch_size=32
    ;;
*) sed -n '2,14s/^# \{0,1\}//p' "$0" ;;
esac
