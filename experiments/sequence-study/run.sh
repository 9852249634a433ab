#!/usr/bin/env bash
# Sequence models at an equal budget on three data sets; each part can be repeated and goes on where it stopped.
#
#   run.sh data [SET...]     hospital: 20,000 simulated patients; diabetes130: encounters in order; mimic: MIMIC-IV's demo
#   run.sh train [SET...]    every model of visits, five minutes of a processor at most each, seeds 0 and 1
#   run.sh rules [SET...]    whether drawn patients keep the rules over time of the data, by policy, into README.md
#   run.sh tables [SET...]   scores, similarity by category, tasks, privacy and the kidney case, into README.md
#   run.sh tasks [SET...]    each task learned from five draws of visits, of three models (TASKED), into README.md
#   run.sh pyhealth          PyHealth's HALO, GPT-2 and PromptEHR on the hospital, into README.md; PYHEALTH is a Python with it
#
# DIABETES130=FILE and MIMIC=DIR say where diabetic_data.csv.gz and the demo (hosp/, icu/) are; without SET all three.
# OUT, MODELS, SEEDS, BUDGET (300 seconds), N (20000) and PYTHON change what is done; PREPARE and TRAIN hold more options.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/sequence-study}
python=${PYTHON:-python}
models=${MODELS:-visits/independent_visits,visits/markov,visits/record_mixture_visits,visits/train_copy_visits,visits/halo,visits/seqhealth,visits/visit_diffusion,visits/chronicle,visits/event_transformer}
into=${INTO:-$here/README.md}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

# shellcheck disable=SC2086  # PREPARE and TRAIN hold several options
trajectories() { ehrsynth prepare form=trajectories out="$out/$1" "${@:2}" ${PREPARE:-}; }

prepared() {
    case $1 in
    hospital) trajectories hospital source=demo_visits source.n="${N:-20000}" ;;
    # age is told by the birth, days in hospital by the stay, death by its date
    diabetes130)
        trajectories diabetes130 source=diabetes130 source.path="${DIABETES130:?the file diabetic_data.csv.gz}" \
            source.ordered=true features.age=null features.encounters=null features.time_in_hospital=null features.died=null
        ;;
    mimic) trajectories mimic source=mimic_iv source.root="${MIMIC:?the folder of the demo}" preprocess.min_count=3 ;;
    *) echo "$1: hospital, diabetes130 or mimic was expected" >&2; exit 2 ;;
    esac
}

trained() {
    local more=()
    [ "$1" != mimic ] || more=(trainer.max_epochs=100)  # an epoch of so few patients is four steps
    # shellcheck disable=SC2086
    ehrsynth train -m data.matrix="$out/$1" study="$1" model="$models" seed="${SEEDS:-0,1}" profile=visits/course \
        trainer.processor_seconds="${BUDGET:-300}" evaluation.checkpoints=3 evaluation.rows=2000 \
        paths.runs="$out/runs" logger.mode=disabled "${more[@]}" ${TRAIN:-}
}

compared_to_pyhealth() {
    local of="$out/pyhealth" each
    "$python" "$here/pyhealth_models.py" frames "$out/hospital" "$out/runs/hospital" "$of"
    for each in halo gpt2 promptehr; do
        [ -f "$of/pyhealth_$each.csv" ] || "${PYHEALTH:?a Python with pyhealth}" "$here/pyhealth_models.py" draw "$of" "$each"
    done
    for each in chronicle halo train_copy_visits pyhealth_{halo,gpt2,promptehr}; do
        [ -f "$of/$each/report.json" ] || ehrsynth evaluate form=trajectories train="$of/train.csv" \
            holdout="$of/holdout.csv" synthetic="$of/$each.csv" out="$of/$each" suite=quick
    done
    "$python" "$here/pyhealth_models.py" table "$of" --into "$into"
}

sets=("${@:2}")
[ ${#sets[@]} -gt 0 ] || sets=(hospital diabetes130 mimic)
mkdir -p "$out"
case ${1:-} in
data) for set in "${sets[@]}"; do prepared "$set"; done ;;
train) for set in "${sets[@]}"; do trained "$set"; done ;;
rules) for set in "${sets[@]}"; do "$python" "$here/rules.py" "$out/runs/$set" --into "$into" --name "$set-rules"; done ;;
tables) for set in "${sets[@]}"; do "$python" "$here/tables.py" "$out/runs/$set" --into "$into" --name "$set"; done ;;
tasks)
    for set in "${sets[@]}"; do
        "$python" "$here/tasks.py" "$out/runs/$set" --models "${TASKED:-chronicle,halo,train_copy_visits}" --into "$into" --name "$set-tasks"
    done
    ;;
pyhealth) compared_to_pyhealth ;;
*) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
