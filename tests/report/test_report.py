"""The report: tables that mix nothing, plots, bad input, files that are no friends."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from PIL import Image
from tiny import run_tool

from mtl.engine.settings import differences
from mtl.report.labels import Box, place_labels
from mtl.report.paper import load_paper, paper_names
from mtl.report.plot import HEIGHT, WIDTH, Point, delta_plot
from mtl.report.runs import read_run
from mtl.report.tables import duration, make_tables, over_runs

SINGLE = {"source": None, "scores": {"semseg": 50.0, "normals": 20.0}}


def result(method="PolyhistorLite", seed=0, semseg=40.0, delta=-1.0, encoder=300_000, **other):
    return {
        "config": "configs/mine.py",
        "method": method,
        "encoder": "swin",
        "protocol": "original",
        "metrics": {"semseg": {"mIoU": semseg, "IoU/person": semseg}, "normals": {"mErr": 20.5, "median": None}},
        "main_metric": {"semseg": "mIoU", "normals": "mErr"},
        "unit": {"semseg": "%", "normals": "°"},
        "main": {"semseg": semseg, "normals": 20.5},
        "higher_is_better": {"semseg": True, "normals": False},
        "delta_m": delta,
        "parameters": {"encoder": encoder, "decoders": 100_000, "all": encoder + 100_000, "base": 3_000_000},
        "single_task": SINGLE,
        "cost": {
            "device": "cpu",
            "processes": 1,
            "memory": "peak resident set",
            "train": {"seconds": 200.0, "steps": 500, "starts": 1, "step_seconds": 0.4, "peak_memory": 2**30},
            "test": {"image_seconds": 0.03, "peak_memory": None},
        },
        "seed": seed,
        "settings": {"method": {"type": method, "reduction": 4}, "randomness": {"seed": seed}},
        **other,
    }


def store(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def tables(tmp_path, *contents):
    return make_tables([read_run(store(tmp_path / str(i), c) / "result.json") for i, c in enumerate(contents)])


@pytest.fixture
def runs(tmp_path):
    """Three seeds of a method and two baselines, one with a picture and a logged loss."""
    for seed, score in enumerate((40.0, 41.0, 42.0)):
        store(tmp_path / "runs" / f"lite_{seed}", result(seed=seed, semseg=score))
    store(tmp_path / "runs" / "whole", result("MultiTaskFull", semseg=45.0, delta=1.0, encoder=3_000_000))
    plain = store(tmp_path / "runs" / "decoders", result("DecodersOnly", semseg=30.0, delta=-6.0, encoder=0))
    (plain / "pictures" / "epoch_10").mkdir(parents=True)
    Image.fromarray(np.zeros((40, 2000, 3), np.uint8)).save(plain / "pictures" / "epoch_10" / "00000_a.png")
    (plain / "start" / "vis_data").mkdir(parents=True)
    lines = [json.dumps({"loss": 5.0 - i, "step": 20 * (i + 1)}) for i in range(3)]
    (plain / "start" / "vis_data" / "scalars.json").write_text("\n".join([*lines, '{"delta_m": 1.0}', '{"loss": 3.']))
    return tmp_path / "runs"


def report(*arguments):
    return run_tool("report.py", *arguments)


def rows_of(page):
    """The text of each table row's cells."""
    rows = re.findall(r'<tr class="row">(.*?)</tr>', page.read_text(), re.DOTALL)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


def test_a_row_per_recipe_with_mean_and_deviation(runs, tmp_path, capsys):
    assert report(runs, "--out", tmp_path / "r.html") == 0
    assert "5 results in 1 table" in capsys.readouterr().out
    rows = {row[0]: row for row in rows_of(tmp_path / "r.html")}
    assert list(rows) == ["DecodersOnly", "MultiTaskFull", "PolyhistorLite"], "baselines come first"
    # the deviation of a sample of 40, 41, 42 is 1
    assert rows["PolyhistorLite"][1:6] == ["3", "0.300 (10.0 %)", "0.400", "41.00 ± 1.00", "20.50 ± 0.00"]
    assert rows["DecodersOnly"][6:] == ["-6.00", "3 min 20 s", "400", "1.00", "30"]
    text = (tmp_path / "r.html").read_text()
    assert '<td data-value="45.0" class="best">45.00</td>' in text
    assert "semseg mIoU ↑ (%)" in text
    assert "normals mErr ↓ (°)" in text
    assert text.count("data:image/webp;base64,") == 1
    assert 'aria-label="training loss"' in text
    assert "PASCAL-Context numbers" in text


