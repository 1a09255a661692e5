"""A real browser that looks at a page: what it lays out, and what it complains of."""

import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

WATCH = """<script>
window.complaints = [];
window.addEventListener("error", (event) => window.complaints.push(String(event.message)));
document.addEventListener("securitypolicyviolation",
  (event) => window.complaints.push("refused: " + event.blockedURI));
</script>"""


def chromium():
    """Return the path of a Chromium; skip the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)}")
    return found


def run_browser(folder, *arguments):
    """Run the browser without a window; return what it printed."""
    ran = subprocess.run(
        [
            chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", *arguments,
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in ran.stderr, ran.stderr
    return ran.stdout


def measure(folder, html, script, *, width, is_dark=False):
    """Return what `script`, a function's body, returns in the page at a width of so many pixels."""
    probe = (
        f"<script>const probe = document.createElement('pre'); probe.id = 'probe';\n"
        f"probe.textContent = JSON.stringify({{value: (() => {{{script}}})(), "
        "complaints: window.complaints});\ndocument.body.append(probe);</script>"
    )
    file = folder / "measured.html"
    text = html.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{probe}</body>")
    file.write_text(text, encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"
    printed = run_browser(
        folder, scheme, f"--window-size={width},1000", "--dump-dom", f"file://{file}"
    )
    found = re.search(r'<pre id="probe">(.*?)</pre>', printed, re.DOTALL)
    assert found is not None, printed[-2000:]
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    answer = json.loads(text)
    assert [] == answer["complaints"]
    return answer["value"]
