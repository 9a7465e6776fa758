/** The page: asks, listens, shows. */

import { Problem, chat, isReady, modelNames, useKey } from "./api.js";
import { newBase } from "./comparison.js";
import { announcement } from "./details.js";
import { byId, element } from "./element.js";
import { seconds } from "./format.js";
import { forget, recentRuns, remember } from "./recent.js";
import { applyChunk, newRun } from "./run.js";
import { View } from "./view.js";

const TEAM = "lamas";
const view = new View();
let isConnected = false;
let baseModel = null;
let stopper = null; // of the request under way
let retry = null; // what asks again after a problem
let nextLook = 0; // timer of the next look at a server that was not ready

async function connect() {
  try {
    const names = await modelNames();
    isConnected = true;
    baseModel = names.find((name) => name !== TEAM) ?? null;
    byId("key-form").hidden = true;
    for (const place of document.querySelectorAll(".base-name")) place.textContent = baseModel ?? "the base model";
    await watchReadiness();
  } catch (problem) {
    showServer("", "Not connected");
    if (problem.isAway) return watchReadiness();
    showProblem(problem, connect);
  }
}

/** Say whether questions would be answered, and look again until they would be. */
async function watchReadiness() {
  clearTimeout(nextLook);
  const ready = await isReady();
  if (ready && !isConnected) return connect();
  if (ready) return showServer("ready", baseModel ? `Ready, on ${baseModel}` : "Ready");
  showServer("", ready === null ? "Not connected" : "Not ready yet");
  nextLook = setTimeout(watchReadiness, 3000);
}

function showServer(state, text) {
  byId("dot").dataset.state = state;
  byId("server").textContent = text;
}

/** Put a question to the team, and to the base model after it where asked for. */
async function ask(question, options, compare) {
  const run = { ...newRun(question, options), id: Date.now() };
  const sent = performance.now();
  let admitted = sent; // by this clock; each event narrows down by how much the answer's way here is late
  let ended = null;
  const messages = [{ role: "user", content: question }];
  view.show(run, () => ((ended ?? performance.now()) - admitted) / 1000);
  say("Asked.");
  await during(run, () => ask(question, options, compare), async (signal) => {
    for await (const chunk of chat({ model: TEAM, messages, ...options }, signal)) {
      const event = applyChunk(run, chunk);
      if (event?.at_s !== undefined) admitted = Math.min(admitted, performance.now() - event.at_s * 1000);
      if (event?.event === "architecture") {
        admitted = performance.now();
        say(announcement(run));
      }
      view.update();
    }
    run.browserSeconds = (performance.now() - sent) / 1000;
    run.phase = "done";
  }, () => { ended = performance.now(); });
  if (run.phase === "done") {
    say(announcement(run));
    if (compare && baseModel) await askBase(run);
  }
}

/** Put a run's question to the base model. */
async function askBase(run) {
  const base = newBase(baseModel);
  const sent = performance.now();
  run.base = base;
  view.update();
  await during(base, () => askBase(run), async (signal) => {
    for await (const chunk of chat({ model: baseModel, messages: [{ role: "user", content: run.question }] }, signal)) {
      base.answer += chunk.choices?.[0]?.delta?.content ?? "";
      if (base.answer) base.firstTextSeconds ??= (performance.now() - sent) / 1000;
      base.usage = chunk.usage ?? base.usage;
      view.update();
    }
    base.browserSeconds = (performance.now() - sent) / 1000;
    base.phase = "done";
    say(`The base model answered in ${seconds(base.browserSeconds)}.`);
  });
  if (base.phase === "failed" || base.phase === "stopped") run.base = null;
  keep(run);
}

/** Everything around one request: its Stop button, its problems, what it ends as. */
async function during(subject, again, listen, atEnd = () => {}) {
  stopper = new AbortController();
  showProblem(null);
  setBusy(true);
  try {
    await listen(stopper.signal);
  } catch (problem) {
    subject.phase = stopper.signal.aborted ? "stopped" : "failed";
    if (stopper.signal.aborted) say(announcement(subject));
    else showProblem(problem, again);
  } finally {
    atEnd();
    stopper = null;
    setBusy(false);
    if (subject.question !== undefined) keep(subject);
  }
}

function keep(run) {
  if (run.phase === "done") remember(run);
  if (view.run?.id === run.id) view.update();
  showRecent();
}

function setBusy(isBusy) {
  const hadFocus = document.activeElement === byId("stop");
  byId("stop").hidden = !isBusy;
  byId("ask").setAttribute("aria-disabled", String(isBusy));
  if (!isBusy && hadFocus) byId("question").focus();
}

function say(text) {
  byId("status").textContent = text;
}

function showProblem(problem, again = null) {
  if (problem && !(problem instanceof Problem)) console.error(problem);
  const text = problem instanceof Problem ? problem.message : problem ? "This page could not read what the server sent." : "";
  const needsKey = problem?.needsKey ?? false;
  const canRetry = again !== null && !needsKey && (problem?.retryAfter ?? null) !== null;
  byId("notice").hidden = !problem;
  byId("alert").textContent = text;
  byId("retry").hidden = !canRetry;
  retry = again;
  if (problem?.isAway) watchReadiness();
  if (needsKey) {
    byId("key-form").hidden = false;
    byId("key").focus();
  }
}

function showRecent() {
  const runs = recentRuns();
  byId("recent").hidden = runs.length === 0;
  byId("recent-list").replaceChildren(...runs.map((run) => {
    const time = new Date(run.id).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const facts = [seconds(run.rollout?.measured_s), run.base ? "compared" : null, time].filter(Boolean).join(" · ");
    const button = element(
      "button",
      { type: "button" },
      element("span", { class: "asked" }, run.question),
      element("span", { class: "facts" }, facts),
    );
    button.addEventListener("click", () => lookAgain(run));
    return element("li", {}, button);
  }));
}

function lookAgain(run) {
  if (stopper) return say("A question is being answered. Stop it first.");
  showProblem(null);
  view.show(run, () => 0);
  byId("result").focus();
}

function submit(event) {
  event.preventDefault();
  if (stopper) return say("A question is being answered. Stop it first.");
  const question = byId("question").value.trim();
  const options = {};
  if (byId("budget").value) options.latency_budget_s = Number(byId("budget").value);
  if (byId("mode").value) options.execution_mode = byId("mode").value;
  if (question) ask(question, options, byId("compare").checked);
}

byId("ask-form").addEventListener("submit", submit);
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask-form").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopper?.abort();
});
byId("stop").addEventListener("click", () => stopper?.abort());
byId("retry").addEventListener("click", () => {
  byId("question").focus();
  retry?.();
});
byId("compare-now").addEventListener("click", () => {
  byId("result").focus();
  if (!stopper) askBase(view.run);
});
byId("forget").addEventListener("click", () => {
  forget();
  showRecent();
  byId("question").focus();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("key").value = "";
  byId("key-form").hidden = true;
  byId("question").focus();
  const again = retry ?? connect;
  showProblem(null);
  connect().then(() => { if (again !== connect && isConnected) again(); });
});

connect();
showRecent();
