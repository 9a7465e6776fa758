/** A run in figures, in a sentence and in a table: what the timeline draws, for reading. */

import { element } from "./element.js";
import { counted, isNumber, listed, milliseconds, seconds, whole } from "./format.js";
import { phaseSeconds } from "./pieces.js";
import { operatorSeconds, outputTokens, spansOf, stageName } from "./run.js";

const HEADER = [
  ...["Layer", "Operator", "Critical", "Started", "Ended", "Seconds"],
  ...["Queue", "Prefill", "Decode", "Tool", "Prompt", "Cached", "Output"],
];
const CAPTION =
  "Seconds since the question was admitted. Queue, prefill, decode and tool are summed over an operator’s requests, " +
  "which may run at the same time; prompt, cached and output are tokens.";

/** The few numbers above the timeline. `now` is in seconds since the query's admission. */
export function figures(run, now) {
  const { predicted_s: predicted, latency_budget_s: budget } = { ...run.architecture, ...run.rollout };
  const operators = run.stages.flat();
  const ended = operators.filter((operator) => operator.ended_s !== null).length;
  const rollout = run.rollout;
  const facts = [
    rollout
      ? fact("Answer ready in", seconds(rollout.measured_s), "", "main")
      : fact({ waiting: "Waiting for", running: "Running for" }[run.phase] ?? "Ended after", seconds(now), "", "main"),
    fact("Predicted", seconds(predicted), isNumber(predicted) && rollout ? difference(rollout.measured_s, predicted) : ""),
  ];
  const outcome = rollout ? (rollout.budget_met ? "met" : "missed") : "";
  if (isNumber(budget)) facts.push(fact("Budget", seconds(budget), outcome, outcome));
  if (rollout) {
    facts.push(fact("Critical path", seconds(rollout.critical_path.seconds), `${whole(rollout.critical_path.tokens)} tokens`));
    facts.push(fact("Token proxy says", seconds(rollout.proxy_s), difference(rollout.measured_s, rollout.proxy_s)));
    const written = operators.reduce((sum, one) => sum + outputTokens(one), 0);
    facts.push(fact("Output, all operators", whole(run.usage?.completion_tokens ?? written), "tokens"));
    if (rollout.waited_s >= 0.1) facts.push(fact("Waited before", seconds(rollout.waited_s), "for a place"));
    const aborted = rollout.num_aborted_requests;
    if (aborted) facts.push(fact("Aborted", whole(aborted), aborted === 1 ? "request" : "requests"));
  } else if (operators.length) {
    facts.push(fact("Operators done", `${ended} of ${operators.length}`, ""));
  }
  return facts;
}

/** Who the answer waited for, and whether counting tokens would have told. */
export function verdict(run) {
  const named = (is) =>
    run.stages.flatMap((operators, index) =>
      operators.filter(is).map((operator) => ({ name: operator.name, where: stageName(run, index).toLowerCase() })),
    );
  const byClock = named((operator) => operator.is_critical_by_seconds);
  const onlyTokens = named((operator) => operator.is_critical_by_tokens && !operator.is_critical_by_seconds);
  const waited = byClock.length ? `The answer waited for ${listed(byClock.map((one) => one.name))}.` : "";
  if (onlyTokens.length) {
    return `${waited} Counting tokens would have named ${listed(onlyTokens.map((one) => `${one.name} in ${one.where}`))} instead.`;
  }
  return byClock.length ? `${waited} Counting tokens names the same.` : "";
}

/** A row for every operator, seconds to the millisecond. */
export function table(run) {
  const rows = run.stages.flatMap((operators, index) => operators.map((operator) => row(run, operator, index)));
  return [
    element(
      "table",
      {},
      element("caption", {}, CAPTION),
      element("thead", {}, element("tr", {}, ...HEADER.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows),
    ),
    element("p", { class: "hint" }, `Request ${run.rollout.request_id}, ${run.rollout.execution_mode}.`),
  ];
}

function row(run, operator, index) {
  const phases = phaseSeconds(operator);
  const sum = (name) => whole(spansOf(operator).reduce((total, span) => total + (span[name] ?? 0), 0));
  const status = operator.status === "ok" ? "" : ` (${operator.status})`;
  const critical = [operator.is_critical_by_seconds ? "clock" : null, operator.is_critical_by_tokens ? "tokens" : null];
  const cells = [
    listed(critical.filter(Boolean)) || "no",
    milliseconds(operator.started_s),
    milliseconds(operator.ended_s),
    milliseconds(operatorSeconds(operator, 0)),
    ...["queue", "prefill", "decode", "tool"].map((phase) => milliseconds(phases[phase])),
    ...["prompt_tokens", "cached_tokens", "output_tokens"].map(sum),
  ];
  return element(
    "tr",
    {},
    element("td", {}, stageName(run, index)),
    element("th", { scope: "row" }, `${operator.name}${status}`),
    ...cells.map((cell) => element("td", {}, cell)),
  );
}

function fact(name, value, more, kind = "") {
  const addition = more ? element("span", { class: "more" }, more) : null;
  return element("div", { class: `fact ${kind}` }, element("dt", {}, name), element("dd", {}, value, addition));
}

function difference(measured, said) {
  const change = Math.round(100 * (said / measured - 1));
  if (!Number.isFinite(change)) return "";
  return change === 0 ? "as measured" : `${Math.abs(change)}% too ${change < 0 ? "short" : "long"}`;
}

/** What the page says, once, to those who do not see it. */
export function announcement(run) {
  if (run.phase === "done") return `Answer ready in ${seconds(run.rollout?.measured_s ?? run.browserSeconds)}.`;
  if (run.phase === "stopped") return "Stopped.";
  return `Team chosen: ${counted(run.stages.flat().length, "operator")} in ${counted(run.stages.length, "layer")}.`;
}
