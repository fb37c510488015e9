"""The arithmetic of the race between programs, without any of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from support.race import OURS, Goal, Limits, Report, Result, Sample, Scene, Steps, Unavailable, run
from support.race_engines import Message, MessageList, Setup, TooLong


@dataclass(frozen=True)
class Runner:
    """Takes steps whose seconds are known."""

    name: str
    seconds: tuple[float, ...]
    gives_up: bool = False

    def install(self, cache: Path) -> str:
        return "1.0"


OUR_RUNNER, SLOW, LAME = Runner(OURS, (9, 1, 3, 2)), Runner("slow", (9, 10, 30, 20)), Runner("lame", (9, 1), gives_up=True)


def scene(log: list[str], *goals: Goal) -> Scene:
    def play(peer: Runner) -> Steps:
        try:
            for seconds in peer.seconds:
                log.append(peer.name)
                yield {"time": seconds}
            if peer.gives_up:
                raise Unavailable("it limps")
        finally:
            log.append(f"{peer.name} ended")

    names = (OURS, "slow", "lame")
    return Scene("Running", play, {"time": "s"}, names, goals, warm_up=1)


def race(scene: Scene, *runners: Runner, rounds: int = 3, seconds: float = math.inf) -> Result:
    result = Result("Running")
    run(scene, scene.play, runners, Limits(rounds, seconds), result=result, tell=lambda _: None)
    return result


def test_all_take_each_step_in_turns_and_the_first_is_not_counted() -> None:
    log: list[str] = []
    result = race(scene(log), OUR_RUNNER, SLOW, rounds=2)
    assert log == [OURS, "slow"] * 3 + [f"{OURS} ended", "slow ended"]
    assert result.values(OURS, "time") == [1, 3]
    assert result.values("slow", "time") == [10, 30]


def test_it_ends_when_the_time_is_over() -> None:
    log: list[str] = []
    race(scene(log), OUR_RUNNER, SLOW, seconds=-1)
    assert log == []


def test_one_that_fails_is_listed_and_the_others_go_on() -> None:
    result = race(scene([]), OUR_RUNNER, LAME)
    assert result.without == {"lame": "it limps"}
    assert result.median(OURS, "time") == 2
    assert result.values("lame", "time") == [1]


def test_the_least_favourable_peer_decides_about_a_goal() -> None:
    samples = {OURS: [{"time": 2.0}], "slow": [{"time": 20.0}], "quick": [{"time": 10.0}]}
    peers = ("slow", "quick", "absent")
    at_most, at_least = Goal("time", peers, 0.2), Goal("time", peers, 0.2, at_least=True)
    result = Result("Running", samples)
    assert result.ratio(at_most) == (0.2, "quick")
    assert result.ratio(at_least) == (0.1, "slow")
    assert result.ratio(Goal("time", (), 3)) == (2.0, "")
    assert at_most.met(0.2)
    assert not at_most.met(0.3)
    assert not at_least.met(0.1)


def test_what_was_not_measured_is_no_ratio() -> None:
    assert math.isnan(Result("Running").ratio(Goal("time", ("slow",), 1))[0])


def test_the_report_names_goals_met_and_missed_and_keeps_results(tmp_path: Path) -> None:
    table = {"running, demo": scene([], Goal("time", ("slow",), 0.2), Goal("time", ("slow",), 0.05))}
    report = Report({"processor": "a fast one"}, {"slow": "1.0"})
    report.results["running, demo"] = race(table["running, demo"], OUR_RUNNER, SLOW, LAME)
    report.write(tmp_path / "race.json")
    assert Report.read(tmp_path / "race.json") == report
    text = report.markdown(table)
    assert "| Running: time | slow | at most 0.2 | 0.10 | met |" in text
    assert "| Running: time | slow | at most 0.05 | 0.10 | missed |" in text
    assert f"| {OURS} | 2 (1 to 3) |" in text
    assert "| slow | 20 (10 to 30), x 10 |" in text
    assert "| lame | 1, x 0.5 |" in text
    assert "| lame | it limps |" in text
    assert "processor: a fast one" in text


def talk(asked: list[list[str]], room: int = 1_000) -> MessageList:
    def complete(messages: list[Message]) -> tuple[Sample, str]:
        asked.append([message["content"] for message in messages])
        if len(messages) > room:
            raise TooLong
        return {"first token": 1.0}, f"reply {len(asked)}"

    setup = Setup(Path(), 100, 1, 10, lambda text: len(text.split()), Path(), Path())
    return MessageList(complete, setup)


def test_a_client_leaves_out_its_oldest_turns_when_the_messages_do_not_fit() -> None:
    asked: list[list[str]] = []
    chat = talk(asked)
    chat.begin()
    for number in range(4):
        chat.say(f"question {number}")
    assert asked[0] == ["question 0"]
    assert asked[1] == ["question 0", "reply 1", "question 1"]
    assert asked[3] == ["question 1", "reply 2", "question 2", "reply 3", "question 3"]


def test_a_client_leaves_out_more_when_the_server_refuses() -> None:
    asked: list[list[str]] = []
    chat = talk(asked, room=1)
    chat.begin([("a", "b")])
    chat.say("c")
    assert asked == [["a", "b", "c"], ["c"]]


def test_a_regenerated_and_an_edited_message_end_the_prompt() -> None:
    asked: list[list[str]] = []
    chat = talk(asked)
    chat.begin([("a", "b")])
    chat.say("c")
    chat.regenerate()
    chat.edit(0, "d")
    assert asked == [["a", "b", "c"], ["a", "b", "c"], ["d"]]
