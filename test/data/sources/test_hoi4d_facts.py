import numpy as np
import pytest

from mask2iv_ros.data.sources.hoi4d_facts import colour_of, decode_labels, handled, roles_of_labels
from mask2iv_ros.errors import Refused

# definitions/motion segmentation/label.csv of leolyliu/HOI4D-Instructions
LABELS = """
C1,Toy Car,Right Hand
C2,Mug,Right Hand,Mug
C3,Screen,Right Hand,Keyboard
C4,Door,Right Hand,Body of the Cabinet,Drawer,Bottle
C5,Bottle,Right Hand,Mug
C6,Body of the Safe,Right Hand,Door,Bottle
C7,Bowl,Right Hand,Ball
C8,Body of the Bucket,Right Hand,Handle,Body of the Bucket,Handle,Left Hand
C9,Left Part of the Scissors,Right Hand,Right Part of the Scissors
C11,Left Part of the Pliers,Right Hand,Right Part of the Pliers
C12,Kettle,Right Hand,Mug
C13,Knife,Right Hand,Apple
C14,Body of the Trash Can,Right Hand,Lid,Bottle
C17,Base,Right Hand,Tube,Top Link,Bottom Link,Left Hand
C18,Base,Right Hand,Slot,Lid,Paper
C20,Chair,Right Hand,Left Hand
"""
NAMES = {line.split(",")[0]: line.split(",")[1:] for line in LABELS.strip().splitlines()}
LAMP = ["Base", "Tube", "Top Link", "Bottom Link"]


def parts(category: str, task: str, event: str) -> tuple[str, list[str], list[str]]:
    """The text, and the names of the labels that are interactor and object."""
    ((text, thing),) = handled(category, task, [event])
    roles = roles_of_labels(category, thing)
    assert roles.shape == (10,)
    names = ["", *NAMES[category], *[""] * 9]
    return text, [names[one] for one in np.flatnonzero(roles == 1)], [names[one] for one in np.flatnonzero(roles == 2)]


@pytest.mark.parametrize("category", NAMES)
def test_every_hand_of_the_table_is_the_interactor_and_nothing_else(category: str):
    _, hands, things = parts(category, "T1", "open")
    assert hands == [name for name in NAMES[category] if name in ("Right Hand", "Left Hand")]
    assert things
    assert "" not in things


@pytest.mark.parametrize(
    ("category", "task", "event", "text", "things"),
    [
        ("C1", "T2", "push", "a hand pushing a toy car", ["Toy Car"]),
        ("C2", "T1", "Pickup", "a hand picking up a mug", ["Mug"]),
        ("C2", "T1", "putdown", "a hand putting down a mug", ["Mug"]),
        ("C3", "T2", "close", "a hand closing a laptop", ["Screen", "Keyboard"]),
        ("C4", "T1", "open", "a hand opening a drawer", ["Drawer"]),
        ("C4", "T2", "open", "a hand opening a door", ["Door"]),
        ("C4", "T3", "Pickup", "a hand picking up a bottle", ["Bottle"]),
        ("C4", "T4", "push", "a hand pushing a drawer", ["Drawer"]),
        ("C5", "T2", "dump", "a hand dumping a bottle", ["Bottle"]),
        ("C6", "T1", "open", "a hand opening a safe", ["Door"]),
        ("C6", "T3", "carry", "a hand carrying a bottle", ["Bottle"]),
        ("C7", "T1", "carry", "a hand carrying a bowl", ["Bowl"]),
        ("C7", "T5", "putdown", "a hand putting down a ball", ["Ball"]),
        ("C8", "T1", "Carrywithbothhands", "two hands carrying a bucket", ["Body of the Bucket", "Handle"]),
        ("C9", "T2", "paper-cut", "a hand cutting with scissors", NAMES["C9"][::2]),
        ("C13", "T4", "cut", "a hand cutting with a knife", ["Knife"]),
        ("C14", "T1", "open", "a hand opening a trash can", ["Body of the Trash Can", "Lid"]),
        ("C17", "T3", "turn&on&the&switch", "a hand turning on the switch of a lamp", LAMP),
        ("C18", "T2", "binding", "a hand binding with a stapler", ["Base", "Slot", "Lid"]),
        ("C18", "T2", "Press", "a hand pressing a stapler", ["Base", "Slot", "Lid"]),
        ("C20", "T1", "Grasp", "a hand grasping a chair", ["Chair"]),
    ],
)  # fmt: skip
def test_texts_and_what_is_handled(category: str, task: str, event: str, text: str, things: list[str]):
    found = parts(category, task, event)
    assert (found[0], found[2]) == (text, things)


def test_a_grasp_handles_what_the_next_action_does():
    events = ["rest", "Reachout", "Grasp", "pull", "Reachout", "Grasp", "Pickup", "carry ", "putdown", "push", "Stop"]
    assert [found and found[0].removeprefix("a hand ") for found in handled("C4", "T4", events)] == [
        None, None, "grasping a drawer", "pulling a drawer", None, "grasping a bottle", "picking up a bottle",
        "carrying a bottle", "putting down a bottle", "pushing a drawer", None,
    ]  # fmt: skip


def test_what_hoi4d_has_not():
    with pytest.raises(Refused, match=r"an action is 'juggle'; known are binding, carry, .*turn&on&the&switch"):
        handled("C1", "T1", ["Juggle"])
    for category, task in (("C10", "T1"), ("C4", "T9"), ("", "")):
        with pytest.raises(Refused, match=f"category and task are {category}, {task}; expected"):
            handled(category, task, ["open"])


# utils/color_map.py there, printed
COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]


def test_colours():
    assert [colour_of(label) for label in range(7)] == COLOURS
    assert [colour_of(label) for label in (7, 8, 9)] == [(128, 128, 128), (64, 0, 0), (192, 0, 0)]
    labels = np.random.default_rng(0).integers(0, 7, (20, 30)).astype(np.uint8)
    np.testing.assert_array_equal(decode_labels(np.array(COLOURS, np.uint8)[labels]), labels)


def test_a_few_mixed_colours_at_edges_are_nobodys():
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:5, :8] = COLOURS[2]
    picture[0, :2] = (0, 127, 0), (5, 128, 0)
    labels = decode_labels(picture)
    assert labels[0, :3].tolist() == [0, 0, 2]
    assert labels.sum() == 2 * 38
    picture[0, 2] = (64, 64, 64)
    with pytest.raises(Refused, match=r"^3 of its pixels are as \(0, 127, 0\); expected HOI4D's colours"):
        decode_labels(picture)