def test_what_cannot_be_compared_is_in_tables_of_its_own(tmp_path):
    other = result()
    other["metrics"].pop("normals"), other["main"].pop("normals")
    data = {"method": {"type": "X"}, "val_dataloader": {"dataset": {"type": "Folder"}}}
    found = tables(
        tmp_path,
        result(),
        result(protocol="resized"),
        result() | {"encoder": "pvt"},
        other,
        result(settings=data),
        result(parameters={"encoder": 1, "all": 2, "base": 9}),
    )
    assert [len(table.rows) for table in found] == [1] * 6
    assert "scores at resized resolution" in found[1].caption
    assert "data Folder" in found[4].caption


def test_the_single_task_run_itself_gets_a_delta(tmp_path):
    whole = result("SingleTaskFull", semseg=50.0, delta=None, single_task=None)
    whole["main"]["normals"] = 20.0
    [table] = tables(tmp_path, result(), whole, result("DecodersOnly", semseg=45.0, delta=None, single_task=None))
    shown = {row.label: row.cells[5].text for row in table.rows}
    # (45/50 - 1) and -(20.5/20 - 1), halved, in %
    assert shown == {"SingleTaskFull": "+0.00", "DecodersOnly": "-6.25", "PolyhistorLite": "-1.00"}
    assert any("The Δm of SingleTaskFull, DecodersOnly was not in the results" in note for note in table.notes)
    # two different sets of scores: which one is meant?
    other = {"source": None, "scores": {"semseg": 40.0, "normals": 20.0}}
    [table] = tables(tmp_path, result(), result(seed=1, single_task=other), whole)
    assert {row.label: row.cells[5].text for row in table.rows}["SingleTaskFull"] == "–"


def test_a_test_beside_a_result_is_told_of(runs, tmp_path, capsys):
    (runs / "whole" / "test.json").write_text(json.dumps(result("MultiTaskFull", protocol="resized")))
    assert report(runs, "--out", tmp_path / "r.html") == 0
    assert "test.json is not shown beside result.json" in (tmp_path / "r.html").read_text()


def test_the_settings_of_a_test_are_said_to_be_those_of_its_command(tmp_path):
    (table,) = tables(tmp_path, result())
    assert not any("tested checkpoint" in note for note in table.notes)
    (table,) = tables(tmp_path, result(), result(seed=1, checkpoint="best.pth"))
    assert any("need not be those that it was trained with" in note for note in table.notes)


def test_warnings_name_what_makes_rows_unequal(tmp_path):
    scores = {"source": "quickstart/scenes", "scores": {"semseg": 60.0}}
    settings = {"method": {"type": "Hyperformer"}, "train_cfg": {"max_epochs": 3}}
    (table,) = tables(
        tmp_path, result(), result(seed=0, semseg=39.0), result("Hyperformer", single_task=scores, settings=settings)
    )
    warnings = "\n".join(table.warnings)
    assert "different single-task scores" in warnings
    assert "train_cfg.max_epochs (3, unset)" in warnings
    assert "PolyhistorLite has a seed more than once: 0, 0" in warnings
    assert any("quickstart/scenes (semseg 60.00)" in note for note in table.notes)


def test_rows_of_one_method_say_how_they_differ(tmp_path):
    (table,) = tables(tmp_path, result(), result(settings={"method": {"type": "PolyhistorLite", "reduction": 8}}))
    assert sorted(row.detail for row in table.rows) == ["reduction=4", "reduction=8"]
    assert sorted(row.plot_label for row in table.rows) == ["PolyhistorLite reduction=4", "PolyhistorLite reduction=8"]


