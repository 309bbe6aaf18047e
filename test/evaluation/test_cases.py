from collections.abc import Callable
from math import nan

from mask2iv_ros.evaluation.cases import by_chance, by_rank, rank
from mask2iv_ros.evaluation.measure import Measured

Make = Callable[..., Measured]


def test_clips_are_ranked_within_their_task_and_those_without_a_figure_come_last(measured_with: Make):
    clips = [measured_with("slide", 7, 9.0), measured_with("push", 1, nan), measured_with("push", 2, 4.0)]
    clips += [measured_with("push", 3, 12.0), measured_with("push", 4, 4.0)]
    found = [(case.one.clip.id, case.rank, case.of) for case in rank(clips)]
    assert found == [("push-3", 1, 3), ("push-2", 2, 3), ("push-4", 3, 3), ("push-1", None, 3), ("slide-7", 1, 1)]


def test_best_median_and_worst_are_picked_by_rank(measured_with: Make):
    values = [3.0, 11.0, 5.0, 2.0, 8.0]
    clips = [measured_with("push", seed, value) for seed, value in enumerate(values)]
    shown = [
        (case.name, case.one.figures["stage 2, stage 1's masks"]["psnr_foreground"]) for case in by_rank(rank(clips))
    ]
    assert shown == [("best", 11.0), ("median", 5.0), ("worst", 2.0)]


def test_few_clips_are_shown_once(measured_with: Make):
    clips = [measured_with("one", 0, 1.0), measured_with("two", 0, 1.0), measured_with("two", 1, 2.0)]
    clips.append(measured_with("none", 0, nan))
    shown = [(case.one.clip.task, case.name, case.rank) for case in by_rank(rank(clips))]
    assert shown == [("one", "best", 1), ("two", "best", 1), ("two", "worst", 2)]


def test_chance_draws_from_all_without_repeats_and_again_the_same(measured_with: Make):
    cases = rank([measured_with(f"task {n % 3}", n, float(n)) for n in range(30)])
    drawn = by_chance(cases, 6, seed=1)
    ids = [case.one.clip.id for case in drawn]
    assert len(set(ids)) == 6
    assert {case.name for case in drawn} == {"random"}
    assert ids == [case.one.clip.id for case in by_chance(cases, 6, seed=1)]
    assert ids != [case.one.clip.id for case in by_chance(cases, 6, seed=2)]
    assert {case.one.clip.seed for case in by_chance(cases, 99, seed=0)} == set(range(30))
    ranks = {case.one.clip.id: case.rank for case in cases}
    assert all(case.rank == ranks[case.one.clip.id] for case in drawn)
