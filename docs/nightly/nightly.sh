#!/bin/sh
# Tonight's run, beside last night's: nightly.sh [SCENARIO] [FOLDER]
#
# The exit code is the gravest of what happened, so that a scheduler's mail says enough. From the gravest: 2 bad input,
# 1 failed (a run, or a stored value that is not what the reference computes), 130 or 143 ended by a signal, 4 a limit is
# breached, 5 figures moved since last night, 3 not as precise as asked, 0 all is well. A run that was cut off is taken
# up again.
set -u
scenario=${1:-base}
runs=${2:-runs}
tonight=$runs/$(date +%F)
last=$(find "$runs" -mindepth 1 -maxdepth 1 -type d -name '????-??-??' 2>/dev/null | sort | grep -v "$tonight" | tail -1)
gravest=0

rank() {
  case $1 in 0) echo 0 ;; 3) echo 1 ;; 5) echo 2 ;; 4) echo 3 ;; 1) echo 5 ;; 2) echo 6 ;; *) echo 4 ;; esac
}
note() {
  printf '%s: exit %s\n' "$1" "$2"
  if [ "$(rank "$2")" -gt "$(rank "$gravest")" ]; then gravest=$2; fi
}

mkdir -p "$runs" || exit 1
if [ -e "$tonight/manifest.json" ]; then
  overbuilt run --resume "$tonight" --deadline "${DEADLINE:-4h}"
else
  overbuilt run "$scenario" \
    --until "${TARGET:-private_credit.loss.es99 within 1%}" --deadline "${DEADLINE:-4h}" --out "$tonight"
fi
note run $?
# What failed, was refused or was cut off is not looked at further: the next start goes on with it.
case $gravest in 0 | 3 | 4) ;; *) exit "$gravest" ;; esac
overbuilt verify "$tonight" --paths "${VERIFY:-200}"
note verify $?
if [ -n "$last" ]; then
  overbuilt compare "$tonight" "$last" --margin "${MARGIN:-1%}"
  moved=$?
  if [ $moved -eq 1 ]; then moved=5; fi
  note compare $moved
fi
exit "$gravest"
