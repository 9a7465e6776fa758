/** One question put to the team: what has been heard of it so far. Pure: no page, no network, no clock of its own. */

/** A question that was just sent. `phase` becomes running, then done, stopped or failed. */
export function newRun(question, options) {
  return {
    question,
    options,
    phase: "waiting",
    architecture: null,
    stages: [],
    answer: "",
    usage: null,
    rollout: null,
    browserSeconds: null,
    base: null,
  };
}

/** Take in one chunk; returns the event it carried, or null. */
export function applyChunk(run, chunk) {
  run.answer += chunk.choices?.[0]?.delta?.content ?? "";
  if (chunk.usage) run.usage = chunk.usage;
  const event = chunk.lamas ?? null;
  switch (event?.event) {
    case "architecture":
      run.phase = "running";
      run.architecture = event;
      run.stages = event.layers.map((names) => names.map(waiting));
      break;
    case "operator_started":
      Object.assign(operatorAt(run, event), { started_s: event.at_s, status: "running" });
      break;
    case "operator_ended":
      Object.assign(operatorAt(run, event), {
        ended_s: event.at_s,
        status: event.status,
        output_tokens: event.output_tokens,
      });
      break;
    case "finished":
      run.rollout = event.rollout;
      run.stages = stagesOf(event.rollout);
      break;
  }
  return event;
}

/** What a stage is called: the layers by number, then the finaliser. */
export function stageName(run, index) {
  return index < numLayers(run) ? `Layer ${index + 1}` : "Finaliser";
}

export function numLayers(run) {
  return run.rollout ? run.rollout.layers.length : (run.architecture?.layers.length ?? 0);
}

/** The last stage with an operator that has begun, -1 before. */
export function reachedStage(run) {
  return run.stages.findLastIndex((operators) => operators.some((operator) => operator.started_s !== null));
}

/** Seconds of an operator: its own when it ended, up to `now` while it runs, null before it began. */
export function operatorSeconds(operator, now) {
  if (operator.started_s === null) return null;
  return Math.max(0, (operator.ended_s ?? now) - operator.started_s);
}

/** Tokens that all requests of a finished operator made, and those that passed through the cache or were read anew. */
export function outputTokens(operator) {
  if (!operator.steps) return operator.output_tokens ?? null;
  return spansOf(operator).reduce((sum, span) => sum + (span.output_tokens ?? 0), 0);
}

export function spansOf(operator) {
  return (operator.steps ?? []).flat();
}

function waiting(name) {
  return { name, started_s: null, ended_s: null, status: "waiting", output_tokens: null, steps: null };
}

/**
 * The operator an event speaks of. The finaliser's come after the layers, are not known before they start, and all
 * stand at position 0: one after another.
 */
function operatorAt(run, event) {
  if (event.layer < run.architecture.layers.length) return run.stages[event.layer][event.position];
  const stage = (run.stages[event.layer] ??= []);
  if (event.event === "operator_started") stage.push(waiting(event.name));
  return stage.at(-1);
}

function stagesOf(rollout) {
  const { layers, finaliser } = rollout;
  return [...layers, ...(finaliser.operators.length ? [finaliser] : [])].map((layer) => layer.operators);
}
