"""The ledger and the cache never disagree, whatever stops them."""

from __future__ import annotations

import pytest
from support.fake_kv_cache import FakeKVCache

from mistral_chat.engine.encoding.format import Encoding, TurnTokens
from mistral_chat.engine.ledger import FIRST_BATCH, NOTHING, SMALLEST_BATCH, UNABORTABLE_SECONDS, Ledger
from mistral_chat.errors import EngineFailed
from mistral_chat.generation import CachedTurn, CancelToken, Prefill


def prompt(*turns: tuple[str, int], head: int = 3) -> Encoding:
    """Turns of the given lengths, all of whose tokens are different."""
    return Encoding(
        tuple(range(head)),
        tuple(TurnTokens(key, tuple(range(ord(key) * 1000, ord(key) * 1000 + length)), (), ()) for key, length in turns),
    )


class Clock:
    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def ledger_of(cache: FakeKVCache, clock: Clock | None = None) -> Ledger:
    return Ledger(cache, reserve=10, clock=clock or Clock())


def read(ledger: Ledger, encoding: Encoding, cancel: CancelToken | None = None) -> list[Prefill]:
    return list(ledger.prefill(encoding, cancel or CancelToken()))


def test_an_empty_cache_is_reported_as_empty() -> None:
    ledger = ledger_of(FakeKVCache(100))
    assert ledger.contents == NOTHING
    assert (ledger.view.window, ledger.view.reserve, ledger.view.used, ledger.view.turns) == (100, 10, 0, ())
    assert not ledger.changed


def test_decoded_tokens_are_in_the_cache() -> None:
    ledger = ledger_of(FakeKVCache(100))
    ledger.pinned = frozenset("b")
    read(ledger, prompt(("a", 4), ("b", 5)))
    assert ledger.view.turns == (CachedTurn("a", 4), CachedTurn("b", 5, pinned=True))
    assert ledger.view.system_tokens == 3
    assert ledger.view.used == 12
    assert ledger.token_counts() == {"a": 4, "b": 5}
    assert ledger.changed


def test_progress_runs_from_zero_to_the_total() -> None:
    ledger = ledger_of(FakeKVCache(1000), Clock(step=0.01))
    steps = read(ledger, prompt(("a", 500)))
    assert (steps[0].done, steps[-1].done) == (0, 503)
    assert {step.total for step in steps} == {503}
    assert steps[0].seconds_left is None
    assert steps[-1].seconds_left == 0.0
    assert steps[1].seconds_left is not None
    assert steps[1].seconds_left > 0


def test_batches_are_full_as_soon_as_the_speed_is_known() -> None:
    steps = read(ledger_of(FakeKVCache(1000, batch=512), Clock(step=10.0)), prompt(("a", 900)))
    assert [step.done for step in steps] == [0, FIRST_BATCH, FIRST_BATCH + 512, 903], "small batches cost half of the speed"
    assert [step.batch for step in steps] == [FIRST_BATCH, 512, 903 - 512 - FIRST_BATCH, 0]
    known = Ledger(FakeKVCache(1000, batch=512), reserve=10, speed=60.0, clock=Clock(step=10.0))
    assert [step.done for step in read(known, prompt(("a", 900)))] == [0, 512, 903]


@pytest.mark.parametrize(
    ("seconds", "size"), [(0.001, 512), (0.05, int(FIRST_BATCH / 0.05 * UNABORTABLE_SECONDS)), (10.0, SMALLEST_BATCH)]
)
def test_an_unabortable_batch_stays_within_its_time_limit(seconds: float, size: int) -> None:
    cache = FakeKVCache(2000, batch=512)
    cache.can_abort = False
    steps = read(ledger_of(cache, Clock(step=seconds)), prompt(("a", 1500)))
    assert steps[1].batch == size


@pytest.mark.parametrize(("speed", "longest"), [(17, 8), (1000, 200)])
def test_a_recurrent_model_can_be_stopped_soon_on_a_slow_machine(speed: int, longest: int) -> None:
    cache, clock = FakeKVCache(2000, batch=512, can_trim=False), Clock()
    batches: list[int] = []
    for step in ledger_of(cache, clock).prefill(prompt(("a", 1500)), CancelToken()):
        batches.append(step.batch)
        clock.step = step.batch / speed
    assert max(batches) == longest


def test_progress_inside_a_batch_is_estimated_by_the_clock() -> None:
    step = Prefill(100, 400, seconds_left=30.0, batch=128, kept=7)
    assert step.after(5.0) == Prefill(150, 400, 25.0, 78, 7)
    assert step.after(1000.0).done == 228, "the next report comes when the batch is done"
    assert Prefill(100, 400, None, 128).after(5.0).done == 100


def test_tokens_that_saw_removed_text_are_recomputed() -> None:
    cache = FakeKVCache(1000)
    ledger = ledger_of(cache, Clock(step=0.1))
    read(ledger, prompt(("a", 40), ("b", 60), ("c", 200)))
    ledger.apply(prompt(("b", 60), ("c", 200)))
    ledger.mark_stale("c")
    ledger.mark_stale("b")
    ledger.mark_stale("c")
    assert not cache.is_fresh
    assert ledger.recompute_stale(CancelToken())
    assert cache.is_fresh
    assert cache.tokens == ledger.contents.tokens
    assert ledger.changed
    read_so_far = cache.tokens_read
    assert ledger.recompute_stale(CancelToken())
    assert cache.tokens_read == read_so_far, "it is done once"


