"""Gives llama.cpp damaged states, in a process of its own: `python ask_hostile_state.py MODEL SEED COUNT`.

Prints one line a case: what was done to the state, whether it was accepted, and where the cache then begins and ends.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from support.llama_engines import cache_of, engine_of

TOKENS = 40


def damaged(state: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A name for the damage, and the state with it."""
    kind = rng.choice(("cut", "cut a little", "longer", "flip in front", "flip", "number in front", "noise", "empty"))
    data = bytearray(state)
    if kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "cut a little":
        del data[-rng.randint(1, 64) :]
    elif kind == "longer":
        data += rng.randbytes(rng.randint(1, 64))
    elif kind == "flip in front":
        data[rng.randrange(64)] ^= 1 << rng.randrange(8)
    elif kind == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "number in front":
        place = 4 * rng.randrange(200)
        number = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 5, 1000))
        data[place : place + 4] = number.to_bytes(4, "little", signed=True)
    elif kind == "noise":
        data = bytearray(rng.randbytes(rng.randint(1, 4096)))
    else:
        data = bytearray()
    return kind, bytes(data)


def main(path: str, seed: str, count: str) -> None:
    rng = random.Random(int(seed))
    with engine_of(Path(path), size=256) as engine:
        cache = cache_of(engine)
        cache.decode([rng.randrange(300, 3000) for _ in range(TOKENS)])
        saved = cache.save_state()
        assert saved is not None
        good = bytes(saved)
        for _ in range(int(count)):
            kind, state = damaged(good, rng)
            taken = cache.load_state(state, TOKENS)
            sys.stdout.write(f"{kind}: {taken} {cache.pos_min} {cache.n_tokens}\n")
            sys.stdout.flush()
            if taken:
                cache.decode([400])
        assert cache.load_state(good, TOKENS)
        sys.stdout.write("still works\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
