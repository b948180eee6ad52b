# Runs named stages one after the other, keeps going after a failure, and prints a table.
# Sourced by scripts/test. A stage is a function `stage_NAME`; it may call `skip WHY`.

STAGE_LOGS="${STAGE_LOGS:-target/test-logs}"
STAGE_ROWS=()
STAGE_SKIPS=()
STAGE_FAILED=0

# Inside a stage: a part of it was not done. Listed again at the end, so that nobody takes a
# green table for more than it says.
skip() {
  echo "SKIPPED: $*"
  echo "$*" >>"$STAGE_LOGS/$STAGE.skips"
}

# The exit code 77 means "not possible here": its printed reason becomes a skip, not a failure.
may_skip() {
  local code=0
  "$@" || code=$?
  sleep 0.2 # tee writes the log: let it catch up
  [ "$code" -ne 77 ] || skip "$(basename "$1"): $(tail -n 1 "$STAGE_LOGS/$STAGE.log")"
  [ "$code" -eq 77 ] || return "$code"
}

run_stage() {
  local code=0 began=$SECONDS verdict why
  STAGE="$1"
  rm -f "$STAGE_LOGS/$STAGE.skips"
  echo "=== $STAGE"
  # A subshell of its own, so that set -e holds inside and ends only the stage.
  set +e
  (
    set -euo pipefail
    "stage_$STAGE"
  ) </dev/null > >(tee "$STAGE_LOGS/$STAGE.log") 2>&1
  code=$?
  set -e
  wait # for tee: the next line must not overtake the stage's last one
  verdict=ok
  if [ "$code" -ne 0 ]; then
    verdict=FAILED
    STAGE_FAILED=1
  elif [ -e "$STAGE_LOGS/$STAGE.skips" ]; then
    verdict=partly
  fi
  if [ -e "$STAGE_LOGS/$STAGE.skips" ]; then
    while IFS= read -r why; do STAGE_SKIPS+=("$STAGE: $why"); done <"$STAGE_LOGS/$STAGE.skips"
  fi
  STAGE_ROWS+=("$(printf '%-14s %-7s %5d s' "$STAGE" "$verdict" $((SECONDS - began)))")
}

summary() {
  local row
  echo
  echo "=== summary after $SECONDS s; logs in $STAGE_LOGS/"
  printf '%s\n' "${STAGE_ROWS[@]}"
  if [ "${#STAGE_SKIPS[@]}" -gt 0 ]; then
    echo "not done here:"
    for row in "${STAGE_SKIPS[@]}"; do echo "  $row"; done
  fi
  if [ "$STAGE_FAILED" -eq 0 ]; then echo "test: passed"; else echo "test: FAILED"; fi
  return "$STAGE_FAILED"
}
