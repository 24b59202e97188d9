"""What a command line names as inputs: images, folders, patterns and videos; and the frames of a video."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mtl.datasets.files import IMAGE_SUFFIXES
from mtl.utils.files import check_regular
from mtl.utils.images import MAX_PIXELS, check_pixels
from mtl.utils.text import printable, reason

VIDEO_SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg")
"""Of the files that are taken from folders and patterns; any other file can be named by itself, as an image."""


@dataclass(frozen=True)
class Input:
    """An image or a video, and the name of its outputs, which no other input has."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(arguments: Sequence[str]) -> tuple[list[Input], list[str]]:
    """The inputs in the order of the arguments, each file once, and one line for each argument that is of no use.

    A folder gives the images and videos directly in it; a pattern may have ``**`` for the folders below.
    """
    paths: dict[str, Path] = {}
    problems = []
    for argument in arguments:
        found, problem = _expand(argument)
        problems += [printable(problem)] if problem else []
        for path in found:
            paths.setdefault(os.path.realpath(path), path)  # of a link to itself too, where resolve() fails
    names = _names(list(map(Path, paths)))
    return [Input(path, name) for path, name in zip(paths.values(), names, strict=True)], problems


def _expand(argument: str) -> tuple[list[Path], str]:
    path = Path(os.path.expanduser(argument))
    if path.is_dir():
        try:
            found = _usable(sorted(path.iterdir()))
        except OSError as error:
            return [], f"cannot list the folder {argument}: {reason(error)}"
        below = f"folders below are taken by a quoted pattern, '{path}/**/*.jpg'"
        return found, "" if found else f"there are no images or videos in the folder {argument} ({below})"
    if os.path.lexists(path):
        return [path], ""
    if glob.has_magic(argument):
        found = _usable([Path(p) for p in sorted(glob.glob(os.path.expanduser(argument), recursive=True))])
        return found, "" if found else f"no image or video matches {argument!r}"
    return [], f"no such file or folder: {argument}"


def _usable(paths: Sequence[Path]) -> list[Path]:
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    # what cannot be read, such as a folder or a link to what is gone, is an input that is told of
    return [p for p in paths if p.suffix.lower() in suffixes and not p.name.startswith(".")]


def _names(paths: Sequence[Path]) -> list[str]:
    """Each path's stem; where several agree, with the suffix (in one folder) or with folders in front: ``a_x, b_x``."""
    stems = [path.stem for path in paths]
    places = Counter((path.parent, stem.casefold()) for path, stem in zip(paths, stems, strict=True))
    for i, path in enumerate(paths):
        if places[path.parent, path.stem.casefold()] > 1:
            stems[i] = f"{path.stem}_{path.suffix[1:]}"
    names = list(stems)
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        count = Counter(name.casefold() for name in names)
        for i, path in enumerate(paths):
            if count[names[i].casefold()] > 1:
                names[i] = "_".join([*path.parts[1:-1][-depth:], stems[i]])
    count = Counter(name.casefold() for name in names)
    # a/b_x and a_b/x
    return [f"{name}-{i}" if count[name.casefold()] > 1 else name for i, name in enumerate(names)]


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV's and FFmpeg's own lines on stderr say less than our errors."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def opencv_path(path: Path) -> str:
    """``path`` as OpenCV and FFmpeg take it; `ValueError` for one that is not UTF-8, at which they crash."""
    absolute = os.path.abspath(path)  # a name such as "concat:a" is a protocol unless it begins with a slash
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise ValueError("OpenCV takes no path that is not UTF-8; rename it") from error
    return absolute


class Video:
    """The frames of a video file.

    Args:
        path: the file.
        every: take the frames 0, N, 2N, ...
        max_pixels: of a frame.

    Raises:
        ValueError: it cannot be opened, or its frames are too large.
    """

    def __init__(self, path: Path, every: int = 1, max_pixels: int = MAX_PIXELS) -> None:
        self.name = printable(path)
        try:
            check_regular(path)
            with quiet_opencv():
                self._capture = cv2.VideoCapture(opencv_path(path))
            if not self._capture.isOpened():
                raise ValueError("it is broken, empty or of an unknown format")
            width, height = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH), self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            check_pixels(int(width), int(height), max_pixels)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read the video {self.name}: {reason(error)}") from error
        self.suffix = path.suffix.lower()
        self.every = every
        self.fps = (self._capture.get(cv2.CAP_PROP_FPS) or 25.0) / every
        self._count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.expected = max(1, -(-self._count // every))
        """As the file's header says, which need not be true."""

    def frames(self) -> Iterator[np.ndarray]:
        """``(H, W, 3)`` uint8 RGB, turned as the file says; `ValueError` where one is broken or the last ones lack."""
        index = 0
        try:
            while self._capture.grab():
                if index % self.every == 0:
                    done, frame = self._capture.retrieve()
                    if not done:
                        raise ValueError(f"the video {self.name} is broken: its frame {index} cannot be decoded")
                    yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                index += 1
        finally:
            self._capture.release()
        if index == 0:
            raise ValueError(f"the video {self.name} has no frames")
        # other containers do not count their frames, FFmpeg guesses then
        if self.suffix in (".mp4", ".m4v", ".mov", ".avi") and index < 0.95 * self._count:
            raise ValueError(f"the video {self.name} is cut off: it ends after {index} of {self._count} frames")
