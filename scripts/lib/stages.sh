# Runs named stages one after the other, keeps going after a failure, and prints a table.
# Sourced by scripts/test. A stage is a function `stage_NAME`; it may call `skip WHY`.

STAGE_LOGS="${STAGE_LOGS:-target/test-logs}"
# No stage takes a third of this on two cores; one that hangs must not hang CI. Seconds.
STAGE_LIMIT="${STAGE_LIMIT:-900}"
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
  [ "$code" -ne 77 ] || skip "$(basename "$1"): $(tail -n 1 "$STAGE_LOGS/$STAGE.log")"
  [ "$code" -eq 77 ] || return "$code"
}

# A stage runs in a process of its own, the script started anew with --stage, so that it can be
# ended with everything that it started. Its output goes to its log, and from there here.
run_stage() {
  local code=0 began=$SECONDS verdict=ok why pid
  export STAGE="$1"
  local log="$STAGE_LOGS/$STAGE.log" skips="$STAGE_LOGS/$STAGE.skips"
  rm -f "$skips"
  echo "=== $STAGE"
  : >"$log" # before tail asks for it
  timeout -k 10 "$STAGE_LIMIT" scripts/test --stage "$STAGE" </dev/null >>"$log" 2>&1 &
  pid=$!
  tail -n +1 -s 0.2 --pid="$pid" -f "$log" || true
  wait "$pid" || code=$?
  [ "$code" -ne 124 ] || echo "test: ended after $STAGE_LIMIT s" | tee -a "$log"
  if [ "$code" -ne 0 ]; then
    verdict=FAILED
    STAGE_FAILED=1
  elif [ -e "$skips" ]; then
    verdict=partly
  fi
  if [ -e "$skips" ]; then
    while IFS= read -r why; do STAGE_SKIPS+=("$STAGE: $why"); done <"$skips"
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
