"""Writes prompts.jsonl: 720 prompts for the demo, from written.txt and templates.txt. Same files, same
output.

The ten use cases stand in about the proportions of the InstructGPT paper (Ouyang et al. 2022, table 1). A
wish such as "in two sentences" is said in the prompt and repeated for programs in `wishes`; `mention` also
holds a word that a right answer can hardly do without. Eight exact duplicates and eight prompts with a long
common prefix are planted, so that curation has something to drop. All names are invented.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from biddable.run.jsonl import write
from biddable.run.records import Message, Prompt, Wish

FOLDER = Path(__file__).parent
SOURCE = "written for biddable"
SEED = 7
# Distinct prompts a use case; with the 16 planted ones this is 720.
# Paper, in %: 45.6 12.4 11.2 8.4 6.6 4.2 3.5 3.5 2.6 1.9.
COUNTS = {
    "generation": 325,
    "open_qa": 87,
    "brainstorming": 79,
    "chat": 59,
    "rewrite": 47,
    "summarization": 24,
    "classification": 25,
    "other": 25,
    "closed_qa": 19,
    "extract": 14,
}
COLOURS = ["amber", "coral", "indigo", "jade", "ochre", "pearl", "ruby", "slate"]
ANIMALS = ["badger", "crane", "dormouse", "egret", "gecko", "heron", "lynx", "marten", "newt", "otter"]
NUMBERS = ("zero", "one", "two", "three")
# Prompts that begin so sound right behind "In two sentences:".
AFTER_COLON = (
    *(
        "Write",
        "Describe",
        "Tell",
        "Imagine",
        "Introduce",
        "Explain",
        "Suggest",
        "Think",
        "Find",
        "Invent",
        "Summarize",
    ),
    *("What", "How", "Why", "Where", "Which"),
)

Row = tuple[str, tuple[str, ...], tuple[Wish, ...]]
"""Use case, turns (user and assistant by turns, the user last), wishes."""


def wish(word: str) -> Wish:
    """From shorthand: s2, w30, b3, or `mention:tea,cake` and the like."""
    kinds = {"s": "sentences", "w": "max_words", "b": "bullets"}
    if word[0] in kinds and word[1:].isdigit():
        return Wish.model_validate({"kind": kinds[word[0]], "count": int(word[1:])})
    kind, said = word.split(":", 1)
    kind = {"end": "end_with", "start": "start_with"}.get(kind, kind)
    words = tuple(said.split(",")) if kind == "mention" else (said,)
    return Wish.model_validate({"kind": kind, "words": words})


def sections(name: str) -> list[tuple[str, list[str]]]:
    """The parts of a text file that begin with `== word`: (word, lines), without comments and empty lines."""
    found: list[tuple[str, list[str]]] = []
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            found.append((line[3:], []))
        elif line and not line.startswith("#"):
            found[-1][1].append(line)
    return found


def by_hand() -> list[Row]:
    """The prompts of written.txt."""
    rows: list[Row] = []
    for use_case, lines in sections("written.txt"):
        for line in lines:
            text, _, short = line.partition(" || ")
            turns = tuple(turn.strip().replace("\\n", "\n") for turn in text.split(" >> "))
            rows.append((use_case, turns, tuple(wish(word) for word in shorthand(short))))
    return rows


def shorthand(text: str) -> list[str]:
    """Split at blanks that a new wish follows; `end:Keep in touch.` holds blanks itself."""
    words: list[str] = []
    for part in text.split():
        begins = part.split(":")[0] in ("mention", "avoid", "start", "end") or part[1:].isdigit()
        if begins or not words:
            words.append(part)
        else:
            words[-1] += " " + part
    return words


def counted(kind: str, count: int, front: bool, rng: random.Random) -> tuple[str, str]:
    """A wish for a number of sentences, words or bullets: (put in front, put behind), one of the two empty.

    `front` allows the first."""
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    plural = "" if count == 1 else "s"
    said = {
        "s": [
            (f"In {number} sentence{plural}: ", ""),
            ("", f"Use {number} sentence{plural}."),
            ("", f"Keep it to {number} sentence{plural}."),
            ("", f"{number.capitalize()} sentence{plural}, please."),
            ("", f"It should be {number} sentence{plural} long."),
            ("", f"Please answer with exactly {number} sentence{plural}."),
        ],
        "w": [
            (f"In at most {count} word{plural}: ", ""),
            (f"Using no more than {count} word{plural}: ", ""),
            ("", f"At most {count} word{plural}."),
            ("", f"Use no more than {count} word{plural}."),
            ("", f"Do not go over {count} word{plural}."),
            ("", f"Please stay within {count} word{plural}."),
            ("", f"{count} word{plural} or fewer, please."),
        ],
        "b": [
            (f"As {number} bullet points: ", ""),
            ("", f"Give {number} bullet points."),
            ("", f"Answer with {number} short bullet points."),
            ("", f"I would like {number} bullet points."),
            ("", f"Make it a list of {number} bullets."),
        ],
    }
    return rng.choice([one for one in said[kind] if front or not one[0]])


def worded(kind: str, said: str, rng: random.Random) -> str:
    """A wish for words: the sentence that goes behind the prompt."""
    forms = {
        "mention": [
            "Mention {}.",
            "Be sure to mention {}.",
            "Please mention {}.",
            "It has to mention {}.",
            "Include {}.",
        ],
        "avoid": ['Do not use the word "{}".', 'Avoid the word "{}".', 'Please leave out the word "{}".'],
        "end": ['End with "{}"', 'Please end with "{}"', 'The last words should be "{}"'],
        "start": ['Start with "{}".', 'Begin with "{}".', 'The first word should be "{}".'],
    }
    return rng.choice(forms[kind]).format(said)


def with_wishes(core: str, allowed: list[str], rng: random.Random) -> tuple[str, tuple[Wish, ...]]:
    """Add no wish, one, or a count and a word to a prompt.

    `allowed` is shorthand; in `mention:the price` the last word is what a program looks for.
    """
    counts = [word for word in allowed if ":" not in word]
    words = [word for word in allowed if ":" in word]
    drawn = rng.random()
    chosen = []
    if counts and drawn < 0.44:
        chosen.append(rng.choice(counts))
    if words and (0.33 < drawn < 0.54 or (not counts and drawn < 0.50)):
        chosen.append(rng.choice(words))
    found = []
    for word in chosen:
        if ":" not in word:
            before, behind = counted(word[0], int(word[1:]), core.split()[0] in AFTER_COLON, rng)
            core = before + core[0].lower() + core[1:] if before else f"{core} {behind}"
            found.append(wish(word))
        else:
            kind, said = word.split(":", 1)
            core = f"{core} {worded(kind, said, rng)}"
            looked_for = said.split()[-1].strip('"') if kind == "mention" else said
            found.append(wish(f"{kind}:{looked_for}"))
    return core, tuple(found)


def opened(core: str, rng: random.Random) -> str:
    """Some of the prompts that begin with "Write" ask in other words."""
    if not core.startswith("Write "):
        return core
    opening = rng.choice(
        ["Write", "Write", "Please write", "Can you write", "I need", "Could you write", "Help me write"]
    )
    if opening == "I need" and not core.startswith(("Write a ", "Write an ")):
        opening = "Write"
    text = opening + core.removeprefix("Write")
    return text[:-1] + "?" if opening.startswith(("Can", "Could")) else text


def pairs(lines: list[str]) -> list[tuple[str, list[str], str]]:
    """(form, shorthand of its wishes, the line below) of a section of templates.txt."""
    found = []
    for form, below in zip(lines[::2], lines[1::2], strict=True):
        text, _, short = form.partition(" || ")
        found.append((text, shorthand(short), below.strip()))
    return found


def by_template(rng: random.Random) -> list[Row]:
    """Every form of templates.txt with every subject, in an order of the seed's."""
    rows: list[Row] = []
    for use_case, lines in sections("templates.txt"):
        also = lines.pop(0).split(" | ")[1:] if lines[0].startswith("also | ") else []
        for form, allowed, below in pairs(lines) if use_case != "planted" else ():
            if "{}" not in form:
                asked, wishes = with_wishes(form, [rng.choice(allowed)], rng)
                rows.append((use_case, (f"{asked}\n{below}",), wishes))
                continue
            for subject in below.split(" | "):
                core = opened(form.format(subject), rng)
                if also and rng.random() < 0.6:
                    core += " " + rng.choice(also)
                core, wishes = with_wishes(core, allowed, rng)
                rows.append((use_case, (core,), wishes))
    rng.shuffle(rows)
    return rows


