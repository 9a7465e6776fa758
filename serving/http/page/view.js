/** The result on the page: one run, live or looked at again. */

import { comparison } from "./comparison.js";
import { figures, table, verdict } from "./details.js";
import { byId } from "./element.js";
import { seconds } from "./format.js";
import { numLayers, reachedStage, stageName } from "./run.js";
import { Timeline } from "./timeline.js";

const CALM = matchMedia("(prefers-reduced-motion: reduce)");

/** Shows a run, and keeps what is running in motion until the run ends or another one is shown. */
export class View {
  constructor() {
    this.timeline = new Timeline(byId("timeline"));
    this.run = null;
    this.clock = () => 0;
  }

  /** Show a run; `clock` gives the seconds since its admission. */
  show(run, clock) {
    this.run = run;
    this.clock = clock;
    byId("result-heading").textContent = run.question;
    this.update();
    this.#move(run);
  }

  /** Draw everything anew: something happened. */
  update() {
    const { run } = this;
    const isDone = run.rollout !== null;
    byId("intro").hidden = true;
    byId("result").hidden = run.phase === "failed" && run.architecture === null; // the notice says all there is
    this.timeline.draw(run, this.clock());
    byId("phase").textContent = phaseName(run);
    byId("figures").replaceChildren(...figures(run, this.clock()));
    byId("result").dataset.phase = run.phase;
    byId("result").setAttribute("aria-busy", String(isActive(run)));
    byId("verdict").textContent = isDone ? verdict(run) : "";
    byId("verdict").hidden = !isDone;
    byId("table-block").hidden = !isDone;
    byId("table").replaceChildren(...(isDone ? table(run) : []));
    byId("answer").textContent = run.answer || (isActive(run) ? "The team is still working." : "No answer.");
    byId("answer").classList.toggle("empty", !run.answer);
    byId("after").hidden = run.phase !== "done" || run.base !== null;
    byId("comparison").hidden = run.base === null;
    byId("comparison-body").replaceChildren(...(run.base ? comparison(run) : []));
    byId("answer-heading").hidden = byId("answer").hidden = run.base !== null && run.phase === "done";
  }

  /** Let time pass: with every frame, or once a second for those who want no motion. */
  #move(run) {
    const step = () => {
      if (this.run !== run || !isActive(run)) return;
      if (run.architecture && !run.rollout) this.timeline.tick(this.clock());
      byId("figures").querySelector(".main dd").textContent = seconds(this.clock());
      schedule();
    };
    const schedule = () => (CALM.matches ? setTimeout(step, 1000) : requestAnimationFrame(step));
    schedule();
  }
}

function isActive(run) {
  return run.phase === "waiting" || run.phase === "running";
}

function phaseName(run) {
  if (run.phase !== "running") {
    return { waiting: "Waiting for a place", done: "Answered", stopped: "Stopped", failed: "Failed" }[run.phase];
  }
  const reached = reachedStage(run);
  if (reached < 0) return "Team chosen";
  return reached < numLayers(run) ? `Layer ${reached + 1} of ${numLayers(run)}` : stageName(run, reached);
}
