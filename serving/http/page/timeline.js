/** The team at work: a lane for each operator, side by side over one axis of seconds. */

import { element, shape } from "./element.js";
import { isNumber, milliseconds, seconds, tickStep, whole } from "./format.js";
import { PHASES, numRows, piecesOf } from "./pieces.js";
import { operatorSeconds, outputTokens, stageName } from "./run.js";

const LENGTHS = [1, 1.5, 2, 3, 4, 5, 7, 10];

/** Draws a run into `root`, and moves what is running as time passes. */
export class Timeline {
  constructor(root) {
    this.root = root;
    this.run = null;
    this.live = [];
    new ResizeObserver(() => this.#fit()).observe(root);
  }

  /** Show the run as it stands `now` seconds after its admission. */
  draw(run, now) {
    this.run = run;
    this.now = now;
    this.live = [];
    this.width = this.root.clientWidth;
    this.length = axisLength(run, now);
    this.root.replaceChildren(
      element(
        "div",
        { class: "plot", role: "img", "aria-label": describe(run) },
        this.#axis(),
        ...run.stages.map((operators, index) => this.#stage(operators, index)),
        this.#over(),
      ),
      legend(run),
    );
    this.root.style.setProperty("--length", this.length);
    this.root.style.setProperty("--now", now);
    this.#drawPath();
  }

  /** Move what is running to `now`. */
  tick(now) {
    if (axisLength(this.run, now) !== this.length) return this.draw(this.run, now);
    this.now = now;
    this.root.style.setProperty("--now", now);
    for (const { figure, operator } of this.live) figure.textContent = seconds(operatorSeconds(operator, now));
  }

  #fit() {
    if (this.run && this.root.clientWidth !== this.width) this.draw(this.run, this.now);
  }

  #axis() {
    const step = tickStep(this.length, this.width < 560 ? 4 : 8);
    const ticks = [];
    for (let index = 0; index * step <= this.length * (1 + 1e-9); index++) ticks.push(Number((index * step).toPrecision(6)));
    return element(
      "div",
      { class: "axis" },
      ...ticks.map((at) => {
        const name = at > this.length * 0.97 ? "tick last" : "tick";
        return element("span", { class: name, "--at": at }, element("b", {}, `${at} s`));
      }),
    );
  }

  #stage(operators, index) {
    return element(
      "div",
      { class: "stage", "data-stage": index },
      element("p", { class: "stage-name" }, stageName(this.run, index)),
      ...operators.map((operator) => this.#lane(operator)),
    );
  }

  #lane(operator) {
    const length = operatorSeconds(operator, this.now);
    const figure = element("span", { class: "seconds" }, seconds(length));
    const isLive = operator.status === "running" && this.run.phase === "running";
    if (isLive) this.live.push({ figure, operator });
    const tokens = outputTokens(operator);
    return element(
      "div",
      {
        class: `lane ${operator.status}${markOf(operator)}`,
        "data-name": operator.name,
        "data-started": operator.started_s,
        "data-ended": operator.ended_s,
      },
      element("div", { class: "name", title: operator.name }, ...marks(operator), element("span", {}, operator.name)),
      element("div", { class: "track", "--rows": numRows(operator) }, ...bars(operator, isLive, this.now)),
      element(
        "div",
        { class: "figure" },
        figure,
        element("span", { class: "tokens" }, isNumber(tokens) ? `${whole(tokens)} tok` : note(operator)),
      ),
    );
  }

  /** What lies over all lanes: the critical path, the budget, the prediction. */
  #over() {
    const { predicted_s: predicted, latency_budget_s: budget, waited_s: waited = 0 } = {
      ...this.run.architecture,
      ...this.run.rollout,
    };
    this.path = shape("svg", { class: "path", preserveAspectRatio: "none", "aria-hidden": "true" });
    const mark = (name, at) =>
      isNumber(at) && at <= this.length
        ? element("span", { class: `mark ${name}`, "--at": at }, element("b", {}, name))
        : null;
    const due = isNumber(budget) ? budget - waited : null; // it counts from the question's arrival, the axis from admission
    return element("div", { class: "over" }, this.path, mark("predicted", predicted), mark("budget", due));
  }

  /** One line through the operators that the answer waited for; dashes where tokens would name others. */
  #drawPath() {
    if (!this.run?.rollout) return;
    const top = this.path.getBoundingClientRect().top;
    const operators = this.run.stages.flat();
    const lanes = [...this.root.querySelectorAll(".track")].map((track, index) => ({
      operator: operators[index],
      y: Math.round(track.getBoundingClientRect().bottom - top) + 3.5,
    }));
    const points = [];
    for (const { operator, y } of lanes.filter((lane) => lane.operator.is_critical_by_seconds)) {
      if (points.length) points.push([operator.started_s, points.at(-1)[1]]);
      points.push([operator.started_s, y], [operator.ended_s, y]);
    }
    const dashes = isSamePath(this.run) ? [] : lanes.filter((lane) => lane.operator.is_critical_by_tokens);
    this.path.setAttribute("viewBox", `0 0 ${this.length} ${Math.max(1, this.path.clientHeight)}`);
    this.path.replaceChildren(
      shape("polyline", { class: "by-seconds", points: points.map((point) => point.join(",")).join(" ") }),
      ...dashes.map(({ operator, y }) =>
        shape("line", {
          class: "by-tokens",
          x1: operator.started_s,
          x2: operator.ended_s,
          y1: operator.is_critical_by_seconds ? y + 4 : y,
          y2: operator.is_critical_by_seconds ? y + 4 : y,
        }),
      ),
    );
  }
}

