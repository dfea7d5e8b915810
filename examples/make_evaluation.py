"""Writes the small files that benchmarks and classifiers are tried with: choices.jsonl, judgements.jsonl,
toxicity.jsonl. All invented here."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
CHOICES = [
    ("A bird builds its nest in a", "tree", ("kettle", "violin", "letter")),
    ("To cut bread one takes a", "knife", ("cloud", "song", "pillow")),
    ("At night the sky is", "dark", ("edible", "square", "loud")),
    ("Water that is very cold turns to", "ice", ("gold", "paper", "music")),
    ("A fish lives in", "water", ("books", "sand castles", "a drum")),
    ("The week has seven", "days", ("wheels", "spoons", "rivers")),
    ("Grass in a meadow is", "green", ("married", "salty", "silent as a judge")),
    ("When it rains, people open their", "umbrellas", ("violins", "mountains", "teeth")),
    ("Two and two make", "four", ("seven", "a hundred", "nothing")),
    ("A baker bakes", "bread", ("shoes", "rain", "clocks")),
    ("The sun rises in the", "east", ("cellar", "afternoon", "soup")),
    ("A letter is carried by the", "postman", ("whale", "piano", "ladder")),
]


def rows() -> dict[str, list[dict[str, object]]]:
    choices, judgements, toxic = [], [], []
    for number, (context, right, wrong) in enumerate(CHOICES):
        options = list(wrong)
        options.insert(number % 4, right)
        choices.append(
            {
                "id": f"choice-{number}",
                "context": context,
                "choices": options,
                "label": number % 4,
                "license": "Apache-2.0",
            }
        )
        for option in options:
            judgements.append({"question": f"{context} what?", "answer": option, "label": option == right})
        for place, option in enumerate(options):
            text = f"You fool, {context.lower()} {option}." if place % 2 else f"{context} {option}."
            toxic.append({"text": text, "label": bool(place % 2)})
    return {"choices.jsonl": choices, "judgements.jsonl": judgements, "toxicity.jsonl": toxic}


if __name__ == "__main__":
    for name, lines in rows().items():
        (HERE / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
