"""The pytest plugin, seen from a user's test file."""

import re

import pytest

import mmactors.explore
from mmactors.explore.search import progress

assert mmactors.explore  # Runs inside this process share the modules that it has imported.
pytest_plugins = ["pytester"]

RACE = """
    import mmactors
    import pytest

    @mmactors.explore
    @pytest.mark.parametrize("fixed", [False, True])
    def test_counter(world, fixed):
        count = world.cell("count", 0)

        async def increment():
            if fixed:
                await count.inc()
            else:
                seen = await count.read()
                await count.write(seen + 1)

        world.actor("a", increment)
        world.actor("b", increment)

        @world.at_end
        def no_update_is_lost():
            assert count.value == 2
"""
MODES = ["strict", "trio"]


@pytest.fixture(autouse=True)
def own_settings(pytester):
    """A project with the strictest settings, without other plugins' options."""
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")


def test_a_race_fails_with_its_schedule_and_a_fix_passes_with_its_verdict(pytester):
    """The output has all that is needed to go on."""
    pytester.makepyfile(RACE)
    result = pytester.runpytest()

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*a law is broken: no_update_is_lost",
            "*assert 1 == 2",
            "*# | a           | b           | what is seen and changed",
            "*[*]  2 |             | read count  | count is 0",
            "*4 steps, 1 preemption ([*]), no schedule with fewer breaks it",
            "*found by up to 1 preemption in schedule 4",
            "*pytest 'test_*.py::test_counter[[]False[]]' --mmactors-replay=mm1.*",
            "*def test_counter_as_found():",
            "*= mmactors =*",
            "*test_counter[[]True[]]: exhausted within scope {count}: 2 schedules",
        ]
    )


def test_what_is_shared_outside_the_scope_stands_below_the_verdict(pytester):
    """With the scope to paste."""
    pytester.makepyfile(
        """
        import mmactors

        @mmactors.explore(scope=("flag",))
        def test_two(world):
            flag, words = world.cell("flag", 0), world.cell("words", 0)

            async def writes():
                await flag.write(1)
                await words.write(1)

            world.actor("a", writes)
            world.actor("b", writes)
        """
    )
    result = pytester.runpytest()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_two: exhausted within scope {flag}: *; shared outside the scope: words",
            "*words  a and b write",
            '*to try them: world.scope("flag", "words")',
        ]
    )


def test_what_is_printed_to_be_pasted_is_a_test_that_fails_the_same_way(pytester):
    """And passes once the bug is mended, or says that it does not fit."""
    pytester.makepyfile(RACE)
    output = pytester.runpytest().stdout.str()
    lines = [line.removeprefix("E").strip("\n") for line in output.splitlines()]
    at = next(at for at, line in enumerate(lines) if "def test_counter_as_found" in line)
    end = next(at for at, line in enumerate(lines[at:], at) if line.strip() == ")")
    margin = len(lines[at]) - len(lines[at].lstrip())
    pasted = "\n".join(line[margin:] for line in lines[at : end + 1])
    path = pytester.path / "test_pasted.py"
    source = next(pytester.path.glob("test_what*.py")).read_text(encoding="utf-8")
    path.write_text(f"{source}\n\n{pasted}\n", encoding="utf-8")

    result = pytester.runpytest("test_pasted.py::test_counter_as_found")

    assert "fixed=False," in pasted
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*RaceFound: a law is broken: no_update_is_lost"])


def test_the_printed_line_replays_the_schedule(pytester):
    """One schedule, in the same test; others are skipped, and it must be one's."""
    pytester.makepyfile(RACE)
    output = pytester.runpytest().stdout.str()
    replay = re.search(r"--mmactors-replay=\S+", output)[0]

    result = pytester.runpytest(replay, "-k", "False")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*found by the given schedule in schedule 1"])

    result = pytester.runpytest(replay, "-k", "True")
    result.assert_outcomes(skipped=1)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stdout.fnmatch_lines(["ERROR: --mmactors-replay: the schedule is of none of these*"])

    result = pytester.runpytest(replay)
    result.assert_outcomes(failed=1, skipped=1)


def test_failing_schedules_are_kept_beside_the_tests(pytester):
    """In a directory that version control passes over."""
    pytester.makepyfile(RACE)
    pytester.runpytest()
    kept = list((pytester.path / ".mmactors").glob("*/*.txt"))

    assert 1 == len(kept)
    assert kept[0].read_text(encoding="utf-8").startswith("mm1.")
    assert (pytester.path / ".mmactors" / ".gitignore").exists()
    pytester.runpytest().stdout.fnmatch_lines(
        ["*kept from an earlier search: found by up to 1 preemption in schedule 4"]
    )


