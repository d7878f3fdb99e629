"""Sounds made by hand, so that a test says which ones it sends."""

import base64
import io
import math
import struct
import wave

_MP3_HEAD = b"\xff\xfb\x90\xc0"  # MPEG-1 layer III, 128 kbit/s, 44100 Hz, one channel, no checksum
_MP3_FRAME_BYTES = 417
MP3_FRAME_S = 1152 / 44_100


def tone(seconds=1.0, hz=440, rate=16_000):
    """16-bit samples of one channel."""
    n_samples = round(seconds * rate)
    return [round(12_000 * math.sin(2 * math.pi * hz * i / rate)) for i in range(n_samples)]


def wav(seconds=1.0, hz=440, rate=16_000, channels=1):
    samples = [value for value in tone(seconds, hz, rate) for _ in range(channels)]
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, 2, rate, 0, "NONE", ""))
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


def wav_of(fmt, pcm, *, data_bytes=None, before=b""):
    """Whatever its header says. `fmt`: tag, channels, rate, bytes a second, align, bits."""
    head = struct.pack("<HHIIHH", *fmt)
    size = len(pcm) if data_bytes is None else data_bytes
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", size) + pcm
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp3_frame(words=b"", head=_MP3_HEAD):
    """Silence, or a tag where its data would be (behind 17 bytes of side information)."""
    return (head + bytes(17) + words).ljust(_MP3_FRAME_BYTES, b"\0")


def xing(n_frames):
    """The tag that says how many frames follow: dr_mp3 believes it."""
    return mp3_frame(b"Xing" + struct.pack(">II", 1, n_frames))


def mp3(n_frames=40, *, before=b"", after=b""):
    return before + mp3_frame() * n_frames + after


def id3(n_bytes):
    size = bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + size + bytes(n_bytes)


def flac(seconds=1.0, hz=440, rate=16_000, *, n_samples=None, block=b""):
    """Samples as they are, in frames of 4096. `n_samples`: what its header says, if not the truth;
    `block`: what a second block of metadata holds."""
    samples = tone(seconds, hz, rate)
    n_said = len(samples) if n_samples is None else n_samples
    packed = rate << 44 | 0 << 41 | 15 << 36 | n_said
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    head = b"fLaC" + (b"\0" if block else b"\x80") + len(info).to_bytes(3, "big") + info
    if block:
        head += b"\x84" + len(block).to_bytes(3, "big") + block
    parts = (samples[i : i + 4096] for i in range(0, len(samples), 4096))
    return head + b"".join(_flac_frame(n, part) for n, part in enumerate(parts))


def _flac_frame(n, samples):
    head = b"\xff\xf8\x70\x08" + bytes([n]) + struct.pack(">H", len(samples) - 1)
    head += bytes([_crc(head, 8, 0x07)])
    frame = head + b"\x02" + struct.pack(f">{len(samples)}h", *samples)
    return frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")


def _crc(data, n_bits, polynomial):
    value, top, mask = 0, 1 << n_bits - 1, (1 << n_bits) - 1
    for byte in data:
        value ^= byte << n_bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def audio_part(data, kind="wav"):
    audio = {"data": base64.b64encode(data).decode(), "format": kind}
    return {"type": "input_audio", "input_audio": audio}
