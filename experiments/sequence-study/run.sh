#!/usr/bin/env bash
# Sequence models at an equal budget on three data sets; each part can be repeated and goes on where it stopped.
#
#   run.sh data [SET...]     hospital: 20,000 simulated patients; diabetes130: encounters in order; mimic: MIMIC-IV's demo
#   run.sh train [SET...]    every model of visits, five minutes of a processor at most each, seeds 0 and 1
#   run.sh rules [SET...]    whether drawn patients keep the rules over time of the data, by policy, into README.md
#   run.sh tables [SET...]   scores, similarity by category, tasks, privacy and the kidney case, into README.md
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
    # shellcheck disable=SC2086
    ehrsynth train -m data.matrix="$out/$1" study="$1" model="$models" seed="${SEEDS:-0,1}" profile=visits/course \
        trainer.processor_seconds="${BUDGET:-300}" evaluation.checkpoints=3 evaluation.rows=2000 \
        paths.runs="$out/runs" logger.mode=disabled ${TRAIN:-}
}

sets=("${@:2}")
[ ${#sets[@]} -gt 0 ] || sets=(hospital diabetes130 mimic)
mkdir -p "$out"
case ${1:-} in
data) for set in "${sets[@]}"; do prepared "$set"; done ;;
train) for set in "${sets[@]}"; do trained "$set"; done ;;
rules) for set in "${sets[@]}"; do "$python" "$here/rules.py" "$out/runs/$set" --into "$into" --name "$set-rules"; done ;;
tables) for set in "${sets[@]}"; do "$python" "$here/tables.py" "$out/runs/$set" --into "$into" --name "$set"; done ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
