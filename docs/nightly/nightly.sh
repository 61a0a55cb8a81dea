#!/bin/sh
# Tonight's run, beside last night's: nightly.sh [SCENARIO] [FOLDER]
#
# The exit code is the worst of what happened, so that a scheduler's mail says enough: 0 all is well, 1 failed or
# moved, 2 bad input, 3 not as precise as asked, 4 a limit is breached. A run that was cut off is taken up again.
set -u
scenario=${1:-base}
runs=${2:-runs}
tonight=$runs/$(date +%F)
last=$(find "$runs" -mindepth 1 -maxdepth 1 -type d -name '????-??-??' 2>/dev/null | sort | grep -v "$tonight" | tail -1)
worst=0

note() {
  printf '%s: exit %s\n' "$1" "$2"
  if [ "$2" -gt "$worst" ]; then worst=$2; fi
}

mkdir -p "$runs"
if [ -e "$tonight/manifest.json" ]; then
  overbuilt run --resume "$tonight"
else
  overbuilt run "$scenario" \
    --until "${TARGET:-private_credit.loss.es99 within 1%}" --deadline "${DEADLINE:-4h}" --out "$tonight"
fi
note run $?
overbuilt verify "$tonight" --paths "${VERIFY:-200}"
note verify $?
if [ -n "$last" ]; then
  overbuilt compare "$tonight" "$last" --margin "${MARGIN:-1%}"
  note compare $?
fi
exit $worst