/** Whether clock and tokens name the same operators. */
export function isSamePath(run) {
  return run.stages.flat().every((operator) => operator.is_critical_by_seconds === operator.is_critical_by_tokens);
}

/** The length of the axis: what is known to come, and room that grows in steps so that the picture stays calm. */
function axisLength(run, now) {
  const budget = run.options.latency_budget_s ?? 0;
  if (run.rollout) {
    const end = Math.max(run.rollout.measured_s, ...run.stages.flat().map((operator) => operator.ended_s ?? 0), 0.001);
    return budget <= 1.5 * end ? Math.max(budget, end) : end;
  }
  const known = Math.max(run.architecture?.predicted_s ?? 0, budget, 0.5);
  const needed = Math.max(known * 1.02, now * 1.1);
  const power = 10 ** Math.floor(Math.log10(needed));
  return LENGTHS.map((factor) => factor * power).find((length) => length >= needed);
}

function bars(operator, isLive, now) {
  if (operator.started_s === null) return [];
  const whole = { "--from": operator.started_s, "--to": operator.ended_s ?? (isLive ? "var(--now)" : now) };
  if (isLive) return [element("i", { class: "bar running", ...whole })];
  if (!operator.steps) return [element("i", { class: `bar ended ${operator.status}`, ...whole })];
  return [
    element("i", { class: "bar ground", ...whole, title: `${operator.name}: ${seconds(operator.ended_s - operator.started_s)}` }),
    ...piecesOf(operator).map(({ phase, row, from, to, span }) =>
      element("i", {
        class: `bar piece ${phase}`,
        "--from": from,
        "--to": to,
        "--row-index": row,
        title: pieceTitle(phase, to - from, span),
      }),
    ),
  ];
}

function pieceTitle(phase, length, span) {
  const about = {
    prefill: ` of ${whole(span.prompt_tokens)} tokens${span.cached_tokens ? `, ${whole(span.cached_tokens)} cached` : ""}`,
    decode: ` of ${whole(span.output_tokens)} tokens`,
    tool: ` ${span.name ?? ""}: ${span.status ?? ""}`,
  };
  return `${phase} ${milliseconds(length)} s${about[phase] ?? ""}`;
}

function markOf(operator) {
  return `${operator.is_critical_by_seconds ? " by-seconds" : ""}${operator.is_critical_by_tokens ? " by-tokens" : ""}`;
}

function marks(operator) {
  const differs = operator.is_critical_by_tokens && !operator.is_critical_by_seconds;
  return [
    operator.is_critical_by_seconds ? element("span", { class: "clock-mark" }, "◆") : null,
    differs ? element("span", { class: "token-mark" }, "◇") : null,
  ];
}

function note(operator) {
  return { waiting: "waiting", running: "running", failed: "failed", aborted: "aborted" }[operator.status] ?? "";
}

/** The phases that are long enough to be seen; of a run under way, whether something runs and something has ended. */
function presentPhases(run) {
  const operators = run.stages.flat();
  if (run.rollout) {
    const pieces = operators.flatMap(piecesOf).filter(({ from, to }) => to - from > 0.002 * run.rollout.measured_s);
    return new Set(pieces.map(({ phase }) => phase));
  }
  const begun = operators.filter((operator) => operator.started_s !== null);
  return new Set(begun.map((operator) => (operator.ended_s === null ? "running" : "ended")));
}

function legend(run) {
  const present = presentPhases(run);
  const keys = Object.entries(PHASES)
    .filter(([phase]) => present.has(phase))
    .map(([phase, meaning]) => key(element("i", { class: `swatch ${phase}` }), phase, meaning.replace(phase, "").replace(": ", "")));
  if (run.rollout) {
    const [byClock, byTokens] = ["by-seconds", "by-tokens"].map((name) => element("i", { class: `swatch line ${name}` }));
    keys.push(key(byClock, "◆ critical path", isSamePath(run) ? "by clock and by tokens" : "by clock"));
    if (!isSamePath(run)) keys.push(key(byTokens, "◇ critical by tokens", "what counting tokens names"));
  }
  return element("ul", { class: "legend" }, ...keys);
}

function key(swatch, name, meaning) {
  return element("li", {}, swatch, element("span", {}, name), meaning ? element("span", { class: "meaning" }, meaning) : null);
}

function describe(run) {
  const parts = run.stages.map((operators, index) => {
    const lanes = operators.map((operator) => {
      const critical = operator.is_critical_by_seconds ? ", critical" : "";
      return `${operator.name} ${run.rollout ? `${seconds(operatorSeconds(operator, 0))}${critical}` : operator.status}`;
    });
    return `${stageName(run, index)}: ${lanes.join("; ")}.`;
  });
  return `Timeline. ${parts.join(" ")}`;
}
