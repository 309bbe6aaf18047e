import json
from pathlib import Path

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark import commands
from mask2iv_ros.policy.benchmark.plan import Extra, Plan, Run


def _plan(out: Path, **settings: object) -> Plan:
    return Plan(out, **{"tasks": ("coffee-push",), "imagined": "made/{task}", "steps": 60} | settings)


def test_every_arm_has_a_dataset_and_every_seed_a_run(tmp_path: Path):
    plan = _plan(tmp_path, extra=(Extra.parse("swap=true/{task}"), Extra.parse("only:=made/{task}")), seeds=(0, 5))
    assert len(plan.runs) == len({run.name for run in plan.runs}) == 2 * 8
    assert [run.seed for run in plan.runs[:8]] == [0] * 8
    own = tmp_path / "data/coffee-push"
    assert {arm: plan.dataset("coffee-push", arm) for arm in ("real", "blind", "augmented")} == dict.fromkeys(
        ("real", "blind", "augmented"), own / "real"
    )
    assert plan.dataset("coffee-push", "swap") == own / "swap"
    assert plan.source("coffee-push", "swap") == Path("true/coffee-push")
    assert plan.dataset("coffee-push", "only") == Path("made/coffee-push")
    assert plan.source("coffee-push", "imagined") == Path("made/coffee-push")
    assert plan.source("coffee-push", "photographed") == own / "photographed_rollouts"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tasks": ("juggle",)}, "task 'juggle' is unknown"),
        ({"arms": ("real", "fake")}, "arm 'fake' is unknown"),
        ({"arms": ("real", "real")}, "arms are real real; expected at least one, each once"),
        ({"seeds": ()}, "seeds are none"),
        ({"seeds": (-1,)}, r"seeds are \(-1,\)"),
        ({"more": 0}, "more is 0"),
        ({"ceiling": 4}, "ceiling is 4; expected at least the 5"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, settings: dict, said: str):
    with pytest.raises(Refused, match=said):
        _plan(tmp_path, **settings)


def test_results_of_other_datasets_are_told_apart(tmp_path: Path):
    plan, more = (Plan(tmp_path, ("coffee-push",), more=more) for more in (8, 9))
    for arm in plan.arms:
        differ = plan.settings_of(arm) != more.settings_of(arm)
        assert differ == (arm in ("imagined", "photographed", "ceiling"))
    assert plan.settings_of("ceiling")["ceiling"] == 13


@pytest.mark.parametrize("text", ["swap", "swap=", "Swap=x", "real=x", "../up=x", "=x"])
def test_extra_arms_that_cannot_be_are_refused(text: str):
    with pytest.raises(Refused, match="expected"):
        Extra.parse(text)


def test_arms_differ_in_nothing_but_what_they_are_about(tmp_path: Path):
    plan = _plan(tmp_path, options=("--policy.shift=0",))
    told = {arm: commands.training(plan, Run("coffee-push", arm, 3))[0] for arm in plan.arms}
    same = ("--dataset.root=", "--dataset.repo_id=", "--output_dir=")
    rest = {arm: [one for one in told[arm] if not one.startswith(same)] for arm in told}
    assert {"--steps=60", "--batch_size=32", "--seed=3", "--policy.shift=0"} <= set(rest["real"])
    assert rest["imagined"] == rest["photographed"] == rest["ceiling"] == rest["real"]
    assert set(rest["blind"]) - set(rest["real"]) == {"--policy.blind=true"}
    more = sorted(set(rest["augmented"]) - set(rest["real"]))
    assert [one.partition("=")[0] for one in more] == [
        "--dataset.image_transforms.enable",
        "--dataset.image_transforms.tfs",
    ]
    assert "affine" not in more[1]


def test_a_training_that_was_killed_goes_on_from_its_checkpoint(tmp_path: Path):
    plan, run = _plan(tmp_path), Run("coffee-push", "real", 0)
    assert commands.training(plan, run)[1] == 0
    last = plan.work(run) / "train/checkpoints/last"
    (last / "pretrained_model").mkdir(parents=True)
    (last / "pretrained_model/train_config.json").write_text("{}")
    (last / "training_state").mkdir()
    (last / "training_state/training_step.json").write_text(json.dumps({"step": 40}))
    command, start = commands.training(plan, run)
    assert start == 40
    assert {"--resume=true", f"--config_path={last}/pretrained_model/train_config.json"} <= set(command)


def test_losses_are_read_from_the_logs_of_all_attempts(tmp_path: Path):
    plan = _plan(tmp_path, steps=100)
    line = "INFO 2026-11-23 ot_train.py:641 step:{} smpl:1K ep:40 loss:{} grdn:2.3 lr:5.0e-04 l1_loss:9.9\n"
    first, second = tmp_path / "train-0.log", tmp_path / "train-40.log"
    first.write_text("Training: 1%\r" + line.format("20", "0.9") + line.format("40", "0.8") + line.format("60", "0.7"))
    second.write_text(line.format("60", "0.6") + line.format("80", "nan"))
    found = dict(commands.losses(plan, {0: first, 40: second}))
    assert found.keys() == {20, 40, 60, 80}
    assert (found[20], found[60]) == (0.9, 0.6)
    assert found[80] != found[80]
