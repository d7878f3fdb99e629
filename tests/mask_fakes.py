"""A vocabulary of bytes, for masks without a model: each byte is a token, and so are some marks."""

import llguidance
import numpy as np

END = "<end>"


class Tokens:
    """What llguidance's TokenizerWrapper wants."""

    def __init__(self, words, special):
        self.tokens = [bytes([i]) for i in range(256)] + [word.encode() for word in words]
        self.special_token_ids = [len(self.tokens) + i for i in range(len(special))]
        self.tokens += [b"\xff" + mark.encode() for mark in special]
        self.eos_token_id = len(self.tokens) - 1
        self.bos_token_id = None

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


class Alphabet:
    """`ids` spells a text, its marks as single tokens; `text` is the way back.

    `words` are tokens of several letters, which nothing here spells with by itself.
    """

    def __init__(self, special=(), words=()):
        self.special, self.words = (*special, END), words
        self.n_vocab = 256 + len(words) + len(self.special)
        wrapper = llguidance.TokenizerWrapper(Tokens(words, self.special))
        self.tokenizer = llguidance.LLTokenizer(wrapper)
        self.end = self.n_vocab - 1

    def word(self, text):
        return 256 + self.words.index(text)

    def ids(self, text):
        found = []
        while text:
            mark = next((s for s in self.special if text.startswith(s)), None)
            if mark:
                found.append(256 + len(self.words) + self.special.index(mark))
                text = text[len(mark) :]
            else:
                found += text[0].encode()
                text = text[1:]
        return found

    def text(self, tokens):
        return self.tokenizer.decode_bytes(list(tokens)).decode(errors="replace")

    def allowed(self, mask):
        """The tokens that a mask leaves."""
        logits = np.zeros(self.n_vocab, dtype=np.float32)
        mask.apply(logits)
        return {int(token) for token in np.flatnonzero(logits > -np.inf)}

    def allows(self, mask, text):
        """Whether a mask lets this be written; it has then been."""
        for token in self.ids(text):
            if token not in self.allowed(mask):
                return False
            mask.accept(token)
        return True

    def may_end(self, mask):
        return mask.complete or self.end in self.allowed(mask)

    def wander(self, mask, seed, end="", n_tokens=1500):
        """A random walk inside a mask, drawn to letters, brackets and the end of free text.

        None: it found no way out.
        """
        random, end = np.random.default_rng(seed), self.ids(end)
        weights = np.zeros(self.n_vocab, dtype=np.float32)
        weights[:32] = weights[127:256] = -8
        weights[[ord(character) for character in '"</}]|>\n']] = 1.5
        walked = []
        for _ in range(n_tokens):
            logits = random.normal(size=self.n_vocab).astype(np.float32) + weights
            n = next((n for n in range(len(end) - 1, 0, -1) if walked[-n:] == end[:n]), 0)
            if n:
                logits[end[n]] = 2 * n
            mask.apply(logits)
            token = int(logits.argmax())
            assert logits[token] > -np.inf, f"no way on after {self.text(walked)!r}: {mask.fault}"
            if token == self.end:
                return self.text(walked)
            walked.append(token)
            mask.accept(token)
            if mask.complete:
                return self.text(walked)
        return None


PLAIN = Alphabet()
