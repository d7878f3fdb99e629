"""Sound that a client sends: how long it is, and what is too much. Pure.

Nothing is decoded here. A decoder makes room for as many samples as a file says it has, so a file
of some bytes may ask for gigabytes: an MP3's Xing tag, a FLAC's header, a rate of one sample a
second. So each is taken apart, its length counted, and what was counted is written anew, with a
header of ours or as its frames alone. The decoder reads nothing else.

Sources: miniaudio (vendored in llama.cpp) ma_dr_wav_init, ma_dr_mp3_init_internal, ma_dr_flac;
tools/mtmd/mtmd-helper.cpp decode_audio_from_buf.
"""

import struct
from dataclasses import dataclass
from typing import Final

from edgellm.errors import BadRequest

MAX_BYTES: Final = 10 << 20  # of one file, as a picture's
MIN_S: Final = 0.1  # OpenAI's; some preprocessors of mtmd's abort the process on less
MAX_S: Final = 1800.0  # 115 MB as samples, and twice that while they are prepared
MAX_CHANNELS: Final = 8
MIN_HZ, MAX_HZ = 8_000, 192_000
FORMATS: Final = ("wav", "mp3", "flac")

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# By format tag: bits that a sample may have. What is compressed in blocks isn't read.
_WAV_BITS: Final = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _MULAW: (8,)}
_NO_SIZE: Final = (0, 0x7FFF_FFFF, 0xFFFF_FFFF)  # of data that was written as it came

# MPEG-1's, MPEG-2's and 2.5's layer III. Source: ma_dr_mp3_hdr_bitrate_kbps.
_KBPS: Final = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_HZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_TAGS: Final = (b"Xing", b"Info", b"VBRI")
_TAG_WITHIN: Final = 64  # bytes of a frame: behind its header and its side information
_FLAC_FRAMES: Final = 42  # where they begin, behind a signature and one block
_MAX_BEFORE: Final = 1024  # chunks, tags or blocks before the sound; a million would take a second


@dataclass(frozen=True, slots=True)
class Sound:
    """`file` is what a decoder may read; `length_s` what it was counted to be."""

    file: bytes
    length_s: float