def planted(rows: list[Row], rng: random.Random) -> list[Row]:
    """Eight exact duplicates, most with other blanks or capitals, and eight that only end differently."""
    single = [row for row in rows if len(row[1]) == 1]
    copies: list[Row] = []
    for number, (use_case, turns, wishes) in enumerate(rng.sample(single, 8)):
        text = turns[0]
        copies.append(
            (use_case, ((text, text.upper(), text + "  ", text.replace(" ", "  "))[number % 4],), wishes)
        )
    for shared, short, ending in pairs(dict(sections("templates.txt"))["planted"]):
        use_case = next(row[0] for row in rows if row[1][0].startswith(shared))
        copies.append((use_case, (f"{shared} {ending}",), tuple(wish(word) for word in short)))
    return copies


def users(count: int, rng: random.Random) -> list[str]:
    """A user id each: 80 users, few of them busy (weights fall as rank + 4 to the power -0.9)."""
    names = [f"{colour}-{animal}" for colour in COLOURS for animal in ANIMALS]
    rng.shuffle(names)
    drawn = rng.choices(names, [1 / (rank + 4) ** 0.9 for rank in range(len(names))], k=count - len(names))
    drawn += names
    rng.shuffle(drawn)
    return drawn


def main(seed: int, path: Path) -> None:
    """Put everything together and write the file."""
    rng = random.Random(seed)
    left = dict(COUNTS)
    rows: list[Row] = []
    for row in by_hand() + by_template(rng):
        if left[row[0]] > 0:
            left[row[0]] -= 1
            rows.append(row)
    if any(left.values()):
        raise SystemExit(f"too few prompts: {left}")
    rng.shuffle(rows)
    rows += planted(rows, rng)
    prompts = []
    for number, ((use_case, turns, wishes), user) in enumerate(
        zip(rows, users(len(rows), rng), strict=True), 1
    ):
        messages = tuple(
            Message(role="assistant" if place % 2 else "user", content=turn)
            for place, turn in enumerate(turns)
        )
        prompts.append(
            Prompt(
                id=f"p{number:04d}",
                messages=messages,
                user=user,
                source=SOURCE,
                use_case=use_case,
                wishes=wishes,
            )
        )
    write(path, prompts)


if __name__ == "__main__":  # another seed and file: prompts of the same kind, for users who come back
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else SEED,
        Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER / "prompts.jsonl",
    )
