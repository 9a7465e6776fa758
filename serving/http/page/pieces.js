/** Where an operator's seconds went, as pieces of time. Pure functions over the API's rollout. */

import { isNumber } from "./format.js";

/** Phases in the order of the legend, with what each means. */
export const PHASES = {
  queue: "waiting for the engine",
  prefill: "reading the prompt",
  decode: "writing",
  tool: "running code",
  failed: "failed",
  aborted: "aborted: stopped before its end",
  running: "running",
  ended: "ended: its phases come with the answer",
};

/**
 * Pieces of an operator: phase, row, from and to in seconds since the query's admission, and tokens where written.
 * The API gives each span's seconds but not when it began: a step begins where the longest span of the step before
 * ended, so a piece may lie earlier by what the operator itself did between its steps. Lengths are exact.
 */
export function piecesOf(operator) {
  const pieces = [];
  let begun = operator.started_s;
  for (const step of operator.steps ?? []) {
    let longest = 0;
    step.forEach((span, row) => {
      let at = begun;
      for (const [phase, length] of phasesOf(span)) {
        if (length > 0) pieces.push({ phase, row, from: at, to: at + length, span });
        at += length;
      }
      longest = Math.max(longest, span.seconds);
    });
    begun += longest;
  }
  return pieces;
}

/** How many rows the pieces need: the most spans that ran at the same time. */
export function numRows(operator) {
  return Math.max(1, ...(operator.steps ?? []).map((step) => step.length));
}

/** Seconds of each phase over all spans of an operator; parallel spans add. */
export function phaseSeconds(operator) {
  const sums = {};
  for (const { phase, from, to } of piecesOf(operator)) sums[phase] = (sums[phase] ?? 0) + (to - from);
  return sums;
}

function phasesOf(span) {
  if (span.status === "aborted") return [["aborted", span.seconds]];
  if (span.kind === "tool") return [["tool", span.seconds]];
  if (isNumber(span.decode_s)) {
    return [["queue", span.queue_s], ["prefill", span.prefill_s], ["decode", span.decode_s]];
  }
  return [["failed", span.seconds]];
}