LARGE = """
    import mmactors

    @mmactors.explore
    def test_large(world):
        cells = [world.cell(f"c{index}", 0) for index in range(3)]

        async def works():
            for cell in cells:
                await cell.write(await cell.read() + 1)

        for name in "abc":
            world.actor(name, works)
"""


def test_the_budget_of_the_command_line_stands_above_that_of_the_test(pytester):
    """As schedules or as a time."""
    pytester.makepyfile(LARGE)
    result = pytester.runpytest("--mmactors-budget=50")

    result.stdout.fnmatch_lines(["*test_large: *sampled 50 schedules within scope {c0, c1, c2}"])
    pytester.runpytest("--mmactors-budget=100ms").assert_outcomes(passed=1)


def test_a_budget_that_is_none_is_refused_before_anything_runs(pytester):
    """It is bad input."""
    pytester.makepyfile(LARGE)
    result = pytester.runpytest("--mmactors-budget=soon")

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*--mmactors-budget: budget: the budget is 'soon'; expected*10s)"])


def test_exhaustive_goes_on_whatever_the_budget(pytester):
    """Until every schedule was tried."""
    pytester.makepyfile(RACE)
    result = pytester.runpytest("--mmactors-exhaustive", "--mmactors-budget=1", "-k", "True")

    result.stdout.fnmatch_lines(["*exhausted within scope {count}: *"])


def test_quiet_is_quiet_and_other_tests_are_left_alone(pytester):
    """No header, no section unless something was explored."""
    pytester.makepyfile("def test_other(): pass")
    assert "mmactors" not in pytester.runpytest("-p", "no:cacheprovider").stdout.str().replace(
        "mmactors-", "plugin-"
    )

    pytester.makepyfile(RACE)
    assert "= mmactors =" not in pytester.runpytest("-q", "-k", "True").stdout.str()


