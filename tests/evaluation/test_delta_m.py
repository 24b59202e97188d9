"""Δm against every row of the Polyhistor paper's tables, and what a user is told when scores are missing."""

import json
import math

import pytest

from mtl.evaluation import delta_m, load_single_task, references
from mtl.evaluation.delta_m import REFERENCE

PAPER = json.loads((REFERENCE / "polyhistor.json").read_text("utf-8"))
HIGHER = {"semseg": True, "human_parts": True, "saliency": True, "normals": False}
# the rows whose printed Δm does not follow from their own scores
MISPRINTED = {(m["table"], m["method"]): m["corrected"] for m in PAPER["misprints"] if m["column"] == "delta_m"}


def paper_rows():
    for number, table in PAPER["tables"].items():
        for row in table["rows"]:
            yield number, table["single_task"], dict(zip(PAPER["columns"], row, strict=True))


@pytest.mark.parametrize(("number", "reference", "row"), list(paper_rows()))
def test_printed_delta_m_is_reproduced(number, reference, row):
    scores = {task: row[task] for task in HIGHER}
    value = delta_m(scores, load_single_task(f"polyhistor/{reference}"), HIGHER)
    # scores and Δm are printed with two decimals; table 8's are 0.016 apart
    assert value == pytest.approx(MISPRINTED.get((number, row["method"]), row["delta_m"]), abs=0.02)


def test_misprints_are_in_the_rows_as_printed():
    rows = {(number, row["method"]): row for number, _, row in paper_rows()}
    assert len(rows) == 101
    for m in PAPER["misprints"]:
        assert rows[m["table"], m["method"]][m["column"]] == m["printed"] != m["corrected"]
    assert sorted(MISPRINTED.values()) == [-5.82, -5.76, 1.81, 8.50]


def test_shipped_single_task_scores_are_the_tables_first_rows():
    names = {"swin_t", "swin_b_1k", "swin_b_22k", "pvt_s", "moby"}
    assert {f"polyhistor/{name}" for name in names} | {"quickstart/scenes"} <= set(references())
    assert list(load_single_task("polyhistor/swin_t").values()) == [67.21, 61.93, 62.35, 17.97]
    for _, reference, row in paper_rows():
        if row["method"] == "Single-task Full Fine-tuning":
            assert load_single_task(f"polyhistor/{reference}") == {task: row[task] for task in HIGHER}


def test_a_lower_error_is_a_gain():
    assert delta_m({"normals": 9.0}, {"normals": 10.0, "semseg": 3.0}, HIGHER) == pytest.approx(10)
    assert delta_m({"normals": 11.0, "semseg": 60.0}, {"normals": 10, "semseg": 50}, HIGHER) == pytest.approx(5)


def test_a_score_without_data_gives_nan():
    assert math.isnan(delta_m({"semseg": float("nan")}, {"semseg": 50.0}, HIGHER))


@pytest.mark.parametrize("bad", [None, 0, 0.0, float("nan"), float("inf")])
def test_a_missing_single_task_score_is_named_with_the_remedy(bad):
    single_task = {"semseg": 50.0} if bad is None else {"semseg": 50.0, "normals": bad}
    with pytest.raises(ValueError, match=r"of normals: give .*tools/test\.py.*polyhistor/swin_t"):
        delta_m({"semseg": 60.0, "normals": 20.0}, single_task, HIGHER)
    with pytest.raises(ValueError, match="at least one task"):
        delta_m({}, single_task, HIGHER)


def test_single_task_scores_come_from_mappings_files_and_lists(tmp_path):
    runs = []
    for task, score in {"semseg": 60.5, "normals": 18}.items():
        runs.append(tmp_path / f"{task}.json")
        runs[-1].write_text(json.dumps({"metrics": {task: {"x": score, "y": 1.0}}, "main": {task: score}}))
    assert load_single_task(runs[0]) == load_single_task(str(runs[0])) == {"semseg": 60.5}
    assert (
        load_single_task(runs) == load_single_task({"semseg": 60.5, "normals": 18}) == {"semseg": 60.5, "normals": 18}
    )
    with pytest.raises(ValueError, match="semseg are given more than once"):
        load_single_task([*runs, {"semseg": 1.0}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a.json: not JSON"),
        ("[1]", "a.json: no single-task scores"),
        ('{"metrics": {}}', "a.json: no single-task scores"),
        ('{"main": {"semseg": null}}', "semseg is None, not a number"),
        ('{"main": {"semseg": "60"}}', "semseg is '60', not a number"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_single_task(tmp_path / "a.json")


def test_an_unknown_reference_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"did you mean 'polyhistor/swin_t'\? valid: polyhistor/moby, "):
        load_single_task("polyhistor/swin-t")
