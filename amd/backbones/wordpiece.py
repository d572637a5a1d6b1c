"""BERT's uncased WordPiece tokenizer (Devlin et al., arXiv 1810.04805; google-research/bert tokenization.py).

Lower case, accents off, punctuation apart, then the longest piece of the vocabulary again and again. Special tokens are
never read out of a text: "[SEP]" in a caption is three pieces.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

LONGEST_WORD = 100  # characters; a longer one is unknown


class WordPiece:
    """Texts -> ids, with [CLS] before and [SEP] after."""

    def __init__(self, vocabulary: Path) -> None:
        """`vocabulary`: one piece a line, its id is the line's number; "##" begins a piece inside a word."""
        pieces = vocabulary.read_text(encoding="utf-8").split("\n")
        self.ids = {piece: number for number, piece in enumerate(pieces) if piece}
        if absent := [it for it in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if it not in self.ids]:
            raise ValueError(f"{vocabulary}: not a vocabulary of BERT's: it has no {', '.join(absent)}")
        self.pad, self.unknown = self.ids["[PAD]"], self.ids["[UNK]"]

    def encode(self, text: str) -> list[int]:
        """The ids of one text."""
        found = [number for word in words(text) for number in self._pieces(word)]
        return [self.ids["[CLS]"], *found, self.ids["[SEP]"]]

    def __call__(self, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """-> ids (B, length) int64 padded at the end, and mask (B, length) bool, true at real tokens.

        ValueError names the first text that is longer.
        """
        ids = torch.full((len(texts), length), self.pad)
        mask = torch.zeros(len(texts), length, dtype=torch.bool)
        for row, text in enumerate(texts):
            found = self.encode(text)
            if len(found) > length:
                raise ValueError(f"encoder.length is {length}, and {text!r} has {len(found)} tokens; raise it")
            ids[row, : len(found)] = torch.tensor(found)
            mask[row, : len(found)] = True
        return ids, mask

    def _pieces(self, word: str) -> list[int]:
        """Greedy: the longest piece that fits, from left to right; a word with a hole is unknown altogether."""
        if len(word) > LONGEST_WORD:
            return [self.unknown]
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self.ids.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    break
            else:
                return [self.unknown]
            found.append(piece)
            start = end
        return found


def words(text: str) -> list[str]:
    """Normalised words; a mark of punctuation and a Chinese character is a word each."""
    spaced = "".join(f" {it} " if _ideograph(it) else it for it in map(_clean, text))
    bare = "".join(it for it in unicodedata.normalize("NFD", spaced) if unicodedata.category(it) != "Mn")
    lower = "".join(it.lower() for it in bare)  # one by one: a Greek sigma at a word's end stays as it is elsewhere
    return "".join(f" {it} " if _punctuation(it) else it for it in lower).split()


def _clean(character: str) -> str:
    """Spaces of all kinds become one, control characters nothing."""
    if character in "\t\n\r" or character.isspace():
        return " "
    return "" if character == "\ufffd" or unicodedata.category(character).startswith("C") else character


def _punctuation(character: str) -> bool:
    """All of ASCII that is neither letter, digit nor space counts, "$" and "~" too, although Unicode has them apart."""
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")


def _ideograph(character: str) -> bool:
    """In Unicode's CJK blocks, as BERT counts them; Hangul and kana are not."""
    if not character:
        return False
    code = ord(character)
    blocks = (
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B820, 0x2CEAF),
        (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    )
    return any(first <= code <= last for first, last in blocks)
