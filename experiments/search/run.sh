#!/usr/bin/env bash
# Do searched settings beat those of experiment=demo? What is finished is not made again, so repeat after an interruption.
#
#   run.sh search      20 trials for each model, pruned, on validation patients; trial 0 is the setting of the budget
#   run.sh confirm     budget, budget with the winner's processor time, and winner, with seeds that no trial had
#   run.sh rank        both on held-out patients, which the search has not read
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/search}
python=${PYTHON:-python}
models=${MODELS:-emr_wgan,vae,ehrdiff}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

case ${1:-} in
search)
    ehrsynth search -m model="$models" experiment=demo trials="${TRIALS:-20}" study=search \
        paths.runs="$out/runs" paths.matrices="$out/matrices" logger.mode=disabled
    ;;
confirm) "$python" "$here/confirm.py" "$out" ;;
rank)
    for model in ${models//,/ }; do
        ehrsynth rank runs="$out/runs/confirm/$model/*" out="$out/$model.csv"
    done
    ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
