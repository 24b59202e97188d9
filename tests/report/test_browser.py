"""The report in a real browser, with no network: what is rendered, what the console says, what overflows."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_report import result, store
from tiny import run_tool

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (1280, 400)

MEASURE = """<script>
addEventListener("load", () => {
  const closed = document.documentElement.scrollWidth;
  document.querySelectorAll("details").forEach((one) => one.open = true);
  const images = [...document.images].filter((one) => one.complete && one.naturalWidth > 0);
  const boxes = [...document.querySelectorAll("text.label")].map((one) => one.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 5 && b.top < a.bottom - 5;
  const rows = () => [...document.querySelectorAll("tr.row")].map((row) => row.cells[0].textContent);
  const before = rows();
  const head = document.querySelectorAll("thead button")[4];
  head.click();
  head.click();
  parent.postMessage({
    width: innerWidth, closed, open: document.documentElement.scrollWidth, images: images.length,
    labels: boxes.length, overlaps: boxes.filter((a, i) => boxes.slice(i + 1).some((b) => meet(a, b))).length,
    before, sorted: rows(), ground: getComputedStyle(document.body).backgroundColor,
  }, "*");
});
</script>"""
FRAMES = """<!doctype html><link rel="icon" href="data:,"><pre id="found"></pre><script>
const found = [];
addEventListener("message", (event) => {
  found.push(event.data);
  document.querySelector("#found").textContent = JSON.stringify(found);
});
</script>""" + "".join(
    f'<iframe src="measured.html" width="{width}" height="900" style="border:0"></iframe>' for width in WIDTHS
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """What each width measured, and the browser's console."""
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome to render the page with")
    folder = tmp_path_factory.mktemp("browser")
    long = "work_dirs/" + "a_long_name_without_a_break_" * 8
    for seed in range(3):
        run = store(folder / "runs" / f"lite_{seed}", result(seed=seed, semseg=40.0 + seed, config=long))
        (run / "pictures" / "epoch_1").mkdir(parents=True)
        noise = np.random.default_rng(seed).integers(0, 255, (300, 1400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(run / "pictures" / "epoch_1" / "00000_a.png")
        (run / "start" / "vis_data").mkdir(parents=True)
        lines = [json.dumps({"loss": 1.0 / (i + 1), "step": 20 * (i + 1)}) for i in range(20)]
        (run / "start" / "vis_data" / "scalars.json").write_text("\n".join(lines))
    store(folder / "runs" / "other", result("Polyhistor", semseg=43.0, encoder=600_000, delta=0.5))
    store(folder / "runs" / "whole", result("MultiTaskFull", semseg=45.0, delta=1.0, encoder=3_000_000))
    store(folder / "runs" / "decoders", result("DecodersOnly", semseg=30.0, delta=-6.0, encoder=0))
    (folder / "broken.json").write_text("{")
    page = folder / "report.html"
    assert run_tool("report.py", folder / "runs", folder / "broken.json", "--out", page) == 1
    (folder / "measured.html").write_text(
        page.read_text().replace('"lazy"', '"eager"').replace("</body>", MEASURE + "</body>")
    )
    (folder / "frames.html").write_text(FRAMES)
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--virtual-time-budget=20000"]
    command += ["--enable-logging=stderr", "--window-size=1400,1000", "--dump-dom", f"file://{folder / 'frames.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, done.stderr[-2000:]
    assert text[1], done.stderr[-2000:]
    return {one["width"]: one for one in json.loads(html.unescape(text[1]))}, done.stderr


def test_no_errors_on_the_console(rendered):
    measured, errors = rendered
    assert set(measured) == set(WIDTHS)
    assert not [line for line in errors.splitlines() if ":CONSOLE" in line]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows(rendered, width):
    measured = rendered[0][width]
    assert measured["closed"] <= width
    assert measured["open"] <= width, "with every detail open"


def test_what_is_rendered(rendered):
    measured = rendered[0][1280]
    assert measured["before"] == ["DecodersOnly", "MultiTaskFull", "Polyhistor", "PolyhistorLite"]
    assert measured["images"] == 3, "all of them loaded"
    # 4 rows and the 17 of the paper's table 1
    assert (measured["labels"], measured["overlaps"]) == (21, 0)


def test_a_click_sorts_within_the_groups(rendered):
    # by semseg, downward
    assert rendered[0][1280]["sorted"] == ["MultiTaskFull", "DecodersOnly", "Polyhistor", "PolyhistorLite"]
