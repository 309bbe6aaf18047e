"""x."""


def find_by_motion(video, segmenter):
    """X."""
    raise NotImplementedError