def test_recomputing_yields_to_work_and_resumes() -> None:
    cache, cancel = FakeKVCache(1000), CancelToken()
    ledger = ledger_of(cache, Clock(step=0.1))
    read(ledger, prompt(("a", 40), ("b", 60), ("c", 200)))
    ledger.apply(prompt(("b", 60), ("c", 200)))
    ledger.mark_stale("b")
    before, batches = cache.tokens_read, 2

    def stop(armed: CancelToken | None) -> None:
        nonlocal batches
        batches -= 1
        if batches < 0:
            cancel.set()

    cache.before_read = stop
    assert not ledger.recompute_stale(cancel)
    assert cache.tokens == ledger.contents.tokens, "what is half done would be paid for by the next message"
    done = cache.tokens_read - before
    assert 0 < done < 260
    cache.before_read = lambda _armed: None
    assert ledger.recompute_stale(CancelToken())
    assert cache.tokens_read - before == 260
    assert cache.is_fresh


def test_a_full_cache_is_left_as_it_is() -> None:
    cache = FakeKVCache(103)
    ledger = ledger_of(cache)
    read(ledger, prompt(("a", 40), ("b", 60)))
    ledger.mark_stale("b")
    assert not ledger.recompute_stale(CancelToken())
    assert cache.tokens_read == 103


def test_an_empty_read_returns_at_once() -> None:
    ledger = ledger_of(FakeKVCache(100))
    read(ledger, prompt(("a", 4)))
    assert read(ledger, prompt(("a", 4))) == [Prefill(0, 0, kept=7)]


@pytest.mark.parametrize("finished", [0, 5, 31])
def test_a_stopped_read_keeps_its_finished_part(finished: int) -> None:
    cache = FakeKVCache(1000)
    cache.finished_part = finished
    cancel = CancelToken()
    ledger = ledger_of(cache)
    reads = ledger.prefill(prompt(("a", 20), ("b", 500)), cancel)
    assert next(reads).done == 0
    assert next(reads).done == FIRST_BATCH
    cache.before_read = lambda armed: armed.set() if armed else None
    assert list(reads) == []
    assert len(ledger.contents.tokens) == FIRST_BATCH + finished == cache.n_tokens
    cache.before_read = lambda _: None
    assert read(ledger, prompt(("a", 20), ("b", 500)))[-1].done == 523 - FIRST_BATCH - finished


def test_a_stop_between_two_reads_is_honoured() -> None:
    cache, cancel = FakeKVCache(1000), CancelToken()
    ledger = ledger_of(cache)
    reads = ledger.prefill(prompt(("a", 500)), cancel)
    next(reads)
    next(reads)
    cancel.set()
    assert list(reads) == []
    assert cache.n_tokens == FIRST_BATCH


def test_an_edit_returns_how_much_it_decoded() -> None:
    cache = FakeKVCache(1000, batch=128)
    ledger = ledger_of(cache)
    a, b = prompt(("a", 40), ("b", 60)).turns
    read(ledger, Encoding((1, 2), (a, b)))
    longer = TurnTokens("a", (*a.prompt[:10], 7, 8, *a.prompt[10:]), (), ())
    assert ledger.apply(Encoding((1, 2), (longer, b))) == 2
    assert cache.tokens == (1, 2, *longer.tokens, *b.tokens)


def test_the_last_token_can_be_left_for_decoding() -> None:
    cache = FakeKVCache(1000)
    ledger = ledger_of(cache)
    read(ledger, prompt(("a", 40)))
    ledger.apply(prompt(("a", 40)), decode_last=True)
    assert cache.n_tokens == 42


def test_state_is_saved_only_after_a_pending_shift() -> None:
    cache = FakeKVCache(1000, batch=128)
    ledger = ledger_of(cache)
    read(ledger, prompt(("a", 40), ("b", 60)))
    ledger.apply(prompt(("b", 60)))
    assert cache.shift_pending
    state = ledger.save_state()
    assert state is not None
    assert not cache.shift_pending
    other = FakeKVCache(1000)
    restored = ledger_of(other)
    assert restored.load_state(state, prompt(("b", 60)))
    assert other.tokens == cache.tokens == prompt(("b", 60)).tokens
    assert restored.view.turns == (CachedTurn("b", 60),)
    assert not restored.changed


def test_a_snapshot_that_does_not_fit_leaves_nothing() -> None:
    cache = FakeKVCache(1000)
    ledger = ledger_of(cache)
    read(ledger, prompt(("a", 40)))
    assert not ledger.load_state(b"rubbish", prompt(("b", 60)))
    assert ledger.contents == NOTHING
    assert cache.n_tokens == 0


def test_after_a_failure_everything_is_dropped() -> None:
    cache = FakeKVCache(1000)
    ledger = ledger_of(cache)
    read(ledger, prompt(("a", 40)))
    cache.fail = {"remove": 0}
    with pytest.raises(EngineFailed):
        ledger.apply(prompt(("b", 60)))
    ledger.reset()
    assert ledger.view.used == 0
    assert ledger.pinned == frozenset()
    assert read(ledger, prompt(("b", 60)))[-1].done == 63


def test_a_mismatch_with_the_cache_is_detected_in_tests() -> None:
    cache = FakeKVCache(1000)
    ledger = ledger_of(cache)
    read(ledger, prompt(("a", 40)))
    cache.remove(40, 43)
    with pytest.raises(AssertionError):
        ledger.set_contents(ledger.contents)


def test_reading_all_returns_whether_it_finished() -> None:
    ledger, stopped = ledger_of(FakeKVCache(1000)), CancelToken()
    stopped.set()
    assert not ledger.prefill_all(prompt(("a", 40)), stopped)
    assert ledger.prefill_all(prompt(("a", 40)), CancelToken())
