"""Video streams that PyAV can decode without taking the process along."""

from __future__ import annotations

import av


def decodable(container: av.container.InputContainer) -> av.video.stream.VideoStream | None:
    """Return a container's first video stream, None if there is none that can be decoded.

    A stream without a decoder, as in a file cut short, would crash the process in PyAV's decode.
    """
    videos = container.streams.video
    return videos[0] if videos and videos[0].codec_context is not None else None
