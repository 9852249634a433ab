#!/usr/bin/env bash
# What epsilon costs: models by epsilon on diabetes130, mixed and codes alone; each part goes on where it stopped.
#
#   run.sh data DIABETES.csv.gz     all that patients have, for noisy schemas; and as usual, for runs without privacy
#   run.sh mixed | codes            epsilon 0.5, 1, 3, 8 and none x models x two seeds
#   run.sh figure                   curves.png and curves.csv beside this file, of what is there
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/privacy-utility}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

NUMBERS=(age time_in_hospital num_lab_procedures num_procedures encounters)
OTHERS=(sex race died readmitted_30d)
LEARNED=vae,ehrdiff,masked_diffusion,tally,wgan_gp  # by DP-SGD
COUNTED=dp_tree,dp_mixture                          # by noisy sums
WITHOUT=chow_liu,mixture                            # what these are without noise
BATCH=2048 EPOCHS=100                               # the same for all that descend a gradient, with privacy and without

curves() {  # TABLE
    local kept=(study="$1" paths.runs="$out/runs" paths.matrices="$out/schemas" seed=0,1)
    local private=(data.matrix="$out/$1-all" privacy=dp privacy.schema=0.2 privacy.epsilon=0.5,1,3,8)
    local steps=(data.batch_size=$BATCH trainer.max_epochs=$EPOCHS evaluation.checkpoints=2)
    ehrsynth train -m "${kept[@]}" "${private[@]}" "${steps[@]}" model=$LEARNED
    ehrsynth train -m "${kept[@]}" "${private[@]}" model=$COUNTED
    ehrsynth train -m "${kept[@]}" data.matrix="$out/$1" "${steps[@]}" model=$LEARNED
    ehrsynth train -m "${kept[@]}" data.matrix="$out/$1" model=$WITHOUT
}

mkdir -p "$out"
case ${1:-} in
data)
    for form in mixed codes; do
        mapfile -t left < <(test $form = mixed || printf 'features.%s=null\n' "${NUMBERS[@]}" "${OTHERS[@]}")
        ehrsynth prepare source=diabetes130 source.path="$2" preprocess=none constraints=none out="$out/$form-all" \
            "${left[@]}"
        ehrsynth prepare source=diabetes130 source.path="$2" constraints=none out="$out/$form" "${left[@]}"
    done
    ;;
mixed | codes) curves "$1" ;;
figure) "$python" "$here/curves.py" "$out/runs" "$here" ;;
*) sed -n '2,7p' "$0" && exit 2 ;;
esac
