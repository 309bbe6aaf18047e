"""JPEG and PNG bytes from outside to pixels: whole, of a size that was asked for, or refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mask2iv_ros.errors import Refused

_LARGEST = 1 << 26  # pixels; a small file can unpack to gigabytes
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def decode_picture(
    data: bytes, where: object, size: tuple[int | None, int | None] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a picture in RGB.

    Pillow, because OpenCV gives half a JPEG that ends early and fills up the rest.

    Args:
        data: of a JPEG or a PNG file.
        where: it comes from, for the sentence.
        size: (height, width) that it must have, None where any will do.

    Raises:
        Refused: neither, cut short, corrupt, or of another size; sizes are compared before a pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
            expected = (height, width) if size is None else (size[0] or height, size[1] or width)
            if (height, width) != expected:
                raise Refused(f"{where} is {width} x {height} pixels; expected {expected[1]} x {expected[0]}")
            if width * height > _LARGEST:
                raise Refused(f"{where} is {width} x {height} pixels; expected at most {_LARGEST} of them")
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except _BROKEN as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{where} cannot be decoded ({error}); expected a whole JPEG or PNG") from error
