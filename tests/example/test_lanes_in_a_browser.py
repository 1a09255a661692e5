"""The page of lanes, looked at in a real browser: where everything stands, and what keys do."""

from pathlib import Path

import pytest
from browser import measure, run_browser
from toys import aba, stale_tlb

from mmactors.explore import search
from mmactors.explore.report.lanes import page
from mmactors.explore.search.options import Options
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import with_rules
from mmactors.scenario.load import load_scenario

RACE = Path(__file__).parents[2] / "configs" / "races" / "a11-migrate-collect.yaml"
NARROW, WIDE = 660, 1500

LAYOUT = """
const box = (element) => element.getBoundingClientRect();
const seen = [...document.querySelectorAll(".row, .link")].filter((row) => row.offsetParent);
const found = {cut: [], lanes: [], steps: [], arrows: [], bars: [], counts: {}};
const texts = "h1, h2, pre, .step, .seen li, .heads > *, .number";
for (const element of document.querySelectorAll(texts))
  if (element.offsetParent && element.scrollWidth > element.clientWidth + 1)
    found.cut.push(element.textContent);
if (document.documentElement.scrollWidth > window.innerWidth) found.cut.push("the page");
for (const row of seen) {
  const lanes = [...row.querySelectorAll(":scope > .lane")].map(box);
  for (let at = 1; at < lanes.length; at++)
    if (lanes[at].left < lanes[at - 1].right - 0.5) found.lanes.push(row.textContent);
  for (const step of row.querySelectorAll(".step")) {
    const lane = box(step.closest(".lane")), own = box(step);
    if (own.left < lane.left - 0.5 || own.right > lane.right + 0.5 || own.bottom > lane.bottom + 1)
      found.steps.push(step.textContent);
    for (const bar of step.closest(".lane").querySelectorAll(".bar"))
      if (box(bar).right > own.left + 0.5) found.bars.push(bar.title);
  }
  for (const arrow of row.querySelectorAll(".arrow")) {
    const middle = (at) => (lanes[at].left + lanes[at].right) / 2;
    const ends = [middle(arrow.dataset.from), middle(arrow.dataset.to)].sort((a, b) => a - b);
    if (Math.abs(box(arrow).left - ends[0]) > 1.5 || Math.abs(box(arrow).right - ends[1]) > 1.5)
      found.arrows.push(arrow.title);
  }
}
for (const kind of ["step", "bar", "arrow", "end"])
  found.counts[kind] = document.querySelectorAll("." + kind).length;
return found;
"""

KEYS = """
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const now = () => document.querySelector(".row.now")?.dataset.step ?? null;
const shown = () => [...document.querySelectorAll(".row")].filter((row) => row.offsetParent).length;
const told = () => document.querySelector(".details").textContent;
const before = shown();
const numbers = [...document.querySelectorAll(".row")].filter((row) => row.offsetParent)
  .map((row) => row.dataset.step);
press("j"); press("j");
const second = now(), text = told();
press("k");
const first = now();
press("v");
const all = shown();
press("v"); press("Escape");
return {numbers, before, first, second, text, all, after: shown(), none: now()};
"""

CONTRAST = """
const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
  .map((part) => part / 255)
  .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
const texts = "h1, h2, .step, .seen li, .number, .legend span, .end";
return [...document.querySelectorAll(texts)].map((element) => {
  let behind = element, colour = "rgba(0, 0, 0, 0)";
  while (behind && colour === "rgba(0, 0, 0, 0)") {
    colour = getComputedStyle(behind).backgroundColor;
    behind = behind.parentElement;
  }
  const [low, high] = [light(getComputedStyle(element).color), light(colour)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
});
"""


@pytest.fixture(scope="module")
def machine():
    """A schedule of a machine: CPUs, locks, hidden lines."""
    scenario = load_scenario(RACE, ())
    explored = ExploredMachine(with_rules(scenario, broken=scenario.race.broken))
    return page([("a11", search(explored, name="a11", options=Options()).failure.story)])


@pytest.fixture(scope="module")
def worlds():
    """Schedules of two worlds, with preemptions between more than two actors."""
    return page([(build.__name__, search(build).failure.story) for build in (stale_tlb, aba)])


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_overlaps_and_nothing_is_cut_off(tmp_path, machine, worlds, width):
    """Lanes beside each other, steps inside, bars beside steps, arrows from lane to lane."""
    for html in (machine, worlds):
        found = measure(tmp_path, html, LAYOUT, width=width)

        counts = found.pop("counts")
        assert {"cut": [], "lanes": [], "steps": [], "arrows": [], "bars": []} == found
        assert counts["step"]
        assert counts["end"]
    assert 3 == counts["arrow"]  # That of the worlds: as many as preemptions.


def test_locks_are_bars(tmp_path, machine):
    """From the step that takes one to the step that gives it back, hidden steps included."""
    assert measure(tmp_path, machine, LAYOUT, width=WIDE)["counts"]["bar"] >= 8


def test_keys_step_through_what_is_shown(tmp_path, machine):
    """j and k; v shows the rest; below stands all that a step saw, also what is hidden."""
    found = measure(tmp_path, machine, KEYS, width=WIDE)

    assert found["numbers"][:2] == [found["first"], found["second"]]
    assert found["text"].startswith(f"step {found['second']} on cpu0, 'app: ")
    assert "irqs of cpu0 is on" in found["text"]  # It is hidden above.
    assert "app holds ptl of A of app" in found["text"]
    assert found["before"] == found["after"] < found["all"]
    assert found["none"] is None


@pytest.mark.parametrize("is_dark", [False, True])
def test_everything_can_be_read_in_light_and_dark(tmp_path, machine, is_dark):
    """At least 4.5 to 1, as the guidelines for accessible contents have it (WCAG 2.1, 1.4.3)."""
    ratios = measure(tmp_path, machine, CONTRAST, width=WIDE, is_dark=is_dark)

    assert min(ratios) >= 4.5


def test_a_page_is_one_file_that_loads_nothing(machine, worlds):
    """No address, no other file; its own policy forbids them, too."""
    for html in (machine, worlds):
        assert "default-src 'none'" in html
        for loading in ("http://", "https://", "src=", "@import", "url(", "<link"):
            assert loading not in html


def test_a_page_can_be_printed(tmp_path, machine):
    """To paper, as far as the browser's own printing shows."""
    file, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    file.write_text(machine, encoding="utf-8")

    run_browser(tmp_path, f"--print-to-pdf={printed}", f"file://{file}")

    assert b"%PDF" == printed.read_bytes()[:4]


def test_what_a_world_calls_things_is_text(tmp_path):
    """Names with angle brackets and quotes are shown, not obeyed."""

    def build(world):
        evil = world.cell("</script><b title='\"'>", "<img src=x>")

        async def breaks():
            await evil.write("<script>window.complaints.push('run')</script>")
            raise ValueError("<i>broken</i>")

        world.actor("<a>", breaks)

    html = page([("<title>", search(build).failure.story)])
    seen = measure(tmp_path, html, "return document.body.innerText", width=WIDE)

    assert "<i>broken</i>" in seen
    assert "write </script><b title='\"'>" in seen
