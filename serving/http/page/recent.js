/** Questions asked in this tab, newest first; gone when the tab is closed. */

const NAME = "lamas-recent";
const MAX_RUNS = 20;

/** Every finished run that is kept. */
export function recentRuns() {
  try {
    return JSON.parse(sessionStorage.getItem(NAME)) ?? [];
  } catch {
    return [];
  }
}

/** Keep a run, or what it has become; the oldest make room where the browser has none left. */
export function remember(run) {
  const runs = [run, ...recentRuns().filter((other) => other.id !== run.id)].slice(0, MAX_RUNS);
  runs.sort((one, other) => other.id - one.id);
  while (runs.length) {
    try {
      sessionStorage.setItem(NAME, JSON.stringify(runs));
      return;
    } catch {
      runs.pop();
    }
  }
}

export function forget() {
  sessionStorage.removeItem(NAME);
}
