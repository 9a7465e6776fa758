/** The team's answer beside the base model's, to the same question. */

import { element } from "./element.js";
import { ABSENT, isNumber, seconds, whole } from "./format.js";
import { spansOf } from "./run.js";

const HINT =
  "One after the other, so that neither slows the other down. Seconds as this browser waited, network included.";

/** The base model's answer, before anything of it has come. */
export function newBase(model) {
  return { model, phase: "running", answer: "", usage: null, browserSeconds: null, firstTextSeconds: null };
}

/** Both answers side by side; seconds are this browser's for both, from asking to the last word. */
export function comparison(run) {
  const longest = Math.max(run.browserSeconds ?? 0, run.base.browserSeconds ?? 0) || 1;
  const requests = run.stages.flat().flatMap(spansOf).filter((span) => span.kind === "request").length;
  return [
    element(
      "div",
      { class: "columns" },
      column("The team", "lamas", run, longest, requests),
      column("The base model alone", run.base.model, run.base, longest, 1),
    ),
    element("p", { class: "hint" }, HINT),
  ];
}

function column(title, model, side, longest, requests) {
  const isRunning = side.phase === "running";
  return element(
    "article",
    { class: "column", "aria-label": title },
    element("h4", {}, title, element("code", {}, model)),
    element("div", { class: "length", "aria-hidden": "true" }, element("i", { "--share": (side.browserSeconds ?? 0) / longest })),
    element(
      "dl",
      {},
      ...fact("Seconds", isNumber(side.browserSeconds) ? seconds(side.browserSeconds) : isRunning ? "running" : ABSENT),
      ...fact("Output tokens", whole(side.usage?.completion_tokens)),
      ...fact("Prompt tokens", whole(side.usage?.prompt_tokens)),
      ...fact("Requests", whole(requests)),
    ),
    element("div", { class: "answer" }, side.answer || (isRunning ? "" : "No answer.")),
  );
}

function fact(name, value) {
  return [element("dt", {}, name), element("dd", {}, value)];
}
