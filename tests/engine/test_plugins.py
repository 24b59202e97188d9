"""Methods from outside: a package with an entry point, and a module that a config names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tiny import ROOT, write_config

PACKAGE = Path(__file__).resolve().parents[1] / "plugin_package"


def train(config: Path, work_dir: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "train.py", config, "--work-dir", work_dir, "--cfg-options", *options]
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=work_dir.parent,
        timeout=180,
    )


OPTIONS = ("train_cfg.max_epochs=1", "default_hooks.pictures=None")


def test_installed_package_registers_by_entry_point(tmp_path):
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(PACKAGE, source)
    subprocess.run(
        [
            *f"{sys.executable} -m pip install --quiet --no-deps --no-build-isolation --no-index --target".split(),
            str(target),
            str(source),
        ],
        check=True,
        capture_output=True,
    )
    config = write_config(tmp_path, "\nmethod = dict(type='ChannelScale')\n")
    done = train(config, tmp_path / "run", *OPTIONS, PYTHONPATH=str(target))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["method"] == "ChannelScale"
    # widths 16, 32, 64, 64, 128 of five layers, four tasks
    assert result["parameters"]["encoder"] == 4 * (16 + 32 + 64 + 64 + 128)

    without = train(config, tmp_path / "none", *OPTIONS)
    assert without.returncode == 2
    assert without.stderr.splitlines()[-1].startswith("error: unknown method 'ChannelScale'; ")


def test_custom_imports_of_a_config(tmp_path):
    shutil.copy(PACKAGE / "mtl_channel_scale.py", tmp_path / "my_method.py")
    extra = "\nmethod = dict(type='ChannelScale')\ncustom_imports = dict(imports=['my_method'])\n"
    config = write_config(tmp_path, extra)
    done = train(config, tmp_path / "run", *OPTIONS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ChannelScale on swin_tiny" in done.stdout

    command = [sys.executable, ROOT / "tools" / "export.py", tmp_path / "run" / "epoch_1.pth", "--timm", "out"]
    command += ["--custom-imports", "my_method"]
    exported = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False
    )
    assert "ChannelScale cannot be merged into plain weights: nobody has written it" in exported.stderr


def test_stacked_parameters_that_are_not_declared(tmp_path):
    """They would stay whole where an adapter file is taken apart."""
    text = (PACKAGE / "mtl_channel_scale.py").read_text("utf-8")
    (tmp_path / "my_method.py").write_text(text.replace('per_task = ("scale",)', ""), "utf-8")
    extra = "\nmethod = dict(type='ChannelScale')\ncustom_imports = dict(imports=['my_method'])\n"
    done = train(write_config(tmp_path, extra), tmp_path / "run", *OPTIONS)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith(
        "error: ChannelScale's count grows by 304 with a task, but 0 parameters of a task are declare"
    )
