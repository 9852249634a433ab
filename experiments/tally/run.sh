#!/usr/bin/env bash
# What the study of Tally has so far; each part can be repeated and goes on where it stopped.
#
#   run.sh data DIABETES.csv.gz      codes of diabetes130 alone, the mixed table, and the hard case of the simulated hospital
#   run.sh codes                     three seeds on the codes
set -euo pipefail
out=${OUT:-runs/tally}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

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
codes) ehrsynth train -m data.matrix="$out/codes" model=tally seed=0,1,2 evaluation.checkpoints=2 study=codes paths.runs="$out/runs" ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" ;;
esac
