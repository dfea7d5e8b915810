"""Running prose out of docstrings and help topics: no code, tables, signatures, markup. Pure functions on
text."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator

# Sections of a numpydoc docstring that hold lists, formulas or code rather than prose.
_SECTIONS = re.compile(
    r"(?:(?:other |optional )?parameters|returns|yields|receives|attributes|methods|examples?|references|see "
    r"also"
    r"|raises|warns|routine listings|keyword arguments|keywords)\s*:?\s*$",
    re.IGNORECASE,
)
_KEPT_DIRECTIVES = ("note", "warning", "tip", "important", "caution")
_RULE = re.compile(r"\s*([=\-~*^#\"'+`_])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"(\s*)\.\.\s+(?:([\w-]+)::)?\s*(.*)$")
_BULLET = re.compile(r"\s*(?:[*•-]|\(?\d{1,2}[.)]|\([a-z]\))\s+")
_INLINE = [
    (re.compile(r"`([^`<>]+?)\s*<[^`<>]*>`_{0,2}"), r"\1"),  # `text <target>`_
    (
        re.compile(r"(?::[\w:+-]+:)?`{1,2}(?:~(?:\w+\.)*|\.)?([^`]+?)`{1,2}_{0,2}"),
        r"\1",
    ),  # :role:`text`, ``text``
    # "as shown in [1]_" is no sentence without its reference: "|" makes it unfit.
    (re.compile(r"\b(?:in|see|by|of|from|with|to|and|also|per)\s+\[\w{1,12}\]_"), "|"),
    (re.compile(r"\s*\[\w{1,12}\]_"), ""),  # [1]_
    (re.compile(r"(?<!\w)(\*{1,2})([^*\s](?:[^*]*[^*\s])?)\1(?!\w)"), r"\2"),  # *text*
    (re.compile(r'(?<!\w)"([^"\s]+)"'), r"\1"),  # "name", as help topics mark code
]
_UNFIT = re.compile(
    r">>>|::|->|\\|[={}|@~<>^$#_]|//|\.\.\."
    r"|\b(?:http|www|Copyright|TODO|XXX|FIXME|e-?mail)\b|\w\(|\w\.\w+\.\w|“[^”]{0,2}[\"*]"
)
_PLAIN = re.compile(
    r"[(\"“'‘]*(?:[A-Za-z]?[a-z]+(?:[-'’][A-Za-z]?[a-z]+)*|[AI]|\d{1,4})[)\"”'’]*[.,;:!?]*[)\"”]*$"
)
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"”)]))\s+(?=[A-Z\"“(])")
# Words that running English has everywhere and lists of names have not.
_COMMON = re.compile(
    r"(?:an?|and|are|as|at|be|been|but|by|can|do|does|for|from|has|have|if|in|into|is|its?|may|more|must|no|not|of|on"
    r"|one|only|or|other|should|so|some|such|than|that|the|their|then|there|these|this|those|to"
    r"|use|used|was|we|when|where|which|will|with|would|you)\W*$",
    re.IGNORECASE,
)


def docstrings(source: bytes) -> Iterator[str]:
    """The docstrings of a Python source and the texts given to numpy's `add_newdoc`, in order. Raises
    SyntaxError."""
    with warnings.catch_warnings(action="ignore"):  # of invalid escapes in other people's sources
        tree = ast.parse(source)
    for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")).endswith(
            "add_newdoc"
        ):
            for part in node.args:
                for inner in part.elts if isinstance(part, ast.Tuple) else (part,):
                    if (
                        isinstance(inner, ast.Constant)
                        and isinstance(inner.value, str)
                        and "\n" in inner.value
                    ):
                        yield inspect.cleandoc(inner.value)


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a docstring or help topic that are running prose, each on one line and without
    markup."""
    for block in split_blocks(strip_markup(text.expandtabs().splitlines())):
        for chunk in split_chunks(block):
            joined = join_lines(chunk)
            parts = _SENTENCE_END.split(joined)
            while parts and parts[-1].endswith(":"):  # what it introduces is gone
                parts.pop()
            joined = " ".join(parts)
            if is_prose(joined):
                yield joined


