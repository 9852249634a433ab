#!/usr/bin/env bash
# What the study of Tally has so far; each part can be repeated and goes on where it stopped.
#
#   run.sh data DIABETES.csv.gz      codes of diabetes130 alone, the mixed table, and the hard case of the simulated hospital
#   run.sh codes | mixed | hard      three seeds on each
#   run.sh targets                   what was aimed at, and what came of it, into README.md
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

mkdir -p "$out"
case ${1:-} in
data)
    ehrsynth prepare source=diabetes130 source.path="$2" preprocess.min_count=13 out="$out/codes" \
        $(printf 'features.%s=null ' "${NUMBERS[@]}" "${OTHERS[@]}")
    ehrsynth prepare source=diabetes130 source.path="$2" preprocess.min_count=20 out="$out/diabetes130"
    ehrsynth prepare source=demo_hard out="$out/hard"
    ;;
codes) seeds codes codes evaluation.checkpoints=2 ;;
mixed) seeds mixed diabetes130 experiment=equal_budget ;;
hard) seeds hard hard model.warmup_steps=50 data.batch_size=128 trainer.max_epochs=12 constraints.policy=repair ;;
targets)
    for study in codes mixed hard; do
        kind=$([ "$study" = codes ] && echo codes || echo mixed)
        [ ! -d "$out/runs/$study" ] || "$python" "$here/targets.py" "$out/runs/$study" "$kind" \
            --name "$study" --into "$here/README.md"
    done
    ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" ;;
esac
