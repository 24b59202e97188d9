"""Every key of a config with values that it may not take: one line that names the key, before anything is built."""

from __future__ import annotations

import copy
import re

import pytest
from test_bad_input import error_of
from tiny import write_config

from mtl.engine.build import assemble
from mtl.engine.config import read_config
from mtl.engine.optim import TaskwiseOptimWrapper
from mtl.evaluation.metric import MultiTaskMetric
from mtl.models.multitask import MultiTaskModel
from mtl.registry import METRICS, MODELS, OPTIM_WRAPPERS

MORE = """
data_root, label, protocol, work_dir, load_from, experiment_name = "data", "name", "original", "run", None, "name"
custom_imports = dict(imports=["json"], allow_failed_imports=False)
model = dict(joint=True, compile=False)
optim_wrapper.update(
    amp=True, accumulative_counts=1, clip_grad=dict(max_norm=5.0, norm_type=2.0),
    paramwise_cfg=dict(custom_keys={"encoder.": dict(lr_mult=0.1)}, norm_decay_mult=0.5, bypass_duplicate=False),
)
optim_wrapper["optimizer"].update(weight_decay=1e-4, betas=(0.9, 0.99))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=3),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
val_evaluator = [dict(type="MultiTaskMetric", tasks=tasks)]
val_cfg, test_cfg = dict(fp16=False), dict()
custom_hooks = [dict(type="EMAHook", begin_iter=0, priority="NORMAL")]
env_cfg = dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="gloo"))
log_processor, log_level = dict(type="LogProcessor", window_size=10, by_epoch=True), "INFO"
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness, auto_scale_lr = dict(seed=0, deterministic=False), dict(enable=False, base_batch_size=16)
train_dataloader.update(
    sampler=dict(type="EpochSampler", shuffle=True), persistent_workers=False, pin_memory=False, drop_last=False,
    collate_fn=dict(type="pseudo_collate"),
)
"""
VALUES = (None, 5, -1, "abc", [], {}, float("inf"))