@pytest.mark.parametrize("mode", MODES)
def test_it_works_beside_pytest_trio(pytester, mode):
    """Explored tests are no coroutines, so pytest-trio leaves them alone."""
    if mode == "trio":
        pytester.makeini("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    pytester.makepyfile(
        """
        import mmactors
        import pytest
        import trio

        @pytest.fixture
        def start():
            return 5

        @mmactors.explore(budget=100)
        def test_explored(world, start):
            count = world.cell("count", start)

            async def works():
                await count.inc()

            world.actor("a", works)
            world.actor("b", works)

            @world.at_end
            def both_counted():
                assert count.value == 7

        class TestClass:
            @mmactors.explore
            def test_method(self, world):
                self.count = world.cell("count", 0)
                world.actor("a", self.works)

            async def works(self):
                await self.count.inc()

        @pytest.mark.trio
        async def test_trio(nursery):
            await trio.sleep(0)
        """
    )

    pytester.runpytest().assert_outcomes(passed=3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fixture", ["nursery", "autojump_clock", "own"])
def test_trio_fixtures_are_refused_with_what_to_do(pytester, mode, fixture):
    """A fixture of an event loop would be set up once, and used by every schedule."""
    if mode == "trio":
        pytester.makeini("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    pytester.makepyfile(
        f"""
        import mmactors
        import pytest
        import pytest_trio

        @pytest_trio.trio_fixture
        async def own():
            yield 1

        @mmactors.explore
        def test_explored(world, {fixture}):
            async def works():
                pass

            world.actor("a", works)
        """
    )
    result = pytester.runpytest()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*test_explored uses the trio fixture '{fixture}': an explored*"])


def test_the_plugin_imports_nothing_heavy(pytester):
    """pytest loads it in every project that has mmactors installed."""
    path = pytester.makepyfile(
        """
        import sys
        import mmactors.pytest_plugin

        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & {"numpy", "numba", "trio", "structlog", "rich"}, loaded
        assert "mmactors.explore" not in sys.modules
        """
    )

    assert 0 == pytester.runpython(path).ret


def test_asserts_of_the_package_are_not_rewritten(pytester):
    """Its compiled functions are the same ones under pytest and outside."""
    pytester.makepyfile(
        """
        def test_loader():
            import mmactors.engine.baton
            assert "assertion" not in type(mmactors.engine.baton.__loader__).__module__
        """
    )

    pytester.runpytest_subprocess().assert_outcomes(passed=1)


INTERRUPTED = """
    import os
    import signal
    import mmactors

    built = []

    @mmactors.explore
    def test_long(world):
        built.append(1)
        if len(built) == 300:
            os.kill(os.getpid(), signal.{signal})
        cells = [world.cell(f"c{{index}}", 0) for index in range(3)]

        async def works():
            for cell in cells * 3:
                await cell.write(await cell.read() + 1)

        for name in "abc":
            world.actor(name, works)

    def test_after():
        pass
"""


@pytest.mark.parametrize(("number", "name"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM")])
@pytest.mark.parametrize("quiet", [(), ("-q",)], ids=["", "quiet"])
def test_a_signal_prints_the_verdict_of_the_test_and_ends_the_session(
    pytester, number, name, quiet
):
    """As pytest ends without a search; exit codes are those of pytest, and of the shell."""
    pytester.makepyfile(INTERRUPTED.format(signal=number))
    result = pytester.runpytest_subprocess(*quiet)

    result.stdout.fnmatch_lines([f"*::test_long: *sampled * schedules *; interrupted by {name}"])
    result.stdout.no_fnmatch_line("*test_after*")
    code = pytest.ExitCode.INTERRUPTED if number == "SIGINT" else 143
    assert code == result.ret


@pytest.fixture
def impatient(monkeypatch):
    """Let searches say at once how far they are."""
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_a_search_that_takes_long_says_how_far_it_is(pytester, impatient, capture):
    """On stderr, whatever is captured; what the test prints stays captured."""
    pytester.makepyfile(LARGE)
    result = pytester.runpytest_inprocess(f"--capture={capture}", "--mmactors-budget=3000")

    result.assert_outcomes(passed=1)
    result.stderr.fnmatch_lines(["*::test_large: * schedule* in * s (*/s), * of 3,000 schedules*"])


def test_an_ordinary_suite_is_not_disturbed(pytester):
    """Nothing in the first ten seconds."""
    pytester.makepyfile(LARGE)
    result = pytester.runpytest_inprocess("--mmactors-budget=500")

    assert "" == result.stderr.str()
    assert "/s)" not in result.stdout.str()


def test_workers_of_xdist_explore_as_one_process_does(pytester):
    """They have no terminal; verdicts come to the one who has."""
    pytester.makepyfile(RACE)
    result = pytester.runpytest_subprocess("-n1", "-p", "xdist")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*test_counter[[]True[]]: exhausted within scope {count}: 2 *"])


def test_a_budget_may_have_both_limits(pytester):
    """Whichever comes first."""
    pytester.makepyfile(LARGE)
    result = pytester.runpytest("--mmactors-budget=50,60s")

    result.stdout.fnmatch_lines(["*test_large: *sampled 50 schedules within scope {c0, c1, c2}"])


def test_failing_schedules_are_drawn_into_one_page_or_a_file_each(pytester):
    """NAME.html holds all of them; a folder has a file named after each test."""
    pytester.makepyfile(RACE + RACE.replace("test_counter", "test_other"))

    pytester.runpytest("--mmactors-html=all.html")
    pytester.runpytest("--mmactors-html=pages")

    drawn = (pytester.path / "all.html").read_text()
    assert "test_counter[False]" in drawn
    assert "test_other[False]" in drawn
    names = sorted(path.name for path in (pytester.path / "pages").iterdir())
    assert 2 == len(names)
    assert names[0].endswith("test_counter_False_.html")


def test_one_page_from_several_processes_is_refused(pytester):
    """Each would write its own."""
    pytester.makepyfile(RACE)

    result = pytester.runpytest("--mmactors-html=all.html", "-n2")

    result.stderr.fnmatch_lines(["*--mmactors-html: all.html is one file*expected a folder*-n0"])


def test_a_report_fits_the_terminal_and_v_shows_all_of_it(pytester, monkeypatch):
    """No line of the schedule is wider than pytest's own."""
    monkeypatch.setenv("COLUMNS", "70")
    count = 'count = world.cell("count", 0)'
    actor = 'world.actor("a", increment)'
    text = RACE.replace(count, f'{count}; note = world.cell("note of its own", 0)')
    pytester.makepyfile(text.replace(actor, f'world.actor("c", note.inc); {actor}'))

    short, whole = pytester.runpytest(), pytester.runpytest("-v")

    table = [line for line in short.outlines if re.match(r"E +[*]? +\d+ \|", line)]
    assert max(map(len, table)) <= 70
    short.stdout.fnmatch_lines(["*1 line hidden*"])
    assert not any("note of its own" in line for line in table)
    whole.stdout.fnmatch_lines(["*add note of its own*"])
