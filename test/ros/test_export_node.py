import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-* wheels or a sourced installation")

from mask2iv_ros.msg import Rollout as RolloutMsg
from mask2iv_ros.srv import AcceptRollouts
from std_msgs.msg import String

from mask2iv_ros.export.provenance import read_provenance
from mask2iv_ros.ros import convert, qos
from mask2iv_ros.ros.export_node import ExportNode
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory


def rollout(number, size=(32, 48), fps=8.0, verdict=""):
    rng = np.random.default_rng(number)
    labels = np.zeros(size, np.uint8)
    labels[2:8, 2:8], labels[20:26, 20:30] = 1, 2
    return Rollout(
        id=f"20260101T000000-0a1b2c3d-{number:02d}",
        scene=Scene(rng.integers(0, 256, (*size, 3), np.uint8), labels, 1_700_000_000_123_456_789, "optical"),
        goal=Goal(labels == 2, "push it"),
        trajectory=Trajectory(np.stack([labels] * 3)),
        video=rng.integers(0, 256, (3, *size, 3), np.uint8),
        fps=fps,
        seed=number,
        checkpoint="tiny@0123",
        scores={"goal_iou": 0.5, "permanence": 1.0},
        verdict=verdict,
    )


class Rig:
    """An export node and who sends rollouts to it."""

    def __init__(self, ros, dataset, **parameters):
        self.dataset = dataset
        self.ros = ros(export={"dataset": dataset, "retry_period": 0.3, **parameters})
        self.latest = self.ros.diagnostics()
        self.exported = self.ros.listen(String, "exported", qos.ROLLOUTS)
        self.node = self.ros.add(ExportNode)
        self.rollouts = self.ros.publisher(RolloutMsg, "rollout", qos.ROLLOUTS)

    def send(self, *rollouts):
        for one in rollouts:
            self.rollouts.publish(convert.rollout_to_msg(one))

    def waiting(self, count):
        self.ros.wait(lambda: len(self.node._waiting) == count, f"{count} waiting rollouts")

    def accept(self, *ids, discard=False):
        return self.ros.call(AcceptRollouts, "accept_rollouts", AcceptRollouts.Request(ids=ids, discard=discard))

    def says(self, what):
        def said():
            status = self.latest("export")
            return status and what in status.message + " ".join(value.value for value in status.values)

        self.ros.wait(said, f"diagnostics to say {what!r}")

    def ids(self):
        return [one.id for one in read_provenance(self.dataset)]


