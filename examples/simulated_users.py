"""Simulated users of a served policy: they ask, read two answers, and say which is better. Their turns are
marked as simulated.

    python examples/simulated_users.py runs/demo_users/learn.replies runs/demo/turns

What they asked and were answered is a `learn.replies` folder with two answers a prompt; what they think of it
is the simulated labelers' taste (docs/simulated_labelers.md), each user's own. One in ten does not agree to
anything being kept, one in five says nothing, few report. Turns go into the folder as the site would put them
there; running this again adds nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from biddable.run import jsonl, turn_log
from biddable.run.manifest import read_manifest
from biddable.run.records import Feedback, Policy, Replies, Sampling, Turn, hash_fraction
from biddable.simulated import labelers

CONSENT = "simulated-consent-1"


def spoken(
    row: Replies, number: int, policy: Policy, sampling: Sampling
) -> tuple[list[Turn], list[Feedback]]:
    """One conversation: a turn an answer, and what the user says about them."""
    user, base = row.prompt.user, f"sim-{row.prompt.id}"
    clock = f"2026-11-21T{10 + number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    said = [
        Turn(
            id=f"{base}-{place}",
            conversation=base,
            user=user,
            time=clock,
            messages=row.prompt.messages,
            answer=answer,
            policy=policy,
            sampling=sampling,
            consent=CONSENT,
            simulated=True,
        )
        for place, answer in enumerate(row.answers)
    ]
    if hash_fraction("silent", user, row.prompt.id) < 0.2:
        return said, []
    crowd = labelers.panel("training", 1, 12)
    taste = crowd[int(hash_fraction("taste", user) * len(crowd))]
    ranks = labelers.rank(taste, row.prompt, row.answers)
    best = ranks.index(1)
    others = tuple(said[place].id for place, rank in enumerate(ranks) if rank > 1)
    equal = tuple(said[place].id for place, rank in enumerate(ranks) if rank == 1 and place != best)
    opinion = Feedback(
        id=f"{base}-said",
        turn=said[best].id,
        user=user,
        time=clock,
        thumbs="up",
        preferred_over=others,
        same_as=equal,
    )
    return said, [opinion]


def main() -> None:
    where, folder = Path(sys.argv[1]), Path(sys.argv[2])
    manifest = read_manifest(where) or {}
    (asked,) = manifest["inputs"]["policies"]
    settings = manifest["settings"]
    policy = Policy(folder=asked["name"], content=asked["content"])
    sampling = Sampling(
        temperature=settings["temperature"], top_p=settings["top_p"], max_tokens=settings["max_tokens"]
    )
    there = {turn.id for turn in turn_log.read(folder)[0]}
    added = 0
    for number, row in enumerate(jsonl.read(where / "replies.jsonl", Replies)):
        if hash_fraction("consent", row.prompt.user) < 0.1:
            continue
        given, said = spoken(row, number, policy, sampling)
        if given[0].id not in there:
            turn_log.append(folder, *given, *said)
            added += len(given)
    print(f"{added} turns added to {folder}")


if __name__ == "__main__":
    main()