def test_a_mean_says_which_classes_it_is_without(tmp_path):
    def run(method, **classes):
        ious = {f"IoU/{name}": value for name, value in classes.items()}
        metrics = {"semseg": {"mIoU": 40.0, **ious}, "normals": {"mErr": 20.5}}
        return result(method, metrics=metrics)

    whole, lacking = run("LoRA", ground=60.0, cat=20.0, dog=40.0), run("SSF", ground=60.0, cat=None, dog=20.0)
    (table,) = tables(tmp_path / "one", lacking)
    assert "The semseg mIoU is a mean of 2 of 3 classes; absent: cat." in table.notes
    assert table.warnings == []
    (table,) = tables(tmp_path / "two", whole, lacking)
    assert "The semseg mIoU of SSF is a mean of 2 of 3 classes; absent: cat." in table.notes
    assert "The rows' semseg mIoU are means of different classes: compare the classes' own." in table.warnings
    (table,) = tables(tmp_path / "whole", whole)
    assert not any("a mean of" in note for note in table.notes)


def test_a_task_without_a_label_is_said_to_be_so(tmp_path):
    main = {"semseg": None, "normals": 20.5}
    metrics = {"semseg": {"mIoU": None, "IoU/cat": None}, "normals": {"mErr": 20.5}}
    (table,) = tables(tmp_path, result(main=main, metrics=metrics, delta=None))
    assert "The semseg mIoU is – where nothing was labelled." in table.notes


def test_a_run_without_costs_and_single_task_scores(tmp_path):
    (table,) = tables(tmp_path, *(result(seed=seed, delta=None, cost=None, single_task=None) for seed in (0, 1)))
    (row,) = table.rows
    assert [cell.text for cell in row.cells[5:]] == ["–"] * 5
    assert len(row.runs) == 2, "the seed is all that differs"
    assert any("single_task =" in note for note in table.notes)


def test_settings_differ_in_more_than_the_seed():
    assert differences([{"a": {"b": 1}}, {"a": {"b": 2}, "randomness": {"seed": 1}}]) == {"a.b": ["1", "2"]}


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    folder = store(tmp_path / os.fsdecode(b"f\xfcr"), result())
    (folder / "start" / "vis_data").mkdir(parents=True)
    (folder / "start" / "vis_data" / "scalars.json").write_text('{"loss": 1.0, "step": Infinity}')
    assert report(folder, "--out", tmp_path / "r.html") == 0
    assert "f\\udcfcr" in (tmp_path / "r.html").read_text("utf-8")


