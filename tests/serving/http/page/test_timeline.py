"""The timeline: it grows while operators run, and ends in the API's own seconds."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.serving.http.page.conftest import Begin
from tests.serving.http.page.replay import Json, Replay, operator, request_span
from tests.serving.http.page.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What a reader sees each time something changes: the phase, who runs, the longest seconds, the answer.
_WATCH = """() => {
  window.seen = [];
  const look = () => {
    const lanes = [...document.querySelectorAll('.lane')];
    const running = lanes.filter((lane) => lane.classList.contains('running')).map((lane) => lane.dataset.name);
    const seconds = Math.max(0, ...lanes.map((lane) => parseFloat(lane.querySelector('.seconds').textContent) || 0));
    const now = [document.getElementById('phase').textContent, running, seconds, document.getElementById('answer').innerText];
    const same = (one) => JSON.stringify(one?.slice(0, 2));
    if (lanes.length && same(seen.at(-1)) !== same(now)) seen.push(now);
  };
  new MutationObserver(look).observe(document.getElementById('result'), {childList: true, subtree: true, attributes: true});
}"""  # noqa: E501

_BARS = """() => [...document.querySelectorAll('.lane')].map((lane) => {
  const box = (node) => node.getBoundingClientRect();
  const track = box(lane.querySelector('.track'));
  const share = (bar) => [(box(bar).left - track.left) / track.width, (box(bar).right - track.left) / track.width];
  return {
    name: lane.dataset.name,
    ground: share(lane.querySelector('.ground')),
    pieces: [...lane.querySelectorAll('.piece')].map((bar) => [bar.classList[2], ...share(bar)]),
  };
})"""


def operators_of(rollout: Json) -> list[Json]:
    """All operators in the order of the page."""
    return [one for layer in (*rollout["layers"], rollout["finaliser"]) for one in layer["operators"]]


async def test_layers_are_seen_while_they_run(replay: Replay, visit: Visit) -> None:
    replay.speed = 0.7
    await visit.evaluate(_WATCH)
    await visit.ask()
    await visit.see("[data-name=Programmer].running")
    assert await visit.texts(".lane.waiting .name") == ["ScEnsemble"]
    await visit.wait_for("done")
    seen = await visit.evaluate("() => seen")
    generators = ["Generate", "MultiGenerateCoT", "Programmer"]
    assert [(phase, running) for phase, running, _, _ in seen] == [
        ("Team chosen", []),
        ("Layer 1 of 2", generators[:1]),
        ("Layer 1 of 2", generators[:2]),
        ("Layer 1 of 2", generators),
        ("Layer 1 of 2", generators[1:]),
        ("Layer 1 of 2", generators[2:]),
        ("Layer 1 of 2", []),
        ("Layer 2 of 2", ["ScEnsemble"]),
        ("Layer 2 of 2", []),
        ("Finaliser", ["SelfRefine"]),
        ("Finaliser", []),
        ("Answered", []),
    ]
    assert {answer for *_, answer in seen[:-2]} == {"The team is still working."}
    assert await visit.texts(".stage-name") == ["Layer 1", "Layer 2", "Finaliser"]
    assert await visit.at("#answer").inner_text() == replay.answer
    seconds = [seconds for _, _, seconds, _ in seen]
    assert seconds[1:4] == sorted(seconds[1:4])
    assert seconds[4] > seconds[3] + 0.2


async def test_a_bar_grows_from_one_frame_to_the_next(replay: Replay, visit: Visit) -> None:
    replay.speed = 0.5
    await visit.ask()
    await visit.see("[data-name=Programmer].running")
    ends = await visit.evaluate(
        """async () => {
          const ends = [];
          for (let frame = 0; frame < 12; frame++) {
            await new Promise(requestAnimationFrame);
            const axis = Number(document.getElementById('timeline').style.getPropertyValue('--length'));
            const track = document.querySelector('[data-name=Programmer] .track').getBoundingClientRect();
            const bar = document.querySelector('[data-name=Programmer] .running').getBoundingClientRect();
            ends.push((bar.right - track.left) / track.width * axis);
          }
          return ends;
        }"""
    )
    await visit.page.keyboard.press("Escape")
    assert ends == sorted(ends)
    assert ends[-1] > ends[0] + 0.05


async def test_the_final_seconds_are_the_apis(replay: Replay, visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    operators = operators_of(replay.rollout)
    assert await visit.texts(".lane .seconds") == [f"{one['ended_s'] - one['started_s']:.2f} s" for one in operators]
    assert (await visit.texts(".fact.main dd")) == ["1.00 s"]
    await visit.at("summary").click()
    rows = await visit.evaluate(
        "() => [...document.querySelectorAll('#table tbody tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )
    for row, one in zip(rows, operators, strict=True):
        times = (one["started_s"], one["ended_s"], one["ended_s"] - one["started_s"])
        assert row[1] == one["name"]
        assert row[3:6] == [f"{value:.3f}" for value in times]
    programmer = rows[2]
    assert programmer[6:] == ["0.020", "0.060", "0.220", "0.310", "61", "32", "24"]


async def test_bars_lie_where_the_api_says(replay: Replay, visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    length = replay.rollout["measured_s"]
    for bars, one in zip(await visit.evaluate(_BARS), operators_of(replay.rollout), strict=True):
        assert bars["ground"] == pytest.approx([one["started_s"] / length, one["ended_s"] / length], abs=0.003)
        at, expected = one["started_s"], []
        for step in one["steps"]:
            for span in step:
                start = at
                for phase in ("queue", "prefill", "decode") if span["kind"] == "request" else ("tool",):
                    end = start + span[f"{phase}_s" if phase != "tool" else "seconds"]
                    expected.append((phase, start / length, end / length))
                    start = end
            at += max(span["seconds"] for span in step)
        assert [piece[0] for piece in bars["pieces"]] == [phase for phase, *_ in expected]
        for piece, (_, start, end) in zip(bars["pieces"], expected, strict=True):
            assert piece[1:] == pytest.approx([start, end], abs=0.003)


async def test_samples_of_one_step_have_rows_of_their_own(visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    tops = await visit.evaluate(
        "() => [...document.querySelectorAll('[data-name=MultiGenerateCoT] .decode')]"
        ".map((bar) => bar.getBoundingClientRect().top)"
    )
    assert len(set(tops)) == 3


async def test_the_critical_path_is_marked_by_clock_and_where_tokens_differ(visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    assert await visit.texts(".lane.by-seconds .name") == ["◆Programmer", "◆ScEnsemble", "◆SelfRefine"]
    assert await visit.texts(".token-mark") == ["◇"]
    assert await visit.texts(".lane:has(.token-mark) .name") == ["◇MultiGenerateCoT"]
    assert await visit.texts("#verdict") == [
        "The answer waited for Programmer, ScEnsemble and SelfRefine. "
        "Counting tokens would have named MultiGenerateCoT in layer 1 instead."
    ]
    points = await visit.at(".path .by-seconds").get_attribute("points")
    assert points is not None
    assert [float(pair.split(",")[0]) for pair in points.split()] == pytest.approx(
        [0.01, 0.62, 0.64, 0.64, 0.77, 0.79, 0.79, 1.0]
    )
    assert await visit.at(".path .by-tokens").count() == 3


async def test_where_both_agree_there_is_one_line(replay: Replay, visit: Visit) -> None:
    one = operator("Generate", 0.01, [[request_span(0.02, 0.04, 0.24, 22)]], clock=True, tokens=True)
    replay.rollout |= {"architecture": [["Generate"]], "layers": [{"operators": [one]}], "finaliser": {"operators": []}}
    await visit.ask()
    await visit.wait_for("done")
    assert await visit.texts("#verdict") == ["The answer waited for Generate. Counting tokens names the same."]
    assert await visit.at(".path .by-tokens").count() == 0


async def test_what_was_aborted_or_failed_is_told_apart(replay: Replay, visit: Visit) -> None:
    first = replay.rollout["layers"][0]["operators"]
    nothing = {"queue_s": None, "prefill_s": None, "decode_s": None, "output_tokens": 0}
    for one, status in zip(first, ("failed", "aborted"), strict=False):
        one |= {"status": status, "steps": [[request_span(0, 0, 0.3, 0) | nothing | {"status": status}]]}
    replay.rollout["num_aborted_requests"] = 1
    await visit.ask()
    await visit.wait_for("done")
    assert await visit.at("[data-name=Generate] .piece.failed").count() == 1
    assert await visit.at("[data-name=MultiGenerateCoT] .piece.aborted").count() == 1
    assert "Aborted\n1request" in await visit.at("#figures").inner_text()


@pytest.mark.parametrize(("budget", "outcome"), [("1.2", "met"), ("0.9", "missed")])
async def test_the_budget_is_sent_and_what_was_met_is_said(
    replay: Replay, visit: Visit, budget: str, outcome: str
) -> None:
    await visit.at("#budget").fill(budget)
    await visit.at("#mode").select_option("dataflow")
    await visit.ask()
    await visit.wait_for("done")
    assert replay.asked[0]["latency_budget_s"] == float(budget)
    assert replay.asked[0]["execution_mode"] == "dataflow"
    assert await visit.texts(f".fact.{outcome} .more") == [outcome]
    assert await visit.at(".mark.budget").count() == 1


async def test_phases_can_be_told_apart_without_colour(visit: Visit) -> None:
    await visit.ask()
    await visit.wait_for("done")
    looks = await visit.evaluate(
        "() => Object.fromEntries(['queue', 'prefill', 'decode', 'tool'].map((phase) => [phase, "
        "getComputedStyle(document.querySelector(`.piece.${phase}`)).backgroundImage"
        ".replace(/(rgb|color|oklab)[^)]*\\)/g, '')]))"
    )
    assert len(set(looks.values())) == 4
    assert looks["decode"] == "none"


async def test_with_reduced_motion_nothing_is_animated_and_time_still_passes(replay: Replay, begin: Begin) -> None:
    replay.speed = 0.4
    visit = await begin(motion="reduce")
    await visit.ask()
    await visit.see(".lane.running")
    first = await visit.at("[data-name=Programmer] .seconds").inner_text()
    assert await visit.evaluate("() => document.getAnimations().length") == 0
    await expect(visit.at("[data-name=Programmer] .seconds")).not_to_have_text(first)
    await visit.page.keyboard.press("Escape")