def test_all_that_arrives_is_written_and_loads(ros, tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    rig = Rig(ros, tmp_path / "dataset")
    sent = [rollout(1), rollout(2)]
    rig.send(*sent)
    rig.ros.wait(lambda: len(rig.exported) == 2, "both to be exported")
    assert {msg.data for msg in rig.exported} == {f"{one.id} {number}" for number, one in enumerate(sent)}
    # A second node, as after a restart: what the publisher still has is not written twice.
    rig.ros.remove(rig.node)
    node = rig.ros.add(ExportNode)
    rig.send(rollout(3))
    rig.ros.wait(lambda: node._written >= 3 and not node._waiting, "the third")
    assert rig.ids() == [one.id for one in [*sent, rollout(3)]]
    dataset = LeRobotDataset("test/dataset", root=tmp_path / "dataset")
    assert (dataset.num_episodes, dataset.num_frames) == (3, 9)
    assert dataset[0]["task"] == "push it"
    provenance = read_provenance(tmp_path / "dataset")[0]
    assert (provenance.seed, provenance.source_stamp_ns, provenance.source_frame_id) == (
        1,
        1_700_000_000_123_456_789,
        "optical",
    )


def test_where_asked_to_rollouts_wait_for_a_decision(ros, tmp_path):
    rig = Rig(ros, tmp_path / "dataset", accept="service")
    first, second, third = rollout(1), rollout(2), rollout(3)
    rig.send(first, second, third)
    rig.waiting(3)
    answer = rig.accept("nobody")
    assert not answer.success
    assert "no rollout 'nobody' waits" in answer.message
    answer = rig.accept(second.id)
    assert (answer.success, list(answer.ids), list(answer.episodes)) == (True, [second.id], [0]), answer.message
    assert rig.ids() == [second.id]
    answer = rig.accept(first.id, discard=True)
    assert (answer.success, list(answer.ids), list(answer.episodes)) == (True, [first.id], [])
    answer = rig.accept()
    assert (answer.success, list(answer.ids), list(answer.episodes)) == (True, [third.id], [1])
    rig.waiting(0)
    assert rig.ids() == [second.id, third.id]


def test_where_asked_to_only_what_is_good_is_written(ros, tmp_path):
    rig = Rig(ros, tmp_path / "dataset", accept="good", waiting_limit=1)
    good = rollout(3, verdict="good")
    rig.send(rollout(1, verdict="doubtful: it jerks"), rollout(2), good)
    rig.ros.wait(lambda: len(rig.exported) == 1, "the good one to be exported")
    assert rig.ids() == [good.id]
    assert read_provenance(rig.dataset)[0].verdict == "good"
    assert rig.node._dropped == 2
    rig.waiting(0)
    rig.says("rollouts are written")


def test_when_the_limit_is_reached_new_ones_are_refused_and_none_is_lost(ros, tmp_path):
    rig = Rig(ros, tmp_path / "dataset", accept="service", waiting_limit=2)
    sent = [rollout(number) for number in (1, 2, 3)]
    rig.send(*sent)
    rig.says(f"rollout {sent[2].id} is refused: 2 rollouts wait, waiting_limit is 2")
    answer = rig.accept()
    assert list(answer.ids) == [one.id for one in sent[:2]]


def test_a_foreign_folder_is_said_so_and_can_be_mended(ros, tmp_path):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    (dataset / "thesis.txt").write_text("mine")
    rig = Rig(ros, dataset, accept="service")
    rig.says("holds other files (thesis.txt)")
    rig.send(rollout(1))
    rig.waiting(1)
    answer = rig.accept()
    assert not answer.success
    assert "holds other files (thesis.txt)" in answer.message
    assert (dataset / "thesis.txt").read_text() == "mine"
    (dataset / "thesis.txt").unlink()
    answer = rig.accept()
    assert answer.success, answer.message
    assert rig.ids() == [rollout(1).id]


def test_a_dataset_that_comes_free_is_tried_again(ros, tmp_path):
    from mask2iv_ros.export.writer import DatasetWriter

    with DatasetWriter(tmp_path / "dataset"):
        rig = Rig(ros, tmp_path / "dataset")
        rig.send(rollout(1))
        rig.says("is being written by process")
        rig.waiting(1)
    rig.ros.wait(lambda: rig.exported, "the rollout to be exported")


def test_a_rollout_that_does_not_fit_holds_up_no_other(ros, tmp_path):
    rig = Rig(ros, tmp_path / "dataset")
    odd = rollout(2, size=(48, 64))
    rig.send(rollout(1))
    rig.ros.wait(lambda: rig.exported, "the first")
    rig.send(odd, rollout(3))
    rig.ros.wait(lambda: len(rig.exported) == 2, "the one that fits")
    rig.says("has frames of 64 x 48 pixels")
    assert rig.ids() == [rollout(1).id, rollout(3).id]
    assert rig.accept(odd.id, discard=True).success


def test_a_hostile_rollout_is_said_so(ros, tmp_path):
    rig = Rig(ros, tmp_path / "dataset")
    msg = convert.rollout_to_msg(rollout(1))
    msg.id = "../escape"
    rig.rollouts.publish(msg)
    rig.says("rollout id is '../escape'")
    rig.send(rollout(2))
    rig.ros.wait(lambda: rig.exported, "the good one")


def test_what_waits_is_written_before_the_node_ends(ros, tmp_path):
    rig = Rig(ros, tmp_path / "dataset")
    rig.send(*(rollout(number) for number in range(4)))
    rig.ros.wait(lambda: rig.node._waiting or rig.exported, "the first arrivals")
    arrived = set(rig.node._waiting) | {msg.data.split()[0] for msg in rig.exported}
    rig.ros.remove(rig.node)
    assert arrived <= set(rig.ids())
