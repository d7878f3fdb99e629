"""A vocabulary as grammars and stages need it: which texts are one special token, which are many.

llguidance keeps special tokens apart: no text in a grammar ever matches one. So where a format's
text is a special token of this vocabulary (`<tool_call>`, `[ARGS]` ...), the grammar has to name
that.
"""

import json
import re
from typing import Any

_REGEX_WORDS = re.compile(r"[\\.+*?()|\[\]{}^$/&~#-]")  # not re.escape's: `\<` means something


class Vocabulary:
    """`tokenizer` is llguidance's LLTokenizer."""

    def __init__(self, tokenizer: Any, n_vocab: int) -> None:
        self._tokenizer = tokenizer
        special = [token for token in range(n_vocab) if tokenizer.is_special_token(token)]
        texts = {token: self.piece(token).decode(errors="ignore") for token in special}
        self._ids = {text: token for token, text in texts.items() if text}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self.ends: list[int] = list(tokenizer.eos_tokens)

    def piece(self, token: int) -> bytes:
        return bytes(self._tokenizer.decode_bytes([token]))

    def tokens(self, text: str) -> list[int]:
        """The tokens of exactly this text. (A model's own tokenizer may put a blank in front.)"""
        found: list[int] = []
        for part in self._parts(text):
            found += [part] if isinstance(part, int) else self._tokenizer.greedy_tokenize(part)
        return found

    def spelled(self, text: bytes) -> list[int]:
        """The tokens of a token's last bytes. Bytes that are no text are left out."""
        return self.tokens(text.decode(errors="ignore")) if text else []

    def token(self, text: str) -> int | None:
        """The single token that is this text, if there is one."""
        found = self.tokens(text)
        return found[0] if len(found) == 1 else None

    def definition(self, i: int, text: str) -> str:
        """Two rules for chat/grammars/lark.py: `m_i` is this text, `u_i` any text up to its end."""
        parts = self._parts(text)
        this = " ".join(map(_body, parts))
        match parts:
            case [str(only)]:
                until = f"u_{i}[suffix={_body(only)}]: /(?s:.*)/"
            case [str(first), *rest]:
                escaped = _REGEX_WORDS.sub(r"\\\g<0>", first).replace("\n", "\\n")
                until = f"u_{i}: /(?s:.*){escaped}/ " + " ".join(map(_body, rest))
            case _:
                until = f"u_{i}: /(?s:.*)/ {this}"
        return f"m_{i}: {this}\n{until}"

    def _parts(self, text: str) -> list[str | int]:
        parts: list[str | int] = []
        at = 0
        for match in self._special.finditer(text):
            parts += [text[at : match.start()]] if match.start() > at else []
            parts.append(self._ids[match[0]])
            at = match.end()
        return [*parts, text[at:]] if at < len(text) or not parts else parts


def _body(part: str | int) -> str:
    return f"<[{part}]>" if isinstance(part, int) else json.dumps(part, ensure_ascii=False)