def is_prose(text: str) -> bool:
    """Whether a paragraph reads as English sentences: common words, plain words, whole sentences, no code."""
    words = text.split()
    if (
        len(words) < 12
        or not re.match(r"[\"“(]?[A-Z]", text)
        or not re.search(r"[.!?][\"”)]*$", text)
        or _UNFIT.search(text)
    ):
        return False
    common = sum(bool(_COMMON.match(word.lstrip('"“('))) for word in words)
    plain = sum(bool(_PLAIN.match(word)) for word in words)
    return common >= 0.27 * len(words) and plain >= 0.92 * len(words) and text.count("(") == text.count(")")


def sentences(paragraph: str) -> list[str]:
    """A paragraph's sentences of more than 40 letters, as letters only: to recognise what is repeated."""
    texts = ("".join(filter(str.isalpha, part.lower())) for part in _SENTENCE_END.split(paragraph))
    return [text for text in texts if len(text) > 40]


def pieces(paragraphs: list[str], characters: int) -> Iterator[str]:
    """Join paragraphs to pieces of about `characters`, cut at paragraphs and, in a long one, at sentences.

    Pieces have between half and one and a half times that length; a rest that is shorter is left out.
    """
    piece: list[str] = []
    for paragraph in paragraphs:
        for part in cut_paragraph(paragraph, characters):
            size = sum(len(text) + 2 for text in piece)
            if piece and size + len(part) > 1.25 * characters:
                if size >= characters / 2:
                    yield "\n\n".join(piece)
                piece = []
            piece.append(part)
    if sum(len(text) + 2 for text in piece) >= characters / 2:
        yield "\n\n".join(piece)


def cut_paragraph(paragraph: str, characters: int) -> Iterator[str]:
    """A paragraph in parts of at most 1.25 times `characters`, at sentence ends, else at blanks, else
    anywhere."""
    least, most = characters // 2, int(1.25 * characters)
    while len(paragraph) > most:
        ends = [match.start() for match in _SENTENCE_END.finditer(paragraph, least, most + 2)]
        at = ends[-1] if ends else paragraph.rfind(" ", least, most + 1)
        at = at if at > 0 else most
        yield paragraph[:at].strip()
        paragraph = paragraph[at:].strip()
    if paragraph:
        yield paragraph


def strip_markup(lines: list[str]) -> Iterator[str]:
    """Leave out headings, sections of lists, directives with what belongs to them; keep notes and
    warnings."""
    skip_section, skip_indent = False, -1
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if line.strip() and _RULE.match(below) and not _RULE.match(line):
            skip_section, skip_indent = bool(_SECTIONS.match(line.strip())), -1
            yield ""
            continue
        if line.strip() and indent <= skip_indent:
            skip_indent = -1
        directive = _DIRECTIVE.match(line)
        if skip_section or _RULE.match(line) or (skip_indent >= 0 and line.strip()):
            continue
        if directive and directive[2] in _KEPT_DIRECTIVES:
            yield ""
            yield directive[1] + "   " + directive[3]
        elif directive:
            skip_indent = indent
        else:
            yield line


def split_blocks(lines: Iterator[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def split_chunks(block: list[str]) -> Iterator[list[str]]:
    """Split a block at bullets and where the indentation changes (a term above its definition)."""
    chunk: list[str] = []
    indent = 0
    for line in block:
        bullet = _BULLET.match(line)
        context = len(line) - len(line.lstrip())
        if bullet or (chunk and context != indent):
            if chunk:
                yield chunk
            chunk = []
        if not chunk:
            indent = bullet.end() if bullet else context
        chunk.append(line[bullet.end() :] if bullet else line)
    if chunk:
        yield chunk


def join_lines(lines: list[str]) -> str:
    text = ""
    for line in (part.strip() for part in lines):
        text += line if not text or re.search(r"\w-$", text) else " " + line
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split()))