def test_html_in_files_stays_text(tmp_path):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    content = result(evil, config=evil, encoder=1) | {"encoder": evil, "protocol": evil}
    content["metrics"]["semseg"][f"IoU/{evil}"] = 1.0
    content["single_task"] = {"source": evil, "scores": {"semseg": 1.0}}
    content["cost"] = {"device": evil, "memory": evil}
    content["settings"] = {"method": {"type": evil}, evil: evil}
    for key in ("metrics", "main", "higher_is_better", "main_metric", "unit"):
        content[key][evil] = {"mIoU": 1.0} if key == "metrics" else 1.0 if key == "main" else evil
    content["higher_is_better"][evil] = True
    folder = store(tmp_path / 'a"><script>alert(3)<', content)
    assert report(folder, "--out", tmp_path / "r.html", "--title", evil) == 0
    text = (tmp_path / "r.html").read_text()
    assert text.count("<script>") == 1, "the page's own"
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_page_asks_for_nothing(runs, tmp_path):
    assert report(runs, "--out", tmp_path / "r.html") == 0
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.parametrize("name", paper_names())
def test_labels_overlap_neither_labels_nor_points(name):
    own = [Point("DecodersOnly", 0.0, -6.0, 0.6, True), Point("PolyhistorLite", 0.31, -2.7, 0.3, True)]
    points = own + [Point(*point, None, False) for point in load_paper(name).points]
    places = [(100.0 + 37 * (i % 9), 200.0 + 23 * (i // 9)) for i in range(len(points))]
    frame = Box(0, 0, WIDTH, HEIGHT)
    boxes = place_labels([(point.label, point.own) for point in points], places, frame)
    assert sum(a.overlap(b) for i, a in enumerate(boxes) for b in boxes[:i]) == 0
    assert all(box.x0 > 0 and box.x1 < WIDTH and box.y0 > 0 and box.y1 < HEIGHT for box in boxes)
    svg = delta_plot(points, "Δm")
    assert svg.count('<text class="label') == len(points), "text stays text"
    assert ">0</text>" in svg


def test_misprints_of_the_paper_are_corrected():
    points = {label: (millions, delta) for label, millions, delta in load_paper("polyhistor/3").points}
    assert points["Bitfit"][0] == 0.8, "table 3 prints 0.2, one task's"
    assert "misprints corrected" in load_paper("polyhistor/3").note
    # the printed 5.21 M and 0.29 M are the counts of Polyhistor and of λ = 2 (test_counts.py)
    points = {label: (millions, delta) for label, millions, delta in load_paper("polyhistor/7").points}
    assert points["Polyhistor"] == (5.21, 0.13)
    assert points["Polyhistor-Lite (λ = 2)"] == (0.29, -0.73)
    assert not {"Polyhistor-Lite (λ = 1)", "Polyhistor-Lite (λ = 32)"} & set(points)
    assert "Polyhistor-Lite (λ = 1) to Polyhistor, " in load_paper("polyhistor/7").note
    assert load_paper("none") is None


def test_numbers():
    assert [duration(s) for s in (8.4, 200, 3725)] == ["8 s", "3 min 20 s", "1 h 02 min"]
    assert over_runs([1.0, 3.0], lambda value: value) == (2.0, pytest.approx(2**0.5))
    assert over_runs([1.0, None], lambda value: value) == (None, None)


BROKEN = {
    "truncated": ('{"method": "Poly', "cut off"),
    "empty": ("", "cut off"),
    "list": ("[1]", "no JSON object"),
    "other": ('{"a": 1}', "no 'method'"),
    "score": (json.dumps(result(semseg="high")), "'high'"),
    "count": (json.dumps(result(parameters={"encoder": 1, "all": 2, "base": 0})), "parameters.base"),
    "huge count": (json.dumps(result(parameters={"encoder": 1, "all": 10**400, "base": 1})), "parameters.all"),
    "other metrics": (json.dumps(result() | {"metrics": {**result()["metrics"], "x": {"a": "b"}}}), "metrics of 'x'"),
    "settings": (json.dumps(result(settings=None)), "no 'settings'"),
    "unit": (json.dumps(result(unit={"semseg": "%"})), "unit of the metric of 'normals'"),
    "cost": (json.dumps(result(cost={"train": {"seconds": "long"}})), "cost.train"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_alone_and_among_good_ones(kind, runs, tmp_path, capsys):
    text, reason = BROKEN[kind]
    broken = tmp_path / "broken.json"
    broken.write_text(text)
    assert report(broken, "--out", tmp_path / "r.html") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no result to report; ")
    assert reason in line
    assert not (tmp_path / "r.html").exists()
    assert report(runs, broken, "--out", tmp_path / "r.html") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"left out: {broken}: ")
    assert reason in line
    assert len(rows_of(tmp_path / "r.html")) == 3
    assert str(broken) in (tmp_path / "r.html").read_text()


def test_runs_without_a_result_copies_and_repeats(runs, tmp_path, capsys):
    (runs / "unfinished").mkdir()
    (runs / "unfinished" / "last_checkpoint").write_text("epoch_1.pth")
    store(runs / "lite_copy", result(seed=0, semseg=40.0))
    (runs / "whole" / "pictures" / "epoch_1").mkdir(parents=True)
    (runs / "whole" / "pictures" / "epoch_1" / "a.png").write_bytes(b"no picture")
    assert report(runs, str(runs / "who*"), "--out", tmp_path / "r.html") == 1
    errors = capsys.readouterr().err
    assert "unfinished: a run without a result" in errors
    assert "a copy of " in errors
    assert "a.png: not a picture" in errors
    assert "is named twice and counted once" in errors
    assert rows_of(tmp_path / "r.html")[2][1] == "3"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--out", "r.html"], "no such file or folder"),
        ([".", "--out", "r.html"], "no result.json or test.json in it or below"),
        (["runs", "--out", "r.txt"], "--out names an .html file"),
        (["runs", "--out", "runs"], "--out names an .html file"),
        (["runs", "--out", "folder.html"], "--out names an .html file"),
        (["runs", "--out", "mine.html"], "is no report of this tool"),
        (["runs", "--out", "r.html", "--reference", "polyhistor/9"], "polyhistor/1, polyhistor/2"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "mine.html").write_text("<p>my own page")
    if arguments[0] == "runs":
        store(tmp_path / "runs", result())
    assert report(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert (tmp_path / "mine.html").read_text() == "<p>my own page"


def test_a_report_is_written_over_a_report(runs, tmp_path):
    out = tmp_path / "new" / "r.html"
    assert report(runs, "--out", out) == 0
    assert report(runs, "--out", out, "--title", "Again") == 0
    assert "<h1>Again</h1>" in out.read_text()


def test_one_bad_picture_or_log_never_stops_the_page(runs, tmp_path, capsys):
    good = runs / "decoders"
    drawn = good / "pictures" / "epoch_10"
    os.mkfifo(drawn / "b\n\x1b[31m.png")
    (drawn / "c.png").mkdir()
    Image.new("1", (10_000, 10_000)).save(drawn / "d.png")
    (good / "pictures" / "epoch_x").mkdir()  # foreign files, which are left alone
    (good / "pictures" / "epoch_²").mkdir()
    (good / "pictures" / "epoch_11").touch()
    for name, kind in (("one", os.mkfifo), ("two", os.mkdir)):
        (good / name / "vis_data").mkdir(parents=True)
        kind(good / name / "vis_data" / "scalars.json")
    with open(good / "start" / "vis_data" / "scalars.json", "a") as log:
        log.write("\n" + 100_000 * "[" + f'\n{{"loss": 1e308, "step": {10**40}}}\n')
    assert report(runs, "--out", tmp_path / "r.html") == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("left out: ") for line in lines)
    for part in (
        r"b\n\x1b[31m.png: not a picture that can be read (it is not a file but a named pipe)",
        "c.png: not a picture that can be read (it is not a file but a folder)",
        "d.png: not a picture that can be read (its 10000 x 10000 pixels",
        "one/vis_data/scalars.json: cannot be read (it is not a file but a named pipe)",
        "two/vis_data/scalars.json: cannot be read (it is not a file but a folder)",
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 5
    page = (tmp_path / "r.html").read_text()
    assert page.count("<img") == 1
    assert page.count("training loss") == 2, "its heading and the plot's name"
    assert "\x1b" not in page
    assert r"\x1b[31m.png" in page


def test_pictures_of_any_shape_are_shown(runs, tmp_path):
    for name, size in (("b", (30_000, 1)), ("c", (1, 20_000))):
        Image.new("L", size).save(runs / "decoders" / "pictures" / "epoch_10" / f"{name}.png")
    assert report(runs, "--out", tmp_path / "r.html") == 0
    shapes = re.findall(r'width="(\d+)" height="(\d+)" loading', (tmp_path / "r.html").read_text())
    assert shapes == [("1200", "24"), ("1200", "1"), ("1", "4000")]


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_what_is_no_file_among_results(kind, runs, tmp_path, capsys):
    bad = runs / "bad"
    bad.mkdir()
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda path: path.symlink_to(path.name)}[kind]
    make(bad / "result.json")
    assert report(runs, "--out", tmp_path / "r.html") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"left out: {bad / 'result.json'}: cannot be read (")
    assert len(rows_of(tmp_path / "r.html")) == 3
    assert report(bad / "result.json", "--out", tmp_path / "none" / "r.html") == 2
    assert not (tmp_path / "none").exists()
    os.mkfifo(tmp_path / "pipe.html")
    assert report(runs, "--out", tmp_path / "pipe.html") == 1
    assert "it is not a file but a named pipe" in capsys.readouterr().err.splitlines()[-1]


def test_control_characters_do_not_reach_page_and_terminal(tmp_path, capsys):
    evil = "a\x00\x1b[31mb\nc"
    folder = store(tmp_path / "a\x1b\nb", result(evil, config=evil))
    assert report(folder, folder / "result.json", "--out", tmp_path / "r.html", "--title", evil) == 0
    page = (tmp_path / "r.html").read_text()
    assert not set(page) & {"\x00", "\x1b"}
    assert r"a\x00\x1b[31mb" in page
    assert capsys.readouterr().err.count("\n") == 1