def places(value, path=()):
    """The path of every value of a config, but for single classes, numbers and the like in lists."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(key, str) or isinstance(item, dict):
            yield from places(item, (*path, key))


def changed(config, path, value):
    config = copy.deepcopy(config)
    owner = config
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    return config


def test_values_of_the_wrong_type_at_every_key(tmp_path, monkeypatch):
    """What is refused here is a `ValueError` that names the key; what the parts know alone is theirs to refuse."""
    path = write_config(tmp_path, MORE)
    whole = read_config(path).to_dict()
    assemble(read_config(path), train=True)
    refused, wrong = 0, []
    for place in places(whole):
        for value in VALUES:
            monkeypatch.setattr("mtl.engine.config._read_keys", lambda _, p=place, v=value: changed(whole, p, v))
            try:
                assemble(read_config(path), train=True)
            except ValueError as error:
                refused += 1
                # an unknown type is named itself, with the key of its part
                named = [key for key in place if isinstance(key, str) and (key != "type" or len(place) == 1)]
                if named[-1] not in str(error):
                    wrong.append((place, value, str(error)))
            except Exception as error:
                wrong.append((place, value, repr(error)))
    assert not wrong
    assert refused > 700


MESSAGES = {
    "type": ("train_dataloader['dataset'].update(type=5)", ["train_dataloader.dataset: unknown dataset 5", "Scenes"]),
    "module": ("train_dataloader['dataset'].update(type='abc')", ["train_dataloader.dataset: unknown dataset 'abc'"]),
    "epochs": ("train_cfg.update(max_epochs='abc')", ["train_cfg: max_epochs is an integer, not 'abc'"]),
    "no epochs": ("train_cfg = dict()", ["train_cfg is a dict, without which nothing is trained"]),
    "interval": ("train_cfg.update(val_interval=0)", ["train_cfg.val_interval is at least 1, not 0"]),
    "unit": ("train_cfg.update(by_epoch='no')", ["train_cfg.by_epoch is True or False, not 'no'"]),
    "scheduler": ("param_scheduler = 5", ["param_scheduler is a dict or a list", "not 5"]),
    "rise": ("param_scheduler = [dict(type='LinearLR', start_factor=2.)]", ["param_scheduler[0] {", "between 0 and 1"]),
    "scores": ("single_task = 5", ["single_task is a dict or a string or None, not 5"]),
    "score": ("single_task.update(semseg=0)", ["single_task['semseg'] is larger than 0"]),
    "nobody's score": ("single_task.update(semsegg=1)", ["single_task has a score of 'semsegg'", "'semseg'"]),
    "hooks": ("custom_hooks = 5", ["custom_hooks is a list", "not 5"]),
    "a hook": ("custom_hooks = [5]", ["custom_hooks is a list (each a dict) or None, not [5]"]),
    "no hook": ("custom_hooks = [dict(type='Hok')]", ["custom_hooks[0]: unknown hook 'Hok'", "EMAHook"]),
    "default hook": ("default_hooks.update(chekpoint=dict(keep=1))", ["no 'chekpoint'", "did you mean 'checkpoint'"]),
    "removed hook": ("default_hooks.update(chekpoint=None)", ["no 'chekpoint'", "did you mean 'checkpoint'"]),
    "setting": ("default_hooks.update(logger=dict(intervall=1))", ["default_hooks.logger", "'intervall'"]),
    "value": ("default_hooks.update(logger=dict(interval='1'))", ["interval is an integer, not '1'"]),
    "priority": ("custom_hooks = [dict(type='EMAHook', priority='HIGHER')]", ["custom_hooks[0].priority", "'HIGHER'"]),
    "loader": ("train_dataloader = []", ["train_dataloader is a dict", "not []"]),
    "no data set": ("val_dataloader.pop('dataset')", ["val_dataloader.dataset is a data set's config"]),
    "batch": ("train_dataloader.update(batch_size=0)", ["train_dataloader.batch_size is at least 1, not 0"]),
    "many workers": (
        "train_dataloader.update(num_workers=10**8)",
        ["train_dataloader.num_workers is at most 1,024, not"],
    ),
    "length": (
        "train_dataloader['dataset'].update(length=10**12)",
        ["dataset.length is at most 10,000,000, not 10000"],
    ),
    "workers": ("train_dataloader.update(num_workers='2')", ["train_dataloader.num_workers is an integer, not '2'"]),
    "shuffle": ("train_dataloader.update(shuffle=True)", ["train_dataloader.shuffle is the sampler's"]),
    "collate": ("train_dataloader.update(collate_fn=dict(type='collat'))", ["train_dataloader.collate_fn", "'collat'"]),
    "sampler": ("train_dataloader.update(batch_sampler=5)", ["train_dataloader.batch_sampler is a dict"]),
    "level": ("log_level = 'NOPE'", ["unknown log_level 'NOPE'", "INFO"]),
    "environment": ("env_cfg = dict(cudnn_benchmrk=True)", ["env_cfg has no 'cudnn_benchmrk'", "'cudnn_benchmark'"]),
    "processes": ("env_cfg = dict(mp_cfg=dict(mp_start_metod='fork'))", ["env_cfg.mp_cfg", "'mp_start_method'"]),
    "log": ("log_processor = dict(windowsize=3)", ["log_processor", "did you mean 'window_size'"]),
    "visualizer": ("visualizer = dict(type='Visualiser')", ["unknown visualizer 'Visualiser'", "'Visualizer'"]),
    "drawn": ("visualizer = dict(vis_backends=[dict(type='Tensorbord')])", ["visualizer.vis_backends[0]"]),
    "MMEngine's": ("optim_wrapper.update(type='OptimWrapper')", ["optim_wrapper.type='OptimWrapper'", "Taskwise"]),
    "mixed": ("optim_wrapper.update(type='AmpOptimWrapper')", ["TaskwiseOptimWrapper", "its amp is mixed precision"]),
    "wrapper": ("optim_wrapper.update(ampp=False)", ["optim_wrapper", "did you mean 'amp'"]),
    "optimizer": ("optim_wrapper.update(optimizer=None)", ["optim_wrapper.optimizer is a dict"]),
    "rate": (
        "optim_wrapper['optimizer'].update(lr=-1.0)",
        ["optim_wrapper.optimizer {", "Invalid learning rate: -1.0"],
    ),
    "infinite": ("optim_wrapper['optimizer'].update(lr=float('inf'))", ["lr is a finite number, not inf"]),
    "clipping": ("optim_wrapper.update(clip_grad=dict(maxnorm=1))", ["clip_grad", "did you mean 'max_norm'"]),
    "option": ("optim_wrapper.update(paramwise_cfg=dict(norm_decay=0.))", ["paramwise_cfg", "'norm_decay_mult'"]),
    "unreached": (
        "optim_wrapper.update(paramwise_cfg=dict(dcn_offset_lr_mult=0.))",
        ["no option 'dcn_offset_lr_mult'"],
    ),
    "multiplier": (
        "optim_wrapper.update(paramwise_cfg=dict(custom_keys={'encoder.': dict(lr_mul=0.1)}))",
        ["custom_keys['encoder.'] has no setting 'lr_mul'", "did you mean 'lr_mult'"],
    ),
    "nothing to multiply": (
        "optim_wrapper.update(paramwise_cfg=dict(norm_decay_mult=0.))",
        ["paramwise_cfg multiplies weight_decay: set optim_wrapper.optimizer.weight_decay"],
    ),
    "model": ("model = dict(type='BaseModel')", ["model", "BaseModel"]),
    "loop": ("train_cfg.update(type='EpochLoop')", ["train_cfg: unknown loop 'EpochLoop'", "EpochBasedTrainLoop"]),
    "evaluator": (
        "val_evaluator = dict(type='DumpResults', out_file_path='a.pkl')",
        ["val_evaluator has no MultiTask"],
    ),
    "metric": ("val_evaluator = dict(type='MultiTask')", ["val_evaluator: unknown metric 'MultiTask'"]),
    "imports": ("custom_imports = dict(imports=5)", ["custom_imports.imports is a string or a list", "not 5"]),
    "deterministic": (
        "randomness = dict(deterministic='no')",
        ["randomness: deterministic is True or False, not 'no'"],
    ),
    "resume": ("resume = True", ["unknown key 'resume'"]),
    "launcher": ("launcher = 'pytorch'", ["unknown key 'launcher'"]),
    "in_chans": ("encoder['options'].update(in_chans=4)", ["in_chans itself (images have three channels)"]),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case, tmp_path, capsys):
    extra, parts = MESSAGES[case]
    line = error_of(capsys, "train.py", write_config(tmp_path, f"\n{extra}\n"), "--work-dir", tmp_path / "run")
    for part in parts:
        assert part in line, line
    assert not list(tmp_path.glob("run/*.pth"))


def test_parts_of_a_users_own(tmp_path):
    """Subclasses of ours, and another optimizer wrapper that closes a step with `finish`."""

    class Wrapper(TaskwiseOptimWrapper):
        pass

    class Model(MultiTaskModel):
        pass

    class Metric(MultiTaskMetric):
        pass

    extra = """
