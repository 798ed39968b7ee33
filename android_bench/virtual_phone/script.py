"""Shell scripts, parsed: the part of the POSIX grammar that a virtual phone's own shell knows.

    list      pipeline  (; | && | || | newline)  pipeline …
    pipeline  command | command …
    command   words with redirections, { list }, if, for, while, until, name() { list }

Substitutions of commands (`$(…)`) and arithmetic are not among it. Before `pocket_shell`, which runs the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

_OPERATORS = re.compile(r"&&|\|\||;;|;|\||&|\(|\)|\n")
_REDIRECT = re.compile(r"(\d?)(>>|>&|<&|>|<)")
_NAME = re.compile(r"[A-Za-z_]\w*")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*|[0-9?#$@*])|\{([A-Za-z_]\w*|[0-9?#$@*])\})")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=")
_RESERVED = frozenset(["if", "then", "elif", "else", "fi", "for", "in", "do", "done", "while", "until", "{", "}"])


class ScriptError(Exception):
    """A script that this shell does not know how to read; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Text:
    """Letters; quoted ones are never split or matched against file names."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`; quoted ones are never split."""

    name: str
    quoted: bool = False


Word: TypeAlias = tuple[Text | Variable, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """`handle` goes to, or comes from, `target`; kinds are those of the grammar."""

    handle: int
    kind: str
    target: Word


@dataclass(frozen=True, slots=True)
class Simple:
    """Words that name a command and its arguments."""

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """`{ list }`"""

    body: Script
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with what follows from each, in order."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script | None


@dataclass(frozen=True, slots=True)
class For:
    """The body once for each word."""

    name: str
    words: tuple[Word, ...]
    body: Script


@dataclass(frozen=True, slots=True)
class While:
    """The body as long as the condition holds, or (`until`) does not."""

    condition: Script
    body: Script
    holds: bool


@dataclass(frozen=True, slots=True)
class Function:
    """`name() { list }`"""

    name: str
    body: Group


Command: TypeAlias = Simple | Group | If | For | While | Function
Connector = Literal[";", "&&", "||"]


@dataclass(frozen=True, slots=True)
class Step:
    """A pipeline, and how it hangs on the one before it."""

    connector: Connector
    pipeline: tuple[Command, ...]
    negated: bool = False


Script: TypeAlias = tuple[Step, ...]


def parse(text: str) -> Script:
    """The script in `text`.

    >>> parse('echo "$1" && true')[0].pipeline[0].words[1]
    (Variable(name='1', quoted=True),)

    Raises:
        ScriptError: it is not of the grammar above.
    """
    reader = _Reader(_tokens(text))
    script = reader.script(())
    if reader.peek() is not None:
        raise ScriptError(f"unexpected {reader.shown()}")
    return script


@dataclass(slots=True)
class _WordBuilder:
    parts: list[Text | Variable] = field(default_factory=list)
    begun: bool = False

    def add(self, text: str, *, quoted: bool = False) -> None:
        self.begun = True
        if text or quoted:
            self.parts.append(Text(text, quoted))


_Token: TypeAlias = "str | Word | Redirect"


def _tokens(text: str) -> list[_Token]:
    """Operators as strings, words, and redirections that still lack their target."""
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        letter = text[at]
        if text.startswith("\\\n", at):
            at += 2
        elif letter in " \t":
            at += 1
        elif letter == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif match := _REDIRECT.match(text, at):
            handle = int(match[1]) if match[1] else (0 if match[2].startswith("<") else 1)
            tokens.append(Redirect(handle, match[2], ()))
            at = match.end()
        elif match := _OPERATORS.match(text, at):
            if match[0] in ("&", ";;"):
                raise ScriptError(f"'{match[0]}' is not among what this virtual phone's shell knows")
            tokens.append(match[0])
            at = match.end()
        else:
            word, at = _word(text, at)
            tokens.append(word)
    return tokens


def _word(text: str, at: int) -> tuple[Word, int]:
    made = _WordBuilder()
    while at < len(text) and text[at] not in " \t\n;|&()<>":
        letter = text[at]
        if letter == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise ScriptError("a quote ' is never closed")
            made.add(text[at + 1 : end], quoted=True)
            at = end + 1
        elif letter == '"':
            at = _double_quoted(text, at + 1, made)
        elif letter == "\\":
            if not text.startswith("\\\n", at):
                made.add(text[at + 1 : at + 2], quoted=True)
            at += 2
        elif letter == "$":
            at = _dollar(text, at, made, quoted=False)
        elif letter == "`":
            raise ScriptError("substitution of commands is not among what this virtual phone's shell knows")
        else:
            end = at + 1
            while end < len(text) and text[end] not in " \t\n;|&()<>'\"\\$`":
                end += 1
            made.add(text[at:end])
            at = end
    return tuple(made.parts), at


def _double_quoted(text: str, at: int, made: _WordBuilder) -> int:
    made.add("", quoted=True)
    while at < len(text):
        letter = text[at]
        if letter == '"':
            return at + 1
        if letter == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            made.add(text[at + 1].replace("\n", ""), quoted=True)
            at += 2
        elif letter == "$":
            at = _dollar(text, at, made, quoted=True)
        else:
            made.add(letter, quoted=True)
            at += 1
    raise ScriptError('a quote " is never closed')


def _dollar(text: str, at: int, made: _WordBuilder, *, quoted: bool) -> int:
    match = _VARIABLE.match(text, at)
    if match:
        made.parts.append(Variable(match[1] or match[2], quoted))
        return match.end()
    if text[at + 1 : at + 2] in ("(", "{"):
        raise ScriptError(f"'{text[at : at + 12]}' is not among what this virtual phone's shell knows")
    made.add("$", quoted=quoted)
    return at + 1


class _Reader:
    """Tokens, read from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at = tokens, 0

    def peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def shown(self) -> str:
        token = self.peek()
        if token is None:
            return "end of the script"
        if isinstance(token, Redirect):
            return f"'{token.kind}'"
        return repr(token if isinstance(token, str) else "".join(p.text for p in token if isinstance(p, Text)))

    def script(self, ends: tuple[str, ...]) -> Script:
        """A list, up to one of the reserved words in `ends`, which is left to the caller."""
        steps: list[Step] = []
        connector: Connector = ";"
        while True:
            while self.peek() in (";", "\n"):
                self._at += 1
            if self.peek() is None or self._reserved() in ends or self.peek() == ")":
                return tuple(steps)
            negated = self._is("!")
            if negated:
                self._at += 1
            commands = [self._command()]
            while self.peek() == "|":
                self._at += 1
                self._newlines()
                commands.append(self._command())
            steps.append(Step(connector, tuple(commands), negated))
            token = self.peek()
            if token in ("&&", "||"):
                connector = "&&" if token == "&&" else "||"
                self._at += 1
                self._newlines()
            elif token in (";", "\n"):
                connector = ";"
            elif token is not None and token != ")" and self._reserved() not in ends:
                raise ScriptError(f"unexpected {self.shown()}")

    def _command(self) -> Command:
        word = self._reserved()
        if word == "{":
            return self._group()
        if word == "if":
            return self._if()
        if word == "for":
            return self._for()
        if word in ("while", "until"):
            self._at += 1
            condition = self.script(("do",))
            return While(condition, self._loop_body(), holds=word == "while")
        if word in _RESERVED:
            raise ScriptError(f"unexpected '{word}'")
        return self._simple()

    def _group(self) -> Group:
        self._take("{")
        body = self.script(("}",))
        self._take("}")
        return Group(body, tuple(self._redirects()))

    def _if(self) -> If:
        branches = []
        self._take("if")
        while True:
            condition = self.script(("then",))
            self._take("then")
            branches.append((condition, self.script(("elif", "else", "fi"))))
            if self._reserved() != "elif":
                break
            self._take("elif")
        otherwise = None
        if self._reserved() == "else":
            self._take("else")
            otherwise = self.script(("fi",))
        self._take("fi")
        return If(tuple(branches), otherwise)

    def _for(self) -> For:
        self._take("for")
        name = self._plain()
        if name is None or not _NAME.fullmatch(name):
            raise ScriptError(f"'for' wants a name, not {self.shown()}")
        self._at += 1
        words: list[Word] = [(Variable("@", quoted=True),)]
        if self._reserved() == "in":
            self._at += 1
            words = []
            while isinstance(self.peek(), tuple):
                words.append(self._next_word())
        while self.peek() in (";", "\n"):
            self._at += 1
        return For(name, tuple(words), self._loop_body())

    def _loop_body(self) -> Script:
        self._take("do")
        body = self.script(("done",))
        self._take("done")
        return body

    def _simple(self) -> Simple | Function:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            redirects += self._redirects()
            token = self.peek()
            if not isinstance(token, tuple):
                break
            self._at += 1
            match = _ASSIGNMENT.match(token[0].text) if token and token[0] in _unquoted(token) else None
            if match and not words and isinstance(token[0], Text):
                rest = token[0].text[match.end() :]
                assignments.append((match[1], (Text(rest), *token[1:]) if rest else token[1:]))
            else:
                words.append(token)
        if token == "(" and len(words) == 1 and not (assignments or redirects):
            return self._function(words[0])
        if not (assignments or words or redirects):
            raise ScriptError(f"unexpected {self.shown()}")
        return Simple(tuple(assignments), tuple(words), tuple(redirects))

    def _function(self, word: Word) -> Function:
        self._at += 1
        if self.peek() != ")" or len(word) != 1 or not isinstance(word[0], Text):
            raise ScriptError(f"unexpected {self.shown()}")
        self._at += 1
        self._newlines()
        return Function(word[0].text, self._group())

    def _redirects(self) -> list[Redirect]:
        found = []
        while isinstance(token := self.peek(), Redirect):
            self._at += 1
            if not isinstance(self.peek(), tuple):
                raise ScriptError(f"'{token.kind}' wants a place, not {self.shown()}")
            found.append(Redirect(token.handle, token.kind, self._next_word()))
        return found

    def _next_word(self) -> Word:
        token = self.peek()
        assert isinstance(token, tuple)
        self._at += 1
        return token

    def _plain(self) -> str | None:
        token = self.peek()
        plain = isinstance(token, tuple) and len(token) == 1 and isinstance(token[0], Text) and not token[0].quoted
        return token[0].text if plain and isinstance(token, tuple) and isinstance(token[0], Text) else None

    def _reserved(self) -> str:
        word = self._plain()
        return word if word in _RESERVED else ""

    def _is(self, text: str) -> bool:
        return self._plain() == text

    def _take(self, word: str) -> None:
        if not self._is(word):
            raise ScriptError(f"expected '{word}', not {self.shown()}")
        self._at += 1

    def _newlines(self) -> None:
        while self.peek() == "\n":
            self._at += 1


def _unquoted(word: Word) -> tuple[Text, ...]:
    return tuple(part for part in word if isinstance(part, Text) and not part.quoted)
