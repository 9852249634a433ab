#!/usr/bin/env bash
# Every part of the study by one command; what is finished is not made again, so repeat after an interruption.
#
#   run.sh data DIABETES.csv.gz      the two matrices
#   run.sh budgets                   conf/budget/{equal_budget,eight_minutes,equal_budget_wide}, on a machine that is quiet
#   run.sh equal even & run.sh equal odd      all models of conf/model, two seeds, half of them each
#   run.sh eight                     EHRDiff, EMR-WGAN and their tuned variants at eight minutes
#   run.sh wide                      those that claim width, on 41,868 x 1,782
#   run.sh rules | speed | rare      one script each
#   run.sh tables                    results into README.md and figures beside it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/generator-study}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

# Not here: dpgan, medgan, medbgan, medwgan, wgan_gp, ehrdiff_cinc, emr_wgan_benchmark, medgan_2025, tabddpm and tabsyn,
# which are sibling forms of those that are, and record_mixture, a planted risk.
WIDE=chow_liu,corgan,corgan_tuned,ehrdiff,ehrdiff_tuned,emr_wgan,emr_wgan_tuned,independent,masked_diffusion,mixture
WIDE=$WIDE,medgan_tuned,tabddpm_tuned,tabsyn_tuned,tally,train_copy,vae
EIGHT=ehrdiff,ehrdiff_tuned,emr_wgan,emr_wgan_tuned

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

budgets() {  # MATRIX EXPERIMENT MINUTES [MODELS]
    "$python" "$here/budgets.py" "$1" ${4:+$(tr ',' ' ' <<<"$4")} --experiment "$2" --minutes "$3"
}

sweep() {  # MATRIX EXPERIMENT STUDY SEEDS MODELS
    local name
    for name in $(tr ',' ' ' <<<"$5"); do
        [ -f "$here/../../conf/budget/$2/$name.yaml" ] || { echo "no budget of $name: run.sh budgets" >&2; exit 1; }
    done
    ehrsynth train -m data.matrix="$1" experiment="$2" study="$3" seed="$4" model="$5" \
        paths.runs="$out/runs" logger.mode=disabled
}

half() {  # even or odd ones of all models, in alphabetical order
    ls "$here/../../conf/model" | sed 's/\.yaml$//' | sort |
        awk -v odd="$([ "$1" = odd ] && echo 1 || echo 0)" 'NR % 2 == odd' | paste -sd,
}

mkdir -p "$out"
case ${1:-} in
data)
    ehrsynth prepare source=diabetes130 source.path="$2" preprocess.min_count=20 out="$out/diabetes130"
    "$python" "$here/simulate.py" "$out/codes.parquet"
    ehrsynth prepare source=flat source.path="$out/codes.parquet" source.subject=subject_id \
        preprocess.min_prevalence=0 preprocess.min_count=0 constraints=none out="$out/codes"
    ;;
budgets)
    budgets "$out/diabetes130" equal_budget 3
    budgets "$out/diabetes130" eight_minutes 8 "$EIGHT"
    budgets "$out/codes" equal_budget_wide 3 "$WIDE"
    ;;
equal) sweep "$out/diabetes130" equal_budget equal 0,1 "$(half "$2")" ;;
eight) sweep "$out/diabetes130" eight_minutes eight 0 "$EIGHT" ;;
wide) sweep "$out/codes" equal_budget_wide wide 0 "$WIDE" ;;
rules) "$python" "$here/rules.py" "$out/diabetes130" "$out" --into "$here/README.md" ;;
speed) "$python" "$here/speed.py" "$out/runs/equal" "$out" --into "$here/README.md" ;;
rare) "$python" "$here/rare.py" "$out/rare" --into "$here/README.md" ;;
tables)
    mkdir -p "$here/results"
    for study in equal eight wide; do
        peers=$([ "$study" = wide ] || echo --peers)
        [ ! -d "$out/runs/$study" ] || "$python" "$here/table.py" "$out/runs/$study" "$here/results" \
            --name "$study" --into "$here/README.md" $peers
    done
    for file in "$out"/{rules,speed}.{csv,png} "$out"/rare/rare{,-groups}.{csv,png}; do
        [ ! -f "$file" ] || cp "$file" "$here/results/"
    done
    ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" ;;
esac