optim_wrapper.update(type="Wrapper", clip_grad=dict(max_norm=float("inf")))
model = dict(type="Model")
val_evaluator = [dict(type="Metric", tasks=tasks), dict(type="DumpResults", out_file_path="a.pkl")]
custom_hooks = [dict(type="EMAHook", momentum=0.1, priority="LOW"), dict(type="IterTimerHook", priority=60)]
default_hooks.update(mine=dict(type="SyncBuffersHook"), timer=None)
env_cfg = dict(cudnn_benchmark=True)
"""
    registries = {OPTIM_WRAPPERS: Wrapper, MODELS: Model, METRICS: Metric}
    for registry, part in registries.items():
        registry.register_module(module=part)
    try:
        full = assemble(read_config(write_config(tmp_path, extra)), train=True)
    finally:
        for registry, part in registries.items():
            registry.module_dict.pop(part.__name__)
    assert full.model.type == "Model"


def test_what_is_tested_needs_nothing_of_a_training(tmp_path):
    extra = "\ntrain_dataloader, train_cfg, optim_wrapper, param_scheduler = None, None, None, None\n"
    config = read_config(write_config(tmp_path, extra))
    assemble(config, train=False)
    with pytest.raises(ValueError, match=re.escape("train_dataloader is a dict, without which nothing is trained")):
        assemble(config, train=True)