def format_of(data: bytes) -> str | None:
    """As llama.cpp tells it, by the first bytes; None: it is no sound that is read here."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data.startswith(b"fLaC"):
        return "flac"
    is_mp3 = data.startswith(b"ID3") or (data[:1] == b"\xff" and data[1:2] >= b"\xe0")
    return "mp3" if is_mp3 else None


def check_size(data: bytes) -> None:
    """Raises BadRequest: no sound, or too large a file. Costs microseconds."""
    if len(data) > MAX_BYTES:
        raise BadRequest(f"{len(data)} bytes are more than the {MAX_BYTES} that a sound may have")
    if format_of(data) is None:
        raise BadRequest("this is no sound that is read here", hint="send WAV, MP3 or FLAC")


def measured(data: bytes, most_s: float = MAX_S) -> Sound:
    """Raises BadRequest, also for one that is longer than `most_s`. Costs up to some tenths of a
    second: not for a thread that others wait for."""
    check_size(data)
    take = {"wav": _wav, "mp3": _mp3, "flac": _flac}[format_of(data) or ""]
    sound = take(data, most_s)
    if sound.length_s < MIN_S:
        raise BadRequest(f"{sound.length_s:.3f} s of sound; it takes {MIN_S} s at least")
    _check_length(sound.length_s, most_s)
    return sound


def _check_length(length_s: float, most_s: float) -> None:
    if length_s > most_s:
        raise BadRequest(
            f"{length_s:.1f} s of sound are more than the {most_s:g} s that are heard here",
            hint="send it in pieces",
        )


def _check_form(rate_hz: int, n_channels: int) -> None:
    if not MIN_HZ <= rate_hz <= MAX_HZ:
        raise BadRequest(f"{rate_hz} samples a second; from {MIN_HZ} to {MAX_HZ} are read")
    if not 1 <= n_channels <= MAX_CHANNELS:
        raise BadRequest(f"{n_channels} channels; 1 to {MAX_CHANNELS} are read")


# ── WAV ──────────────────────────────────────────────────────────────────────


def _wav(data: bytes, most_s: float) -> Sound:
    fmt, pcm = _wav_chunks(data)
    tag, n_channels, rate_hz, _, _, n_bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        (tag,) = struct.unpack_from("<H", fmt, 24)  # the first two bytes of the subformat
    _check_form(rate_hz, n_channels)
    if n_bits not in _WAV_BITS.get(tag, ()):
        raise BadRequest(
            f"a WAV of format {tag} with {n_bits} bits a sample", hint="save it as 16-bit PCM"
        )
    n_align = n_channels * n_bits // 8
    pcm = pcm[: len(pcm) // n_align * n_align]
    length_s = len(pcm) / n_align / rate_hz
    _check_length(length_s, most_s)  # before it is copied
    head = struct.pack("<HHIIHH", tag, n_channels, rate_hz, rate_hz * n_align, n_align, n_bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(pcm)) + pcm
    return Sound(b"RIFF" + struct.pack("<I", len(body)) + body, length_s)


def _wav_chunks(data: bytes) -> tuple[bytes, memoryview]:
    """Its format, and its samples as they are."""
    at, fmt = 12, None
    for _ in range(_MAX_BEFORE):
        if at + 8 > len(data):
            break
        kind, n_bytes = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if kind == b"fmt " and 16 <= n_bytes <= len(data) - at:
            fmt = data[at : at + n_bytes]
        elif kind == b"data":
            if fmt is None:
                break
            rest = memoryview(data)[at:]
            if n_bytes not in _NO_SIZE and n_bytes > len(rest):
                raise BadRequest(f"a WAV that is cut off: {len(rest)} of {n_bytes} bytes")
            return fmt, rest if n_bytes in _NO_SIZE else rest[:n_bytes]
        at += n_bytes + n_bytes % 2
    raise BadRequest("a WAV without a format, or without data")


# ── MP3 ──────────────────────────────────────────────────────────────────────


def _mp3(data: bytes, most_s: float) -> Sound:
    """Frames that follow one another from the first on, all of one kind and one rate; at what is
    none of them it ends. A tag in a frame's place isn't heard, and says how long the rest is."""
    begin = at = _behind_id3(data)
    first, length_s, n_tags = data[at : at + 4], 0.0, 0
    while frame := _mp3_frame(data[at : at + 4]):
        n_bytes, frame_s = frame
        if at + n_bytes > len(data) or not _is_alike(data[at : at + 4], first):
            break
        at += n_bytes
        if not length_s and any(tag in data[begin : begin + _TAG_WITHIN] for tag in _TAGS):
            begin, n_tags = at, n_tags + 1
            if n_tags > _MAX_BEFORE:
                break
            continue
        length_s += frame_s
        _check_length(length_s, most_s)
    if not length_s:
        raise BadRequest("an MP3 without a whole frame")
    return Sound(data[begin:at], length_s)


def _behind_id3(data: bytes) -> int:
    """Tags of version 2, whose sizes have seven bits a byte."""
    at = 0
    for _ in range(_MAX_BEFORE):
        if data[at : at + 3] != b"ID3" or at + 10 > len(data):
            break
        a, b, c, d = (byte & 0x7F for byte in data[at + 6 : at + 10])
        footer = 10 if data[at + 5] & 0x10 else 0
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + footer
    return at


def _mp3_frame(head: bytes) -> tuple[int, float] | None:
    """Its bytes, and seconds. None: it is no header of layer III, or its size isn't said."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, kbps = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version not in _HZ or rate == 3 or kbps in (0, 15):
        return None
    is_first = version == 3
    hz, n_samples = _HZ[version][rate], 1152 if is_first else 576
    n_bytes = n_samples * _KBPS[is_first][kbps] * 125 // hz + (head[2] >> 1 & 1)
    return n_bytes, n_samples / hz


def _is_alike(head: bytes, first: bytes) -> bool:
    """Source: ma_dr_mp3_hdr_compare."""
    return not ((head[1] ^ first[1]) & 0xFE or (head[2] ^ first[2]) & 0x0C)


# ── FLAC ─────────────────────────────────────────────────────────────────────


def _flac(data: bytes, most_s: float) -> Sound:
    """As its first block says, which is all that the decoder goes by; pictures and other blocks are
    left out."""
    if len(data) < _FLAC_FRAMES or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        raise BadRequest("a FLAC without its header")
    packed = int.from_bytes(data[18:26], "big")
    rate_hz, n_channels, n_samples = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    _check_form(rate_hz, n_channels)
    if not n_samples:
        raise BadRequest("a FLAC that doesn't say how long it is", hint="encode it again")
    _check_length(n_samples / rate_hz, most_s)
    head = data[:4] + b"\x80" + data[5:_FLAC_FRAMES]  # its block is the last
    return Sound(head + data[_flac_frames(data) :], n_samples / rate_hz)


def _flac_frames(data: bytes) -> int:
    at, is_last = 4, False
    for _ in range(_MAX_BEFORE):
        if is_last or at + 4 > len(data):
            return at
        is_last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    raise BadRequest(f"a FLAC of more than {_MAX_BEFORE} blocks before its frames")
