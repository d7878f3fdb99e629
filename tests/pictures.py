"""Pictures made by hand, so that a test says which ones it sends."""

import base64
import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"


def png(width=40, height=30, colour=(255, 0, 0)):
    """One colour, 8 bits a channel."""
    rows = (b"\0" + bytes(colour) * width) * height
    return png_of(width, height, zlib.compress(rows))


def png_of(width, height, idat):
    """Whatever stands in its data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def chunk(kind, data):
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def bmp(width=4, height=4):
    """24 bits a pixel, black; the rows of four pixels need no padding."""
    pixels = bytes(width * 3 * height)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


def jpeg_header(width, height, *, before=b"", frame=0xC0):
    """As far as a decoder must read to know the size."""
    size = struct.pack(">BHHB", 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + before + segment(frame, size)


def segment(marker, data):
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(data)) + data


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image_part(data):
    return {"type": "image_url", "image_url": {"url": data_url(data)}}
